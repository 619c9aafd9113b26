import logging

from bot import logs
from bot.settings import Settings

TOKEN = "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11"


def test_no_secret_reaches_the_log(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logs.configure(Settings(telegram_bot_token=TOKEN, webhook_secret="hush-hush"))
    try:
        raise ValueError(f"https://api.telegram.org/bot{TOKEN}/getMe")
    except ValueError:
        logging.getLogger("bot").exception("calling %s with hush-hush", TOKEN)
    printed = capsys.readouterr().err
    assert "ERROR bot: calling *** with ***" in printed
    assert "bot***/getMe" in printed
    assert TOKEN not in printed
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)

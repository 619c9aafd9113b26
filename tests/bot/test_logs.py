import logging

import pytest

from bot import logs
from bot.settings import Settings

TOKEN = "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Leave the logging of the other tests alone."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])
    yield
    root.setLevel(level)


def test_no_secret_reaches_the_log(capsys):
    logs.configure(Settings(telegram_bot_token=TOKEN, webhook_secret="hush-hush-hush-hush"))
    try:
        raise ValueError(f"https://api.telegram.org/bot{TOKEN}/getMe")
    except ValueError:
        logging.getLogger("bot").exception("calling %s with hush-hush-hush-hush", TOKEN)
    printed = capsys.readouterr().err
    assert "ERROR bot: calling *** with ***" in printed
    assert "bot***/getMe" in printed
    assert TOKEN not in printed
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)


def test_gunicorn_s_lines_are_blotted_as_well(capsys, monkeypatch):
    server = logging.getLogger("gunicorn.error")
    monkeypatch.setattr(server, "handlers", [logging.StreamHandler()])
    monkeypatch.setattr(server, "propagate", False)
    logs.configure(Settings(telegram_bot_token=TOKEN))
    try:
        raise ValueError(f"https://api.telegram.org/bot{TOKEN}/getMe")
    except ValueError:
        server.exception("Error handling request")
    printed = capsys.readouterr().err
    assert printed.count("Error handling request") == 1
    assert "bot***/getMe" in printed
    assert TOKEN not in printed


def test_messages_are_not_logged_for_who_looks_for_faults():
    logs.configure(Settings(telegram_bot_token=TOKEN, log_level="DEBUG"))
    assert logging.getLogger("bot").isEnabledFor(logging.DEBUG)
    for name in ("telegram.ext.Application", "telegram.Bot", "httpcore.http11", "httpx"):
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG), name

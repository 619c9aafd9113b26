"""python -m bot: long polling with a token, the page alone without one."""

import re
import time

import httpx
import pytest

from bot import replies
from tests.botapi import BotApi
from tests.conftest import Service, start_service, stop_service
from tests.pictures import encode


def test_without_a_token_it_says_so_and_serves_the_page(tmp_path):
    service = start_service(tmp_path / "log", ["bot"])
    service.wait_until(lambda health: health["telegram"] == "off")
    assert "<title>" in httpx.get(service.url).text
    assert "TELEGRAM_BOT_TOKEN is not set" in service.log.read_text()
    assert stop_service(service) == 0


def start_polling(tmp_path, telegram: BotApi, **settings: str) -> Service:
    address = f"http://127.0.0.1:{telegram.port}"
    token = {"TELEGRAM_BOT_TOKEN": telegram.token, "TELEGRAM_API_URL": address}
    return start_service(tmp_path / "log", ["bot"], **token | settings)


def test_with_only_a_token_it_polls_and_tries_again_what_telegram_would_not_send_again(tmp_path, astronaut):
    with BotApi() as telegram:
        telegram.fail("sendPhoto", status=502)
        telegram.fail("setMyShortDescription", status=502)
        service = start_polling(tmp_path, telegram)
        photos = [telegram.send_photo(7, encode(astronaut))]
        telegram.wait_for(lambda: len(telegram.sent) == 1, timeout=120)
        photos.append(telegram.send_photo(7, encode(astronaut)))
        telegram.wait_for(lambda: len(telegram.sent) == 2)
        assert telegram.menu_buttons[None] == {"type": "default"}
        assert stop_service(service) == 0
        for photo, answer in zip(photos, telegram.sent, strict=True):
            assert (answer.reply_to, "woman" in answer.caption) == (photo["message"]["message_id"], True)
        commands = [command["command"] for command in telegram.commands["default", ""]]
        assert commands == [name for name in replies.COMMANDS if name != "live"]  # as there is no https
        assert telegram.token not in service.log.read_text()
        assert "OPERATOR_CONTACT is not set" in service.log.read_text()


def test_when_polling_too_more_photos_than_one_may_have_at_work_are_all_answered(tmp_path, astronaut):
    """Telegram hands all of them over at once, where it sends one after the other to a webhook."""
    with BotApi() as telegram:
        service = start_polling(tmp_path, telegram, USER_PHOTOS_AT_ONCE="2")
        photos = telegram.send_album(7, [encode(astronaut[:300])] * 6)
        telegram.wait_for(lambda: len(telegram.sent) == 6, timeout=120)
        assert stop_service(service) == 0
        replied = [(answer.reply_to, "woman" in (answer.caption or "")) for answer in telegram.sent]
        assert replied == [(photo["message"]["message_id"], True) for photo in photos]  # in order, too


@pytest.mark.parametrize("name", ["TELEGRAM_BOT_TOKEN", "PORT"])
def test_a_wrong_setting_stops_it(tmp_path, name):
    service = start_service(tmp_path / "log", ["bot"], **{name: "nonsense"})
    assert service.process.wait(30) == 1
    assert service.log.read_text().startswith(f"{name} must ")


def test_a_refused_token_stops_polling_in_one_sentence(tmp_path):
    with BotApi() as telegram:
        service = start_polling(tmp_path, telegram, TELEGRAM_BOT_TOKEN="654321:not-the-token-of-this-server")
        assert service.process.wait(60) == 1
        log = service.log.read_text()
        assert log.splitlines()[-1] == "Telegram does not accept TELEGRAM_BOT_TOKEN."
        assert not any(words in log for words in ("654321:", "Traceback"))


def test_it_says_that_telegram_can_t_be_reached_and_goes_on_when_it_can(tmp_path):
    with BotApi() as telegram:
        telegram.fail("getMe", drop=True)
        service = start_polling(tmp_path, telegram)
        telegram.wait_for(lambda: telegram.menu_buttons, timeout=60)
        assert stop_service(service) == 0
        _, *said = re.findall(r"bot\S*: (.*)", service.log.read_text())
        assert re.fullmatch("Telegram could not be reached: .+; trying again", said[0])
        assert said[1] == f"@{telegram.bot['username']} answers; Ctrl-C stops it"
        assert telegram.token not in service.log.read_text()


def test_who_sends_much_holds_up_nobody_else(tmp_path):
    with BotApi() as telegram:
        service = start_polling(tmp_path, telegram, MAX_IN_FLIGHT="2")
        telegram.wait_for(lambda: telegram.menu_buttons, timeout=60)
        telegram.fail("sendMessage", times=7, delay=1)
        for _ in range(6):
            telegram.send_text(7, "hello")
        telegram.send_text(8, "hello")
        telegram.wait_for(lambda: len(telegram.sent) == 7, timeout=20)
        assert 8 in [answer.chat_id for answer in telegram.sent[:3]]
        assert stop_service(service) == 0


def test_a_flood_wait_does_not_hold_up_the_end(tmp_path):
    with BotApi() as telegram:
        service = start_polling(tmp_path, telegram)
        telegram.wait_for(lambda: telegram.menu_buttons, timeout=60)
        telegram.fail("sendMessage", retry_after=60)
        telegram.send_text(7, "hello")
        telegram.send_text(7, "hello again")
        telegram.send_text(-1001, "/start")
        telegram.send_text(-1001, "/start")
        telegram.wait_for(lambda: ("sendMessage", 429) in telegram.calls and not telegram.pending)
        start = time.monotonic()
        assert stop_service(service) == 0
        assert time.monotonic() - start < 10
        told = [answer.text for answer in telegram.sent if answer.chat_id == 7]
        assert told == [replies.TROUBLE, replies.TROUBLE]


def test_a_token_that_is_no_longer_accepted_ends_polling_in_one_sentence(tmp_path):
    with BotApi() as telegram:
        service = start_polling(tmp_path, telegram)
        telegram.wait_for(lambda: telegram.menu_buttons, timeout=60)
        with telegram.changed:
            telegram.token = "7654321:AAanother-one-by-BotFather"
        telegram.send_text(7, "hello")  # ends the call that waits for it
        assert service.process.wait(60) == 1
        log = service.log.read_text()
        assert log.splitlines()[-1] == "Telegram does not accept TELEGRAM_BOT_TOKEN."
        assert not any(words in log for words in ("7654321:", "Traceback", "destroyed"))


def test_another_who_fetches_the_updates_is_told(tmp_path):
    with BotApi() as telegram:
        service = start_polling(tmp_path, telegram)
        telegram.wait_for(lambda: telegram.menu_buttons, timeout=60)
        url = f"http://127.0.0.1:{telegram.port}/bot{telegram.token}/getUpdates"
        deadline = time.monotonic() + 20
        while "Somebody else fetches this bot's updates" not in service.log.read_text():
            httpx.get(url, params={"timeout": 0}, timeout=30)  # again, as it may not fetch at that moment
            assert time.monotonic() < deadline, service.log.read_text()
            time.sleep(0.1)
        assert stop_service(service) == 0
        assert "Traceback" not in service.log.read_text()

"""kill -9 and SIGTERM, at any time: every photo is answered.

And once, wherever the kill falls but at one instant: between Telegram's yes to the answer and the note in
Redis that the update is finished. What dies there is answered once more, as nobody is left who knows of it.
"""

import os
import signal
import time
from contextlib import suppress

import httpx
import pytest

from bot import replies
from tests.botapi import BotApi
from tests.botapi.world import Json
from tests.chaos.fleet import (
    PACE,
    answers,
    cpu_seconds,
    inference_process,
    not_once,
    sigterm,
    texts,
    wait_for_answers,
    wait_until,
    web_process,
)
from tests.conftest import Service, kill_tree
from tests.hostile import scans

pytestmark = pytest.mark.timeout(600)  # seconds; the first test starts the fleet

HEAVY = scans(900)  # keeps a process busy for some seconds


def test_200_photos_are_answered_once_though_a_dyno_and_a_web_process_are_killed(fleet, send):
    telegram = fleet.telegram
    photos = send(200)
    first, second = fleet.dynos
    delivery = telegram.start_delivery(200, PACE)
    wait_for_answers(telegram, photos, 30)
    freeze_between_answers(telegram, first, photos)
    kill_tree(first)
    fleet.restart(0)
    wait_for_answers(telegram, photos, 100)
    killed, inference = freeze_between_answers(telegram, second, photos)
    os.kill(killed, signal.SIGKILL)
    with suppress(ProcessLookupError):  # it ends with the other
        os.kill(inference, signal.SIGCONT)
    assert delivery.result()
    assert not_once(telegram, photos) == {}
    lost = [photo for photo in photos if 502 in statuses(telegram, photo)]  # what the router says then
    assert len(lost) >= 2
    wait_until(lambda: web_process(second) != killed)


def test_a_kill_between_an_answer_and_the_note_of_it_costs_a_second_answer_at_most(fleet, send):
    telegram = fleet.telegram
    telegram.gateway = fleet.dynos[0].url
    photos = send(5)
    telegram.fail("sendPhoto", lag=5)  # the photo is in the chat, and the dyno does not know it yet
    delivery = telegram.start_delivery(120, PACE)
    telegram.wait_for(lambda: len(telegram.pending) == 1 and all(answers(telegram, photos)), timeout=60)
    kill_tree(fleet.dynos[0])
    telegram.gateway = fleet.url
    fleet.restart(0)
    assert delivery.result()
    assert sorted(answers(telegram, photos)) in ([1, 1, 1, 1, 1], [1, 1, 1, 1, 2])


def test_sigterm_lets_what_is_in_flight_be_answered_by_the_same_dyno(fleet, send):
    telegram, dyno = fleet.telegram, fleet.dynos[1]
    telegram.gateway = dyno.url
    process = inference_process(dyno)
    os.kill(process, signal.SIGSTOP)  # so that none is answered before the signal comes
    photos = send(8)
    delivery = telegram.start_delivery(60, PACE)
    telegram.wait_for(lambda: all(downloaded(telegram, photo) for photo in photos))
    sigterm(dyno)
    os.kill(process, signal.SIGCONT)
    assert dyno.process.wait(30) == 0
    assert delivery.result()
    assert [statuses(telegram, photo) for photo in photos] == [[200]] * 8
    assert not_once(telegram, photos) == {}


def test_sigterm_under_load_loses_nothing(fleet, send):
    telegram, dyno = fleet.telegram, fleet.dynos[0]
    photos = send(120)
    delivery = telegram.start_delivery(120, PACE)
    wait_for_answers(telegram, photos, 20)
    sigterm(dyno)
    assert len(telegram.pending) > 50
    assert dyno.process.wait(30) == 0
    fleet.restart(0)
    assert delivery.result()
    assert not_once(telegram, photos) == {}


@pytest.mark.parametrize("damage", [signal.SIGKILL, signal.SIGSTOP])
def test_a_photo_whose_process_dies_or_hangs_gets_an_apology_and_the_others_their_answers(
    fleet, person, send, damage
):
    telegram, dyno = fleet.telegram, fleet.dynos[0]
    telegram.gateway = dyno.url
    busy = cpu_seconds(inference_process(dyno)) + 0.3
    bad = telegram.send_document(person, HEAVY, "photo.jpg", "image/jpeg")
    delivery = telegram.start_delivery(120, PACE)
    telegram.wait_for(lambda: downloaded(telegram, bad))
    others = send(4)
    telegram.wait_for(lambda: all(downloaded(telegram, photo) for photo in others))
    process = strike(dyno, busy, damage)
    assert delivery.result()
    assert texts(telegram, bad) == [replies.FAILED]
    caption, *rest = (text for photo in others for text in texts(telegram, photo))
    assert caption.startswith("1. ")
    assert rest == [replies.NO_FACE] * 3
    assert statuses(telegram, bad) == [200]
    assert inference_process(dyno) != process


def test_a_photo_that_killed_its_process_kills_no_other_when_it_comes_again(fleet, person):
    """Its apology could not be sent, so that it has to come again."""
    telegram, dyno = fleet.telegram, fleet.dynos[0]
    telegram.gateway = dyno.url
    telegram.fail("sendMessage", times=2, status=500)
    fetched = telegram.calls.count(("file", 200))
    busy = cpu_seconds(inference_process(dyno)) + 0.3
    bad = telegram.send_document(person, HEAVY, "photo.jpg", "image/jpeg")
    delivery = telegram.start_delivery(120, PACE)
    strike(dyno, busy, signal.SIGKILL)
    assert delivery.result()
    assert texts(telegram, bad) == [replies.FAILED]
    assert statuses(telegram, bad)[-1] == 200
    assert len(statuses(telegram, bad)) > 1
    assert telegram.calls.count(("file", 200)) == fetched + 1  # and was not even fetched again


def freeze_between_answers(telegram: BotApi, dyno: Service, photos: list[Json]) -> tuple[int, int]:
    """Stop a web process with photos in work while no answer is on its way or not yet noted as finished.

    Returns:
        The ids of the web process and of its inference process, which is stopped first, so that the photos
        stay in work and the answers come to an end.
    """
    web, inference = web_process(dyno), inference_process(dyno)
    os.kill(inference, signal.SIGSTOP)
    for _ in range(30):
        os.kill(web, signal.SIGSTOP)
        if is_between_answers(telegram, photos):
            return web, inference
        os.kill(web, signal.SIGCONT)
        time.sleep(0.2)  # to get on with it
    raise AssertionError("at every look an answer was on its way")


def is_between_answers(telegram: BotApi, photos: list[Json]) -> bool:
    """Whether the web process that has been stopped had no answer on its way."""

    def unnoted() -> set[int]:
        pending = {update["update_id"] for update in telegram.pending}
        answered = zip(photos, answers(telegram, photos), strict=True)
        return {photo["update_id"] for photo, count in answered if count} & pending

    httpx.get(f"{telegram.base_url}{telegram.token}/getMe")  # after it, all that was sent before is underway
    try:
        telegram.wait_for(lambda: telegram.underway == 0, timeout=0.5)
        before = unnoted()  # of which the other dyno's are acknowledged in a moment
        telegram.wait_for(lambda: not before & unnoted(), timeout=0.5)
    except AssertionError:
        return False
    return True


def strike(dyno: Service, busy: float, damage: signal.Signals) -> int:
    """Send an inference process a signal once it has worked for `busy` seconds since its start; its id."""
    pid = inference_process(dyno)
    with suppress(ProcessLookupError, FileNotFoundError):  # on a slow machine the time limit may come first
        wait_until(lambda: cpu_seconds(pid) > busy)
        os.kill(pid, damage)
    return pid


def downloaded(telegram: BotApi, update: Json) -> bool:
    """Whether the bot has asked for a picture, in any of its sizes."""
    message = update["message"]
    sizes = message["photo"] if "photo" in message else [message["document"]]
    return any(telegram.files[size["file_id"]].fetched for size in sizes)


def statuses(telegram: BotApi, update: Json) -> list[int | None]:
    """What the webhook answered to each delivery of an update."""
    return [attempt.status for attempt in telegram.deliveries[update["update_id"]]]

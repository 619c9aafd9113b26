"""Hostile files through the whole bot: always one answer, and the next photo is answered as ever."""

import pytest

from bot import replies
from inference.errors import MAX_BYTES, Reason
from tests.chaos.conftest import PEOPLE
from tests.chaos.fleet import PACE, not_once, texts, web_process
from tests.hostile import corpus, scans

pytestmark = pytest.mark.timeout(600)  # seconds; the first test starts the fleet

UNREAD = {replies.refusal(reason, 20, is_file) for reason in Reason for is_file in (True, False)}
REFUSALS = {replies.FAILED, replies.NO_FACE, *UNREAD}


def test_every_hostile_file_gets_one_answer(fleet, send):
    """Under a wrong name, each of them."""
    telegram = fleet.telegram
    before = [web_process(dyno) for dyno in fleet.dynos]
    files = {(group, name): data for group, files in corpus().items() for name, data in files.items()}
    updates = {
        name: telegram.send_document(next(PEOPLE), data, "photo.jpg", "image/jpeg")
        for name, data in files.items()
    }
    photos = send(10)
    assert telegram.run_delivery(200, PACE)
    assert not_once(telegram, [*updates.values(), *photos]) == {}
    for (group, name), update in updates.items():
        (said,) = texts(telegram, update)
        assert said in REFUSALS or said.startswith("1. "), name
        if group in ("empty", "only a start", "cut short", "bombs", "no pictures"):
            assert said in UNREAD, name
        if group in ("more than a picture", "odd metadata"):
            assert said.startswith("1. "), name
    assert [web_process(dyno) for dyno in fleet.dynos] == before


def test_a_file_that_takes_too_long_is_given_up_and_not_tried_again(fleet, person, send):
    """20 MB of padding, which Pillow skips byte by byte, and 900 scans: read in the end, but not in time."""
    telegram = fleet.telegram
    data = scans(900)
    padded = data[:2] + b"\xff" * (MAX_BYTES - len(data)) + data[2:]
    slow = telegram.send_document(person, padded, "photo.jpg", "image/jpeg")
    photos = send(8)
    assert telegram.run_delivery(120, PACE)
    assert texts(telegram, slow) == [replies.FAILED]
    assert not_once(telegram, photos) == {}
    assert [attempt.status for attempt in telegram.deliveries[slow["update_id"]]].count(200) == 1

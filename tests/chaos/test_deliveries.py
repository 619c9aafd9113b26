"""Doubles, a Bot API in trouble, a Redis that goes and comes, people who send too much."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.chaos.conftest import USER_PHOTOS_A_MINUTE
from tests.chaos.fleet import PACE, SECRET_HEADER, answers, not_once, texts, wait_for_answers
from tests.conftest import SECRET

pytestmark = pytest.mark.timeout(600)  # seconds; the first test starts the fleet

SLOW_SECONDS = 10


def test_an_update_delivered_five_times_at_once_to_each_of_two_dynos_gets_one_answer(fleet, send):
    (photo,) = send(1)

    def post(url: str) -> int:
        headers = {SECRET_HEADER: SECRET}
        return httpx.post(f"{url}/telegram", json=photo, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(10) as threads:
        statuses = list(threads.map(post, [dyno.url for dyno in fleet.dynos] * 5))
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    assert [post(dyno.url) for dyno in fleet.dynos] == [200, 200]  # and neither answers it again
    assert answers(fleet.telegram, [photo]) == [1]


def test_an_album_of_a_group_may_reach_several_dynos(fleet, face):
    telegram = fleet.telegram
    photos = telegram.send_album(-1_002_001, [face] * 3, f"@{telegram.bot['username']}")
    for photo, dyno in zip(photos, [*fleet.dynos, fleet.dynos[0]], strict=True):
        telegram.gateway = dyno.url
        assert telegram.deliver(photo) == 200
    assert answers(telegram, photos) == [1, 1, 1]


def test_a_bot_api_in_trouble_gets_every_answer_once(fleet, send):
    """All of it at once, but no answer taken of which the dyno is not told; see the test below."""
    telegram = fleet.telegram
    for method in ("getFile", "file", "sendPhoto", "sendMessage", "sendChatAction"):
        telegram.fail(method, delay=SLOW_SECONDS)
        telegram.fail(method, times=3, status=500, description="Internal Server Error")
        telegram.fail(method, times=3, status=502, description="Bad Gateway")
        telegram.fail(method, times=3, drop=True)
        telegram.fail(method, times=2, retry_after=1)  # sat out
        telegram.fail(method, times=2, retry_after=60)  # left to redelivery
    photos = send(60)
    assert telegram.run_delivery(200, PACE)
    assert not_once(telegram, photos) == {}


@pytest.mark.parametrize("method", ["sendPhoto", "sendMessage"])
def test_an_answer_whose_receipt_is_lost_is_given_twice_at_most(fleet, send, method):
    telegram = fleet.telegram
    telegram.fail(method, drop=True, takes_effect=True)
    photos = send(5)
    assert telegram.run_delivery(120, PACE)
    assert sorted(answers(telegram, photos)) in ([1, 1, 1, 1, 1], [1, 1, 1, 1, 2])


def test_redis_may_hang_and_die_and_come_back_under_load(fleet, send):
    telegram, redis = fleet.telegram, fleet.redis

    def wait_until_redis_is(status: str) -> None:
        for dyno in fleet.dynos:
            dyno.wait_until(lambda health: health["redis"] == status)

    photos = send(60)
    delivery = telegram.start_delivery(120, PACE)
    wait_for_answers(telegram, photos, 10)
    os.kill(redis.process.pid, signal.SIGSTOP)
    assert delivery.result()
    wait_until_redis_is("away")
    redis.stop()
    photos += send(30)
    assert telegram.run_delivery(120, PACE)
    wait_until_redis_is("away")
    redis.start()
    wait_until_redis_is("connected")
    photos += (more := send(60))
    delivery = telegram.start_delivery(120, PACE)
    wait_for_answers(telegram, more, 10)
    redis.stop()
    redis.start()
    assert delivery.result()
    wait_until_redis_is("connected")
    assert all(answers(telegram, photos))
    assert sum(answers(telegram, photos)) <= len(photos) + 5
    log = fleet.logs()
    assert "Redis is away" in log
    assert "Redis is there" in log


def test_the_limit_of_one_person_is_counted_on_both_dynos_together(fleet, send, person, face):
    telegram = fleet.telegram
    photos = [telegram.send_photo(person, face) for _ in range(USER_PHOTOS_A_MINUTE + 6)]
    (other,) = send(1)
    assert telegram.run_delivery(120, PACE)
    said = [text for photo in photos for text in texts(telegram, photo)]
    faces = [text for text in said if text.startswith("1. ")]
    assert len(faces) == USER_PHOTOS_A_MINUTE
    # Told once, and not each time, lest the bot itself be slowed down by Telegram.
    assert ["That is a lot in one minute!" in text for text in said if text not in faces] == [True]
    assert len(texts(telegram, other)) == 1

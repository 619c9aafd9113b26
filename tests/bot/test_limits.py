import asyncio
import contextlib
import time
from types import SimpleNamespace

import pytest

from bot.limits import Limits, SlowDown
from bot.settings import Settings
from bot.shared import Shared
from tests.bot.sharing import sharing, until

SETTINGS = Settings(user_photos_a_minute=5, user_photos_at_once=2, page_photos_a_minute=3)
ANN, BOB = 7, 8


@pytest.fixture(params=["memory", "redis"])
def one_dyno(request):
    """How one dyno gets its limits."""

    @contextlib.asynccontextmanager
    async def limits():
        if request.param == "memory":
            yield Limits(SETTINGS, Shared(SETTINGS))
        else:
            async with sharing(request.getfixturevalue("redis_server").url) as shared:
                yield Limits(SETTINGS, shared)

    return limits


async def photo(limits: Limits, sender: int, photos: int = 1) -> None:
    async with limits.user(sender, photos):
        pass


async def refused(work) -> float:
    """The seconds that whoever does too much is to wait."""
    with pytest.raises(SlowDown) as refusal:
        await work
    return refusal.value.seconds


def test_one_person_s_photos_a_minute_are_limited(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            for _ in range(5):
                await photo(limits, ANN)
            assert await refused(photo(limits, ANN)) == 60
            await photo(limits, BOB)

    asyncio.run(scenario())


def test_photos_that_come_again_are_counted_once(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            for _ in range(10):
                with pytest.raises(ConnectionError):
                    async with limits.user(ANN):
                        raise ConnectionError
            for _ in range(5):
                await photo(limits, ANN)
            await refused(photo(limits, ANN))

    asyncio.run(scenario())


def test_one_person_s_photos_at_once_are_limited(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            async with limits.user(ANN), limits.user(ANN):
                assert await refused(photo(limits, ANN)) == 0
                await photo(limits, BOB)
            await photo(limits, ANN)

    asyncio.run(scenario())


def test_a_video_counts_as_several_photos_and_as_a_minute_s_at_most(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            await photo(limits, ANN)
            await photo(limits, ANN)
            assert await refused(photo(limits, ANN, 4)) > 0
            await photo(limits, ANN, 3)
            await refused(photo(limits, ANN))
            await photo(limits, BOB, 50)
            await refused(photo(limits, BOB))

    asyncio.run(scenario())


def test_photos_being_worked_on_count_towards_the_minute(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            for _ in range(4):
                await photo(limits, ANN)
            async with limits.user(ANN):
                assert await refused(photo(limits, ANN)) > 0

    asyncio.run(scenario())


def test_videos_being_worked_on_count_as_several_photos(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            async with limits.user(ANN, 4):
                assert await refused(photo(limits, ANN, 2)) > 0
            await photo(limits, ANN)
            assert await refused(photo(limits, ANN)) > 0

    asyncio.run(scenario())


def test_what_turns_out_to_be_a_video_counts_as_more_photos_as_far_as_there_is_room(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            for before, sender in ((1, ANN), (3, BOB)):
                await photo(limits, sender, before)
                async with limits.user(sender):
                    await limits.more(sender, 3)
                assert await refused(photo(limits, sender)) > 0

    asyncio.run(scenario())


def test_one_address_s_photos_a_minute_are_limited(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            for _ in range(3):
                await limits.address("192.0.2.1")
            assert 50 < await refused(limits.address("192.0.2.1")) <= 60
            await limits.address("192.0.2.2")

    asyncio.run(scenario())


def test_a_person_is_told_once_a_minute_and_of_photos_at_once_besides(one_dyno):
    async def scenario():
        async with one_dyno() as limits:
            for refusal in (SlowDown(60), SlowDown(0)):
                assert await limits.may_tell(ANN, refusal)
                assert await limits.may_tell(ANN, refusal)  # as they could not be told
                await limits.told(ANN, refusal)
                assert not await limits.may_tell(ANN, refusal)
            assert await limits.may_tell(BOB, SlowDown(60))

    asyncio.run(scenario())


def test_dynos_share_the_limits(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as one, sharing(redis_server.url) as other:
            first, second = Limits(SETTINGS, one), Limits(SETTINGS, other)
            async with first.user(ANN), second.user(ANN):
                assert await refused(photo(first, ANN)) == 0
                assert await refused(photo(second, ANN)) == 0
            await asyncio.gather(photo(first, ANN), photo(second, ANN))
            await photo(first, ANN)
            assert await refused(photo(second, ANN)) > 0
            await first.told(ANN, SlowDown(60))
            assert not await second.may_tell(ANN, SlowDown(60))

    asyncio.run(scenario())


def test_photos_of_a_killed_dyno_do_not_count_as_at_work_for_ever(redis_server, monkeypatch):
    """Though the person goes on to send others, so that what is kept of them does not expire."""
    clock = SimpleNamespace(time=time.time)
    monkeypatch.setattr("bot.limits.time", clock)

    async def scenario():
        async with sharing(redis_server.url) as killed, sharing(redis_server.url) as shared:
            limits = Limits(SETTINGS, shared)
            gone = Limits(SETTINGS, killed)
            async with gone.user(ANN), gone.user(ANN):  # which it does not come to leave
                assert await refused(photo(limits, ANN)) == 0
                clock.time = lambda: time.time() + 40
                assert await refused(photo(limits, ANN)) == 0
                clock.time = lambda: time.time() + 61
                await photo(limits, ANN)

    asyncio.run(scenario())


def test_bots_that_share_a_redis_don_t_share_their_limits(redis_server):
    async def scenario():
        token = "123456:ABCDEFGHIJKL"
        async with (
            sharing(redis_server.url) as one,
            sharing(redis_server.url, telegram_bot_token=token) as other,
        ):
            await Limits(SETTINGS, one).told(ANN, SlowDown(60))
            assert await Limits(SETTINGS, other).may_tell(ANN, SlowDown(60))

    asyncio.run(scenario())


def test_without_redis_limits_are_kept_in_memory(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as shared:
            limits = Limits(SETTINGS, shared)
            async with limits.user(ANN):
                redis_server.stop()
                await photo(limits, BOB)
                await until(shared, "away")
                async with limits.user(ANN):
                    assert await refused(photo(limits, ANN)) == 0
            for _ in range(3):
                await photo(limits, ANN)
            assert await refused(photo(limits, ANN)) > 0

    asyncio.run(scenario())

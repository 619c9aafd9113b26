import asyncio
import contextlib
import signal
import subprocess
import sys

import pytest
import redis

from bot import admission
from bot.admission import Admission, Busy, Finished
from bot.settings import Settings
from bot.shared import Shared
from tests.bot.sharing import sharing, until


def alone(max_in_flight: int = 8) -> Admission:
    return Admission(max_in_flight, Shared(Settings()))


async def expect(error: type[Exception], admission: Admission, update: int) -> None:
    with pytest.raises(error):
        async with admission.claim(update):
            pytest.fail("claimed once more")


async def work(admission: Admission, update: int) -> None:
    async with admission.claim(update):
        pass


async def fail(admission: Admission, update: int) -> None:
    with pytest.raises(ZeroDivisionError):
        async with admission.claim(update):
            raise ZeroDivisionError


async def ignore(admission: Admission, update: int) -> None:
    async with admission.claim(update) as claim:
        claim.answered = False


def test_an_update_is_worked_on_once():
    async def scenario():
        admission = alone()
        async with admission.claim(1):
            assert admission.in_flight == 1
            await expect(Busy, admission, 1)
        assert admission.in_flight == 0
        await expect(Finished, admission, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("leave", [fail, ignore])
def test_what_failed_or_was_ignored_may_be_done_again(leave):
    async def scenario():
        admission = alone()
        await leave(admission, 1)
        await work(admission, 1)
        await expect(Finished, admission, 1)

    asyncio.run(scenario())


def test_work_in_flight_is_bounded():
    async def scenario():
        admission = alone(max_in_flight=2)
        async with admission.claim(1):
            async with admission.claim(2):
                await expect(Busy, admission, 3)
            await work(admission, 3)

    asyncio.run(scenario())


def test_of_many_claims_at_once_one_is_granted(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as one, sharing(redis_server.url) as other:
            first, second = Admission(8, one), Admission(8, other)
            granted, turned_away = [], []

            async def claim(admission: Admission) -> None:
                try:
                    async with admission.claim(1):
                        granted.append(admission)
                        while len(turned_away) < 9:
                            await asyncio.sleep(0.01)
                except Busy:
                    turned_away.append(admission)

            await asyncio.gather(*(claim(one) for one in [first, second] * 5))
            assert (len(granted), len(turned_away)) == (1, 9)

    asyncio.run(scenario())


def test_dynos_share_what_is_worked_on_and_what_is_finished(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as one, sharing(redis_server.url) as other:
            first, second = Admission(8, one), Admission(8, other)
            async with first.claim(1):
                await expect(Busy, second, 1)
                await work(second, 2)
            await expect(Finished, second, 1)
            await expect(Finished, first, 2)
            await fail(first, 3)
            await work(second, 3)
            await ignore(first, 4)

    asyncio.run(scenario())
    client = redis.Redis.from_url(redis_server.url)
    seconds = [client.ttl(key) for key in client.scan_iter("*:update:*")]
    client.close()
    assert len(seconds) == 3
    assert all(24 * 60 * 60 - 100 < left <= 24 * 60 * 60 for left in seconds)


KILLED = """
import asyncio, sys
from bot import admission
from tests.bot.sharing import sharing

admission.LEASE_SECONDS, admission.RENEWAL_SECONDS = 2, 0.5

async def main():
    async with sharing(sys.argv[1]) as shared:
        async with admission.Admission(8, shared).claim(1):
            print("claimed", flush=True)
            await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_lease_is_renewed_while_the_work_goes_on_and_ends_with_its_process(redis_server):
    command = [sys.executable, "-c", KILLED, redis_server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"

        async def scenario():
            async with sharing(redis_server.url) as shared:
                second = Admission(8, shared)
                await asyncio.sleep(3)  # longer than the lease
                await expect(Busy, second, 1)
                process.kill()
                for _ in range(300):
                    with contextlib.suppress(Busy):
                        return await work(second, 1)
                    await asyncio.sleep(0.1)
                pytest.fail("the claim outlived its process")

        asyncio.run(scenario())


def test_work_goes_on_while_redis_is_away(redis_server, said):
    async def scenario():
        async with sharing(redis_server.url) as one, sharing(redis_server.url) as other:
            first, second = Admission(8, one), Admission(8, other)
            async with first.claim(1):
                redis_server.stop()
                await work(first, 2)
                await until(one, "away")
            await expect(Finished, first, 1)
            await work(second, 1)  # a possible double answer is better than none
            redis_server.start()
            await until(one, "connected")
            await until(other, "connected")
            await expect(Finished, first, 2)
            await work(first, 3)
            await expect(Finished, second, 3)

    asyncio.run(scenario())
    lines = [record.getMessage() for record in said("bot.shared")]
    assert sum("Redis is away" in line for line in lines) == 2  # once for each dyno
    assert sum("Redis is there" in line for line in lines) == 4


def test_a_redis_that_hangs_takes_no_more_than_a_moment(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as shared:
            first = Admission(8, shared)
            redis_server.process.send_signal(signal.SIGSTOP)
            start = asyncio.get_running_loop().time()
            await asyncio.gather(*(work(first, number) for number in range(8)))
            await asyncio.gather(*(work(first, number) for number in range(8, 16)))
            assert asyncio.get_running_loop().time() - start < 10
            redis_server.process.send_signal(signal.SIGCONT)
            await until(shared, "connected")
            await work(first, 16)

    asyncio.run(scenario())


def test_what_a_restarted_redis_forgot_is_claimed_again(redis_server, monkeypatch):
    monkeypatch.setattr(admission, "RENEWAL_SECONDS", 0.2)

    async def scenario():
        async with (
            sharing(redis_server.url) as one,
            sharing(redis_server.url) as other,
            Admission(8, one).claim(1),
        ):
            redis_server.stop()
            redis_server.start()
            client = redis.Redis.from_url(redis_server.url)
            while not list(client.scan_iter("*:update:1")):
                await asyncio.sleep(0.05)
            client.close()
            await until(other, "connected")
            await expect(Busy, Admission(8, other), 1)

    asyncio.run(scenario())

"""Which updates may be worked on: each once, and only so many at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cachetools import TTLCache
from redis.asyncio import Redis

from bot.shared import Shared

REMEMBERED = 30_000  # updates, in the memory of one process: 10 MB
REMEMBERED_SECONDS = 24 * 60 * 60  # Telegram redelivers for a day
LEASE_SECONDS = 10  # that a claim in Redis outlives a killed process
RENEWAL_SECONDS = 3  # between renewals of a lease
WORKING, FINISHED = b"working", b"finished"


class Finished(Exception):
    """It was answered before: acknowledge it again, without another answer."""


class Busy(Exception):
    """It is being worked on, or too many others are: let Telegram send it again."""


@dataclass
class Claim:
    """An update that is being worked on.

    Attributes:
        answered: whether there is something that must not be done again; what was ignored is not remembered,
            as the chatter of groups would fill a small Redis.
    """

    answered: bool = True


class Admission:
    """Claims in the memory of this process, and in Redis for all others."""

    def __init__(self, max_in_flight: int, shared: Shared) -> None:
        self._max_in_flight, self._shared = max_in_flight, shared
        self._in_flight: set[int] = set()
        self._finished: TTLCache[int, bool] = TTLCache(REMEMBERED, REMEMBERED_SECONDS)

    @property
    def in_flight(self) -> int:
        """How many updates are being worked on by this process."""
        return len(self._in_flight)

    @asynccontextmanager
    async def claim(self, update_id: int) -> AsyncIterator[Claim]:
        """Hold an update while it is worked on; it counts as finished unless the work raises or ignores it.

        Raises:
            Finished: it was worked on to the end before.
            Busy: it is being worked on, or the bound on work in flight is reached.
        """
        if update_id in self._finished:
            raise Finished
        if update_id in self._in_flight or len(self._in_flight) >= self._max_in_flight:
            raise Busy
        self._in_flight.add(update_id)  # before anything is waited for, so that no one else comes between
        try:
            claim = Claim()
            async with self._lease(f"{self._shared.prefix}update:{update_id}", claim):
                yield claim
            if claim.answered:
                self._finished[update_id] = True
        finally:
            self._in_flight.discard(update_id)

    @asynccontextmanager
    async def _lease(self, key: str, claim: Claim) -> AsyncIterator[None]:
        """The claim for the other processes. Its lease is short and renewed, so that a killed process's
        updates are soon free; one that stood still for longer may find its update taken by another, and
        both answer it, which is better than neither."""

        async def take(redis: Redis) -> bytes | None:
            """None where it was free."""
            while not await redis.set(key, WORKING, ex=LEASE_SECONDS, nx=True):
                if holder := await redis.get(key):  # it may have expired just now
                    return holder
            return None

        async def renew() -> None:
            while True:
                await asyncio.sleep(RENEWAL_SECONDS)
                async with renewing:  # set anew rather than prolonged: Redis may have come back empty
                    await self._shared.ask(lambda redis: redis.set(key, WORKING, ex=LEASE_SECONDS), None)

        holder = await self._shared.ask(take, None)
        if holder is not None:
            raise Finished if holder == FINISHED else Busy
        renewing = asyncio.Lock()
        renewal = asyncio.create_task(renew())
        try:
            try:
                yield
            finally:
                async with renewing:  # not in the middle of it, lest it come after what follows
                    renewal.cancel()
        except BaseException:
            await self._shared.ask(lambda redis: redis.delete(key), None)
            raise
        if claim.answered:
            await self._shared.ask(lambda redis: redis.set(key, FINISHED, ex=REMEMBERED_SECONDS), None)
        else:
            await self._shared.ask(lambda redis: redis.delete(key), None)

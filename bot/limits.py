"""How many photos one person, or one address, may send: counted in memory, or in Redis for all dynos."""

import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis

from bot.settings import Settings
from bot.shared import Shared

T = TypeVar("T")

AT_WORK_SECONDS = 60  # after which a killed process's photo no longer counts as being worked on
# How often one person is told to slow down: when what they were told to wait for is over, they are told anew.
TELLING = RateLimitItemPerMinute(1)
TELLING_TO_WAIT = RateLimitItemPerSecond(1, 10)  # for the answers to the others


class SlowDown(Exception):
    """More photos than one person or address may send.

    Attributes:
        seconds: until the others may come; 0 where they only have to wait for the answers to those before.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Limits:
    """Counts photos by who sent them."""

    def __init__(self, settings: Settings, shared: Shared) -> None:
        self._shared = shared
        self._at_once = settings.user_photos_at_once
        self._of_user = RateLimitItemPerMinute(settings.user_photos_a_minute)
        self._of_address = RateLimitItemPerMinute(settings.page_photos_a_minute)
        self._at_work: Counter[str] = Counter()  # photos and videos in this process, by sender
        self._to_count: Counter[str] = Counter()  # photos that those will count as
        self._memory = MovingWindowRateLimiter(MemoryStorage())
        self._redis = shared.connections and MovingWindowRateLimiter(
            RedisStorage(
                "async+redis://",
                implementation="redispy",
                key_prefix=f"{shared.prefix}limits",
                connection_pool=shared.connections,
            )
        )

    @asynccontextmanager
    async def user(self, sender: int, photos: int = 1) -> AsyncIterator[None]:
        """Work on a photo of a person. It counts when it has been answered, so not if it has to come again.

        Args:
            sender: id of a user, or of the chat for which somebody speaks.
            photos: that it counts as, where it is a video; a whole minute's at most.

        Raises:
            SlowDown: there were too many in the last minute, or too many are being worked on.
        """
        name, photos = f"user:{sender}", min(photos, self._of_user.amount)
        async with self._one_of_a_few(name):
            with counted(self._to_count, name, photos):
                cost = self._to_count[name]
                if not await self._count(lambda window: window.test(self._of_user, name, cost=cost)):
                    # A place or two may be free sooner, but not for all that they want to send.
                    raise SlowDown(self._of_user.get_expiry())
                yield
                await self._count(lambda window: window.hit(self._of_user, name, cost=photos))

    async def more(self, sender: int, photos: int) -> None:
        """Count more photos of a person, for one that turned out to be a video; no more than are left."""
        for _ in range(photos):  # at once, none of them would count where not all do
            await self._count(lambda window: window.hit(self._of_user, f"user:{sender}"))

    async def address(self, address: str) -> None:
        """Count a photo that comes from an address.

        Raises:
            SlowDown: there were too many in the last minute.
        """
        name = f"address:{address}"
        if not await self._count(lambda window: window.hit(self._of_address, name)):
            stats = await self._count(lambda window: window.get_window_stats(self._of_address, name))
            raise SlowDown(max(1.0, stats.reset_time - time.time()))

    async def may_tell(self, sender: int, refusal: SlowDown) -> bool:
        """Whether a person is to be told of the limits now; told each time, they could make the bot flood."""
        return await self._count(lambda window: window.test(_telling(refusal), f"told:{sender}"))

    async def told(self, sender: int, refusal: SlowDown) -> None:
        """Note that they were told."""
        await self._count(lambda window: window.hit(_telling(refusal), f"told:{sender}"))

    @asynccontextmanager
    async def _one_of_a_few(self, name: str) -> AsyncIterator[None]:
        key, token = f"{self._shared.prefix}{name}:at-work", secrets.token_hex(8)

        async def enter(redis: Redis) -> bool:
            now = time.time()
            async with redis.pipeline(transaction=True) as steps:
                steps.zremrangebyscore(key, 0, now)
                steps.zadd(key, {token: now + AT_WORK_SECONDS})
                steps.zcard(key)
                steps.expire(key, AT_WORK_SECONDS)
                _, _, count, _ = await steps.execute()
            return count <= self._at_once

        if self._at_work[name] >= self._at_once:
            raise SlowDown(0)
        with counted(self._at_work, name, 1):
            try:
                if not await self._shared.ask(enter, True):
                    raise SlowDown(0)
                yield
            finally:
                await self._shared.ask(lambda redis: redis.zrem(key, token), None)

    async def _count(self, question: Callable[[MovingWindowRateLimiter], Awaitable[T]]) -> T:
        """Ask the window in Redis; while it is away, the one in memory."""
        answer = await self._shared.ask(lambda _: question(self._redis), None)
        return await question(self._memory) if answer is None else answer


def _telling(refusal: SlowDown) -> RateLimitItem:
    return TELLING if refusal.seconds else TELLING_TO_WAIT


@contextmanager
def counted(counts: Counter[str], name: str, count: int) -> Iterator[None]:
    """Count something while it lasts; nothing stays of a name without any."""
    counts[name] += count
    try:
        yield
    finally:
        counts[name] -= count
        if not counts[name]:
            del counts[name]

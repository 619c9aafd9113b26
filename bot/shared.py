"""Redis, which all dynos share; while it is away, each goes by its own memory."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError

from bot.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

ANSWER_SECONDS = 2  # that Redis may take, usually for what it does in a thousandth of one
PROBE_SECONDS = 2  # between looks whether it is there
CONNECTIONS = 4  # at most; small plans allow 20 for all dynos together
ERRORS = (RedisError, OSError)


class Shared:
    """A connection to Redis that may come and go.

    Attributes:
        status: "off" where no REDIS_URL is set, else "connecting", "connected" or "away".
        prefix: of every key; bots that share a Redis don't share their keys.
        connections: for libraries that bring their own client; None without REDIS_URL.
    """

    def __init__(self, settings: Settings) -> None:
        self.status = "connecting" if settings.redis else "off"
        self.prefix = f"faces:{settings.token.split(':')[0] if settings.token else 'page'}:"
        self.connections = settings.redis and ConnectionPool.from_url(
            settings.redis,
            max_connections=CONNECTIONS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            # A connection that was idle for long may have been closed; but one that hangs is not asked again.
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
            **settings.redis_options,
        )
        self._redis = self.connections and Redis.from_pool(self.connections)
        # Whoever waits for a connection waits here: in the pool, a crowd would look like a Redis that hangs.
        self._turns = asyncio.Semaphore(CONNECTIONS - 1)  # and one for `watch`

    async def ask(self, question: Callable[[Redis], Awaitable[T]], otherwise: T) -> T:
        """What Redis answers to `question`; `otherwise` while it is away, or takes too long."""
        if self.status != "connected":
            return otherwise
        async with self._turns:
            if self.status != "connected":  # any more
                return otherwise
            try:
                return await question(self._redis)
            except ERRORS as error:
                self._miss(error)
                return otherwise

    async def watch(self) -> None:
        """Notice when Redis goes and comes, until canceled; returns at once where there is none."""
        while self._redis:
            try:
                # Written, not only pinged: one that is full or a mere replica is of no use.
                await self._redis.set(f"{self.prefix}probe", 1, ex=60)
            except ERRORS as error:
                self._miss(error)
            else:
                if self.status != "connected":
                    log.info("Redis is there: claims and limits are shared")
                self.status = "connected"
            await asyncio.sleep(PROBE_SECONDS)

    async def close(self) -> None:
        if self._redis:
            await self._redis.aclose()

    def _miss(self, error: Exception) -> None:
        if self.status != "away":
            log.error("Redis is away, and claims and limits are kept in memory: %s", error)
        self.status = "away"

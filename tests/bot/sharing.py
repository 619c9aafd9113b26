"""Dynos that share a Redis, in one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.settings import Settings
from bot.shared import Shared


@asynccontextmanager
async def sharing(url: str, **settings: str) -> AsyncIterator[Shared]:
    """One dyno's connection, once it is there."""
    shared = Shared(Settings(redis_url=url, **settings))
    watch = asyncio.create_task(shared.watch())
    await until(shared, "connected")
    try:
        yield shared
    finally:
        watch.cancel()
        await asyncio.wait([watch])
        await shared.close()


async def until(shared: Shared, status: str) -> None:
    async with asyncio.timeout(30):
        while shared.status != status:
            await asyncio.sleep(0.02)

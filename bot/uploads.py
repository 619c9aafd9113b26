"""Room for photos on their way to the demo page, and for its answers: each lies in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from bot.limits import counted
from inference.errors import MAX_BYTES

PLACES = 4  # a photo of more than half of MAX_BYTES takes up two
PLACES_AN_ADDRESS = 2  # so that one that only seems to send shuts nobody out
SECONDS = 100  # for a photo to come over a slow line
HURRIED_SECONDS = 10  # for the same while others find no place


class Full(Exception):
    """There is no place just now."""


class Uploads:
    """The photos that are on their way, and those whose answers are."""

    def __init__(self) -> None:
        self._places: Counter[str] = Counter()  # by address
        self._coming: list[asyncio.Timeout] = []  # the longest first

    @contextmanager
    def place(self, address: str, length: int) -> Iterator[None]:
        """Take up room for a photo, from its first byte to the last of its answer.

        Args:
            address: who sends it.
            length: bytes.

        Raises:
            Full: the address, or all together, have what they may have. In the latter case the photo that has
                been on its way for the longest, if it has been for HURRIED_SECONDS, is waited for no longer.
        """
        places = 1 if length <= MAX_BYTES / 2 else 2
        if self._places[address] + places > PLACES_AN_ADDRESS:
            raise Full
        if self._places.total() + places > PLACES:
            self._hurry()
            raise Full
        with counted(self._places, address, places):
            yield

    @asynccontextmanager
    async def coming(self) -> AsyncIterator[None]:
        """Wait for a photo.

        Raises:
            TimeoutError: it takes too long.
        """
        async with asyncio.timeout(SECONDS) as timeout:
            self._coming.append(timeout)
            try:
                yield
            finally:
                self._coming.remove(timeout)

    def _hurry(self) -> None:
        for timeout in self._coming:
            now = asyncio.get_running_loop().time()
            left = timeout.when() - now
            if 0 < left < SECONDS - HURRIED_SECONDS:
                timeout.reschedule(now)
                return

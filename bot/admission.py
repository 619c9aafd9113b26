"""Which updates may be worked on: each once, and only so many at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from cachetools import TTLCache

REMEMBERED = 100_000  # updates
REMEMBERED_SECONDS = 24 * 60 * 60  # Telegram redelivers for a day


class Finished(Exception):
    """It was answered before: acknowledge it again, without another answer."""


class Busy(Exception):
    """It is being worked on, or too many others are: let Telegram send it again."""


class Admission:
    """Claims in the memory of one process."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._in_flight: set[int] = set()
        self._finished: TTLCache[int, bool] = TTLCache(REMEMBERED, REMEMBERED_SECONDS)

    @contextmanager
    def claim(self, update_id: int) -> Iterator[None]:
        """Hold an update while it is worked on; it counts as finished unless the work raises.

        Raises:
            Finished: it was worked on to the end before.
            Busy: it is being worked on, or the bound on work in flight is reached.
        """
        if update_id in self._finished:
            raise Finished
        if update_id in self._in_flight or len(self._in_flight) >= self._max_in_flight:
            raise Busy
        self._in_flight.add(update_id)
        try:
            yield
            self._finished[update_id] = True
        finally:
            self._in_flight.discard(update_id)

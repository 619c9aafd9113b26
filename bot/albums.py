"""Which albums a group asked for: only one photo of an album has its caption, and each comes by itself."""

from cachetools import TTLCache

from bot.shared import Shared

REMEMBERED = 10_000  # albums, in the memory of one process
REMEMBERED_SECONDS = 24 * 60 * 60  # Telegram redelivers for a day


class Albums:
    """Albums in the memory of this process, and in Redis, as another dyno may get the other photos."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._memory: TTLCache[str, bool] = TTLCache(REMEMBERED, REMEMBERED_SECONDS)

    async def ask_for(self, album: str) -> None:
        """Remember that a group asked for an album.

        Args:
            album: Telegram's media_group_id.
        """
        self._memory[album] = True
        await self._shared.ask(lambda redis: redis.set(self._key(album), 1, ex=REMEMBERED_SECONDS), None)

    async def asked_for(self, album: str) -> bool:
        """Whether a group asked for an album."""
        if album in self._memory:
            return True
        return bool(await self._shared.ask(lambda redis: redis.exists(self._key(album)), False))

    def _key(self, album: str) -> str:
        return f"{self._shared.prefix}album:{album}"

import asyncio

from bot.albums import Albums
from bot.settings import Settings
from bot.shared import Shared
from tests.bot.sharing import sharing, until


def test_an_album_that_was_asked_for_is_remembered():
    async def scenario():
        albums = Albums(Shared(Settings()))
        await albums.ask_for("one")
        assert await albums.asked_for("one")
        assert not await albums.asked_for("two")

    asyncio.run(scenario())


def test_dynos_share_albums(redis_server):
    async def scenario():
        token = "123456:ABCDEFGHIJKL"
        async with (
            sharing(redis_server.url) as one,
            sharing(redis_server.url) as other,
            sharing(redis_server.url, telegram_bot_token=token) as another_bot,
        ):
            await Albums(one).ask_for("one")
            assert await Albums(other).asked_for("one")
            assert not await Albums(other).asked_for("two")
            assert not await Albums(another_bot).asked_for("one")

    asyncio.run(scenario())


def test_without_redis_albums_are_kept_in_memory(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as shared:
            albums = Albums(shared)
            redis_server.stop()
            await until(shared, "away")
            await albums.ask_for("one")
            assert await albums.asked_for("one")
            assert not await albums.asked_for("two")

    asyncio.run(scenario())

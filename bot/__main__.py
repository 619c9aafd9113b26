"""python -m bot: long polling with a token alone; the web service with WEBHOOK_URL, or with no token."""

import asyncio
import logging
import os
import sys

from telegram.error import InvalidToken
from telegram.ext import Application

from bot import logs
from bot.albums import Albums
from bot.asgi import introduce
from bot.conversation import ALLOWED_UPDATES, build_application
from bot.limits import Limits
from bot.settings import Settings, load
from bot.shared import Shared
from inference.pool import Pool

log = logging.getLogger("bot")


def main() -> None:
    """Choose by what is set, and say so."""
    settings = load()
    logs.configure(settings)
    if settings.token and not settings.webhook:
        log.info("TELEGRAM_BOT_TOKEN is set and WEBHOOK_URL is not: long polling")
        poll(settings)
    else:
        if not settings.token:
            log.info(
                "TELEGRAM_BOT_TOKEN is not set: only the demo page, at http://localhost:%d", settings.port
            )
        os.execv(sys.executable, [sys.executable, "-m", "gunicorn"])  # the rest stands in gunicorn.conf.py


def poll(settings: Settings) -> None:
    """Fetch updates from Telegram until a signal stops it."""
    pool = Pool(settings.inference_processes, settings.photo_seconds, settings.photo_megabytes)
    shared = Shared(settings)
    application = build_application(settings, pool, Limits(settings, shared), Albums(shared))
    tasks: list[asyncio.Task] = []

    async def start(application: Application) -> None:
        log.info("@%s answers; Ctrl-C stops it", application.bot.username)
        tasks.extend(map(asyncio.create_task, (pool.warm_up(), shared.watch())))
        await introduce(application)

    async def stop(application: Application) -> None:
        for task in tasks:
            task.cancel()
        await shared.close()

    async def end(application: Application) -> None:
        await application.stop()
        await application.shutdown()
        await stop(application)

    def told(record: logging.LogRecord) -> bool:
        """A refused token, with which no more updates are fetched, is told in one sentence, below."""
        refused = "Invalid token" in record.msg
        if refused and application.running:
            application.stop_running()
        return not refused

    logging.getLogger("telegram.ext").addFilter(told)
    application.post_init, application.post_shutdown = start, stop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        application.run_polling(allowed_updates=ALLOWED_UPDATES, bootstrap_retries=-1, close_loop=False)
    except InvalidToken:  # whose message holds the token
        if application.running:  # where it was accepted at first, the library does not come to its own end
            loop.run_until_complete(end(application))
        raise SystemExit("Telegram does not accept TELEGRAM_BOT_TOKEN.") from None
    finally:
        loop.close()
        pool.close()


if __name__ == "__main__":
    main()

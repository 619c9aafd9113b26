"""`application`, what gunicorn serves: Telegram's webhook, the demo page, health."""

import asyncio
import base64
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from telegram import Update
from telegram.error import InvalidToken, RetryAfter, TelegramError
from telegram.ext import Application

from bot import __version__, logs, replies
from bot.admission import Admission, Busy, Finished
from bot.conversation import ALLOWED_UPDATES, build_application
from bot.settings import WEBHOOK_PATH, Settings, load
from inference.errors import MAX_BYTES, PhotoError, Reason
from inference.pool import AnalysisError, Pool
from inference.words import describe

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
UPDATE_BYTES = 1_000_000  # of one update's JSON; real ones are a few thousand
BUDGET_SECONDS = 25  # for one request; the platform's router cuts it off at 30
RETRY_SECONDS = 2  # that Telegram is asked to wait before it sends an update again
CONNECT_SECONDS = 5  # between attempts to reach Telegram at start
PAGE_PHOTOS = 4  # analyzed or waiting at once for the demo page; Telegram's photos have their own bound
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
REFUSAL_STATUS = {Reason.NOT_AN_IMAGE: 415, Reason.TOO_MANY_BYTES: 413}  # 422 for all others


def create_application(settings: Settings) -> Starlette:
    """The service with these settings; Telegram's part only where there is a token and an address."""
    logs.configure(settings)
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/about", about),
            Route("/analyze", analyze, methods=["POST"]),
            Route("/healthz", health),
            Route(WEBHOOK_PATH, webhook, methods=["POST"]),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={Exception: failed},
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.admission = Admission(settings.max_in_flight)
    app.state.page_photos = asyncio.Semaphore(PAGE_PHOTOS)
    app.state.telegram = None  # the bot, once it is connected
    return app


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Start the pool and connect to Telegram, both in the background so that the port binds at once."""
    settings = app.state.settings
    app.state.pool = Pool(settings.inference_processes, settings.photo_seconds)
    tasks = [asyncio.create_task(app.state.pool.warm_up())]
    if settings.token and settings.webhook:
        tasks.append(asyncio.create_task(connect(app)))
    else:
        log.warning("no token or no public address is set: serving the demo page alone")
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if app.state.telegram:
            await app.state.telegram.shutdown()
        await asyncio.to_thread(app.state.pool.close)


async def connect(app: Starlette) -> None:
    """Log in to Telegram and set up the bot there; goes on trying until Telegram answers."""
    settings = app.state.settings
    telegram = build_application(settings, app.state.pool)
    while True:
        try:
            await telegram.initialize()
            await introduce(telegram)
            await telegram.bot.set_webhook(
                settings.webhook,
                secret_token=settings.secret,
                allowed_updates=ALLOWED_UPDATES,
                max_connections=settings.max_in_flight,
            )
        except InvalidToken:  # whose message holds the token
            log.critical("Telegram does not accept TELEGRAM_BOT_TOKEN; only the demo page works")
            return
        except TelegramError as error:
            log.error("Telegram could not be reached: %s; trying again in %d s", error, CONNECT_SECONDS)
            await asyncio.sleep(CONNECT_SECONDS)
        else:
            app.state.telegram = telegram
            log.info("@%s answers at %s", telegram.bot.username, settings.webhook)
            return


async def introduce(telegram: Application) -> None:
    """Set what Telegram shows of the bot: its commands and descriptions."""
    await telegram.bot.set_my_commands(list(replies.COMMANDS.items()))
    await telegram.bot.set_my_description(replies.DESCRIPTION)
    await telegram.bot.set_my_short_description(replies.SHORT_DESCRIPTION)


async def webhook(request: Request) -> Response:
    """Work on one update; 200 only once it has been answered, or refused for good."""
    state = request.app.state
    secret = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
    if not state.settings.secret or not hmac.compare_digest(secret.encode(), state.settings.secret.encode()):
        return PlainTextResponse("wrong secret", 403)
    try:
        content = json.loads(await read_body(request, UPDATE_BYTES))
        update_id = content["update_id"]
        if not isinstance(update_id, int):
            raise TypeError
    except TooLarge:
        return PlainTextResponse("too large", 413)
    except (ValueError, TypeError, KeyError, RecursionError):
        return PlainTextResponse("not an update", 400)
    if state.telegram is None:
        return later()
    try:
        update = Update.de_json(content, state.telegram.bot)
    except Exception:  # of a shape that the library does not know; sent again, it would have it still
        log.error("update %d could not be understood", update_id)
        return PlainTextResponse("ok")
    try:
        with state.admission.claim(update_id):
            async with asyncio.timeout(BUDGET_SECONDS):
                await state.telegram.process_update(update)
    except Finished:
        pass
    except Busy:
        return later()
    except RetryAfter as error:
        log.warning("update %d: told to slow down; left to redelivery", update_id)
        return later(error.retry_after.total_seconds())
    except (TelegramError, TimeoutError) as error:  # temporary ones; see conversation.Redelivered
        log.warning("update %d: %s; left to redelivery", update_id, type(error).__name__)
        return later()
    return PlainTextResponse("ok")


async def analyze(request: Request) -> Response:
    """The demo page's photo: the body's bytes in, JSON with the faces and the annotated photo out."""
    state = request.app.state
    if state.page_photos.locked():
        return JSONResponse({"error": BUSY}, 503, {"Retry-After": str(RETRY_SECONDS)})
    start = time.perf_counter()
    try:
        async with state.page_photos, asyncio.timeout(BUDGET_SECONDS):
            analysis = await state.pool.analyze(await read_body(request, MAX_BYTES))
    except TooLarge:
        return refusal(Reason.TOO_MANY_BYTES)
    except PhotoError as error:
        return refusal(error.reason)
    except AnalysisError:
        return JSONResponse({"error": replies.FAILED}, 422)
    except TimeoutError:
        return JSONResponse({"error": BUSY}, 503, {"Retry-After": str(RETRY_SECONDS)})
    milliseconds = round((time.perf_counter() - start) * 1000)
    log.info("demo page: %d faces (%d ms)", len(analysis.faces), milliseconds)
    return JSONResponse(
        {
            "width": analysis.width,
            "height": analysis.height,
            "milliseconds": milliseconds,
            "summary": replies.summary(analysis.faces),
            "faces": [face.to_dict() | {"text": describe(face)} for face in analysis.faces],
            "image": "data:image/jpeg;base64," + base64.b64encode(analysis.jpeg).decode(),
        }
    )


BUSY = "I am busy with other photos right now. Please try again in a moment."


async def page(request: Request) -> Response:
    """The demo page."""
    return FileResponse(PAGE / "index.html")


async def about(request: Request) -> Response:
    """What the demo page needs to know."""
    telegram = request.app.state.telegram
    name = telegram.bot.username if telegram else None
    return JSONResponse({"bot": name, "max_bytes": MAX_BYTES, "version": __version__})


async def health(request: Request) -> Response:
    """200 when photos can be analyzed, 503 while the models load."""
    state = request.app.state
    ready = state.pool.ready
    telegram = "connected" if state.telegram else "off" if not state.settings.token else "connecting"
    status = {
        "status": "ok" if ready else "starting",
        "models_ready": ready,
        "telegram": telegram,
        "version": __version__,
    }
    return JSONResponse(status, 200 if ready else 503)


async def failed(request: Request, error: Exception) -> Response:
    """A fault of the service itself."""
    log.error("%s failed", request.url.path, exc_info=error)
    return JSONResponse({"error": replies.TROUBLE}, 500, SECURITY_HEADERS)


class TooLarge(Exception):
    """The body is longer than it may be."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body, read no further than `limit` bytes.

    Raises:
        TooLarge: it is longer.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge
    return bytes(body)


def later(seconds: float = RETRY_SECONDS) -> Response:
    """Telegram is to send the update again."""
    return PlainTextResponse("later", 503, {"Retry-After": str(round(seconds))})


def refusal(reason: Reason) -> Response:
    """A photo that can't be read, in words."""
    return JSONResponse({"error": replies.REFUSALS[reason]}, REFUSAL_STATUS.get(reason, 422))


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def __getattr__(name: str) -> Starlette:
    # Made when gunicorn asks for it, so that importing this module reads no environment.
    if name == "application":
        return create_application(load())
    raise AttributeError(name)

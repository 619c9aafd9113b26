"""`application`, what gunicorn serves: Telegram's webhook, the demo page, health, metrics."""

import asyncio
import base64
import hmac
import json
import logging
import math
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from telegram import MenuButtonDefault, MenuButtonWebApp, Update, WebAppInfo
from telegram.error import BadRequest, InvalidToken, RetryAfter, TelegramError
from telegram.ext import Application

from bot import __version__, journal, logs, replies
from bot.admission import Admission, Busy, Finished
from bot.albums import Albums
from bot.conversation import ALLOWED_UPDATES, BUDGET_SECONDS, build_application
from bot.limits import Limits, SlowDown
from bot.live import Live
from bot.settings import LIVE_PATH, WEBHOOK_PATH, Settings, load
from bot.shared import Shared
from bot.uploads import Full, Uploads
from inference.errors import MAX_BYTES, PhotoError, Reason
from inference.pool import AnalysisError, Pool
from inference.words import describe

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
UPDATE_BYTES = 1_000_000  # of one update's JSON; real ones are a few thousand
SHUTDOWN_SECONDS = 25  # from SIGTERM on, for work in flight; the platform kills at 30
CONNECTIONS = 100  # that Telegram opens at most, to all dynos together
RETRY_SECONDS = 2  # that Telegram is asked to wait before it sends an update again
LONGEST_PAUSE = 60  # seconds, likewise, where it was itself in trouble more and more often
CONNECT_SECONDS = 5  # between attempts to reach Telegram at start
REFUSED_SECONDS = 60  # likewise, after Telegram said no, as to a webhook that is not https
WATCH_SECONDS = 60  # between looks where Telegram sends the updates
# What is logged, and how loud, when that has changed.
CHANGES = {
    "connected": (logging.INFO, "Telegram sends updates here again"),
    "elsewhere": (logging.ERROR, "Telegram sends updates elsewhere; a restart brings them back"),
    "refused": (logging.CRITICAL, "Telegram accepts TELEGRAM_BOT_TOKEN no longer; only the demo page works"),
}
PAGE_PHOTOS = 3  # of the demo page, analyzed or waiting for it; Telegram's photos have their own bound
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # or an old script could meet a new page; ETags make asking cheap
}
LIVE_HEADERS = {
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace(
        "frame-ancestors 'none'", "frame-ancestors 'self' https://*.telegram.org"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
WITH_PORT = re.compile(r"(?P<v4>[\d.]+):\d+|\[(?P<v6>[^]]+)](:\d+)?")  # as some proxies write addresses
REFUSAL_STATUS = {Reason.NOT_AN_IMAGE: 415, Reason.TOO_MANY_BYTES: 413}  # 422 for all others


def create_application(settings: Settings) -> Starlette:
    """The service with these settings; Telegram's part only where there is a token and an address."""
    logs.configure(settings)
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/about", about),
            Route("/analyze", analyze, methods=["POST"], middleware=[Middleware(Placed)]),
            Route("/healthz", health),
            Route("/metrics", metrics),
            Route(LIVE_PATH, live_page),
            WebSocketRoute(f"{LIVE_PATH}/stream", live_stream),
            Route(WEBHOOK_PATH, webhook, methods=["POST"]),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        middleware=[Middleware(DefaultHeaders)],
        exception_handlers={Exception: failed},
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.shared = Shared(settings)
    app.state.limits = Limits(settings, app.state.shared)
    app.state.admission = Admission(settings.max_in_flight, app.state.shared)
    app.state.live = Live(settings)
    app.state.uploads = Uploads()
    app.state.page_photos = asyncio.Semaphore(PAGE_PHOTOS)
    app.state.at_work: set[asyncio.Task] = set()
    app.state.told_of_strangers = False
    app.state.telegram = None  # the bot, once it is connected
    app.state.telegram_status = "off"
    app.state.stopping = None  # when SIGTERM came, in the event loop's time; see gunicorn.conf.py
    return app


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Start the pool and connect to Telegram, both in the background so that the port binds at once."""
    settings = app.state.settings
    app.state.pool = Pool(settings.inference_processes, settings.photo_seconds, settings.photo_megabytes)
    tasks = [asyncio.create_task(app.state.pool.warm_up()), asyncio.create_task(app.state.shared.watch())]
    if settings.token and settings.webhook:
        app.state.telegram_status = "connecting"
        tasks.append(asyncio.create_task(connect(app)))
    elif settings.token:
        log.error("WEBHOOK_URL is not set, so Telegram can't send anything: serving the demo page alone")
    else:
        log.warning("TELEGRAM_BOT_TOKEN is not set: serving the demo page alone")
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await finish(app)
        if app.state.telegram:
            await app.state.telegram.shutdown()
        await app.state.shared.close()
        await asyncio.to_thread(app.state.pool.close)


async def finish(app: Starlette) -> None:
    """Let work that has outlasted its request come to its end; what can't is left to redelivery."""
    now = asyncio.get_running_loop().time()
    if app.state.at_work:
        stopping = now if app.state.stopping is None else app.state.stopping
        await asyncio.wait(app.state.at_work, timeout=max(0, stopping + SHUTDOWN_SECONDS - now))
    for work in app.state.at_work:
        work.cancel()  # which frees its claim
    if app.state.at_work:
        await asyncio.wait(app.state.at_work)


async def connect(app: Starlette) -> None:
    """Log in to Telegram and set up the bot there; goes on trying until Telegram answers, then watches."""
    settings = app.state.settings
    telegram = build_application(settings, app.state.pool, app.state.limits, Albums(app.state.shared))
    while True:
        try:
            await telegram.initialize()
            await telegram.bot.set_webhook(
                settings.webhook,
                secret_token=settings.secret,
                allowed_updates=ALLOWED_UPDATES,
                max_connections=CONNECTIONS if settings.redis else settings.max_in_flight,
            )
        except InvalidToken:  # whose message holds the token
            log.critical("Telegram does not accept TELEGRAM_BOT_TOKEN; only the demo page works")
            app.state.telegram_status = "refused"
            return
        except RetryAfter as error:
            seconds = error.retry_after.total_seconds()
            log.error("Telegram wants no call for %d s; trying again then", seconds)
            await asyncio.sleep(seconds)
        except BadRequest as error:
            log.error("Telegram refused the bot's set-up: %s; trying again in %d s", error, REFUSED_SECONDS)
            await asyncio.sleep(REFUSED_SECONDS)
        except Exception as error:  # the service stays up, so it must go on trying
            log.error("Telegram could not be reached: %r; trying again in %d s", error, CONNECT_SECONDS)
            await asyncio.sleep(CONNECT_SECONDS)
        else:
            app.state.telegram, app.state.telegram_status = telegram, "connected"
            log.info("@%s answers at %s", telegram.bot.username, settings.webhook)
            await introduce(telegram)
            await watch(app)
            return


async def introduce(telegram: Application) -> None:
    """Set what Telegram shows of the bot: its commands, descriptions and menu button. It works without."""
    settings = telegram.bot_data["settings"]
    page, contact = settings.live_page, settings.operator_contact
    if not contact:
        log.warning("OPERATOR_CONTACT is not set: nobody is told whom to ask about their photos")
    button = MenuButtonWebApp(replies.LIVE_BUTTON, WebAppInfo(page)) if page else MenuButtonDefault()
    for call in (
        telegram.bot.set_my_commands(replies.commands(page is not None)),
        telegram.bot.set_chat_menu_button(menu_button=button),
        telegram.bot.set_my_description(replies.DESCRIPTION),
        telegram.bot.set_my_short_description(replies.short_description(contact)),
    ):
        try:
            await call
        except TelegramError as error:
            log.error("Telegram did not take the bot's commands, menu button or descriptions: %s", error)


async def watch(app: Starlette) -> None:
    """Notice when updates go elsewhere, as to who polls with the same token, or get lost, until canceled."""
    state, told = app.state, datetime.now(UTC)
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            info = await state.telegram.bot.get_webhook_info()
        except InvalidToken:  # whose message may hold the token
            status = "refused"
        except TelegramError:  # which says nothing of where they go
            continue
        else:
            status = "connected" if info.url == state.settings.webhook else "elsewhere"
            if info.last_error_date and info.last_error_date > told:
                told = info.last_error_date
                log.warning("Telegram could not deliver an update: %s", info.last_error_message)
        if status != state.telegram_status:
            log.log(*CHANGES[status])
        state.telegram_status = status


async def webhook(request: Request) -> Response:
    """Work on one update; 200 only once it has been answered, or refused for good."""
    state = request.app.state
    secret = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
    if not state.settings.secret or not hmac.compare_digest(secret.encode(), state.settings.secret.encode()):
        return PlainTextResponse("wrong secret", 403)
    try:
        content = json.loads(await read_body(request, UPDATE_BYTES))
        update_id = content["update_id"]
        if type(update_id) is not int:  # a bool is one, too
            raise TypeError
    except TooLarge:
        return PlainTextResponse("too large", 413)
    except ClientDisconnect:
        return PlainTextResponse("cut off", 400)
    except (ValueError, TypeError, KeyError, RecursionError):
        return PlainTextResponse("not an update", 400)
    if state.telegram is None or state.stopping is not None:
        return later()
    try:
        update = Update.de_json(content, state.telegram.bot)
        if update.message and update.message.chat is None:  # which the library lets pass
            raise ValueError
    except Exception:  # of a shape that the library does not know; sent again, it would have it still
        log.error("update %d could not be understood", update_id)
        return PlainTextResponse("ok")
    # In a task of its own, which neither the budget nor Telegram hanging up can stop half way: cut off
    # between a photo and its text, the update would be answered once more from the start.
    work = asyncio.create_task(deliver(request.app, update))
    state.at_work.add(work)
    work.add_done_callback(partial(put_away, state.at_work))
    try:
        await asyncio.wait_for(asyncio.shield(work), BUDGET_SECONDS)
    except Finished:
        journal.turned_away("none", "repeated")
    except Busy:
        journal.turned_away("none", "busy")
        return later()
    except RetryAfter as error:
        return later(error.retry_after.total_seconds())
    except TimeoutError:  # too much to do
        return later()
    except TelegramError:  # a temporary one; see conversation.Redelivered
        tries = state.telegram.bot_data["tries"].get(update_id, 1)
        return later(min(LONGEST_PAUSE, RETRY_SECONDS * 2 ** (tries - 1)))
    return PlainTextResponse("ok")


def put_away(at_work: set[asyncio.Task], work: asyncio.Task) -> None:
    """Forget a finished task, and its error, should nobody wait for it any more."""
    at_work.discard(work)
    if not work.cancelled():
        work.exception()


async def deliver(app: Starlette, update: Update) -> None:
    """Answer an update, holding its claim; redelivered meanwhile, it is found busy, and then finished."""
    async with app.state.admission.claim(update.update_id) as claim:
        claim.answered = await app.state.telegram.process_update(update)


async def analyze(request: Request) -> Response:
    """The demo page's photo: the body's bytes in, JSON with the faces and the annotated photo out."""
    state = request.app.state
    try:
        await state.limits.address(client_address(request, state.settings.routers))
    except SlowDown as refusal:
        journal.turned_away("page", "slowed")
        pause = {"Retry-After": str(math.ceil(refusal.seconds))}
        return JSONResponse({"error": replies.PAGE_SLOWED}, 429, pause)
    with journal.entry("page") as entry:
        return await analyze_upload(request, entry)


async def analyze_upload(request: Request, entry: journal.Entry) -> Response:
    """Read a photo from the request's body, analyze it, and answer in JSON."""
    state = request.app.state
    # Not 408, after which browsers send the whole photo once more by themselves, without a word.
    too_slow = JSONResponse({"error": replies.SLOW_UPLOAD}, 503)
    try:
        async with state.uploads.coming():
            with entry.stage("upload"):
                data = await read_body(request, MAX_BYTES)
    except ClientDisconnect:  # which gunicorn also says of one that sends nothing for half a minute
        entry.end("blocked", "gone")
        return too_slow
    except TooLarge:
        return refusal(Reason.TOO_MANY_BYTES, entry)
    except TimeoutError:
        entry.end("refused", "slow_upload")
        return too_slow
    start = time.perf_counter()
    try:
        async with asyncio.timeout(BUDGET_SECONDS), state.page_photos:
            analysis = await state.pool.analyze(data)
    except PhotoError as error:
        return refusal(error.reason, entry)
    except AnalysisError as error:
        entry.end("failed", str(error))
        return JSONResponse({"error": replies.FAILED}, 422)
    except TimeoutError:
        entry.end("busy", "queue")
        return busy()
    entry.outcome, entry.faces = "answered", len(analysis.faces)
    entry.seconds |= analysis.seconds
    return JSONResponse(
        {
            "width": analysis.width,
            "height": analysis.height,
            "milliseconds": round((time.perf_counter() - start) * 1000),
            "summary": replies.summary(analysis.faces),
            "faces": [face.to_dict() | {"text": describe(face)} for face in analysis.faces],
            "image": "data:image/jpeg;base64," + base64.b64encode(analysis.jpeg).decode(),
        }
    )


def client_address(request: HTTPConnection, routers: int) -> str:
    """Who sends a request. Each of the proxies in front adds the address that it sees to the end of
    X-Forwarded-For; what stands before those is whatever the client likes to claim.

    Of an IPv6 address only the network, 64 bits, which is what one household or one server has to itself; but
    ::ffff:192.0.2.1 is how a proxy that listens to both kinds writes an IPv4 address.
    """
    claimed = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    seen = claimed[-routers].strip() if 0 < routers <= len(claimed) else ""
    address = seen or (request.client.host if request.client else "")
    if with_port := WITH_PORT.fullmatch(address):
        address = with_port["v4"] or with_port["v6"]
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ip_network((int(ip), 64), strict=False).network_address)


async def page(request: Request) -> Response:
    """The demo page."""
    return FileResponse(PAGE / "index.html")


async def about(request: Request) -> Response:
    """What the pages need to know."""
    state = request.app.state
    name = state.telegram.bot.username if state.telegram else None
    return JSONResponse(
        {
            "bot": name,
            "live": state.settings.live_sessions > 0,
            "live_open": state.settings.live_open,
            "max_bytes": MAX_BYTES,
            "version": __version__,
        }
    )


async def live_page(request: Request) -> Response:
    """The page of the camera, which Telegram's web clients may show in a frame."""
    if not request.app.state.settings.live_sessions:
        return PlainTextResponse(replies.LIVE_OFF, 404)
    return FileResponse(PAGE / "live.html", headers=LIVE_HEADERS)


async def live_stream(socket: WebSocket) -> None:
    """The WebSocket of that page."""
    state = socket.app.state
    at_home = is_at_home(socket, state.settings.address)
    if not at_home and not state.told_of_strangers:
        log.warning(
            "a camera's WebSocket from a page of another address was refused; if that page is this service's "
            "own, set WEBHOOK_URL, or have the proxy in front pass the Host header on"
        )
        state.told_of_strangers = True
    if not state.settings.live_sessions or not at_home:
        await socket.close()  # before it is accepted, so that it is refused with 403
        return
    await state.live.serve(socket, client_address(socket, state.settings.routers), state.pool)


def is_at_home(socket: WebSocket, address: str | None) -> bool:
    """Whether a WebSocket comes from a page of this service, or from no page at all.

    Args:
        address: the public one, should a proxy have put another into the Host header.
    """
    origin = socket.headers.get("Origin")
    homes = filter(None, (socket.headers.get("Host"), urlsplit(address or "").netloc))
    return origin is None or origin.partition("://")[2] in homes


async def health(request: Request) -> Response:
    """200 when photos can be analyzed, 503 while the models load."""
    state = request.app.state
    ready = state.pool.ready
    status = {
        "status": "ok" if ready else "starting",
        "models_ready": ready,
        "telegram": state.telegram_status,
        "redis": state.shared.status,
        "version": __version__,
    }
    return JSONResponse(status, 200 if ready else 503)


async def metrics(request: Request) -> Response:
    """Prometheus's view of this process, for who knows METRICS_TOKEN; without the setting there is none."""
    state = request.app.state
    token = state.settings.metrics_token
    if token is None:
        return PlainTextResponse("not found", 404)
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token.get_secret_value()}".encode()):
        return PlainTextResponse("wrong token", 401, {"WWW-Authenticate": "Bearer"})
    journal.IN_FLIGHT.set(state.admission.in_flight)
    journal.WAITING.set(state.pool.waiting)
    journal.LIVE.set(len(state.live.places))
    journal.RESTARTS.set(state.pool.restarts)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def failed(request: Request, error: Exception) -> Response:
    """A fault of the service itself."""
    log.error("%s failed", request.url.path, exc_info=error)
    return JSONResponse({"error": replies.TROUBLE}, 500, HEADERS)


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


def busy() -> Response:
    """The demo page is to send the photo again."""
    return JSONResponse({"error": replies.BUSY}, 503, {"Retry-After": str(RETRY_SECONDS)})


def refusal(reason: Reason, entry: journal.Entry) -> Response:
    """A photo that can't be read, in words."""
    entry.end("refused", reason.name.lower())
    return JSONResponse({"error": replies.REFUSALS[reason]}, REFUSAL_STATUS.get(reason, 422))


class Placed:
    """Takes up room for a photo of the demo page until its answer has been read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HTTPConnection(scope)
        state, length = request.app.state, request.headers.get("Content-Length")
        place = state.uploads.place(
            client_address(request, state.settings.routers), int(length) if length else MAX_BYTES
        )
        try:
            if state.stopping is not None:
                raise Full
            with place:
                await self._app(scope, receive, send)
        except Full:  # which does not count, as the page asks again by itself
            journal.turned_away("page", "busy")
            await busy()(scope, receive, send)


class DefaultHeaders:
    """Adds HEADERS to every answer that has none of its own, and takes the body from answers to HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            elif message["type"] == "http.response.body" and scope["method"] == "HEAD":
                message = message | {"body": b""}  # of which gunicorn would warn
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def __getattr__(name: str) -> Starlette:
    # Made when gunicorn asks for it, so that importing this module reads no environment.
    if name == "application":
        return create_application(load())
    raise AttributeError(name)

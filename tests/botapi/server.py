"""Telegram in a thread of the tests: the Bot API over HTTP, the users, and the webhook's deliveries."""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web

from tests.botapi import limits
from tests.botapi.delivery import Delivery
from tests.botapi.limits import ApiError, too_many_requests
from tests.botapi.methods import Methods, Parameters, Upload
from tests.botapi.people import People
from tests.botapi.world import BOT, TOKEN, Json

T = TypeVar("T")
Act = Callable[[Parameters], Awaitable[web.Response]]

THREADS = 64  # requests at once, waiting getUpdates among them
MULTIPART = 2**20  # bytes allowed beyond the file itself


@dataclass
class Failure:
    """What is to go wrong with the next calls of a method."""

    times: int
    error: ApiError | None
    drop: bool
    delay: float
    lag: float
    takes_effect: bool


class BotApi(People):
    """A Bot API server on a free port of 127.0.0.1, and the users who write to its one bot.

    Use it as a context manager. What the bot did is in `sent`, `actions`, `calls`, `commands`,
    `descriptions`, `menu_buttons` and `webhook` (see `World`); the users' side is in `People`.

        with BotApi() as server:
            bot = telegram.Bot(server.token, base_url=server.base_url, base_file_url=server.base_file_url)

    Args:
        rate_limits: answer 429 to a bot that sets its webhook twice in a second.
        privacy: in groups the bot gets only commands and replies to it, as by default at Telegram.
        gateway: where requests for the webhook's host really go, as "http://127.0.0.1:8000", for
            webhooks with a public address; may be set later as `server.gateway`.

    Attributes:
        underway: requests that have come whole and are not answered yet.
    """

    def __init__(
        self,
        *,
        rate_limits: bool = False,
        privacy: bool = True,
        gateway: str | None = None,
        token: str = TOKEN,
        username: str = BOT,
    ) -> None:
        super().__init__(token=token, username=username, privacy=privacy, rate_limits=rate_limits)
        self.port = 0
        self.underway = 0
        self._methods = Methods(self)
        self._delivery = Delivery(self, gateway)
        self._failures: dict[str, list[Failure]] = {}

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/bot"

    @property
    def base_file_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file/bot"

    @property
    def gateway(self) -> str | None:
        return self._delivery.gateway

    @gateway.setter
    def gateway(self, address: str | None) -> None:
        self._delivery.gateway = address

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(THREADS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="Bot API", daemon=True)
        self._thread.start()
        self._start(self._open()).result()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:  # frees the getUpdates that are waiting, and ends the deliveries
            self.closed = True
            self.changed.notify_all()
        self._start(self._close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._threads.shutdown()

    def fail(
        self,
        method: str,
        times: int = 1,
        *,
        status: int | None = None,
        description: str = "Internal Server Error",
        retry_after: int | None = None,
        drop: bool = False,
        delay: float = 0.0,
        lag: float = 0.0,
        takes_effect: bool = False,
    ) -> None:
        """Let the next calls of a method go wrong; what is scripted twice happens in that order.

        Args:
            method: as Telegram spells it, or "file" for downloads.
            times: how many calls.
            status, description: of the answer.
            retry_after: seconds; the answer is 429.
            drop: close the connection without an answer.
            delay: seconds before anything happens; the answer is the usual one if nothing else is asked for.
            lag: seconds between what the method does and its answer, in the same way.
            takes_effect: the method does its work all the same, and only the answer goes wrong.
        """
        error = ApiError(status, description) if status is not None else None
        if retry_after is not None:
            error = too_many_requests(retry_after)
        with self.changed:
            self._failures.setdefault(method.lower(), []).append(
                Failure(times, error, drop, delay, lag, takes_effect)
            )

    def recover(self) -> None:
        """Let nothing scripted go wrong any more."""
        with self.changed:
            self._failures.clear()

    def deliver(self, update: Json) -> int:
        """Post an update to the webhook once, and return the HTTP status.

        Raises:
            ConnectionError: the connection was refused or lost, or no answer came in 60 s.
        """
        attempt = self._start(self._delivery.post(update)).result()
        if attempt.status is None:
            raise ConnectionError(self.webhook.last_error_message)
        return attempt.status

    def start_delivery(self, seconds: float = 10.0, pace: float = 0.01) -> Future[bool]:
        """`run_delivery`, in the background; it ends when nothing is pending."""
        return self._start(self._delivery.run(seconds, pace))

    def run_delivery(self, seconds: float = 10.0, pace: float = 0.01) -> bool:
        """Deliver what is pending as Telegram does, until all is acknowledged; see `Delivery`.

        Args:
            seconds: after which to give up.
            pace: of the delays between attempts, Retry-After included; 0.01 makes two seconds 20 ms.

        Returns:
            Whether every update was acknowledged; `deliveries` has the attempts.
        """
        return self.start_delivery(seconds, pace).result()

    def _start(self, job: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(job, self._loop)

    async def _open(self) -> None:
        app = web.Application(client_max_size=limits.UPLOAD_BYTES + MULTIPART)
        app.router.add_get("/file/bot{token}/{path:.+}", self._download)
        app.router.add_route("*", "/bot{token}/{method}", self._call)
        app.router.add_route("*", "/{path:.*}", self._not_found)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        await self._delivery.open()

    async def _close(self) -> None:
        await self._delivery.close()
        await self._runner.cleanup()
        # Of requests whose client has gone aiohttp knows no more, and a delay of theirs may not be over.
        abandoned = asyncio.all_tasks() - {asyncio.current_task()}
        for task in abandoned:
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        """A method of the Bot API."""
        method = request.match_info["method"]

        async def act(parameters: Parameters) -> web.Response:
            return _result(await self._loop.run_in_executor(self._threads, self._methods, method, parameters))

        return await self._answer(request, method, act)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """A file, by the path that getFile gave."""

        async def act(_: Parameters) -> web.Response:
            path = request.match_info["path"]
            for stored in list(self.files.values()):
                if stored.path == path and stored.fetched:
                    return web.Response(body=stored.data, content_type="application/octet-stream")
            raise ApiError(404, "Not Found")

        return await self._answer(request, "file", act)

    async def _not_found(self, request: web.Request) -> web.Response:
        return _refusal(ApiError(404, "Not Found"))

    async def _answer(self, request: web.Request, method: str, act: Act) -> web.StreamResponse:
        """The answer to a request, or what was scripted to go wrong with it."""
        failure = self._next_failure(method)
        try:
            if request.match_info["token"] != self.token:
                raise ApiError(401, "Unauthorized")
            parameters = await _read(request)
            with self.changed:
                self.underway += 1
                self.changed.notify_all()
            try:
                response = await self._act(act, parameters, failure)
            finally:
                with self.changed:
                    self.underway -= 1
                    self.changed.notify_all()
        except ApiError as error:
            response = _refusal(error)
        with self.changed:
            self.calls.append((method, response.status if response is not None else 0))
            self.changed.notify_all()
        if failure is not None and failure.drop and request.transport is not None:
            request.transport.abort()
        return response if response is not None else web.Response()

    async def _act(self, act: Act, parameters: Parameters, failure: Failure | None) -> web.Response | None:
        if failure is None:
            return await act(parameters)
        await asyncio.sleep(failure.delay)
        wrong = failure.error or failure.drop
        response = await act(parameters) if failure.takes_effect or not wrong else None
        await asyncio.sleep(failure.lag)
        if failure.error:
            raise failure.error
        return response

    def _next_failure(self, method: str) -> Failure | None:
        with self.changed:
            scripted = self._failures.get(method.lower())
            if not scripted:
                return None
            scripted[0].times -= 1
            return scripted.pop(0) if scripted[0].times == 0 else scripted[0]


async def _read(request: web.Request) -> Parameters:
    """The parameters of a request: of its query, and of a JSON, form or multipart body."""
    found = Parameters(dict(request.query))
    try:
        body = await request.read()
        if request.content_type == "application/json":
            given = {name: value for name, value in json.loads(body).items() if value is not None}
            found.strings |= {k: v if isinstance(v, str) else json.dumps(v) for k, v in given.items()}
        elif request.content_type == "multipart/form-data":
            _split(body, request.headers["Content-Type"], found)
        else:
            found.strings |= parse_qsl(body.decode(), keep_blank_values=True)
    except (ValueError, AttributeError):
        raise ApiError(400, "Bad Request: can't parse the body") from None
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(413, "Request Entity Too Large") from None
    return found


def _split(body: bytes, content_type: str, found: Parameters) -> None:
    """The parts of a multipart body, which here comes from httpx alone.

    aiohttp's own reader warns of itself now and then, and in tests warnings are errors.
    """
    _, _, boundary = content_type.partition("boundary=")
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.strip('"').encode())[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        fields = dict(re.findall(r'(name|filename)="([^"]*)"', head.decode()))
        mime_type = re.search(r"Content-Type: *(\S+)", head.decode(), re.IGNORECASE)
        if "filename" in fields:
            found.uploads[fields["name"]] = Upload(fields["filename"], mime_type[1], data)
        else:
            found.strings[fields["name"]] = data.decode()


def _result(result: Any) -> web.Response:
    return web.json_response({"ok": True, "result": result})


def _refusal(error: ApiError) -> web.Response:
    answer: Json = {"ok": False, "error_code": error.code, "description": error.description}
    headers = {}
    if error.retry_after is not None:
        answer["parameters"] = {"retry_after": error.retry_after}
        headers["Retry-After"] = str(error.retry_after)
    return web.json_response(answer, status=error.code, headers=headers)

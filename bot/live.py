"""Live: the frames of a camera come in over a WebSocket, and the faces of each go back.

The first message is a text, {"init_data": "what Telegram gave the page, or nothing"}; its answer is `welcome`
or `refused`. Each frame is a binary message, a JPEG or WebP, and has one text for its answer, in order:
`faces`, `skipped` or `unreadable`. Frames are kept in memory alone, and no longer than their answer takes.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from bot import journal, replies
from bot.limits import counted
from bot.miniapp import is_genuine
from bot.settings import FRAME_BYTES, Settings
from inference.errors import PhotoError
from inference.pool import FRAME_SIDE, AnalysisError, Pool, Skipped
from inference.tracking import Tracker
from inference.words import describe

FRAMES_A_SECOND = 15  # that a client is asked to keep to
RATE = RateLimitItemPerSecond(4 * FRAMES_A_SECOND, 3)  # that it may send; the last quarter is for bursts
FAILURES = RateLimitItemPerMinute(2)  # frames of one address that crash or hang their process
SESSIONS_AN_ADDRESS = 2
CONNECTIONS = 32  # at once, with those that come and go; each may hold some megabytes that wait to be read
CONNECTIONS_AN_ADDRESS = 4
GREETING_SECONDS = 10  # for the first message to come
IDLE_SECONDS = 30  # without a frame; Heroku's router would close the connection after 55
SEND_SECONDS = 10  # for the client to take an answer
RETRY_SECONDS = 5  # that a client is asked to wait before it tries again
WELCOME = {
    "type": "welcome",
    "side": FRAME_SIDE,
    "max_bytes": FRAME_BYTES,
    "frames_a_second": FRAMES_A_SECOND,
}
CODES = {  # of the close message, by how a session ends
    **dict.fromkeys(("busy", "slow", "starting", "stopping"), 1013),  # try again later
    "unknown": 1008,  # policy violation
    "wrong": 1003,  # unsupported data
    "idle": 1000,  # normal
}


class Ended(Exception):
    """A session does not begin, or not go on.

    Its one argument says how: a reason of replies.LIVE_REFUSALS; `wrong`, if the client does not keep to the
    order of messages; `idle`, if none came; `gone`, if the client is.
    """


class Live:
    """The sessions of this process.

    Attributes:
        places: those that are taken.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connections: Counter[str] = Counter()  # by address
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._waits: set[asyncio.Timeout] = set()  # for messages, one a session
        self._stopping = False
        self.places: set[tuple[str, int]] = set()

    def stop(self) -> None:
        """Let no session begin, and end each as soon as its frame at work is answered."""
        self._stopping = True
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0)

    async def serve(self, socket: WebSocket, address: str, pool: Pool) -> None:
        """One session, from its connection to its end.

        Args:
            address: of the client.
        """
        taken = self._connections
        if taken.total() >= CONNECTIONS or taken[address] >= CONNECTIONS_AN_ADDRESS:
            await socket.close()  # before it is accepted, so that it is refused with 403
            return
        with counted(taken, address, 1):
            await socket.accept()
            await self._serve(socket, address, pool)

    async def _serve(self, socket: WebSocket, address: str, pool: Pool) -> None:
        with journal.session() as session:
            try:
                await self._greet(socket, pool)
                with self._place(address) as place:
                    await _send(socket, WELCOME)
                    await self._follow(socket, place, pool, session)
            except Ended as end:
                session.end = str(end)
                await _close(socket, session.end)

    async def _greet(self, socket: WebSocket, pool: Pool) -> None:
        """Find out from the first message whether a session may begin."""
        message = await self._receive(socket, GREETING_SECONDS)
        try:
            init_data = json.loads(message["text"])["init_data"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Ended("wrong") from None
        if not isinstance(init_data, str):
            raise Ended("wrong")
        if not self._may_enter(init_data):
            raise Ended("unknown")
        if not pool.ready:
            raise Ended("starting")

    def _may_enter(self, init_data: str) -> bool:
        if not init_data:
            return self._settings.live_open
        token = self._settings.token
        return token is not None and is_genuine(init_data, token, time.time())

    @contextmanager
    def _place(self, address: str) -> Iterator[tuple[str, int]]:
        """One of the few places of an address. Frames are counted by it, so that a client which comes again
        does not begin at none."""
        free = [
            place for number in range(SESSIONS_AN_ADDRESS) if (place := (address, number)) not in self.places
        ]
        if not free or len(self.places) >= self._settings.live_sessions:
            raise Ended("busy")
        self.places.add(free[0])
        try:
            yield free[0]
        finally:
            self.places.discard(free[0])

    async def _follow(
        self, socket: WebSocket, place: tuple[str, int], pool: Pool, session: journal.Session
    ) -> None:
        """Answer frame after frame; ends by raising Ended."""
        tracker = Tracker()
        while True:
            data = (await self._receive(socket, IDLE_SECONDS)).get("bytes")
            if data is None:
                raise Ended("wrong")
            if not await self._window.hit(RATE, *map(str, place)):
                raise Ended("slow")
            answer = await self._look(data, tracker, place, pool)
            session.frames[answer["type"]] += 1
            await _send(socket, answer)

    async def _look(self, data: bytes, tracker: Tracker, place: tuple[str, int], pool: Pool) -> dict:
        """The answer to one frame."""
        start = time.perf_counter()
        try:
            frame = await pool.frame(data)
        except Skipped:
            return {"type": "skipped", "text": replies.FRAME_SKIPPED}
        except PhotoError:
            return {"type": "unreadable", "text": replies.FRAME_UNREADABLE}
        except AnalysisError as error:
            journal.FAILURES.labels(str(error)).inc()
            # Each costs everybody the seconds in which the models are loaded again.
            if not await self._window.hit(FAILURES, place[0]):
                raise Ended("slow") from None
            return {"type": "unreadable", "text": replies.FRAME_UNREADABLE}
        tracks = tracker.update(frame.faces, start)
        seconds = time.perf_counter() - start
        journal.FRAME_SECONDS.observe(seconds)
        return {
            "type": "faces",
            "width": frame.width,
            "height": frame.height,
            "milliseconds": round(seconds * 1000),
            "faces": [
                track.face.to_dict() | {"number": track.number, "text": describe(track.face)}
                for track in tracks
            ],
        }

    async def _receive(self, socket: WebSocket, seconds: float) -> Message:
        """The client's next message.

        Raises:
            Ended: none came within that time, or none will.
        """
        if self._stopping:
            raise Ended("stopping")
        try:
            async with asyncio.timeout(seconds) as wait:
                self._waits.add(wait)
                try:
                    message = await socket.receive()
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            raise Ended("stopping" if self._stopping else "idle") from None
        if message["type"] == "websocket.disconnect":
            raise Ended("gone")
        return message


async def _send(socket: WebSocket, answer: dict) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await socket.send_json(answer)
    except (TimeoutError, WebSocketDisconnect):
        raise Ended("gone") from None


async def _close(socket: WebSocket, end: str) -> None:
    """Say how a session ends, to whom it may concern."""
    with suppress(Ended):
        if end in replies.LIVE_REFUSALS:
            words = {"text": replies.LIVE_REFUSALS[end], "retry_after": RETRY_SECONDS}
            await _send(socket, {"type": "refused", "reason": end} | words)
        if end in CODES:
            await socket.close(CODES[end])

"""How gunicorn serves bot.asgi, in the Procfile, the Dockerfile and `python -m bot` alike."""

import sys

from gunicorn import glogging
from gunicorn.asgi import protocol as connections  # `protocol` is a setting
from gunicorn.asgi import websocket
from gunicorn.workers import gasgi

from bot.settings import FRAME_BYTES, load

FORCED_AFTER = 24  # seconds from SIGTERM until what still hangs on a connection is cut off
REQUEST_SECONDS = 10  # from a connection's begin until the head of its first request is there
LINGER = 1  # seconds from SIGTERM until idle connections are closed: a request may be on its way on them
MAX_UNREAD = 64 * 1024  # bytes of answers to pings
READ_SECONDS = 10  # in which who is sent something must have read READ_BYTES of it, or the rest
READ_BYTES = 50_000

settings = load()  # here, so that a wrong setting stops the start with its one sentence


class Worker(gasgi.ASGIWorker):
    """Tells the application of SIGTERM, so that it takes no new work on connections that are still open."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.idle: dict[Connection, None] = {}  # the longest first

    def handle_exit_signal(self):
        self.asgi.state.stopping = self.loop.time()
        self.asgi.state.live.stop()
        self.cfg.set("graceful_timeout", FORCED_AFTER)  # the arbiter's is for the application's own end, too
        self.loop.call_later(LINGER, self._close_idle)
        super().handle_exit_signal()

    def _close_idle(self):
        for connection in list(self.idle):
            connection._keepalive_timeout()


class Connection(connections.ASGIProtocol):
    """Tells the worker while it is idle; gunicorn would wait for it when it stops, and for a first request
    for ever. Nor would it keep to worker_connections, or limit how long an answer lies in memory unread."""

    _reading = None  # looks whether an answer is read

    def connection_made(self, transport):
        super().connection_made(transport)
        if self.worker.nr_conns > self.worker.worker_connections:
            longest = next(iter(self.worker.idle), self)
            self.worker.idle.pop(longest, None)
            longest.transport.abort()
        self.worker.idle[self] = None
        self._keepalive_handle = self.worker.loop.call_later(REQUEST_SECONDS, self._keepalive_timeout)

    def connection_lost(self, exc):
        self._stop_looking()
        super().connection_lost(exc)

    def _arm_keepalive_timer(self):
        self.worker.idle[self] = None
        super()._arm_keepalive_timer()

    def _cancel_keepalive_timer(self):
        self.worker.idle.pop(self, None)
        super()._cancel_keepalive_timer()

    def pause_writing(self):
        self._look_on()
        super().pause_writing()

    def resume_writing(self):
        self._stop_looking()
        super().resume_writing()

    def _look_on(self):
        unread = self.transport.get_write_buffer_size()
        self._reading = self.worker.loop.call_later(READ_SECONDS, self._look_again, unread)

    def _look_again(self, before):
        if before - self.transport.get_write_buffer_size() < READ_BYTES:
            self.transport.abort()
        else:
            self._look_on()

    def _stop_looking(self):
        if self._reading:
            self._reading.cancel()


gasgi.ASGIProtocol = Connection  # looked up there for each connection
# Large answers go by write(), too: up to Python 3.13.1 writelines() never pauses writing (CVE-2024-12254).
connections._NO_COPY_BODY_SIZE = sys.maxsize


class Log(glogging.Logger):
    """Without an access log, which tells more than /privacy says: Heroku's buildpack turns it on."""

    access_log_enabled = False


class Socket(websocket.WebSocketProtocol):
    """gunicorn's WebSockets, quicker, and without memory for a client that sends and never reads."""

    async def run(self):
        try:
            await super().run()
        finally:
            if self.transport.get_write_buffer_size():  # else kept for as long as the client likes
                self.transport.abort()

    async def _send_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == websocket.OPCODE_PONG and self.transport.get_write_buffer_size() > MAX_UNREAD:
            self.transport.abort()
        else:
            await super()._send_frame(opcode, payload)

    def _unmask(self, payload: bytes, key: bytes) -> bytes:
        """What the client has masked. gunicorn's own goes byte by byte: 5 ms for a frame of 40 kB."""
        mask = (key * (len(payload) // 4 + 1))[: len(payload)]
        return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(len(payload))


websocket.WebSocketProtocol = Socket  # looked up there for each connection

wsgi_app = "bot.asgi:application"
worker_class = Worker
logger_class = Log
bind = f"0.0.0.0:{settings.port}"
workers = 1  # python-telegram-bot keeps its state per process; scale with more dynos
worker_connections = 500  # each has a descriptor, of which a process may have 1,024 on many machines
loglevel = settings.log_level.lower()
graceful_timeout = 28  # seconds: 25 for work in flight, 3 to leave; the platform kills 30 s after SIGTERM
timeout = 30  # seconds without a heartbeat of the event loop
# Seconds; longer than the 90 that Heroku's router keeps idle connections, or it might send a request on one
# just being closed, and answer it with 503: https://devcenter.heroku.com/articles/http-routing#keepalives
keepalive = 95
websocket_max_message_size = FRAME_BYTES
control_socket_disable = True

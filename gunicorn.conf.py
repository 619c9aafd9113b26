"""How gunicorn serves bot.asgi, in the Procfile, the Dockerfile and `python -m bot` alike."""

from gunicorn.asgi.websocket import WebSocketProtocol
from gunicorn.workers.gasgi import ASGIWorker

from bot.settings import FRAME_BYTES, load

settings = load()  # here, so that a wrong setting stops the start with its one sentence


class Worker(ASGIWorker):
    """Tells the application of SIGTERM, so that it takes no new work on connections that are still open."""

    def handle_exit_signal(self):
        self.asgi.state.stopping = self.loop.time()
        self.asgi.state.live.stop()
        super().handle_exit_signal()


def unmask(self, payload: bytes, key: bytes) -> bytes:
    """What a WebSocket's client has masked. gunicorn's own goes byte by byte: 5 ms for a frame of 40 kB."""
    mask = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(len(payload))


WebSocketProtocol._unmask = unmask

wsgi_app = "bot.asgi:application"
worker_class = Worker
bind = f"0.0.0.0:{settings.port}"
workers = 1  # python-telegram-bot keeps its state per process; scale with more dynos
loglevel = settings.log_level.lower()
graceful_timeout = 28  # seconds: 25 for work in flight, 3 to leave; the platform kills 30 s after SIGTERM
timeout = 30  # seconds without a heartbeat of the event loop
keepalive = 5  # seconds
websocket_max_message_size = FRAME_BYTES
control_socket_disable = True

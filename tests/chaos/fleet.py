"""The service as it runs on several dynos, and what can be done to it: see `Fleet`."""

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.botapi import Attempt, BotApi
from tests.botapi.world import Json
from tests.conftest import (
    SECRET,
    TOKEN,
    RedisServer,
    Service,
    children,
    free_port,
    kill_tree,
    signal_tree,
    start_service,
)

PACE = 0.1  # of Telegram's delays between deliveries: a second of Retry-After is a tenth
READY_SECONDS = 300  # that two dynos may take to load their models at once, on a very busy machine
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"

# One process, as whoever runs the tests. As the platform's router does, it asks the dynos in turn, goes on to
# the next where a connection is refused, and gives up where one breaks or stays silent for 30 s.
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 1000; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    upstream dynos {{ {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://dynos;
            proxy_read_timeout 30s;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""


class Fleet:
    """Two dynos behind nginx, sharing a Redis, with Telegram in front; a context manager.

    Attributes:
        dynos: the running gunicorns.
        telegram: the Bot API server, which delivers through the router.
        redis: which may be stopped and started.
        url: of the router.
    """

    def __init__(self, folder: Path, dynos: int = 2, **settings: object) -> None:
        self._nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if self._nginx is None:
            pytest.skip("nginx is not installed (make programs installs Debian's)")
        self.redis = RedisServer(folder)
        self.telegram = BotApi(token=TOKEN)
        self._folder = folder
        self._settings = {name: str(value) for name, value in settings.items()}
        self._ports = [free_port() for _ in range(dynos)]
        self._logs = itertools.count()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.dynos: list[Service] = []

    def __enter__(self) -> Self:
        """Return once every dyno is ready."""
        with ExitStack() as stack:
            self.redis.start()
            stack.callback(self.redis.stop)
            stack.enter_context(self.telegram)
            stack.callback(self._stop_dynos)
            self.dynos += map(self._start_dyno, self._ports)
            router = subprocess.Popen([self._nginx, "-p", self._folder, "-c", self._configuration()])
            stack.callback(router.wait)
            stack.callback(router.kill)
            self.telegram.gateway = self.url
            self.wait_until_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def recover(self) -> None:
        """Whatever happened before, be as after the start."""
        for dyno in self.dynos:
            signal_tree(dyno, signal.SIGCONT)  # a test may have failed before it let one go on
        self.telegram.recover()
        self.telegram.gateway = self.url
        self.telegram.pending.clear()
        if self.redis.process.poll() is not None:
            self.redis.start()
        for number, dyno in enumerate(self.dynos):
            if dyno.process.poll() is not None:
                self.restart(number)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        for dyno in self.dynos:
            dyno.wait_until(
                lambda health: (
                    health["models_ready"]
                    and health["telegram"] == "connected"
                    and health["redis"] == "connected"
                ),
                READY_SECONDS,
            )

    def restart(self, number: int) -> None:
        """Start a dyno that has ended, where it was; it need not be ready yet."""
        self.dynos[number] = self._start_dyno(self._ports[number])

    def post(
        self, content: bytes | Iterable[bytes], secret: str | None = SECRET, url: str | None = None
    ) -> httpx.Response:
        """A request to the webhook, through the router or to the dyno at `url`."""
        headers = {} if secret is None else {SECRET_HEADER: secret}
        return httpx.post(f"{url or self.url}/telegram", content=content, headers=headers, timeout=60)

    def logs(self) -> str:
        """All that any dyno has said since the start."""
        return "".join(path.read_text() for path in self._folder.glob("dyno-*.log"))

    def _configuration(self) -> Path:
        servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in self._ports)
        path = self._folder / "nginx.conf"
        path.write_text(NGINX.format(folder=self._folder, servers=servers, port=self.url.rpartition(":")[2]))
        return path

    def _stop_dynos(self) -> None:
        for dyno in self.dynos:
            kill_tree(dyno)

    def _start_dyno(self, port: int) -> Service:
        return start_service(
            self._folder / f"dyno-{next(self._logs)}.log",
            port=port,
            kept=True,
            TELEGRAM_BOT_TOKEN=TOKEN,
            TELEGRAM_API_URL=f"http://127.0.0.1:{self.telegram.port}",
            WEBHOOK_URL="https://faces.example.com",
            WEBHOOK_SECRET=SECRET,
            REDIS_URL=self.redis.url,
            **self._settings,
        )


# What became of updates


def answers(telegram: BotApi, updates: Iterable[Json]) -> list[int]:
    """How many answers each update got."""
    with telegram.changed:
        replies = Counter((sent.chat_id, sent.reply_to) for sent in telegram.sent)
    messages = [update["message"] for update in updates]
    return [replies[message["chat"]["id"], message["message_id"]] for message in messages]


def not_once(telegram: BotApi, updates: Iterable[Json]) -> dict[int, tuple[list[float], list[Attempt]]]:
    """The updates that were not answered exactly once: when they were, and the attempts to deliver them."""
    return {
        update["update_id"]: (
            [sent.time for sent in telegram.sent if sent.reply_to == update["message"]["message_id"]],
            telegram.deliveries[update["update_id"]],
        )
        for update, count in zip(updates, answers(telegram, updates), strict=True)
        if count != 1
    }


def texts(telegram: BotApi, update: Json) -> list[str]:
    """The answers to an update, in words."""
    asked = update["message"]["message_id"]
    return [sent.text or sent.caption for sent in telegram.sent if sent.reply_to == asked]


def wait_for_answers(telegram: BotApi, updates: list[Json], count: int) -> None:
    """Return once this many of the updates have an answer."""
    telegram.wait_for(lambda: sum(map(bool, answers(telegram, updates))) >= count, timeout=120)


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# Processes


def web_process(dyno: Service) -> int:
    """The process of gunicorn's that answers requests."""
    (pid,) = children(dyno.process.pid)
    return pid


def inference_process(dyno: Service) -> int | None:
    """The process that analyzes photos; None while it is being replaced."""
    return next((child for child in children(web_process(dyno)) if b"spawn_main" in _command(child)), None)


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def sigterm(dyno: Service) -> None:
    """To every process, as the platform does; it kills 30 s later."""
    signal_tree(dyno, signal.SIGTERM)


def cpu_seconds(pid: int) -> float:
    """That a process has worked since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

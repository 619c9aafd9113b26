"""What several tests share: a portrait, the analyzer, the service as it is deployed."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import skimage.data

from tests.botapi import BotApi

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
DEPLOYED = dict(os.environ)  # the environment of commands that run as a person runs them

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"  # labelled faces; not part of the project
START_SECONDS = 120  # for the models to load, on a busy machine
ORDER = ("chaos", "training", "inference")  # of the tests; then all others, whose modules are short


def pytest_collection_modifyitems(items):
    """Begin with the tests that wait most and, in a second process, with those that compute most."""
    items.sort(key=lambda item: [f"tests/{folder}/" not in item.nodeid for folder in ORDER])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Divide the tests between processes by module, but for those that break the one fleet."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "the fleet" if "tests/chaos/" in nodeid else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """NASA's portrait of Eileen Collins, a smiling woman of 42: (512, 512, 3) uint8 RGB."""
    return np.ascontiguousarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def analyzer():
    from inference.analyzer import FaceAnalyzer

    return FaceAnalyzer()


@pytest.fixture(scope="session")
def utkface() -> Path:
    return _labelled("utkface")


@pytest.fixture(scope="session")
def fer2013() -> Path:
    return _labelled("fer2013")


def _labelled(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"needs {name} in {DATA}")
    return DATA / name


@dataclass
class Service:
    """A running gunicorn."""

    url: str
    process: subprocess.Popen
    log: Path

    def wait_until(self, condition, seconds: float = START_SECONDS) -> None:
        """Return once `condition(health)` is true of what /healthz says."""
        deadline = time.monotonic() + seconds
        health = None
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                health = httpx.get(f"{self.url}/healthz").json()
            except httpx.TransportError:
                pass
            else:
                if condition(health):
                    return
            time.sleep(0.1)
        raise AssertionError(f"{health}\n{self.log.read_text()}")

    def wait_until_ready(self) -> None:
        """Return once photos from Telegram can be analyzed."""
        self.wait_until(lambda health: health["models_ready"] and health["telegram"] == "connected")


PROCFILE = (ROOT / "Procfile").read_text().removeprefix("web:").split()


HEROKU = {  # what its buildpack for Python sets
    "WEB_CONCURRENCY": "2",
    "FORWARDED_ALLOW_IPS": "*",
    "GUNICORN_CMD_ARGS": "--access-logfile -",
}


# Below those that the system gives out by itself, of which one may be taken before a service has begun; apart
# from those of the other process of the tests, and of other runs on the machine.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = itertools.count(20_000 + 3_000 * WORKER + os.getpid() % 2_000)


def free_port() -> int:
    """One that nobody listens on, and that no other test is given."""
    return next(filter(_is_free, PORTS))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


STARTED: list[Service] = []  # by the test that runs; they end with it


@pytest.fixture(autouse=True)
def _no_service_left():
    """Those that a test has not stopped, as it failed before, would be the trouble of the tests after it."""
    yield
    while STARTED:
        kill_tree(STARTED.pop())


def start_service(
    log: Path,
    command: list[str] = PROCFILE,
    *,
    port: int | None = None,
    python: str = sys.executable,
    kept: bool = False,
    **settings: str,
) -> Service:
    """A command of Python's, on this port or a free one, with nothing but these settings and Heroku's own.

    Args:
        kept: beyond the end of the test; whoever starts it stops it.
    """
    port = port or free_port()
    environment = HEROKU | {"PATH": os.environ["PATH"], "PORT": str(port)} | settings
    with log.open("w") as stream:
        process = subprocess.Popen(
            [python, "-m", *command], cwd=ROOT, env=environment, stdout=stream, stderr=stream
        )
    service = Service(f"http://127.0.0.1:{port}", process, log)
    if not kept:
        STARTED.append(service)
    return service


def stop_service(service: Service) -> int:
    """SIGTERM, as the platform sends it; the exit status."""
    service.process.terminate()
    return service.process.wait(40)


@contextmanager
def stopping(service: Service):
    """Stop a service that is kept, and kill it where it does not stop or was never ready."""
    try:
        yield service
        stop_service(service)
    finally:
        kill_tree(service)


def children(pid: int) -> list[int]:
    """The processes that one has started and that still run."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(ProcessLookupError, FileNotFoundError):  # it has ended since it was found
            found += map(int, thread.read_text().split())
    return found


def tree(service: Service) -> list[int]:
    """All processes of a service, the master first; none once that has ended."""
    pids = [service.process.pid] if service.process.poll() is None else []
    for pid in pids:
        pids += children(pid)
    return pids


def signal_tree(service: Service, number: signal.Signals) -> None:
    """A signal to every process at once."""
    for pid in tree(service):
        with suppress(ProcessLookupError):  # those below may end with the one above
            os.kill(pid, number)


def kill_tree(service: Service) -> None:
    """kill -9, as if the machine had lost its power."""
    signal_tree(service, signal.SIGKILL)
    service.process.wait()


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """The service without a token: the demo page alone."""
    log = tmp_path_factory.mktemp("service") / "log"
    with stopping(start_service(log, kept=True, PAGE_PHOTOS_A_MINUTE="1000")) as service:
        service.wait_until(lambda health: health["models_ready"])
        yield service


TOKEN = "123456:TEST-token-of-the-test-server_0123456789"
SECRET = "a-secret_of-the-tests"
METRICS_TOKEN = "a-token-of-the-tests'-prometheus"


@pytest.fixture(scope="session")
def telegram():
    """A Bot API server of our own, in the place of Telegram's."""
    with BotApi(token=TOKEN) as server:
        yield server


@pytest.fixture(scope="session")
def bot(telegram, tmp_path_factory):
    """The service with a token, a public address and the Bot API server above."""
    service = start_service(
        tmp_path_factory.mktemp("bot") / "log",
        kept=True,
        TELEGRAM_BOT_TOKEN=TOKEN,
        TELEGRAM_API_URL=f"http://127.0.0.1:{telegram.port}",
        WEBHOOK_URL="https://faces.example.com",
        WEBHOOK_SECRET=SECRET,
        OPERATOR_CONTACT="@the_operator",
        LIVE_OPEN="false",
        PROXIES="1",
        METRICS_TOKEN=METRICS_TOKEN,
    )
    telegram.gateway = service.url
    with stopping(service):
        service.wait_until_ready()
        yield service


class RedisServer:
    """Debian's redis-server on a port of its own, empty at each start, writing nothing to the disk."""

    def __init__(self, folder: Path, *options: str) -> None:
        """
        Args:
            folder: of its log, and of nothing else.
            options: more of its command line's.
        """
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed (make programs installs Debian's)")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.log = folder / "redis.log"
        self._command = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._command += ["--dir", str(folder), *options]

    def start(self, tls: bool = False) -> None:
        """Return once it takes connections, of TLS alone or of plain TCP."""
        port = ["--tls-port", str(self.port), "--port", "0"] if tls else ["--port", str(self.port)]
        with self.log.open("a") as stream:
            self.process = subprocess.Popen([*self._command, *port], stdout=stream, stderr=stream)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        """Kill it, with all it knew; it may be started again on the same port."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis_server(tmp_path):
    """A running Redis for one test alone; its `url` is for REDIS_URL."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()

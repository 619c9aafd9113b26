"""The whole webhook: gunicorn as deployed, Telegram's side played by the tests' Bot API server."""

import contextlib
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from tqdm import tqdm

from benchmarks.photos import mixed
from benchmarks.report import Check, milliseconds, table
from tests.botapi import BotApi
from tests.conftest import SECRET, TOKEN, Service, start_service, stop_service

DEPLOYED = Path(__file__).parent / ".deployed" / "bin" / "python"  # with requirements.txt alone
STARTS = 3
IN_FLIGHT = (1, 8, 32)  # photos
PHOTOS = {1: 24, 8: 40, 32: 64}  # delivered at each
PROBE_SECONDS = 0.02  # between two looks at /healthz


def run() -> tuple[str, list[Check]]:
    """Measure, and return the section for the report and the checks of its targets."""
    starts = [_start() for _ in tqdm(range(STARTS), desc="starts", unit="start")]
    port, models, answer = np.median(starts, axis=0)
    rows = []
    with running() as (telegram, service):
        deliver(telegram, list(mixed(8, seed=1)), 8)  # warm
        for in_flight in tqdm(IN_FLIGHT, desc="throughput", unit="load"):
            photos = list(mixed(PHOTOS[in_flight], seed=2))
            with beside(_probe, service.url) as health:
                seconds, latencies = deliver(telegram, photos, in_flight)
            rows.append(
                [in_flight, f"{len(photos) / seconds:.1f}", *milliseconds(latencies)]
                + [f"{1000 * np.percentile(health, share):.0f}" for share in (50, 99)]
            )
    slowest = float(rows[-1][-1])
    head = ["photos in flight", "photos a second", "ms a photo, median", "p95", "ms /healthz, median", "p99"]
    text = "\n\n".join(
        [
            f"Seconds from the start of the process, medians of {STARTS}: port bound {port:.2f}, models "
            f"ready {models:.1f}, first photo answered {answer:.1f}.",
            "Mixed photos of 320 to 2560 px (portraits, 7 and 30 faces, none), from the update's arrival to "
            "its acknowledgement: download, decoding, inference, drawing, upload. Telegram's side runs on "
            "the same cores.",
            table(head, rows),
        ]
    )
    return text, [
        Check("port bound", f"{port:.2f} s", "at most 3 s", port <= 3),
        Check("models ready", f"{models:.1f} s", "at most 12 s", models <= 12),
        Check("/healthz, p99 with 32 in flight", f"{slowest:.0f} ms", "under 100 ms", slowest < 100),
    ]


@contextlib.contextmanager
def running(ready: bool = True, inside=contextlib.nullcontext) -> Iterator[tuple[BotApi, Service]]:
    """The service with a webhook at a Bot API server.

    Args:
        ready: wait for the models.
        inside: a context in which the process is started.
    """
    with tempfile.TemporaryDirectory() as folder, BotApi(token=TOKEN) as telegram:
        with inside():
            service = start_service(
                Path(folder) / "log",
                python=str(DEPLOYED if DEPLOYED.exists() else sys.executable),
                TELEGRAM_BOT_TOKEN=TOKEN,
                TELEGRAM_API_URL=f"http://127.0.0.1:{telegram.port}",
                WEBHOOK_URL="https://faces.example.com",
                WEBHOOK_SECRET=SECRET,
            )
        telegram.gateway = service.url
        try:
            if ready:
                service.wait_until_ready()
            yield telegram, service
        finally:
            stop_service(service)


def _start() -> tuple[float, float, float]:
    """Seconds from the start to the port bound, to the models ready, to the first answer."""
    (photo,) = mixed(1)
    start = time.perf_counter()
    with running(ready=False) as (telegram, service):
        address = urlsplit(service.url)
        while True:
            try:
                socket.create_connection((address.hostname, address.port), 1).close()
                break
            except OSError:
                time.sleep(0.005)
        port = time.perf_counter() - start
        service.wait_until_ready()
        models = time.perf_counter() - start
        deliver(telegram, [photo], 1)
        return port, models, time.perf_counter() - start


def deliver(telegram: BotApi, photos: list[bytes], in_flight: int) -> tuple[float, list[float]]:
    """Send photos, each from a person of their own -> seconds for all, and for each."""
    updates = [telegram.send_photo(chat, photo) for chat, photo in enumerate(photos, 1)]
    telegram.webhook.max_connections = in_flight
    start = time.perf_counter()
    if not telegram.run_delivery(600):
        raise RuntimeError("some photos were not acknowledged")
    seconds = time.perf_counter() - start
    attempts = [telegram.deliveries[update["update_id"]] for update in updates]
    return seconds, [tries[-1].ended - tries[0].started for tries in attempts]


@contextlib.contextmanager
def beside(work: Callable[..., list], *arguments) -> Iterator[list]:
    """Have another process call `work(*arguments, stop)`; what it returns once `stop` is set is in the list
    at the end."""
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.SimpleQueue()
    process = context.Process(target=_answer, args=(work, arguments, stop, answers))
    process.start()
    results: list = []
    try:
        yield results
    finally:
        stop.set()
        results += answers.get()
        process.join()


def _answer(work: Callable[..., list], arguments: tuple, stop, answers) -> None:
    answers.put(work(*arguments, stop))


def _probe(url: str, stop) -> list[float]:
    """Look at /healthz all the while -> seconds of each look."""
    seconds = []
    with httpx.Client(timeout=30) as client:
        while not stop.is_set():
            start = time.perf_counter()
            client.get(f"{url}/healthz").raise_for_status()
            seconds.append(time.perf_counter() - start)
            time.sleep(PROBE_SECONDS)
    return seconds

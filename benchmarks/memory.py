"""What the whole service holds: gunicorn's master, the web worker, the inference process."""

import os
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.photos import mixed
from benchmarks.report import Check, table
from benchmarks.service import DEPLOYED, running
from tests.botapi import BotApi
from tests.conftest import children

LIMIT = 512 * 2**20  # bytes; of the smallest dyno
PHOTOS, EARLY = 1000, 200
IN_FLIGHT = 8
STEP = 10  # photos delivered together
WINDOW = 5  # steps that make a figure
SAMPLE_SECONDS = 0.1  # between two looks
SETTLE = 3  # seconds without work before the service counts as idle


class Cgroup:
    """A memory cgroup of our own, version 1 or 2.

    Raises:
        OSError: none can be made here (another system, or not root).
    """

    def __init__(self) -> None:
        root = Path("/sys/fs/cgroup")
        one = (root / "memory" / "memory.limit_in_bytes").exists()
        self._controller = "memory" if one else ""
        self._path = root / self._controller / f"faces-benchmark-{os.getpid()}"
        if not one:
            (root / "cgroup.subtree_control").write_text("+memory")
        names = ["memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"]
        self._limit, self._peak, self._events = (
            names if one else ["memory.max", "memory.peak", "memory.events"]
        )
        self._path.mkdir()
        (self._path / self._limit).write_text(str(LIMIT))

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this process in it meanwhile: what it starts is born there, and stays."""
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        home = next(line.split(":")[2] for line in lines if line.split(":")[1] == self._controller)
        self._move(self._path)
        try:
            yield
        finally:
            self._move(self._path.parent / home.strip("/"))

    @staticmethod
    def _move(group: Path) -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def peak(self) -> int:
        """Bytes, file pages included, which give way when memory gets short."""
        return int((self._path / self._peak).read_text())

    @property
    def kills(self) -> int:
        """Processes killed for want of memory."""
        lines = (self._path / self._events).read_text().splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])

    def remove(self) -> None:
        """Once its processes have ended."""
        self._path.rmdir()


def run() -> tuple[str, list[Check]]:
    """Measure, and return the section for the report and the checks of its targets."""
    _forget_files()
    with _cgroup() as cgroup, running(inside=cgroup.inside if cgroup else nullcontext) as (telegram, service):
        process = service.process.pid
        time.sleep(SETTLE)
        idle = anonymous(process)
        telegram.webhook.max_connections = IN_FLIGHT
        # Each from a person of their own, since the bot bounds what one may send.
        photos, steps = enumerate(mixed(PHOTOS), 1), []
        for _ in tqdm(range(PHOTOS // STEP), desc="memory", unit=f"{STEP} photos"):
            steps.append(_watch(telegram, process, islice(photos, STEP)))
        time.sleep(SETTLE)
        after = anonymous(process)
        peak, kills = (cgroup.peak, cgroup.kills) if cgroup else (None, None)
    totals = [[sum(sizes.values()) for sizes in step] for step in steps]
    at = {count: _typical(totals[count // STEP - WINDOW : count // STEP]) for count in (EARLY, PHOTOS)}
    highest = max((sizes for step in steps for sizes in step), key=lambda sizes: sum(sizes.values()))
    top = sum(highest.values())
    growth = at[PHOTOS] / at[EARLY] - 1
    rows = [
        ["idle, models loaded", megabytes(idle)],
        ["highest under load", megabytes(top)],
        [f"around photo {EARLY}", megabytes(at[EARLY])],
        [f"around photo {PHOTOS}", megabytes(at[PHOTOS])],
        [f"idle again after {PHOTOS} photos", megabytes(after)],
    ]
    rows += [[f"of the highest, {name}", megabytes(size)] for name, size in highest.items()]
    text = [
        f"Anonymous memory of all its processes, {PHOTOS} mixed photos through the webhook, {IN_FLIGHT} in "
        f"flight, looked at every {SAMPLE_SECONDS} s.",
        table(["", "MB"], rows),
    ]
    checks = [
        Check(f"growth from photo {EARLY} to {PHOTOS}", f"{100 * growth:+.1f} %", "under 5 %", growth < 0.05),
        Check("highest anonymous memory", f"{megabytes(top)} MB", "under 512 MB", top < LIMIT),
    ]
    if cgroup:
        text.append(
            f"In a memory cgroup of {megabytes(LIMIT)} MB, which counts file pages too and takes them back "
            f"when it is full: peak {megabytes(peak)} MB, {kills} processes killed."
        )
        checks.append(Check("killed in a cgroup of 512 MB", str(kills), "0", kills == 0))
    else:
        text.append("No memory cgroup could be made here.")
    return "\n\n".join(text), checks


def _watch(telegram: BotApi, process: int, photos: Iterator[tuple[int, bytes]]) -> list[dict[str, int]]:
    """Deliver photos, each with its chat -> the service's memory by process, again and again meanwhile."""
    for chat, photo in photos:
        telegram.send_photo(chat, photo)
    delivery, samples = telegram.start_delivery(600), []
    while not delivery.done():
        samples.append(by_process(process))
        time.sleep(SAMPLE_SECONDS)
    if not delivery.result():
        raise RuntimeError("some photos were not acknowledged")
    with telegram.changed:  # what the Bot API server remembers is no part of the service, but of this machine
        telegram.sent.clear()
        telegram.files.clear()
        telegram.messages.clear()
    return samples


def _typical(steps: list[list[int]]) -> float:
    return float(np.median([total for step in steps for total in step]))


def by_process(parent: int) -> dict[str, int]:
    """Bytes of anonymous memory of a service's processes, by what they are."""
    sizes = {"gunicorn's master": _anonymous(parent)}
    for worker in children(parent):
        sizes["web worker"] = sizes.get("web worker", 0) + _anonymous(worker)
        for process in children(worker):
            with suppress(ProcessLookupError, FileNotFoundError):  # it has ended since it was listed
                command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                name = "inference process" if "spawn_main" in command else "resource tracker"
                sizes[name] = sizes.get(name, 0) + _anonymous(process)
    return sizes


def anonymous(parent: int) -> int:
    """Bytes, of all processes of a service."""
    return sum(by_process(parent).values())


def _anonymous(process: int) -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) * 1024


def _forget_files() -> None:
    """Have the kernel drop the packages' pages, so that the service is charged for those it reads."""
    packages = DEPLOYED.parent.parent if DEPLOYED.exists() else Path(sysconfig.get_path("purelib"))
    for path in packages.rglob("*.so*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _cgroup() -> Iterator[Cgroup | None]:
    try:
        cgroup = Cgroup()
    except OSError:
        yield None
        return
    try:
        yield cgroup
    finally:
        cgroup.remove()


def megabytes(size: float) -> int:
    """Of 2**20 bytes, as a dyno's 512 are."""
    return round(size / 2**20)

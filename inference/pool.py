"""The analyzer in processes of its own, with a time limit: a crash or a hang costs one photo.

The parent never imports TensorFlow, OpenCV or an image decoder; it hands over bytes and gets back
plain dataclasses and a JPEG.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import pebble
from pebble.common import CONSTS

from inference.faces import Face

log = logging.getLogger(__name__)

RETRY_SECONDS = 5  # between attempts to load the models, should that fail
CONSTS.term_timeout = 0.5  # seconds that pebble gives a hung process before it kills it

# Has glibc's malloc give large blocks back to the system at once; without it a process keeps 180 MB more.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}  # bytes


class AnalysisError(Exception):
    """The photo crashed its process or took longer than it may; the photo is at fault, not the caller."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """A photo's answer.

    Attributes:
        width, height: of the upright photo as sent, pixels.
        faces: left to right, in pixels of that photo.
        jpeg: the annotated photo, its longest side at most intake.MAX_SIDE pixels.
        seconds: spent in each stage.
    """

    width: int
    height: int
    faces: list[Face]
    jpeg: bytes
    seconds: dict[str, float]


class Pool:
    """Processes that each hold the models and analyze one photo at a time."""

    def __init__(self, processes: int = 1, seconds: float = 12) -> None:
        """
        Args:
            processes: each takes about 300 MB of memory.
            seconds: that one photo may take, not counting its wait for a free process.
        """
        self._processes, self._seconds = processes, seconds
        # Photos wait here and not in pebble's pipe, where a canceled one would cost its process.
        self._free = asyncio.Semaphore(processes)
        self._pool = self._start()
        self._warming: asyncio.Task | None = None
        self.restarts = 0
        self.ready = False

    async def warm_up(self) -> None:
        """Return when a process has loaded the models; `ready` is true from then on."""
        while True:
            try:
                await self._run(_load)
            except AnalysisError:
                log.error("the models could not be loaded; trying again in %d s", RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.ready = True
                return

    async def analyze(self, data: bytes) -> Analysis:
        """Analyze an encoded photo.

        Raises:
            errors.PhotoError: it can't be read as a photo.
            AnalysisError: its process died of it or took too long.
        """
        try:
            return await self._run(_analyze, data)
        except AnalysisError:
            if self.ready:
                self.ready = False
                self._warming = asyncio.create_task(self.warm_up())
            raise

    def close(self) -> None:
        """Stop the processes, whatever they do."""
        self._pool.stop()
        self._pool.join()

    def _start(self) -> pebble.ProcessPool:
        os.environ.update(MEMORY)  # for the processes; nothing of it concerns this one, which runs already
        # Spawned, not forked: a fork of a process with threads can deadlock.
        context = multiprocessing.get_context("spawn")
        return pebble.ProcessPool(
            self._processes, initializer=_prepare, initargs=(os.getpid(),), context=context
        )

    async def _run(self, function, *arguments):
        """Call a function in a process. Whoever waits may give up waiting; the call goes on to its end."""
        await self._free.acquire()
        call = asyncio.create_task(self._call(function, *arguments))
        call.add_done_callback(self._finish)
        return await asyncio.shield(call)

    def _finish(self, call: asyncio.Task) -> None:
        self._free.release()
        if not call.cancelled():
            call.exception()  # looked at, should nobody wait for it any more

    async def _call(self, function, *arguments):
        try:
            return await self._schedule(function, *arguments)
        except BrokenProcessPool:
            # A process died while it had nothing to do, or before the pool learned what it did. The
            # photo is likely innocent, so it gets one more chance in a new pool.
            try:
                return await self._schedule(function, *arguments)
            except BrokenProcessPool as error:
                raise AnalysisError("broken again") from error

    async def _schedule(self, function, *arguments):
        pool = self._pool
        try:
            return await asyncio.wrap_future(pool.schedule(function, arguments, timeout=self._seconds))
        except (TimeoutError, pebble.ProcessExpired) as error:
            self.restarts += 1
            log.error("a photo was given up: %s", type(error).__name__)
            raise AnalysisError(type(error).__name__) from error
        except RuntimeError as error:  # BrokenProcessPool is one; so is what a stopped pool raises
            if pool is self._pool and not pool.active:
                log.error("the process pool broke and is replaced")
                self.restarts += 1
                self._pool = self._start()
                pool.stop()
            raise BrokenProcessPool from error


_analyzer = None  # of this process, once loaded


def _prepare(parent: int) -> None:
    """Run first in each process."""
    # The platform sends SIGTERM to every process at once; the parent lets photos in flight finish.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it complains of odd photos, which are no news here
    _end_with(parent)
    _load()


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent is killed (Linux: prctl PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before the call above
        os._exit(1)


def _load() -> None:
    global _analyzer
    if _analyzer is None:
        from inference.analyzer import FaceAnalyzer

        _analyzer = FaceAnalyzer()


def _analyze(data: bytes) -> Analysis:
    from inference.drawing import draw, encode_jpeg
    from inference.faces import rescale
    from inference.intake import read_photo

    watch = _Watch()
    photo = read_photo(data)
    watch.lap("decode")
    faces = _analyzer.analyze(photo.image)
    watch.lap("analyze")
    jpeg = encode_jpeg(draw(photo.image, faces))
    watch.lap("draw")
    faces = [rescale(face, photo.width / photo.image.shape[1]) for face in faces]
    return Analysis(photo.width, photo.height, faces, jpeg, watch.laps)


class _Watch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = now - self._last
        self._last = now

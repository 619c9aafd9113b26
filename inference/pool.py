"""The analyzer in processes of its own, with a time limit: a crash or a hang costs one photo.

The parent never imports TensorFlow, OpenCV or a decoder; it hands over bytes and gets back plain
dataclasses, and a JPEG or an MP4.
"""

import asyncio
import io
import itertools
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from math import inf
from pathlib import Path
from typing import TypeVar

import pebble
from pebble.common import CONSTS

from inference import memory
from inference.errors import PhotoError, Reason
from inference.faces import Face
from inference.people import Census, Person

log = logging.getLogger(__name__)

T = TypeVar("T")

LOADING_SECONDS = 120  # that the models may take to load
SPARE_SECONDS = 5  # beyond its time, after which a photo that neither ends nor times out counts as lost
STARVED = ("ResourceExhaustedError", "AbortedError")  # TensorFlow's, the latter where oneDNN got no memory
RETRY_SECONDS = 5  # between attempts to load the models, should that fail
OUT_OF_MEMORY = 71  # exit status of a process that is
FRAME_SIDE = 640  # pixels, longest side of a live frame
FRAME_LIMIT = 3 * FRAME_SIDE // 2  # pixels, likewise; beyond them it is refused
FRAME_SECONDS = 0.2  # that a live frame waits for the frames before it; later it would be old
VIDEO_SECONDS = 12  # in which a video is to be through; sets the pace
VIDEO_SHARE = 0.7  # of the time until its answer is needed, likewise
VIDEO_MEMORY = 250_000_000  # bytes that a video may hold beyond its first frame; photos need some meanwhile
VIDEO_LEAST_SECONDS = 4  # until its answer is needed, without which it is not even begun
VIDEO_MOST_SECONDS = 18  # of work on it, after which it is given up
SLICE_SECONDS = 0.25  # of work on a video, after which whatever waits for the only process goes first
CONSTS.term_timeout = 0.5  # seconds that pebble gives a hung process before it kills it

# Has glibc's malloc give large blocks back to the system at once; without it a process keeps 180 MB more.
# Blocks as large as the networks' layers fill are kept: a photo takes a tenth less time by that.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "2621440", "MALLOC_TRIM_THRESHOLD_": "2621440"}  # bytes


class AnalysisError(Exception):
    """The photo was given up, as `timed_out`, `out_of_memory`, `crashed` or `error`; it is at fault, not the
    caller."""


class Skipped(Exception):
    """A live frame was not looked at: photos go first, or no process became free in time."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A live frame's answer: its size, and its faces in reading order, all in pixels as sent."""

    width: int
    height: int
    faces: list[Face]


@dataclass(frozen=True, slots=True)
class Analysis:
    """A photo's answer.

    Attributes:
        width, height: of the upright photo as sent, pixels.
        faces: in reading order, in pixels of that photo.
        jpeg: the annotated photo, its longest side at most intake.MAX_SIDE pixels.
        seconds: spent in each stage: wait (for a free process), decode, detect, attributes, draw.
    """

    width: int
    height: int
    faces: list[Face]
    jpeg: bytes
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Film:
    """A video's answer.

    Attributes:
        width, height: of the annotated video, pixels.
        length: seconds.
        people: in the order of the numbers that are drawn.
        mp4: the annotated video, with its sound.
        seconds: spent in each stage: wait (for a free process), decode, look, draw, encode.
    """

    width: int
    height: int
    length: float
    people: list[Person]
    mp4: bytes
    seconds: dict[str, float]


class Pool:
    """Processes that each hold the models and analyze one photo at a time.

    Attributes:
        waiting: photos for which no process is free.
    """

    def __init__(self, processes: int = 1, seconds: float = 12, megabytes: int = 500) -> None:
        """
        Args:
            processes: each takes up to 380 MB of memory.
            seconds: that one photo may take, not counting its wait for a free process.
            megabytes: of memory that one photo may take, beyond that of the models.
        """
        self._seconds = seconds
        self._processes = [_Process(megabytes) for _ in range(processes)]
        self._idle: asyncio.Queue[_Process] = asyncio.LifoQueue()  # what few photos there are keep one warm
        self._videos = asyncio.Semaphore(max(1, processes - 1))  # of several processes one is left to photos
        self._numbers = itertools.count(1)  # of videos
        self._turn = asyncio.Lock()  # of the live frame that may wait for a process
        self._tasks: set[asyncio.Task] = set()
        self._closed = False
        self.waiting = 0

    @property
    def ready(self) -> bool:
        """Whether a process has loaded the models."""
        return any(process.loaded for process in self._processes)

    @property
    def restarts(self) -> int:
        """How many processes had to be replaced."""
        return sum(process.restarts for process in self._processes)

    async def warm_up(self) -> None:
        """Start the processes; return when each has loaded the models."""
        await asyncio.gather(*map(self._load, self._processes))

    async def analyze(self, data: bytes) -> Analysis:
        """Analyze an encoded photo. Whoever waits may give up waiting; the work goes on to its end.

        Raises:
            errors.PhotoError: it can't be read as a photo.
            AnalysisError: its process died of it, or took too long or too much memory.
        """
        start = time.perf_counter()
        self.waiting += 1
        try:
            process = await self._idle.get()
        finally:
            self.waiting -= 1
        seconds = {"wait": time.perf_counter() - start}
        analysis = await asyncio.shield(self._keep(self._work(process, _analyze, data)))
        return replace(analysis, seconds=seconds | analysis.seconds)

    async def video(self, data: bytes, longest: float, seconds: float) -> Film:
        """Analyze an encoded video; bit by bit where there is but one process, so that photos go first.

        Args:
            longest: seconds that it may last.
            seconds: until the answer is needed; the less there are, the less often faces are looked for.

        Raises:
            errors.PhotoError: it can't be read as a video, or is too long.
            AnalysisError: its process died of it, or took too long or too much memory.
            TimeoutError: the answer would come too late, as there was too much else to do.
        """
        end, number, worked = time.perf_counter() + seconds, next(self._numbers), 0.0
        part = SLICE_SECONDS if len(self._processes) == 1 else inf  # another process would not know it
        async with self._videos, self._begun(number):
            while worked < VIDEO_MOST_SECONDS:
                process = await self._idle.get()
                start = time.perf_counter()
                left = end - start
                if left < (0 if worked else VIDEO_LEAST_SECONDS):
                    self._idle.put_nowait(process)
                    raise TimeoutError
                budget = min(VIDEO_SECONDS, VIDEO_SHARE * left)
                most = min(left, VIDEO_MOST_SECONDS) if part == inf else self._seconds
                work = self._work(process, _film, number, data, longest, budget, part, seconds=most)
                film = await asyncio.shield(self._keep(work))
                worked += time.perf_counter() - start
                if film is not None:
                    wait = time.perf_counter() - end + seconds - worked
                    return replace(film, seconds={"wait": wait} | film.seconds)
            raise AnalysisError("timed_out")

    async def frame(self, data: bytes) -> Frame:
        """Look at an encoded live frame. Photos go first: one that comes meanwhile waits for no other frame.

        Raises:
            Skipped: it was not looked at; a newer one may be.
            errors.PhotoError: it can't be read, or is larger than FRAME_LIMIT.
            AnalysisError: its process died of it, or took too long or too much memory.
        """
        if self.waiting:
            raise Skipped
        try:
            async with asyncio.timeout(FRAME_SECONDS), self._turn:
                process = await self._idle.get()
        except TimeoutError:
            raise Skipped from None
        if self.waiting:
            self._idle.put_nowait(process)
            raise Skipped
        return await asyncio.shield(self._keep(self._work(process, _look, data)))

    def close(self) -> None:
        """Stop the processes, whatever they do."""
        self._closed = True
        for process in self._processes:
            process.stop()

    async def _work(
        self, process: "_Process", function: Callable[..., T], *arguments, seconds: float | None = None
    ) -> T:
        seconds = self._seconds if seconds is None else seconds
        try:
            try:
                return await process.run(function, *arguments, seconds=seconds)
            except BrokenProcessPool:
                # It died while it had nothing to do, or before anybody learned what it did. The photo is
                # likely innocent, so it gets one more chance.
                await process.load()
                return await process.run(function, *arguments, seconds=seconds)
        except BrokenProcessPool:
            raise AnalysisError("crashed") from None
        finally:
            if process.loaded:
                self._idle.put_nowait(process)
            elif not self._closed:
                self._keep(self._load(process))

    async def _load(self, process: "_Process") -> None:
        while not self._closed:
            try:
                await process.load()
            except (AnalysisError, BrokenProcessPool):
                log.error("the models could not be loaded; trying again in %d s", RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._idle.put_nowait(process)
                return

    @asynccontextmanager
    async def _begun(self, number: int) -> AsyncIterator[None]:
        """Work on a video; where it is given up, nothing of it is kept until the next one comes."""
        try:
            yield
        except BaseException:
            self._keep(self._forget(number))
            raise

    async def _forget(self, number: int) -> None:
        """Have a process drop what it keeps of a video."""
        await self._work(await self._idle.get(), _drop, number)

    def _keep(self, work: Coroutine) -> asyncio.Task:
        """Run something that nobody may be waiting for."""

        def done(task: asyncio.Task) -> None:
            self._tasks.discard(task)
            if not task.cancelled():
                task.exception()  # looked at

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(done)
        return task


class _Process:
    """A process with the models, replaced when it dies or hangs.

    Each has a pebble pool to itself: in a common one, a process that is killed while it takes its photo
    leaves the others behind a lock that nobody opens any more.

    Attributes:
        loaded: whether it holds the models.
        restarts: how often it had to be replaced.
    """

    def __init__(self, megabytes: int) -> None:
        self._megabytes = megabytes
        self._pool = self._start()
        self.loaded = False
        self.restarts = 0

    def stop(self) -> None:
        self._pool.stop()
        self._pool.join()

    async def load(self) -> None:
        """Load the models.

        Raises:
            AnalysisError, BrokenProcessPool: that failed.
        """
        await self.run(_load, seconds=LOADING_SECONDS)
        self.loaded = True

    async def run(self, function, *arguments, seconds: float):
        """Call a function in the process, and replace the process should that fail.

        Raises:
            AnalysisError: the process died of it or took too long.
            BrokenProcessPool: it died before it began.
        """
        try:
            async with asyncio.timeout(seconds + SPARE_SECONDS):
                return await asyncio.wrap_future(self._pool.schedule(function, arguments, timeout=seconds))
        except TimeoutError:
            failure = AnalysisError("timed_out")
        except pebble.ProcessExpired as error:
            failure = AnalysisError("out_of_memory" if error.exitcode == OUT_OF_MEMORY else "crashed")
        except RuntimeError:  # BrokenProcessPool is one; so is what a broken pool raises from then on
            failure = BrokenProcessPool("died")
        log.error("an inference process is replaced: %s", failure)
        self.loaded = False
        self.restarts += 1
        # With the pipe, whose lock the process may have had; and the old one first, as memory may not
        # suffice for two.
        await asyncio.to_thread(self.stop)
        self._pool = self._start()
        raise failure

    def _start(self) -> pebble.ProcessPool:
        os.environ.update(MEMORY)  # for the processes; nothing of it concerns this one, which runs already
        # Spawned, not forked: a fork of a process with threads can deadlock.
        context = multiprocessing.get_context("spawn")
        return pebble.ProcessPool(
            1, initializer=_prepare, initargs=(os.getpid(), self._megabytes), context=context
        )


_analyzer = None  # of this process, once loaded


def _prepare(parent: int, megabytes: int) -> None:
    """Run first in each process."""
    # The platform sends SIGTERM to every process at once; the parent lets photos in flight finish.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it complains of odd photos, which are no news here
    if sys.platform == "linux":
        _end_with(parent)
        with suppress(OSError):  # the first to go, should the machine's memory run out
            Path("/proc/self/oom_score_adj").write_text("500")
    _load()
    memory.limit(megabytes * 2**20)


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


def _contained(work: Callable[..., T]) -> Callable[..., T]:
    """Only exceptions of our own leave the process: any other would have the parent import its library.

    They are made anew: the process keeps the last one until its next task is done, and one that was raised
    where a picture is decoded holds that picture.
    """

    @wraps(work)
    def contained(*arguments: object) -> T:
        try:
            return work(*arguments)
        except PhotoError as error:
            failure = PhotoError(error.reason)
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ in STARVED:
                os._exit(OUT_OF_MEMORY)
            log.exception("a photo or a video could not be analyzed")
            failure = AnalysisError("error")
        del arguments
        raise failure

    return contained


@_contained
def _analyze(data: bytes) -> Analysis:
    from inference.drawing import draw, encode_jpeg
    from inference.faces import rescale
    from inference.intake import read_photo

    watch = _Watch()
    photo = read_photo(data)
    watch.lap("decode")
    detections = _analyzer.detect(photo.image)
    watch.lap("detect")
    faces = _analyzer.read(photo.image, detections)
    watch.lap("attributes")
    jpeg = encode_jpeg(draw(photo.image, faces))
    watch.lap("draw")
    height, width = photo.image.shape[:2]
    faces = [rescale(face, photo.width / width, photo.height / height) for face in faces]
    return Analysis(photo.width, photo.height, faces, jpeg, watch.laps)


@_contained
def _look(data: bytes) -> Frame:
    from inference.intake import read_photo

    photo = read_photo(data, FRAME_LIMIT)
    return Frame(photo.width, photo.height, _analyzer.glance(photo.image))


NO_VIDEO = 0, iter(())
_under_way: tuple[int, Iterator[Film | None]] = NO_VIDEO  # the video that this process works on


@_contained
def _film(number: int, data: bytes, longest: float, budget: float, seconds: float) -> Film | None:
    """Work on a video for so many seconds; None where it takes more. It is begun where it is not known."""
    global _under_way
    end = time.perf_counter() + seconds
    known, work = _under_way
    if known != number:
        _under_way = number, (work := _shoot(data, longest, budget))
    try:
        film = next(film for film in work if film or time.perf_counter() > end)
    except BaseException:
        _under_way = NO_VIDEO
        raise
    if film:
        _under_way = NO_VIDEO
    return film


def _drop(number: int) -> None:
    global _under_way
    if _under_way[0] == number:
        _under_way = NO_VIDEO


def _shoot(data: bytes, longest: float, budget: float) -> Iterator[Film | None]:
    """Nothing for each frame that is done, and in the end the video."""
    from inference.footage import Reader, Writer
    from inference.video import Pace, annotate, follow

    watch, census, target = _Watch(), Census(), io.BytesIO()
    reader = Reader(data, longest)
    writer, pace = Writer(target, reader.sound), Pace(reader.seconds, budget)
    spots, held, before = {}, 0, None
    for shot in follow(reader.frames(writer.hear, pace.late), _analyzer, pace, watch.lap):
        if shot.seen:
            census.note(shot.tracks, shot.seconds)
        image = annotate(shot, spots)
        watch.lap("draw")
        writer.show(image, shot.seconds)
        watch.lap("encode")
        # Not of the first, as what is loaded once is not the video's.
        held += memory.used() - before if before is not None else 0
        if held > VIDEO_MEMORY:
            raise PhotoError(Reason.VIDEO_TOO_LARGE)
        yield None
        before = memory.used()  # without what photos have taken and given back meanwhile
        watch.start()
    writer.close()
    watch.lap("encode")
    yield Film(writer.width, writer.height, shot.seconds, census.people(), target.getvalue(), watch.laps)


class _Watch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + now - self._last
        self._last = now

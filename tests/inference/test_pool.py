import asyncio
import io
import os
import re
import signal
import sys
import time
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import inference.pool
from inference.errors import PhotoError, Reason
from inference.faces import Face
from inference.pool import Analysis, AnalysisError, Film, Pool, Skipped
from tests import pictures, videos

encode = partial(pictures.encode, form="PNG")


@pytest.fixture(scope="module")
def run():
    """Runs coroutines, all in one event loop, as the pool lives in one."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def pool(run):
    pool = Pool(processes=1, seconds=60)
    assert not pool.ready
    run(pool.warm_up())
    assert pool.ready
    yield pool
    pool.close()


def process_id() -> int:
    """Of the process that started last; the system's own numbers begin anew at some point."""
    return max(active_children(), key=lambda child: child._identity).pid


def test_photos_go_in_and_faces_come_out(run, pool, astronaut):
    async def scenario():
        with pytest.raises(PhotoError) as refused:
            await pool.analyze(b"not a photo")
        assert refused.value.reason is Reason.NOT_AN_IMAGE
        return await pool.analyze(encode(np.repeat(np.repeat(astronaut, 6, 0), 6, 1)))

    analysis = run(scenario())
    (face,) = analysis.faces
    assert isinstance(face, Face)
    assert (analysis.width, analysis.height) == (3072, 3072)
    assert 1050 < face.box.x < 1130  # in pixels of the photo as sent, not of the one shrunk for the analysis
    assert Image.open(io.BytesIO(analysis.jpeg)).size == (2560, 2560)
    assert set(analysis.seconds) == {"wait", "decode", "detect", "attributes", "draw"}


def resident(number: int) -> int:
    """Megabytes of its own that a process has in memory."""
    status = Path(f"/proc/{number}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) // 1000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has in memory")
def test_a_refused_photo_leaves_nothing_behind(run, pool, astronaut):
    whole = pictures.encode(np.full((5500, 6900, 4), 200, np.uint8), "PNG", compress_level=1)
    run(pool.analyze(encode(astronaut)))
    before = resident(process_id())
    with pytest.raises(PhotoError) as refused:
        run(pool.analyze(whole[: len(whole) * 9 // 10]))
    assert refused.value.reason is Reason.BROKEN
    assert resident(process_id()) < before + 50  # decoded, it has 150


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what is allocated")
def test_a_video_that_holds_too_much_is_refused_and_photos_go_on(run, pool):
    """16 frames of 25 MB each, which all that follow may refer to."""
    frame = np.random.default_rng(0).integers(0, 256, (135, 240, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    target = io.BytesIO()
    with av.open(target, "w", "mp4") as file:
        few = "scenecut=0:mixed-refs=0:me=dia:subme=0:keyint=250:weightp=0"
        options = {"preset": "superfast", "crf": "40", "refs": "16", "bf": "0", "x264-params": few}
        stream = file.add_stream("libx264", 30, options)
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, "yuv420p10le"
        for number in range(30):
            shown = np.roll(frame, 16 * number, axis=1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "rgb24")))
        file.mux(stream.encode())
    photo = pictures.encode(np.full((3060, 4080, 3), 120, np.uint8), "WEBP", quality=50, method=0)

    async def scenario():
        film = asyncio.create_task(pool.video(target.getvalue(), 20, 60))
        while not film.done():
            await pool.analyze(photo)
        return film.exception()

    assert run(scenario()).reason is Reason.VIDEO_TOO_LARGE
    assert pool.restarts == 0


def test_videos_go_in_and_come_out_and_photos_that_come_meanwhile_go_first(run, pool, astronaut):
    video, order = videos.encode(videos.moving(72)[0], 12), []

    async def film(name: str):
        result = await pool.video(video, 20, 60)
        order.append(name)
        return result

    async def photo():
        result = await pool.analyze(encode(astronaut))
        order.append("photo")
        return result

    async def scenario():
        films = [asyncio.create_task(film(name)) for name in ("first", "second")]
        await asyncio.sleep(0.1)  # the first is being worked on, for most of a second
        photos = [asyncio.create_task(photo()) for _ in range(2)]
        return await asyncio.gather(*films, *photos)

    first, *_ = run(scenario())
    assert order == ["photo", "photo", "first", "second"]
    (person,) = first.people
    assert (person.emotion, person.gender.label) == ("happy", "female")
    assert (first.width, first.height) == (384, 384)
    assert set(first.seconds) == {"wait", "decode", "look", "draw", "encode"}
    with pytest.raises(PhotoError) as refused:
        run(pool.video(video, 0.2, 60))
    assert refused.value.reason is Reason.VIDEO_TOO_LONG
    with pytest.raises(TimeoutError):  # the answer would come too late
        run(pool.video(video, 20, 1))
    assert len(run(pool.analyze(encode(astronaut))).faces) == 1


def test_nothing_is_kept_of_a_video_that_was_given_up(run, pool):
    video = videos.encode(videos.moving(24)[0], 12)

    async def scenario():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await pool.video(video, 20, 60)
        while pool._tasks:
            await asyncio.sleep(0.05)
        return await pool._work(await pool._idle.get(), video_under_way)

    assert run(scenario()) == 0


def video_under_way() -> int:
    """The number of the video that this process works on; 0 if it does on none."""
    return inference.pool._under_way[0]


def answer(function, *arguments) -> Film | Analysis:
    return Film(1, 1, 1, [], b"", {}) if function.__name__ == "_film" else Analysis(1, 1, [], b"", {})


class Stand:
    """In the place of a process, where it only matters who is asked, when, and for how long."""

    loaded, restarts = True, 0

    def __init__(self, megabytes: int) -> None:
        self.asked: list[tuple] = []  # what, and the seconds that it may take
        self.answer = answer
        self.seconds = 0.0  # that an answer takes

    async def load(self) -> None:
        pass

    async def run(self, function, *arguments, seconds: float):
        self.asked.append((function.__name__, seconds))
        await asyncio.sleep(self.seconds)
        return self.answer(function, *arguments)


@pytest.fixture
def stands(monkeypatch):
    monkeypatch.setattr(inference.pool, "_Process", Stand)


@pytest.mark.usefixtures("stands")
def test_a_live_frame_that_lets_a_photo_go_first_gives_its_process_back():
    async def scenario():
        pool = Pool()
        await pool.warm_up()
        process = await pool._idle.get()
        frame = asyncio.create_task(pool.frame(b""))
        await asyncio.sleep(0.02)
        photo = asyncio.create_task(pool.analyze(b""))
        await asyncio.sleep(0.02)
        pool._idle.put_nowait(process)
        with pytest.raises(Skipped):
            await frame
        async with asyncio.timeout(5):
            await photo
        assert [name for name, _ in process.asked] == ["_analyze"]

    asyncio.run(scenario())


@pytest.mark.usefixtures("stands")
def test_of_two_processes_one_is_left_to_photos_and_a_video_stays_with_the_other():
    async def scenario():
        pool = Pool(processes=2)
        await pool.warm_up()
        for process in pool._processes:
            process.seconds = 0.5
        videos = [asyncio.create_task(pool.video(b"", 20, 60)) for _ in range(2)]
        await asyncio.sleep(0.05)
        for process in pool._processes:
            process.seconds = 0
        async with asyncio.timeout(0.3):
            await pool.analyze(b"")
        await asyncio.gather(*videos)
        asked = [each for process in pool._processes for each in process.asked]
        whole = ("_film", inference.pool.VIDEO_MOST_SECONDS)  # rather than in parts
        assert sorted(asked)[1:] == [whole, whole]

    asyncio.run(scenario())


@pytest.mark.usefixtures("stands")
def test_a_video_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(inference.pool, "VIDEO_MOST_SECONDS", 0.2)

    async def scenario():
        pool = Pool()
        await pool.warm_up()
        (process,) = pool._processes
        process.answer, process.seconds = (lambda function, *arguments: None), 0.05
        async with asyncio.timeout(5):
            with pytest.raises(AnalysisError, match="timed_out"):
                await pool.video(b"", 20, 60)

    asyncio.run(scenario())


async def at_work(pool: Pool) -> int:
    """The process that started last, once the pool has learned that it works on a photo.

    Killed sooner it leaves nobody who knows of that, and the photo is tried again.
    """
    number = process_id()

    def begun(process: inference.pool._Process) -> bool:
        tasks = list(process._pool._pool_manager.task_manager.tasks.values())
        return any(task.started and task.worker_id == number for task in tasks)

    async with asyncio.timeout(60):
        while not any(map(begun, pool._processes)):
            await asyncio.sleep(0.005)
    return number


def test_sigterm_to_every_process_stops_no_photo(run, pool, astronaut):
    async def scenario():
        photo = asyncio.create_task(pool.analyze(encode(np.tile(astronaut, (3, 4, 1)))))
        process = await at_work(pool)
        os.kill(process, signal.SIGTERM)
        return await photo

    assert len(run(scenario()).faces) == 12
    assert pool.restarts == 0


def test_a_killed_process_costs_one_photo(run, pool, astronaut):
    big, small = encode(np.tile(astronaut, (4, 5, 1))), encode(astronaut)
    before = pool.restarts

    async def scenario():
        photos = [asyncio.create_task(pool.analyze(photo)) for photo in (big, small, small)]
        process = await at_work(pool)
        assert pool.waiting == 2
        os.kill(process, signal.SIGKILL)
        return await asyncio.gather(*photos, return_exceptions=True)

    first, *others = run(scenario())
    assert isinstance(first, AnalysisError)
    assert str(first) == "crashed"
    assert [len(analysis.faces) for analysis in others] == [1, 1]
    assert pool.restarts == before + 1


def test_an_idle_process_that_dies_costs_nothing(run, pool, astronaut):
    async def scenario():
        os.kill(process_id(), signal.SIGKILL)
        await asyncio.sleep(1)
        return await pool.analyze(encode(astronaut))

    assert len(run(scenario()).faces) == 1


def test_a_hung_photo_is_given_up(run, pool, astronaut, monkeypatch):
    monkeypatch.setattr(pool, "_seconds", 1)
    before = pool.restarts

    async def scenario():
        hung = asyncio.create_task(pool.analyze(encode(np.tile(astronaut, (4, 5, 1)))))
        process = await at_work(pool)
        os.kill(process, signal.SIGSTOP)  # as a decoder in an endless loop
        start = time.monotonic()
        with pytest.raises(AnalysisError, match="timed_out"):
            await hung
        seconds = time.monotonic() - start
        monkeypatch.undo()
        return seconds, await pool.analyze(encode(astronaut))

    seconds, next_one = run(scenario())
    assert 0.5 < seconds < 20
    assert len(next_one.faces) == 1
    assert pool.restarts == before + 1


def test_of_two_processes_one_may_die_and_the_other_goes_on(run, astronaut):
    pair = Pool(processes=2, seconds=60)
    photo = encode(np.tile(astronaut, (2, 3, 1)))

    async def scenario():
        await pair.warm_up()
        photos = [asyncio.create_task(pair.analyze(photo)) for _ in range(2)]
        process = await at_work(pair)
        assert pair.waiting == 0
        os.kill(process, signal.SIGKILL)
        results = await asyncio.gather(*photos, return_exceptions=True)
        assert pair.ready
        return results, await pair.analyze(photo)

    try:
        results, next_one = run(scenario())
        assert sorted(type(result).__name__ for result in results) == ["Analysis", "AnalysisError"]
        assert len(next_one.faces) == 6
        assert pair.restarts == 1
    finally:
        pair.close()


def test_a_photo_that_takes_too_much_memory_is_given_up(run, pool, astronaut):
    before = pool.restarts
    (process,) = pool._processes
    with pytest.raises(AnalysisError, match="out_of_memory"):
        run(process.run(take_a_gigabyte, seconds=60))
    assert pool.restarts == before + 1
    assert len(run(pool.analyze(encode(astronaut))).faces) == 1


@inference.pool._contained
def take_a_gigabyte():
    """In the process: a photo whose analysis goes beyond the limit, which stands at 500 MB."""
    np.ones(2**30, np.uint8)

import asyncio
import io
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from inference.errors import PhotoError, Reason
from inference.faces import Face
from inference.pool import AnalysisError, Pool


def encode(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def pool():
    pool = Pool(processes=1, seconds=60)
    yield pool
    pool.close()


def process_id(pool: Pool) -> int:
    """Of the one process, found as the operating system sees it: the youngest child."""
    from multiprocessing import active_children

    return max(child.pid for child in active_children())


def test_photos_go_in_and_faces_come_out(pool, astronaut):
    async def scenario():
        assert not pool.ready
        await pool.warm_up()
        assert pool.ready
        with pytest.raises(PhotoError) as refused:
            await pool.analyze(b"not a photo")
        assert refused.value.reason is Reason.NOT_AN_IMAGE
        return await pool.analyze(encode(np.repeat(np.repeat(astronaut, 6, 0), 6, 1)))

    analysis = asyncio.run(scenario())
    (face,) = analysis.faces
    assert isinstance(face, Face)
    assert (analysis.width, analysis.height) == (3072, 3072)
    assert 1050 < face.box.x < 1130  # in pixels of the photo as sent, not of the one shrunk for the analysis
    assert Image.open(io.BytesIO(analysis.jpeg)).size == (2560, 2560)
    assert set(analysis.seconds) == {"wait", "decode", "detect", "attributes", "draw"}


def test_a_killed_process_costs_one_photo(pool, astronaut):
    big, small = encode(np.tile(astronaut, (4, 5, 1))), encode(astronaut)

    async def scenario():
        await pool.warm_up()
        photos = [asyncio.create_task(pool.analyze(photo)) for photo in (big, small, small)]
        await asyncio.sleep(0.15)  # the first is being worked on, the others wait
        os.kill(process_id(pool), signal.SIGKILL)
        return await asyncio.gather(*photos, return_exceptions=True)

    first, *others = asyncio.run(scenario())
    assert isinstance(first, AnalysisError)
    assert [len(analysis.faces) for analysis in others] == [1, 1]
    assert pool.restarts == 1


def test_an_idle_process_that_dies_costs_nothing(pool, astronaut):
    async def scenario():
        await pool.warm_up()
        os.kill(process_id(pool), signal.SIGKILL)
        await asyncio.sleep(1)
        return await pool.analyze(encode(astronaut))

    assert len(asyncio.run(scenario()).faces) == 1


def test_a_hung_photo_is_given_up(astronaut):
    pool = Pool(processes=1, seconds=4)

    async def scenario():
        await pool.warm_up()
        hung = asyncio.create_task(pool.analyze(encode(np.tile(astronaut, (4, 5, 1)))))
        await asyncio.sleep(0.15)
        os.kill(process_id(pool), signal.SIGSTOP)  # as a decoder in an endless loop
        start = time.monotonic()
        with pytest.raises(AnalysisError):
            await hung
        seconds = time.monotonic() - start
        return seconds, await pool.analyze(encode(astronaut))

    try:
        seconds, next_one = asyncio.run(scenario())
        assert 3 < seconds < 8
        assert len(next_one.faces) == 1
        assert pool.restarts == 1
    finally:
        pool.close()


def test_sigterm_to_every_process_stops_no_photo(pool, astronaut):
    async def scenario():
        await pool.warm_up()
        photo = asyncio.create_task(pool.analyze(encode(np.tile(astronaut, (3, 4, 1)))))
        await asyncio.sleep(0.1)
        os.kill(process_id(pool), signal.SIGTERM)
        return await photo

    assert len(asyncio.run(scenario()).faces) == 12


def test_a_photo_that_takes_too_much_memory_is_given_up(astronaut):
    pool = Pool(processes=1, seconds=60, megabytes=100)

    async def scenario():
        await pool.warm_up()
        with pytest.raises(AnalysisError):
            await pool.analyze(encode(np.tile(astronaut, (5, 5, 1))))
        return await pool.analyze(encode(astronaut))

    try:
        assert len(asyncio.run(scenario()).faces) == 1
        assert pool.restarts == 1
    finally:
        pool.close()


def test_of_several_processes_one_may_die_and_the_others_go_on(astronaut):
    pool = Pool(processes=2, seconds=60)

    async def scenario():
        await pool.warm_up()
        # Both are at work; the one that started last is killed.
        photos = [asyncio.create_task(pool.analyze(encode(np.tile(astronaut, (4, 5, 1))))) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert pool.waiting == 0
        os.kill(process_id(pool), signal.SIGKILL)
        results = await asyncio.gather(*photos, return_exceptions=True)
        assert pool.ready
        return results

    try:
        results = asyncio.run(scenario())
        assert sorted(type(result).__name__ for result in results) == ["Analysis", "AnalysisError"]
    finally:
        pool.close()

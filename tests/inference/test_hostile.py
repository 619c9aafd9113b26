"""Files that nobody means well with, and mutations of good ones: read, or refused with a reason."""

import json
import struct
import sys
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.errors import PhotoError, Reason
from inference.intake import MAX_SIDE, MEMORY_CEILING, read_photo
from tests.hostile import corpus
from tests.inference.test_intake import SAMPLES, run

SECONDS = 10  # of one core that a file may take; the process pool allows 12 by default
DAMAGED = {"read", Reason.BROKEN, Reason.TOO_MANY_PIXELS, Reason.TOO_LONG, Reason.TOO_SMALL}
OUTCOMES = {
    "empty": {Reason.EMPTY},
    "only a start": {Reason.BROKEN},
    "cut short": {Reason.BROKEN},
    "bits flipped": DAMAGED,
    "bombs": {Reason.TOO_MANY_PIXELS, Reason.BROKEN},
    "no pictures": {Reason.NOT_AN_IMAGE},
    "not what they say": {Reason.BROKEN, Reason.TOO_SMALL, Reason.NOT_AN_IMAGE},
    "more than a picture": {"read"},
    "odd metadata": {"read"},
    "animated": {"read"},
    "much work": {"read"},
}

READ = """
import json, resource, sys, time
from pathlib import Path
from inference.errors import PhotoError
from inference.intake import read_photo

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # not a byte may be written to the disk
for path in sys.argv[1:]:
    data, start, before = Path(path).read_bytes(), time.process_time(), peak()
    try:
        read_photo(data)
        outcome = "read"
    except PhotoError as error:
        outcome = error.reason
    print(json.dumps([outcome, time.process_time() - start, peak() - before]), flush=True)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[tuple[str, str], list]:
    """Outcome, seconds and bytes of each file, all read in turn by one process, as the pool's does."""
    if sys.platform != "linux":
        pytest.skip("memory is limited on Linux only")
    folder, paths = tmp_path_factory.mktemp("hostile"), {}
    for group, files in corpus().items():
        for name, data in files.items():
            paths[group, name] = folder / str(len(paths))
            paths[group, name].write_bytes(data)
    lines = run(READ, *paths.values()).splitlines()
    return dict(zip(paths, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("group", OUTCOMES)
def test_hostile_files_are_read_or_refused_with_a_reason(results, group):
    outcomes = {name: result[0] for (of, name), result in results.items() if of == group}
    assert outcomes
    assert {name: outcome for name, outcome in outcomes.items() if outcome not in OUTCOMES[group]} == {}


def test_hostile_files_take_bounded_time_and_memory(results):
    assert {name: seconds for name, (_, seconds, _) in results.items() if seconds > SECONDS} == {}
    assert {name: used for name, (_, _, used) in results.items() if used > MEMORY_CEILING} == {}
    assert sum(used for _, _, used in results.values()) < MEMORY_CEILING  # nothing is kept from file to file


# The fuzz


def flip(data: bytearray, at: int, value: int, other: bytes) -> None:
    data[at] ^= 1 << value % 8


def put(data: bytearray, at: int, value: int, other: bytes) -> None:
    number = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)[value % 9]
    data[at : at + 4] = struct.pack(">I" if value & 16 else "<I", number)


def cut(data: bytearray, at: int, value: int, other: bytes) -> None:
    del data[at : at + value]


def repeat(data: bytearray, at: int, value: int, other: bytes) -> None:
    data[at:at] = data[at : at + value] * (1 + value % 7)


def splice(data: bytearray, at: int, value: int, other: bytes) -> None:
    data[at:] = other[len(other) * value // 1000 :]


def repaired(data: bytes) -> bytes:
    """With the checksums of a PNG made right again, without which its content would not be looked at."""
    at, fixed = 8, bytearray(data)
    while data.startswith(b"\x89PNG") and at + 12 <= len(fixed):
        (size,) = struct.unpack_from(">I", fixed, at)
        fixed[at + 8 + size : at + 12 + size] = struct.pack(">I", zlib.crc32(fixed[at + 4 : at + 8 + size]))
        at += 12 + size
    return bytes(fixed)


EDIT = st.tuples(
    st.sampled_from((flip, put, cut, repeat, splice)), st.floats(0, 1), st.booleans(), st.integers(0, 1000)
)


@settings(
    max_examples=1500,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    other=st.sampled_from(sorted(SAMPLES)),
    edits=st.lists(EDIT, min_size=1, max_size=6),
    repair=st.booleans(),
)
def test_any_mutation_is_read_or_refused(name, other, edits, repair):
    data = bytearray(SAMPLES[name])
    for edit, share, early, value in edits:
        reach = min(len(data), 64) if early else len(data)  # headers are where it hurts
        if reach:
            edit(data, int(share * (reach - 1)), value, SAMPLES[other])
    data = repaired(bytes(data)) if repair else bytes(data)
    start = time.process_time()
    try:
        photo = read_photo(data)
    except PhotoError:
        photo = None
    assert time.process_time() - start < SECONDS
    if photo:
        height, width, channels = photo.image.shape
        assert channels == 3
        assert max(width, height) <= MAX_SIDE
        assert photo.image.flags.c_contiguous

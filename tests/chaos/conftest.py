"""What the tests here break: a fleet of two dynos, whole again before each test."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from tests.botapi.world import Json
from tests.chaos.fleet import Fleet
from tests.pictures import encode

PHOTO_SECONDS, USER_PHOTOS_A_MINUTE = 6, 20  # of the fleet

PEOPLE = itertools.count(2_000_001)  # ids of users who have not written before


@pytest.fixture(scope="session")
def _fleet(tmp_path_factory):
    settings = {"PHOTO_SECONDS": PHOTO_SECONDS, "USER_PHOTOS_A_MINUTE": USER_PHOTOS_A_MINUTE}
    with Fleet(tmp_path_factory.mktemp("fleet"), **settings) as fleet:
        yield fleet


@pytest.fixture
def fleet(_fleet) -> Fleet:
    _fleet.recover()
    return _fleet


@pytest.fixture(scope="session")
def face(astronaut) -> bytes:
    """A small photo of one face: 70 pixels, a JPEG."""
    return encode(astronaut[40:180:2, 155:295:2])


@pytest.fixture
def person() -> int:
    """Id of a user who has not written before."""
    return next(PEOPLE)


@pytest.fixture
def send(fleet, face) -> Callable[[int], list[Json]]:
    """Sends so many photos, each from a user of its own; every fourth shows a face, which takes longer."""
    wall = encode(np.full((48, 64, 3), 90, np.uint8))

    def send(count: int) -> list[Json]:
        return [
            fleet.telegram.send_photo(next(PEOPLE), wall if number % 4 else face) for number in range(count)
        ]

    return send

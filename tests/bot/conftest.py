"""What the bot's tests share: people who write to it, and its answers."""

import itertools

import pytest

PEOPLE = itertools.count(10_000, 100)  # ids of users who have not written before; a test may add to its own


@pytest.fixture
def person() -> int:
    """Id of a user who has not written before."""
    return next(PEOPLE)


def answers(telegram, update) -> list:
    """Deliver an update, which must be acknowledged at once, and return what the bot sent on it."""
    before = len(telegram.sent)
    assert telegram.deliver(update) == 200
    return telegram.sent[before:]

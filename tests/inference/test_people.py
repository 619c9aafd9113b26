from dataclasses import replace

import pytest

from inference.faces import EMOTIONS, Age, BoundingBox, Emotion, Face, Gender, Keypoints
from inference.people import Census, Person
from inference.tracking import Track
from inference.words import clock, sum_up

POINT = (0, 0)
FACE = Face(
    BoundingBox(0, 0, 10, 10),
    0.99,
    Keypoints(POINT, POINT, POINT, POINT, POINT),
    Emotion((1, 0, 0, 0, 0, 0, 0)),
    Gender(0.9),
    Age(30.4, 25, 36),
)


def track(emotion: str, number: int = 1) -> Track:
    probabilities = tuple(float(name == emotion) for name in EMOTIONS)
    return Track(number, replace(FACE, emotion=Emotion(probabilities)))


def watched(*emotions: str | None, step: float = 0.1) -> list[Person]:
    """Somebody who looks like that in one frame after the other; None where they are not seen."""
    census = Census()
    for frame, emotion in enumerate(emotions):
        census.note([track(emotion)] if emotion else [], frame * step)
    return census.people()


def test_the_emotion_of_most_of_the_time_and_the_moments_of_others():
    (person,) = watched(*["happy"] * 30, *["surprise"] * 10, *["happy"] * 30, *["sad"] * 5, *["happy"] * 6)
    assert (person.emotion, person.seconds) == ("happy", pytest.approx(8))
    assert person.share == pytest.approx(0.81, abs=0.01)
    assert person.moments == (("surprise", pytest.approx(3)), ("sad", pytest.approx(7)))
    assert sum_up(person) == "mostly happy, surprised at 0:03, sad at 0:07; woman, about 30"


def test_of_several_times_of_an_emotion_the_longest_is_told():
    (person,) = watched(*["surprise"] * 2, *["happy"] * 30, *["surprise"] * 10, *["happy"] * 6)
    assert person.moments == (("surprise", pytest.approx(3.2)),)


def test_two_glances_are_no_moment():
    (person,) = watched(*["happy"] * 20, *["sad"] * 3, *[None] * 20, *["sad"] * 3, *["happy"] * 6)
    assert person.moments == ()


def test_what_lasts_no_longer_than_a_twitch_is_not_told():
    (person,) = watched(*["neutral"] * 30, *["angry"] * 3, *["neutral"] * 30)
    assert person.moments == ()
    assert sum_up(person) == "neutral; woman, about 30"


def test_only_the_longest_moments_are_told_in_the_order_of_time():
    spells = [("happy", 20), ("fear", 6), ("happy", 20), ("sad", 9), ("happy", 5), ("angry", 8)]
    emotions = [emotion for emotion, frames in spells for _ in range(frames)]
    (person,) = watched(*emotions, "happy")
    assert [emotion for emotion, _ in person.moments] == ["sad", "angry"]


def test_who_changes_all_the_time_is_not_said_to_be_mostly_anything():
    spells = ["happy"] * 10 + ["sad"] * 8 + ["neutral"] * 8
    (person,) = watched(*spells)
    assert sum_up(person).startswith("often happy, ")


def test_time_out_of_sight_does_not_count():
    (person,) = watched(*["sad"] * 10, *[None] * 50, *["happy"] * 8, "happy")
    assert person.seconds == pytest.approx(1.8)
    assert (person.emotion, person.moments) == ("sad", (("happy", pytest.approx(6)),))


def test_a_single_frame_is_enough_where_there_is_no_more():
    (person,) = watched("happy")
    assert (person.emotion, person.share, person.seconds, person.moments) == ("happy", 1, 0, ())
    assert watched(None, None) == []


def test_who_was_seen_for_a_blink_is_left_out_where_others_were_not():
    census = Census()
    for frame in range(20):
        others = [track("sad", 2)] if frame in (5, 6) else []
        census.note([track("happy", 3), *others], frame / 10)
    (person,) = census.people()
    assert person.number == 3


def test_what_a_single_look_saw_is_left_out_also_where_looks_are_rare():
    census = Census()
    for look in range(16):
        census.note([track("happy", 3), *([track("sad", 2)] if look == 5 else [])], look * 0.51)
    (person,) = census.people()
    assert person.number == 3


def test_everybody_in_a_slide_show_is_told():
    census = Census()
    for number in (1, 2, 3):
        census.note([track("happy", number)], 2 * number)
    census.note([track("happy", 3)], 8)
    assert [person.number for person in census.people()] == [1, 2, 3]


def test_people_are_told_in_the_order_of_their_numbers():
    census = Census()
    for frame in range(20):
        census.note([track("happy", 2 if frame < 10 else 1)], frame / 10)
    assert [person.number for person in census.people()] == [1, 2]


@pytest.mark.parametrize(("seconds", "told"), [(0, "0:00"), (3.9, "0:03"), (59.99, "0:59"), (61, "1:01")])
def test_a_time_is_told_as_players_do(seconds, told):
    assert clock(seconds) == told

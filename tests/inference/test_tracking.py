import subprocess
import sys
from dataclasses import replace

import pytest

from inference.faces import EMOTIONS, Age, BoundingBox, Emotion, Face, Gender, Keypoints
from inference.tracking import Tracker, overlap
from tests.conftest import ROOT

HAPPY, SAD = EMOTIONS.index("happy"), EMOTIONS.index("sad")


def face(x: float, y: float = 50, side: float = 40, emotion: int = HAPPY, **changes) -> Face:
    """A woman of 31 who is sure to look like that."""
    keypoints = Keypoints((x, y), (x, y), (x, y), (x, y), (x, y))
    probabilities = tuple(float(index == emotion) for index in range(len(EMOTIONS)))
    box = BoundingBox(x, y, side, side)
    plain = Face(box, 0.99, keypoints, Emotion(probabilities), Gender(0.9), Age(31, 26, 37))
    return replace(plain, **changes)


def numbers(tracks) -> list[int]:
    return [track.number for track in tracks]


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        ((0, 0, 10, 10), 1),
        ((5, 0, 10, 10), 1 / 3),
        ((2, 2, 5, 5), 0.25),
        ((10, 0, 9, 9), 0),
        ((50, 50, 1, 1), 0),
    ],
)
def test_overlap_is_the_shared_area(other, shared):
    assert overlap(BoundingBox(0, 0, 10, 10), BoundingBox(*other)) == pytest.approx(shared)
    assert overlap(BoundingBox(*other), BoundingBox(0, 0, 10, 10)) == pytest.approx(shared)


def test_a_face_keeps_its_number_while_it_moves_and_grows():
    tracker = Tracker()
    for frame in range(60):
        moving = face(10 + 15 * frame, 50 + frame, 40 + frame)
        (track,) = tracker.update([moving], frame / 15)
        assert (track.number, track.face.box) == (1, moving.box)
        assert track.face.keypoints == moving.keypoints


def test_new_faces_are_numbered_left_to_right_and_told_in_the_order_of_numbers():
    tracker = Tracker()
    assert numbers(tracker.update([face(300), face(100)], 0)) == [1, 2]
    tracks = tracker.update([face(0), face(100), face(300), face(400)], 0.1)
    assert [(track.number, track.face.box.x) for track in tracks] == [(1, 100), (2, 300), (3, 0), (4, 400)]


def test_faces_that_pass_each_other_are_not_mixed_up():
    """One above the other and half covering it, so that each is nearest to itself."""
    tracker = Tracker()
    for frame in range(41):
        tracks = tracker.update([face(10 * frame, 50), face(400 - 10 * frame, 75)], frame / 15)
        assert [(track.number, track.face.box.y) for track in tracks] == [(1, 50), (2, 75)]


def test_the_nearer_of_two_candidates_is_the_face():
    tracker = Tracker()
    tracker.update([face(100)], 0)
    tracks = tracker.update([face(75), face(110)], 0.1)
    assert [(track.number, track.face.box.x) for track in tracks] == [(1, 110), (2, 75)]


def test_a_lost_face_comes_back_within_a_second_and_is_a_new_one_after_it():
    tracker = Tracker()
    tracker.update([face(100), face(300)], 0)
    assert numbers(tracker.update([face(300)], 0.5)) == [2]
    assert numbers(tracker.update([face(105), face(300)], 0.95)) == [1, 2]
    assert tracker.update([], 1.5) == []
    assert tracker.update([], 1.8) == []
    assert numbers(tracker.update([face(105), face(300)], 2.1)) == [3, 4]  # no number is given again


def test_a_face_is_not_lost_where_nobody_looked():
    tracker = Tracker()
    for seconds in (0, 2.5, 5):  # a slide show
        assert numbers(tracker.update([face(100)], seconds)) == [1]
    assert tracker.update([], 5.5) == []
    assert numbers(tracker.update([face(100)], 6.1)) == [1]  # one look missed it
    assert numbers(tracker.update([face(100)], 12)) == [2]


def test_another_scene_has_other_people():
    tracker = Tracker()
    tracker.update([face(100), face(300)], 0)
    tracker.cut()
    assert numbers(tracker.update([face(100)], 0.1)) == [3]


@pytest.mark.parametrize("other", [{"gender": Gender(0.05)}, {"age": Age(60, 50, 70)}])
def test_who_contradicts_a_face_in_its_place_is_another_where_the_scene_may_have_changed(other):
    looks = [face(50)] * 5 + [face(50, **other)] * 2 + [face(50)] * 2 + [face(50, **other)] * 4
    for changed, expected in ((True, [1] * 11 + [2] * 2), (False, [1] * 13)):
        tracker, told = Tracker(), []
        for number, look in enumerate(looks):
            (track,) = tracker.update([look], number / 10, changed)
            told.append(track.number)
        assert told == expected
        assert (track.face.gender, track.face.age) == (look.gender, look.age) or not changed


def test_a_doubt_ends_with_the_change():
    tracker = Tracker()
    tracker.update([face(50)], 0)
    tracker.update([face(50, gender=Gender(0.05))], 0.1, True)
    for number in range(2, 100):
        (track,) = tracker.update([face(50, gender=Gender(0.05))], number / 10)
    assert (track.number, track.face.gender.female) == (1, pytest.approx(0.05, abs=0.02))


def test_a_face_elsewhere_is_another_one():
    tracker = Tracker()
    tracker.update([face(100)], 0)
    assert numbers(tracker.update([face(200)], 0.05)) == [2]
    assert numbers(tracker.update([face(200, side=300)], 0.1)) == [3]  # around it, and far larger


@pytest.mark.parametrize("rate", [3, 10, 30])
def test_emotion_changes_within_half_a_second_at_any_rate(rate):
    tracker = Tracker()
    for frame in range(rate):
        tracker.update([face(100)], frame / rate)
    for frame in range(rate, rate + max(1, rate // 2)):
        (track,) = tracker.update([face(100, emotion=SAD)], frame / rate)
    assert track.face.emotion.label == "sad"
    assert track.face.emotion.probability > 0.8
    assert sum(track.face.emotion.probabilities) == pytest.approx(1)


def test_a_single_odd_frame_does_not_change_the_emotion():
    tracker = Tracker()
    for frame in range(15):
        (track,) = tracker.update([face(100, emotion=SAD if frame == 8 else HAPPY)], frame / 15)
        assert track.face.emotion.label == "happy"


def test_gender_and_age_settle_on_the_mean_of_what_was_seen():
    tracker = Tracker()
    for frame in range(100):
        odd = frame % 2
        gender, age = (Gender(0.4), Age(20, 15, 25)) if odd else (Gender(0.9), Age(40, 33, 47))
        (track,) = tracker.update([face(100, gender=gender, age=age)], frame / 15)
    assert track.face.gender.female == pytest.approx(0.65, abs=0.01)
    assert track.face.age.years == pytest.approx(30, abs=0.3)
    assert track.face.age.low == pytest.approx(24, abs=0.3)
    assert track.face.age.high == pytest.approx(36, abs=0.3)


def test_what_was_seen_surely_weighs_more_and_what_was_seen_long_ago_less():
    def years_after(*readings: tuple[float, float, float]) -> float:
        tracker = Tracker()
        for seconds, confidence, years in readings:
            age = Age(years, years, years)
            (track,) = tracker.update([face(100, confidence=confidence, age=age)], seconds)
        return track.face.age.years

    assert years_after((0, 0.5, 30), (0, 1, 60)) == pytest.approx(50)
    assert years_after((0, 1, 30), (0.1, 1, 60)) < years_after((0, 1, 30), (0.9, 1, 60)) < 47


def test_people_are_averaged_apart():
    tracker = Tracker()
    for frame in range(20):
        pair = [face(100, gender=Gender(0.95)), face(300, gender=Gender(0.02), emotion=SAD)]
        one, two = tracker.update(pair, frame / 10)
    assert (one.face.gender.label, one.face.emotion.label) == ("female", "happy")
    assert (two.face.gender.label, two.face.emotion.label) == ("male", "sad")


def test_the_web_process_may_import_it():
    code = "import inference.tracking, sys; assert not {'cv2', 'tensorflow', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

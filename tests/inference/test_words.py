import pytest

from inference.faces import Age, BoundingBox, Emotion, Face, Gender, Keypoints
from inference.words import ADJECTIVES, describe, noun, percent, years

KEYPOINTS = Keypoints((30, 40), (70, 40), (50, 60), (35, 80), (65, 80))


def test_describe_tells_emotion_gender_and_age_with_their_doubts():
    emotion = Emotion((0.01, 0.0, 0.02, 0.93, 0.01, 0.02, 0.01))
    face = Face(BoundingBox(0, 0, 100, 100), 0.99, KEYPOINTS, emotion, Gender(0.98), Age(31.2, 25.6, 37.4))
    assert describe(face) == "happy 93 %, woman 98 %, about 31 (26-37)"


def test_each_emotion_has_its_adjective():
    assert ADJECTIVES == {
        "angry": "angry",
        "disgust": "disgusted",
        "fear": "afraid",
        "happy": "happy",
        "sad": "sad",
        "surprise": "surprised",
        "neutral": "neutral",
    }


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (Age(1.2, 0.3, 2.1), "about 1 (0-2)"),
        (Age(0.4, 0.0, 0.9), "about 1 (0-1)"),
        (Age(0.2, -0.7, 0.3), "about 1 (0-1)"),
        (Age(15.4, 12.5, 19.6), "about 15 (12-20)"),
        (Age(80.0, 71.7, 91.0), "about 80 (72-91)"),
    ],
)
def test_describe_rounds_ages_to_years_and_starts_at_one(age, told):
    emotion = Emotion((0, 0, 0, 0, 0, 0, 1.0))
    face = Face(BoundingBox(0, 0, 100, 100), 0.99, KEYPOINTS, emotion, Gender(0.3), age)
    assert describe(face).endswith(told)


@pytest.mark.parametrize(
    ("female", "age", "word"),
    [(0.9, 16.0, "woman"), (0.2, 40.0, "man"), (0.5, 15.4, "girl"), (0.49, 0.5, "boy"), (0.1, 15.6, "man")],
)
def test_noun_goes_by_gender_and_by_the_age_that_is_told(female, age, word):
    assert noun(Gender(female), Age(age, age - 5, age + 5)) == word


@pytest.mark.parametrize(
    ("probability", "told"),
    [
        (0.0, "0 %"),
        (0.926, "93 %"),
        (0.994, "99 %"),
        (0.996, "99 %"),
        (0.9994, "99 %"),
        (0.9995, "100 %"),
        (1.0, "100 %"),
    ],
)
def test_percent_is_only_certain_when_the_model_is(probability, told):
    assert percent(probability) == told


def test_years_of_the_youngest_is_one():
    assert [years(Age(told, 0, 5)) for told in (0.0, 0.4, 1.4, 1.6)] == [1, 1, 1, 2]

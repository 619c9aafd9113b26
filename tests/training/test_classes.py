import numpy as np
import pytest

from inference.faces import EMOTIONS
from training.classes import MERGES, merge, names


@pytest.mark.parametrize("classes", MERGES)
def test_every_emotion_is_in_one_class(classes):
    merged = [emotion for part in MERGES[classes] for emotion in part]
    assert sorted(merged) == sorted(EMOTIONS)
    assert len(MERGES[classes]) == classes == len(names(classes))


def test_seven_are_our_own():
    assert names(7) == EMOTIONS


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (6, {"angry/disgust": 0.375, "fear": 0.125, "happy": 0.5, "sad": 0, "surprise": 0, "neutral": 0}),
        (4, {"neutral": 0, "happy": 0.5, "sad/angry/disgust": 0.375, "surprise/fear": 0.125}),
    ],
)
def test_votes_and_classes_are_merged(classes, expected):
    votes = np.zeros((1, 7), np.float32)
    for emotion, share in (("angry", 0.25), ("disgust", 0.125), ("fear", 0.125), ("happy", 0.5)):
        votes[0, EMOTIONS.index(emotion)] = share
    original = np.array([EMOTIONS.index("disgust")])
    merged = merge({"votes": votes, "original": original, "age": np.array([3])}, classes)
    assert dict(zip(names(classes), merged["votes"][0].tolist(), strict=True)) == expected
    assert "disgust" in MERGES[classes][merged["original"][0]]
    assert merged["age"].tolist() == [3]

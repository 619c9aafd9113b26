from dataclasses import replace

import numpy as np
import pytest

from training.experiment import TEACHING
from training.networks import residual
from training.tasks import TASKS
from training.teaching import UNLABELLED_WEIGHT, opinion, teach

# Keras reads its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def _teacher(name: str, side: int):
    """A small network with the task's heads, whose answers differ from face to face."""
    task = TASKS[name]
    return residual(side, task.channels, task.heads, 2, (1, 1, 1))


@pytest.mark.parametrize("name", ["emotion", "traits"])
def test_opinions_are_probabilities(name, make_faces):
    said = opinion(_teacher(name, 32), TASKS[name], make_faces(10, 0))
    assert {head: share.shape for head, share in said.items()} == {
        head: (10, size) for head, size in TASKS[name].heads.items()
    }
    for head, share in said.items():
        assert share.dtype == np.float32
        assert share.min() >= 0
        assert np.ptp(share, axis=0).max() > 1e-3
        if head == "gender":
            assert share.max() <= 1
        else:
            assert share.sum(axis=1) == pytest.approx(np.ones(10), abs=1e-5)


def test_labels_and_teacher_share_the_targets(make_faces):
    task = replace(TASKS["emotion"], unlabelled=None)
    located, teacher = make_faces(12, 0), _teacher("emotion", 48)
    (faces, landmarks), weights, targets = teach(task, located, teacher, None)
    said, labels = opinion(teacher, task, located)["emotion"], located[0].labels
    mixed = TEACHING * said + (1 - TEACHING) * labels["votes"]
    np.testing.assert_allclose(targets["emotion"], mixed, atol=1e-6)
    assert np.abs(targets["emotion"] - labels["votes"]).max() > 0.1
    np.testing.assert_array_equal(weights, task.weights(labels))
    np.testing.assert_array_equal(landmarks, located[1])
    assert faces.names.tolist() == located[0].names.tolist()


def test_faces_without_labels_join_in(make_faces, write_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path, {"train": 15})
    located, teacher = make_faces(12, 1), _teacher("emotion", 48)
    (faces, landmarks), weights, targets = teach(TASKS["emotion"], located, teacher, tmp_path / "data")
    assert len(faces) == len(landmarks) == len(weights) == len(targets["emotion"]) == 12 + 15
    assert weights[12:].tolist() == [UNLABELLED_WEIGHT] * 15
    # Of those only the teacher speaks: no target is a label, or has a part of one.
    task = replace(TASKS["emotion"], dataset="utkface")
    said = opinion(teacher, task, (faces.take(np.arange(12, 27)), landmarks[12:]))
    np.testing.assert_allclose(targets["emotion"][12:], said["emotion"], atol=1e-6)
    assert {name[-4:] for name in faces.names[12:]} == {".jpg"}


def test_missing_faces_are_told(make_faces, tmp_path):
    with pytest.raises(FileNotFoundError, match="UTKFace"):
        teach(TASKS["emotion"], make_faces(12, 1), _teacher("emotion", 48), tmp_path)

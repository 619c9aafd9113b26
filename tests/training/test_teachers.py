"""Teachers, on pictures that are learnt in seconds: none of them has seen what it tells of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.decoding import sigmoid, softmax
from inference.faces import EMOTIONS
from training import experiment, teachers
from training.duplicates import folds
from training.export import serving_copy, write_record
from training.networks import residual
from training.tasks import TASKS
from training.teachers import Ensemble, described, taught, teach

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

EPOCHS = 6


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two networks that are soon compiled."""
    for name in ("emotion", "traits"):
        monkeypatch.setitem(TASKS, name, replace(TASKS[name], side=48, blocks=(1, 1, 1)))
    monkeypatch.setattr(teachers, "FOLDS", 2)
    monkeypatch.setattr(teachers, "WIDTH", 1)
    monkeypatch.setattr(teachers, "PEAK_RATE", 0.03)


def test_each_face_is_told_of_by_a_teacher_that_has_not_seen_it(make_faces, tmp_path, monkeypatch):
    # Pictures made to show the same are about the same, so that whole classes would be in one part.
    monkeypatch.setattr(teachers, "near_copies", lambda images: np.zeros((0, 2), int))
    faces, landmarks = make_faces(280, 0)
    part = folds(np.arange(280), 2, 3)
    truth = faces.labels["original"]
    shown = np.where(part == 0, (truth + 1) % len(EMOTIONS), truth)  # one part is labelled wrongly throughout
    faces.labels["votes"] = np.eye(len(EMOTIONS), dtype=np.float32)[shown]
    teach("emotion", (faces, landmarks), EPOCHS, "none", 3, tmp_path)
    with np.load(tmp_path / "said.npz") as said:
        assert said["names"].tolist() == faces.names.tolist()
        told = said["emotion"]
    np.testing.assert_allclose(told.sum(axis=1), 1, atol=1e-5)
    answers = told.argmax(axis=1)
    assert (answers == truth)[part == 0].mean() > 0.7  # learnt from the part that is right
    assert (answers == (truth + 1) % len(EMOTIONS))[part == 1].mean() > 0.7  # and from the one that is not


def test_teachers_of_age_and_gender_tell_both_and_are_made_once(make_faces, tmp_path):
    located = make_faces(64, 0)
    for _ in range(2):
        teach("traits", located, 1, "none", 0, tmp_path)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2
    with np.load(tmp_path / "said.npz") as said:
        assert said["age"].shape == (64, 117)
        assert said["gender"].shape == (64, 1)
    assert described(tmp_path) == {"epochs": 1, "augmentation": "none", "seed": 0}
    with pytest.raises(ValueError, match="epochs 1, not 2"):
        teach("traits", located, 2, "none", 0, tmp_path)


def test_teachers_that_were_killed_while_they_spoke_speak_again(make_faces, tmp_path, monkeypatch):
    located = make_faces(64, 0)

    def begin(path, **said):
        Path(path).write_bytes(b"half of what they s")
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(np, "savez", begin)
        with pytest.raises(KeyboardInterrupt):
            teach("traits", located, 1, "none", 0, tmp_path)
    with pytest.raises(FileNotFoundError, match="no finished teachers"):
        taught(TASKS["traits"], located, [tmp_path], 0.5)
    teach("traits", located, 1, "none", 0, tmp_path)
    assert taught(TASKS["traits"], located, [tmp_path], 0.5)["gender"].shape == (64, 1)


def _write_said(folder, names, **said):
    folder.mkdir()
    np.savez(folder / "said.npz", names=names, **said)
    return folder


def test_targets_are_mixed_of_labels_and_the_mean_of_what_teachers_say(make_faces, tmp_path):
    faces, landmarks = make_faces(7, 0)
    order = [3, 0, 6, 5, 1, 2, 4]  # teachers may tell in another one
    said = np.random.default_rng(0).dirichlet(np.ones(7), (2, 7)).astype(np.float32)
    folders = [
        _write_said(tmp_path / str(number), faces.names[order], emotion=told[order])
        for number, told in enumerate(said)
    ]
    targets = taught(TASKS["emotion"], (faces, landmarks), folders, 0.25)
    expected = 0.75 * faces.labels["votes"] + 0.25 * said.mean(axis=0)
    np.testing.assert_allclose(targets["emotion"], expected, atol=1e-6)


def test_teachers_of_other_faces_are_refused(make_faces, tmp_path):
    located = make_faces(7, 0)
    names = located[0].names
    unfinished, fewer, others = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    with pytest.raises(FileNotFoundError, match="no finished teachers"):
        taught(TASKS["emotion"], located, [unfinished], 0.5)
    _write_said(fewer, names[:6], emotion=np.zeros((6, 7)))
    _write_said(others, names, age=np.zeros((7, 117)))
    for folder in (fewer, others):
        with pytest.raises(ValueError, match="other faces"):
            taught(TASKS["emotion"], located, [folder], 0.5)


def test_an_ensemble_says_the_mean_of_what_its_members_see(make_faces, tmp_path):
    located = make_faces(9, 0)
    task = TASKS["traits"]
    crops = experiment.crops(task, located)[0][0]
    expected = {"age": [], "gender": []}
    for side in (48, 40):
        network = residual(side, task.channels, task.heads, task.stem_stride, task.blocks)
        member = replace(task, side=side)
        (tmp_path / str(side)).mkdir()
        serving_copy(network, member).save(tmp_path / str(side) / "traits.keras")
        write_record({"task": "age", "network": "traits", "side": side}, tmp_path / str(side))
        logits = network.predict_on_batch(experiment.restyle(crops, member))
        expected["age"].append(softmax(logits["age"]))
        expected["gender"].append(sigmoid(logits["gender"]))
    said = Ensemble("traits", [tmp_path / "48", tmp_path / "40"]).of_crops(crops)
    assert said.keys() == expected.keys()
    for head, told in said.items():
        np.testing.assert_allclose(told, np.mean(expected[head], axis=0), atol=0.02)  # bfloat16
        assert np.ptp([np.array(each) for each in expected[head]], axis=0).max() > 0.02


def test_a_member_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no emotion\.json"):
        Ensemble("emotion", [tmp_path])
    write_record({"task": "emotion", "network": "emotion", "side": 48}, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no emotion\.keras"):
        Ensemble("emotion", [tmp_path])

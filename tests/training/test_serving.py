"""Training and serving read the same numbers from the same face."""

import keras
import numpy as np
import pytest

from inference.alignment import points
from inference.attributes import WEIGHTS, Network
from training.__main__ import _logits
from training.data import Faces
from training.export import MODELS
from training.tasks import TASKS


@pytest.mark.parametrize("name", MODELS)
def test_committed_models_give_the_same_logits_in_training_and_serving(name, analyzer, astronaut):
    landmarks = np.array([points(face.keypoints) for face in analyzer.analyze(astronaut)] * 3)
    landmarks[1] += 3  # pixels; three different crops of one face
    landmarks[2, :, 0] -= 5
    labels = {
        "votes": np.full((3, 7), 1 / 7, np.float32),
        "age": np.array([30, 40, 50]),
        "gender": np.array([0, 1, 1]),
    }
    faces = Faces(np.array(["a", "b", "c"]), [astronaut] * 3, labels)
    network = keras.saving.load_model(WEIGHTS / f"{name}.keras", compile=False)
    trained = _logits(network, TASKS[name], (faces, landmarks))
    served = Network(name)(astronaut, landmarks)
    assert trained.shape == served.shape
    assert np.ptp(served, axis=0).max() > 0.05  # the crops do differ
    np.testing.assert_allclose(served, trained, atol=1e-3)

"""Training and serving read the same numbers from the same face."""

import keras
import numpy as np
import pytest

from inference.alignment import points
from inference.attributes import WEIGHTS, Network
from training.data import Faces
from training.experiment import logits
from training.tasks import NETWORK_OF, TASKS


@pytest.mark.parametrize("name", sorted(set(NETWORK_OF.values())))
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
    path = WEIGHTS / f"{name}.keras"
    network = keras.saving.load_model(path, compile=False)
    trained = logits(network, TASKS[name], (faces, landmarks))
    served = Network(path)(astronaut, landmarks)
    assert set(trained) == set(served) == set(TASKS[name].heads)
    for head in served:
        assert trained[head].shape == served[head].shape
        assert np.ptp(served[head], axis=0).max() > 0.05  # the crops do differ
        np.testing.assert_allclose(served[head], trained[head], atol=1e-3)

"""Training and serving read the same numbers from the same face."""

import keras
import numpy as np
import pytest

from inference.alignment import points
from inference.attributes import WEIGHTS
from inference.faces import MIRRORED_FACES
from training.data import Faces
from training.experiment import crops, logits
from training.tasks import NETWORK_OF, TASKS


def located(count, analyzer, astronaut):
    """So many different crops of one face, as training has them."""
    landmarks = np.array([points(face.keypoints) for face in analyzer.detect(astronaut)] * count)
    landmarks += 3 * np.arange(count)[:, None, None]  # pixels
    labels = {
        "votes": np.full((count, 7), 1 / 7, np.float32),
        "age": np.arange(count),
        "gender": np.ones(count, int),
    }
    return Faces(np.array([f"{number}" for number in range(count)]), [astronaut] * count, labels), landmarks


@pytest.mark.parametrize("name", sorted(set(NETWORK_OF.values())))
def test_committed_models_give_the_same_logits_in_training_and_serving(name, analyzer, astronaut):
    faces, landmarks = located(MIRRORED_FACES, analyzer, astronaut)
    network = keras.saving.load_model(WEIGHTS / f"{name}.keras", compile=False)
    trained = logits(network, TASKS[name], (faces, landmarks))
    served = analyzer.attributes.logits(astronaut, landmarks)
    assert set(trained) == set(TASKS[name].heads)
    for head in trained:
        assert trained[head].shape == served[head].shape
        assert np.ptp(served[head], axis=0).max() > 0.05  # the crops do differ
        np.testing.assert_allclose(served[head], trained[head], atol=1e-3)


@pytest.mark.parametrize("name", sorted(set(NETWORK_OF.values())))
def test_in_photos_of_many_faces_each_is_looked_at_from_one_side(name, analyzer, astronaut):
    faces, landmarks = located(MIRRORED_FACES + 1, analyzer, astronaut)
    network = keras.saving.load_model(WEIGHTS / f"{name}.keras", compile=False)
    inputs = crops(TASKS[name], (faces, landmarks))[0][0]
    one_side = dict(zip(network.output_names, keras.tree.flatten(network.predict_on_batch(inputs))))
    both_sides = logits(network, TASKS[name], (faces, landmarks))
    served = analyzer.attributes.logits(astronaut, landmarks)
    for head in one_side:
        np.testing.assert_allclose(served[head], one_side[head], atol=1e-3)
        assert np.abs(served[head] - both_sides[head]).max() > 0.01

import json
import re
import zipfile

import keras
import numpy as np
import pytest

from inference.faces import ATTRIBUTES
from training.export import read_records, serving_copy, write_record
from training.networks import precision, residual
from training.tasks import TASKS

# Keras reads its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture
def emotion():
    """A network for training, in mixed precision, with statistics as if it had been fitted."""
    task = TASKS["emotion"]
    with precision("mixed_bfloat16"):
        network = residual(task.side, task.channels, task.heads, task.stem_stride, task.blocks)
    rng = np.random.default_rng(0)
    network.set_weights([value + rng.uniform(0, 0.05, value.shape) for value in network.get_weights()])
    network.compile("sgd", task.losses)
    return network


@pytest.fixture
def crops():
    side = TASKS["emotion"].side
    return np.random.default_rng(1).normal(0, 1, (8, side, side, 1)).astype(np.float32)


def test_the_copy_is_float32_and_answers_alike(emotion, crops):
    copy = serving_copy(emotion, TASKS["emotion"])
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    ours, theirs = np.array(emotion(crops, training=False)), np.array(copy(crops, training=False))
    assert np.abs(ours - theirs).max() < 0.03 * np.ptp(theirs)  # bfloat16 keeps 8 bits
    assert np.abs(ours - theirs).max() > 0  # and it was in use


def test_the_saved_network_answers_as_the_one_in_memory(emotion, crops, tmp_path):
    copy = serving_copy(emotion, TASKS["emotion"])
    copy.save(tmp_path / "emotion.keras")
    loaded = keras.saving.load_model(tmp_path / "emotion.keras", compile=False)
    np.testing.assert_allclose(loaded(crops, training=False), copy(crops, training=False), rtol=0, atol=1e-4)


def test_the_file_holds_the_network_alone(emotion, tmp_path):
    serving_copy(emotion, TASKS["emotion"]).save(tmp_path / "emotion.keras")
    assert (tmp_path / "emotion.keras").stat().st_size < 8e6
    with zipfile.ZipFile(tmp_path / "emotion.keras") as archive:
        config = archive.read("config.json").decode()
    assert not json.loads(config).get("compile_config")
    assert "bfloat16" not in config
    # All it is made of comes with Keras, so that it loads where training/ is not imported.
    assert set(re.findall(r'"module": "(\w+)', config)) <= {"keras", "builtins"}


def test_records_come_back_in_the_order_of_the_models(tmp_path):
    assert read_records(tmp_path) == {}
    for name in reversed(ATTRIBUTES):
        write_record({"task": name, "side": 48}, tmp_path)
    assert list(read_records(tmp_path)) == list(ATTRIBUTES)
    assert read_records(tmp_path)["age"] == {"task": "age", "side": 48}

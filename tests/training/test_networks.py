import keras
import numpy as np
import pytest

from training.networks import residual
from training.tasks import TASKS

# Keras reads its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def _build(name: str) -> keras.Model:
    task = TASKS[name]
    return residual(task.side, task.channels, task.heads, task.stem_stride)


@pytest.mark.parametrize(
    ("name", "side", "channels", "logits"), [("emotion", 48, 1, 7), ("age", 80, 3, 117), ("gender", 80, 3, 1)]
)
def test_one_head(name, side, channels, logits):
    network = _build(name)
    assert network.input_shape == (None, side, side, channels)
    assert network.output_shape == (None, logits)
    assert 1_550_000 < network.count_params() < 1_600_000


def test_two_heads_on_one_trunk():
    network = _build("both")
    assert {head: output.shape for head, output in network.output.items()} == {
        "age": (None, 117),
        "gender": (None, 1),
    }
    assert (
        network.count_params() - _build("age").count_params() == 193
    )  # the gender head, 192 weights and a bias
    assert network.count_params() < 1_600_000


def test_only_the_heads_are_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = _build("both")
    kinds = {layer.compute_dtype for layer in network.layers if layer.name not in ("age", "gender")}
    assert kinds == {"bfloat16"}
    assert {network.get_layer(head).compute_dtype for head in ("age", "gender")} == {"float32"}
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}


def test_a_head_alone_answers_as_beside_the_other():
    both = _build("both")
    crops = np.random.default_rng(0).normal(0, 1, (2, 80, 80, 3)).astype(np.float32)
    answers = both(crops, training=False)
    for head in ("age", "gender"):
        _build(head)  # moves the counters of automatic layer names on
        part = keras.Model(both.input, both.get_layer(head).output)
        same = _build(head)
        same.set_weights(part.get_weights())
        for network in (part, same):
            np.testing.assert_allclose(network(crops, training=False), answers[head], atol=1e-5)

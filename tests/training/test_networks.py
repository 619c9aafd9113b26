import keras
import numpy as np
import pytest

from training.networks import grow, normalize, precision, residual
from training.tasks import TASKS

# Keras reads its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def _build(name: str) -> keras.Model:
    task = TASKS[name]
    return residual(task.side, task.channels, task.heads, task.stem_stride, task.blocks)


def test_one_head():
    network = _build("emotion_base")
    assert network.input_shape == (None, 48, 48, 1)
    assert network.output_shape == (None, 7)
    assert network.count_params() == 1_560_615


def test_two_heads_on_one_trunk():
    network = _build("traits_base")
    assert network.input_shape == (None, 80, 80, 3)
    assert {head: output.shape for head, output in network.output.items()} == {
        "age": (None, 117),
        "gender": (None, 1),
    }
    assert network.count_params() == 1_582_614


def test_the_shipped_networks_have_at_most_six_million_parameters():
    sizes = [_build(name).count_params() for name in ("emotion", "traits")]
    assert sum(sizes) < 6_000_000


def test_a_teacher_of_twice_the_width_has_about_four_times_the_parameters():
    wide = residual(48, 1, {"emotion": 7}, 1, width=2)
    assert wide.get_layer("stem").output.shape == (None, 48, 48, 64)
    assert 3.9 < wide.count_params() / _build("emotion").count_params() < 4.0


def test_only_the_heads_are_float32_in_mixed_precision():
    with precision("mixed_bfloat16"):
        network = _build("traits")
    kinds = {layer.compute_dtype for layer in network.layers if layer.name not in ("age", "gender")}
    assert kinds == {"bfloat16"}
    assert {network.get_layer(head).compute_dtype for head in ("age", "gender")} == {"float32"}
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    assert {layer.compute_dtype for layer in _build("traits").layers} == {"float32"}  # as before


def test_a_grown_network_begins_as_the_one_that_it_grew_from():
    start = residual(48, 1, {"emotion": 7}, 1, (2, 2, 2))
    grown = residual(48, 1, {"emotion": 7}, 1, (2, 3, 3))
    rng = np.random.default_rng(0)
    start.set_weights([value + rng.uniform(0, 0.05, value.shape) for value in start.get_weights()])
    crops = rng.normal(0, 1, (2, 48, 48, 1)).astype(np.float32)
    before = np.array(grown(crops, training=False))
    grow(grown, start)
    after = np.array(grown(crops, training=False))
    np.testing.assert_allclose(after, start(crops, training=False), atol=1e-4)
    assert np.abs(after - before).max() > 0.01
    assert grown.count_params() > 1.5 * start.count_params()


def test_a_network_grows_to_larger_crops():
    start, grown = _build("traits_again"), _build("traits")
    grow(grown, start)
    np.testing.assert_array_equal(grown.get_layer("stem").kernel, start.get_layer("stem").kernel)
    assert grown.input_shape == (None, 96, 96, 3)


def test_statistics_are_those_of_the_batches_and_nothing_else_changes():
    network = residual(48, 1, {"emotion": 7}, 1, blocks=(1, 1, 1))
    before = [weight.numpy() for weight in network.trainable_variables]
    batches = np.random.default_rng(0).normal(3, 2, (3, 8, 48, 48, 1)).astype(np.float32)
    normalize(network, batches)
    stem = keras.Model(network.input, network.get_layer("stem").output)
    seen = np.stack([stem(batch).numpy() for batch in batches])  # of (batch, face, row, column, channel)
    norm = network.get_layer("stem_norm")
    np.testing.assert_allclose(norm.moving_mean, seen.mean(axis=(0, 1, 2, 3)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, seen.var(axis=(1, 2, 3)).mean(axis=0), rtol=1e-3)
    for one, other in zip(before, network.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)
    assert norm.momentum == 0.9

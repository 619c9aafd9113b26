import numpy as np
import pytest

from inference.attributes import WEIGHTS
from inference.runtime import folded, in_batches, tf


@pytest.fixture(scope="module")
def run():
    """Doubles each input, and tells of each how large its batch was."""

    def network(inputs):
        return [2 * inputs, tf.repeat(tf.shape(inputs)[:1], tf.shape(inputs)[0])]

    return in_batches(network, [tf.TensorSpec((3,))], (8, 4, 1))


@pytest.mark.parametrize(
    ("count", "batches"),
    [(0, []), (1, [1]), (2, [1, 1]), (3, [4]), (5, [4, 1]), (6, [8]), (7, [8]), (8, [8]), (19, [8, 8, 4])],
)
def test_batches_are_of_the_given_sizes_and_not_filled_up_by_more_than_a_quarter(run, count, batches):
    inputs = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    outputs, sizes = run(inputs)
    np.testing.assert_array_equal(outputs, 2 * inputs)
    seen = [size for size in batches for _ in range(size)][:count]
    assert sizes.tolist() == seen


def test_less_than_the_smallest_batch_is_filled_up_to_it():
    run = in_batches(lambda one, other: [one + other], [tf.TensorSpec((2,))] * 2, (16, 4))
    ones = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(run(ones, ones)[0], [[2, 2]])


@pytest.mark.parametrize("name", ["emotion", "traits"])
def test_a_folded_network_answers_the_same_without_normalizations(name):
    model = tf.keras.models.load_model(WEIGHTS / f"{name}.keras", compile=False)
    network = folded(model)
    crops = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    for one, other in zip(*(tf.nest.flatten(each(crops, training=False)) for each in (model, network))):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert not any(isinstance(layer, tf.keras.layers.BatchNormalization) for layer in network.layers)
    assert network.output_names == model.output_names

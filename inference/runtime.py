"""TensorFlow as serving wants it: `from inference.runtime import tf`."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

__all__ = ["folded", "in_batches", "tf"]

MAX_PADDING = 0.25  # of a batch; beyond that, two smaller batches take less time


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what native code says from stderr: oneDNN's greeting heeds no log level."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only; read by TensorFlow when it is imported
with _quiet():
    import tensorflow as tf


def folded(model: tf.keras.Model) -> tf.keras.Model:
    """The same network without batch normalizations, each being folded into the convolution before it.

    In serving both are linear, and one takes a tenth less time than two.

    Args:
        model: whose every convolution `name` is without bias and has a normalization `name_norm` after it.
    """

    def make(layer: tf.keras.Layer) -> tf.keras.Layer:
        bias = {"use_bias": True} if isinstance(layer, tf.keras.layers.Conv2D) else {}
        return type(layer).from_config(layer.get_config() | bias)

    def connect(layer: tf.keras.Layer, inputs, **options):
        return inputs if isinstance(layer, tf.keras.layers.BatchNormalization) else layer(inputs, **options)

    network = tf.keras.models.clone_model(model, clone_function=make, call_function=connect)
    for layer in network.layers:
        weights = model.get_layer(layer.name).get_weights()
        if isinstance(layer, tf.keras.layers.Conv2D):
            norm = model.get_layer(f"{layer.name}_norm")
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * scale, beta - mean * scale]
        layer.set_weights(weights)
    return network


def in_batches(
    network: Callable, inputs: Sequence[tf.TensorSpec], sizes: tuple[int, ...]
) -> Callable[..., list[np.ndarray]]:
    """A network as a graph that only ever sees batches of a few sizes.

    oneDNN, which halves the time of a convolution, keeps buffers for each shape it has met; with shapes as
    they come, memory grows by 200 MB over the first 40 photos. (Weights as constants of the graph would save
    a tenth to a third of its time, and cost 220 MB.)

    Args:
        network: TensorFlow function of one tensor for each of `inputs`, with a list of tensors as its result.
        inputs: shape and dtype of one of each, without the batch.
        sizes: of the batches, largest first; one is filled up with zeros where that wastes little or nothing
            smaller is left.

    Returns:
        Function of arrays of n inputs each, with a list of arrays of n as its result.
    """
    signature = [tf.TensorSpec((None, *spec.shape), spec.dtype) for spec in inputs]
    graph = tf.function(network, signature, autograph=False)

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        count = len(arrays[0])
        parts, start = [], 0
        while start < count or not parts:  # none at all still gives arrays, of no rows
            size = _size(count - start, sizes)
            batches = [_filled(array[start : start + size], size) for array in arrays]
            outputs = graph(*map(tf.constant, batches))
            parts.append([output[: count - start].numpy() for output in outputs])
            start += size
        return [np.concatenate(outputs) for outputs in zip(*parts)]

    for size in sizes:  # compiled now, not at the first photo
        run(*(np.zeros((size, *spec.shape), spec.dtype.as_numpy_dtype) for spec in inputs))
    return run


def _filled(part: np.ndarray, size: int) -> np.ndarray:
    """Zeros behind the rows there are, up to `size`."""
    missing = size - len(part)
    return np.pad(part, [(0, missing)] + [(0, 0)] * (part.ndim - 1)) if missing else part


def _size(count: int, sizes: tuple[int, ...]) -> int:
    """Of the next batch when so many inputs are left."""
    filled = min((size for size in sizes if size >= count), default=sizes[0])
    if filled - count <= filled * MAX_PADDING:
        return filled
    return next((size for size in sizes if size <= count), filled)

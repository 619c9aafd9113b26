"""TensorFlow as serving wants it: `from inference.runtime import tf`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["in_batches", "tf"]

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


def in_batches(
    network: Callable, shape: tuple[int, ...], dtype: tf.DType, sizes: tuple[int, ...]
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A network as a graph that only ever sees batches of a few sizes.

    oneDNN, which halves the time of a convolution, keeps buffers for each shape it has met; with
    shapes as they come, memory grows by 200 MB over the first 40 photos.

    Args:
        network: TensorFlow function of one tensor, with a list of tensors as its result.
        shape, dtype: of one input.
        sizes: of the batches, largest first; one is filled up with zeros where that wastes little or nothing
            smaller is left.

    Returns:
        Function of (n, *shape) inputs with a list of arrays of n as its result.
    """
    graph = tf.function(network, [tf.TensorSpec((None, *shape), dtype)], autograph=False)

    def run(inputs: np.ndarray) -> list[np.ndarray]:
        parts, start = [], 0
        while start < len(inputs) or not parts:  # none at all still gives arrays, of no rows
            size = _size(len(inputs) - start, sizes)
            part = inputs[start : start + size]
            padding = [(0, size - len(part))] + [(0, 0)] * len(shape)
            outputs = graph(tf.constant(np.pad(part, padding) if size > len(part) else part))
            parts.append([output[: len(part)].numpy() for output in outputs])
            start += size
        return [np.concatenate(outputs) for outputs in zip(*parts)]

    for size in sizes:  # compiled now, not at the first photo
        run(np.zeros((size, *shape), dtype.as_numpy_dtype))
    return run


def _size(count: int, sizes: tuple[int, ...]) -> int:
    """Of the next batch when so many inputs are left."""
    filled = min((size for size in sizes if size >= count), default=sizes[0])
    if filled - count <= filled * MAX_PADDING:
        return filled
    return next((size for size in sizes if size <= count), filled)

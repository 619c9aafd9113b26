"""The network: one small residual design, in several depths, sizes of input and heads."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from keras import layers

STEM = 32  # channels
STAGES = (48, 96, 192)  # channels; each stage halves the resolution
LAST_OF_BLOCK = "_b_norm"  # end of its name; with gamma 0 a block is the identity
AGES = 117  # one logit a year, 0 to 116, UTKFace's range


def residual(
    side: int,
    channels: int,
    heads: dict[str, int],
    stem_stride: int,
    blocks: tuple[int, ...] = (2, 2, 2),
    dropout: float = 0.3,
    width: int = 1,
) -> keras.Model:
    """A residual network (He et al. 2016) with average-pooled shortcuts (ResNet-D, He et al. 2019).

    Args:
        side: of the square crop, pixels.
        channels: 1 (grey) or 3 (RGB).
        heads: name and number of logits of each output.
        stem_stride: 2 for crops larger than about 64 pixels.
        blocks: of each of STAGES.
        width: times as many channels.

    Returns:
        A model from standardized crops (n, side, side, channels) float32 to logits, float32: one
        output is (n, logits), several are a dictionary by name.
    """
    inputs = layers.Input((side, side, channels), name="crop")
    x = _convolution(inputs, width * STEM, 3, stem_stride, name="stem")
    for stage, (few, count) in enumerate(zip(STAGES, blocks, strict=True), 1):
        for block in range(1, count + 1):
            x = _block(x, width * few, stride=2 if block == 1 else 1, name=f"stage{stage}_block{block}")
    return headed(inputs, layers.GlobalAveragePooling2D()(x), heads, dropout)


def headed(inputs, x, heads: dict[str, int], dropout: float = 0) -> keras.Model:
    """A model from inputs to the logits, float32, that are read from features.

    Args:
        inputs, x: symbolic tensors of Keras; x is (n, channels).
        heads, dropout: of `residual`, and the outputs are as there.
    """
    x = layers.Dropout(dropout)(x)
    outputs = {name: layers.Dense(size, dtype="float32", name=name)(x) for name, size in heads.items()}
    return keras.Model(inputs, outputs if len(outputs) > 1 else next(iter(outputs.values())))


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Build networks in a dtype policy of Keras; what is built later, such as the detector, is as before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def grow(network: keras.Model, start: keras.Model) -> None:
    """Give a network the weights of every layer that `start` has under the same name, in the same shape.

    Where `network` has more blocks a stage, it computes at first what `start` does, since a new block
    begins as the identity (Net2Net, Chen et al. 2016). Crops may differ in size, heads in number and size.

    Raises:
        ValueError: `start` is no such network, or one of another width or for crops of other channels.
    """
    known = {layer.name: layer.get_weights() for layer in start.layers}
    if "stem" not in known:
        raise ValueError("only a model like ours can be gone on from")
    for layer in network.layers:
        if layer.name in known:
            if [weight.shape for weight in known[layer.name]] == [weight.shape for weight in layer.weights]:
                layer.set_weights(known[layer.name])
            elif layer.name not in network.output_names:
                raise ValueError(
                    f"the model to go on from has another {layer.name}: grey or colour, or wider"
                )
        elif layer.name.endswith(LAST_OF_BLOCK):
            layer.gamma.assign(np.zeros(layer.gamma.shape))


def blend(network: keras.Model, path: Path, share: float) -> None:
    """Give a network a mixture of its weights and those of a model in a file.

    Two ends of a fit that went on from the first lie in one wide valley, whose middle errs less than either
    (Izmailov et al. 2018, Wortsman et al. 2022).

    Args:
        path: of a .keras file of the same network.
        share: of the network's own weights, 0 to 1.
    """
    other = keras.saving.load_model(path, compile=False)
    pairs = zip(network.get_weights(), other.get_weights(), strict=True)
    network.set_weights([share * one + (1 - share) * two for one, two in pairs])


def normalize(network: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Estimate the statistics of batch normalization anew, as the mean over batches of standardized crops."""
    norms = list(_norms(network))
    momenta = [norm.momentum for norm in norms]
    for number, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = number / (number + 1)
        network(batch, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _norms(network: keras.Model) -> Iterator[layers.BatchNormalization]:
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            yield layer
        elif isinstance(layer, keras.Model):  # a backbone
            yield from _norms(layer)


def _convolution(x, width: int, kernel: int, stride: int = 1, activation: bool = True, *, name: str):
    x = layers.Conv2D(
        width, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.Activation("relu")(x) if activation else x


def _block(x, width: int, stride: int, name: str):
    shortcut = x
    x = _convolution(x, width, 3, stride, name=f"{name}_a")
    x = _convolution(x, width, 3, activation=False, name=f"{name}_b")
    if stride > 1:
        shortcut = layers.AveragePooling2D(stride, padding="same")(shortcut)
    if shortcut.shape[-1] != width:
        shortcut = _convolution(shortcut, width, 1, activation=False, name=f"{name}_shortcut")
    return layers.Activation("relu")(layers.Add()([x, shortcut]))

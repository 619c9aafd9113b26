"""The network: one small residual design, in three sizes of input and head."""

import keras
from keras import layers

STEM = 32  # channels
STAGES = ((48, 2), (96, 2), (192, 2))  # channels and blocks; each stage halves the resolution
AGES = 117  # one logit a year, 0 to 116, UTKFace's range


def residual(
    side: int, channels: int, heads: dict[str, int], stem_stride: int, dropout: float = 0.3
) -> keras.Model:
    """A residual network (He et al. 2016) with average-pooled shortcuts (ResNet-D, He et al. 2019).

    Args:
        side: of the square crop, pixels.
        channels: 1 (grey) or 3 (RGB).
        heads: name and number of logits of each output.
        stem_stride: 2 for crops larger than about 64 pixels.

    Returns:
        A model from standardized crops (n, side, side, channels) float32 to logits, float32: one
        output is (n, logits), several are a dictionary by name.
    """
    inputs = layers.Input((side, side, channels), name="crop")
    x = _convolution(inputs, STEM, 3, stem_stride)
    for width, blocks in STAGES:
        for block in range(blocks):
            x = _block(x, width, stride=2 if block == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    outputs = {name: layers.Dense(size, dtype="float32", name=name)(x) for name, size in heads.items()}
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[name_of(heads)])


def name_of(heads: dict[str, int]) -> str:
    """The name of the only head."""
    (name,) = heads
    return name


def _convolution(x, width: int, kernel: int, stride: int = 1, activation: bool = True):
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(
        x
    )
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return layers.Activation("relu")(x) if activation else x


def _block(x, width: int, stride: int):
    shortcut = x
    x = _convolution(x, width, 3, stride)
    x = _convolution(x, width, 3, activation=False)
    if stride > 1:
        shortcut = layers.AveragePooling2D(stride, padding="same")(shortcut)
    if shortcut.shape[-1] != width:
        shortcut = _convolution(shortcut, width, 1, activation=False)
    return layers.Activation("relu")(layers.Add()([x, shortcut]))

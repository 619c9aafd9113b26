"""The networks of the projects this one follows, to be measured by the same pipeline as ours.

Each is built from its published form and has its published number of parameters; only the head may
have other outputs, which are logits: softmax and sigmoid have no parameters and are in the losses. The
projects end in softmax layers; they say which activations, dropout and pooling they used but rarely which
padding, which follows from the numbers of parameters.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers

from training.networks import headed

Heads = dict[str, int]  # name and number of logits of each output


@dataclass(frozen=True)
class Baseline:
    """A network to compare with.

    Attributes:
        build: (side, channels, heads, dropout) -> model from standardized crops to logits.
        side, channels: of the crop that it was published for, pixels; 1 grey or 3 RGB.
        dropout: its published rate.
        peak_rate: of the learning rate; networks without batch normalization bear less.
        regression: it was published for ages, told by one output in units of all the years there are.
    """

    build: Callable[[int, int, Heads, float], keras.Model]
    side: int
    channels: int
    dropout: float
    peak_rate: float
    regression: bool = False


def lenet(side: int, channels: int, heads: Heads, dropout: float) -> keras.Model:
    """LeNet-5 style (LeCun et al. 1998); for 150x150x1 and 4 classes 2,365,920 parameters."""
    inputs = layers.Input((side, side, channels))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(16, 5, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(120, activation="relu")(x)
    x = layers.Dense(84, activation="relu")(x)
    return headed(inputs, x, heads, dropout)


def three_conv(side: int, channels: int, heads: Heads, dropout: float) -> keras.Model:
    """Three convolutions, three wide dense layers; for 48x48x1 and 7 classes 19,667,207 parameters."""
    return _three_conv(side, channels, heads, dropout, widths=(1024, 512, 256))


def three_conv_gender(side: int, channels: int, heads: Heads, dropout: float) -> keras.Model:
    """Its sibling for gender; for 48x48x3 and 2 classes 4,890,242 parameters."""
    return _three_conv(side, channels, heads, dropout, widths=(256, 128, 64))


def _three_conv(side: int, channels: int, heads: Heads, dropout: float, widths: tuple) -> keras.Model:
    inputs = layers.Input((side, side, channels))
    x = _convolution(inputs, 32, 5)
    x = _convolution(x, 64, 5)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D()(x)
    x = _convolution(x, 128, 3)
    x = layers.Dropout(dropout)(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    for width in widths:
        x = layers.Dense(width, activation="relu")(x)
        x = layers.BatchNormalization()(x)
        x = layers.Dropout(dropout)(x)
    return headed(inputs, x, heads)


def four_conv(side: int, channels: int, heads: Heads, dropout: float) -> keras.Model:
    """Four convolutions of 64, 128, 512 and 512 filters, each normalized and pooled; two dense layers."""
    inputs = x = layers.Input((side, side, channels))
    for width, kernel in ((64, 3), (128, 5), (512, 3), (512, 3)):
        x = _convolution(x, width, kernel, activation=None)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(dropout)(x)
    x = layers.Flatten()(x)
    for width in (1024, 512):
        x = layers.Dense(width)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
        x = layers.Dropout(dropout)(x)
    return headed(inputs, x, heads)


def six_conv(side: int, channels: int, heads: Heads, dropout: float) -> keras.Model:
    """Three pairs of convolutions; for 48x48x1 and 7 classes 2,785,863 trainable parameters."""
    inputs = x = layers.Input((side, side, channels))
    for width, kernel in ((64, 5), (128, 5), (256, 3)):
        x = _convolution(x, width, kernel)
        x = _convolution(x, width, kernel)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(dropout)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(dropout)(x)
    return headed(inputs, x, heads)


def six_conv_narrow(side: int, channels: int, heads: Heads, dropout: float) -> keras.Model:
    """Six convolutions of 22 filters; for 48x48x1 and 6 classes its one dense layer is 792 x 6."""
    inputs = x = layers.Input((side, side, channels))
    for kernel, pool in ((8, 1), (8, 2), (8, 1), (4, 4), (4, 1), (4, 1)):
        x = _convolution(x, 22, kernel)
        if pool > 1:
            x = layers.MaxPooling2D(pool)(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Flatten()(x)
    return headed(inputs, x, heads)


def two_conv_age(side: int, channels: int, heads: Heads, dropout: float) -> keras.Model:
    """Two convolutions and one dense layer, for 150x150x1, published with one output, the age."""
    inputs = x = layers.Input((side, side, channels))
    for width, kernel in ((8, 3), (16, 5)):
        x = layers.Conv2D(width, kernel, activation="relu")(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    return headed(inputs, x, heads, dropout)


@dataclass(frozen=True)
class Backbone:
    """A network of keras.applications, without its top.

    Attributes:
        build: a function of keras.applications.
        scale, offset: bring standardized crops to about the range it was pre-trained on.
        order: of the colors that it was pre-trained on, "RGB" or "BGR".
        block: a pattern whose groups name a layer's block; other layers belong to the block before them.
        peak_rate: of the learning rate; networks without batch normalization bear less.
    """

    build: Callable[..., keras.Model]
    scale: float
    offset: float
    order: str
    block: str
    peak_rate: float = 0.05


SMALLEST_SIDE = 32  # pixels of a crop that keras.applications builds them for
BACKBONES = {
    "mobilenet": Backbone(keras.applications.MobileNet, 0.5, 0, "RGB", r"conv_(?:dw|pw|pad)_(\d+)"),
    "vgg16": Backbone(keras.applications.VGG16, 60, 0, "BGR", r"block(\d)_", peak_rate=0.01),
    "resnet50v2": Backbone(keras.applications.ResNet50V2, 0.5, 0, "RGB", r"conv(\d)_block(\d)_"),
    # With weights from a file it lacks a layer that divides by the root of 0.226, the deviation of colors.
    "efficientnetb0": Backbone(keras.applications.EfficientNetB0, 126, 127.5, "RGB", r"block(\d[a-z])_"),
}


def transfer(
    name: str,
    side: int,
    channels: int,
    heads: Heads,
    dropout: float,
    unfrozen: int = 2,
    pretrained: Path | None = None,
) -> keras.Model:
    """A backbone of keras.applications under a new head.

    Args:
        name: of BACKBONES.
        side: of the crop, at least SMALLEST_SIDE pixels.
        unfrozen: how many of its last blocks are fitted; the others keep their weights and normalization.
        pretrained: file of the backbone's weights without its top, as keras.applications offers for download.
            Without one nothing is frozen: all of it is fitted from scratch.
    """
    backbone = BACKBONES[name]
    body = backbone.build(
        include_top=False, weights=str(pretrained) if pretrained else None, input_shape=(side, side, 3)
    )
    if pretrained:
        fitted = blocks_of(body, backbone.block)[-unfrozen:] if unfrozen else []
        for layer in body.layers:
            layer.trainable = any(layer in block for block in fitted)
    inputs = x = layers.Input((side, side, channels))
    if channels == 1:
        x = layers.Concatenate()([x] * 3)
    x = keras.ops.flip(x, axis=-1) if backbone.order == "BGR" else x
    x = layers.Rescaling(backbone.scale, backbone.offset)(x)
    x = layers.GlobalAveragePooling2D()(body(x))
    return headed(inputs, x, heads, dropout)


def blocks_of(body: keras.Model, pattern: str) -> list[list[keras.layers.Layer]]:
    """A backbone's layers by block, first to last; what comes before the first block is one of its own."""
    blocks = [[]]
    known = None
    for layer in body.layers:
        match = re.match(pattern, layer.name)
        if match and match.groups() != known:
            known = match.groups()
            blocks.append([])
        blocks[-1].append(layer)
    return blocks


def _convolution(x, width: int, kernel: int, activation: str | None = "relu"):
    return layers.Conv2D(width, kernel, padding="same", activation=activation)(x)


BASELINES = {
    "lenet": Baseline(lenet, 150, 1, dropout=0, peak_rate=0.01),
    "three_conv": Baseline(three_conv, 48, 1, dropout=0.25, peak_rate=0.02),
    "three_conv_gender": Baseline(three_conv_gender, 48, 3, dropout=0.25, peak_rate=0.02),
    "four_conv": Baseline(four_conv, 48, 1, dropout=0.25, peak_rate=0.05),
    "six_conv": Baseline(six_conv, 48, 1, dropout=0.25, peak_rate=0.02),
    "six_conv_narrow": Baseline(six_conv_narrow, 48, 1, dropout=0.25, peak_rate=0.01),
    "two_conv_age": Baseline(two_conv_age, 150, 1, dropout=0, peak_rate=0.01, regression=True),
}

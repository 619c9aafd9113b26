import keras
import numpy as np
import pytest

from training.baselines import BACKBONES, BASELINES, blocks_of, transfer
from training.networks import precision

# Keras reads its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

OUTPUTS = {  # of the published forms
    "lenet": 4,
    "three_conv": 7,
    "three_conv_gender": 2,
    "four_conv": 7,
    "six_conv": 7,
    "six_conv_narrow": 6,
    "two_conv_age": 1,
}

MODULES = {  # of keras.applications
    "mobilenet": "mobilenet",
    "vgg16": "vgg16",
    "resnet50v2": "resnet_v2",
    "efficientnetb0": "efficientnet",
}


def _published(name):
    baseline = BASELINES[name]
    heads = {"head": OUTPUTS[name]}
    return baseline.build(baseline.side, baseline.channels, heads, baseline.dropout)


def _convolutions(*sizes):
    """Parameters of convolutions of (inputs, filters, kernel)."""
    return sum(inputs * filters * kernel**2 + filters for inputs, filters, kernel in sizes)


def _dense(*widths):
    return sum(inputs * outputs + outputs for inputs, outputs in zip(widths, widths[1:]))


def _trainable(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("lenet", 2_365_920), ("three_conv", 19_667_207), ("three_conv_gender", 4_890_242)],
)
def test_published_parameters(name, parameters):
    assert _published(name).count_params() == parameters


def test_six_conv_has_its_published_trainable_parameters():
    assert _trainable(_published("six_conv")) == 2_785_863


def test_six_conv_narrow_ends_in_its_published_dense_layer():
    network = _published("six_conv_narrow")
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.kernel.shape for layer in dense] == [(792, 6)]
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(layer.filters, layer.kernel_size[0]) for layer in convolutions] == [
        (22, 8), (22, 8), (22, 8), (22, 4), (22, 4), (22, 4),
    ]  # fmt: skip


def test_four_conv_is_what_its_layers_add_up_to():
    convolutions = _convolutions((1, 64, 3), (64, 128, 5), (128, 512, 3), (512, 512, 3))
    normalization = 4 * (64 + 128 + 512 + 512 + 1024 + 512)
    expected = convolutions + normalization + _dense(3 * 3 * 512, 1024, 512, 7)
    assert _published("four_conv").count_params() == expected


def test_two_conv_age_is_what_its_layers_add_up_to():
    expected = _convolutions((1, 8, 3), (8, 16, 5)) + 4 * (8 + 16) + _dense(35 * 35 * 16, 128, 1)
    assert _published("two_conv_age").count_params() == expected


@pytest.mark.parametrize("name", [*BASELINES])
def test_every_head_gives_finite_float32_logits_in_mixed_precision(name):
    baseline = BASELINES[name]
    heads = {"age": 117, "gender": 1}
    with precision("mixed_bfloat16"):
        network = baseline.build(baseline.side, baseline.channels, heads, baseline.dropout)
    shape = (2, baseline.side, baseline.side, baseline.channels)
    answers = network(np.random.default_rng(0).normal(0, 1, shape).astype(np.float32))
    assert {head: tuple(answer.shape) for head, answer in answers.items()} == {
        "age": (2, 117),
        "gender": (2, 1),
    }
    for answer in answers.values():
        assert keras.backend.standardize_dtype(answer.dtype) == "float32"
        assert np.isfinite(np.array(answer)).all()


@pytest.mark.parametrize(
    ("name", "blocks", "last"),
    [
        ("mobilenet", 14, "conv_pw_13"),
        ("vgg16", 6, "block5_conv3"),
        ("resnet50v2", 17, "conv5_block3_3_conv"),
        ("efficientnetb0", 17, "block7a_project_conv"),
    ],
)
def test_blocks_of_backbones(name, blocks, last):
    body = BACKBONES[name].build(include_top=False, weights=None, input_shape=(64, 64, 3))
    found = blocks_of(body, BACKBONES[name].block)
    assert len(found) == blocks  # the stem is one
    assert last in {layer.name for layer in found[-1]}
    assert [layer for block in found for layer in block] == body.layers


def test_a_pretrained_backbone_keeps_all_but_its_last_blocks(tmp_path):
    weights = tmp_path / "mobilenet.weights.h5"
    keras.utils.set_random_seed(1)
    source = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(64, 64, 3))
    source.save_weights(weights)
    network = transfer("mobilenet", 64, 1, {"emotion": 7}, 0.2, unfrozen=1, pretrained=weights)
    body = network.get_layer("mobilenet_1.00_64")
    for one, other in zip(source.get_weights(), body.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    names = {layer.name for layer in body.layers if layer.trainable and layer.weights}
    assert names == {"conv_dw_13", "conv_dw_13_bn", "conv_pw_13", "conv_pw_13_bn"}
    assert network(np.zeros((1, 64, 64, 1), np.float32)).shape == (1, 7)


def test_a_backbone_without_weights_is_fitted_whole():
    network = transfer("mobilenet", 64, 3, {"gender": 1}, 0.2, unfrozen=1)
    assert all(layer.trainable for layer in network.get_layer("mobilenet_1.00_64").layers)


@pytest.mark.parametrize("name", [*BACKBONES])
def test_a_backbone_is_fed_as_it_was_pretrained(name):
    """Standardized crops can't be just what published weights expect, but colors and range are the same."""
    network = transfer(name, 32, 3, {"gender": 1}, 0.2)
    (scaled,) = (layer for layer in network.layers if isinstance(layer, keras.layers.Rescaling))
    crop = np.random.default_rng(0).normal(0, 1, (1, 32, 32, 3)).astype(np.float32)
    fed = np.array(keras.Model(network.input, scaled.output)(crop))
    expected = getattr(keras.applications, MODULES[name]).preprocess_input(60 * crop + 127.5)
    if name == "efficientnetb0":  # whose first layers do it; those of a file divide by the roots alone
        mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        fed, expected = (fed / 255 - mean) / deviation**0.5, (expected / 255 - mean) / deviation
    assert np.abs(fed - expected).max() < 0.1 * np.ptp(expected)


def test_the_order_of_colors_is_saved_with_the_network(tmp_path):
    network = transfer("vgg16", 32, 3, {"gender": 1}, 0.2)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    crop = np.random.default_rng(0).normal(0, 1, (1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(network(crop), again(crop), rtol=1e-5)

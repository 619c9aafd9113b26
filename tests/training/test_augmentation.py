import numpy as np
import pytest

from inference.alignment import TEMPLATE
from training.augmentation import LEVELS, disturb, jitter_template


def _crop(channels: int) -> np.ndarray:
    shape = (48, 48, 3) if channels == 3 else (48, 48)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_none_moves_nothing():
    np.testing.assert_allclose(jitter_template(np.random.default_rng(0), LEVELS["none"]), TEMPLATE, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
def test_none_only_mirrors(channels):
    crop = _crop(channels)
    rng = np.random.default_rng(0)
    seen = [disturb(crop, rng, LEVELS["none"]) for _ in range(400)]
    mirrored = [np.array_equal(other, crop[:, ::-1]) for other in seen]
    plain = [np.array_equal(other, crop) for other in seen]
    assert sum(mirrored) + sum(plain) == 400
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", ["low", "mid", "high"])
def test_shape_type_and_the_crop_itself_stay(level, channels):
    crop = _crop(channels)
    before = crop.copy()
    rng = np.random.default_rng(0)
    for _ in range(60):  # enough for every kind of damage
        other = disturb(crop, rng, LEVELS[level])
        assert (other.shape, other.dtype) == (crop.shape, np.uint8)
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("level", ["low", "mid", "high"])
def test_the_seed_decides(level):
    crop, strength = _crop(3), LEVELS[level]

    def draw(seed):
        rng = np.random.default_rng(seed)
        return jitter_template(rng, strength), disturb(crop, rng, strength)

    np.testing.assert_array_equal(draw(1)[0], draw(1)[0])
    np.testing.assert_array_equal(draw(1)[1], draw(1)[1])
    assert not np.array_equal(draw(1)[0], draw(2)[0])
    assert not np.array_equal(draw(1)[1], draw(2)[1])


def test_levels_grow_and_keep_the_face_in_the_crop():
    spreads = []
    for name in ("low", "mid", "high"):
        rng = np.random.default_rng(0)
        templates = np.stack([jitter_template(rng, LEVELS[name]) for _ in range(500)])
        np.testing.assert_allclose(templates.mean(axis=0), TEMPLATE, atol=0.02)
        assert np.mean((templates > 0) & (templates < 1)) > 0.99
        spreads.append(templates.std(axis=0).mean())
    assert spreads[0] < spreads[1] < spreads[2]


def test_light_changes_a_color_crop_by_color():
    flat = np.full((48, 48, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    colors = np.array([disturb(flat, rng, LEVELS["low"])[0, 0] for _ in range(50)])
    assert np.ptp(colors[:, 0]) > 10
    assert np.abs(colors[:, 0].astype(int) - colors[:, 2]).max() > 2

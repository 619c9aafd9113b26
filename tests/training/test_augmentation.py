from dataclasses import replace

import numpy as np
import pytest

from inference.alignment import TEMPLATE
from training import augmentation
from training.augmentation import FEWEST_PIXELS, LEVELS, cover, disturb, jitter_template


def _crop(channels: int) -> np.ndarray:
    shape = (48, 48, 3) if channels == 3 else (48, 48)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_none_moves_nothing():
    np.testing.assert_allclose(jitter_template(np.random.default_rng(0), LEVELS["none"]), TEMPLATE, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
def test_none_changes_nothing(channels):
    crop = _crop(channels)
    rng = np.random.default_rng(0)
    for _ in range(60):
        np.testing.assert_array_equal(disturb(crop, rng, LEVELS["none"]), crop)
        np.testing.assert_array_equal(cover(crop, TEMPLATE, rng, LEVELS["none"]), crop)


def test_half_of_the_faces_are_mirrored():
    crop, only = _crop(3), replace(LEVELS["none"], mirror=LEVELS["low"].mirror)
    rng = np.random.default_rng(0)
    seen = [disturb(crop, rng, only) for _ in range(400)]
    mirrored = [np.array_equal(other, crop[:, ::-1]) for other in seen]
    plain = [np.array_equal(other, crop) for other in seen]
    assert sum(mirrored) + sum(plain) == 400
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("channels", [1, 3])
def test_light_comes_from_any_side(channels):
    only = replace(LEVELS["none"], side_light=LEVELS["high"].side_light)
    flat = np.full(_crop(channels).shape, 100, np.uint8)
    rng = np.random.default_rng(0)
    angles, contrasts = [], []
    for _ in range(200):
        lit = disturb(flat, rng, only).astype(float).reshape(48, 48, -1)
        assert np.ptp(lit, axis=2).max() == 0  # white light
        lit = lit[..., 0]
        assert max(np.abs(np.diff(lit, axis=axis)).max() for axis in (0, 1)) < 25  # smooth
        angles.append(np.angle((lit[:, -1] - lit[:, 0]).mean() + 1j * (lit[-1] - lit[0]).mean()))
        contrasts.append(lit.max() / lit.min())
    assert np.histogram(angles, 8, (-np.pi, np.pi))[0].min() > 10
    assert 1.3 < np.median(contrasts) < 2.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("angle", [0, 30])
def test_sunglasses_cover_the_eyes_and_masks_the_mouth(channels, angle):
    turn = np.exp(1j * np.deg2rad(angle))
    points = (TEMPLATE @ (1, 1j) - 0.5 - 0.5j) * turn + 0.5 + 0.5j
    landmarks = np.stack([points.real, points.imag], axis=1)
    pixels = np.intp(landmarks * 96)
    crop = np.full((96, 96, 3) if channels == 3 else (96, 96), 240, np.uint8)
    rng, level = np.random.default_rng(0), replace(LEVELS["none"], covered=0.4)
    seen = {"plain": 0, "sunglasses": 0, "mask": 0}
    for _ in range(400):
        covered = cover(crop, landmarks, rng, level).astype(int).reshape(96, 96, channels)
        eyes, mouth = ([covered[y, x].mean() for x, y in pixels[rows]] for rows in ([0, 1], [3, 4]))
        touched = covered.min(axis=2) < 240
        if not touched.any() and np.all(covered == 240):
            seen["plain"] += 1
        elif max(eyes) < 190:
            seen["sunglasses"] += 1
            assert min(mouth) == 240
            assert 0.04 < touched.mean() < 0.3
        else:
            seen["mask"] += 1
            assert min(eyes) == 240
            assert (covered != 240).any(axis=2).mean() > 0.1
    assert 120 < seen["sunglasses"] < 200
    assert 50 < seen["mask"] < 110


def test_far_faces_have_few_pixels():
    only = replace(LEVELS["none"], far=1)
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (96, 96), dtype=np.uint8)  # as sharp as can be
    left = np.array([disturb(crop, rng, only).std() / crop.std() for _ in range(200)])
    assert left.max() < 0.8
    assert left.min() < 1.5 * FEWEST_PIXELS / 96
    assert (left < 0.4).mean() > 0.3


def test_small_crops_can_be_far_too():
    only = replace(LEVELS["none"], far=1)
    crop, rng = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8), np.random.default_rng(0)
    assert {disturb(crop, rng, only).shape for _ in range(20)} == {(24, 24)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", ["low", "mid", "high"])
def test_shape_type_and_the_crop_itself_stay(level, channels):
    crop = _crop(channels)
    before = crop.copy()
    rng = np.random.default_rng(0)
    for _ in range(60):  # enough for every kind of damage
        other = disturb(cover(crop, TEMPLATE, rng, LEVELS[level]), rng, LEVELS[level])
        assert (other.shape, other.dtype) == (crop.shape, np.uint8)
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("level", ["low", "mid", "high"])
def test_the_seed_decides(level):
    crop, strength = _crop(3), LEVELS[level]

    def draw(seed):
        rng = np.random.default_rng(seed)
        template = jitter_template(rng, strength)
        return template, disturb(cover(crop, template, rng, strength), rng, strength)

    np.testing.assert_array_equal(draw(1)[0], draw(1)[0])
    np.testing.assert_array_equal(draw(1)[1], draw(1)[1])
    assert not np.array_equal(draw(1)[0], draw(2)[0])
    assert not np.array_equal(draw(1)[1], draw(2)[1])


def test_faces_turn_grow_and_shift_as_much_as_told():
    rng = np.random.default_rng(0)
    plain = TEMPLATE @ (1, 1j)
    spreads = {}
    for name, spread in (("rotation", 7), ("scale", 0.08), ("shift", 0.04), ("landmarks", 0.01)):
        level = replace(LEVELS["none"], **{name: spread})
        moved = np.stack([jitter_template(rng, level) for _ in range(1000)]) @ (1, 1j)
        spokes = moved - moved.mean(axis=1, keepdims=True), plain - plain.mean()
        turns = (spokes[0] @ spokes[1].conj()) / np.vdot(spokes[1], spokes[1]).real
        alone = spokes[0] - turns[:, None] * spokes[1]
        spreads[name] = {
            "rotation": np.rad2deg(np.angle(turns)).std(),
            "scale": np.log(np.abs(turns)).std(),
            "shift": (moved.mean(axis=1) - 0.5).real.std(),
            "landmarks": np.sqrt(np.mean(alone.real**2)),
        }
    assert spreads["rotation"]["rotation"] == pytest.approx(7, rel=0.1)
    assert spreads["rotation"]["scale"] < 1e-6
    assert spreads["scale"]["scale"] == pytest.approx(0.08, rel=0.1)
    assert spreads["scale"]["rotation"] < 1e-6
    assert spreads["shift"]["shift"] == pytest.approx(0.04, rel=0.1)
    assert spreads["landmarks"]["landmarks"] == pytest.approx(0.01, rel=0.3)  # less what turns and scales


@pytest.mark.parametrize(
    ("damage", "field"), [("_add_noise", "chance"), ("_compress", "chance"), ("_cut_out", "cutout")]
)
def test_damage_comes_as_often_as_told(monkeypatch, damage, field):
    done = []
    monkeypatch.setattr(augmentation, damage, lambda crop, rng: done.append(crop) or crop)
    rng, crop = np.random.default_rng(0), _crop(3)
    for _ in range(500):
        disturb(crop, rng, replace(LEVELS["none"], **{field: 0.3}))
    assert len(done) == pytest.approx(150, abs=35)


@pytest.mark.parametrize("channels", [1, 3])
def test_damage_does_what_it_is_called(channels):
    rng = np.random.default_rng(0)
    flat = np.full(_crop(channels).shape, 120, np.uint8)
    noise = np.array([augmentation._add_noise(flat, rng).astype(float).std() for _ in range(100)])
    assert 3 < noise.min() < 4.5
    assert 10.5 < noise.max() < 12.5
    edge = flat.copy()
    edge[:, 20:] = 200
    for _ in range(20):
        rings = augmentation._compress(edge, rng).astype(int) - edge
        assert 0 < np.ptp(rings[:, 16:24]) < 60  # in the blocks that the edge is in
        assert np.ptp(rings[:, 32:]) <= 1
    for _ in range(20):
        other = augmentation._cut_out(edge, rng).reshape(48, 48, -1)[..., 0]
        rows, columns = np.nonzero(other == int(edge.mean()))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert (height, len(rows)) == (width, height * width)
        assert 7 <= height <= 19


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

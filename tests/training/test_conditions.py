import numpy as np
import pytest

from inference.alignment import TEMPLATE, align
from training.conditions import CONDITIONS, FEW_PIXELS, changed
from training.data import Faces

SIDE = 200  # pixels


def _faces(image):
    faces = Faces(np.array(["one", "two"]), [image, image[:, ::-1].copy()], {"gender": np.array([0, 1])})
    return faces, np.stack([TEMPLATE * SIDE] * 2)


def _texture(channels):
    """Middling grey with some of every detail."""
    shape = (SIDE, SIDE, 3)[: 2 if channels == 1 else 3]
    return np.random.default_rng(0).integers(60, 190, shape, dtype=np.uint8)


def _pixels(condition, image, side=SIDE):
    first, second = changed(*_faces(image), condition, side).images
    assert first.shape == second.shape == image.shape
    assert first.dtype == np.uint8
    return first.astype(float)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_only_pictures_change_and_those_given_stay(condition, channels):
    image = _texture(channels)
    faces, landmarks = _faces(image)
    before = image.copy()
    other = changed(faces, landmarks, condition, SIDE)
    np.testing.assert_array_equal(image, before)
    assert not np.array_equal(other.images[0], image)
    assert list(other.names) == ["one", "two"]
    assert other.labels is faces.labels


def test_the_dark_is_dark():
    image = _texture(3)
    assert _pixels("in the dark", image).mean() < 0.4 * image.mean()


def test_one_side_is_four_times_as_bright():
    lit = _pixels("lit from one side", np.full((SIDE, SIDE, 3), 100, np.uint8))
    assert lit[:, -1].mean() / lit[:, 0].mean() == pytest.approx(4, rel=0.02)


def test_grain_is_the_same_each_time():
    flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
    grainy = _pixels("grainy", flat)
    assert grainy.std() == pytest.approx(15, rel=0.05)
    np.testing.assert_array_equal(grainy, _pixels("grainy", flat))


@pytest.mark.parametrize("side", [SIDE // 4, SIDE // 2, SIDE, 2 * SIDE])
def test_grain_is_as_strong_in_any_crop(side):
    grainy = _pixels("grainy", np.full((SIDE, SIDE, 3), 128, np.uint8), side).astype(np.uint8)
    landmarks = TEMPLATE * SIDE + 0.3  # the pixels of picture and crop do not fall together
    assert 8 < align(grainy, landmarks, side).std() < 15


def test_few_pixels_are_left_of_a_crop():
    """As much detail as a crop of FEW_PIXELS has, and the face where it was."""
    rng = np.random.default_rng(0)
    # Stripes finer than what is left vanish, broader ones stay.
    period = SIDE / FEW_PIXELS
    columns = np.arange(SIDE)
    for factor, least, most in ((1, 0, 0.1), (8, 0.8, 1.1)):
        stripes = 128 + 60 * np.sin(2 * np.pi * columns / (factor * period) + rng.uniform(0, 1))
        image = np.tile(stripes.astype(np.uint8), (SIDE, 1))
        assert least < _pixels(f"{FEW_PIXELS} pixels large", image).std() / image.std() < most


def test_a_face_that_is_small_already_stays():
    small = align(_texture(1), TEMPLATE * SIDE, FEW_PIXELS)
    faces = Faces(np.array(["one"]), [small], {})
    (same,) = changed(faces, TEMPLATE[None] * FEW_PIXELS, f"{FEW_PIXELS} pixels large", SIDE).images
    np.testing.assert_array_equal(same, small)


@pytest.mark.parametrize(
    ("condition", "hidden", "seen"), [("with sunglasses", (0, 1), (2, 3, 4)), ("with a mask", (3, 4), (0, 1))]
)
def test_eyes_or_mouth_are_covered(condition, hidden, seen):
    image = _texture(3)
    covered = _pixels(condition, image)
    for landmark, (x, y) in enumerate(np.intp(TEMPLATE * SIDE)):
        part = covered[y - 4 : y + 5, x - 4 : x + 5]
        if landmark in hidden:
            assert part.std() == 0
        if landmark in seen:
            np.testing.assert_array_equal(part, image[y - 4 : y + 5, x - 4 : x + 5])

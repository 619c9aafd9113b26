import cv2
import numpy as np
import pytest

from inference.alignment import TEMPLATE, align, default_points, grey, standardize

SIDE = 64


def dots(points: np.ndarray, width: int, height: int, radius: int) -> np.ndarray:
    """A black picture with a white disc at each point."""
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in points:
        center = round(float(x) * 16), round(float(y) * 16)  # in sixteenths of a pixel: shift=4
        cv2.circle(image, center, radius * 16, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
    return image


def brightest(crop: np.ndarray) -> list[tuple[float, float]]:
    """Middles of the bright spots, pixels."""
    _, labels = cv2.connectedComponents((crop[..., 0] > 90).astype(np.uint8))
    return [tuple(np.argwhere(labels == label).mean(axis=0)[::-1]) for label in range(1, labels.max() + 1)]


@pytest.mark.parametrize("size", [0.5, 1, 3, 12])  # of the face, in crops
@pytest.mark.parametrize("degrees", [0, 25, -60, 180])
def test_landmarks_fall_on_the_template_whatever_the_size_and_turn(size, degrees):
    angle = np.deg2rad(degrees)
    turn = size * SIDE * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE - 0.5) @ turn + 500
    image = dots(landmarks, 1000, 1000, max(1, round(1.5 * size)))
    found = brightest(align(image, landmarks, SIDE))
    assert len(found) == 5
    for x, y in TEMPLATE * SIDE:
        assert min(np.hypot(x - a, y - b) for a, b in found) < 1.2


def test_a_large_face_is_averaged_not_sampled():
    # A one-pixel checkerboard is grey from afar; sampling would leave black and white pixels.
    image = np.indices((1200, 1200)).sum(axis=0).astype(np.uint8) % 2 * 255
    crop = align(image, default_points(1200, 1200), SIDE)
    assert crop.shape == (SIDE, SIDE)
    assert np.abs(crop.astype(int) - 127).max() < 12


def test_a_crop_that_leaves_the_photo_repeats_its_edge():
    image = np.full((100, 100, 3), 200, np.uint8)
    assert (align(image, TEMPLATE * 80 + (60, 60), SIDE) == 200).all()
    assert (align(image, TEMPLATE * 80 + (500, 500), SIDE) == 200).all()


def test_coinciding_landmarks_do_not_fail():
    assert align(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 25.0), SIDE).shape == (SIDE, SIDE, 3)


def test_default_points_put_the_whole_picture_into_the_crop():
    image = np.zeros((48, 48), np.uint8)
    image[12:36, 12:36] = 255
    whole = align(image, default_points(48, 48), 48)
    assert np.abs(whole.astype(int) - image).max() == 0


def test_grey_weighs_colors_as_eyes_do():
    crops = np.zeros((3, 2, 2, 3), np.uint8)
    crops[0, ..., 0] = crops[1, ..., 1] = crops[2, ..., 2] = 255
    assert grey(crops)[:, 0, 0, 0].tolist() == [76, 150, 29]


def test_standardize_removes_brightness_and_contrast():
    rng = np.random.default_rng(0)
    face = rng.integers(60, 120, (1, 8, 8, 3))
    dark, bright = standardize(face.astype(np.uint8)), standardize((face * 2 + 10).astype(np.uint8))
    assert np.allclose(dark, bright, atol=1e-5)
    assert abs(dark.mean()) < 1e-5
    assert abs(dark.std() - 1) < 1e-5
    assert np.abs(standardize(np.full((1, 8, 8, 1), 77, np.uint8))).max() == 0

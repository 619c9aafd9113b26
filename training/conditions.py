"""Faces in conditions that people's photos have and the data sets hardly do, to measure what becomes of them.

Sunglasses and masks are drawn in other shapes than training.augmentation draws them; dark, light, grain and
few pixels are of the same kinds as there, at one strength. Faces are cut by the landmarks of the unchanged
picture: what is measured is how well they are read, not whether they are found.
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from inference.alignment import TEMPLATE
from training.data import Faces

FEW_PIXELS = 24  # side of a crop of a face in a photo of a crowd
EYE_DISTANCE = TEMPLATE[1, 0] - TEMPLATE[0, 0]  # fraction of a crop's side
GRAIN = 15  # grey levels, standard deviation in pixels as large as those of the crop
BLACK, WHITE = 15, 200


def changed(faces: Faces, landmarks: np.ndarray, condition: str, side: int) -> Faces:
    """The same faces in one of CONDITIONS.

    Args:
        faces: n of them, face crops.
        landmarks: (n, 5, 2) float, pixels of each picture.
        side: of the crop that is read, pixels.
    """
    change = CONDITIONS[condition]
    images = [change(image, points, side) for image, points in zip(faces.images, landmarks, strict=True)]
    return replace(faces, images=images)


def _darken(image: np.ndarray, landmarks: np.ndarray, side: int) -> np.ndarray:
    levels = 0.6 * np.linspace(0, 1, 256) ** 2.2
    return cv2.LUT(image, np.round(levels * 255).astype(np.uint8))


def _light_from_the_right(image: np.ndarray, landmarks: np.ndarray, side: int) -> np.ndarray:
    """Four times as bright at the right edge as at the left."""
    light = np.tile(np.geomspace(0.5, 2, image.shape[1], dtype=np.float32), (len(image), 1))
    return cv2.multiply(image, light if image.ndim == 2 else cv2.merge([light] * 3), dtype=cv2.CV_8U)


def _add_grain(image: np.ndarray, landmarks: np.ndarray, side: int) -> np.ndarray:
    """As strong in a crop from a large picture, which is shrunk to it, as in one from a small picture."""
    grain = GRAIN / min(1, _shrinkage(landmarks, side))
    return np.clip(image + np.random.default_rng(0).normal(0, grain, image.shape), 0, 255).astype(np.uint8)


def _move_away(image: np.ndarray, landmarks: np.ndarray, side: int) -> np.ndarray:
    """So few pixels that a crop has FEW_PIXELS a side; as it is where it has no more."""
    factor = _shrinkage(landmarks, FEW_PIXELS)
    if factor >= 1:
        return image
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _put_on_sunglasses(image: np.ndarray, landmarks: np.ndarray, side: int) -> np.ndarray:
    """A black disc over each eye."""
    image, radius = image.copy(), 0.33 * np.linalg.norm(landmarks[1] - landmarks[0])
    for eye in landmarks[:2]:
        cv2.circle(image, np.intp(eye).tolist(), round(radius), (BLACK,) * 3, cv2.FILLED)
    return image


def _put_on_mask(image: np.ndarray, landmarks: np.ndarray, side: int) -> np.ndarray:
    """A bright ellipse over mouth and chin."""
    image, width = image.copy(), np.linalg.norm(landmarks[1] - landmarks[0])
    center, axes = np.intp(landmarks[3:].mean(axis=0)), np.intp((0.8 * width, 0.6 * width))
    cv2.ellipse(image, center.tolist(), axes.tolist(), 0, 0, 360, (WHITE,) * 3, cv2.FILLED)
    return image


def _shrinkage(landmarks: np.ndarray, side: int) -> float:
    """How many pixels of a crop of that side there are to one of the picture."""
    return side * EYE_DISTANCE / np.linalg.norm(landmarks[1] - landmarks[0])


CONDITIONS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "in the dark": _darken,
    "lit from one side": _light_from_the_right,
    "grainy": _add_grain,
    f"{FEW_PIXELS} pixels large": _move_away,
    "with sunglasses": _put_on_sunglasses,
    "with a mask": _put_on_mask,
}

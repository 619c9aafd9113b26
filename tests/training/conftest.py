"""Pictures with a signal, in place of faces: what they show is what a network is to read from them."""

import keras
import numpy as np
import pytest

from inference.alignment import default_points
from inference.faces import EMOTIONS
from training.data import Faces

SIDE = 48  # pixels


@pytest.fixture(autouse=True)
def _precision():
    """Training sets Keras's precision for the whole process; each test begins with the usual one."""
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def make_faces():
    return _make_faces


def _make_faces(count: int, seed: int) -> tuple[Faces, np.ndarray]:
    """Noise with one bar across, whose height tells emotion and age, and one upright, bright for gender 1.

    All labels of both data sets are there, and landmarks that leave the picture as it is.
    """
    rng = np.random.default_rng(seed)
    emotions = np.arange(count) % len(EMOTIONS)
    genders = rng.integers(0, 2, count)
    images = []
    for emotion, gender in zip(emotions, genders, strict=True):
        image = rng.normal(110, 20, (SIDE, SIDE, 3))
        image[3 + 6 * emotion : 8 + 6 * emotion] += 80
        image[:, SIDE // 2 - 4 : SIDE // 2 + 4] += 100 if gender else -100
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    labels = {
        "votes": np.eye(len(EMOTIONS), dtype=np.float32)[emotions],
        "original": emotions,
        "age": 5 + 12 * emotions,
        "gender": genders,
        "race": rng.integers(0, 5, count),
    }
    names = np.array([f"{row:07d}.png" for row in range(count)])
    return Faces(names, images, labels), np.stack([default_points(SIDE, SIDE)] * count)

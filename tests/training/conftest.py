"""Pictures with a signal, in place of faces: what they show is what a network is to read from them."""

import csv

import cv2
import numpy as np
import pytest

from inference.alignment import default_points
from inference.faces import EMOTIONS
from training.data import FERPLUS_COLUMNS, Faces, landmarks_file
from training.duplicates import pixel_digest

SIDE = 48  # pixels


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


@pytest.fixture(scope="session")
def write_data():
    return _write_data


def _write_data(root, counts) -> None:
    """Both data sets as their publishers lay them out, in root/data, and their landmarks in root/runs."""
    votes = []
    (root / "runs").mkdir()
    for number, (split, count) in enumerate(counts.items()):
        faces, landmarks = _make_faces(count, number)
        digests = {"fer2013": [], "utkface": []}
        for row, image in enumerate(faces.images):
            emotion = faces.labels["original"][row]
            name = f"fer{number}{row:06d}.png"
            path = root / "data/fer2013" / split / EMOTIONS[emotion] / name
            digests["fer2013"].append(_write_picture(path, image, cv2.IMREAD_GRAYSCALE))
            votes.append({"Image name": name, FERPLUS_COLUMNS[emotion]: 10})
            age, gender, race = (faces.labels[key][row] for key in ("age", "gender", "race"))
            path = root / "data/utkface" / split / f"{age}_{gender}_{race}_{row}.jpg"
            digests["utkface"].append(_write_picture(path, image, cv2.IMREAD_COLOR_RGB))
        for dataset, column in digests.items():
            file = root / landmarks_file(f"{dataset}-{split}")
            np.savez(file, digests=column, landmarks=landmarks)
    with (root / "data/fer2013/fer2013new.csv").open("w", newline="") as file:
        fields = ("Image name", *FERPLUS_COLUMNS, "contempt", "unknown", "NF")
        table = csv.DictWriter(file, fields, restval=0)
        table.writeheader()
        table.writerows(votes)


def _write_picture(path, image, flag) -> str:
    """Write RGB pixels, and return the digest of what will be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = flag == cv2.IMREAD_GRAYSCALE
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if grey else image[..., ::-1])
    return pixel_digest(cv2.imread(str(path), flag))

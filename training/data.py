"""Labelled faces: readers for FER2013 with FER+ votes and for UTKFace, in their publishers' layouts."""

import csv
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from inference.alignment import default_points, points
from inference.faces import EMOTIONS

CACHE = Path("runs")  # landmarks found once are kept here; never committed

# FER+ column of each of our emotions, in the order of EMOTIONS.
FERPLUS_COLUMNS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
# fer2013.csv numbers its classes in the order of EMOTIONS.
FER2013_USAGES = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
FER2013_SIDE = 48  # pixels

UTKFACE_NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d+\.jpg(\.chip\.jpg)?$")
RACES = ("White", "Black", "Asian", "Indian", "other")

CALIBRATION_SHARE = 0.05  # of train, kept from fitting to set temperatures and age ranges on


@dataclass(frozen=True)
class Faces:
    """Face pictures and their labels, one row a face.

    Attributes:
        names: (n,) str, unique within a set.
        images: n pictures, (height, width, 3) RGB or (height, width) grey, uint8.
        labels: task's own columns, each an (n, ...) array: `votes` (n, 7) float32, share of each of
            EMOTIONS; `original` (n,) int, FER2013's class; `age` (n,) years; `gender` (n,) 1 female;
            `race` (n,) index into RACES.
    """

    names: np.ndarray
    images: list[np.ndarray]
    labels: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> "Faces":
        """The faces at `rows`, indices or a mask."""
        rows = np.arange(len(self))[rows]
        images = [self.images[row] for row in rows]
        return Faces(self.names[rows], images, {key: column[rows] for key, column in self.labels.items()})

    def calibration(self) -> np.ndarray:
        """(n,) bool, the same faces on every machine: chosen by a hash of the name."""
        buckets = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in self.names]
        return np.array(buckets) < CALIBRATION_SHARE


def read_fer2013(root: Path, split: str) -> Faces:
    """FER2013 with its original labels: class folders (`train/happy/*.png`) or the original fer2013.csv.

    Args:
        root: a folder that holds `train` and `valid`, or that holds fer2013.csv.
        split: "train", "valid" or "test".

    Raises:
        FileNotFoundError: `root` holds neither, or nothing of that split.
    """
    table = root / "fer2013.csv"
    rows = _fer2013_rows(table, split) if table.exists() else _fer2013_files(root / split)
    names, images, classes = zip(*rows) if rows else ((), (), ())
    if not names:
        raise FileNotFoundError(f"no FER2013 pictures of the split {split} in {root}")
    return Faces(np.array(names), list(images), {"original": np.array(classes)})


def _fer2013_files(folder: Path) -> list[tuple[str, np.ndarray, int]]:
    return [
        (path.name, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), EMOTIONS.index(emotion))
        for emotion in EMOTIONS
        for path in sorted((folder / emotion).glob("*.png"))
    ]


def _fer2013_rows(table: Path, split: str) -> list[tuple[str, np.ndarray, int]]:
    rows = []
    with table.open(newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            if row["Usage"] == FER2013_USAGES[split]:
                pixels = np.array(row["pixels"].split(), np.uint8).reshape(FER2013_SIDE, FER2013_SIDE)
                rows.append((f"fer{number:07d}.png", pixels, int(row["emotion"])))
    return rows


def read_ferplus(root: Path, split: str) -> Faces:
    """FER2013 with the ten FER+ votes of each picture (Barsoum et al. 2016), in `root/fer2013new.csv`.

    Pictures without a vote for one of our seven emotions are left out. From `train` so are those that
    most voters call unknown, contempt or not a face; the other splits keep them, as others measure it.
    """
    faces = read_fer2013(root, split)
    with (root / "fer2013new.csv").open(newline="") as lines:
        table = {row["Image name"]: row for row in csv.DictReader(lines)}
    votes = np.zeros((len(faces), len(EMOTIONS)), np.float32)
    others = np.full(len(faces), np.inf, np.float32)
    for row, name in enumerate(faces.names):
        if name in table:
            votes[row] = [table[name][column] for column in FERPLUS_COLUMNS]
            others[row] = max(int(table[name][column]) for column in ("contempt", "unknown", "NF"))
    kept = votes.max(axis=1) > (others if split == "train" else 0)
    faces = faces.take(kept)
    votes = votes[kept]
    return Faces(
        faces.names, faces.images, faces.labels | {"votes": votes / votes.sum(axis=1, keepdims=True)}
    )


def unique_majority(votes: np.ndarray) -> np.ndarray:
    """(n,) bool: pictures whose most voted emotion is one, not a tie."""
    ordered = np.sort(votes, axis=1)
    return ordered[:, -1] > ordered[:, -2]


def read_utkface(root: Path, split: str) -> Faces:
    """UTKFace (Zhang et al. 2017): age, gender and race stand in the file names.

    Args:
        root: a folder that holds `train` and `valid`.
        split: "train" or "valid".

    Raises:
        FileNotFoundError: no picture with such a name is there.
    """
    found = [(path, UTKFACE_NAME.match(path.name)) for path in sorted((root / split).glob("*.jpg"))]
    found = [(path, match) for path, match in found if match]
    if not found:
        raise FileNotFoundError(f"no UTKFace pictures in {root / split}")
    images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path, _ in found]
    labels = {key: np.array([int(match[key]) for _, match in found]) for key in ("age", "gender", "race")}
    return Faces(np.array([path.name for path, _ in found]), images, labels)


def locate(faces: Faces, cache: str) -> np.ndarray:
    """Landmarks of every face by the serving detector, (n, 5, 2) float32 pixels, kept in CACHE.

    Where it sees no face, the crop's default points stand, as in serving.
    """
    path = CACHE / f"{cache}.npz"
    if path.exists():
        stored = np.load(path)
        known = dict(zip(stored["names"], stored["landmarks"]))
        if all(name in known for name in faces.names):
            return np.stack([known[name] for name in faces.names])
    found = np.stack(list(_locate_all(faces.images, cache)))
    path.parent.mkdir(exist_ok=True)
    np.savez(path, names=faces.names, landmarks=found)
    return found


def _locate_all(images: list[np.ndarray], title: str) -> Iterable[np.ndarray]:
    from inference.detector import Detector  # TensorFlow; not needed once the landmarks are cached

    detector = Detector()
    for image in tqdm(images, f"landmarks of {title}"):
        height, width = image.shape[:2]
        face = detector.locate(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
        yield points(face.keypoints) if face else default_points(width, height)

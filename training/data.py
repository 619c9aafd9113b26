"""Labelled faces: readers for data sets in their publishers' layouts, DATASETS, and the faces' landmarks."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from inference.alignment import default_points, points
from inference.faces import EMOTIONS
from training.duplicates import groups, near_copies

CACHE = Path("runs")  # landmarks found once are kept here; never committed

# FER+ column of each of our emotions, in the order of EMOTIONS.
FERPLUS_COLUMNS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
# fer2013.csv numbers its classes in the order of EMOTIONS.
FER2013_USAGES = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
FER2013_SIDE = 48  # pixels

UTKFACE_NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d+\.jpg(\.chip\.jpg)?$")
RACES = ("White", "Black", "Asian", "Indian", "other")

# Specs on Face: person, sequence, sex, age, light, view, crop, emotion, year, part, occlusion, filter, level.
SOF_NAME = re.compile(
    r"(?P<person>\w+?)_\d+_(?P<sex>[mf])_(?P<age>\d{1,3})_[io]_(fr|nf)_(cr|nc)"
    r"_(?P<emotion>no|hp|sd|sr)_\d+_\d+_\w+\.jpg$"
)
# Each of its codes stands for several emotions, those of one of the four classes of classes.MERGES.
SOF_EMOTIONS = {"no": "neutral", "hp": "happy", "sd": "sad", "sr": "surprise"}

# Folders' names for our emotions, beside our own; CK+48 also has contempt, which is none of ours.
FOLDERS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
GENDER_FOLDERS = {"male": 0, "man": 0, "men": 0, "female": 1, "woman": 1, "women": 1}
AGE_FOLDER = re.compile(r"(?P<low>\d{1,3})-(?P<high>\d{1,3})$")
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

VALID_SHARE = 0.15  # of sets that come without a split
CALIBRATION_SHARE = 0.05  # of train, kept from fitting to set temperatures and age ranges on


@dataclass(frozen=True)
class Faces:
    """Face pictures and their labels, one row a face.

    Attributes:
        names: (n,) str, unique within a set, split by split.
        images: n pictures, (height, width, 3) RGB or (height, width) grey, uint8.
        labels: task's own columns, each an (n, ...) array: `votes` (n, 7) float32, share of each of
            EMOTIONS; `original` (n,) int, FER2013's class; `age` (n,) years; `gender` (n,) 1 female;
            `race` (n,) index into RACES; `group` (n,) str, those of one person, or copies of one photo,
            which must stay on one side of every split.
        unreadable: names of files that are no pictures; they are not among the faces.
    """

    names: np.ndarray
    images: list[np.ndarray]
    labels: dict[str, np.ndarray]
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> "Faces":
        """The faces at `rows`, indices or a mask."""
        rows = np.arange(len(self))[rows]
        images = [self.images[row] for row in rows]
        labels = {key: column[rows] for key, column in self.labels.items()}
        return replace(self, names=self.names[rows], images=images, labels=labels)

    def calibration(self) -> np.ndarray:
        """(n,) bool, the same faces on every machine: chosen by a hash of the name, or of the group."""
        return _hashed(self.labels.get("group", self.names)) < CALIBRATION_SHARE


def _hashed(texts: np.ndarray) -> np.ndarray:
    """(n,) float, from 0 to 1, evenly; the same for the same text."""
    return np.array([int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32 for text in texts])


def _read(paths: list[Path], names: list[str], labels: dict[str, list], flag: int) -> Faces:
    """Faces of the files that are pictures; `flag` as of cv2.imread."""
    images = [cv2.imread(str(path), flag) for path in paths]
    read = np.array([image is not None for image in images], bool)
    return Faces(
        np.array(names, str)[read],
        [image for image in images if image is not None],
        {key: np.array(column)[read] for key, column in labels.items()},
        tuple(np.array(names, str)[~read].tolist()),
    )


def _votes(classes: np.ndarray) -> np.ndarray:
    """(n, 7) float32, all votes for the one class of each."""
    return np.eye(len(EMOTIONS), dtype=np.float32)[classes]


def read_fer2013(root: Path, split: str) -> Faces:
    """FER2013 with its original labels: class folders (`train/happy/*.png`) or the original fer2013.csv.

    Args:
        root: a folder that holds `train` and `valid`, or that holds fer2013.csv.
        split: "train", "valid" or "test".

    Raises:
        FileNotFoundError: `root` holds neither, or nothing of that split.
    """
    table = root / "fer2013.csv"
    faces = _fer2013_rows(table, split) if table.exists() else _fer2013_files(root / split)
    if not len(faces):
        raise FileNotFoundError(f"no FER2013 pictures of the split {split} in {root}")
    return replace(faces, labels=faces.labels | {"votes": _votes(faces.labels["original"])})


def _fer2013_files(folder: Path) -> Faces:
    paths = [path for emotion in EMOTIONS for path in sorted((folder / emotion).glob("*.png"))]
    classes = [EMOTIONS.index(path.parent.name) for path in paths]
    names = [path.name for path in paths]
    return _read(paths, names, {"original": np.array(classes, int)}, cv2.IMREAD_GRAYSCALE)


def _fer2013_rows(table: Path, split: str) -> Faces:
    names, images, classes = [], [], []
    with table.open(newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            if row["Usage"] == FER2013_USAGES[split]:
                pixels = np.array(row["pixels"].split(), np.uint8)
                images.append(pixels.reshape(FER2013_SIDE, FER2013_SIDE))
                names.append(f"fer{number:07d}.png")
                classes.append(int(row["emotion"]))
    return Faces(np.array(names, str), images, {"original": np.array(classes, int)})


def read_ferplus(root: Path, split: str) -> Faces:
    """FER2013 with the ten FER+ votes of each picture (Barsoum et al. 2016), in `root/fer2013new.csv`.

    Pictures without a vote for one of our seven emotions are left out. From `train` so are those that
    most voters call unknown, contempt or not a face; the other splits keep them, as others measure it.
    """
    faces = read_fer2013(root, split)
    table = ferplus_table(root)
    votes = np.zeros((len(faces), len(EMOTIONS)), np.float32)
    others = np.full(len(faces), np.inf, np.float32)
    for row, name in enumerate(faces.names):
        if name in table:
            votes[row] = [table[name][column] for column in FERPLUS_COLUMNS]
            others[row] = max(int(table[name][column]) for column in ("contempt", "unknown", "NF"))
    kept = votes.max(axis=1) > (others if split == "train" else 0)
    faces = faces.take(kept)
    votes = votes[kept]
    return replace(faces, labels=faces.labels | {"votes": votes / votes.sum(axis=1, keepdims=True)})


def ferplus_table(root: Path) -> dict[str, dict[str, str]]:
    """The rows of FER+ by the names of their pictures; those that have no name are no faces."""
    with (root / "fer2013new.csv").open(newline="") as lines:
        return {row["Image name"]: row for row in csv.DictReader(lines)}


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
    labels = {key: [int(match[key]) for _, match in found] for key in ("age", "gender", "race")}
    paths = [path for path, _ in found]
    return _read(paths, [path.name for path in paths], labels, cv2.IMREAD_COLOR_RGB)


def read_sof(root: Path, split: str) -> Faces:
    """Specs on Face (Afifi and Abdelhamed 2019): people with glasses in hard light; labels in the file names.

    Its emotions are four, each of several of ours (see SOF_EMOTIONS), so that only a network of the same four
    classes is to be fitted to them.

    Args:
        root: a folder that holds the pictures, whose persons are divided, or `train` and `valid` of them.
        split: "train" or "valid".

    Raises:
        FileNotFoundError: no picture with such a name is there.
    """

    def labels(paths: list[Path]) -> dict[str, list]:
        matches = [SOF_NAME.match(path.name) for path in paths]
        return {
            "votes": _votes([EMOTIONS.index(SOF_EMOTIONS[match["emotion"]]) for match in matches]),
            "age": [int(match["age"]) for match in matches],
            "gender": [int(match["sex"] == "f") for match in matches],
            "group": [match["person"] for match in matches],
        }

    return _read_split(root, split, lambda path: SOF_NAME.match(path.name), labels, cv2.IMREAD_COLOR_RGB)


def read_ckplus(root: Path, split: str) -> Faces:
    """CK+48, the last frames of CK+ (Lucey et al. 2010): class folders; names begin with the person.

    Contempt is left out. Arguments and errors are those of read_sof.
    """

    def labels(paths: list[Path]) -> dict[str, list]:
        emotions = [_emotion_of(path) for path in paths]
        return {
            "votes": _votes([EMOTIONS.index(emotion) for emotion in emotions]),
            "group": [path.name.split("_")[0] for path in paths],
        }

    return _read_split(root, split, _emotion_of, labels, cv2.IMREAD_GRAYSCALE)


def read_folders(root: Path, split: str) -> Faces:
    """Pictures in folders named by their class: emotions (`happy`), ages (`21-40`), or genders (`woman`).

    The age of a band is its middle. Without folders `train` and `valid`, copies of one photo, also mirrored
    ones, stay on one side. Arguments and errors are those of read_sof.

    Raises:
        ValueError: folders tell different things.
    """

    def labels(paths: list[Path]) -> dict[str, list]:
        columns = [_folder_labels(path) for path in paths]
        if len({tuple(column) for column in columns}) != 1:
            raise ValueError(f"the folders of {root} are not all emotions, nor all ages, nor all genders")
        (key,) = columns[0]
        values = [column[key] for column in columns]
        return {key: _votes(values) if key == "votes" else values}

    return _read_split(root, split, _folder_labels, labels, cv2.IMREAD_COLOR_RGB)


def _emotion_of(path: Path) -> str | None:
    """The emotion that a picture's folder is named by."""
    name = path.parent.name.lower()
    name = FOLDERS.get(name, name)
    return name if name in EMOTIONS else None


def _folder_labels(path: Path) -> dict[str, int]:
    """What a picture's folder tells: {"votes": class}, {"age": years}, {"gender": 0 or 1}, or nothing."""
    name = path.parent.name.lower()
    if emotion := _emotion_of(path):
        return {"votes": EMOTIONS.index(emotion)}
    if band := AGE_FOLDER.match(name):
        return {"age": (int(band["low"]) + int(band["high"])) // 2}
    return {"gender": GENDER_FOLDERS[name]} if name in GENDER_FOLDERS else {}


def _read_split(root: Path, split: str, wanted: Callable, labels: Callable, flag: int) -> Faces:
    """The wanted pictures in root/split; or, where `root` has no folder `train`, this side of all in it."""
    divided = (root / "train").is_dir()
    folder = root / split if divided else root
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURES and wanted(path)]
    if not paths:
        raise FileNotFoundError(f"no pictures with the labels of this kind of data set in {folder}")
    names = [path.relative_to(folder).as_posix() for path in paths]
    faces = _read(paths, names, labels(paths), flag)
    if divided:
        return faces
    if "group" not in faces.labels:
        numbers = groups(near_copies(faces.images), len(faces))
        _, first = np.unique(numbers, return_index=True)
        faces = replace(faces, labels=faces.labels | {"group": faces.names[first][numbers]})
    # Not the hash that chooses the calibration faces, or all of those would be valid.
    in_valid = _hashed(np.char.add("split ", faces.labels["group"])) < VALID_SHARE
    return faces.take(in_valid if split == "valid" else ~in_valid)


@dataclass(frozen=True)
class Dataset:
    """A data set that training can read.

    Attributes:
        read: (root, split) -> Faces.
        folder: of the data, and the name of its landmark cache.
        tasks: what its labels tell.
        classes: how many classes of emotions they tell apart, at most.
        photos: its pictures are photos with a face somewhere in them, not face crops.
    """

    read: Callable[[Path, str], Faces]
    folder: str
    tasks: tuple[str, ...]
    classes: int = len(EMOTIONS)
    photos: bool = False


DATASETS = {
    "fer2013": Dataset(read_fer2013, "fer2013", ("emotion",)),
    "ferplus": Dataset(read_ferplus, "fer2013", ("emotion",)),
    "utkface": Dataset(read_utkface, "utkface", ("gender", "age")),
    "sof": Dataset(read_sof, "sof", ("emotion", "gender", "age"), classes=4, photos=True),
    "ckplus": Dataset(read_ckplus, "ckplus", ("emotion",)),
}


def dataset(name: str) -> Dataset:
    """One of DATASETS; any other name is a folder of class folders."""
    return DATASETS.get(name) or Dataset(read_folders, name, ("emotion", "gender", "age"))


def locate(faces: Faces, cache: str, photos: bool = False) -> np.ndarray:
    """Landmarks of every face by the serving detector, (n, 5, 2) float32 pixels, kept in CACHE.

    Where it sees no face, the crop's default points stand, as in serving.

    Args:
        cache: name of the file.
        photos: the pictures are photos, whose largest face is looked for, not face crops.
    """
    path = CACHE / f"{cache}.npz"
    known = {}
    if path.exists():
        stored = np.load(path)
        known = dict(zip(stored["names"].tolist(), stored["landmarks"]))
    new = [row for row, name in enumerate(faces.names) if name not in known]
    if new:
        found = _locate_all([faces.images[row] for row in new], cache, photos)
        known |= zip(faces.names[new].tolist(), found)
        path.parent.mkdir(exist_ok=True)
        np.savez(path, names=list(known), landmarks=np.stack(list(known.values())))
    return np.stack([known[name] for name in faces.names])


def _locate_all(images: list[np.ndarray], title: str, photos: bool) -> Iterable[np.ndarray]:
    from inference.detector import Detector  # TensorFlow; not needed once the landmarks are cached

    detector = Detector()
    for image in tqdm(images, f"landmarks of {title}"):
        height, width = image.shape[:2]
        image = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        if photos:
            face = max(detector.detect(image), key=lambda found: found.box.width, default=None)
        else:
            face = detector.locate(image)
        yield points(face.keypoints) if face else default_points(width, height)


def clean(faces: Faces, path: Path | str | None) -> np.ndarray:
    """(n,) bool: the faces that are to be fitted to: those named in a list as `inspect` writes it, or all."""
    if path is None:
        return np.ones(len(faces), bool)
    return np.isin(faces.names, Path(path).read_text().splitlines())


def unseen(faces: Faces, landmarks: np.ndarray) -> np.ndarray:
    """(n,) bool: pictures in which the detector saw no face, so that `locate` gave the default points."""
    sizes = [image.shape[1::-1] for image in faces.images]
    return np.array([(found == default_points(*size)).all() for found, size in zip(landmarks, sizes)])

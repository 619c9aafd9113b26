"""Labelled faces: readers for data sets in their publishers' layouts, DATASETS, and the faces' landmarks."""

import csv
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache as memoize
from importlib.metadata import version
from importlib.resources import files
from itertools import compress
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from inference.alignment import default_points, points
from inference.faces import EMOTIONS
from training.duplicates import groups, near_copies, pixel_digest
from training.files import whole
from training.networks import AGES

CACHE = Path("runs")  # landmarks found once are kept here; never committed
SAVE_SECONDS = 60  # between saves of the landmarks found so far

# FER+ column of each of our emotions, in the order of EMOTIONS.
FERPLUS_COLUMNS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
OTHER_COLUMNS = ("contempt", "unknown", "NF")  # what else its voters could choose; NF is not a face
# fer2013.csv numbers its classes in the order of EMOTIONS.
FER2013_USAGES = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
FER2013_SIDE = 48  # pixels

UTKFACE_NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d+(\.jpg\.chip)?\.\w+$")
RACES = ("White", "Black", "Asian", "Indian", "other")

# Specs on Face: person, sequence, sex, age, light, view, crop, emotion, year, part, occlusion, filter, level.
SOF_NAME = re.compile(
    r"(?P<person>\w+?)_\d+_(?P<sex>[mf])_(?P<age>\d{1,3})_[io]_(fr|nf)_(cr|nc)"
    r"_(?P<emotion>no|hp|sd|sr)_\d+_\d+_\w+\.\w+$"
)
# Each of its codes stands for several emotions, those of one of the four classes of classes.MERGES.
SOF_EMOTIONS = {"no": "neutral", "hp": "happy", "sd": "sad", "sr": "surprise"}

CKPLUS_NAME = re.compile(r"(?P<person>S\d+)_\d+_\d+\.\w+$")

# Folders' names for our emotions, beside our own.
FOLDERS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
# Folders of the splits of a set, in small letters.
SIDES = dict.fromkeys(("train", "training"), "train")
SIDES |= dict.fromkeys(("valid", "validation", "val"), "valid") | dict.fromkeys(("test", "testing"), "test")
LEFT_OUT = "contempt"  # folder of an emotion that is none of ours
GENDER_FOLDERS = {"male": 0, "man": 0, "men": 0, "female": 1, "woman": 1, "women": 1}
AGE_FOLDER = re.compile(r"(?P<low>\d{1,3})(-(?P<high>\d{1,3})|\+)$")
NOWHERE = np.zeros((5, 2), np.float32)  # landmarks in a photo without a face
OPEN_BAND = 20  # years that a band without an end, such as 81+, is taken to span
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

VALID_SHARE = 0.15  # of sets that come without a split
ROUNDING = 1e-3  # of shares of votes, of which one is a tenth or more
CALIBRATION_SHARE = 0.05  # of train, kept from fitting to set temperatures and age ranges on


@dataclass(frozen=True)
class Photos(Sequence):
    """Pictures in files, decoded whenever one is asked for: those of Specs on Face would take 39 GB.

    Attributes:
        paths: of the files.
        flag: of cv2.imread, which also says what a picture is: uint8 RGB or grey, None where it is none.
    """

    paths: tuple[Path, ...]
    flag: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray | None:
        return cv2.imread(str(self.paths[row]), self.flag)

    def __add__(self, other: "Photos") -> "Photos":
        return replace(self, paths=self.paths + other.paths)

    def take(self, rows: np.ndarray) -> "Photos":
        """The pictures at `rows`, indices; none is decoded."""
        return replace(self, paths=tuple(self.paths[row] for row in rows))


@dataclass(frozen=True)
class Faces:
    """Face pictures and their labels, one row a face.

    Attributes:
        names: (n,) str, unique within a set, split by split.
        images: n pictures, (height, width, 3) RGB or (height, width) grey, uint8; face crops are a list.
        labels: task's own columns, each an (n, ...) array: `votes` (n, 7) float32, share of each of
            EMOTIONS; `original` (n,) int, FER2013's class; `age` (n,) years; `gender` (n,) 1 female;
            `race` (n,) index into RACES; `group` (n,) str, those of one person, or copies of one photo,
            which must stay on one side of every split.
        unreadable: names of files that are no pictures; they are not among the faces.
        not_understood: names of pictures whose name or folder tells no label; nor are they.
    """

    names: np.ndarray
    images: list[np.ndarray] | Photos
    labels: dict[str, np.ndarray]
    unreadable: tuple[str, ...] = ()
    not_understood: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> "Faces":
        """The faces at `rows`, indices or a mask."""
        rows = np.arange(len(self))[rows]
        lazy = isinstance(self.images, Photos)
        images = self.images.take(rows) if lazy else [self.images[row] for row in rows]
        labels = {key: column[rows] for key, column in self.labels.items()}
        return replace(self, names=self.names[rows], images=images, labels=labels)

    def calibration(self) -> np.ndarray:
        """(n,) bool, the same faces on every machine: chosen by a hash of the name, or of the group."""
        return _hashed(self.labels.get("group", self.names)) < CALIBRATION_SHARE


def _hashed(texts: Iterable[str]) -> np.ndarray:
    """(n,) float, from 0 to 1, evenly; the same for the same text."""
    return np.array([int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32 for text in texts])


def _votes(classes: np.ndarray | int) -> np.ndarray:
    """(n, 7) float32, all votes for the one class of each; (7,) for one class."""
    return np.eye(len(EMOTIONS), dtype=np.float32)[classes]


def read_fer2013(root: Path, split: str) -> Faces:
    """FER2013 with its original labels: class folders (`train/happy/*.png`) or the original fer2013.csv.

    The pictures of fer2013.csv have no names of their own. Where FER+'s table lies beside it they have those
    of its rows, which stand in the same order, else the numbers of their rows.

    Args:
        root: a folder that holds `train` and `valid`, or `test` instead, or that holds fer2013.csv.
        split: "train", "valid" or "test".

    Raises:
        FileNotFoundError: `root` holds neither, or nothing of that split.
        ValueError: the tables of FER2013 and FER+ there have not the same rows.
    """

    def labels_of(path: Path) -> dict:
        emotion = _emotion_of(path)
        return {"original": EMOTIONS.index(emotion)} if emotion else {}

    table = root / "fer2013.csv"
    if table.exists():
        faces = _fer2013_rows(table, split)
    else:
        faces = _read(root, split, labels_of, cv2.IMREAD_GRAYSCALE)
        bare = np.array([name.split("/")[-1] for name in faces.names], str)  # as in FER+'s table
        if len(set(bare)) == len(bare):
            faces = replace(faces, names=bare)
    return replace(faces, labels=faces.labels | {"votes": _votes(faces.labels["original"])})


def _fer2013_rows(table: Path, split: str) -> Faces:
    numbers, images, classes, usages, broken = [], [], [], [], []
    for number, row in enumerate(_rows(table, "emotion", "pixels", "Usage")):
        usages.append(row["Usage"])
        if row["Usage"] != FER2013_USAGES[split]:
            continue
        try:
            pixels = np.array(row["pixels"].split(), np.uint8).reshape(FER2013_SIDE, FER2013_SIDE)
            emotion = range(len(EMOTIONS)).index(int(row["emotion"]))  # of any other, ValueError
        except (ValueError, OverflowError):
            broken.append(number)
            continue
        numbers.append(number)
        images.append(pixels)
        classes.append(emotion)
    if not numbers:
        raise FileNotFoundError(f"no FER2013 pictures of the split {split} in {table}")
    known = [""] * len(usages)
    votes = table.with_name("fer2013new.csv")
    if votes.exists():
        rows = list(_rows(votes, "Usage", "Image name"))
        if [row["Usage"] for row in rows] != usages:
            raise ValueError(
                f"{votes} has not the same rows as {table}, so that their pictures can't be told"
            )
        known = [row["Image name"] for row in rows]
    names, unreadable = (
        [known[number] or f"row{number:07d}.png" for number in some] for some in (numbers, broken)
    )
    labels = {"original": np.array(classes, int)}
    return Faces(np.array(names, str), images, labels, unreadable=tuple(unreadable))


def read_ferplus(root: Path, split: str) -> Faces:
    """FER2013 with the ten FER+ votes of each picture (Barsoum et al. 2016), in `root/fer2013new.csv`.

    Pictures without a vote for one of our seven emotions are left out. From `train` so are those of which no
    emotion has more votes than each of contempt, unknown and not a face; the other splits keep them, as
    others measure it. Arguments are those of read_fer2013.

    Raises:
        FileNotFoundError: there are no such pictures, or no votes for them.
    """
    faces = read_fer2013(root, split)
    votes, others = _ferplus_votes(faces.names, root)
    kept = votes.max(axis=1) > (others if split == "train" else 0)
    if not kept.any():
        raise FileNotFoundError(f"no votes for pictures of the split {split} in {root}")
    faces = faces.take(kept)
    votes = votes[kept]
    return replace(faces, labels=faces.labels | {"votes": votes / votes.sum(axis=1, keepdims=True)})


def soften(faces: Faces, root: Path, share: float) -> Faces:
    """FER2013's faces with labels of which FER+'s voters have a share: they know what else a face may show.

    Args:
        faces: as of read_fer2013.
        root: of the same.
        share: from 0 to 0.5, so that FER2013's own label stays the largest part.

    Raises:
        FileNotFoundError: there are no votes for these pictures.
    """
    votes, _ = _ferplus_votes(faces.names, root)
    sums = votes.sum(axis=1, keepdims=True)
    if not sums.any():
        raise FileNotFoundError(f"no votes for these pictures in {root}")
    softened = (1 - share) * faces.labels["votes"] + share * votes / np.maximum(sums, 1)
    return replace(faces, labels=faces.labels | {"votes": np.where(sums, softened, faces.labels["votes"])})


def _ferplus_votes(names: np.ndarray, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """The votes of each picture for our emotions, (n, 7) float32, none where FER+ does not know it, and the
    most for any one of the others, (n,) float32, infinite there."""
    table = ferplus_table(root)
    votes = np.zeros((len(names), len(EMOTIONS)), np.float32)
    others = np.full(len(names), np.inf, np.float32)
    for row, name in enumerate(names):
        if name in table:
            votes[row] = [table[name][column] for column in FERPLUS_COLUMNS]
            others[row] = max(int(table[name][column]) for column in OTHER_COLUMNS)
    return votes, others


def ferplus_table(root: Path) -> dict[str, dict[str, str]]:
    """The rows of FER+ by the names of their pictures; those that have no name are no faces, and those whose
    votes are no numbers no votes."""
    votes = *FERPLUS_COLUMNS, *OTHER_COLUMNS
    rows = _rows(root / "fer2013new.csv", "Image name", *votes)
    return {row["Image name"]: row for row in rows if all(row[column].isdigit() for column in votes)}


def _rows(table: Path, *columns: str) -> Iterator[dict[str, str]]:
    """The rows of a table, in which fields that are missing are empty.

    Raises:
        ValueError: it has not these columns.
    """
    with table.open(newline="", encoding="utf-8-sig") as lines:  # as spreadsheets save them, too
        # Some copies have ", " between the titles.
        rows = csv.DictReader(lines, restval="", skipinitialspace=True)
        missing = [column for column in columns if column not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"{table} has no column {' nor '.join(missing)}")
        yield from rows


def unique_majority(votes: np.ndarray) -> np.ndarray:
    """(n,) bool: pictures whose most voted emotion is one, not a tie."""
    ordered = np.sort(votes, axis=1)
    return ordered[:, -1] - ordered[:, -2] > ROUNDING


def read_utkface(root: Path, split: str) -> Faces:
    """UTKFace (Zhang et al. 2017): age, gender and race stand in the file names.

    Args:
        root: a folder that holds `train` and `valid` (or `test` instead), or only pictures, which are
            divided: persons, or else copies of one photo, also mirrored ones, stay on one side.
        split: "train" or "valid".

    Raises:
        FileNotFoundError: no picture with such a name is there.
        ValueError: there are too few to be divided.
    """

    def labels_of(path: Path) -> dict:
        match = UTKFACE_NAME.match(path.name)
        return {key: int(match[key]) for key in ("age", "gender", "race")} if match else {}

    return _read(root, split, labels_of, cv2.IMREAD_COLOR_RGB)


def read_sof(root: Path, split: str) -> Faces:
    """Specs on Face (Afifi and Abdelhamed 2019): people with glasses in hard light; labels in the file names.

    Its emotions are four, each of several of ours (see SOF_EMOTIONS), so that only a network of the same four
    classes is to be fitted to them. Its pictures are Photos. Arguments and errors are those of read_utkface.
    """

    def labels_of(path: Path) -> dict:
        match = SOF_NAME.match(path.name)
        if not match:
            return {}
        return {
            "votes": _votes(EMOTIONS.index(SOF_EMOTIONS[match["emotion"]])),
            "age": int(match["age"]),
            "gender": int(match["sex"] == "f"),
            "group": match["person"],
        }

    return _read(root, split, labels_of, cv2.IMREAD_COLOR_RGB, photos=True)


def read_ckplus(root: Path, split: str) -> Faces:
    """CK+48, the last frames of CK+ (Lucey et al. 2010): class folders; names begin with the person.

    Contempt is left out. Arguments and errors are those of read_utkface.
    """

    def labels_of(path: Path) -> dict:
        emotion, match = _emotion_of(path), CKPLUS_NAME.match(path.name)
        if not (emotion and match):
            return {}
        return {"votes": _votes(EMOTIONS.index(emotion)), "group": match["person"]}

    return _read(root, split, labels_of, cv2.IMREAD_GRAYSCALE)


def read_folders(root: Path, split: str) -> Faces:
    """Pictures in folders named by their class: emotions (`happy`), ages (`21-40`, `81+`), genders (`woman`).

    The age of a band is its middle, so that errors in years are those to the middles. Contempt is left out.
    Arguments and errors are those of read_utkface.

    Raises:
        ValueError: folders tell different things.
    """
    return _read(root, split, _folder_labels, cv2.IMREAD_COLOR_RGB)


def _emotion_of(path: Path) -> str | None:
    """The emotion that a picture's folder is named by."""
    name = path.parent.name.lower()
    name = FOLDERS.get(name, name)
    return name if name in EMOTIONS else None


def _folder_labels(path: Path) -> dict:
    """What a picture's folder tells: votes, age or gender, or nothing."""
    name = path.parent.name.lower()
    if emotion := _emotion_of(path):
        return {"votes": _votes(EMOTIONS.index(emotion))}
    if band := AGE_FOLDER.match(name):
        low = int(band["low"])
        high = int(band["high"] or low + OPEN_BAND - 1)
        return {"age": (low + high) // 2}
    return {"gender": GENDER_FOLDERS[name]} if name in GENDER_FOLDERS else {}


def _read(
    root: Path, split: str, labels_of: Callable[[Path], dict], flag: int, photos: bool = False
) -> Faces:
    """The pictures in root/split; or, where `root` has no such folders, this side of all in it.

    Args:
        labels_of: path -> labels of the picture there, {} where neither its name nor its folder tells any;
            none are understood, either, of ages that no network tells.
        flag: of cv2.imread.
        photos: leave them in their files.
    """
    sides = _sides(root)
    divided = split == "test" or bool(sides)
    folder = sides.get(split, root / split) if divided else root
    if divided and split == "valid" and "valid" not in sides:
        folder = sides.get("test", folder)  # as Kaggle has FER2013
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURES]
    paths = [path for path in paths if path.parent.name.lower() != LEFT_OUT]
    told = [labels_of(path) for path in paths]
    told = [labels if labels.get("age", 0) < AGES else {} for labels in told]
    understood = np.array([bool(labels) for labels in told], bool)
    rows = [labels for labels in told if labels]
    if not rows:
        raise FileNotFoundError(f"no pictures of this kind of data set for {split} in {root}")
    if len({tuple(row) for row in rows}) > 1:
        raise ValueError(f"the folders of {root} are not all emotions, nor all ages, nor all genders")
    names = np.array([path.relative_to(folder).as_posix() for path in paths], str)
    faces = Faces(
        names[understood],
        Photos(tuple(compress(paths, understood)), flag),
        {key: np.array([row[key] for row in rows]) for key in rows[0]},
        not_understood=tuple(names[~understood].tolist()),
    )
    if divided:
        faces = _readable(faces, photos)
    elif "group" in faces.labels:
        faces = _readable(_side(faces, split), photos)  # the other side is not even decoded
    else:
        faces = _side(_with_copies(_readable(faces, photos)), split)
    if not len(faces):
        raise ValueError(f"{folder} has too few pictures: none is left for {split}")
    return faces


def _sides(root: Path) -> dict[str, Path]:
    """The folders of a set that comes divided, by their split."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {SIDES[folder.name.lower()]: folder for folder in folders if folder.name.lower() in SIDES}


def _readable(faces: Faces, photos: bool) -> Faces:
    """Those that are pictures, decoded for good but for photos."""
    images = faces.images if photos else list(faces.images)
    readable = np.array([image is not None for image in images], bool)
    broken = tuple(faces.names[~readable].tolist())
    return replace(faces, images=images, unreadable=broken).take(readable)


def _with_copies(faces: Faces) -> Faces:
    """With a `group` for the copies of each photo: the name of the first."""
    numbers = groups(near_copies(faces.images), len(faces))
    _, first = np.unique(numbers, return_index=True)
    return replace(faces, labels=faces.labels | {"group": faces.names[first][numbers]})


def _side(faces: Faces, split: str) -> Faces:
    """The groups on one side of a set that comes without a split; what has no group goes by its name."""

    def here(texts: Iterable[str]) -> np.ndarray:
        # Not the hash that chooses the calibration faces, or all of those would be valid.
        return (_hashed(f"split {text}" for text in texts) < VALID_SHARE) == (split == "valid")

    unreadable, not_understood = (
        tuple(compress(names, here(names))) for names in (faces.unreadable, faces.not_understood)
    )
    side = faces.take(here(faces.labels["group"]))
    return replace(side, unreadable=unreadable, not_understood=not_understood)


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

    Where it sees no face, a crop has its default points, as in serving, and a photo NOWHERE. They are kept by
    the digests of pictures, so that what is known is right wherever the pictures lie, and saved each
    SAVE_SECONDS. What another detector found, as that of an earlier commit, is not taken for this one's.

    Args:
        cache: name of the set and split; its file is named by it.
        photos: the pictures are photos, whose largest face is looked for, not face crops.
    """
    path = landmarks_file(cache)
    known = {}
    if path.exists():
        with np.load(path) as stored:
            known = dict(zip(stored["digests"].tolist(), stored["landmarks"]))
    digests = [pixel_digest(image) for image in faces.images]
    new = {key: row for row, key in enumerate(digests) if key not in known}
    if new:
        saved = time.monotonic()
        for key, found in zip(new, _locate_all(faces.take(list(new.values())).images, cache, photos)):
            known[key] = found
            if time.monotonic() - saved > SAVE_SECONDS:
                _save(path, known)
                saved = time.monotonic()
        _save(path, known)
    return np.stack([known[key] for key in digests])


def landmarks_file(cache: str) -> Path:
    """Where `locate` keeps what the present detector found in a set and split."""
    return CACHE / f"landmarks-{slug(cache)}-{_detector_digest()}.npz"


@memoize
def _detector_digest() -> str:
    code = (files("inference") / "detector.py").read_bytes()  # not imported, as TensorFlow need not be there
    return hashlib.sha256(code + version("mtcnn").encode()).hexdigest()[:12]


def slug(name: str) -> str:
    """A data set's name, which may be a path, as one that a file can have."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")


def _save(path: Path, known: dict[str, np.ndarray]) -> None:
    with whole(path) as part:
        np.savez(part, digests=list(known), landmarks=np.stack(list(known.values())))


def _locate_all(images: Sequence[np.ndarray], title: str, photos: bool) -> Iterable[np.ndarray]:
    import keras  # which reads no data set

    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"the landmarks of {title} are found by TensorFlow: begin without KERAS_BACKEND")

    from inference.detector import Detector  # TensorFlow; not needed once the landmarks are cached

    detector = Detector()
    for image in tqdm(images, f"landmarks of {title}"):
        height, width = image.shape[:2]
        image = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        if photos:
            face = max(detector.detect(image), key=lambda found: found.box.width, default=None)
        else:
            face = detector.locate(image)
        missing = NOWHERE if photos else default_points(width, height)
        yield points(face.keypoints) if face else missing


def clean(faces: Faces, path: Path | str | None) -> np.ndarray:
    """(n,) bool: the faces that are to be fitted to: those named in a list as `inspect` writes it, or all."""
    if path is None:
        return np.ones(len(faces), bool)
    return np.isin(faces.names, Path(path).read_text().splitlines())


def somewhere(landmarks: np.ndarray) -> np.ndarray:
    """(n,) bool: which of (n, 5, 2) landmarks are not NOWHERE; those of face crops never are."""
    return (landmarks != NOWHERE).any(axis=(-2, -1))


def seen(image: np.ndarray, landmarks: np.ndarray) -> bool:
    """Whether the detector saw a face in a picture, by the landmarks that `locate` gave."""
    height, width = image.shape[:2]
    return bool(somewhere(landmarks) and (landmarks != default_points(width, height)).any())

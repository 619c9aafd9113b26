"""The photos of the benchmark: portraits and groups, made anew in each run and the same in each."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "utkface" / "valid"
SIDES = (640, 1280, 2560)  # pixels, longest side
COLUMNS = {7: 4, 30: 6}  # of a group's faces
HEAD = (slice(20, 276), slice(100, 356))  # of the astronaut's portrait: rows, columns
GREY = 150  # of the wall behind a group


@dataclass(frozen=True)
class Photo:
    """A photo: its name in the tables, (height, width, 3) uint8 RGB, and how many faces are in it."""

    name: str
    image: np.ndarray
    faces: int


def standard() -> list[Photo]:
    """Portraits and groups at each of SIDES; UTKFace montages at 1280 where the data are present."""
    astronaut = np.ascontiguousarray(skimage.data.astronaut())
    photos = []
    for side in SIDES:
        photos.append(Photo(f"portrait, {side} px", _resize(astronaut, side), 1))
        for count in COLUMNS:
            photos.append(Photo(f"{count} faces, {side} px", _group(_relatives(count), side), count))
    chips = sorted(DATA.glob("*.jpg"))
    for count in COLUMNS if chips else ():
        faces = [_read(path) for path in chips[:: len(chips) // count][:count]]
        photos.append(Photo(f"{count} UTKFace faces, 1280 px", _group(faces, 1280), count))
    return photos


def mixed(count: int, seed: int = 0) -> Iterator[bytes]:
    """JPEGs as people send them: portraits, groups and pictures of nothing, no two of the same size."""
    rng = np.random.default_rng(seed)
    astronaut, nothing = skimage.data.astronaut(), skimage.data.coffee()
    groups = [_group(_relatives(faces), 2560) for faces in COLUMNS]
    choices = [astronaut, astronaut, groups[0], groups[0], groups[1], nothing]
    for _ in range(count):
        image = choices[rng.integers(len(choices))]
        height, width = image.shape[:2]
        # Cut off up to a fifth, so that the shapes differ too.
        image = image[: height - rng.integers(height // 5), : width - rng.integers(width // 5)]
        yield encode(_resize(image, int(rng.integers(320, 2561))), int(rng.integers(70, 96)))


def frame(faces: int) -> np.ndarray:
    """A camera's frame with faces side by side: (360, 640, 3) uint8 RGB."""
    side = min(320, 640 // faces)
    image = np.full((360, 640, 3), GREY, np.uint8)
    for number, head in enumerate(_relatives(faces)):
        image[20 : 20 + side, number * side : (number + 1) * side] = _resize(head, side)
    return image


def encode(image: np.ndarray, quality: int = 87) -> bytes:
    """As JPEG."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _relatives(count: int) -> list[np.ndarray]:
    """The astronaut's head in other light, turned a little, and every other one mirrored."""
    rng = np.random.default_rng(count)
    head = skimage.data.astronaut()[HEAD]
    side = len(head)
    heads = []
    for number in range(count):
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-8, 8), rng.uniform(0.85, 1))
        light = (head * rng.uniform(0.6, 1.1)).clip(0, 255).astype(np.uint8)
        turned = cv2.warpAffine(light, turn, (side, side), borderValue=(GREY,) * 3)
        heads.append(turned[:, ::-1] if number % 2 else turned)
    return heads


def _group(faces: list[np.ndarray], side: int) -> np.ndarray:
    """Square pictures of faces in rows on a grey wall, `side` pixels wide."""
    columns = COLUMNS[len(faces)]
    cell = side // columns
    photo = np.full((-(-len(faces) // columns) * cell, side, 3), GREY, np.uint8)
    for number, face in enumerate(faces):
        row, column = divmod(number, columns)
        place = slice(row * cell, (row + 1) * cell), slice(column * cell, (column + 1) * cell)
        photo[place] = _resize(face, cell)
    return photo


def _resize(image: np.ndarray, side: int) -> np.ndarray:
    """To this longest side, pixels."""
    scale = side / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)

"""Faces drawn onto the photo, numbered as in the text."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise, product
from math import ceil, dist, floor, inf, sqrt
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from inference.alignment import points
from inference.faces import BoundingBox, Face
from inference.words import noun, years

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom, in pixels of the photo

# Colour of a box: ink on it. Okabe and Ito's, told apart with any kind of colour vision
# (https://jfly.uni-koeln.de/color/).
PALETTE = {
    "#56b4e9": "black",
    "#e69f00": "black",
    "#009e73": "black",
    "#f0e442": "black",
    "#cc79a7": "black",
    "#d55e00": "black",
    "#0072b2": "white",
}
HALO = (0, 0, 0, 180)  # RGBA; the dark edge that sets a line off from a photo of its own colour
CLEAR = (0, 0, 0, 0)

# Shares of the photo's scale, which is the square root of its area, and of the face's shorter side.
LINE_OF_PHOTO, LINE_OF_FACE = 0.004, 0.08
TEXT_OF_PHOTO, TEXT_OF_FACE = 0.03, 0.28
TEXT_STEPS = (1.0, 0.8, 0.64, 0.51)  # how far a number shrinks to find room
DESCRIPTION_STEPS = 2  # of those, how many more than a number may take
NUMBER = 2  # which of _texts is the number alone
NOWHERE = -(2**30)  # where a rectangle crosses none
SMALLEST_TEXT = 9  # pixels; smaller digits are not legible
# Shares of the text size; the padding is on the left and on the right.
LABEL_HEIGHT, LABEL_PADDING, TEXT_STROKE = 1.4, 0.4, 1 / 80
NUMBER_ROOM, DESCRIPTION_ROOM = 0.1, 0.5  # kept clear around a label, so that a crowd gets numbers only
FEATURE_REACH = 0.1  # of the box; how far eyes and lips reach beyond their keypoints
SLIDES = 9  # tried along each side of a box
SPOTS = 4 * (3 + SLIDES)  # around a box
SUPERSAMPLING = 4
JPEG_QUALITY = 90


class Spot(NamedTuple):
    """Where a label stands beside its face.

    words: which of _texts it has.
    step: which of _text_sizes it has.
    row: which of _beside's rectangles it takes.
    """

    words: int
    step: int
    row: int


@dataclass(frozen=True, slots=True)
class Label:
    """What is written beside a face, in a font of `size` pixels."""

    text: str
    size: int
    rectangle: Rectangle


def draw(
    image: np.ndarray,
    faces: list[Face],
    numbers: Sequence[int] | None = None,
    spots: dict[int, Spot] | None = None,
) -> np.ndarray:
    """Draw a box around every face, and beside it its number and, where there is room, how it looks.

    Args:
        image: (height, width, 3) uint8 RGB; left as it is.
        faces: numbered from 1 in this order, unless there are `numbers`.
        numbers: of the faces, from 1, where they are followed through a video; each keeps its colour.
        spots: of `place`.

    Returns:
        (height, width, 3) uint8 RGB, a new array.
    """
    height, width = image.shape[:2]
    canvas = Image.fromarray(image)
    colours = _colours(faces) if numbers is None else [_colour_of(number) for number in numbers]
    for face, colour in zip(faces, colours, strict=True):
        line, halo = _strokes(face.box, width, height)
        _panel(canvas, _frame(face.box, width, height), colour, 4 * line, halo, line)
    for label, colour in zip(place(faces, width, height, numbers, spots), colours, strict=True):
        if label is not None:
            _write(canvas, label, colour)
    return np.array(canvas)


def encode_jpeg(image: np.ndarray) -> bytes:
    """(height, width, 3) uint8 RGB -> JPEG."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def place(
    faces: list[Face],
    width: int,
    height: int,
    numbers: Sequence[int] | None = None,
    spots: dict[int, Spot] | None = None,
) -> list[Label | None]:
    """Find a spot for every label, so that none covers a face or another label, or leaves the photo.

    Every face gets its number before any gets more. A number that finds no room beside its box, even
    in small text, goes onto the edge of the box, best into a corner, off all eyes, noses and mouths;
    where boxes overlap so much that nothing else is left, this may be in a neighbour's box as well. A face
    that fills the photo gets more there, too.

    Args:
        faces: numbered from 1 in this order, unless there are `numbers`.
        width: of the photo, pixels.
        height: likewise.
        numbers: of the faces.
        spots: of the frame before, by number: labels stay there while they can, with less room around them
            than new ones need, or those of a video would flicker. They become those of this frame.

    Returns:
        The label of each face; None where even the last resort would cover a label or a face's features.
    """
    numbers = range(1, len(faces) + 1) if numbers is None else numbers
    kept = spots or {}
    frames = np.array([_frame(face.box, width, height) for face in faces]).reshape(-1, 4)
    features = np.array([_features(face) for face in faces]).reshape(-1, 4)
    sizes = [_text_sizes(face.box, width, height) for face in faces]
    texts = [_texts(number, face) for number, face in zip(numbers, faces, strict=True)]
    labels: dict[int, Label] = {}
    beside: dict[int, Spot] = {}
    labelled = np.full_like(frames, NOWHERE)  # the rectangles of labels

    def fit(
        index: int, words: int, sizes: Sequence[int], candidates_of: Callable, taken: np.ndarray, room: float
    ) -> int | None:
        # All sizes in one go, since a crowd tries thousands.
        frame = frames[index].tolist()
        tried = [
            candidates_of(frame, *_label_size(texts[index][words], size), width, height) for size in sizes
        ]
        of_size = np.repeat(sizes, [len(candidates) for candidates in tried])
        candidates, rooms = np.concatenate(tried), np.round(room * of_size).astype(int)
        taken = np.concatenate([taken, np.delete(labelled, index, axis=0)])
        free = _first_free(candidates, rooms, taken, width, height)
        if free is not None:
            rectangle = tuple(candidates[free].tolist())
            labels[index] = Label(texts[index][words], int(of_size[free]), rectangle)
            labelled[index] = rectangle
        return free

    def others(index: int) -> np.ndarray:
        return np.delete(frames, index, axis=0)

    def stay(index: int) -> None:
        if spot := kept.get(numbers[index]):
            size = sizes[index][min(spot.step, len(sizes[index]) - 1)]
            only = lambda *label: _beside(*label)[spot.row : spot.row + 1]  # noqa: E731
            if fit(index, spot.words, [size], only, others(index), NUMBER_ROOM) is not None:
                beside[index] = spot

    def write_beside(index: int, words: int, steps: int, room: float) -> bool:
        free = fit(index, words, sizes[index][:steps], _beside, others(index), room)
        if free is not None:
            beside[index] = Spot(words, *divmod(free, SPOTS))
        return free is not None

    def number_beside(index: int) -> bool:
        return write_beside(index, NUMBER, len(TEXT_STEPS), NUMBER_ROOM)

    def number_within(index: int) -> bool:
        smaller = range(sizes[index][-1], SMALLEST_TEXT - 1, -1)
        avoided = np.concatenate([features, others(index)]), features
        return any(fit(index, NUMBER, smaller, _within, taken, NUMBER_ROOM) is not None for taken in avoided)

    for index in range(len(faces)):
        stay(index)
    for index in range(len(faces)):
        if index not in labels:
            number_beside(index)
    for index in sorted(labels):  # where there is no room for a number, there is none for more
        more = range(beside[index].words)
        any(write_beside(index, words, DESCRIPTION_STEPS, DESCRIPTION_ROOM) for words in more)
    for index in range(len(faces)):
        # Once more as before, since a neighbour's description may have left the spot of its number.
        if index not in labels and not number_beside(index) and number_within(index):
            taken, steps = np.concatenate([features, others(index)]), sizes[index][:DESCRIPTION_STEPS]
            any(
                fit(index, words, steps, _inside, taken, DESCRIPTION_ROOM) is not None
                for words in range(NUMBER)
            )
    if spots is not None:
        spots.clear()
        spots.update((numbers[index], spot) for index, spot in beside.items())
    return [labels.get(index) for index in range(len(faces))]


def _texts(number: int, face: Face) -> tuple[str, str, str]:
    """What may be written beside a face, the longest first; the last is its number."""
    emotion = f"{number} {face.emotion.label}"
    return f"{emotion} · {noun(face.gender, face.age)} · {years(face.age)}", emotion, str(number)


def _colours(faces: list[Face]) -> list[str]:
    """For each face the colour whose nearest bearer so far is farthest away."""
    colours: list[str] = []
    for face in faces:
        nearest = dict.fromkeys(PALETTE, inf)
        for colour, bearer in zip(colours, faces, strict=False):
            nearest[colour] = min(nearest[colour], dist(face.box.center, bearer.box.center))
        colours.append(max(nearest, key=nearest.get))
    return colours


def _colour_of(number: int) -> str:
    """The colour of a face that is followed through a video."""
    return list(PALETTE)[(number - 1) % len(PALETTE)]


def _strokes(box: BoundingBox, width: int, height: int) -> tuple[int, int]:
    """Widths of a box's line and of the halo on either side of it, pixels."""
    line = min(LINE_OF_PHOTO * sqrt(width * height), LINE_OF_FACE * min(box.width, box.height))
    line = max(1, round(line))
    return line, max(1, round(line / 3))


def _text_sizes(box: BoundingBox, width: int, height: int) -> list[int]:
    """Font sizes to try, pixels, largest first."""
    largest = TEXT_OF_PHOTO * sqrt(width * height)
    size = np.clip(TEXT_OF_FACE * min(box.width, box.height), largest * TEXT_STEPS[-1], largest)
    return sorted({max(SMALLEST_TEXT, round(size * step)) for step in TEXT_STEPS}, reverse=True)


def _frame(box: BoundingBox, width: int, height: int) -> Rectangle:
    """What the drawn box takes up: line and halo lie around the face, as far as the photo goes."""
    line, halo = _strokes(box, width, height)
    margin = line + 2 * halo
    left = min(max(floor(box.x) - margin, 0), width - 1)
    top = min(max(floor(box.y) - margin, 0), height - 1)
    right = max(min(ceil(box.x + box.width) + margin, width), left + 1)
    bottom = max(min(ceil(box.y + box.height) + margin, height), top + 1)
    return left, top, right, bottom


def _features(face: Face) -> Rectangle:
    """What of a face must always stay in sight: eyes, nose and mouth."""
    landmarks = points(face.keypoints)
    reach = FEATURE_REACH * np.array([face.box.width, face.box.height])
    left, top = np.floor(landmarks.min(axis=0) - reach).astype(int).tolist()
    right, bottom = np.ceil(landmarks.max(axis=0) + reach).astype(int).tolist()
    return left, top, right, bottom


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _label_size(text: str, size: int) -> tuple[int, int]:
    """Width and height of a label, pixels."""
    return ceil(_font(size).getlength(text) + 2 * LABEL_PADDING * size), round(LABEL_HEIGHT * size)


def _beside(frame: Rectangle, across: int, down: int, width: int, height: int) -> np.ndarray:
    """Spots for a label of that size above, below, right and left of a frame, best first -> (n, 4)."""
    left, top, right, bottom = frame
    xs = [(left + right - across) // 2, left, right - across, *_slides(left, right, across)]
    ys = [top, (top + bottom - down) // 2, bottom - down, *_slides(top, bottom, down)]
    edge = down // 8  # kept free along the photo's edge
    xs = [max(edge, min(x, width - across - edge)) for x in xs]
    ys = [max(edge, min(y, height - down - edge)) for y in ys]
    corners = [(x, y) for y in (top - down, bottom) for x in xs]
    corners += [(x, y) for x in (right, left - across) for y in ys]
    return _rectangles(corners, across, down)


def _slides(start: int, end: int, length: int) -> list[int]:
    """Where a label may begin along a side of a frame: half of it, or half of the side, still touches."""
    touching = min(length, end - start) // 2
    return _steps(start + touching - length, end - touching)


def _steps(first: int, last: int) -> list[int]:
    return [first + (last - first) * step // (SLIDES - 1) for step in range(SLIDES)]


def _within(frame: Rectangle, across: int, down: int, width: int, height: int) -> np.ndarray:
    """Spots for a label of that size in the corners of a frame, then along its sides -> (n, 4)."""
    left, top, right, bottom = frame
    xs, ys = (left, right - across), (top, bottom - down)
    corners = [(x, y) for y in ys for x in xs]
    corners += [(x, y) for y in ys for x in _steps(*xs)]
    corners += [(x, y) for x in xs for y in _steps(*ys)]
    return _rectangles(corners, across, down)


def _inside(frame: Rectangle, across: int, down: int, width: int, height: int) -> np.ndarray:
    """Those spots of _within that do not leave the frame, as they do where it is smaller than the label."""
    spots = _within(frame, across, down, width, height)
    return spots[(spots[:, :2] >= frame[:2]).all(1) & (spots[:, 2:] <= frame[2:]).all(1)]


def _rectangles(corners: list[tuple[int, int]], across: int, down: int) -> np.ndarray:
    starts = np.array(corners)
    return np.hstack([starts, starts + (across, down)])


def _first_free(
    candidates: np.ndarray, rooms: np.ndarray, taken: np.ndarray, width: int, height: int
) -> int | None:
    """The row of the first of (n, 4) candidates in the photo with its room clear of all (m, 4) taken."""
    if not len(candidates):
        return None
    inside = (candidates[:, :2] >= 0).all(1) & (candidates[:, 2:] <= (width, height)).all(1)
    starts, ends = candidates[:, :2] - rooms[:, None], candidates[:, 2:] + rooms[:, None]
    # Few of a crowd are near enough to matter.
    taken = taken[(taken[:, :2] < ends.max(0)).all(1) & (starts.min(0) < taken[:, 2:]).all(1)]
    crossing = (starts[:, None] < taken[:, 2:]) & (taken[:, :2] < ends[:, None])
    free = np.flatnonzero(inside & ~crossing.all(2).any(1))
    return int(free[0]) if len(free) else None


def _write(canvas: Image.Image, label: Label, colour: str) -> None:
    left, top, right, bottom = label.rectangle
    halo = max(1, round(label.size / 24))
    _panel(canvas, label.rectangle, colour, round(0.3 * (bottom - top)), halo)
    font = _font(label.size)
    digit_top = font.getbbox("1", anchor="ls")[1]  # above the baseline, so negative
    middle = (left + right) / 2, (top + bottom - digit_top) / 2
    stroke = TEXT_STROKE * label.size
    ImageDraw.Draw(canvas).text(middle, label.text, PALETTE[colour], font, anchor="ms", stroke_width=stroke)


def _panel(
    canvas: Image.Image, rectangle: Rectangle, colour: str, radius: int, halo: int, line: int | None = None
) -> None:
    """Draw a smooth rounded rectangle, solid or a line, as a nine-patch.

    Only a small tile is ever supersampled; between its corners it is stretched.
    """
    left, top, right, bottom = rectangle
    corner = min(radius, (right - left - 1) // 2, (bottom - top - 1) // 2)
    tile = _tile(colour, corner, halo, line)
    source = (0, corner, corner + 1, 2 * corner + 1)
    columns = pairwise(zip(source, (left, left + corner, right - corner, right), strict=True))
    rows = pairwise(zip(source, (top, top + corner, bottom - corner, bottom), strict=True))
    for ((x1, start_x), (x2, end_x)), ((y1, start_y), (y2, end_y)) in product(columns, rows):
        part = tile.crop((x1, y1, x2, y2))
        if part.getbbox():  # neither empty nor clear
            part = part.resize((end_x - start_x, end_y - start_y), Image.Resampling.NEAREST)
            canvas.paste(part, (start_x, start_y), part)


@lru_cache(maxsize=256)
def _tile(colour: str, corner: int, halo: int, line: int | None) -> Image.Image:
    """The smallest panel with corners of that radius, an RGBA square of side 2 * corner + 1."""
    layers = [(0, HALO), (halo, colour)]
    if line is not None:
        layers += [(halo + line, HALO), (2 * halo + line, CLEAR)]
    side = (2 * corner + 1) * SUPERSAMPLING
    tile = Image.new("RGBA", (side, side))
    pen = ImageDraw.Draw(tile)
    for inset, fill in layers:
        if inset <= corner:
            near, far = inset * SUPERSAMPLING, side - 1 - inset * SUPERSAMPLING
            pen.rounded_rectangle((near, near, far, far), (corner - inset) * SUPERSAMPLING, fill)
    return tile.reduce(SUPERSAMPLING)

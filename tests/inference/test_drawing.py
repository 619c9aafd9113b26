import io
import itertools
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageColor

from inference import drawing
from inference.drawing import PALETTE, Label, draw, encode_jpeg, place
from inference.faces import EMOTIONS, Age, BoundingBox, Emotion, Face, Gender, Keypoints

PHOTOS = [(1280, 960), (512, 512), (100, 100), (2000, 100), (100, 2000), (4000, 3000)]  # width, height


def face(x: float, y: float, width: float, height: float) -> Face:
    """A happy woman of 31 whose keypoints lie in her box as MTCNN's do."""
    points = ((0.3, 0.38), (0.7, 0.38), (0.5, 0.58), (0.35, 0.77), (0.65, 0.77))
    keypoints = Keypoints(*((x + across * width, y + down * height) for across, down in points))
    emotion = Emotion((0, 0, 0, 0.9, 0.1, 0, 0))
    return Face(BoundingBox(x, y, width, height), 0.99, keypoints, emotion, Gender(0.98), Age(31.2, 26, 37))


def crowd(width: int, height: int, count: int, apart: bool, seed: int) -> list[Face]:
    """Up to so many faces of all sizes at random, left to right; `apart` keeps their boxes from touching."""
    random = np.random.default_rng(seed)
    boxes: list[np.ndarray] = []
    for _ in range(20 * count):
        side = min(width, height) * random.uniform(0.3, 2) / np.sqrt(count)
        side = min(max(side, 20), 0.9 * min(width, height))
        corner = random.uniform((0, 0), (width - 0.8 * side, height - side))
        box = np.hstack([corner, corner + (0.8 * side, side)])
        margin = side / 3 if apart else -side / 3
        if len(boxes) < count and not any(overlap(grown(box, margin), other) for other in boxes):
            boxes.append(box)
    return [face(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in np.array(sorted(boxes, key=tuple)).tolist()]


def overlap(one, other) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def grown(rectangle, margin: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = rectangle
    return left - margin, top - margin, right + margin, bottom + margin


def corners(box: BoundingBox) -> tuple[float, float, float, float]:
    return box.x, box.y, box.x + box.width, box.y + box.height


def keypoints(face: Face) -> list[tuple[float, float]]:
    return [getattr(face.keypoints, name) for name in Keypoints.__slots__]


def covers_a_keypoint(label: Label, faces: list[Face]) -> bool:
    left, top, right, bottom = label.rectangle
    return any(left <= x < right and top <= y < bottom for each in faces for x, y in keypoints(each))


def photo(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """WCAG's relative luminance of (..., 3) uint8 colours, 0 to 1."""
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """WCAG's contrast ratio, 1 to 21."""
    one, other = luminance(one), luminance(other)
    return (np.maximum(one, other) + 0.05) / (np.minimum(one, other) + 0.05)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("count", [1, 7, 30, 100])
@pytest.mark.parametrize(("width", "height"), PHOTOS)
def test_labels_cover_nothing_and_stay_in_the_photo(width, height, count, apart, seed):
    faces = crowd(width, height, count, apart, seed)
    labels = place(faces, width, height)
    rectangles = [label.rectangle for label in labels if label]
    frames = [drawing._frame(each.box, width, height) for each in faces]

    assert len(labels) == len(faces)
    assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in rectangles)
    assert not any(overlap(one, other) for one, other in combinations(rectangles, 2))
    for index, label in enumerate(labels):
        if label is None or overlap(label.rectangle, frames[index]):
            assert not room_beside(index, faces, labels, width, height)
        else:
            assert not any(overlap(label.rectangle, frame) for frame in frames)
            assert overlap(label.rectangle, grown(frames[index], label.size // 2))  # it is beside its face
        if label:
            assert label.text in (f"{index + 1}", f"{index + 1} happy", f"{index + 1} happy · woman · 31")
            assert not covers_a_keypoint(label, faces)


def room_beside(index: int, faces: list[Face], labels: list[Label | None], width: int, height: int) -> bool:
    """Whether the number could stand at a side of its box, in the smallest text."""
    frames = [drawing._frame(each.box, width, height) for each in faces]
    taken = [label.rectangle for other, label in enumerate(labels) if label and other != index]
    taken += frames[:index] + frames[index + 1 :]
    size = drawing._text_sizes(faces[index].box, width, height)[-1]
    spots = drawing._beside(frames[index], *drawing._label_size(str(index + 1), size), width, height).tolist()
    return any(
        min(spot) >= 0
        and spot[2] <= width
        and spot[3] <= height
        and not any(overlap(grown(spot, round(drawing.NUMBER_ROOM * size)), other) for other in taken)
        for spot in spots
    )


@pytest.mark.parametrize(
    ("width", "height", "count"), [(512, 512, 7), (1280, 960, 30), (1280, 960, 100), (4000, 3000, 100)]
)
def test_faces_that_stand_apart_all_get_their_number_outside_every_box(width, height, count):
    faces = crowd(width, height, count, apart=True, seed=5)
    labels = place(faces, width, height)
    assert [label.text.split()[0] for label in labels] == [str(number) for number in range(1, len(faces) + 1)]
    assert not any(overlap(label.rectangle, corners(each.box)) for label in labels for each in faces)


@pytest.mark.parametrize(
    ("box", "side"),
    [
        ((500, 400, 160, 200), "above"),
        ((500, 0, 160, 200), "below"),
        ((500, 0, 160, 960), "right"),
        ((1120, 0, 160, 960), "left"),
        ((0, 0, 1280, 960), "within"),
    ],
)
def test_a_label_goes_above_else_below_right_left_and_last_into_a_corner(box, side):
    [label] = place([face(*box)], 1280, 960)
    left, top, right, bottom = label.rectangle
    x, y, width, height = box
    sides = {"above": bottom <= y, "below": top >= y + height, "right": left >= x + width, "left": right <= x}
    assert [name for name, holds in sides.items() if holds] == ([side] if side != "within" else [])
    assert label.text == "1 happy · woman · 31"


def test_a_crowd_gets_numbers_only_but_along_its_edge():
    faces = [face(100 * column + 20, 95 * row + 30, 50, 60) for column in range(12) for row in range(9)]
    texts = [label.text for label in place(faces, 1280, 960)]
    assert [text.split()[0] for text in texts] == [str(number) for number in range(1, 109)]
    amid = [text for index, text in enumerate(texts) if index < 99 and 0 < index % 9 < 8]
    assert not any("happy" in text for text in amid)


def test_everybody_in_a_stadium_gets_a_number():
    faces = [face(78 * column + 4, 78 * row + 4, 55, 55) for column in range(24) for row in range(16)]
    labels = place(faces, 1920, 1280)
    assert [label.text.split()[0] for label in labels] == [str(number) for number in range(1, 385)]
    assert not any(covers_a_keypoint(label, faces) for label in labels)


def test_every_number_comes_before_any_description():
    """There is room in one strip, above: for both numbers, or for the first face's description."""
    faces = [face(20, 20, 30, 50), face(60, 28, 45, 42)]
    assert drawing._label_size("1 happy · woman · 31", 9)[0] < 110
    labels = place(faces, 110, 70)
    assert [label.text for label in labels] == ["1 happy", "2 happy"]
    assert all(label.rectangle[3] <= 28 for label in labels)


def test_a_number_takes_the_spot_that_a_neighbour_left_for_its_description():
    faces = [face(73, 32, 80, 100), face(131, 14, 65, 82), face(161, 91, 31, 39)]
    first, second, _ = place(faces, 200, 150)
    assert first.text == "1 happy · woman · 31"
    assert second.text == "2"
    assert second.rectangle[2] <= 131


@pytest.mark.parametrize("x", [0, 1240])
def test_a_label_slides_along_its_box_to_keep_off_the_edge_of_the_photo(x):
    [label] = place([face(x, 300, 40, 50)], 1280, 960)
    left, top, right, bottom = label.rectangle
    assert label.text == "1 happy · woman · 31"
    assert 0 < min(left, 1280 - right) < 10
    assert bottom <= 300


@pytest.mark.parametrize(
    ("side", "more"), [(64, " happy"), (100, " happy · woman · 31"), (4000, " happy · woman · 31")]
)
def test_a_face_that_fills_the_photo_keeps_eyes_nose_and_mouth_in_sight(side, more):
    filling = face(0, 0, side, side)
    [label] = place([filling], side, side)
    assert label.text == f"1{more}"
    assert label.rectangle[3] <= side * 0.3
    assert not covers_a_keypoint(label, [filling])


def test_text_grows_with_the_photo_and_with_the_face():
    def size(photo: int, side: int) -> int:
        return place([face(photo / 2, photo / 2, side, side)], photo, photo)[0].size

    assert 9 <= size(100, 30) < size(1000, 24) < size(1000, 300) < size(4000, 300) < size(4000, 1500)
    assert size(4000, 1500) == pytest.approx(4 * size(1000, 375), abs=4)


def test_no_faces_leave_the_photo_as_it_is():
    image = photo(64, 48)
    drawn = draw(image, [])
    assert np.array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)
    assert drawn.flags.writeable


@pytest.mark.parametrize("count", [1, 7, 30])
def test_only_boxes_and_labels_are_drawn(count):
    image = photo(640, 480)
    before = image.copy()
    faces = crowd(640, 480, count, apart=True, seed=1)
    drawn = draw(image, faces)
    assert np.array_equal(image, before)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8

    allowed = np.zeros((480, 640), bool)
    for each in faces:
        left, top, right, bottom = drawing._frame(each.box, 640, 480)
        allowed[top:bottom, left:right] = True
        x1, y1, x2, y2 = (round(value) for value in corners(each.box))
        allowed[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4] = False  # the face itself, but for the rounded corners
    for label in place(faces, 640, 480):
        left, top, right, bottom = label.rectangle
        allowed[top:bottom, left:right] = True
        assert (drawn[top:bottom, left:right] != image[top:bottom, left:right]).any(axis=2).mean() > 0.95
    changed = (drawn != image).any(axis=2)
    assert not (changed & ~allowed).any()
    for each in faces:
        left, top, right, bottom = drawing._frame(each.box, 640, 480)
        middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
        for y, x in [(top, middle_x), (bottom - 1, middle_x), (middle_y, left), (middle_y, right - 1)]:
            assert changed[y, x]


@pytest.mark.parametrize("background", ["black", "white", "grey", *PALETTE])
def test_boxes_and_labels_stand_out_from_any_background(background):
    color = np.array(ImageColor.getrgb(background), np.uint8)
    image = np.full((960, 1280, 3), color)
    faces = [face(60 + 170 * column, 400, 100, 120) for column in range(7)]  # as many as colours
    drawn = draw(image, faces)
    for each, label in zip(faces, place(faces, 1280, 960), strict=True):
        middle = round(each.box.y + 60)
        across = drawn[middle, round(each.box.x) - 12 : round(each.box.x) + 12]
        assert contrast(across, color).max() > 3
        left, top, right, bottom = label.rectangle
        assert contrast(drawn[top:bottom, left:right], color).max() > 3


def test_text_is_legible_on_every_colour():
    for colour, ink in PALETTE.items():
        assert contrast(ImageColor.getrgb(colour), ImageColor.getrgb(ink)) > 4.5


def test_labels_are_written_in_ink_on_the_colour_of_their_box():
    image = photo(640, 480)
    drawn = draw(image, [face(300, 200, 100, 120)])
    [label] = place([face(300, 200, 100, 120)], 640, 480)
    left, top, right, bottom = label.rectangle
    written = drawn[top:bottom, left:right].reshape(-1, 3)
    colour, ink = (ImageColor.getrgb(name) for name in next(iter(PALETTE.items())))
    assert (written == colour).all(axis=1).mean() > 0.5
    assert 0.02 < (np.abs(written.astype(int) - ink).max(axis=1) < 40).mean() < 0.4
    assert (drawn[180:340, 285:415] == colour).all(axis=2).sum() > 300  # the line of the box


def test_a_face_that_is_followed_keeps_its_number_and_its_colour():
    image, faces = photo(640, 480), [face(100, 200, 100, 120), face(400, 200, 100, 120)]
    labels = place(faces, 640, 480, [9, 12])
    assert [label.text.split()[0] for label in labels] == ["9", "12"]
    colours = [ImageColor.getrgb(name) for name in PALETTE]
    for numbers in ([9, 12], [12, 9]):
        drawn = draw(image, faces, numbers)
        for number, left in zip(numbers, (85, 385), strict=True):
            colour = colours[(number - 1) % 7]
            assert (drawn[180:340, left : left + 130] == colour).all(axis=2).sum() > 300


def test_labels_of_a_shaking_film_stay_where_they_are():
    """Three people side by side, for whom there is now and then just room for more, and now and then not."""
    random, spots, told = np.random.default_rng(0), {}, []
    for _ in range(100):
        faces = [face(*corner, 90, 110) for corner in random.normal(((60, 90), (190, 100), (320, 95)), 1.5)]
        labels = place(faces, 480, 360, [1, 2, 3], spots)
        told.append([(label.text, row.box.y > label.rectangle[1]) for label, row in zip(labels, faces)])
    changes = sum(
        one != other for before, after in itertools.pairwise(told) for one, other in zip(before, after)
    )
    assert changes <= 4
    assert sorted(spots) == [1, 2, 3]
    assert place(faces[:1], 480, 360, [1], spots)[0].text == "1 happy · woman · 31"
    assert sorted(spots) == [1]  # who is gone has no spot any more


def test_what_does_not_fit_in_full_is_told_in_part():
    faces = [face(20 + 62 * column, 60, 40, 50) for column in range(5)]
    assert [label.text for label in place(faces, 330, 130)] == [f"{number} happy" for number in range(1, 6)]


def test_neighbours_have_different_colours():
    few = [face(90 * column, 0, 60, 80) for column in range(7)]
    assert len(set(drawing._colours(few))) == 7
    many = crowd(1280, 960, 100, apart=True, seed=3)
    colours = drawing._colours(many)
    centers = np.array([each.box.center for each in many])
    distances = np.linalg.norm(centers[:, None] - centers, axis=2) + np.diag(np.full(len(many), np.inf))
    assert all(colours[index] != colours[nearest] for index, nearest in enumerate(distances.argmin(axis=1)))
    assert set(colours) == set(PALETTE)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (16, 16), (48, 48), (2000, 100), (100, 2000)])
@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 1, 1),  # shares of the photo's size
        (-0.3, -0.2, 0.8, 0.7),
        (0.8, 0.7, 0.6, 0.9),
        (-2, -2, 1, 1),
        (3, 0.5, 0.2, 0.2),
        (0.5, 0.5, 0, 0),
        (-1, -1, 4, 4),
        (0.3, 0.3, 0.2, 0.3),
    ],
)
def test_any_box_can_be_drawn_on_any_photo(width, height, box):
    x, y, across, down = box
    faces = [face(x * width, y * height, across * width, down * height)] * 3
    image = photo(width, height)
    drawn = draw(image, faces)
    assert drawn.shape == image.shape
    assert not np.array_equal(drawn, image)
    for label in place(faces, width, height):
        if label:
            left, top, right, bottom = label.rectangle
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height


def test_a_view_that_is_not_contiguous_can_be_drawn_on():
    image = photo(640, 480)
    faces = [face(300, 200, 100, 120)]
    mirrored = image[:, ::-1]
    assert np.array_equal(draw(mirrored, faces), draw(mirrored.copy(), faces))


def test_the_font_has_every_sign_of_a_label():
    font = drawing._font(40)

    def glyph(sign: str) -> tuple[tuple[int, int], bytes]:
        mask = font.getmask(sign)
        return mask.size, bytes(mask)

    missing = glyph("\uffff")
    for sign in {*"".join(EMOTIONS), *"womangirlboy", *"0123456789", "·"}:
        assert glyph(sign) != missing, sign
        assert any(glyph(sign)[1]), sign


def test_the_picture_that_comes_back_looks_like_the_one_that_came(astronaut):
    back = np.asarray(Image.open(io.BytesIO(encode_jpeg(astronaut))))
    assert np.abs(back.astype(int) - astronaut).mean() < 3

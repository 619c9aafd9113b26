from dataclasses import astuple

import cv2
import numpy as np
import pytest
import skimage.data

from benchmarks.photos import standard
from inference.detector import WORKING_SIDE, Detector, suppress, suppress_inner
from inference.faces import BoundingBox
from inference.tracking import overlap
from tests.videos import FACE


@pytest.fixture(scope="module")
def detector():
    return Detector()


@pytest.mark.parametrize("scale", [0.4, 0.5, 0.7, 1, 1.25, 1.6, 2, 2.5, 3.3, 5])
def test_one_face_and_nothing_else_at_any_size(detector, astronaut, scale):
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=interpolation)
    (face,) = detector.detect(image)
    assert overlap(face.box, BoundingBox(*(scale * side for side in astuple(FACE)))) > 0.8
    assert face.confidence > 0.97
    points = face.keypoints
    assert points.left_eye[0] < points.nose[0] < points.right_eye[0]
    assert points.left_eye[1] < points.nose[1] < points.mouth_left[1]


# The package's own weight loader complains on Python 3.13, wherever its files are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def package():
    from mtcnn import MTCNN

    return MTCNN()


def groups():
    """The benchmark's groups that are looked at as they are, not shrunk first."""
    return [photo for photo in standard() if photo.faces > 1 and max(photo.image.shape) <= WORKING_SIDE]


def test_agrees_with_the_mtcnn_package(detector, package, astronaut):
    (ours,) = detector.detect(astronaut)
    (theirs,) = package.detect_faces(astronaut)
    assert overlap(ours.box, BoundingBox(*theirs["box"])) > 0.9
    for name, point in theirs["keypoints"].items():
        assert np.hypot(*np.subtract(getattr(ours.keypoints, name), point)) < 4


def test_finds_the_faces_of_groups_where_the_mtcnn_package_does(detector, package):
    overlaps = []
    for photo in groups():
        ours = [face.box for face in detector.detect(photo.image)]
        theirs = [face["box"] for face in package.detect_faces(photo.image, box_format="xyxy")]
        assert len(ours) == len(theirs) == photo.faces, photo.name
        others = [BoundingBox(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in theirs]
        overlaps += [max(overlap(box, other) for box in ours) for other in others]
    assert np.mean(np.array(overlaps) >= 0.9) >= 0.95
    assert min(overlaps) > 0.7


@pytest.mark.parametrize("size", [20, 24, 30, 40, 60])
def test_no_minimum_size_loses_a_larger_face(detector, astronaut, size):
    """The package's pyramid is cut for 20 px: with `min_face_size=40` it finds none."""
    (face,) = detector.detect(astronaut, size)
    assert overlap(face.box, FACE) > 0.8


def test_the_work_does_not_grow_with_the_megapixels(detector, monkeypatch):
    """Tiles that the first network looks at are what most of the time goes to."""
    tiles = []
    pnet = detector._pnet
    monkeypatch.setattr(detector, "_pnet", lambda images: tiles.append(len(images)) or pnet(images))
    for side in (1280, 2560, 5120):
        detector.detect(np.zeros((side * 3 // 4, side, 3), np.uint8))
    assert tiles[0] == tiles[1] == tiles[2] > 0


def test_small_faces_of_a_large_photo_left_to_right(detector, astronaut):
    photo = np.full((960, 1280, 3), 150, np.uint8)
    face = astronaut[40:200, 140:300]  # the face is 109 of its 160 rows
    places = [(900, 500, 35), (80, 700, 60), (500, 100, 120), (1200, 40, 40)]  # x, y, side
    for x, y, side in places:
        photo[y : y + side, x : x + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    found = detector.detect(photo)
    assert [detection.box.center[0] // 10 for detection in found] == [
        pytest.approx((x + side * 0.53) // 10, abs=1) for x, y, side in sorted(places)
    ]
    assert min(detection.box.height for detection in found) < 27  # the one of 24 pixels


def test_a_turned_picture_turns_the_keypoints(detector, astronaut):
    (upright,) = detector.detect(astronaut)
    (mirrored,) = detector.detect(np.ascontiguousarray(astronaut[:, ::-1]))
    x, y = upright.keypoints.left_eye
    assert np.hypot(511 - x - mirrored.keypoints.right_eye[0], y - mirrored.keypoints.right_eye[1]) < 3


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_or_its_head_shows_the_same_face(detector, astronaut, turns):
    (upright,) = detector.detect(astronaut[:, :400])
    photo = np.ascontiguousarray(np.rot90(astronaut[:, :400], turns))
    assert detector.detect(photo) == []
    (found,) = detector.detect_turned(photo)
    middle, size = complex(200, 256), complex(*photo.shape[1::-1])
    for name in upright.keypoints.__slots__:
        before, after = (complex(*getattr(face.keypoints, name)) for face in (upright, found))
        assert abs((after - size / 2) - (before - middle) * (-1j) ** turns) < 2, name
    box = found.box
    assert upright.box.center != box.center
    assert all(box.x < x < box.x + box.width for x, _ in (found.keypoints.left_eye, found.keypoints.nose))
    sides = [upright.box.width, upright.box.height]
    assert [box.width, box.height] == pytest.approx(sides[::-1] if turns % 2 else sides, abs=2)


@pytest.mark.parametrize("name", ["coffee", "gravel", "stereo_motorcycle"])
@pytest.mark.parametrize("side", [300, 600, 1280])
def test_turning_a_photo_finds_no_face_where_there_is_none(detector, name, side):
    photo = getattr(skimage.data, name)()
    photo = photo[0] if isinstance(photo, tuple) else photo
    photo = photo if photo.ndim == 3 else np.repeat(photo[..., None], 3, axis=2)
    factor = side / max(photo.shape[:2])
    assert detector.detect_turned(cv2.resize(photo, None, fx=factor, fy=factor)) == []


@pytest.mark.parametrize(("side", "width"), [(90, 315), (160, 329), (200, 315), (260, 329)])
def test_a_face_cut_off_at_an_edge_is_found_at_either_edge(detector, astronaut, side, width):
    """The last pixels of a pyramid's level belong to a window, too, where its sides are odd."""
    photo = np.full((width + 20, width, 3), 150, np.uint8)
    face = cv2.resize(astronaut[40:200, 140:300], (side, side), interpolation=cv2.INTER_AREA)
    seen = side * 65 // 100
    photo[60 : 60 + side, width - seen :] = face[:, :seen]
    (found,) = detector.detect(photo)
    (mirrored,) = detector.detect(np.ascontiguousarray(photo[:, ::-1]))
    assert found.box.center[0] + mirrored.box.center[0] == pytest.approx(width, abs=0.1 * side)


def test_a_box_that_fails_its_second_look_takes_no_better_one_along(detector, monkeypatch):
    boxes = np.array([(10, 10, 50, 50), (12, 12, 54, 54)], np.float32)
    looks = [(0.995, 0.989), (0.5, 0.999)]  # of each box, first as it is, then mirrored

    def onet(patches):
        scores = np.array(looks.pop(0))[: len(patches)]
        return [
            np.zeros((len(patches), 4)),
            np.full((len(patches), 10), 0.5),
            np.stack([1 - scores, scores], 1),
        ]

    monkeypatch.setattr(detector, "_onet", onet)
    found, scores, _ = detector._finish(np.zeros((60, 60, 3), np.uint8), boxes)
    assert found.tolist() == [[12, 12, 54, 54]]
    assert scores == pytest.approx([0.994])


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "grass", "text"])
def test_no_face_where_there_is_none(detector, name):
    image = getattr(skimage.data, name)()
    image = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    assert detector.detect(np.ascontiguousarray(image)) == []


@pytest.mark.parametrize("shape", [(12, 12), (16, 16), (16, 320), (1280, 64), (200, 4000)])
def test_odd_shapes_hold_no_faces(detector, shape):
    rng = np.random.default_rng(0)
    assert detector.detect(rng.integers(0, 256, (*shape, 3), np.uint8)) == []


def test_locate_finds_the_face_that_fills_the_picture(detector, astronaut):
    crop = np.ascontiguousarray(astronaut[60:175, 170:280])
    (whole,) = detector.detect(astronaut)
    face = detector.locate(crop)
    for name in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right"):
        expected = np.subtract(getattr(whole.keypoints, name), (170, 60))
        assert np.hypot(*(np.array(getattr(face.keypoints, name)) - expected)) < 5
    assert detector.locate(np.zeros((48, 48, 3), np.uint8)) is None


def test_suppress_is_greedy():
    # b overlaps a, c overlaps b but not a: b falls to a, so c stays.
    boxes = np.array([(0, 0, 10, 10), (4, 0, 14, 10), (9, 0, 19, 10), (2, 2, 6, 6)], float)
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    assert suppress(boxes, scores, 0.3).tolist() == [0, 2, 3]
    assert suppress_inner(boxes, scores, 0.3).tolist() == [0, 2]
    assert suppress(boxes[::-1], scores[::-1], 0.5).tolist() == [3, 2, 1, 0]
    for empty in (suppress, suppress_inner):
        assert empty(np.empty((0, 4)), np.empty(0), 0.5).tolist() == []

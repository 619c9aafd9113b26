"""Face detection: the MTCNN cascade (Zhang et al. 2016, https://arxiv.org/abs/1604.02878).

The networks and their weights are those of the `mtcnn` package; the plumbing between them is ours,
because the package's own runs eagerly (three times slower, memory that grows) and cuts its pyramid
for a minimum face of 20 px, so that `min_face_size=40` finds no face at all.
"""

from importlib.resources import files

import cv2
import joblib
import lz4.frame
import numpy as np

from inference.faces import BoundingBox, Detection, Keypoints
from inference.runtime import tf  # before mtcnn, which imports it too

from mtcnn.network.onet import ONet  # isort: skip
from mtcnn.network.pnet import PNet  # isort: skip
from mtcnn.network.rnet import RNet  # isort: skip

WORKING_SIDE = 1280  # pixels; a larger photo is shrunk to this longest side before detection
MIN_FACE = 20  # pixels of the working photo; PNet's 12 px window stands for a face of this size
PYRAMID_FACTOR = 0.709  # about the square root of 1/2: each level has half the pixels of the last
LEVEL_MULTIPLE = 32  # pixels; levels are padded to it, so that few distinct shapes are ever compiled

PNET_WINDOW, PNET_STRIDE = 12, 2  # pixels of a pyramid level
RNET_SIDE, ONET_SIDE = 24, 48  # pixels
PNET_THRESHOLD, RNET_THRESHOLD = 0.6, 0.7  # probability of a face; mtcnn's
ONET_THRESHOLD = 0.85  # likewise, averaged over two views; mtcnn's is 0.8 of one
LOCATE_THRESHOLD = 0.5  # lower, because the picture is known to be a face
LEVEL_OVERLAP, PYRAMID_OVERLAP, RNET_OVERLAP, ONET_OVERLAP = 0.5, 0.7, 0.7, 0.7  # mtcnn's
REFINE_BATCH = 256  # proposals a call; bounds memory on photos that are all texture

# ONet's landmarks are five x then five y; in a mirror image left and right change places.
MIRRORED_LANDMARKS = [1, 0, 2, 4, 3, 6, 5, 7, 9, 8]

# Where a face may stand in a picture that is one face crop: squares (center x, center y, side) as
# fractions of the picture. They cover FER2013 (face fills it) to UTKFace (face with hair and chin).
CROP_WINDOWS = np.array(
    [(0.5, cy, side) for side in (0.5, 0.65, 0.8, 0.95, 1.15) for cy in (0.45, 0.52, 0.6)], np.float32
)


class Detector:
    """MTCNN: RGB photo -> boxes, confidences and five keypoints of every face."""

    def __init__(self) -> None:
        self._pnet = _compile(PNet, "pnet.lz4", (None, None, None, 3))
        self._rnet = _compile(RNet, "rnet.lz4", (None, RNET_SIDE, RNET_SIDE, 3))
        self._onet = _compile(ONet, "onet.lz4", (None, ONET_SIDE, ONET_SIDE, 3))

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find every face.

        Args:
            image: (height, width, 3) uint8 RGB, upright, of any size.

        Returns:
            Detections in pixels of `image`, ordered left to right by the middle of their boxes.
        """
        height, width = image.shape[:2]
        scale = min(1.0, WORKING_SIDE / max(height, width))
        working = _resize(image, scale) if scale < 1 else image
        boxes = self._refine(self._rnet, RNET_SIDE, working, self._propose(working))
        boxes, scores, points = self._finish(working, boxes)
        shrink = np.array([working.shape[1] / width, working.shape[0] / height], np.float32)
        faces = [
            _detection(box.reshape(2, 2) / shrink, score, landmarks / shrink, width, height)
            for box, score, landmarks in zip(boxes, scores, points)
        ]
        return sorted(faces, key=lambda face: face.box.center)

    def locate(self, image: np.ndarray) -> Detection | None:
        """Find the one face of a picture that is itself a face crop (FER2013, a UTKFace chip).

        Such pictures are too tight for the proposal network, so ONet looks through a few fixed
        windows, and once more through the best of them after its own correction.

        Args:
            image: (height, width, 3) uint8 RGB.

        Returns:
            The likeliest face in pixels of `image`, or None where ONet sees none.
        """
        height, width = image.shape[:2]
        centers = CROP_WINDOWS[:, :2] * (width, height)
        halves = CROP_WINDOWS[:, 2:] * min(width, height) / 2
        boxes = np.hstack([centers - halves, centers + halves])
        offsets, _, probabilities = self._onet(_patches(image, boxes, ONET_SIDE))
        best = probabilities[:, 1].argmax(keepdims=True)
        refined = _square(_adjust(boxes[best], offsets[best]))
        offsets, landmarks, scores = self._look_twice(_patches(image, refined, ONET_SIDE))
        if scores[0] < LOCATE_THRESHOLD:
            return None
        box = _adjust(refined, offsets)[0].reshape(2, 2)
        return _detection(box, scores[0], _place(landmarks, refined)[0], width, height)

    def _look_twice(self, patches: np.ndarray) -> list[np.ndarray]:
        """ONet on each patch and its mirror image, averaged.

        A face looks like one from both sides; a fold of cloth that passes for a face often does not.

        Returns:
            Offsets (n, 4), landmarks (n, 10) and the probability of a face (n,).
        """
        offsets, landmarks, probabilities = self._onet(np.concatenate([patches, patches[:, :, ::-1]]))
        count = len(patches)
        offsets[count:] = offsets[count:, [2, 1, 0, 3]] * (-1, 1, -1, 1)
        landmarks[count:] = landmarks[count:, MIRRORED_LANDMARKS]
        landmarks[count:, :5] = 1 - landmarks[count:, :5]
        return [(views[:count] + views[count:]) / 2 for views in (offsets, landmarks, probabilities[:, 1])]

    def _propose(self, image: np.ndarray) -> np.ndarray:
        """PNet over an image pyramid -> (n, 4) square boxes x1, y1, x2, y2."""
        proposals = []
        scale = PNET_WINDOW / MIN_FACE
        while min(image.shape[:2]) * scale >= PNET_WINDOW:
            level = _resize(image, scale)
            height, width = level.shape[:2]
            padding = ((0, -height % LEVEL_MULTIPLE), (0, -width % LEVEL_MULTIPLE), (0, 0))
            offsets, probabilities = self._pnet(_normalize(np.pad(level, padding, "edge"))[None])
            rows = (height - PNET_WINDOW) // PNET_STRIDE + 1  # windows that touch no padding
            columns = (width - PNET_WINDOW) // PNET_STRIDE + 1
            probabilities = probabilities[0, :rows, :columns, 1]
            found = np.nonzero(probabilities > PNET_THRESHOLD)
            corner = np.stack([found[1], found[0]], axis=1) * PNET_STRIDE
            boxes = np.hstack([corner, corner + PNET_WINDOW]) + offsets[0][found] * PNET_WINDOW
            scores = probabilities[found]
            kept = suppress(boxes, scores, LEVEL_OVERLAP)
            ratio = np.tile([image.shape[1] / width, image.shape[0] / height], 2)
            proposals.append(np.hstack([boxes[kept] * ratio, scores[kept, None]]))
            scale *= PYRAMID_FACTOR
        if not proposals:
            return np.empty((0, 4), np.float32)
        boxes = np.concatenate(proposals).astype(np.float32)
        return _square(boxes[suppress(boxes[:, :4], boxes[:, 4], PYRAMID_OVERLAP), :4])

    def _refine(self, network, side: int, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """RNet drops false proposals and corrects the rest -> (n, 4) square boxes."""
        if not len(boxes):
            return boxes
        offsets, probabilities = _in_batches(network, image, boxes, side)
        scores = probabilities[:, 1]
        passed = scores > RNET_THRESHOLD
        boxes = _adjust(boxes, offsets)[passed]
        return _square(boxes[suppress(boxes, scores[passed], RNET_OVERLAP)])

    def _finish(self, image: np.ndarray, boxes: np.ndarray):
        """ONet gives the final boxes (n, 4), scores (n,) and landmarks (n, 5, 2)."""
        if not len(boxes):
            return boxes, np.empty(0), np.empty((0, 5, 2))
        offsets, landmarks, scores = _in_batches(self._look_twice, image, boxes, ONET_SIDE)
        passed = scores > ONET_THRESHOLD
        points = _place(landmarks, boxes)[passed]
        boxes, scores = _adjust(boxes, offsets)[passed], scores[passed]
        kept = suppress(boxes, scores, ONET_OVERLAP, by_smaller=True)
        return boxes[kept], scores[kept], points[kept]


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float, by_smaller: bool = False) -> np.ndarray:
    """Greedy non-maximum suppression.

    Args:
        boxes: (n, 4) float, x1, y1, x2, y2.
        scores: (n,) float; higher wins.
        overlap: boxes that overlap a better one by more than this are dropped.
        by_smaller: measure overlap as a share of the smaller box, not of the union (IoU), so that a
            box inside another counts as the same face.

    Returns:
        Indices of the kept boxes, best first.
    """
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        smaller, union = np.minimum(areas[best], areas[rest]), areas[best] + areas[rest] - shared
        whole = smaller if by_smaller else union
        order = rest[shared <= overlap * whole]
    return np.array(kept, int)


def _compile(network_class, weights: str, shape: tuple):
    """The package's network as one graph with a fixed signature: (n, h, w, 3) float32 -> arrays."""
    network = network_class()
    network.build()
    # Opened here: the package's own loader leaves the file to joblib, which on Python 3.13 complains.
    with lz4.frame.open(files("mtcnn.assets.weights") / weights) as stream:
        network.set_weights(joblib.load(stream))
    graph = tf.function(network, input_signature=[tf.TensorSpec(shape, tf.float32)])

    def run(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in graph(tf.constant(images))]

    run(np.zeros([size or 32 for size in shape], np.float32))  # compiles now, not at the first photo
    return run


def _normalize(image: np.ndarray) -> np.ndarray:
    return (image.astype(np.float32) - 127.5) / 128


def _resize(image: np.ndarray, scale: float) -> np.ndarray:
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _in_batches(network, image: np.ndarray, boxes: np.ndarray, side: int) -> list[np.ndarray]:
    parts = [
        network(_patches(image, boxes[start : start + REFINE_BATCH], side))
        for start in range(0, len(boxes), REFINE_BATCH)
    ]
    return [np.concatenate(outputs) for outputs in zip(*parts)]


def _patches(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Boxes cut from the photo, (n, side, side, 3) float32; grey (0) where they leave it.

    Samples like TensorFlow's crop_and_resize, which the package uses: the patch's corner pixels lie
    on the box's corners.
    """
    patches = np.empty((len(boxes), side, side, 3), np.uint8)
    for patch, (x1, y1, x2, y2) in zip(patches, boxes):
        height, width = image.shape[:2]
        # crop_and_resize maps the box's fraction of the photo onto [0, size - 1].
        step_x = (x2 - x1) / width * (width - 1) / (side - 1)
        step_y = (y2 - y1) / height * (height - 1) / (side - 1)
        to_photo = np.array([[step_x, 0, x1 / width * (width - 1)], [0, step_y, y1 / height * (height - 1)]])
        cv2.warpAffine(
            image,
            to_photo,
            (side, side),
            dst=patch,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(128, 128, 128),
        )
    return _normalize(patches)


def _adjust(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Move the corners by the network's offsets, given as fractions of the box's size."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + offsets * np.tile(sizes, 2)


def _place(landmarks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """ONet's (n, 10) landmarks, five x then five y as fractions of the box -> (n, 5, 2) pixels."""
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    return landmarks.reshape(-1, 2, 5).transpose(0, 2, 1) * sizes[:, None] + boxes[:, None, :2] - 1


def _square(boxes: np.ndarray) -> np.ndarray:
    """Grow the shorter side around the middle."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.hstack([centers - halves, centers + halves])


def _detection(
    corners: np.ndarray, score: float, landmarks: np.ndarray, width: int, height: int
) -> Detection:
    (x1, y1), (x2, y2) = np.clip(corners, 0, (width, height)).tolist()
    points = (tuple(point) for point in landmarks.tolist())
    return Detection(BoundingBox(x1, y1, x2 - x1, y2 - y1), float(score), Keypoints(*points))

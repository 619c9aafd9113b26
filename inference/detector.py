"""Face detection: the MTCNN cascade (Zhang et al. 2016, https://arxiv.org/abs/1604.02878).

The networks and their weights are those of the `mtcnn` package; the plumbing between them is ours,
because the package's own runs eagerly (three times slower, memory that grows) and cuts its pyramid
for a minimum face of 20 px, so that `min_face_size=40` finds no face at all. It agrees with the package
down to the pixel it counts a window from; tests hold it to that.
"""

from importlib.resources import files

import cv2
import joblib
import lz4.frame
import numpy as np

from inference.faces import BoundingBox, Detection, Keypoints, in_reading_order
from inference.runtime import in_batches, tf  # before mtcnn, which imports it too

from mtcnn.network.onet import ONet  # isort: skip
from mtcnn.network.pnet import PNet  # isort: skip
from mtcnn.network.rnet import RNet  # isort: skip

WORKING_SIDE = 1280  # pixels; a larger photo is shrunk to this longest side before detection
MIN_FACE = 20  # pixels of the working photo; PNet's 12 px window stands for a face of this size
PYRAMID_FACTOR = 0.709  # about the square root of 1/2: each level has half the pixels of the last

PNET_WINDOW, PNET_STRIDE = 12, 2  # pixels of a pyramid level
TILE = 64  # PNet windows across and down in one of its inputs
TILE_STEP = TILE * PNET_STRIDE  # pixels from one tile to the next
TILE_OVERLAP = PNET_WINDOW - PNET_STRIDE  # pixels
PNET_SIDE, RNET_SIDE, ONET_SIDE = TILE_STEP + TILE_OVERLAP, 24, 48  # pixels
# Inputs a call. Every network sees only these, because oneDNN keeps buffers for each shape it meets.
PNET_BATCHES, RNET_BATCHES, ONET_BATCHES = (8, 2, 1), (64, 16), (16, 8, 4, 2, 1)

PNET_THRESHOLD, RNET_THRESHOLD, ONET_THRESHOLD = 0.6, 0.7, 0.8  # probability of a face; mtcnn's
TWICE_THRESHOLD = 0.85  # likewise, averaged over ONet's two views
TURNED_THRESHOLD = 0.97  # likewise, that one face of a turned photo must reach
LOCATE_THRESHOLD = 0.5  # lower, because the picture is known to be a face
LOCATE_SIDE = 256  # pixels; a larger picture is shrunk to this longest side before its face is located
TURNS = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180)
LEVEL_OVERLAP, PYRAMID_OVERLAP, RNET_OVERLAP, ONET_OVERLAP = 0.5, 0.7, 0.7, 0.7  # mtcnn's

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
        self._pnet = _compile(PNet, "pnet.lz4", PNET_SIDE, PNET_BATCHES)
        self._rnet = _compile(RNet, "rnet.lz4", RNET_SIDE, RNET_BATCHES)
        self._onet = _compile(ONet, "onet.lz4", ONET_SIDE, ONET_BATCHES)

    def detect(self, image: np.ndarray, min_face: float = MIN_FACE) -> list[Detection]:
        """Find every face.

        Args:
            image: (height, width, 3) uint8 RGB, upright, of any size.
            min_face: side of the smallest face that is looked for, pixels of the working photo.

        Returns:
            Detections in pixels of `image`, in reading order.
        """
        working = _shrink(image, WORKING_SIDE)
        return _detections(*self._find(working, min_face), working, image)

    def detect_turned(self, image: np.ndarray) -> list[Detection]:
        """Find the faces of a photo that lies on its side or its head: those that stand upright when it is
        turned to where most do.

        Args, Returns: as of `detect`; no face where none is sure, since three more looks err more often.
        """
        working = _shrink(image, WORKING_SIDE)
        views = {turn: self._find(cv2.rotate(working, turn), MIN_FACE) for turn in TURNS}
        turn = max(views, key=lambda turn: views[turn][1].sum())
        boxes, scores, points = views[turn]
        if scores.max(initial=0) < TURNED_THRESHOLD:
            return []
        corners = _turn_back(boxes.reshape(-1, 2, 2), turn, working)
        boxes = np.hstack([corners.min(axis=1), corners.max(axis=1)])
        return _detections(boxes, scores, _turn_back(points, turn, working), working, image)

    def locate(self, photo: np.ndarray, threshold: float = LOCATE_THRESHOLD) -> Detection | None:
        """Find the one face of a picture that is itself a face crop (FER2013, a UTKFace chip).

        Such pictures are too tight for the proposal network, so ONet looks through a few fixed
        windows, and once more through the best of them after its own correction.

        Args:
            photo: (height, width, 3) uint8 RGB.
            threshold: probability of a face that it must reach, 0 to 1.

        Returns:
            The likeliest face in pixels of `photo`, or None where ONet sees none.
        """
        image = _shrink(photo, LOCATE_SIDE)
        height, width = image.shape[:2]
        centers = CROP_WINDOWS[:, :2] * (width, height)
        halves = CROP_WINDOWS[:, 2:] * min(width, height) / 2
        boxes = np.hstack([centers - halves, centers + halves])
        offsets, _, probabilities = self._onet(_patches(image, boxes, ONET_SIDE))
        best = probabilities[:, 1].argmax(keepdims=True)
        refined = _square(_adjust(boxes[best], offsets[best]))
        patch = _patches(image, refined, ONET_SIDE)
        offsets, landmarks, scores = self._look_again(patch, self._onet(patch))
        if scores[0] < threshold:
            return None
        (face,) = _detections(_adjust(refined, offsets), scores, _place(landmarks, refined), image, photo)
        return face

    def _find(self, image: np.ndarray, min_face: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The cascade: boxes (n, 4), scores (n,) and landmarks (n, 5, 2) of the upright faces."""
        boxes = self._refine(self._rnet, RNET_SIDE, image, self._propose(image, min_face))
        return self._finish(image, boxes)

    def _look_again(self, patches: np.ndarray, views: list[np.ndarray]) -> list[np.ndarray]:
        """The mean of what ONet says of patches and of their mirror images.

        A face looks like one from both sides; a fold of cloth that passes for a face often does not.

        Args:
            views: what it said of the patches.

        Returns:
            Offsets (n, 4), landmarks (n, 10) and the probability of a face (n,).
        """
        offsets, landmarks, probabilities = self._onet(patches[:, :, ::-1])
        offsets = offsets[:, [2, 1, 0, 3]] * (-1, 1, -1, 1)
        landmarks = landmarks[:, MIRRORED_LANDMARKS]
        landmarks[:, :5] = 1 - landmarks[:, :5]
        means = [(view + mirrored) / 2 for view, mirrored in zip(views, (offsets, landmarks, probabilities))]
        return [*means[:2], means[2][:, 1]]

    def _propose(self, image: np.ndarray, min_face: float) -> np.ndarray:
        """PNet over an image pyramid -> (n, 4) square boxes x1, y1, x2, y2."""
        levels = _pyramid(image, min_face)
        if not levels:
            return np.empty((0, 4), np.float32)
        proposals = []
        for (scale, _), offsets, scores in zip(levels, *self._scan([level for _, level in levels])):
            found = np.nonzero(scores > PNET_THRESHOLD)
            # The package counts a window's pixels from its second to its last.
            corner = np.stack([found[1], found[0]], axis=1) * PNET_STRIDE + 1
            boxes = np.hstack([corner, corner + PNET_WINDOW - 1]) + offsets[found] * (PNET_WINDOW - 1)
            kept = suppress(boxes, scores[found], LEVEL_OVERLAP)
            proposals.append(np.hstack([boxes[kept] / scale, scores[found][kept, None]]))
        boxes = np.concatenate(proposals).astype(np.float32)
        return _square(boxes[suppress(boxes[:, :4], boxes[:, 4], PYRAMID_OVERLAP), :4])

    def _scan(self, levels: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """PNet at every window of every level -> offsets (rows, columns, 4) and scores (rows, columns).

        The levels are laid out in one mosaic, and it is cut into tiles that overlap by less than a window.
        """
        # The package's pooling pads, so that the last pixel of an odd side has a window, too.
        levels = [_even(level) for level in levels]
        places, shape = _lay_out([level.shape[:2] for level in levels])
        mosaic = np.zeros((*shape, 3), np.uint8)
        windows = []  # of each level: rows and columns of the mosaic's windows
        used = np.zeros([side // TILE_STEP for side in shape], bool)
        for level, (top, left) in zip(levels, places):
            height, width = level.shape[:2]
            mosaic[top : top + height, left : left + width] = level
            rows = slice(top // PNET_STRIDE, (top + height - TILE_OVERLAP) // PNET_STRIDE)
            columns = slice(left // PNET_STRIDE, (left + width - TILE_OVERLAP) // PNET_STRIDE)
            windows.append((rows, columns))
            used[
                rows.start // TILE : (rows.stop - 1) // TILE + 1,
                columns.start // TILE : (columns.stop - 1) // TILE + 1,
            ] = True
        tiles = np.lib.stride_tricks.sliding_window_view(mosaic, (PNET_SIDE, PNET_SIDE), (0, 1))
        tiles = tiles[::TILE_STEP, ::TILE_STEP][used].transpose(0, 2, 3, 1)
        offsets, scores = self._pnet(tiles)
        offsets, scores = _assemble(offsets, used), _assemble(scores[..., 1:], used)[..., 0]
        return [offsets[place] for place in windows], [scores[place] for place in windows]

    def _refine(self, network, side: int, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """RNet drops false proposals and corrects the rest -> (n, 4) square boxes."""
        if not len(boxes):
            return boxes
        offsets, probabilities = network(_patches(image, boxes, side))
        scores = probabilities[:, 1]
        passed = scores > RNET_THRESHOLD
        boxes = _adjust(boxes, offsets)[passed]
        return _square(boxes[suppress(boxes, scores[passed], RNET_OVERLAP)])

    def _finish(self, image: np.ndarray, boxes: np.ndarray):
        """ONet gives the final boxes (n, 4), scores (n,) and landmarks (n, 5, 2)."""
        if not len(boxes):
            return boxes, np.empty(0), np.empty((0, 5, 2))
        patches = _patches(image, boxes, ONET_SIDE)
        views = self._onet(patches)
        offsets, _, probabilities = views
        passed = np.flatnonzero(probabilities[:, 1] > ONET_THRESHOLD)
        final = _adjust(boxes, offsets)[passed]
        _, landmarks, scores = self._look_again(patches[passed], [view[passed] for view in views])
        # Only then suppressed: a box that fails the second look must not take a better one along.
        faces = np.flatnonzero(scores > TWICE_THRESHOLD)
        faces = faces[suppress_inner(final[faces], scores[faces], ONET_OVERLAP)]
        return final[faces], scores[faces], _place(landmarks, boxes[passed])[faces]


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Greedy non-maximum suppression.

    Args:
        boxes: (n, 4) float, x1, y1, x2, y2.
        scores: (n,) float, 0 to 1; higher wins.
        overlap: boxes that overlap a better one by more than this (IoU) are dropped.

    Returns:
        Indices of the kept boxes, best first.
    """
    rectangles = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).astype(np.float64)
    return np.array(cv2.dnn.NMSBoxes(rectangles, scores.astype(np.float32), 0.0, overlap), int)


def suppress_inner(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """The same with overlap as a share of the smaller box, so that a box inside another is the same face."""
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
        order = rest[shared <= overlap * np.minimum(areas[best], areas[rest])]
    return np.array(kept, int)


def _compile(network_class, weights: str, side: int, batches: tuple[int, ...]):
    """The package's network as a function: (n, side, side, 3) uint8 -> arrays of n each."""
    network = network_class()
    network.build()
    # Opened here: the package's own loader leaves the file to joblib, which on Python 3.13 complains.
    with lz4.frame.open(files("mtcnn.assets.weights") / weights) as stream:
        network.set_weights(joblib.load(stream))
    for name in [name for name in vars(network) if name.startswith("prelu")]:
        setattr(network, name, _prelu(getattr(network, name)))

    def run(images):
        return network((tf.cast(images, tf.float32) - 127.5) / 128)

    return in_batches(run, [tf.TensorSpec((side, side, 3), tf.uint8)], batches)


def _prelu(layer):
    """The layer as a function, in half the operations of Keras's."""
    slope = tf.constant(layer.alpha.numpy() - 1)
    return lambda inputs: inputs + slope * tf.minimum(inputs, 0.0)


def _pyramid(image: np.ndarray, min_face: float) -> list[tuple[float, np.ndarray]]:
    """The scales at which PNet looks for faces, and the photo at each, the largest first."""
    levels = []
    scale = PNET_WINDOW / min_face
    source = image  # halved as often as leaves it no smaller than the level: averaging areas takes time
    while min(image.shape[:2]) * scale >= PNET_WINDOW:
        size = int(image.shape[1] * scale), int(image.shape[0] * scale)
        while (half := (source.shape[1] // 2, source.shape[0] // 2))[0] >= size[0] and half[1] >= size[1]:
            source = cv2.resize(source, half, interpolation=cv2.INTER_AREA)
        levels.append((scale, cv2.resize(source, size, interpolation=cv2.INTER_AREA)))
        scale *= PYRAMID_FACTOR
    return levels


def _even(level: np.ndarray) -> np.ndarray:
    """A picture whose last row or column stands twice where its sides are no multiples of PNET_STRIDE."""
    down, across = (side % PNET_STRIDE for side in level.shape[:2])
    return cv2.copyMakeBorder(level, 0, down, 0, across, cv2.BORDER_REPLICATE)


def _lay_out(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Places for pictures in a mosaic of whole tiles, on shelves.

    Args:
        sizes: heights and widths, multiples of PNET_STRIDE, the largest first.

    Returns:
        Top and left of each, multiples of PNET_STRIDE, too; height and width of the mosaic.
    """
    width = _whole_tiles(sizes[0][1])
    places, shelves, bottom = [], [], 0  # a shelf: its top and height, and where its free part begins
    for size in sizes:
        shelf = next((s for s in shelves if size[0] <= s[1] and s[2] + size[1] <= width), None)
        if shelf is None:
            shelf = [bottom, size[0], 0]
            shelves.append(shelf)
            bottom += size[0]
        places.append((shelf[0], shelf[2]))
        shelf[2] += size[1]
    return places, (_whole_tiles(bottom), width)


def _whole_tiles(side: int) -> int:
    """The next length, in pixels, that tiles cover exactly."""
    return -(-(side - TILE_OVERLAP) // TILE_STEP) * TILE_STEP + TILE_OVERLAP


def _assemble(outputs: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Tiles' outputs (n, TILE, TILE, channels) -> those of the mosaic; zero where no tile was looked at."""
    rows, columns = used.shape
    whole = np.zeros((rows, columns, *outputs.shape[1:]), np.float32)
    whole[used] = outputs
    return whole.transpose(0, 2, 1, 3, 4).reshape(rows * TILE, columns * TILE, -1)


def _turn_back(points: np.ndarray, turn: int, image: np.ndarray) -> np.ndarray:
    """Points (..., 2) of `image` turned by `cv2.rotate` -> points of `image`."""
    bottom, right = np.array(image.shape[:2]) - 1
    x, y = points[..., 0], points[..., 1]
    back = {
        cv2.ROTATE_90_CLOCKWISE: (y, bottom - x),
        cv2.ROTATE_90_COUNTERCLOCKWISE: (right - y, x),
        cv2.ROTATE_180: (right - x, bottom - y),
    }
    return np.stack(back[turn], axis=-1)


def _shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """The photo with no side of more pixels than `longest`; itself where it has none."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _patches(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Boxes cut from the photo, (n, side, side, 3) uint8; grey where they leave it.

    Samples like TensorFlow's crop_and_resize, which the package uses: the patch's corner pixels lie
    on the box's corners.
    """
    # crop_and_resize maps the box's fraction of the photo onto [0, size - 1].
    size = np.array([image.shape[1], image.shape[0]])
    starts = boxes[:, :2] / size * (size - 1)
    steps = (boxes[:, 2:] - boxes[:, :2]) / size * (size - 1) / (side - 1)
    to_photo = np.zeros((len(boxes), 2, 3))
    to_photo[:, [0, 1], [0, 1]] = steps
    to_photo[:, :, 2] = starts
    patches = np.empty((len(boxes), side, side, 3), np.uint8)
    for patch, matrix in zip(patches, to_photo):
        cv2.warpAffine(
            image,
            matrix,
            (side, side),
            dst=patch,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(128, 128, 128),
        )
    return patches


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


def _detections(
    boxes: np.ndarray, scores: np.ndarray, points: np.ndarray, working: np.ndarray, image: np.ndarray
) -> list[Detection]:
    """Boxes (n, 4), scores (n,) and landmarks (n, 5, 2) of a shrunk photo -> detections in `image`, in
    reading order."""
    height, width = image.shape[:2]
    factor = np.array([working.shape[1] / width, working.shape[0] / height], np.float32)
    corners = np.clip(boxes.reshape(-1, 2, 2) / factor, 0, (width, height))
    faces = []
    for ((x1, y1), (x2, y2)), score, landmarks in zip(corners.tolist(), scores, (points / factor).tolist()):
        keypoints = Keypoints(*map(tuple, landmarks))
        faces.append(Detection(BoundingBox(x1, y1, x2 - x1, y2 - y1), float(score), keypoints))
    return in_reading_order(faces)

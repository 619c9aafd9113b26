"""Photo -> faces: detection, alignment and attributes, in order."""

from pathlib import Path

import numpy as np

from inference.alignment import default_points, points
from inference.attributes import WEIGHTS, Attributes
from inference.detector import MIN_FACE, TWICE_THRESHOLD, Detector
from inference.faces import BoundingBox, Detection, Face, Keypoints

SURE = 0.99  # confidence of one face that tells that a photo stands upright; six of seven portraits have it
GLANCED_FACE = 0.08  # of a frame's shorter side; smaller faces are not looked for in it


class FaceAnalyzer:
    """Finds every face of a photo and reads its emotion, gender and age.

    Loading takes seconds, so make one and keep it. Not safe to share between threads.

    Attributes:
        attributes: the networks that read emotion, gender and age.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._detector = Detector()
        self.attributes = Attributes(weights)

    def analyze(self, image: np.ndarray) -> list[Face]:
        """
        Args:
            image: (height, width, 3) uint8 RGB.

        Returns:
            Faces in reading order, in pixels of `image`.
        """
        return self.read(image, self.detect(image))

    def glance(self, image: np.ndarray) -> list[Face]:
        """`analyze` for one frame of many, in less time: faces smaller than GLANCED_FACE are not looked for,
        and the others not read in their mirror images, too."""
        smallest = max(MIN_FACE, GLANCED_FACE * min(image.shape[:2]))
        return self.read(image, self._detector.detect(image, smallest), mirrored=False)

    def detect(self, image: np.ndarray) -> list[Detection]:
        """The first half of `analyze`: where the faces are, in reading order.

        Where none is found, the photo may be all face, or lie on its side or its head. In one that lies, some
        may be taken for upright faces, too, but not surely.
        """
        faces = self._detector.detect(image)
        if any(face.confidence >= SURE for face in faces):
            return faces
        if not faces and (face := self._detector.locate(image, TWICE_THRESHOLD)):
            return [face]
        return max(faces, self._detector.detect_turned(image), key=_total_confidence)

    def analyze_crop(self, image: np.ndarray) -> list[Face]:
        """Take the whole picture as one face, such as a FER2013 picture or a UTKFace chip.

        Args:
            image: (height, width, 3) uint8 RGB, a face crop with little around the face.

        Returns:
            Exactly one face; its confidence is 0 where no face was seen in the picture, and its
            landmarks are then those of an average crop.
        """
        height, width = image.shape[:2]
        whole = BoundingBox(0, 0, width, height)
        average = Keypoints(*map(tuple, default_points(width, height).tolist()))
        return self.read(image, [self._detector.locate(image) or Detection(whole, 0.0, average)])

    def read(self, image: np.ndarray, detections: list[Detection], mirrored: bool = True) -> list[Face]:
        """The second half of `analyze`: what those faces look like."""
        landmarks = np.array([points(detection.keypoints) for detection in detections])
        readings = self.attributes.read(image, landmarks, mirrored)
        return [
            Face(detection.box, detection.confidence, detection.keypoints, *reading)
            for detection, reading in zip(detections, readings)
        ]


def _total_confidence(detections: list[Detection]) -> float:
    return sum(detection.confidence for detection in detections)

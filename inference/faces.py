"""What the analyzer finds in a photo: plain frozen dataclasses."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

ATTRIBUTES = ("emotion", "gender", "age")  # what is read from each face
# Mirror images make emotions right more often (weights/README.md) and double the time; in photos with more
# faces than this, time goes first.
MIRRORED_FACES = 4
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

COLUMN = 0.5  # of a face's width, that the middles of faces are apart at most which stand above one another

Point = tuple[float, float]
T = TypeVar("T", "Detection", "Face")


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """A rectangle in pixels of the upright photo; (x, y) is its top left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def center(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2

    def to_dict(self) -> list[int]:
        return [round(value) for value in (self.x, self.y, self.width, self.height)]


@dataclass(frozen=True, slots=True)
class Keypoints:
    """MTCNN's five landmarks, (x, y) in pixels of the upright photo; left is the picture's left when faces
    stand upright, which in a photo on its side or its head they do once it is turned."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point

    def to_dict(self) -> dict[str, list[float]]:
        return {name: [round(value, 1) for value in getattr(self, name)] for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Detection:
    """A face that the detector found; confidence is ONet's probability of a face, 0 to 1."""

    box: BoundingBox
    confidence: float
    keypoints: Keypoints


@dataclass(frozen=True, slots=True)
class Emotion:
    """Probabilities (sum 1) in the order of EMOTIONS."""

    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        return EMOTIONS[self.probabilities.index(max(self.probabilities))]

    @property
    def probability(self) -> float:
        """Of the label."""
        return max(self.probabilities)

    def to_dict(self) -> dict:
        rounded = (round(probability, 4) for probability in self.probabilities)
        return {"label": self.label, "probabilities": dict(zip(EMOTIONS, rounded))}


@dataclass(frozen=True, slots=True)
class Gender:
    """How the face reads; `female` is the probability of female, 0 to 1."""

    female: float

    @property
    def label(self) -> str:
        return "female" if self.female >= 0.5 else "male"

    @property
    def probability(self) -> float:
        """Of the label."""
        return max(self.female, 1 - self.female)

    def to_dict(self) -> dict:
        return {"label": self.label, "probability": round(self.probability, 4)}


@dataclass(frozen=True, slots=True)
class Age:
    """Years, and between which two the truth is likely to lie."""

    years: float
    low: float
    high: float

    @property
    def range(self) -> tuple[int, int]:
        """The whole years that are told, which are set to hold the true age of about 80 % of faces."""
        return max(0, round(self.low)), max(1, round(self.high))

    def to_dict(self) -> dict[str, float]:
        return {name: round(getattr(self, name), 1) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a photo with all that was read from it."""

    box: BoundingBox
    confidence: float
    keypoints: Keypoints
    emotion: Emotion
    gender: Gender
    age: Age

    def to_dict(self) -> dict:
        """Made of lists, numbers and strings only, ready for JSON."""
        return {
            "box": self.box.to_dict(),
            "confidence": round(self.confidence, 4),
            "keypoints": self.keypoints.to_dict(),
            "emotion": self.emotion.to_dict(),
            "gender": self.gender.to_dict(),
            "age": self.age.to_dict(),
        }


def in_reading_order(faces: Iterable[T]) -> list[T]:
    """Left to right, by the middle of the boxes; of those that stand above one another, the highest first.

    Args:
        faces: of Detection or Face.
    """
    columns: list[list[T]] = []
    for face in sorted(faces, key=lambda face: face.box.center):
        first = columns[-1][0].box if columns else None
        if first and face.box.center[0] - first.center[0] < COLUMN * first.width:
            columns[-1].append(face)
        else:
            columns.append([face])
    return [face for column in columns for face in sorted(column, key=lambda face: face.box.center[1])]


def rescale(face: Face, across: float, down: float) -> Face:
    """The same face in a photo that is `across` times as wide and `down` times as high."""
    box = face.box
    points = {name: getattr(face.keypoints, name) for name in face.keypoints.__slots__}
    return replace(
        face,
        box=BoundingBox(box.x * across, box.y * down, box.width * across, box.height * down),
        keypoints=Keypoints(**{name: (x * across, y * down) for name, (x, y) in points.items()}),
    )

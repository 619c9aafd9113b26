"""Faces followed from frame to frame: each keeps its number, and what was read from it is averaged over time.

Plain Python, so that the web process may import it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

from inference.faces import Age, BoundingBox, Emotion, Face, Gender, in_reading_order

LOST_SECONDS = 1.0  # after which a face that was missing is forgotten
LOST_FRAMES = 2  # in which it must have been missing for that, as frames may lie far apart
FORGOTTEN_SECONDS = 5.0  # after which it is in any case
EMOTION_SECONDS = 0.2  # time constant: a change shows to 92 % within half a second
TRAIT_SECONDS = 10.0  # time constant with which what was seen of gender and age is forgotten
REACH = 0.25  # of a box's sides, added on each side, so that a small face may move by its own size
DOUBTS = 3  # frames one after the other that contradict what is known of a face, after which it is another's
CONTRADICTION = 0.7  # between two probabilities of a gender
SAME_FACE = 0.2  # overlap (IoU) of two such boxes from which they may be the same face


@dataclass(frozen=True, slots=True)
class Track:
    """A face followed through time.

    Attributes:
        number: from 1, in reading order where several are new, never given again.
        face: box, confidence and keypoints as of now, attributes averaged over the time it has been followed.
    """

    number: int
    face: Face


@dataclass(frozen=True, slots=True)
class _Memory:
    """What is known of a face: its track and the weight of its traits, as of when it was last seen, in how
    many frames it was missing since then, and how many contradicted it until then."""

    track: Track
    seconds: float
    weight: float
    missing: int = 0
    doubts: int = 0

    def is_lost(self, seconds: float) -> bool:
        passed = seconds - self.seconds
        return passed > (LOST_SECONDS if self.missing >= LOST_FRAMES else FORGOTTEN_SECONDS)


class Tracker:
    """Follows the faces of one stream."""

    def __init__(self) -> None:
        self._known: list[_Memory] = []
        self._last_number = 0

    def update(self, faces: Sequence[Face], seconds: float, changed: bool = False) -> list[Track]:
        """Recognize the faces of a frame by where they are.

        Args:
            faces: of the frame, each with a confidence above 0.
            seconds: when the frame was taken, by the stream's own clock, which never goes back.
            changed: whether another scene may have come so slowly that `cut` was not called: a face in the
                place of one that it contradicts is then another.

        Returns:
            Those faces, in the order of their numbers.
        """
        known = [memory for memory in self._known if not memory.is_lost(seconds)]
        pairs = _match([memory.track.face.box for memory in known], [face.box for face in faces])
        doubts = {old: _doubts(known[old], faces[new]) for old, new in pairs.items()} if changed else {}
        known = [replace(memory, doubts=doubts.get(old, 0)) for old, memory in enumerate(known)]
        gone = {old for old in pairs if known[old].doubts >= DOUBTS}
        pairs = {old: new for old, new in pairs.items() if old not in gone}
        seen = [_follow(known[old], faces[new], seconds) for old, new in pairs.items()]
        lost = [
            replace(memory, missing=memory.missing + 1)
            for index, memory in enumerate(known)
            if index not in pairs and index not in gone
        ]
        strangers = [face for index, face in enumerate(faces) if index not in pairs.values()]
        for face in in_reading_order(strangers):
            self._last_number += 1
            seen.append(_Memory(Track(self._last_number, face), seconds, face.confidence))
        self._known = seen + lost
        return sorted((memory.track for memory in seen), key=lambda track: track.number)

    def cut(self) -> None:
        """Another scene begins, in which others stand where these stood; no number is given again."""
        self._known = []


def overlap(one: BoundingBox, other: BoundingBox) -> float:
    """Area shared by two boxes as a share of the area that they cover together (IoU), 0 to 1."""
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (one.width * one.height + other.width * other.height - shared)


def mix(one: Sequence[float], other: Sequence[float], share: float) -> tuple[float, ...]:
    """Numbers between those of `one` and of `other`, which has that share, 0 to 1."""
    return tuple(a + share * (b - a) for a, b in zip(one, other, strict=True))


def _match(old: list[BoundingBox], new: list[BoundingBox]) -> dict[int, int]:
    """Indices of old boxes -> those of the new ones that are the same faces, the surest pair first.

    By the overlap of grown boxes (Yang et al. 2023, https://arxiv.org/abs/2211.14317), as faces that
    move fast do not overlap themselves from one frame to the next.
    """
    old, new = [_grow(box) for box in old], [_grow(box) for box in new]
    overlaps = [(overlap(one, other), a, b) for a, one in enumerate(old) for b, other in enumerate(new)]
    pairs: dict[int, int] = {}
    for shared, a, b in sorted(overlaps, reverse=True):
        if shared >= SAME_FACE and a not in pairs and b not in pairs.values():
            pairs[a] = b
    return pairs


def _grow(box: BoundingBox) -> BoundingBox:
    across, down = REACH * box.width, REACH * box.height
    return BoundingBox(box.x - across, box.y - down, box.width + 2 * across, box.height + 2 * down)


def _doubts(memory: _Memory, face: Face) -> int:
    """How many frames on end have contradicted what is known of a face, with this one."""
    before = memory.track.face
    other_gender = abs(face.gender.female - before.gender.female) > CONTRADICTION
    other_age = face.age.low > before.age.high or face.age.high < before.age.low
    return memory.doubts + 1 if other_gender or other_age else 0


def _follow(memory: _Memory, face: Face, seconds: float) -> _Memory:
    """A known face, seen again: its attributes are averaged with those before, unless it is in doubt."""
    before, passed = memory.track.face, seconds - memory.seconds
    if memory.doubts:
        known = replace(face, emotion=before.emotion, gender=before.gender, age=before.age)
        return replace(memory, track=Track(memory.track.number, known), seconds=seconds, missing=0)
    weight = memory.weight * exp(-passed / TRAIT_SECONDS) + face.confidence
    emotion_share, trait_share = 1 - exp(-passed / EMOTION_SECONDS), face.confidence / weight
    emotion = mix(before.emotion.probabilities, face.emotion.probabilities, emotion_share)
    (female,) = mix([before.gender.female], [face.gender.female], trait_share)
    age = mix(_years(before.age), _years(face.age), trait_share)
    averaged = replace(face, emotion=Emotion(emotion), gender=Gender(female), age=Age(*age))
    return _Memory(Track(memory.track.number, averaged), seconds, weight)


def _years(age: Age) -> tuple[float, float, float]:
    return age.years, age.low, age.high

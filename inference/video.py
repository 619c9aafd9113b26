"""Frames of a video -> the faces in each, followed through time."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product
from math import inf
from typing import NamedTuple

import cv2
import numpy as np

from inference.analyzer import FaceAnalyzer
from inference.drawing import Spot, draw
from inference.faces import BoundingBox, Face, Keypoints
from inference.footage import EARLY_SECONDS, Picture
from inference.tracking import Track, Tracker, mix

LOOKS = 10  # frames a second that are looked at, at most
REST_SECONDS = 0.5  # of the video between two of them, at most
HEAD_START = 1.0  # seconds of the video for which there is time before it begins
THUMBNAIL = 32  # pixels, sides of what frames are compared by
# Two frames, one after the other, between which the scene changes: the correlation of their thumbnails is
# lower, and their mean difference (of 255) larger. Of pairs of portraits 91 % are told apart so.
CUT_CORRELATION = 0.5
CUT_DIFFERENCE = 20
# Frames so many seconds apart, as of GIFs, may be of a fast pan: they are also compared with one of them
# moved by up to so many pixels of a thumbnail, by which 86 % are told apart. Slides are further apart.
PANNED_SECONDS = 0.06, 0.3
PANNED = 3
FADE_SECONDS = 2.0  # in which one scene may turn into another so slowly that no frame begins it
PLAIN = 8  # of 255, that a frame or a margin of one colour may vary by, as compressed videos do
LOOKING_SHARE = 0.8  # of the time for the video, which may be spent before looking is put off


class Shot(NamedTuple):
    """A frame of a video with its faces.

    image: (height, width, 3) uint8 RGB.
    seconds: from the start of the video.
    tracks: the faces, in the order of their numbers, in pixels of `image`.
    seen: whether they were looked for in this very frame; else their places lie between those of the
        frames around it.
    """

    image: np.ndarray
    seconds: float
    tracks: list[Track]
    seen: bool


class Pace:
    """How much is done of a video, so that it is through within a certain time."""

    def __init__(self, length: float = inf, budget: float = inf) -> None:
        """
        Args:
            length: of the video, seconds.
            budget: seconds that it should take from now on.
        """
        self._start = time.perf_counter()
        self._rate = budget / (length + HEAD_START) if budget < inf else inf

    def late(self, seconds: float, share: float = 1.0) -> bool:
        """Whether more than a share of the time is gone that there was up to a time of the video."""
        return time.perf_counter() - self._start > share * self._rate * (seconds + HEAD_START)


def follow(
    frames: Iterable[Picture], analyzer: FaceAnalyzer, pace: Pace, lap: Callable[[str], None]
) -> Iterator[Shot]:
    """Look for faces in some of the frames, and follow them through all.

    Args:
        frames: in the order of time.
        pace: says how often to look.
        lap: told of each stage that is over: decode and look.

    Yields:
        All frames, in the order of time, some frames after they came.
    """
    tracker, before, last = Tracker(), None, None
    between: list[Picture] = []  # since then
    cut = None  # which of these begins another scene
    past: deque[Picture] = deque()  # thumbnails of the last FADE_SECONDS that were looked at
    for frame in frames:
        lap("decode")
        small = Picture(_thumbnail(frame.image), frame.seconds)
        if (
            np.ptp(small.image, axis=(0, 1)).max() > PLAIN
        ):  # others, as black ones between scenes, tell nothing
            if cut is None and last is not None and _is_cut(last, small):
                cut = len(between)
            last = small
        rest = inf if before is None else frame.seconds - before.seconds
        late = pace.late(frame.seconds, LOOKING_SHARE)
        if rest < (REST_SECONDS if late else 1 / LOOKS) - EARLY_SECONDS:
            between.append(frame)
            continue
        faces = analyzer.glance(frame.image)
        lap("look")
        if cut is not None:
            tracker.cut()
            past.clear()
        while past and frame.seconds - past[0].seconds > FADE_SECONDS:
            past.popleft()
        changed = bool(past) and _is_cut(past[0], small)
        past.append(small)
        shot = Shot(*frame, tracker.update(faces, frame.seconds, changed), True)
        for index, each in enumerate(between):
            if cut is None:
                yield _between(before, shot, each)
            else:
                yield Shot(*each, (before if index < cut else shot).tracks, False)
        yield shot
        before, between, cut = shot, [], None
    for index, frame in enumerate(between):
        yield Shot(*frame, before.tracks if cut is None or index < cut else [], False)


def annotate(shot: Shot, spots: dict[int, Spot]) -> np.ndarray:
    """The frame with its faces drawn, (height, width, 3) uint8 RGB.

    Args:
        spots: of the labels in the frame before, {} for the first; they become those in this one.
    """
    numbers = [track.number for track in shot.tracks]
    return draw(shot.image, [track.face for track in shot.tracks], numbers, spots)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)


def _is_cut(before: Picture, after: Picture) -> bool:
    """Whether another scene begins between the thumbnails of two frames. Light that changes alone is none."""
    one, other = _without_bars(np.stack([before.image, after.image]))
    if np.abs(one - other).mean() < CUT_DIFFERENCE:
        return False
    soonest, latest = PANNED_SECONDS
    reach = min(PANNED, min(one.shape[:2]) // 4) if soonest < after.seconds - before.seconds < latest else 0
    moves = product(range(-reach, reach + 1), repeat=2)
    return max(_correlation(*_moved(one, other, *move)) for move in moves) < CUT_CORRELATION


def _moved(one: np.ndarray, other: np.ndarray, down: int, across: int) -> tuple[np.ndarray, np.ndarray]:
    """What both thumbnails show, should all of it have moved down and across, pixels."""
    height, width = one.shape[:2]
    start, stop = max(0, -down), height - max(0, down)
    left, right = max(0, -across), width - max(0, across)
    return one[start:stop, left:right], other[start + down : stop + down, left + across : right + across]


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(axis=(0, 1)), other - other.mean(axis=(0, 1))
    spread = np.sqrt((one**2).sum() * (other**2).sum())
    return (one * other).sum() / max(spread, 1e-6)


def _without_bars(thumbnails: np.ndarray) -> np.ndarray:
    """Several thumbnails without the plain margins that they share, which would make all of them alike."""
    rows, columns = (
        np.flatnonzero(np.ptp(thumbnails, axis=axes).max(axis=1) > PLAIN) for axes in ((0, 2), (0, 1))
    )
    if not len(rows) or not len(columns):  # as of stripes, which may stand still
        return thumbnails
    return thumbnails[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _between(before: Shot, after: Shot, frame: Picture) -> Shot:
    """A frame between two that were looked at: faces of both move evenly, others come and go half way."""
    share = (frame.seconds - before.seconds) / (after.seconds - before.seconds)
    old, new = ({track.number: track for track in shot.tracks} for shot in (before, after))
    tracks = []
    for number in sorted(old.keys() | new.keys()):
        if number in old and number in new:
            tracks.append(Track(number, _move(old[number].face, new[number].face, share)))
        elif number in (old if share < 0.5 else new):
            tracks.append((old | new)[number])
    return Shot(*frame, tracks, False)


def _move(face: Face, later: Face, share: float) -> Face:
    """A face on its way to where it is later, at a share of that way, 0 to 1; still as it looked before."""
    box = mix(_values(face.box), _values(later.box), share)
    pairs = zip(_values(face.keypoints), _values(later.keypoints), strict=True)
    keypoints = (mix(point, there, share) for point, there in pairs)
    return replace(face, box=BoundingBox(*box), keypoints=Keypoints(*keypoints))


def _values(fields: BoundingBox | Keypoints) -> list:
    return [getattr(fields, name) for name in fields.__slots__]

"""Copies of pictures in a data set: the same pixels, or the same photo resized, retouched or mirrored."""

import hashlib

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THUMBNAIL = 24  # pixels; coarser ones take lookalikes for copies
NEAR = 0.97  # correlation of thumbnails; in UTKFace's aligned chips two persons reach 0.965
ROWS = 1000  # thumbnails compared with all others at once; bounds memory to about 400 MB for 30,000


def exact_copies(images: list[np.ndarray]) -> np.ndarray:
    """(n,) int: for each picture, the first one that has the same pixels; its own row where none has."""
    first = {}
    digests = map(pixel_digest, images)
    return np.array([first.setdefault(digest, row) for row, digest in enumerate(digests)], int)


def pixel_digest(image: np.ndarray) -> str:
    """Of a picture's pixels, 32 letters; the same wherever the picture lies."""
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).hexdigest()


def near_copies(images: list[np.ndarray]) -> np.ndarray:
    """(pairs, 2) int: rows of pictures that are about the same, or mirror images; the lower row first.

    About the same is: grey thumbnails correlate by NEAR. Every pair is compared: 30,000 pictures take about
    10 s of one core. Pictures of a single grey level correlate with nothing, not even with exact copies.
    """
    thumbnails = _thumbnails(images)
    pairs = [np.zeros((0, 2), int)]
    for start in range(0, len(images), ROWS):
        likeness = _likeness(thumbnails[start : start + ROWS], thumbnails[start:])
        found = np.argwhere(np.triu(likeness >= NEAR, k=1))
        pairs.append(found + start)
    return np.concatenate(pairs)


def copied(images: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray:
    """(n,) bool: whether each picture is about the same as one of `others`, or its mirror image."""
    thumbnails, theirs = _thumbnails(images), _thumbnails(others)
    parts = [thumbnails[start : start + ROWS] for start in range(0, len(images), ROWS)]
    return np.concatenate([(_likeness(rows, theirs) >= NEAR).any(axis=1) for rows in parts])


def groups(pairs: np.ndarray, count: int) -> np.ndarray:
    """(count,) int: the number of each picture's group; copies of copies are in one."""
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1]


def folds(group_of: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(n,) int, 0 to count - 1: the fold that each picture is in, those of one group in the same.

    Args:
        group_of: (n,) the number of each picture's group, as of `groups`.

    Raises:
        ValueError: there are fewer groups than folds.
    """
    total = group_of.max() + 1
    if total < count:
        raise ValueError(f"too few persons or photos for {count} folds")
    return (np.random.default_rng(seed).permutation(total) % count)[group_of]


def _likeness(rows: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """(rows, thumbnails) correlations, with the picture or its mirror image, whichever is more alike."""
    mirrored = rows.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(rows.shape)
    return np.maximum(rows @ thumbnails.T, mirrored @ thumbnails.T)


def _thumbnails(images: list[np.ndarray]) -> np.ndarray:
    """(n, THUMBNAIL ** 2) float32, each of mean 0 and length 1, so that products are correlations."""
    rows = np.zeros((len(images), THUMBNAIL**2), np.float32)
    for row, image in zip(rows, images):
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        row += cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1)  # what has no contrast stays near 0

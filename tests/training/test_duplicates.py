import time

import cv2
import numpy as np
import pytest

from training.duplicates import copied, exact_copies, folds, groups, near_copies


def _pictures(count, side=48, seed=0):
    """Smooth random pictures, none like another."""
    rng = np.random.default_rng(seed)
    return [cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (side, side)) for _ in range(count)]


def _pairs(images):
    return {tuple(pair) for pair in near_copies(images).tolist()}


def test_exact_copies_point_to_the_first():
    one, other = _pictures(2)
    images = [one, other, one.copy(), one.T, one.copy(), np.repeat(one[..., None], 3, axis=2)]
    assert exact_copies(images).tolist() == [0, 1, 0, 3, 0, 5]


def test_near_copies_are_found_whatever_was_done_to_the_photo():
    photo, *others = _pictures(40)
    color = cv2.cvtColor(cv2.resize(photo, (200, 200)), cv2.COLOR_GRAY2RGB)
    _, encoded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 30])
    copies = [
        photo,
        color,  # another size
        photo[:, ::-1],  # mirrored
        (photo * 0.6 + 50).astype(np.uint8),  # another tone
        cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE),
    ]
    expected = {(one, other) for other in range(len(copies)) for one in range(other)}
    assert _pairs(copies + others) == expected


def test_flat_pictures_are_near_to_nothing():
    assert _pairs([np.full((48, 48), level, np.uint8) for level in (0, 0, 9, 255)]) == set()
    assert near_copies([]).shape == (0, 2)


def test_copies_in_different_chunks_are_found():
    images = _pictures(2100, side=24)
    images[2050] = images[3]
    images[1999] = images[1000][:, ::-1]
    assert _pairs(images) == {(3, 2050), (1000, 1999)}


def test_pictures_with_a_copy_among_others():
    pictures = _pictures(2100, side=24)
    others = _pictures(30, side=24, seed=1)
    others[7], others[20] = pictures[2050][:, ::-1], cv2.resize(pictures[3], (48, 48))
    assert np.flatnonzero(copied(pictures, others)).tolist() == [3, 2050]


def test_thousands_are_compared_in_seconds():
    images = _pictures(6000, side=24)
    start = time.process_time()
    near_copies(images)
    assert time.process_time() - start < 30  # about 1 s of processor time


def test_copies_of_copies_are_one_group():
    numbers = groups(np.array([[0, 2], [2, 4], [3, 5]]), 6)
    assert len(set(numbers.tolist())) == 3
    assert numbers[0] == numbers[2] == numbers[4]
    assert numbers[3] == numbers[5]
    assert len(set(groups(np.zeros((0, 2), int), 3).tolist())) == 3


def test_a_group_is_in_one_fold():
    group_of = np.tile(np.arange(41), 2)
    parts = folds(group_of, 2, seed=0)
    assert parts[:41].tolist() == parts[41:].tolist()
    assert sorted(np.bincount(parts[:41])) == [20, 21]
    assert parts.tolist() != folds(group_of, 2, seed=1).tolist()
    with pytest.raises(ValueError, match="too few persons or photos for 3 folds"):
        folds(np.array([0, 0, 1, 1]), 3, seed=0)

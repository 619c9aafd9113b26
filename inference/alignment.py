"""Keypoints -> the canonical face crop. Serving and training both cut faces here and nowhere else."""

import cv2
import numpy as np

from inference.faces import Keypoints

# Where the eyes, nose and mouth corners lie in the crop, as fractions of its side: between the mean
# positions in FER2013 pictures and in UTKFace chips, which differ by 0.04 in height alone.
TEMPLATE = np.array([(0.305, 0.335), (0.68, 0.335), (0.49, 0.55), (0.325, 0.735), (0.655, 0.735)], np.float32)


def points(keypoints: Keypoints) -> np.ndarray:
    """Keypoints as a (5, 2) float32 array, in the order of TEMPLATE."""
    return np.array([getattr(keypoints, name) for name in keypoints.__slots__], np.float32)


def default_points(width: int, height: int) -> np.ndarray:
    """(5, 2) float32 points, in pixels, of a picture that is a face crop in which none were found."""
    side = min(width, height)
    return TEMPLATE * side + np.array([width - side, height - side], np.float32) / 2


def align(image: np.ndarray, landmarks: np.ndarray, side: int, template: np.ndarray = TEMPLATE) -> np.ndarray:
    """Turn, scale and shift a face so that its landmarks fall on the template.

    The transform is the least-squares similarity (Umeyama 1991), so a face is never sheared. A face
    larger than the crop is shrunk by area averaging first: sampling alone would alias.

    Args:
        image: (height, width, 3) or (height, width) uint8.
        landmarks: (5, 2) float, pixels of `image`, in the order of TEMPLATE.
        side: of the crop, pixels.
        template: (5, 2) float, fractions of the crop; training passes one with jitter.

    Returns:
        (side, side, 3) or (side, side) uint8; the photo's edge is repeated where the crop leaves it.
    """
    # In complex numbers a similarity is w = turn * z + shift, and `turn` has a closed form.
    source = landmarks @ (1, 1j)
    target = template @ (1, 1j) * side
    spread = source - source.mean()
    extent = np.vdot(spread, spread).real
    turn = np.vdot(spread, target) / extent if extent > 0 else 1 + 0j
    shift = target.mean() - turn * source.mean()

    if abs(turn) < 0.75:
        image, turn, shift = _shrink(image, turn, shift, side)
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _shrink(image: np.ndarray, turn: complex, shift: complex, side: int):
    """Cut out the part of the photo under the crop and shrink it to about the crop's scale."""
    corners = (np.array([0, side, side * 1j, side * (1 + 1j)]) - shift) / turn
    height, width = image.shape[:2]
    left, right = np.clip([corners.real.min() - 2, corners.real.max() + 3], 0, width).astype(int)
    top, bottom = np.clip([corners.imag.min() - 2, corners.imag.max() + 3], 0, height).astype(int)
    if right - left < 2 or bottom - top < 2:  # the crop lies outside the photo
        return image, turn, shift
    size = max(1, round((right - left) * abs(turn))), max(1, round((bottom - top) * abs(turn)))
    part = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    # Pixel centers: photo = (part + 0.5) / factor - 0.5 + corner.
    factor = (size[0] / (right - left) + size[1] / (bottom - top)) / 2
    corner = left + top * 1j
    return part, turn / factor, shift + turn * ((0.5 + 0.5j) / factor - (0.5 + 0.5j) + corner)


def grey(crops: np.ndarray) -> np.ndarray:
    """(n, side, side, 3) uint8 RGB -> (n, side, side, 1) uint8 luma (BT.601, as OpenCV and Pillow)."""
    return np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops])[..., None]


def standardize(crops: np.ndarray) -> np.ndarray:
    """Each crop to mean 0 and deviation 1: lighting and contrast say nothing about a face.

    Args:
        crops: (n, side, side, channels) uint8.

    Returns:
        float32 of the same shape.
    """
    pixels = crops.astype(np.float32)
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True)
    deviation = pixels.std(axis=(1, 2, 3), keepdims=True)
    return (pixels - mean) / np.maximum(deviation, 8)  # 8 of 255: a flat crop stays flat

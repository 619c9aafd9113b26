"""What a face may look like from one epoch to the next: jitter around the serving alignment, light, noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from inference.alignment import TEMPLATE


@dataclass(frozen=True)
class Level:
    """Strengths; `chance` is that of each kind of damage to a picture."""

    mirror: float  # chance
    rotation: float  # degrees, standard deviation
    scale: float  # log of the factor, standard deviation
    shift: float  # fraction of the crop's side, standard deviation
    landmarks: float  # of each landmark on its own, fraction of the side, standard deviation
    light: float  # log of gamma and of each color's gain, standard deviation
    side_light: float  # log of the factor at the crop's sides, 1 in its middle, standard deviation
    chance: float  # of blur, of noise, of grey, of JPEG artefacts, each
    cutout: float  # chance of one grey square, up to 0.4 of the side


LEVELS = {
    "none": Level(0, 0, 0, 0, 0, 0, 0, 0, 0),
    "low": Level(0.5, 4, 0.04, 0.02, 0.005, 0.1, 0.1, 0.02, 0.2),
    "mid": Level(0.5, 7, 0.08, 0.04, 0.01, 0.2, 0.2, 0.08, 0.4),
    "high": Level(0.5, 10, 0.12, 0.06, 0.015, 0.3, 0.35, 0.15, 0.6),
}


def jitter_template(rng: np.random.Generator, level: Level) -> np.ndarray:
    """A (5, 2) float64 template for `alignment.align`, turned, scaled and shifted at random."""
    angle = np.deg2rad(rng.normal(0, level.rotation))
    factor = np.exp(rng.normal(0, level.scale))
    turn = factor * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    noise = rng.normal(0, level.landmarks, TEMPLATE.shape) if level.landmarks else 0
    return (TEMPLATE + noise - 0.5) @ turn + 0.5 + rng.normal(0, level.shift, 2)


def disturb(crop: np.ndarray, rng: np.random.Generator, level: Level) -> np.ndarray:
    """Mirror, light and damage.

    Args:
        crop: (side, side, 3) or (side, side) uint8.

    Returns:
        A crop of the same shape, `crop` itself where nothing is done to it.
    """
    if rng.random() < level.mirror:
        crop = crop[:, ::-1]
    if level.light:
        crop = _relight(crop, rng, level.light)
    if level.side_light:
        crop = _light_from_a_side(crop, rng, level.side_light)
    if rng.random() < level.chance:
        crop = _blur(crop, rng)
    if rng.random() < level.chance:
        crop = _add_noise(crop, rng)
    if rng.random() < level.chance:
        crop = _compress(crop, rng)
    if crop.ndim == 3 and rng.random() < level.chance:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < level.cutout:
        crop = _cut_out(crop, rng)
    return crop


def _relight(crop: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A gamma and, for colored pictures, a gain of each color."""
    channels = 1 if crop.ndim == 2 else 3
    gamma = np.exp(rng.normal(0, strength))
    gains = np.exp(rng.normal(0, strength / 3, channels)) if channels == 3 else np.ones(1)
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * gains
    table = np.clip(levels * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(np.ascontiguousarray(crop), table.reshape(1, 256, channels))


def _light_from_a_side(crop: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Brighter towards one side, at any angle, and darker towards the other."""
    angle, slope = rng.uniform(0, 2 * np.pi), rng.normal(0, strength)
    across, down = slope * np.cos(angle), slope * np.sin(angle)
    corners = np.exp([[-across - down, across - down], [down - across, across + down]])
    light = cv2.resize(corners.astype(np.float32), crop.shape[:2])  # bilinear
    light = light if crop.ndim == 2 else cv2.merge([light] * 3)
    return cv2.multiply(crop, light, dtype=cv2.CV_8U)  # a tenth of NumPy's time


def _blur(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink and enlarge, as a face far from the camera."""
    side = crop.shape[0]
    small = max(12, round(side * rng.uniform(0.3, 0.8)))
    return cv2.resize(cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA), (side, side))


def _add_noise(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(0, rng.uniform(3, 12), crop.shape)
    return np.clip(crop + noise, 0, 255).astype(np.uint8)


def _compress(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    _, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(crop), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))]
    )
    return cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)


def _cut_out(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One grey square: a hand, a microphone, hair (DeVries and Taylor 2017)."""
    side = crop.shape[0]
    size = round(side * rng.uniform(0.15, 0.4))
    top, left = rng.integers(0, side - size, 2)
    crop = crop.copy()
    crop[top : top + size, left : left + size] = crop.mean()
    return crop

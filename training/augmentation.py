"""What a face may look like from one epoch to the next: jitter around the serving alignment, light, noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from inference.alignment import TEMPLATE


@dataclass(frozen=True)
class Level:
    """Strengths, and the chances of each kind of damage to a picture."""

    mirror: float  # chance
    rotation: float  # degrees, standard deviation
    scale: float  # log of the factor, standard deviation
    shift: float  # fraction of the crop's side, standard deviation
    landmarks: float  # of each landmark on its own, fraction of the side, standard deviation
    light: float  # log of gamma, and thrice that of each color's gain, standard deviation
    side_light: float  # log of the factor at the crop's sides, standard deviation
    chance: float  # of noise, of grey, of JPEG artefacts, each
    far: float  # chance of few pixels, as of a face far from the camera
    covered: float  # chance of sunglasses, and half of it of a mask
    cutout: float  # chance of one grey square, up to 0.4 of the side


LEVELS = {
    "none": Level(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "low": Level(0.5, 4, 0.04, 0.02, 0.005, 0.1, 0.1, 0.02, 0.1, 0.04, 0.2),
    "mid": Level(0.5, 7, 0.08, 0.04, 0.01, 0.2, 0.2, 0.08, 0.2, 0.06, 0.4),
    "high": Level(0.5, 10, 0.12, 0.06, 0.015, 0.3, 0.35, 0.15, 0.3, 0.08, 0.6),
}
FEWEST_PIXELS = 20  # side of the crop of the smallest face that the detector finds
FINE = 4  # bits of a pixel's fraction in what is drawn, so that it moves smoothly


def jitter_template(rng: np.random.Generator, level: Level) -> np.ndarray:
    """A (5, 2) float64 template for `alignment.align`, turned, scaled and shifted at random."""
    angle = np.deg2rad(rng.normal(0, level.rotation))
    factor = np.exp(rng.normal(0, level.scale))
    turn = factor * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    noise = rng.normal(0, level.landmarks, TEMPLATE.shape) if level.landmarks else 0
    return (TEMPLATE + noise - 0.5) @ turn + 0.5 + rng.normal(0, level.shift, 2)


def cover(crop: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, level: Level) -> np.ndarray:
    """Put on sunglasses, a mask, or neither. The data sets have hardly any; people's photos have many.

    Args:
        crop: (side, side, 3) or (side, side) uint8.
        landmarks: (5, 2) float, fractions of the crop's side, about where they lie in it.

    Returns:
        A crop of the same shape, `crop` itself where nothing is put on.
    """
    drawn = rng.random()
    if drawn < level.covered:
        return _put_on(crop, rng, *_sunglasses(landmarks, rng))
    if drawn < 1.5 * level.covered:
        return _put_on(crop, rng, *_mask(landmarks, rng))
    return crop


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
    if rng.random() < level.far:
        crop = _move_away(crop, rng)
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


def _move_away(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink and enlarge."""
    side = crop.shape[0]
    most = 0.8 * side
    small = round(np.exp(rng.uniform(np.log(min(FEWEST_PIXELS, most)), np.log(most))))
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


def _sunglasses(landmarks: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], float, float]:
    """Outlines of two lenses and of what joins them, each (points, 2) fractions of the side; grey value of
    0 to 255; opacity of 0 to 1."""
    eyes = landmarks[:2] @ (1, 1j)
    across = eyes[1] - eyes[0]
    half = rng.uniform(0.28, 0.47) + 1j * rng.uniform(0.2, 0.42)  # of a lens, by the distance of the eyes
    roundness = rng.uniform(2, 5)  # exponent of a superellipse: 2 is an ellipse, 5 almost a rectangle
    angles = np.exp(2j * np.pi * np.arange(32) / 32)
    sides = np.abs((angles.real, angles.imag)) ** (2 / roundness) * np.sign((angles.real, angles.imag))
    lens = sides[0] * half.real + 1j * sides[1] * half.imag + 1j * rng.uniform(-0.05, 0.12)
    height = rng.uniform(-0.12, 0.02)
    bridge = np.array([height * 1j, 1 + height * 1j, 1 + (height + 0.06) * 1j, (height + 0.06) * 1j])
    outlines = [eyes[0] + across * lens, eyes[1] + across * lens, eyes[0] + across * bridge]
    return [_plane(outline) for outline in outlines], rng.uniform(0, 80), rng.uniform(0.75, 1)


def _mask(landmarks: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], float, float]:
    """Outline of a mask or scarf from the nose down, likewise."""
    points = landmarks @ (1, 1j)
    eyes, nose, mouth = points[:2].mean(), points[2], points[3:].mean()
    down, across = mouth - eyes, (points[1] - points[0]) / 2
    top = nose - down * rng.uniform(0, 0.35)
    cheek, chin = across * rng.uniform(1.5, 1.9), mouth + down * rng.uniform(0.55, 0.8)
    jaw = across * rng.uniform(0.7, 1.2)
    low = nose + down * rng.uniform(0, 0.2)
    outline = np.array([top, low + cheek, mouth + down * 0.2 + cheek * 0.95, chin + jaw, chin - jaw])
    outline = np.append(outline, [mouth + down * 0.2 - cheek * 0.95, low - cheek])
    return [_plane(outline)], rng.uniform(0, 255), 1.0


def _plane(points: np.ndarray) -> np.ndarray:
    """(n,) complex -> (n, 2) float."""
    return np.stack([points.real, points.imag], axis=1)


def _put_on(
    crop: np.ndarray, rng: np.random.Generator, outlines: list[np.ndarray], grey: float, opacity: float
) -> np.ndarray:
    """Fill outlines with one color, lighter towards one end."""
    side = crop.shape[0]
    shape = np.zeros((side, side), np.uint8)
    for outline in outlines:
        points = np.round(outline * side * 2**FINE).astype(np.int32)
        cv2.fillPoly(shape, [points], 255, cv2.LINE_AA, FINE)
    opaque = shape.astype(np.float32)[..., None] / 255 * opacity
    color = grey + rng.normal(0, 20, 1 if crop.ndim == 2 else 3)
    shade = np.linspace(-1, 1, side)[:, None, None] * rng.normal(0, 25)
    pixels = crop.reshape(side, side, -1)
    covered = pixels + (color + shade - pixels) * opaque
    return np.clip(covered, 0, 255).astype(np.uint8).reshape(crop.shape)

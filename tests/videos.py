"""Videos made from frames, and the portrait that moves through some of them."""

import io
from collections.abc import Iterable
from fractions import Fraction

import av
import cv2
import numpy as np
import skimage.data

from inference.faces import BoundingBox

PORTRAIT = np.ascontiguousarray(skimage.data.astronaut())
FACE = BoundingBox(180, 62, 85, 109)  # of the portrait, as the mtcnn package finds it
TONE = 440  # Hz
SAMPLES = 44_100  # a second


def moving(frames: int, side: int = 384) -> tuple[list[np.ndarray], list[BoundingBox]]:
    """The portrait crosses a square and comes nearer: (side, side, 3) uint8 RGB, and where its face is."""
    images, faces = [], []
    for share in np.linspace(0, 1, frames):
        scale = side / 512 * (0.8 + 0.7 * share)
        x, y = side * (0.25 + 0.5 * share), side * (0.35 + 0.15 * share)  # of the middle of the face
        left, top = x - scale * FACE.center[0], y - scale * FACE.center[1]
        images.append(place(scale, left, top, side, side))
        box = left + scale * FACE.x, top + scale * FACE.y, scale * FACE.width, scale * FACE.height
        faces.append(BoundingBox(*box))
    return images, faces


def place(scale: float, left: float, top: float, width: int, height: int) -> np.ndarray:
    """The portrait on grey, so many times as large, with its corner there -> (height, width, 3) uint8 RGB."""
    matrix = np.array([[scale, 0, left], [0, scale, top]], np.float32)
    return cv2.warpAffine(PORTRAIT, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(90, 90, 90))


def encode(
    frames: Iterable[np.ndarray],
    rate: float = 25,
    sound: str | None = None,
    codec: str = "libx264",
    container: str = "mp4",
    turn: int = 0,
    options: dict[str, str] | None = None,
    samples: int = 0,
    pixels: Fraction | None = None,
) -> bytes:
    """A video.

    Args:
        frames: (height, width, 3) uint8 RGB.
        rate: frames a second.
        sound: codec of a tone that lasts as long; None for silence.
        codec, container: FFmpeg's names.
        turn: degrees by which a player is to turn it against the clock.
        options: of the container.
        samples: of the tone, a second; 0 for what its codec mostly has.
        pixels: how wide they are to their height; None for square ones, untold.
    """
    target = io.BytesIO()
    with av.open(target, "w", container, options) as file:
        picture = file.add_stream(codec, Fraction(rate).limit_denominator(1000))
        picture.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p", "ffv1": "yuv420p"}.get(codec, "yuv420p")
        if pixels:
            picture.codec_context.sample_aspect_ratio = pixels
        samples = samples or (SAMPLES if sound == "aac" else 48_000)
        tone = file.add_stream(sound, samples) if sound else None
        count = 0
        for frame in frames:
            if not count:
                picture.height, picture.width = frame.shape[:2]
                if turn:
                    picture.set_display_rotation(turn)
            file.mux(picture.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            count += 1
        file.mux(picture.encode())
        if tone:
            _sing(file, tone, count / rate)
    return target.getvalue()


def _sing(file: av.container.OutputContainer, tone: av.AudioStream, seconds: float) -> None:
    wave = np.sin(2 * np.pi * TONE * np.arange(int(seconds * tone.rate)) / tone.rate)
    samples = (8000 * wave).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
    frame.sample_rate, frame.pts = tone.rate, 0
    file.mux(tone.encode(frame))
    file.mux(tone.encode())

"""Pictures as files."""

import io

import numpy as np
from av.video.reformatter import ColorPrimaries, ColorTrc
from PIL import Image


def encode(image: np.ndarray | Image.Image, form: str = "JPEG", **options) -> bytes:
    """A picture of uint8 or of Pillow's in a format by Pillow's name, saved with these options."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


# Linear sRGB -> other primaries (ITU-T H.273).
PRIMARIES = {
    ColorPrimaries.BT2020: [(0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)],
    ColorPrimaries.SMPTE432: [
        (0.8225, 0.1774, 0),
        (0.0332, 0.9669, 0),
        (0.0171, 0.0724, 0.9108),
    ],  # Display P3
}


def wide_gamut(image: np.ndarray, primaries: ColorPrimaries, curve: ColorTrc) -> np.ndarray:
    """uint8 sRGB, whose white is of 203 candelas (BT.2408) in HDR -> these colours in 0-1 by that curve."""
    shares = image / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    light = linear @ np.transpose(PRIMARIES[primaries])
    if curve == ColorTrc.ARIB_STD_B67:
        scene = 0.265 * light ** (1 / 1.2)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    if curve == ColorTrc.SMPTE2084:
        power = (light * 203 / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)

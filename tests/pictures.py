"""Pictures as files."""

import io

import numpy as np
from PIL import Image


def encode(image: np.ndarray | Image.Image, form: str = "JPEG", **options) -> bytes:
    """A picture of uint8 or of Pillow's in a format by Pillow's name, saved with these options."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()

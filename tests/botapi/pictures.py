"""Photos as Telegram keeps them: checked, turned upright, stripped, in several sizes."""

import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from tests.botapi import limits
from tests.botapi.limits import bad_request

SIDES = (90, 320, 800, 1280, 2560)  # pixels, longest side of each size
JPEG_QUALITY = 87
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # no HEIC, even where a plugin would let Pillow read it


@dataclass(frozen=True)
class Rendition:
    """One size of a photo, in pixels, as JPEG."""

    width: int
    height: int
    data: bytes


def render(data: bytes) -> list[Rendition]:
    """A picture of any format -> its renditions, the smallest first; none is larger than the picture.

    Raises:
        ValueError: the picture cannot be read.
    """
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data), formats=FORMATS))
        image = (image if image.mode in ("L", "RGB") else _on_white(image)).convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError("not a picture Telegram reads") from error
    longest = max(image.size)
    sides = sorted({side for side in SIDES if side < longest} | {min(longest, SIDES[-1])})
    return [_shrink(image, side / longest) for side in sides]


def _on_white(image: Image.Image) -> Image.Image:
    """Transparent parts turn white; JPEG has none."""
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _shrink(image: Image.Image, scale: float) -> Rendition:
    width, height = (max(1, round(side * scale)) for side in image.size)
    file = io.BytesIO()
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3)
    small.save(file, "JPEG", quality=JPEG_QUALITY)
    return Rendition(width, height, file.getvalue())


def check_photo(data: bytes) -> None:
    """Refuse what sendPhoto refuses.

    Raises:
        ApiError: too many bytes, not a picture, or a picture too large or too narrow.
    """
    if len(data) > limits.PHOTO_BYTES:
        raise bad_request(
            f"file of size {len(data)} bytes is too big for a photo; "
            f"the maximum size is {limits.PHOTO_BYTES} bytes"
        )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            size = image.size
            if sum(size) <= limits.PHOTO_SIDES:
                image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise bad_request("PHOTO_INVALID_DIMENSIONS") from None
    except (OSError, SyntaxError):
        raise bad_request("IMAGE_PROCESS_FAILED") from None
    if sum(size) > limits.PHOTO_SIDES or max(size) > limits.PHOTO_RATIO * min(size):
        raise bad_request("PHOTO_INVALID_DIMENSIONS")

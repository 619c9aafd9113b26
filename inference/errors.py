"""Why a photo can't be analyzed. Apart from the decoders, so that the web process can name the
reasons without importing them."""

from enum import StrEnum

MAX_BYTES = 20_000_000  # of an encoded photo; the Bot API's download limit


class Reason(StrEnum):
    """Each with a plain sentence."""

    EMPTY = "the file is empty"
    NOT_AN_IMAGE = "not an image of a known format"
    BROKEN = "the image is damaged"
    TOO_SMALL = "the image is too small"
    TOO_LONG = "the image is far longer than wide, or the other way round"
    TOO_MANY_PIXELS = "the image has too many pixels"
    TOO_MANY_BYTES = "the file is larger than 20 MB"


class PhotoError(ValueError):
    """These bytes are not a photo that can be analyzed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason

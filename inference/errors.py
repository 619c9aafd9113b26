"""Why a photo is refused. Apart from the decoders, so that the web process need not import them."""

from enum import StrEnum

MAX_BYTES = 20 * 2**20  # of an encoded photo; what Telegram lets a bot download


class Reason(StrEnum):
    """Why a photo is refused, in words."""

    EMPTY = "the file is empty"
    NOT_AN_IMAGE = "not an image of a known format"
    BROKEN = "the image is damaged, or of a variant that cannot be read"
    TOO_SMALL = "the image is too small"
    TOO_LONG = "the image is far longer than wide, or wider than long"
    TOO_MANY_PIXELS = "the image has too many pixels"
    TOO_MANY_BYTES = "the file is too large"


class PhotoError(ValueError):
    """A photo that cannot be used; `reason` says why, and nothing in it comes from the file."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason

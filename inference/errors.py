"""Why a photo or a video is refused. Apart from the decoders, which the web process need not import."""

from enum import StrEnum

MAX_BYTES = 20 * 2**20  # of an encoded photo or video; what Telegram lets a bot download


class Reason(StrEnum):
    """Why a photo or a video is refused, in words."""

    EMPTY = "the file is empty"
    NOT_AN_IMAGE = "not an image of a known format"
    BROKEN = "the image is damaged, or of a variant that cannot be read"
    TOO_SMALL = "the picture is too small"
    TOO_LONG = "the picture is far longer than wide, or wider than long"
    TOO_MANY_PIXELS = "the image has too many pixels"
    TOO_MANY_BYTES = f"the file is larger than {MAX_BYTES // 2**20} MB"
    NOT_A_VIDEO = "not a video of a known format"
    BROKEN_VIDEO = "the video is damaged, or of a variant that cannot be read"
    VIDEO_TOO_LONG = "the video is too long"
    VIDEO_TOO_LARGE = "the video has too many pixels or too many frames"
    STILL = "the animation is a single picture"


class PhotoError(ValueError):
    """A photo or a video that cannot be used; `reason` says why, and nothing in it comes from the file."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason

"""The Bot API's numbers, and its way of refusing."""

# https://core.telegram.org/bots/api and, for what it leaves out, github.com/tdlib/telegram-bot-api.
TEXT = 4096  # characters
CAPTION = 1024  # characters
CALLBACK_DATA = 64  # bytes
COMMANDS, COMMAND, COMMAND_DESCRIPTION = 100, 32, 256  # a list, characters, characters
DESCRIPTION, SHORT_DESCRIPTION = 512, 120  # characters
PHOTO_BYTES = 10 * 2**20
UPLOAD_BYTES = 50 * 2**20
DOWNLOAD_BYTES = 20 * 2**20
PHOTO_SIDES = 10_000  # pixels, width + height
PHOTO_RATIO = 20  # of the longer side to the shorter
VIDEO_NOTE = 640  # pixels, its diameter
SECRET = 256  # characters
CONNECTIONS = 100  # of a webhook
POLL = 50  # seconds


class ApiError(Exception):
    """A refusal: its HTTP status, Telegram's words, and the seconds to wait where it is one of rate."""

    def __init__(self, code: int, description: str, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.retry_after = retry_after


def bad_request(description: str) -> ApiError:
    return ApiError(400, f"Bad Request: {description}")


def too_many_requests(retry_after: int) -> ApiError:
    return ApiError(429, f"Too Many Requests: retry after {retry_after}", retry_after)

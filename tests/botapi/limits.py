"""The Bot API's numbers, its way of refusing, and its rates."""

import math
import time
from dataclasses import dataclass, field

# https://core.telegram.org/bots/api and, for what it leaves out, github.com/tdlib/telegram-bot-api.
TEXT = 4096  # characters
CAPTION = 1024  # characters
CALLBACK_DATA = 64  # bytes
CALLBACK_ANSWER = 200  # characters
COMMANDS, COMMAND, COMMAND_DESCRIPTION = 100, 32, 256  # a list, characters, characters
DESCRIPTION, SHORT_DESCRIPTION = 512, 120  # characters
ALBUM = range(2, 11)  # media
PHOTO_BYTES = 10 * 2**20
UPLOAD_BYTES = 50 * 2**20
DOWNLOAD_BYTES = 20 * 2**20
PHOTO_SIDES = 10_000  # pixels, width + height
PHOTO_RATIO = 20  # of the longer side to the shorter
VIDEO_NOTE = 640  # pixels, its diameter
SECRET = 256  # characters
CONNECTIONS = 100  # of a webhook
POLL = 50  # seconds

# Messages a second, and how many may come at once after a silence. Telegram names the rates, not the
# bursts: "avoid more than one message per second ... short bursts" in a chat, 20 a minute in a group,
# about 30 a second overall (https://core.telegram.org/bots/faq).
CHAT_RATE, GROUP_RATE, OVERALL_RATE = (1, 5), (20 / 60, 20), (30, 30)


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


@dataclass
class Bucket:
    """Tokens that come at a steady rate and are spent by messages."""

    rate: float
    capacity: float
    level: float = field(init=False)
    filled: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.level = self.capacity

    def wait(self) -> float:
        """Seconds until a message may be sent."""
        now = time.monotonic()
        self.level = min(self.capacity, self.level + self.rate * (now - self.filled))
        self.filled = now
        return max(0.0, (1 - self.level) / self.rate)


class Rates:
    """How often the bot may send, in each chat and overall."""

    def __init__(self) -> None:
        self._overall = Bucket(*OVERALL_RATE)
        self._chats: dict[int, Bucket] = {}

    def spend(self, chat_id: int, messages: int = 1) -> None:
        """Count messages about to be sent; an album is let through whole and then paid for.

        Raises:
            ApiError: 429, when the chat or the bot as a whole has been too busy.
        """
        chat = self._chats.setdefault(chat_id, Bucket(*(CHAT_RATE if chat_id > 0 else GROUP_RATE)))
        wait = max(chat.wait(), self._overall.wait())
        if wait > 0:
            raise too_many_requests(math.ceil(wait))
        chat.level -= messages
        self._overall.level -= messages

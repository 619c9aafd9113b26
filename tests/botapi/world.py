"""What Telegram knows: chats, messages, files, updates not yet fetched; and the record for tests."""

import itertools
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.botapi.pictures import render

Json = dict[str, Any]
T = TypeVar("T")

BOT = "faces_test_bot"  # username
TOKEN = "7654321:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"
SUPERGROUPS = -(10**12)  # their ids are below it
SERVICE = {"new_chat_members", "left_chat_member", "group_chat_created"}  # content of a group's own messages
NOT_BY_DEFAULT = {"chat_member", "message_reaction", "message_reaction_count"}  # sent only when asked for


@dataclass(frozen=True)
class Media:
    """A file the bot sent: photo, document, animation, video or video_note."""

    kind: str
    data: bytes
    file_name: str
    mime_type: str
    caption: str | None = None


@dataclass(frozen=True)
class Sent:
    """One thing the bot did to a chat, in the order of `BotApi.sent`.

    Attributes:
        method: of the Bot API, as Telegram spells it.
        message_id: of the message made.
        reply_to: id of the message it answers.
        reply_markup: the keyboard.
        time: seconds since the epoch.
    """

    method: str
    chat_id: int
    message_id: int | None = None
    text: str | None = None
    caption: str | None = None
    media: list[Media] = field(default_factory=list)
    reply_to: int | None = None
    reply_markup: Json | None = None
    time: float = field(default_factory=time.time)

    @property
    def photo(self) -> bytes | None:
        """The first photo, exactly as the bot uploaded it."""
        return next((medium.data for medium in self.media if medium.kind == "photo"), None)


@dataclass(frozen=True)
class Action:
    """A chat action, such as "typing"."""

    chat_id: int
    action: str
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Attempt:
    """One delivery of an update to the webhook.

    Attributes:
        status: HTTP status; None where the connection was lost, or cut by the delivery's deadline.
        retry_after: seconds the bot asked for, 0 where it did not.
        started, ended: seconds since the epoch.
    """

    status: int | None
    retry_after: int
    started: float
    ended: float

    @property
    def acknowledged(self) -> bool:
        return self.status is not None and 200 <= self.status <= 299


@dataclass
class Webhook:
    """Where updates go; an empty url means that they wait for getUpdates."""

    url: str = ""
    secret: str = ""
    max_connections: int = 40
    last_error_date: int = 0
    last_error_message: str = ""
    allowed_updates: list[str] = field(default_factory=list)  # empty: all but NOT_BY_DEFAULT


@dataclass
class StoredFile:
    data: bytes
    identity: Json  # what every file has in common in Telegram's JSON
    path: str  # relative, as in file_path of getFile
    mime_type: str
    name: str
    fetched: bool = False  # by getFile, which alone opens the path for download


class World:
    """The state, guarded by `changed`: hold it to read or write, and be told of every change.

    Attributes:
        sent: what the bot did, oldest first.
        actions: its chat actions.
        calls: (method, HTTP status) of every request, refused ones too.
        commands: lists of BotCommand by (scope, language code); ("default", "") is the plain one, and
            a scope of one chat is written "chat:7".
        descriptions: by ("description" or "short_description", language code).
        menu_buttons: by chat id; None is the default for all.
        deliveries: the attempts to deliver each update, by update id.
        pending: updates not yet acknowledged.
        users: may be changed by tests, for another name or language code.
        blocked: chats that have blocked or removed the bot.
    """

    def __init__(self, *, token: str, username: str, privacy: bool, rate_limits: bool) -> None:
        self.changed = threading.Condition()
        self.token = token
        self.privacy = privacy
        self.rate_limits = rate_limits
        bot_id = int(token.split(":")[0])
        self.bot: Json = {"id": bot_id, "is_bot": True, "first_name": "Bot", "username": username}

        self.sent: list[Sent] = []
        self.actions: list[Action] = []
        self.calls: list[tuple[str, int]] = []
        self.commands: dict[tuple[str, str], list[Json]] = {}
        self.descriptions: dict[tuple[str, str], str] = {}
        self.menu_buttons: dict[int | None, Json] = {}
        self.deliveries: dict[int, list[Attempt]] = defaultdict(list)
        self.pending: list[Json] = []
        self.webhook = Webhook()
        self.users: dict[int, Json] = {}
        self.chats: dict[int, Json] = {}
        self.blocked: set[int] = set()
        self.messages: dict[tuple[int, int], Json] = {}
        self.files: dict[str, StoredFile] = {}
        self.last_bots: dict[int, Json] = {}  # the last to speak, by chat
        self.closed = False

        self._update_ids = itertools.count(870_000_001)
        self._message_ids = itertools.count(101)
        self._file_numbers = itertools.count()

    def wait_for(self, predicate: Callable[[], T], timeout: float = 10.0) -> T:
        """Wait until the predicate is true and return what it gave.

        Args:
            predicate: asked again after every change of the state.
            timeout: seconds.

        Raises:
            AssertionError: it stayed false; the message tells what the bot has done.
        """
        with self.changed:
            result = self.changed.wait_for(predicate, timeout)
            if not result:
                done = [(sent.method, sent.chat_id, sent.text or sent.caption) for sent in self.sent]
                raise AssertionError(f"still not after {timeout} s; sent: {done}; calls: {self.calls}")
            return result

    def user(self, user_id: int) -> Json:
        """The User of an id, made when first asked for."""
        name = f"user{user_id}"
        names = {"first_name": name.title(), "username": name, "language_code": "en"}
        return self.users.setdefault(user_id, {"id": user_id, "is_bot": False} | names)

    def chat(self, chat_id: int) -> Json:
        """The Chat of an id, made when first asked for: private, or a group where the id is negative."""
        if chat_id > 0:
            person = self.user(chat_id)
            chat = {key: person[key] for key in ("id", "first_name", "username")} | {"type": "private"}
        else:
            kind = "supergroup" if chat_id < SUPERGROUPS else "group"
            chat = {"id": chat_id, "title": "Friends", "type": kind}
        return self.chats.setdefault(chat_id, chat)

    def store(self, data: bytes, folder: str, extension: str, mime_type: str, name: str) -> Json:
        """Keep a file and return its file_id, file_unique_id and file_size."""
        file_id, unique = "AgACAgIAAxkBAAI" + secrets.token_urlsafe(32), "AQAD" + secrets.token_urlsafe(8)
        identity = {"file_id": file_id, "file_unique_id": unique, "file_size": len(data)}
        with self.changed:
            path = f"{folder}/file_{next(self._file_numbers)}{extension}"
            self.files[file_id] = StoredFile(data, identity, path, mime_type, name)
        return identity

    def store_photo(self, data: bytes) -> list[Json]:
        """Keep a photo in Telegram's sizes, as PhotoSize, the smallest first."""
        return [
            self.store(size.data, "photos", ".jpg", "image/jpeg", "photo.jpg")
            | {"width": size.width, "height": size.height}
            for size in render(data)
        ]

    def add_message(self, chat_id: int, sender: Json, content: Json, reply_to: int | None = None) -> Json:
        """Put a message into a chat.

        Raises:
            KeyError: there is no message `reply_to` in the chat.
        """
        message = {
            "message_id": next(self._message_ids),
            "from": sender,
            "chat": self.chat(chat_id),
            "date": int(time.time()),
        }
        if reply_to is not None:
            replied = self.messages[chat_id, reply_to]
            message["reply_to_message"] = {k: v for k, v in replied.items() if k != "reply_to_message"}
        message |= content
        self.messages[chat_id, message["message_id"]] = message
        if sender["is_bot"]:
            self.last_bots[chat_id] = sender
        return message

    def queue(self, kind: str, content: Json) -> Json:
        """Make an update, and let it wait for delivery where Telegram would send it at all."""
        update = {"update_id": next(self._update_ids), kind: content}
        asked = self.webhook.allowed_updates
        if (kind in asked if asked else kind not in NOT_BY_DEFAULT) and self._reaches(kind, content):
            self.pending.append(update)
        self.changed.notify_all()
        return update

    def _reaches(self, kind: str, message: Json) -> bool:
        """In a group, privacy mode keeps all but commands, replies and what the group itself tells from the
        bot, even its mention; and commands that don't name it, where another bot was the last to speak."""
        if not self.privacy or kind != "message" or message["chat"]["type"] == "private":
            return True
        if not SERVICE.isdisjoint(message):
            return True
        if message.get("reply_to_message", {}).get("from") == self.bot:
            return True
        words = message.get("text") or message.get("caption") or ""
        entities = message.get("entities") or message.get("caption_entities") or []
        if not any(entity["type"] == "bot_command" and entity["offset"] == 0 for entity in entities):
            return False
        _, _, addressee = words.split()[0].partition("@")
        if not addressee:
            return self.last_bots.get(message["chat"]["id"], self.bot) == self.bot
        return addressee.lower() == self.bot["username"].lower()

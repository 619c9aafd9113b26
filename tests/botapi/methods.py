"""The Bot API's methods, as https://core.telegram.org/bots/api has them, on a `World`."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from tests.botapi import limits
from tests.botapi.limits import ApiError, bad_request, too_many_requests
from tests.botapi.pictures import check_photo
from tests.botapi.world import Action, Json, Media, Sent, Webhook, World

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # hosts whose webhook may be plain HTTP, on any port
WEBHOOK_PORTS = (443, 80, 88, 8443)
SECRET = re.compile(r"[A-Za-z0-9_-]*")
COMMAND = re.compile(r"[a-z0-9_]+")
COMMANDS_BYTES = 7800  # of JSON; beyond it Telegram refuses fewer commands than it documents
MENU_BUTTONS = ("commands", "default", "web_app")
SET_WEBHOOK_PAUSE = 1  # seconds between two calls of setWebhook
ACTIONS = (
    *("typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice"),
    *("upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note"),
)
SPOILERS = ("photo", "video", "animation")  # which may be sent covered
FOLDERS = {
    "animation": "animations",
    "video": "videos",
    "video_note": "video_notes",
}


@dataclass(frozen=True)
class Upload:
    """A file of a multipart request."""

    file_name: str
    mime_type: str
    data: bytes


@dataclass
class Parameters:
    """What a request carries; JSON where Telegram takes JSON, strings otherwise."""

    strings: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.strings.get(name, "")

    def required(self, name: str) -> str:
        if not self.text(name):
            raise bad_request(f'parameter "{name}" is required')
        return self.text(name)

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """An integer pressed into its range, as Telegram does; what is no number counts as 0."""
        text = self.text(name) or str(default)
        return min(most, max(least, int(text) if re.fullmatch(r"-?\d+", text) else 0))

    def flag(self, name: str) -> bool:
        return self.text(name).lower() in ("true", "yes", "1")

    def json(self, name: str, kind: type, required: bool = False) -> Any:
        """The value, an empty `kind` where it is missing."""
        text = self.required(name) if required else self.text(name)
        try:
            value = json.loads(text) if text else kind()
        except ValueError:
            raise bad_request(f"can't parse {name} JSON object") from None
        if not isinstance(value, kind):
            raise bad_request(f"can't parse {name}: expected {'an Object' if kind is dict else 'an Array'}")
        return value


class Methods:
    """Calls a method by its name, which Telegram reads without regard to case."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._poll = 0  # number of the latest getUpdates; an older one still waiting gives way
        self._webhook_set = 0.0  # seconds, monotonic
        public = [name for name in vars(Methods) if not name.startswith("_")]
        self._methods = {name.replace("_", ""): getattr(self, name) for name in public}

    def __call__(self, method: str, parameters: Parameters) -> Any:
        """Do what the method does and return its result, ready for JSON.

        Raises:
            ApiError: Telegram would refuse.
        """
        function = self._methods.get(method.lower())
        if function is None:
            raise ApiError(404, "Not Found")
        with self._world.changed:
            try:
                return function(parameters)
            finally:
                self._world.changed.notify_all()

    # Updates

    def get_me(self, parameters: Parameters) -> Json:
        can = {"can_join_groups": True, "can_read_all_group_messages": not self._world.privacy}
        return self._world.bot | can | {"supports_inline_queries": False}

    def get_updates(self, parameters: Parameters) -> list[Json]:
        world = self._world
        if world.webhook.url:
            raise ApiError(
                409,
                "Conflict: can't use getUpdates method while webhook is active; "
                "use deleteWebhook to delete the webhook first",
            )
        offset = parameters.integer("offset", 0, -(2**31), 2**31)
        limit = parameters.integer("limit", 100, 1, 100)
        timeout = parameters.integer("timeout", 0, 0, limits.POLL)
        self._set_allowed_updates(parameters)
        if offset < 0:  # keep that many of the newest
            world.pending[:] = world.pending[offset:]
        world.pending[:] = [update for update in world.pending if update["update_id"] >= offset]
        self._poll += 1
        poll = self._poll
        world.changed.notify_all()
        world.changed.wait_for(
            lambda: world.pending or world.closed or world.webhook.url or poll != self._poll, timeout
        )
        if world.webhook.url:
            raise ApiError(409, "Conflict: terminated by setWebhook request")
        if poll != self._poll:
            raise ApiError(
                409,
                "Conflict: terminated by other getUpdates request; "
                "make sure that only one bot instance is running",
            )
        return world.pending[:limit]

    def set_webhook(self, parameters: Parameters) -> bool:
        world, url, secret = self._world, parameters.text("url"), parameters.text("secret_token")
        if not url:
            return self.delete_webhook(parameters)
        now = time.monotonic()
        if world.rate_limits and now < self._webhook_set + SET_WEBHOOK_PAUSE:
            raise too_many_requests(SET_WEBHOOK_PAUSE)
        self._webhook_set = now
        if len(secret) > limits.SECRET:
            raise bad_request("secret token is too long")
        if not SECRET.fullmatch(secret):
            raise bad_request("secret token contains unallowed characters")
        _check_webhook_url(url)
        connections = parameters.integer("max_connections", 40, 1, limits.CONNECTIONS)
        world.webhook = Webhook(url, secret, connections, allowed_updates=world.webhook.allowed_updates)
        self._set_allowed_updates(parameters)
        self._drop_pending(parameters)
        return True

    def delete_webhook(self, parameters: Parameters) -> bool:
        self._world.webhook = Webhook(allowed_updates=self._world.webhook.allowed_updates)
        self._drop_pending(parameters)
        return True

    def get_webhook_info(self, parameters: Parameters) -> Json:
        known = {name: value for name, value in asdict(self._world.webhook).items() if value}
        known.pop("secret", None)
        if not known.get("url"):
            known.pop("max_connections")
        counted = {"has_custom_certificate": False, "pending_update_count": len(self._world.pending)}
        return {"url": ""} | known | counted

    # The bot's own page

    def set_my_commands(self, parameters: Parameters) -> bool:
        commands = parameters.json("commands", list, required=True)
        for item in commands:
            _check_command(str(item.get("command", "")), str(item.get("description", "")))
        if len(commands) > limits.COMMANDS or len(json.dumps(commands).encode()) > COMMANDS_BYTES:
            raise bad_request("BOT_COMMANDS_TOO_MUCH")
        self._world.commands[_scope(parameters)] = commands
        return True

    def set_my_description(self, parameters: Parameters) -> bool:
        return self._describe("description", limits.DESCRIPTION, parameters)

    def set_my_short_description(self, parameters: Parameters) -> bool:
        return self._describe("short_description", limits.SHORT_DESCRIPTION, parameters)

    def set_chat_menu_button(self, parameters: Parameters) -> bool:
        chat_id = self._chat(parameters) if parameters.text("chat_id") else None
        button = parameters.json("menu_button", dict) or {"type": "default"}
        if button.get("type") not in MENU_BUTTONS:
            raise bad_request("can't parse menu button: MenuButton has unsupported type")
        if button["type"] == "web_app" and not (button.get("text") and button.get("web_app", {}).get("url")):
            raise bad_request("can't parse menu button: a web_app button has a text and a URL")
        self._world.menu_buttons[chat_id] = button
        return True

    # Messages

    def send_message(self, parameters: Parameters) -> Json:
        text = _plain(parameters, "text")
        if not text.strip():
            raise bad_request("message text is empty")
        if len(text) > limits.TEXT:
            raise bad_request("message is too long")
        return self._send("sendMessage", parameters, {"text": text})

    def send_photo(self, parameters: Parameters) -> Json:
        return self._send_medium("sendPhoto", "photo", parameters)

    def send_animation(self, parameters: Parameters) -> Json:
        return self._send_medium("sendAnimation", "animation", parameters)

    def send_video(self, parameters: Parameters) -> Json:
        return self._send_medium("sendVideo", "video", parameters)

    def send_video_note(self, parameters: Parameters) -> Json:
        parameters.strings.pop("caption", None)  # which a video note has not
        return self._send_medium("sendVideoNote", "video_note", parameters)

    def send_chat_action(self, parameters: Parameters) -> bool:
        action = parameters.text("action")
        if action not in ACTIONS:
            raise bad_request("wrong parameter action in request")
        self._world.actions.append(Action(self._chat(parameters), action))
        return True

    def get_file(self, parameters: Parameters) -> Json:
        stored = self._world.files.get(parameters.text("file_id"))
        if stored is None:
            raise bad_request("invalid file_id")
        if len(stored.data) > limits.DOWNLOAD_BYTES:
            raise bad_request("file is too big")
        stored.fetched = True
        return stored.identity | {"file_path": stored.path}

    # Steps they share

    def _chat(self, parameters: Parameters) -> int:
        """The id of a chat the bot may write to."""
        text = parameters.text("chat_id")
        if not text:
            raise bad_request("chat_id is empty")
        chat = self._world.chats.get(int(text)) if re.fullmatch(r"-?\d+", text) else None
        if chat is None:
            raise bad_request("chat not found")
        if chat["id"] in self._world.blocked:
            if chat["type"] == "private":
                raise ApiError(403, "Forbidden: bot was blocked by the user")
            raise ApiError(403, f"Forbidden: bot was kicked from the {chat['type']} chat")
        return chat["id"]

    def _reply_to(self, parameters: Parameters, chat_id: int) -> int | None:
        reply = parameters.json("reply_parameters", dict)
        if not reply:
            return None
        if (chat_id, reply.get("message_id")) in self._world.messages:
            return reply["message_id"]
        if reply.get("allow_sending_without_reply"):
            return None
        raise bad_request("message to be replied not found")

    def _file(self, parameters: Parameters, name: str) -> Upload:
        """A file given as an upload of that name, or by the id of one already sent."""
        value = parameters.text(name)
        stored = self._world.files.get(value)
        if stored is not None:
            return Upload(stored.name, stored.mime_type, stored.data)
        if value:
            raise bad_request("wrong file identifier/HTTP URL specified")  # it fetches nothing from the web
        if name not in parameters.uploads:
            raise bad_request(f"there is no {name} in the request")
        return parameters.uploads[name]

    def _content(self, kind: str, upload: Upload, details: Json) -> Json:
        """The part of a message that holds the file."""
        if kind == "photo":
            check_photo(upload.data)
            return {"photo": self._world.store_photo(upload.data)}
        suffix = PurePath(upload.file_name).suffix
        stored = self._world.store(upload.data, FOLDERS[kind], suffix, upload.mime_type, upload.file_name)
        stored |= {"file_name": upload.file_name, "mime_type": upload.mime_type}
        if kind == "video_note":
            length, duration = (int(details.get(name) or 0) for name in ("length", "duration"))
            if not 0 <= length <= limits.VIDEO_NOTE:
                raise bad_request("wrong video note length")
            return {"video_note": stored | {"length": length, "duration": duration}}
        shape = {name: int(details.get(name) or 0) for name in ("width", "height", "duration")}
        content = {kind: stored | shape}
        return content | {"document": stored} if kind == "animation" else content

    def _send_medium(self, method: str, kind: str, parameters: Parameters) -> Json:
        caption = _plain(parameters, "caption")
        if len(caption) > limits.CAPTION:
            raise bad_request("message caption is too long")
        upload = self._file(parameters, kind)
        self._chat(parameters)
        content = self._content(kind, upload, parameters.strings)
        if caption:
            content["caption"] = caption
        if kind in SPOILERS and parameters.flag("has_spoiler"):
            content["has_media_spoiler"] = True
        medium = Media(kind, upload.data, upload.file_name, upload.mime_type, content.get("caption"))
        return self._send(method, parameters, content, [medium])

    def _send(self, method: str, parameters: Parameters, content: Json, media: Sequence[Media] = ()) -> Json:
        chat_id = self._chat(parameters)
        reply_to = self._reply_to(parameters, chat_id)
        markup = _keyboard(parameters)
        shown = {"reply_markup": markup} if markup and "inline_keyboard" in markup else {}
        message = self._world.add_message(chat_id, self._world.bot, content | shown, reply_to)
        words = message.get("text"), message.get("caption")
        self._world.sent.append(
            Sent(method, chat_id, message["message_id"], *words, list(media), reply_to, markup)
        )
        return message

    def _describe(self, kind: str, longest: int, parameters: Parameters) -> bool:
        text = parameters.text(kind)
        if len(text) > longest:
            raise bad_request(f"{kind} is too long")  # Telegram's own wording is not known
        self._world.descriptions[kind, parameters.text("language_code")] = text
        return True

    def _set_allowed_updates(self, parameters: Parameters) -> None:
        if parameters.text("allowed_updates"):  # otherwise the earlier choice stays
            self._world.webhook.allowed_updates = parameters.json("allowed_updates", list)

    def _drop_pending(self, parameters: Parameters) -> None:
        if parameters.flag("drop_pending_updates"):
            self._world.pending.clear()


def _check_webhook_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise bad_request("invalid webhook URL specified") from None
    if not parts.hostname:
        raise bad_request("invalid webhook URL specified")
    if parts.hostname in LOOPBACK:
        return
    if parts.scheme != "https":
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if port not in WEBHOOK_PORTS:
        raise bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")


def _check_command(name: str, description: str) -> None:
    if not name:
        raise bad_request("command must be non-empty")
    if len(name) > limits.COMMAND:
        raise bad_request(f"command length must not exceed {limits.COMMAND}")
    if not COMMAND.fullmatch(name):
        raise bad_request("BOT_COMMAND_INVALID")
    if not description:
        raise bad_request("command description must be non-empty")
    if len(description) > limits.COMMAND_DESCRIPTION:
        raise bad_request(f"command description length must not exceed {limits.COMMAND_DESCRIPTION}")


def _scope(parameters: Parameters) -> tuple[str, str]:
    scope = parameters.json("scope", dict)
    name = scope.get("type", "default")
    chat = f":{scope['chat_id']}" if "chat_id" in scope else ""
    return name + chat, parameters.text("language_code")


def _plain(parameters: Parameters, name: str) -> str:
    """A text, in which only what is written counts: the bot formats nothing."""
    for formatting in ("parse_mode", "entities", "caption_entities"):
        if parameters.text(formatting):
            raise ApiError(501, "Not Implemented: the test server takes plain text only")
    return parameters.text(name)


def _keyboard(parameters: Parameters) -> Json | None:
    markup = parameters.json("reply_markup", dict)
    for button in [button for row in markup.get("inline_keyboard", []) for button in row]:
        if not button.get("text"):
            raise bad_request('can\'t parse inline keyboard button: Field "text" must be of type String')
        if len(button) < 2:
            raise bad_request(
                "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"
            )
        if len(button.get("callback_data", "").encode()) > limits.CALLBACK_DATA:
            raise bad_request("BUTTON_DATA_INVALID")
    return markup or None

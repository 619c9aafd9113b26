"""The Bot API test server against python-telegram-bot, and against plain HTTP where that says more."""

import asyncio
import io
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import telegram
from PIL import Image
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter, TimedOut
from telegram.request import HTTPXRequest

from tests.botapi import BotApi
from tests.pictures import encode

ANN, BOB, GROUP, SUPERGROUP = 7, 8, -55, -1001234567890
PLAIN = {"verify": False}  # there is no TLS here, and reading certificates takes longer than a test
Job = Callable[[telegram.Bot], Awaitable[Any]]


def picture(width: int = 60, height: int = 40, kind: str = "JPEG", **options: Any) -> bytes:
    return encode(Image.new("RGB", (width, height), "teal"), kind, **options)


def make_bot(server: BotApi) -> telegram.Bot:
    requests = [HTTPXRequest(httpx_kwargs=PLAIN) for _ in range(2)]
    return telegram.Bot(
        server.token,
        server.base_url,
        server.base_file_url,
        request=requests[0],
        get_updates_request=requests[1],
    )


def drive(server: BotApi, *jobs: Job) -> Any:
    """Run what a bot does, and return the last result."""

    async def session() -> Any:
        async with make_bot(server) as bot:
            results = [await job(bot) for job in jobs]
        return results[-1]

    return asyncio.run(session())


def post(server: BotApi, method: str, **parameters: Any) -> httpx.Response:
    return httpx.post(f"{server.base_url}{server.token}/{method}", json=parameters, **PLAIN)


@pytest.fixture
def server() -> Iterator[BotApi]:
    with BotApi() as server:
        server.send_text(ANN, "/start")
        server.pending.clear()
        yield server


class Receiver(ThreadingHTTPServer):
    """A bot's webhook: answers with what `respond` returns, (status, headers), or hangs up on None."""

    daemon_threads = True

    def __init__(self, respond: Callable[[dict[str, Any]], tuple[int, dict[str, str]] | None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = respond
        self.received: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/telegram"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        update = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((update, dict(self.headers) | {"path": self.path}))
        answer = self.server.respond(update)
        if answer is not None:
            self.send_response(answer[0])
            for name, value in {"Content-Length": "0", **answer[1]}.items():
                self.send_header(name, value)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(respond: Callable[[dict[str, Any]], tuple[int, dict[str, str]] | None]) -> Iterator[Receiver]:
    with Receiver(respond) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


def accept(update: dict[str, Any]) -> tuple[int, dict[str, str]]:
    return 200, {}


# Requests


def test_get_me_tells_who_the_bot_is(server: BotApi) -> None:
    me = drive(server, lambda bot: bot.get_me())
    assert (me.id, me.username, me.is_bot) == (int(server.token.split(":")[0]), "faces_test_bot", True)
    assert me.can_read_all_group_messages is False


def test_wrong_token_is_unauthorized(server: BotApi) -> None:
    answer = httpx.post(f"{server.base_url}1:wrong/getMe")
    assert answer.status_code == 401
    assert answer.json() == {"ok": False, "error_code": 401, "description": "Unauthorized"}
    assert httpx.get(f"{server.base_file_url}1:wrong/photos/file_0.jpg").status_code == 401

    async def start() -> None:
        async with telegram.Bot("1:wrong", server.base_url):
            pass

    with pytest.raises(InvalidToken):
        asyncio.run(start())


def test_unknown_method_and_unknown_path_are_not_found(server: BotApi) -> None:
    for address in (f"{server.base_url}{server.token}/sendCake", f"http://127.0.0.1:{server.port}/"):
        answer = httpx.get(address)
        assert answer.status_code == 404
        assert answer.json() == {"ok": False, "error_code": 404, "description": "Not Found"}


def test_every_kind_of_body_is_read_and_method_names_have_no_case(server: BotApi) -> None:
    address = f"{server.base_url}{server.token}/SENDmessage"
    parameters = {"chat_id": str(ANN), "text": "höher"}
    httpx.get(address, params=parameters)
    httpx.post(address, params=parameters)
    httpx.post(address, data=parameters)
    httpx.post(address, json={"chat_id": ANN, "text": "höher"})
    httpx.post(address, data=parameters, files={"unused": b"x"})
    assert [sent.text for sent in server.sent] == ["höher"] * 5
    for content in (b"{", b"[]"):
        broken = httpx.post(address, content=content, headers={"Content-Type": "application/json"})
        assert broken.json()["description"] == "Bad Request: can't parse the body"


def test_uploads_keep_every_byte_and_name(server: BotApi) -> None:
    data = bytes(range(256)) * 300 + b"\r\n--\r\n\r\n\r\n"
    drive(server, lambda bot: bot.send_video(ANN, data, filename="grüße.bin", caption="wörtlich"))
    (sent,) = server.sent
    assert (sent.media[0].data, sent.media[0].file_name, sent.caption) == (data, "grüße.bin", "wörtlich")


def test_upload_beyond_50_mb_is_too_large(server: BotApi) -> None:
    files = {"video": bytes(52 * 2**20)}
    answer = httpx.post(f"{server.base_url}{server.token}/sendVideo", data={"chat_id": ANN}, files=files)
    assert (answer.status_code, answer.json()["error_code"]) == (413, 413)


# Text


def test_message_is_recorded_and_returned(server: BotApi) -> None:
    keyboard = telegram.InlineKeyboardMarkup(
        [[telegram.InlineKeyboardButton("Again", callback_data="again")]]
    )
    asked = server.send_text(ANN, "Who?")["message"]["message_id"]
    message = drive(
        server, lambda bot: bot.send_message(ANN, "You", reply_to_message_id=asked, reply_markup=keyboard)
    )
    assert (message.text, message.chat.id, message.chat.type) == ("You", ANN, "private")
    assert message.reply_to_message.text == "Who?"
    assert message.reply_markup == keyboard
    (sent,) = server.sent
    assert (sent.method, sent.chat_id, sent.message_id) == ("sendMessage", ANN, message.message_id)
    assert (sent.text, sent.reply_to, sent.photo) == ("You", asked, None)
    assert sent.reply_markup == keyboard.to_dict()
    assert abs(sent.time - time.time()) < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "message text is empty"),
        (" \n", "message text is empty"),
        ("x" * 4097, "message is too long"),
    ],
)
def test_text_is_refused(server: BotApi, text: str, words: str) -> None:
    answer = post(server, "sendMessage", chat_id=ANN, text=text)
    assert (answer.status_code, answer.json()["description"]) == (400, f"Bad Request: {words}")
    assert not server.sent


def test_longest_text_is_taken(server: BotApi) -> None:
    message = drive(server, lambda bot: bot.send_message(ANN, "é" * 4096))
    assert message.text == server.sent[0].text == "é" * 4096


@pytest.mark.parametrize("mode", ["HTML", "MarkdownV2"])
def test_formatted_text_is_not_taken_for_plain(server: BotApi, mode: str) -> None:
    entities = [{"type": "bold", "offset": 0, "length": 1}]
    for method, field in (("sendMessage", "text"), ("sendPhoto", "caption")):
        for options in ({"parse_mode": mode}, {"entities": entities}, {"caption_entities": entities}):
            assert post(server, method, chat_id=ANN, **{field: "x"}, **options).status_code == 501
    assert not server.sent


@pytest.mark.parametrize("chat_id", [999, -999, "@nobody"])
def test_bot_cannot_start_a_conversation(server: BotApi, chat_id: int | str) -> None:
    with pytest.raises(BadRequest, match=r"^Chat not found$"):
        drive(server, lambda bot: bot.send_message(chat_id, "Hello?"))


def test_reply_to_a_missing_message(server: BotApi) -> None:
    with pytest.raises(BadRequest, match=r"^Message to be replied not found$"):
        drive(server, lambda bot: bot.send_message(ANN, "x", reply_to_message_id=4321))
    drive(
        server,
        lambda bot: bot.send_message(ANN, "x", reply_to_message_id=4321, allow_sending_without_reply=True),
    )
    assert [sent.reply_to for sent in server.sent] == [None]


def test_blocked_bot_is_forbidden_until_the_user_writes(server: BotApi) -> None:
    change = server.block(ANN)["my_chat_member"]
    assert change["new_chat_member"]["status"] == "kicked"
    with pytest.raises(Forbidden, match=r"^Forbidden: bot was blocked by the user$"):
        drive(server, lambda bot: bot.send_message(ANN, "x"))
    server.send_text(ANN, "/start")
    drive(server, lambda bot: bot.send_message(ANN, "x"))
    assert [list(update)[1] for update in server.pending] == ["my_chat_member", "my_chat_member", "message"]

    server.send_text(GROUP, "/start")
    server.block(GROUP)
    with pytest.raises(Forbidden, match=r"^Forbidden: bot was kicked from the group chat$"):
        drive(server, lambda bot: bot.send_message(GROUP, "x"))


@pytest.mark.parametrize(
    ("button", "words"),
    [
        ({"text": "x", "callback_data": "é" * 33}, "BUTTON_DATA_INVALID"),
        ({"text": "x"}, "Text buttons are unallowed in the inline keyboard"),
        ({"callback_data": "x"}, 'Field "text" must be of type String'),
    ],
)
def test_keyboard_is_checked(server: BotApi, button: dict[str, str], words: str) -> None:
    answer = post(server, "sendMessage", chat_id=ANN, text="x", reply_markup={"inline_keyboard": [[button]]})
    assert answer.status_code == 400
    assert answer.json()["description"].endswith(words)


def test_chat_action(server: BotApi) -> None:
    drive(server, lambda bot: bot.send_chat_action(ANN, "upload_photo"))
    assert [(action.chat_id, action.action) for action in server.actions] == [(ANN, "upload_photo")]
    with pytest.raises(BadRequest, match="Wrong parameter action in request"):
        drive(server, lambda bot: bot.send_chat_action(ANN, "dancing"))


# Photos and files


def test_photo_is_kept_as_uploaded_and_can_be_sent_again(server: BotApi) -> None:
    image = picture(1000, 500, "PNG")
    message = drive(server, lambda bot: bot.send_photo(ANN, image, "Two faces"))
    assert [(size.width, size.height) for size in message.photo] == [
        (90, 45),
        (320, 160),
        (800, 400),
        (1000, 500),
    ]
    assert message.caption == "Two faces"
    drive(server, lambda bot: bot.send_photo(ANN, message.photo[-1].file_id))
    first, second = server.sent
    assert (first.photo, first.caption, first.method) == (image, "Two faces", "sendPhoto")
    assert Image.open(io.BytesIO(second.photo)).size == (1000, 500)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (picture() + bytes(10 * 2**20), r"too big for a photo; the maximum size is 10485760 bytes"),
        (picture(9001, 1000), "Photo_invalid_dimensions"),
        (picture(2101, 100), "Photo_invalid_dimensions"),
        (b"not a picture", "Image_process_failed"),
        (picture(600, 400, quality=95)[:-500], "Image_process_failed"),
    ],
    ids=["bytes", "sides", "ratio", "text", "truncated"],
)
def test_photo_is_refused(server: BotApi, data: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        drive(server, lambda bot: bot.send_photo(ANN, data))
    assert not server.sent


@pytest.mark.parametrize("size", [(9000, 1000), (2000, 100)])
def test_largest_and_narrowest_photos_are_taken(server: BotApi, size: tuple[int, int]) -> None:
    drive(server, lambda bot: bot.send_photo(ANN, picture(*size)))
    assert Image.open(io.BytesIO(server.sent[0].photo)).size == size


def test_caption_and_missing_photo(server: BotApi) -> None:
    with pytest.raises(BadRequest, match=r"^Message caption is too long$"):
        drive(server, lambda bot: bot.send_photo(ANN, picture(), "x" * 1025))
    drive(server, lambda bot: bot.send_photo(ANN, picture(), "x" * 1024))
    assert server.sent[0].caption == "x" * 1024
    for photo in ("AgACAgIAAxkBAAIunknown", "https://example.org/photo.jpg"):
        with pytest.raises(BadRequest, match=r"(?i)wrong file identifier/http url specified"):
            drive(server, lambda bot, photo=photo: bot.send_photo(ANN, photo))
    missing = post(server, "sendPhoto", chat_id=ANN)
    assert missing.json()["description"] == "Bad Request: there is no photo in the request"


def test_other_files_are_recorded(server: BotApi) -> None:
    jobs: list[Job] = [
        lambda bot: bot.send_animation(ANN, b"gif", filename="faces.gif", width=20, height=10, caption="Us"),
        lambda bot: bot.send_video(ANN, b"mp4", filename="faces.mp4"),
        lambda bot: bot.send_video_note(ANN, b"note", filename="note.mp4", length=384),
    ]
    drive(server, *jobs)
    media = [
        (sent.method, sent.media[0].kind, sent.media[0].file_name, sent.media[0].data) for sent in server.sent
    ]
    assert media == [
        ("sendAnimation", "animation", "faces.gif", b"gif"),
        ("sendVideo", "video", "faces.mp4", b"mp4"),
        ("sendVideoNote", "video_note", "note.mp4", b"note"),
    ]
    assert server.sent[0].caption == "Us"


def test_photos_and_videos_may_be_covered(server: BotApi) -> None:
    def cover(kind: str, data: bytes, **options: Any) -> bool | None:
        send = {kind: data, "filename": "a.mp4"} | options
        message = drive(server, lambda bot: getattr(bot, f"send_{kind}")(ANN, **send))
        return message.has_media_spoiler

    assert cover("photo", picture(), has_spoiler=True)
    assert cover("video", b"mp4", has_spoiler=True)
    assert cover("animation", b"mp4", has_spoiler=True)
    assert not cover("video", b"mp4")
    assert not cover("video_note", b"mp4", api_kwargs={"has_spoiler": "true"})  # which it has not


def test_a_video_note_is_no_larger_than_telegram_shows_it_and_has_no_caption(server: BotApi) -> None:
    with pytest.raises(BadRequest, match="Wrong video note length"):
        drive(server, lambda bot: bot.send_video_note(ANN, b"note", length=641))
    options = {"caption": "unseen"}
    note = drive(server, lambda bot: bot.send_video_note(ANN, b"note", length=640, api_kwargs=options))
    assert (note.video_note.length, note.caption) == (640, None)


def test_get_file_and_download(server: BotApi) -> None:
    data = picture(50, 50, "PNG")
    file_id, unasked = (
        server.send_document(ANN, data, "me.png", "image/png")["message"]["document"]["file_id"]
        for _ in range(2)
    )

    async def fetch(bot: telegram.Bot) -> tuple[telegram.File, bytearray]:
        file = await bot.get_file(file_id)
        return file, await file.download_as_bytearray()

    file, fetched = drive(server, fetch)
    assert fetched == data
    assert file.file_size == len(data)
    raw = post(server, "getFile", file_id=file_id).json()["result"]
    assert raw["file_path"].startswith("documents/")
    assert raw["file_path"].endswith(".png")
    with pytest.raises(BadRequest, match=r"(?i)invalid file_id"):
        drive(server, lambda bot: bot.get_file("AgACunknown"))
    for path in (server.files[unasked].path, "documents/none.png"):
        assert httpx.get(f"{server.base_file_url}{server.token}/{path}").status_code == 404


def test_file_is_too_big_to_fetch_beyond_20_mb(server: BotApi) -> None:
    def sent(size: int) -> str:
        return server.send_document(ANN, bytes(size), "a.bin", "a/b")["message"]["document"]["file_id"]

    assert drive(server, lambda bot: bot.get_file(sent(20 * 2**20))).file_size == 20 * 2**20
    with pytest.raises(BadRequest, match=r"^File is too big$"):
        drive(server, lambda bot: bot.get_file(sent(20 * 2**20 + 1)))


# The bot's page


def test_commands(server: BotApi) -> None:
    commands = [(f"command_{n}", "Says it") for n in range(100)]
    drive(server, lambda bot: bot.set_my_commands(commands, language_code="de"))
    assert server.commands["default", "de"][99] == {"command": "command_99", "description": "Says it"}
    assert len(server.commands["default", "de"]) == 100
    assert ("default", "") not in server.commands
    scope = telegram.BotCommandScopeChat(ANN)
    drive(server, lambda bot: bot.set_my_commands([("help", "Helps")], scope=scope))
    assert server.commands[f"chat:{ANN}", ""][0]["command"] == "help"


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ([("help", "Helps")] * 101, "Bot_commands_too_much"),
        ([(f"command_{n}", "x" * 256) for n in range(40)], "Bot_commands_too_much"),
        ([("Help", "Helps")], "Bot_command_invalid"),
        ([("help-me", "Helps")], "Bot_command_invalid"),
        ([("x" * 33, "Helps")], "Command length must not exceed 32"),
        ([("", "Helps")], "Command must be non-empty"),
        ([("help", "")], "Command description must be non-empty"),
        ([("help", "x" * 257)], "Command description length must not exceed 256"),
    ],
)
def test_commands_are_refused(server: BotApi, commands: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(BadRequest, match=f"^{words}$"):
        drive(server, lambda bot: bot.set_my_commands(commands))
    assert not server.commands


def test_descriptions_and_menu_button(server: BotApi) -> None:
    drive(
        server,
        lambda bot: bot.set_my_description("x" * 512),
        lambda bot: bot.set_my_short_description("y" * 120, "de"),
        lambda bot: bot.set_chat_menu_button(menu_button=telegram.MenuButtonCommands()),
        lambda bot: bot.set_chat_menu_button(ANN, telegram.MenuButtonDefault()),
    )
    assert server.descriptions == {("description", ""): "x" * 512, ("short_description", "de"): "y" * 120}
    assert server.menu_buttons == {None: {"type": "commands"}, ANN: {"type": "default"}}
    with pytest.raises(BadRequest):
        drive(server, lambda bot: bot.set_my_description("x" * 513))
    with pytest.raises(BadRequest):
        drive(server, lambda bot: bot.set_my_short_description("x" * 121))
    assert post(server, "setChatMenuButton", menu_button={"type": "burger"}).status_code == 400


# What users send


def test_photo_update_is_what_telegram_makes_of_it(server: BotApi) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    update = server.send_photo(ANN, picture(3000, 2250, exif=exif), "\U0001f600 /age @faces_test_bot")
    message = telegram.Update.de_json(update, None).message
    assert (message.from_user.id, message.chat.type, message.chat.id) == (ANN, "private", ANN)
    assert [(size.width, size.height) for size in message.photo] == [
        (68, 90),
        (240, 320),
        (600, 800),
        (960, 1280),
        (1920, 2560),
    ]
    assert message.parse_caption_entities() == dict(
        zip(message.caption_entities, ["/age", "@faces_test_bot"], strict=True)
    )
    assert message.caption_entities[0].offset == 3
    assert len({size.file_unique_id for size in message.photo}) == 5

    async def fetch(bot: telegram.Bot) -> bytearray:
        return await (await bot.get_file(message.photo[-1])).download_as_bytearray()

    data = drive(server, fetch)
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size, dict(image.getexif())) == ("JPEG", (1920, 2560), {})
    assert len(data) == message.photo[-1].file_size
    with pytest.raises(ValueError, match="not a picture"):
        server.send_photo(ANN, b"not a picture")


def test_small_and_transparent_photos(server: BotApi) -> None:
    photo = server.send_photo(ANN, encode(Image.new("RGBA", (320, 100)), "PNG"))["message"]["photo"]
    assert [size["width"] for size in photo] == [90, 320]
    image = Image.open(io.BytesIO(server.files[photo[-1]["file_id"]].data))
    assert min(image.getpixel((160, 50))) > 250
    assert [size["width"] for size in server.send_photo(ANN, picture(40, 30))["message"]["photo"]] == [40]


def test_text_update_has_its_entities(server: BotApi) -> None:
    first = server.send_text(
        ANN, "\U0001f600 /start@faces_test_bot and/or http://a/b, ask @ann_lee or a@b.example"
    )
    second = server.send_text(ANN, "Again", reply_to=first["message"]["message_id"])
    message = telegram.Update.de_json(first, None).message
    found = [(entity.type, message.parse_entity(entity)) for entity in message.entities]
    assert found == [("bot_command", "/start@faces_test_bot"), ("mention", "@ann_lee")]
    assert second["update_id"] == first["update_id"] + 1
    assert second["message"]["message_id"] > first["message"]["message_id"]
    assert second["message"]["reply_to_message"]["text"] == first["message"]["text"]
    assert "entities" not in second["message"]


def test_every_other_kind_of_update_is_read_by_the_library(server: BotApi) -> None:
    updates = {
        "document": server.send_document(ANN, b"x", "IMG_1.HEIC", "image/heic", "See"),
        "sticker": server.send_sticker(ANN),
        "video": server.send_video(ANN),
        "video_note": server.send_video_note(ANN, b"note"),
        "animation": server.send_animation(ANN, b"moving"),
        "voice": server.send_voice(ANN),
        "location": server.send_location(ANN, 52.5, 13.4),
        "dice": server.send(ANN, dice={"emoji": "\U0001f3b2", "value": 6}),
    }
    for kind, update in updates.items():
        message = telegram.Update.de_json(update, None).message
        assert getattr(message, kind)
        assert telegram.helpers.effective_message_type(message) == kind
    document = updates["document"]["message"]["document"]
    assert (document["mime_type"], document["file_name"], document["file_size"]) == (
        "image/heic",
        "IMG_1.HEIC",
        1,
    )


def test_users_album(server: BotApi) -> None:
    updates = server.send_album(ANN, [picture(), picture(), picture()], "Us")
    messages = [update["message"] for update in updates]
    assert len({message["media_group_id"] for message in messages}) == 1
    assert [message.get("caption") for message in messages] == ["Us", None, None]


def test_groups_keep_to_privacy_mode(server: BotApi) -> None:
    start = server.send_text(GROUP, "/start", user=BOB)
    assert (start["message"]["chat"]["type"], start["message"]["from"]["id"]) == ("group", BOB)
    answer = drive(server, lambda bot: bot.send_message(GROUP, "Hello"))
    reached = [
        start,
        server.send_photo(GROUP, picture(), "/faces@Faces_Test_Bot", user=BOB),
        server.send_photo(GROUP, picture(), reply_to=answer.message_id),
        server.send(GROUP, new_chat_members=[server.bot]),
    ]
    server.send_photo(SUPERGROUP, picture())
    server.send_text(GROUP, "@faces_test_bot hello")
    server.send_text(GROUP, "/faces@other_bot")
    server.send_text(GROUP, "see /faces")
    assert server.pending == reached
    assert server.chats[SUPERGROUP]["type"] == "supergroup"
    with BotApi(privacy=False) as open_server:
        assert open_server.pending == [] != [open_server.send_text(GROUP, "hello")] == open_server.pending


# getUpdates


def test_updates_are_polled_and_confirmed_by_offset(server: BotApi) -> None:
    first, second = (server.send_text(ANN, text)["update_id"] for text in "ab")

    def poll(**options: int) -> list[int]:
        return [update.update_id for update in drive(server, lambda bot: bot.get_updates(**options))]

    assert poll(limit=1) == [first]
    assert poll() == [first, second]
    assert poll(offset=second) == [second]
    assert poll() == [second]
    third = server.send_text(ANN, "c")["update_id"]
    assert poll(offset=-1) == [third]
    assert poll(offset=third + 1) == []
    assert server.pending == []


def test_long_poll_ends_when_an_update_comes(server: BotApi) -> None:
    sender = threading.Timer(0.2, server.send_text, (ANN, "Hello"))
    sender.start()
    started = time.monotonic()
    (update,) = drive(server, lambda bot: bot.get_updates(timeout=5))
    assert update.message.text == "Hello"
    assert 0.1 < time.monotonic() - started < 3
    started = time.monotonic()
    assert drive(server, lambda bot: bot.get_updates(offset=update.update_id + 1, timeout=1)) == ()
    assert 0.9 < time.monotonic() - started < 3
    sender.join()


def test_polls_conflict_with_a_webhook_and_with_each_other(server: BotApi) -> None:
    async def twice(bot: telegram.Bot) -> None:
        async with make_bot(server) as other:  # a bot polls through one connection only
            first = asyncio.create_task(bot.get_updates(timeout=40))
            await asyncio.sleep(0.2)
            second = asyncio.create_task(other.get_updates(timeout=40))
            with pytest.raises(Conflict, match="terminated by other getUpdates request"):
                await first
            await bot.set_webhook("https://bot.example.org/hook")
            with pytest.raises(Conflict, match="terminated by setWebhook request"):
                await second
        with pytest.raises(Conflict, match="while webhook is active"):
            await bot.get_updates()
        await bot.delete_webhook()
        assert await bot.get_updates() == ()

    started = time.monotonic()
    drive(server, twice)
    assert time.monotonic() - started < 20  # the polls gave way at once


def test_only_updates_asked_for_are_kept(server: BotApi) -> None:
    drive(server, lambda bot: bot.get_updates(allowed_updates=["my_chat_member"]))
    server.send_text(ANN, "not asked for")
    kept = server.block(ANN)
    drive(server, lambda bot: bot.get_updates())  # says nothing, so the choice stays
    server.unblock(ANN)
    assert server.pending[0] == kept
    assert len(server.pending) == 2
    assert "message" not in server.pending[1]


def test_stopping_frees_a_waiting_poll() -> None:
    started = time.monotonic()
    with BotApi() as server:
        address = f"{server.base_url}{server.token}/getUpdates?timeout=30"
        poll = threading.Thread(target=lambda: httpx.get(address, timeout=40, **PLAIN))
        poll.start()
        time.sleep(0.2)
    poll.join()
    assert time.monotonic() - started < 5


# The webhook


def test_stopping_ends_a_call_whose_bot_has_gone() -> None:
    """Else some later test would hear of a task that was destroyed."""
    with BotApi() as server:
        server.fail("getMe", delay=60)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{server.base_url}{server.token}/getMe", timeout=0.1, **PLAIN)
    assert asyncio.all_tasks(server._loop) == set()


def test_webhook_is_set_and_told(server: BotApi) -> None:
    url = "https://bot.example.org:8443/hook"
    drive(
        server,
        lambda bot: bot.set_webhook(
            url, secret_token="Aa0_-", max_connections=7, allowed_updates=["message", "callback_query"]
        ),
    )
    webhook = server.webhook
    assert (webhook.url, webhook.secret, webhook.max_connections) == (url, "Aa0_-", 7)
    assert webhook.allowed_updates == ["message", "callback_query"]
    server.send_text(ANN, "waiting")
    info = drive(server, lambda bot: bot.get_webhook_info())
    assert (info.url, info.max_connections, info.pending_update_count) == (url, 7, 1)
    drive(server, lambda bot: bot.delete_webhook(drop_pending_updates=True))
    info = drive(server, lambda bot: bot.get_webhook_info())
    assert (info.url, info.pending_update_count, server.pending) == ("", 0, [])


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"url": "http://bot.example.org/"}, "bad webhook: An HTTPS URL must be provided for webhook"),
        ({"url": "https://bot.example.org:5000/"}, "bad webhook: Webhook can be set up only on ports"),
        ({"url": "https:///hook"}, "invalid webhook URL specified"),
        ({"url": "https://bot.example.org/", "secret_token": "x" * 257}, "secret token is too long"),
        (
            {"url": "https://bot.example.org/", "secret_token": "a b"},
            "secret token contains unallowed characters",
        ),
        (
            {"url": "https://bot.example.org/", "secret_token": "é"},
            "secret token contains unallowed characters",
        ),
    ],
)
def test_webhook_is_refused(server: BotApi, parameters: dict[str, str], words: str) -> None:
    answer = post(server, "setWebhook", **parameters)
    assert answer.status_code == 400
    assert answer.json()["description"].startswith(f"Bad Request: {words}")
    assert server.webhook.url == ""


@pytest.mark.parametrize(("asked", "given"), [(0, 1), (100, 100), (1000, 100)])
def test_max_connections_are_pressed_into_their_range(server: BotApi, asked: int, given: int) -> None:
    post(server, "setWebhook", url="https://bot.example.org/", max_connections=asked)
    assert server.webhook.max_connections == given


def test_update_is_delivered_with_the_secret(server: BotApi) -> None:
    with receiving(accept) as receiver:
        drive(server, lambda bot: bot.set_webhook(receiver.url, secret_token="s3cret"))
        update = server.send_text(ANN, "/start")
        assert server.deliver(update) == 200
    ((received, headers),) = receiver.received
    assert received == update
    assert headers["X-Telegram-Bot-Api-Secret-Token"] == "s3cret"
    assert headers["Content-Type"] == "application/json"
    assert server.pending == []


def test_delivery_goes_through_the_gateway(server: BotApi) -> None:
    drive(server, lambda bot: bot.set_webhook("https://bot.example.org/hook"))
    update = server.send_text(ANN, "/start")
    with pytest.raises(RuntimeError, match="set `gateway`"):
        server.run_delivery()
    with receiving(accept) as receiver:
        server.gateway = receiver.url.removesuffix("/telegram")
        assert server.deliver(update) == 200
    assert receiver.received[0][1]["path"] == "/hook"


def test_redirects_are_failures_and_failures_stay_pending(server: BotApi) -> None:
    with receiving(lambda update: (302, {"Location": "/elsewhere"})) as receiver:
        drive(server, lambda bot: bot.set_webhook(receiver.url))
        update = server.send_text(ANN, "x")
        assert server.deliver(update) == 302
    assert len(receiver.received) == 1
    assert server.pending == [update]
    with pytest.raises(ConnectionError, match="Connection refused"):
        server.deliver(update)
    info = drive(server, lambda bot: bot.get_webhook_info())
    assert info.last_error_message == "Connection refused"
    assert [attempt.status for attempt in server.deliveries[update["update_id"]]] == [302, None]


def test_redelivery_until_acknowledged_in_order(server: BotApi) -> None:
    answers: dict[str, list[Any]] = {
        "one": [(302, {}), None, (503, {}), (204, {})],
        "two": [(429, {"Retry-After": "40"}), (200, {})],
    }
    with receiving(lambda update: answers[update["message"]["text"]].pop(0)) as receiver:
        drive(server, lambda bot: bot.set_webhook(receiver.url))
        one, two = (server.send_text(ANN, text)["update_id"] for text in ("one", "two"))
        assert server.run_delivery(pace=0.01) is True
    assert [update["message"]["text"] for update, _ in receiver.received] == ["one"] * 4 + ["two"] * 2
    assert [attempt.status for attempt in server.deliveries[one]] == [302, None, 503, 204]
    first, second = server.deliveries[two]
    assert first.retry_after == 40
    assert 0.4 <= second.started - first.ended < 2  # 40 s at a hundredth of the pace
    pauses = [
        later.started - earlier.ended
        for earlier, later in zip(server.deliveries[one], server.deliveries[one][1:], strict=False)
    ]
    assert pauses[1] >= 0.02
    assert pauses[2] >= 0.04


def test_redelivery_gives_up_at_the_deadline(server: BotApi) -> None:
    with receiving(lambda update: (500, {})) as receiver:
        drive(server, lambda bot: bot.set_webhook(receiver.url))
        update = server.send_text(ANN, "x")
        assert server.run_delivery(seconds=0.3, pace=0.001) is False
    assert len(server.deliveries[update["update_id"]]) > 3
    assert len(server.deliveries[update["update_id"]]) - len(receiver.received) in (0, 1)  # one was cut short
    assert server.pending == [update]


def test_chats_are_delivered_in_parallel_up_to_max_connections(server: BotApi) -> None:
    lock, busy, most, by_chat = threading.Lock(), [], [], []

    def respond(update: dict[str, Any]) -> tuple[int, dict[str, str]]:
        chat = update["message"]["chat"]["id"]
        with lock:
            by_chat.append(busy.count(chat))
            busy.append(chat)
            most.append(len(busy))
        time.sleep(0.05)
        with lock:
            busy.remove(chat)
        return 200, {}

    with receiving(respond) as receiver:
        drive(server, lambda bot: bot.set_webhook(receiver.url, max_connections=3))
        for _ in range(2):
            for user in range(10, 16):
                server.send_text(user, "x")
        assert server.run_delivery() is True
    assert len(receiver.received) == 12
    assert max(most) == 3
    assert max(by_chat) == 0  # never two of one chat


def test_what_comes_during_a_delivery_is_delivered_too(server: BotApi) -> None:
    def respond(update: dict[str, Any]) -> tuple[int, dict[str, str]]:
        if update["message"]["text"] == "first":
            server.send_text(BOB, "second")
        return 200, {}

    with receiving(respond) as receiver:
        drive(server, lambda bot: bot.set_webhook(receiver.url))
        server.send_text(ANN, "first")
        delivery = server.start_delivery()
        server.wait_for(lambda: sum(map(len, server.deliveries.values())) == 2)
        assert delivery.result() is True
    assert [update["message"]["text"] for update, _ in receiver.received] == ["first", "second"]


def test_stopping_ends_a_delivery() -> None:
    started = time.monotonic()
    with receiving(lambda update: (500, {})) as receiver:
        with BotApi() as server:
            post(server, "setWebhook", url=receiver.url)
            server.send_text(ANN, "x")
            delivery = server.start_delivery(seconds=30)
            server.wait_for(lambda: server.deliveries)
        assert delivery.result(timeout=0) is False
    assert time.monotonic() - started < 20


# Rates and scripted failures


def test_webhook_is_set_once_a_second_only_where_asked_for(server: BotApi) -> None:
    def twice(server: BotApi) -> list[httpx.Response]:
        return [post(server, "setWebhook", url="https://bot.example.org/") for _ in range(2)]

    assert [answer.status_code for answer in twice(server)] == [200, 200]
    with BotApi(rate_limits=True) as strict:
        first, second = twice(strict)
        assert (first.status_code, second.status_code) == (200, 429)
        assert second.json() == {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests: retry after 1",
            "parameters": {"retry_after": 1},
        }
        time.sleep(1)
        assert post(strict, "setWebhook", url="https://bot.example.org/").status_code == 200


@pytest.mark.filterwarnings("ignore:.*PTB_TIMEDELTA")
def test_scripted_failures(server: BotApi) -> None:
    server.fail("sendMessage", times=2, status=500)
    server.fail("sendMessage", retry_after=9)
    server.fail("sendMessage", drop=True)
    server.fail("sendMessage", status=403, description="Forbidden: user is deactivated")
    errors = []

    async def insist(bot: telegram.Bot) -> None:
        while not server.sent:
            try:
                await bot.send_message(ANN, "x")
            except telegram.error.TelegramError as error:
                errors.append(error)

    drive(server, insist)
    assert [type(error) for error in errors] == [
        NetworkError,
        NetworkError,
        RetryAfter,
        NetworkError,
        Forbidden,
    ]
    assert re.search("Retry in (9 seconds|0:00:09)", str(errors[2]))  # by PTB_TIMEDELTA
    assert "disconnected" in str(errors[3])
    sends = [status for method, status in server.calls if method == "sendMessage"]
    assert sends == [500, 500, 429, 0, 403, 200]


def test_answer_is_lost_after_the_work_was_done(server: BotApi) -> None:
    server.fail("sendMessage", drop=True, takes_effect=True)
    with pytest.raises(NetworkError):
        drive(server, lambda bot: bot.send_message(ANN, "x"))
    assert [sent.text for sent in server.sent] == ["x"]


def test_answer_lags_behind_the_work(server: BotApi) -> None:
    server.fail("sendMessage", lag=0.6)
    answer = threading.Thread(target=post, args=(server, "sendMessage"), kwargs={"chat_id": ANN, "text": "x"})
    answer.start()
    server.wait_for(lambda: server.sent)
    assert server.underway == 1
    answer.join()
    server.wait_for(lambda: server.underway == 0)
    server.fail("sendMessage", status=500)
    server.recover()
    assert post(server, "sendMessage", chat_id=ANN, text="y").status_code == 200


def test_scripted_delay_and_failing_download(server: BotApi) -> None:
    server.fail("getMe", delay=0.4)
    started = time.monotonic()
    assert post(server, "getMe").status_code == 200
    assert time.monotonic() - started >= 0.4
    server.fail("sendMessage", delay=0.6, takes_effect=True)
    with pytest.raises(TimedOut):
        drive(server, lambda bot: bot.send_message(ANN, "slow", read_timeout=0.2))
    assert server.wait_for(lambda: server.sent)[0].text == "slow"

    file_id = server.send_document(ANN, b"x", "a.jpg", "image/jpeg")["message"]["document"]["file_id"]
    server.fail("file", drop=True)

    async def fetch(bot: telegram.Bot) -> bytearray:
        return await (await bot.get_file(file_id)).download_as_bytearray()

    with pytest.raises(NetworkError):
        drive(server, fetch)
    assert drive(server, fetch) == b"x"


def test_wait_for_sees_what_comes_and_reports_what_did_not(server: BotApi) -> None:
    answer = threading.Timer(0.2, post, (server, "sendMessage"), {"chat_id": ANN, "text": "Hello"})
    answer.start()
    assert server.wait_for(lambda: [sent.text for sent in server.sent]) == ["Hello"]
    with pytest.raises(AssertionError, match=r"sent: \[\('sendMessage', 7, 'Hello'\)\]"):
        server.wait_for(lambda: len(server.sent) == 2, timeout=0.1)
    answer.join()


def test_many_users_and_requests_at_once(server: BotApi) -> None:
    async def crowd(bot: telegram.Bot) -> None:
        def write(user: int) -> None:
            for _ in range(5):
                server.send_photo(user, picture())

        writers = [asyncio.to_thread(write, user) for user in range(20, 28)]
        await asyncio.gather(*writers)
        await asyncio.gather(*[bot.send_photo(user, picture()) for user in range(20, 28) for _ in range(5)])

    drive(server, crowd)
    ids = [update["update_id"] for update in server.pending]
    messages = [update["message"]["message_id"] for update in server.pending]
    messages += [sent.message_id for sent in server.sent]
    assert len(ids) == 40
    assert ids == sorted(set(ids))
    assert len(messages) == len(set(messages)) == 80


def test_two_servers_know_nothing_of_each_other(server: BotApi) -> None:
    with BotApi(token="99:other") as other:
        assert other.port != server.port
        other.send_text(BOB, "/start")
        drive(other, lambda bot: bot.send_message(BOB, "x"))
        assert not server.sent
        assert BOB not in server.chats
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{other.port}/")

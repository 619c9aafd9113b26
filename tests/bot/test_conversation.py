"""The whole trip: updates from a Bot API server like Telegram's to a real gunicorn, and its answers back."""

import asyncio
import io
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image
from telegram import Update
from telegram.error import NetworkError
from telegram.ext import Application, ApplicationBuilder, MessageHandler, filters

from bot import conversation, replies
from inference.errors import Reason
from tests.bot.conftest import answers
from tests.botapi import BOT, BotApi
from tests.pictures import encode

pytestmark = pytest.mark.usefixtures("bot")

GROUP = -1001


def message_id(update) -> int:
    return update["message"]["message_id"]


def test_it_introduces_itself_to_telegram(telegram):
    assert telegram.webhook.url == "https://faces.example.com/telegram"
    assert telegram.webhook.allowed_updates == ["message"]
    assert telegram.webhook.max_connections == 32
    telegram.wait_for(lambda: ("short_description", "") in telegram.descriptions)  # the last that it sets
    assert [command["command"] for command in telegram.commands["default", ""]] == list(replies.COMMANDS)
    assert telegram.descriptions["description", ""] == replies.DESCRIPTION
    page = {"text": replies.LIVE_BUTTON, "web_app": {"url": "https://faces.example.com/live"}}
    assert telegram.menu_buttons[None] == {"type": "web_app"} | page
    short_description = replies.short_description("@the_operator")
    assert telegram.descriptions["short_description", ""] == short_description


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("/start", replies.START),
        ("/help", replies.help(BOT, 20, live=True)),
        ("/privacy", replies.privacy("@the_operator", live=True)),
        ("/analyze", replies.reply_to_a_photo(BOT)),
        ("/live", replies.LIVE),
        ("/nonsense", replies.UNKNOWN_COMMAND),
        ("hello", replies.SEND_A_PHOTO),
    ],
)
def test_commands_and_texts(telegram, person, command, text):
    (answer,) = answers(telegram, telegram.send_text(person, command))
    assert answer.text == text


def test_a_photo_comes_back_annotated(telegram, person, astronaut):
    update = telegram.send_photo(person, encode(astronaut))
    (answer,) = answers(telegram, update)
    assert re.fullmatch(
        r"1\. happy \d{2,3} %, woman \d{2,3} %, about (2[5-9]|[34]\d) \(\d\d-\d\d\)", answer.caption
    )
    assert answer.reply_to == message_id(update)
    annotated = np.array(Image.open(io.BytesIO(answer.photo)))
    assert annotated.shape == astronaut.shape
    assert (np.abs(annotated.astype(int) - astronaut).max(axis=2) > 100).sum() > 500
    assert any((action.chat_id, action.action) == (person, "upload_photo") for action in telegram.actions)


def test_an_update_is_one_line_in_the_log(telegram, bot, person, astronaut):
    updates = [
        telegram.send_photo(person, encode(astronaut)),
        telegram.send_text(person, "/start"),
        telegram.send_document(person, b"a secret diary", "diary.txt", "application/octet-stream"),
        telegram.send_text(GROUP, "/dance"),
    ]
    for update in updates:
        assert telegram.deliver(update) == 200
    log = bot.log.read_text()
    photo, start, diary, dance = (
        re.findall(rf".*update={update['update_id']} .*", log) for update in updates
    )
    seconds = r"\d+\.\d{3}"
    stages = ("download", "wait", "decode", "detect", "attributes", "draw", "reply", "total")
    times = " ".join(f"{stage}={seconds}" for stage in stages)
    assert re.fullmatch(rf"INFO .*: update=\d+ chat=private outcome=answered faces=1 {times}", *photo)
    assert "chat=private outcome=answered reply=" in "".join(start)
    assert "chat=private outcome=refused kind=not_an_image download=" in "".join(diary)
    assert re.search(r"chat=group outcome=ignored total=\S+$", *dance)
    assert not any(text in log for text in (str(person), "diary", "user"))
    assert "HTTP/1.1" not in log  # a line of an access log


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "HEIF", "BMP", "TIFF", "GIF"])
def test_an_image_sent_as_a_file(telegram, person, astronaut, form):
    update = telegram.send_document(
        person, encode(astronaut, form), f"photo.{form.lower()}", f"image/{form.lower()}"
    )
    (answer,) = answers(telegram, update)
    assert "woman" in answer.caption
    assert answer.reply_to == message_id(update)


def test_a_file_without_a_telling_name_is_looked_into(telegram, person, astronaut):
    update = telegram.send_document(person, encode(astronaut), "scan", "application/octet-stream")
    (answer,) = answers(telegram, update)
    assert "woman" in answer.caption


def test_a_sideways_phone_photo_is_turned_upright(telegram, person, astronaut):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    sideways = encode(np.rot90(astronaut[:, :400]), exif=exif)
    (answer,) = answers(telegram, telegram.send_document(person, sideways, "p.jpg", "image/jpeg"))
    assert "woman" in answer.caption
    assert Image.open(io.BytesIO(answer.photo)).size == (400, 512)


def test_a_crowd_gets_every_line(telegram, person, astronaut):
    face = astronaut[20:220, 120:320]
    update = telegram.send_document(person, encode(np.tile(face, (6, 8, 1))), "crowd.jpg", "image/jpeg")
    photo, *rest = answers(telegram, update)
    assert len(rest) >= 1
    lines = "\n".join([photo.caption, *(message.text for message in rest)]).split("\n")
    assert [line.split(".")[0] for line in lines] == [str(number) for number in range(1, 49)]


def test_every_photo_of_an_album_is_answered(telegram, person, astronaut):
    album = telegram.send_album(
        person, [encode(astronaut), encode(astronaut[:, ::-1])] + [encode(astronaut[:300])] * 8
    )
    before = len(telegram.sent)
    assert telegram.run_delivery(60)
    replied = telegram.sent[before:]
    assert [answer.reply_to for answer in replied] == [message_id(update) for update in album]
    assert all("woman" in answer.caption for answer in replied)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"%PDF-1.7 ...", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "damaged"),
        (encode(np.zeros((1, 1, 3), np.uint8), "PNG"), "too small"),
        (encode(np.zeros((16, 2000, 3), np.uint8), "PNG"), "narrow strip"),
    ],
)
def test_files_that_are_no_photos(telegram, person, content, text):
    (answer,) = answers(telegram, telegram.send_document(person, content, "file", "application/octet-stream"))
    assert text in answer.text


def test_a_file_over_the_download_limit(telegram, person):
    update = telegram.send_document(person, bytes(20 * 2**20 + 1), "huge.jpg", "image/jpeg")
    (answer,) = answers(telegram, update)
    assert answer.text == replies.refusal(Reason.TOO_MANY_BYTES, 20, is_file=True)
    assert answer.text.endswith("Telegram shrinks what is not sent as a file.")


def test_a_photo_without_a_face(telegram, person):
    (answer,) = answers(telegram, telegram.send_photo(person, encode(np.full((300, 400, 3), 90, np.uint8))))
    assert answer.text == replies.NO_FACE


def test_other_messages_are_not_met_with_silence(telegram, person):
    hints = [
        (telegram.send_sticker(person), replies.NOT_A_STICKER),
        (telegram.send_voice(person), replies.NOT_A_PHOTO),
        (telegram.send_location(person, 52.5, 13.4), replies.NOT_A_PHOTO),
    ]
    for update, text in hints:
        (answer,) = answers(telegram, update)
        assert answer.text == text


def test_groups_hear_nothing_they_did_not_ask_for(telegram, astronaut):
    name = telegram.bot["username"]
    photo = telegram.send_photo(GROUP, encode(astronaut))
    assert answers(telegram, photo) == []
    assert answers(telegram, telegram.send_text(GROUP, "hello everybody")) == []
    assert answers(telegram, telegram.send_text(GROUP, "/dance")) == []
    assert answers(telegram, telegram.send_sticker(GROUP)) == []
    assert answers(telegram, telegram.send_text(GROUP, f"I like @{name} a lot")) == []
    (answer,) = answers(telegram, telegram.send_text(GROUP, f"/analyze@{name}", reply_to=message_id(photo)))
    assert (answer.reply_to, "woman" in answer.caption) == (message_id(photo), True)
    (answer,) = answers(
        telegram, telegram.send_text(GROUP, f"@{name} who is this?", reply_to=message_id(photo))
    )
    assert "woman" in answer.caption
    (answer,) = answers(telegram, telegram.send_photo(GROUP, encode(astronaut), f"Look @{name.upper()}"))
    assert "woman" in answer.caption
    text = telegram.send_text(GROUP, "just words")
    (answer,) = answers(telegram, telegram.send_text(GROUP, f"/analyze@{name}", reply_to=message_id(text)))
    assert answer.text == replies.REPLY_HAS_NO_PHOTO


@pytest.mark.parametrize("text", ["@{} look", "look, @{}!", "(@{})", "@{}?"])
def test_a_mention_may_stand_anywhere_in_a_caption(telegram, astronaut, text):
    caption = text.format(telegram.bot["username"].title())
    (answer,) = answers(telegram, telegram.send_photo(GROUP, encode(astronaut), caption))
    assert "woman" in answer.caption


@pytest.mark.parametrize(
    ("command", "count"), [("/analyze", 1), ("/analyze@{}", 1), ("/analyze@other_bot", 0)]
)
def test_the_command_as_a_caption(telegram, astronaut, command, count):
    caption = command.format(telegram.bot["username"])
    assert len(answers(telegram, telegram.send_photo(GROUP, encode(astronaut), caption))) == count


def test_the_whole_album_of_a_group_that_mentions_the_bot(telegram, astronaut):
    caption = f"@{telegram.bot['username']}"
    first, second = telegram.send_album(GROUP, [encode(astronaut), encode(astronaut[:, ::-1])], caption)
    assert [answer.reply_to for answer in answers(telegram, first)] == [message_id(first)]
    assert [answer.reply_to for answer in answers(telegram, second)] == [message_id(second)]


def test_an_album_that_nobody_asked_for_is_left_alone(telegram, astronaut):
    for photo in telegram.send_album(GROUP, [encode(astronaut), encode(astronaut)], "Our holidays"):
        assert answers(telegram, photo) == []


def test_a_group_that_the_bot_joins_hears_how_to_begin(telegram):
    stranger = {"id": 77, "is_bot": True, "first_name": "Other"}
    assert answers(telegram, telegram.send(GROUP, new_chat_members=[stranger])) == []
    for joined in ({"new_chat_members": [stranger, telegram.bot]}, {"group_chat_created": True}):
        (answer,) = answers(telegram, telegram.send(GROUP, **joined))
        assert answer.text == replies.start_in_a_group(BOT)
    (answer,) = answers(telegram, telegram.send_text(GROUP, f"@{telegram.bot['username']}"))
    assert answer.text == replies.start_in_a_group(BOT)  # likewise who only calls its name


def test_a_photo_that_replies_to_the_bot_is_given_to_it(telegram, astronaut):
    (greeting,) = answers(telegram, telegram.send_text(GROUP, f"/start@{telegram.bot['username']}"))
    photo = telegram.send_photo(GROUP, encode(astronaut), reply_to=greeting.message_id)
    (answer,) = answers(telegram, photo)
    assert ("woman" in answer.caption, answer.reply_to) == (True, message_id(photo))
    other = telegram.send_photo(GROUP, encode(astronaut), reply_to=message_id(photo))
    assert answers(telegram, other) == []


def test_the_bot_does_not_read_what_it_has_drawn_itself(telegram, astronaut):
    name = telegram.bot["username"]
    photo = telegram.send_photo(GROUP, encode(astronaut), f"@{name}")
    (answer,) = answers(telegram, photo)
    assert answer.photo
    thanks = telegram.send_text(GROUP, f"@{name} thanks, nice!", reply_to=answer.message_id)
    assert answers(telegram, thanks) == []
    command = telegram.send_text(GROUP, f"/analyze@{name}", reply_to=answer.message_id)
    (answer,) = answers(telegram, command)
    assert answer.text == replies.REPLY_TO_THE_ORIGINAL


@pytest.mark.parametrize("words", [f"/analyze@{BOT}", f"@{BOT}"])
def test_a_picture_of_another_topic_can_not_be_seen(telegram, words):
    origin = {"type": "hidden_user", "date": 0, "sender_user_name": "Anna"}
    external = {"origin": origin, "photo": telegram.store_photo(encode(np.zeros((90, 90, 3), np.uint8)))}
    kind = "bot_command" if words.startswith("/") else "mention"
    entities = [{"type": kind, "offset": 0, "length": len(words)}]
    update = telegram.send(GROUP, text=words, entities=entities, external_reply=external)
    (answer,) = answers(telegram, update)
    assert answer.text == replies.REPLY_FROM_ELSEWHERE


def test_a_plain_command_does_not_come_where_another_bot_spoke_last(telegram):
    """By Telegram's privacy mode; so people are told to name the bot."""
    other = {"id": 77, "is_bot": True, "first_name": "Other"}
    with telegram.changed:
        telegram.add_message(GROUP, other, {"text": "I am another bot"})
    assert telegram.send_text(GROUP, "/start") not in telegram.pending
    for command in (f"/start@{BOT}", "/start"):  # after which ours was the last
        update = telegram.send_text(GROUP, command)
        assert update in telegram.pending
        (answer,) = answers(telegram, update)
        assert f"/analyze@{BOT}" in answer.text


def test_a_gif_in_reply_to_the_bot_is_talk(telegram, astronaut):
    (greeting,) = answers(telegram, telegram.send_text(GROUP, f"/start@{BOT}"))
    gif = encode(astronaut, "GIF")
    talk = telegram.send_animation(GROUP, gif, "image/gif", reply_to=greeting.message_id)
    assert answers(telegram, talk) == []
    asked = telegram.send_text(GROUP, f"/analyze@{BOT}", reply_to=message_id(talk))
    (answer,) = answers(telegram, asked)
    assert "woman" in answer.caption


def test_a_mention_in_a_reply_to_words_is_left_alone(telegram):
    text = telegram.send_text(GROUP, "just words")
    mention = telegram.send_text(GROUP, f"@{telegram.bot['username']} hm?", reply_to=message_id(text))
    assert answers(telegram, mention) == []


def test_a_forum_topic_is_no_photo_to_analyze(telegram):
    topic = telegram.send(GROUP, forum_topic_created={"name": "Holidays", "icon_color": 7322096})
    command = telegram.send_text(GROUP, f"/analyze@{telegram.bot['username']}", reply_to=message_id(topic))
    (answer,) = answers(telegram, command)
    assert answer.text == replies.reply_to_a_photo(BOT)


def test_a_gif_that_does_not_move_is_a_photo(telegram, person, astronaut):
    (answer,) = answers(telegram, telegram.send_animation(person, encode(astronaut, "GIF"), "image/gif"))
    assert (answer.method, "woman" in answer.caption) == ("sendPhoto", True)


def test_a_large_file_that_is_no_image_is_not_called_too_large(telegram, person):
    update = telegram.send_document(person, bytes(20 * 2**20 + 1), "films.zip", "application/zip")
    (answer,) = answers(telegram, update)
    assert answer.text == replies.NOT_A_PHOTO


def test_edited_messages_are_not_answered_again(telegram, person):
    update = telegram.send_text(person, "/start")
    assert len(answers(telegram, update)) == 1
    edited = {"update_id": 1, "edited_message": update["message"] | {"edit_date": 1}}
    assert answers(telegram, edited) == []


def test_an_answer_that_takes_longer_than_its_request_is_given_once(telegram, person, astronaut):
    """The photo is out and its text waits when the time for the request is over."""
    crowd = np.tile(astronaut[20:220, 120:320], (6, 8, 1))
    update = telegram.send_document(person, encode(crowd), "crowd.jpg", "image/jpeg")
    before = len(telegram.sent)
    telegram.fail("sendMessage", delay=18)
    telegram.fail("getFile", delay=9)
    assert telegram.deliver(update) == 503
    telegram.wait_for(lambda: len(telegram.sent) > before + 1, timeout=30)
    sent = telegram.sent[before:]
    assert telegram.run_delivery(30)
    assert telegram.sent[before:] == sent
    assert [answer.method for answer in sent] == ["sendPhoto", "sendMessage"]


def process(server: BotApi, kind: type[Application], handler, times: int = 1) -> None:
    """Have an application of one of our kinds work on a text with this handler; the last may raise."""

    async def scenario():
        url = f"http://127.0.0.1:{server.port}/bot"
        builder = ApplicationBuilder().application_class(kind).token(server.token).base_url(url).updater(None)
        async with builder.build() as application:
            application.bot_data.update(tries={}, places=asyncio.Semaphore())
            application.add_handler(MessageHandler(filters.TEXT, handler))
            application.add_error_handler(conversation.failed)
            update = Update.de_json(server.send_text(7, "hello"), application.bot)
            for _ in range(times - 1):
                with pytest.raises((TimeoutError, NetworkError)):
                    await application.process_update(update)
            await application.process_update(update)

    asyncio.run(scenario())


@pytest.mark.parametrize(("slow", "again"), [("sendMessage", False), ("sendPhoto", True)])
def test_an_update_whose_picture_is_out_does_not_come_again(monkeypatch, astronaut, slow, again):
    """Whichever part of the answer hangs until the time for the work is over."""
    monkeypatch.setattr(conversation.Redelivered, "work_seconds", 1)

    async def answer(update, context):
        message = update.effective_message
        await conversation._present(message, lambda: message.reply_photo(encode(astronaut), "1"), ["1", "2"])

    with BotApi() as server:
        server.fail(slow, delay=3)
        with pytest.raises(TimeoutError) if again else nullcontext():
            process(server, conversation.Redelivered, answer)
        assert [sent.method for sent in server.sent] == ([] if again else ["sendPhoto"])


def test_an_error_that_nobody_expected_is_told_and_ends_the_update():
    async def broken(update, context):
        raise ZeroDivisionError

    with BotApi() as server:
        process(server, conversation.Redelivered, broken)
        assert [answer.text for answer in server.sent] == [replies.TROUBLE]


def test_an_update_that_is_never_done_in_time_is_given_up(monkeypatch):
    monkeypatch.setattr(conversation.Redelivered, "work_seconds", 0.1)

    async def answer(update, context):
        await asyncio.sleep(10)

    with BotApi() as server:
        process(server, conversation.Redelivered, answer, times=conversation.TRIES)
        assert [sent.text for sent in server.sent] == [replies.NOT_IN_TIME]


def test_an_answer_that_telegram_never_takes_is_given_up(said):
    """Else the picture would be fetched and analyzed for a day."""

    async def answer(update, context):
        raise NetworkError("Bad Gateway")

    with BotApi() as server:
        process(server, conversation.Redelivered, answer, times=conversation.TRIES)
        assert [sent.text for sent in server.sent] == [replies.TROUBLE]
    outcomes = [line.getMessage().split()[2:4] for line in said("bot.journal")]
    assert outcomes == [["outcome=redelivered", "kind=NetworkError"]] * (conversation.TRIES - 1) + [
        ["outcome=failed", "kind=NetworkError"]
    ]


@pytest.mark.parametrize("refusal", ["blocked", "chat not found"])
def test_an_update_that_is_given_up_ends_though_its_person_can_t_be_told(monkeypatch, said, refusal):
    """Else it would be worked on for a day."""
    monkeypatch.setattr(conversation.Redelivered, "work_seconds", 0.1)

    with BotApi() as server:
        if refusal != "blocked":
            server.fail("sendMessage", status=400, description=f"Bad Request: {refusal}")

        async def answer(update, context):
            if refusal == "blocked":
                server.block(7)
            await asyncio.sleep(10)

        process(server, conversation.Redelivered, answer, times=conversation.TRIES)
        assert server.sent == []
    kind = "Forbidden" if refusal == "blocked" else "BadRequest"
    assert f"outcome=blocked kind={kind}" in said("bot.journal")[-1].getMessage()


def test_an_update_that_is_given_up_comes_again_until_its_person_is_told(monkeypatch):
    monkeypatch.setattr(conversation.Redelivered, "work_seconds", 0.1)

    async def answer(update, context):
        await asyncio.sleep(10)

    with BotApi() as server:
        server.fail("sendMessage", status=502)
        with pytest.raises(NetworkError):
            process(server, conversation.Redelivered, answer, times=conversation.TRIES)


def test_only_a_few_large_files_are_fetched_at_once(telegram, person):
    content = bytes(conversation.LARGE_BYTES + 1)
    updates = [
        telegram.send_document(person + number, content, "file", "application/octet-stream")
        for number in range(conversation.LARGE_FILES + 1)
    ]
    telegram.fail("file", times=len(updates), delay=1)
    start = time.monotonic()
    with ThreadPoolExecutor(len(updates)) as deliveries:
        assert set(deliveries.map(telegram.deliver, updates)) == {200}
    assert time.monotonic() - start > 2


def test_who_polls_is_told_of_an_update_that_is_given_up(monkeypatch):
    monkeypatch.setattr(conversation, "RETRY_SECONDS", (0, 0))
    tries = []

    async def never(update, context):
        tries.append(update)
        raise NetworkError("Bad Gateway")

    with BotApi() as server:
        process(server, conversation.Polled, never)
        assert [sent.text for sent in server.sent] == [replies.TROUBLE]
    assert len(tries) == 3


def test_a_group_without_photos_gets_the_text(telegram, astronaut):
    photo = telegram.send_photo(GROUP, encode(astronaut))
    telegram.fail(
        "sendPhoto", status=400, description="Bad Request: not enough rights to send photos to the chat"
    )
    command = telegram.send_text(GROUP, f"/analyze@{telegram.bot['username']}", reply_to=message_id(photo))
    (answer,) = answers(telegram, command)
    assert "woman" in answer.text


def test_a_second_delivery_makes_no_second_answer(telegram, person, astronaut):
    update = telegram.send_photo(person, encode(astronaut))
    assert len(answers(telegram, update)) == 1
    assert answers(telegram, update) == []


def test_the_rest_of_a_long_answer_is_not_lost(telegram, person, astronaut):
    crowd = np.tile(astronaut[20:220, 120:320], (6, 8, 1))
    update = telegram.send_document(person, encode(crowd), "crowd.jpg", "image/jpeg")
    telegram.fail("sendMessage", times=2, status=502)
    assert [answer.method for answer in answers(telegram, update)] == ["sendPhoto", "sendMessage"]


@pytest.mark.parametrize("failure", [{"status": 500}, {"retry_after": 25}, {"drop": True}])
def test_a_failed_answer_is_left_to_redelivery(telegram, person, astronaut, failure):
    update = telegram.send_photo(person, encode(astronaut))
    telegram.fail("sendPhoto", **failure)
    assert telegram.deliver(update) == 503
    assert len(answers(telegram, update)) == 1


def test_a_short_flood_wait_is_sat_out(telegram, person, astronaut):
    telegram.fail("sendPhoto", retry_after=1)
    assert len(answers(telegram, telegram.send_photo(person, encode(astronaut)))) == 1


def test_a_failed_download_is_left_to_redelivery(telegram, person, astronaut):
    update = telegram.send_photo(person, encode(astronaut))
    telegram.fail("file", times=2, status=502)
    assert [telegram.deliver(update), telegram.deliver(update)] == [503, 503]
    assert [attempt.retry_after for attempt in telegram.deliveries[update["update_id"]]] == [2, 4]
    assert len(answers(telegram, update)) == 1


def test_one_person_can_t_send_photos_without_end(telegram, person):
    def send(whom: int) -> list[str]:
        update = telegram.send_document(whom, b"%PDF", "file", "application/octet-stream")
        return [answer.text for answer in answers(telegram, update)]

    for _ in range(30):
        assert send(person) == [replies.REFUSALS[Reason.NOT_AN_IMAGE]]
    update = telegram.send_document(person, b"%PDF", "file", "application/octet-stream")
    telegram.fail("sendMessage", status=502)
    assert telegram.deliver(update) == 503
    (told,) = (answer.text for answer in answers(telegram, update))
    assert told == "That is a lot in one minute! Please send the others again in 60 seconds."
    assert send(person) == []  # told once
    assert send(person + 1) == [replies.REFUSALS[Reason.NOT_AN_IMAGE]]
    (answer,) = answers(telegram, telegram.send_text(person, "/help"))
    assert answer.text == replies.help(BOT, 20, live=True)


@pytest.mark.parametrize("words", ["chat not found", "not enough rights to send text messages to the chat"])
def test_who_can_t_be_answered_any_more_is_let_go(telegram, bot, person, astronaut, words):
    update = telegram.send_photo(person, encode(astronaut))
    for method in ("sendPhoto", "sendMessage"):
        telegram.fail(method, status=400, description=f"Bad Request: {words}")
    assert answers(telegram, update) == []
    log = bot.log.read_text()
    assert re.search(rf"update={update['update_id']} chat=private outcome=blocked kind=BadRequest", log)
    assert f"update {update['update_id']} failed" not in log


def test_who_blocked_the_bot_is_let_go(telegram, person, astronaut):
    update = telegram.send_photo(person, encode(astronaut))
    telegram.block(person)
    assert answers(telegram, update) == []
    telegram.unblock(person)


def test_a_video_counts_as_five_photos(telegram, person):
    for _ in range(6):
        (answer,) = answers(telegram, telegram.send_video(person, b"never fetched", duration=22))
        assert answer.text == replies.refusal(Reason.VIDEO_TOO_LONG, 20, is_file=False)
    (answer,) = answers(telegram, telegram.send_video(person, b"never fetched", duration=22))
    assert answer.text == replies.slow_down(60)


def test_who_asks_too_often_is_told_and_not_who_sent_the_video(telegram, person):
    video = telegram.send_video(GROUP, b"never fetched", duration=22)
    for _ in range(7):
        asked = telegram.send_text(GROUP, f"/analyze@{BOT}", user=person, reply_to=message_id(video))
        (answer,) = answers(telegram, asked)
    assert (answer.text, answer.reply_to) == (replies.slow_down(60), message_id(asked))


def test_what_telegram_tells_of_a_chat_is_not_commented(telegram, person):
    timer = {"message_auto_delete_time": 86_400}
    assert answers(telegram, telegram.send(person, message_auto_delete_timer_changed=timer)) == []


def test_a_file_that_telegram_has_no_longer(telegram, person, astronaut):
    update = telegram.send_photo(person, encode(astronaut))
    telegram.fail("file", status=404, description="Not Found")
    (answer,) = answers(telegram, update)
    assert answer.text == replies.REFUSALS[Reason.BROKEN]


def test_the_chat_shows_that_an_answer_is_coming_until_it_comes(telegram, person, astronaut):
    """Telegram takes it down by itself after five seconds."""

    def shown() -> int:
        return sum(action.chat_id == person for action in telegram.actions)

    telegram.fail("file", delay=conversation.ACTION_SECONDS + 1)
    (_,) = answers(telegram, telegram.send_photo(person, encode(astronaut)))
    assert shown() == 2
    time.sleep(conversation.ACTION_SECONDS + 0.5)
    assert shown() == 2


def test_a_long_flood_wait_is_left_to_telegram(telegram, person):
    telegram.fail("sendMessage", retry_after=25)
    update = telegram.send_text(person, "hello")
    assert telegram.deliver(update) == 503
    assert telegram.deliveries[update["update_id"]][-1].retry_after == 25
    assert telegram.deliver(update) == 200

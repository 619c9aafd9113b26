"""Videos, video messages and GIFs in the chat: the whole trip, as in test_conversation.py."""

import io
import re

import av
import numpy as np
import pytest

from bot import replies
from inference.errors import Reason
from tests import pictures
from tests.bot.conftest import answers
from tests.botapi import Media
from tests.videos import encode, moving

pytestmark = pytest.mark.usefixtures("bot")

PERSON, GROUP = 77, -1077
SUMMARY = r"1\. happy; woman, about (2[5-9]|[34]\d)"


@pytest.fixture(scope="module")
def clip() -> bytes:
    """A second and a half of the portrait, with a tone."""
    return encode(moving(36)[0], 24, sound="aac")


@pytest.fixture(scope="module")
def silent() -> bytes:
    return encode(moving(24)[0], 24)


def look_into(medium: Media) -> tuple[list[str], float, tuple[int, int], np.ndarray]:
    """The streams of a video, its length in seconds, its size, and its frame in the middle."""
    with av.open(io.BytesIO(medium.data)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        kinds = [stream.type for stream in file.streams]
        return kinds, file.duration / av.time_base, frames[0].shape[1::-1], frames[len(frames) // 2]


def test_a_video_message_comes_back_as_one(telegram, bot, clip):
    update = telegram.send_video_note(PERSON, clip, duration=2)
    note, text = answers(telegram, update)
    assert (note.method, text.method) == ("sendVideoNote", "sendMessage")
    assert note.reply_to == text.reply_to == update["message"]["message_id"]
    assert re.fullmatch(SUMMARY, text.text)
    kinds, seconds, size, middle = look_into(note.media[0])
    assert (kinds, size) == (["video", "audio"], (384, 384))
    assert seconds == pytest.approx(1.5, abs=0.1)
    assert (np.abs(middle.astype(int) - moving(36)[0][18]).max(axis=2) > 100).sum() > 300  # drawn on
    assert any(
        (action.chat_id, action.action) == (PERSON, "record_video_note") for action in telegram.actions
    )
    (line,) = re.findall(rf".*update={update['update_id']} .*", bot.log.read_text())
    stages = ("download", "wait", "decode", "look", "draw", "encode", "reply", "total")
    times = " ".join(rf"{stage}=\d+\.\d{{3}}" for stage in stages)
    assert re.fullmatch(
        rf"INFO .*: update=\d+ chat=private outcome=answered video=1\.5 faces=1 {times}", line
    )


def test_a_gif_comes_back_as_one(telegram, silent):
    (answer,) = answers(telegram, telegram.send_animation(PERSON, silent))
    assert answer.method == "sendAnimation"
    assert re.fullmatch(SUMMARY, answer.caption)
    kinds, seconds, *_ = look_into(answer.media[0])
    assert kinds == ["video"]
    assert seconds == pytest.approx(1, abs=0.1)
    gif = encode(moving(5, 160)[0], 10, codec="gif", container="gif")
    (answer,) = answers(telegram, telegram.send_document(PERSON, gif, "smile.gif", "image/gif"))
    assert (answer.method, "woman" in answer.caption) == ("sendAnimation", True)


def test_a_video_comes_back_as_one_in_a_file_or_not_and_once(telegram, clip):
    update = telegram.send_video(PERSON, clip)
    telegram.fail("sendVideo", status=502)
    assert telegram.deliver(update) == 503
    (answer,) = answers(telegram, update)
    assert answer.method == "sendVideo"
    assert re.fullmatch(SUMMARY, answer.caption)
    kinds, *_ = look_into(answer.media[0])
    assert kinds == ["video", "audio"]
    assert answers(telegram, update) == []
    (answer,) = answers(telegram, telegram.send_document(PERSON, clip, "clip.mp4", "video/mp4"))
    assert (answer.method, re.fullmatch(SUMMARY, answer.caption) is None) == ("sendVideo", False)


def test_what_was_under_a_spoiler_comes_back_under_one(telegram, silent):
    person = PERSON + 3  # within what one person may send in a minute
    for update in (
        telegram.send_photo(person, pictures.encode(moving(1)[0][0])),
        telegram.send_video(person, silent),
        telegram.send_animation(person, silent),
    ):
        (answer,) = answers(telegram, update)
        assert "has_media_spoiler" not in telegram.messages[person, answer.message_id]
        update["message"]["has_media_spoiler"] = True
        (answer,) = answers(telegram, update | {"update_id": update["update_id"] + 10_000})
        assert telegram.messages[person, answer.message_id]["has_media_spoiler"]


def test_a_recording_that_does_not_tell_its_length_is_as_long_as_it_was(telegram, bot):
    live = encode(moving(36)[0], 24, codec="libvpx", container="webm", options={"live": "1"})
    update = telegram.send_document(PERSON, live, "camera.webm", "video/webm")
    (answer,) = answers(telegram, update)
    assert re.fullmatch(SUMMARY, answer.caption)
    assert look_into(answer.media[0])[1] == pytest.approx(1.5, abs=0.1)
    assert re.search(rf"update={update['update_id']} .* video=1\.[45] ", bot.log.read_text())


@pytest.mark.parametrize("mime_type", ["application/octet-stream", None])
def test_a_video_in_a_file_of_unknown_kind_is_a_video(telegram, mime_type):
    person = PERSON + 4
    film = encode(moving(24)[0], 24, container="matroska")
    update = telegram.send_document(person, film, "film.mkv", mime_type)
    if mime_type is None:
        del update["message"]["document"]["mime_type"]
    (answer,) = answers(telegram, update)
    assert (answer.method, re.fullmatch(SUMMARY, answer.caption) is None) == ("sendVideo", False)


def test_a_file_of_unknown_kind_is_refused_as_what_it_is(telegram):
    person, unknown = PERSON + 5, ("file", "application/octet-stream")
    long = encode([np.full((32, 32, 3), 90, np.uint8)] * 25, 1, container="matroska")
    for content, reason in ((long, Reason.VIDEO_TOO_LONG), (b"%PDF-1.7", Reason.NOT_AN_IMAGE)):
        (answer,) = answers(telegram, telegram.send_document(person, content, *unknown))
        assert answer.text == replies.refusal(reason, 20, is_file=False)


def test_a_video_in_a_file_of_unknown_kind_counts_as_one(telegram):
    person, nobody = PERSON + 6, encode([np.full((64, 96, 3), 90, np.uint8)] * 5, container="matroska")
    texts = []
    for _ in range(7):
        update = telegram.send_document(person, nobody, "film.mkv", "application/octet-stream")
        texts += [answer.text for answer in answers(telegram, update)]
    assert texts == [replies.NO_FACE_IN_VIDEO] * 6 + [replies.slow_down(60)]


def test_a_group_asks_for_it(telegram, silent):
    video = telegram.send_video(GROUP, silent)
    assert answers(telegram, video) == []
    number = video["message"]["message_id"]
    command = telegram.send_text(GROUP, f"/analyze@{telegram.bot['username']}", reply_to=number)
    telegram.fail(
        "sendVideo", status=400, description="Bad Request: not enough rights to send videos to the chat"
    )
    (answer,) = answers(telegram, command)  # as text, then
    assert (answer.reply_to, re.fullmatch(SUMMARY, answer.text) is None) == (number, False)


def test_a_video_that_telegram_takes_for_too_large_is_answered_as_text_and_once(telegram, clip, silent):
    """The words in which Telegram's own server says so, and those of a proxy in front of it."""
    other = PERSON + 2  # within what one person may send in a minute
    for update, method, words in (
        (telegram.send_video(other, clip), "sendVideo", "Request Entity Too Large"),
        (telegram.send_video_note(other, silent), "sendVideoNote", "Content Too Large (413)"),
    ):
        telegram.fail(method, status=413, description=words)
        (answer,) = answers(telegram, update)
        assert answer.method == "sendMessage"
        assert re.fullmatch(SUMMARY, answer.text)
        assert answers(telegram, update) == []


def test_what_can_t_be_answered_is_told(telegram):
    nobody = encode([np.full((64, 96, 3), 90, np.uint8)] * 5)
    long = encode([np.full((32, 32, 3), 90, np.uint8)] * 25, 1)
    other = PERSON + 1  # within what one person may send in a minute
    sent = [
        (telegram.send_video(other, b"never fetched", duration=22), Reason.VIDEO_TOO_LONG),
        (telegram.send_document(other, long, "a.mp4", "video/mp4"), Reason.VIDEO_TOO_LONG),
        (telegram.send_video(other, bytes(20 * 2**20 + 1)), Reason.TOO_MANY_BYTES),
        (telegram.send_animation(other, b"....ftypmp42"), Reason.NOT_A_VIDEO),
    ]
    for update, reason in sent:
        (answer,) = answers(telegram, update)
        assert answer.text == replies.refusal(reason, 20, is_file=False)
    (answer,) = answers(telegram, telegram.send_video_note(other, nobody))
    assert answer.text == replies.NO_FACE_IN_VIDEO

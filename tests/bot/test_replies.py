from dataclasses import replace

import pytest

from bot import replies
from inference.errors import Reason
from inference.faces import Age, BoundingBox, Emotion, Face, Gender, Keypoints
from inference.people import Person
from tests.botapi import BOT


def face(years: float = 31.0) -> Face:
    corner = (0.0, 0.0)
    return Face(
        BoundingBox(0, 0, 10, 10),
        0.99,
        Keypoints(corner, corner, corner, corner, corner),
        Emotion((0.01, 0.0, 0.01, 0.93, 0.02, 0.02, 0.01)),
        Gender(0.98),
        Age(years, years - 5, years + 6),
    )


def test_a_caption_has_a_line_for_each_face():
    assert replies.captions([face(31), face(64)]) == [
        "1. happy 93 %, woman 98 %, about 31 (26-37)\n2. happy 93 %, woman 98 %, about 64 (59-70)"
    ]


@pytest.mark.parametrize("count", [1, 20, 25, 100, 400])
def test_long_answers_keep_every_line_within_telegram_s_limits(count):
    caption, *messages = replies.captions([face()] * count)
    assert len(caption) <= 1024
    assert all(len(message) <= 4096 for message in messages)
    lines = "\n".join([caption, *messages]).split("\n")
    assert [line.split(".")[0] for line in lines] == [str(number) for number in range(1, count + 1)]
    texts = [caption, *messages]
    for text, following, limit in zip(texts, texts[1:], [1024, *[4096] * count]):
        assert len(f"{text}\n{following.splitlines()[0]}") > limit  # no message more than it takes


def test_a_video_s_caption_has_a_line_for_each_person_by_its_number():
    anna = Person(2, 9.0, "happy", 0.8, (("surprise", 3.4),), Gender(0.98), Age(30, 25, 36))
    bob = Person(5, 4.0, "neutral", 1.0, (), Gender(0.1), Age(12, 9, 16))
    assert replies.summaries([anna, bob]) == [
        "2. mostly happy, surprised at 0:03; woman, about 30\n5. neutral; boy, about 12\n"
        "Whoever else has a number was in sight too briefly to be told of."
    ]
    assert replies.summaries([replace(anna, number=1)]) == [
        "1. mostly happy, surprised at 0:03; woman, about 30"
    ]


def test_every_reason_has_words():
    assert set(replies.REFUSALS) == set(Reason)
    for reason in Reason:
        assert "{" not in replies.refusal(reason, 20, is_file=True)
    assert "20 seconds" in replies.refusal(Reason.VIDEO_TOO_LONG, 20, is_file=False)


def test_only_what_was_sent_as_a_file_is_to_be_sent_otherwise():
    for reason in (Reason.TOO_MANY_BYTES, Reason.TOO_MANY_PIXELS):
        assert "as a file" in replies.refusal(reason, 20, is_file=True)
        assert "as a file" not in replies.refusal(reason, 20, is_file=False)
    assert "a part of it" in replies.refusal(Reason.TOO_MANY_BYTES, 20, is_file=False)
    assert "as a file" not in replies.refusal(Reason.BROKEN, 20, is_file=True)


def test_words_on_videos_do_not_call_them_photos_or_images():
    for reason in (
        Reason.EMPTY,
        Reason.BROKEN,  # of a file that Telegram has no longer
        Reason.TOO_SMALL,
        Reason.TOO_LONG,
        Reason.TOO_MANY_BYTES,
        Reason.BROKEN_VIDEO,
        Reason.VIDEO_TOO_LONG,
        Reason.VIDEO_TOO_LARGE,
    ):
        words = replies.refusal(reason, 20, is_file=False)
        assert not any(kind in words for kind in ("image", "photo")), words
    assert "pixels or frames" in replies.refusal(Reason.VIDEO_TOO_LARGE, 20, is_file=False)
    for seconds in (0, 7.2):
        assert "photo" not in replies.slow_down(seconds)
    assert "in 8 seconds" in replies.slow_down(7.2)


def test_help_tells_how_long_a_video_may_be():
    assert "of up to 45 seconds" in replies.help(BOT, 45, live=False)


def test_one_second_is_not_told_as_several():
    assert "of up to 1 second comes" in replies.help(BOT, 1, live=False)
    assert ": 1 second is the most" in replies.refusal(Reason.VIDEO_TOO_LONG, 1.2, is_file=False)
    assert replies.slow_down(0.3).endswith(" in 1 second.")


def test_texts_fit_telegram_s_limits():
    assert len(replies.DESCRIPTION) <= 512
    assert len(replies.SHORT_DESCRIPTION) <= 120
    assert all(len(text) <= 256 for text in replies.COMMANDS.values())
    assert max(len(replies.help("x" * 32, 60, live=True)), len(replies.privacy("x" * 200, live=True))) <= 4096


def test_privacy_names_the_operator():
    assert "Whom to ask: @someone." in replies.privacy("@someone", live=True)
    assert "Whom to ask" not in replies.privacy("", live=True)


@pytest.mark.parametrize("live", [True, False])
def test_the_camera_is_offered_only_where_there_is_one(live):
    commands = [name for name, _ in replies.commands(live)]
    assert commands == [name for name in replies.COMMANDS if live or name != "live"]
    for text in (replies.help(BOT, 20, live), replies.privacy("@someone", live)):
        assert [word in text for word in ("/live", "camera")] == [live, live]
        assert "\n\n\n" not in text


def test_the_profile_names_the_operator_where_there_is_room():
    assert replies.short_description("@someone") == f"{replies.SHORT_DESCRIPTION} Contact: @someone"
    for contact in ("", "x" * 200):
        assert replies.short_description(contact) == replies.SHORT_DESCRIPTION
    assert max(len(replies.short_description("x" * length)) for length in range(201)) == 120


def test_summary_counts():
    assert replies.summary([]) == replies.NO_FACE
    assert replies.summary([face()]) == "Found 1 face."
    assert replies.summary([face()] * 3).startswith("Found 3 faces")

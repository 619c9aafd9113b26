import pytest

from bot import replies
from inference.errors import Reason
from inference.faces import Age, BoundingBox, Emotion, Face, Gender, Keypoints


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


def test_every_reason_has_words():
    assert set(replies.REFUSALS) == set(Reason)


def test_texts_fit_telegram_s_limits():
    assert len(replies.DESCRIPTION) <= 512
    assert len(replies.SHORT_DESCRIPTION) <= 120
    assert all(len(text) <= 256 for text in replies.COMMANDS.values())
    assert max(len(replies.HELP), len(replies.privacy("x" * 200))) <= 4096


def test_privacy_names_the_operator():
    assert "Whom to ask: @someone." in replies.privacy("@someone")
    assert "profile" in replies.privacy("")


def test_summary_counts():
    assert replies.summary([]) == replies.NO_FACE
    assert replies.summary([face()]) == "Found 1 face."
    assert replies.summary([face()] * 3).startswith("Found 3 faces")

import re

import pytest
from prometheus_client import REGISTRY

from bot import journal


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def lines(said):
    """The lines of the journal so far: `lines()`."""
    return lambda: [record.getMessage() for record in said("bot.journal")]


def test_an_answer_is_a_line_and_counts(lines):
    before = {
        "photos": count("faces_photos_total", chat="private"),
        "faces": count("faces_found_total", chat="private"),
        "draws": count("faces_stage_seconds_count", stage="draw"),
    }
    with journal.entry("private", 870_000_001) as entry:
        assert journal.current() is entry
        entry.faces, entry.outcome = 3, "answered"
        for _ in range(2):
            with entry.stage("draw"):
                pass
    (line,) = lines()
    seconds = r"\d+\.\d{3}"
    pattern = rf"update=870000001 chat=private outcome=answered faces=3 draw={seconds} total={seconds}"
    assert re.fullmatch(pattern, line)
    assert count("faces_photos_total", chat="private") == before["photos"] + 1
    assert count("faces_found_total", chat="private") == before["faces"] + 3
    assert count("faces_stage_seconds_count", stage="draw") == before["draws"] + 1


def test_a_video_counts_apart_from_photos(lines):
    before = [count(f"faces_{name}_total", chat="group") for name in ("photos", "videos", "found")]
    with journal.entry("group", 7) as entry:
        entry.video, entry.faces, entry.outcome = 9.97, 2, "answered"
    (line,) = lines()
    assert re.fullmatch(r"update=7 chat=group outcome=answered video=10\.0 faces=2 total=0\.\d+", line)
    after = [count(f"faces_{name}_total", chat="group") for name in ("photos", "videos", "found")]
    assert after == [before[0], before[1] + 1, before[2] + 2]


def test_what_ends_in_an_error_comes_again(lines):
    before = count("faces_failures_total", kind="TimeoutError")
    with pytest.raises(TimeoutError), journal.entry("group", 5):
        raise TimeoutError("with somebody's name in it")
    assert re.fullmatch(r"update=5 chat=group outcome=redelivered kind=TimeoutError total=0\.\d+", *lines())
    assert count("faces_failures_total", kind="TimeoutError") == before + 1


def test_what_is_turned_away_counts_without_a_line(lines):
    before = count("faces_updates_total", chat="page", outcome="slowed")
    journal.turned_away("page", "slowed")
    assert count("faces_updates_total", chat="page", outcome="slowed") == before + 1
    assert lines() == []

from pathlib import Path

import numpy as np
import pytest

from inference.faces import ATTRIBUTES
from training.cards import cards
from training.evaluation import REPORT
from training.export import read_comparison, read_records

WEIGHTS = Path(__file__).parents[2] / "weights"
CALIBRATION = {"emotion": {"temperature": 0.91}, "gender": {"temperature": 1.37}, "age": {"tail": 0.085}}
LOGITS = {"emotion": 7, "gender": 1, "age": 117}


@pytest.fixture
def records(make_faces):
    """Records of networks that answer at random, for 200 faces."""
    labels = make_faces(200, 0)[0].labels
    rng = np.random.default_rng(0)
    return {name: _record(name, rng.normal(0, 1, (200, LOGITS[name])), labels) for name in ATTRIBUTES}


def _record(name, logits, labels):
    return {
        "task": name,
        "network": "emotion" if name == "emotion" else "traits",
        "side": 48,
        "channels": 1,
        "parameters": 1_560_615,
        "calibration": CALIBRATION[name],
        "trained": {
            "date": "2026-01-31",
            "fits": [{"task": "base", "epochs": 36, "augmentation": "mid"}],
            "seed": 0,
            "precision": "mixed_bfloat16",
            "keras": "3.15.1",
            "backend": "tensorflow",
            "faces": {"fitted": 26_135, "calibration": 1_411, "valid": 200},
        },
        "valid": REPORT[name](logits, labels, CALIBRATION[name]),
    }


def test_every_table_is_whole(records):
    tables = [block for block in cards(records, {}).split("\n\n") if block.startswith("|")]
    assert len(tables) == 8
    for table in tables:
        assert len({line.count("|") for line in table.strip().splitlines()}) == 1
        assert table.splitlines()[1].strip("|").replace(" ", "").replace("|", "").strip("-") == ""


def test_figures_are_those_of_the_records(records):
    text = cards(records, {})
    emotion, gender, age = (records[name]["valid"] for name in ATTRIBUTES)
    disgust = emotion["by_emotion"]["disgust"]["recall"]
    assert f"| disgust | {disgust['share']:.1%} ({disgust['low']:.1%} to {disgust['high']:.1%}) |" in text
    assert f"| accuracy | {gender['accuracy']['share']:.1%} (" in text
    assert f"| mean absolute error | {age['all']['mae']:.2f} (" in text
    for expected in (
        "1,560,615 parameters",
        "26,135 faces",
        "the temperature used, 1.37",
        "8.5% on each side",
    ):
        assert expected in text


def test_terms_limits_and_refusals_are_told(records):
    text = cards(records, {})
    for expected in (
        "non-commercial research",
        "ICML 2013",
        "MIT",
        "identifying anyone",
        "not what its owner feels",
    ):
        assert expected in text


def test_the_comparison_is_told(records):
    row = {"parameters": 2_365_920, "faces": {"fitted": 26_135}}
    compared = {
        "recipe": {
            "epochs": 12,
            "augmentation": "mid",
            "schedule": "one-cycle",
            "balance": "weights",
            "seed": 0,
        },
        "networks": {
            "residual": row | {"valid": {"all": records["age"]["valid"]["all"], "median_error": 3.14159}},
            "lenet": row | {"valid": {"all": records["age"]["valid"]["all"], "median_error": 4}},
        },
    }
    text = cards(records, {"age": compared})
    assert "12 epochs" in text
    assert "| network | parameters | mean absolute error, years | median error |" in text
    assert f"| `residual` | 2,365,920 | {records['age']['valid']['all']['mae']:.2f} (" in text
    assert "| 3.14 |" in text


def test_a_model_not_made_yet_has_no_card(records):
    text = cards({"emotion": records["emotion"]}, {})
    assert "## Emotion" in text
    assert "## Gender" not in text


@pytest.mark.skipif(not read_records(WEIGHTS), reason="no models have been made yet")
def test_the_committed_cards_are_those_of_the_committed_records():
    assert (WEIGHTS / "README.md").read_text() == cards(read_records(WEIGHTS), read_comparison(WEIGHTS))

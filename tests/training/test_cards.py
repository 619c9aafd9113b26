from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from inference.faces import ATTRIBUTES, MIRRORED_FACES
from training.cards import UNSEEN, cards
from training.conditions import CONDITIONS
from training.evaluation import HEADLINE, REPORT, headlines
from training.experiment import NETWORKS, Recipe
from training.export import FIGURES, read_figures, read_records
from training.fitting import digest

WEIGHTS = Path(__file__).parents[2] / "weights"
CALIBRATION = {"emotion": {"temperature": 0.91}, "gender": {"temperature": 1.37}, "age": {"tail": 0.085}}
TEACHERS = {"epochs": 30, "augmentation": "mid", "seed": 0}
LOGITS = {"emotion": 7, "gender": 1, "age": 117}


@pytest.fixture(scope="module")
def records(make_faces):
    """Records of networks that answer at random, for 200 faces."""
    labels = make_faces(200, 0)[0].labels
    rng = np.random.default_rng(0)
    return {name: _record(name, rng.normal(0, 1, (200, LOGITS[name])), labels) for name in ATTRIBUTES}


def _record(name, logits, labels):
    decoding = CALIBRATION[name]
    network = "emotion" if name == "emotion" else "traits"
    return {
        "task": name,
        "network": network,
        "side": 96,
        "channels": 1,
        "parameters": 1_560_615,
        "calibration": decoding,
        "trained": {
            "date": "2026-01-31",
            "fits": [
                {"task": "base", "epochs": 36, "augmentation": "mid", "side": 32, "seed": 2},
                {"task": network, "epochs": 9, "augmentation": "mid", "side": 96, "seed": 3},
                {"task": network, "epochs": 5, "augmentation": "low", "side": 40, "seed": 4}
                | {"rarity": 0.75, "blended": 0.25},
                {"task": network, "epochs": 9, "augmentation": "mid", "seed": 5}
                | {"clean": "clean.txt", "precision": "float32"},
                {"task": network, "epochs": 9, "augmentation": "mid", "seed": 6, "backend": "jax"}
                | {"teachers": [TEACHERS], "share": 0.5},
                {"task": network, "epochs": 2, "augmentation": "mid", "seed": 7}
                | {"teachers": [TEACHERS, TEACHERS | {"seed": 1}], "share": 0.25},
                {"task": "average", "of": [3, 4, 6]},
                {"task": network, "epochs": 4, "augmentation": "mid", "seed": 9}
                | {"ensemble": [[], []], "share": 0.8},
            ],
            "keras": "3.15.1",
            "backend": "tensorflow",
            "faces": {"fitted": 26_135, "calibration": 1_411},
        },
        "valid": REPORT[name](logits, labels, decoding)
        | headlines(name, logits, -logits, np.arange(200) < 50, labels, decoding)
        | {
            "conditions": {
                condition: HEADLINE[name](np.roll(logits, shift, axis=0), labels, decoding)
                for shift, condition in enumerate(CONDITIONS, 1)
            }
        },
    }


def test_every_table_is_whole(records):
    tables = [block for block in cards(records, {}, {}).split("\n\n") if block.startswith("|")]
    assert len(tables) == 11
    for table in tables:
        assert len({line.count("|") for line in table.strip().splitlines()}) == 1
        assert table.splitlines()[1].strip("|").replace(" ", "").replace("|", "").strip("-") == ""


def test_figures_are_those_of_the_records(records):
    text = cards(records, {}, {})
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
    text = cards(records, {}, {})
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
    share = {"share": 0.314, "low": 0.3, "high": 0.33, "faces": 200}
    compared = {
        "recipe": asdict(Recipe("age", epochs=12, peak_rate=0.02)),
        "networks": {
            "lenet": row | {"valid": {"all": records["age"]["valid"]["all"], "band_accuracy": share}},
            "residual": row | {"valid": {"all": records["age"]["valid"]["all"], "band_accuracy": share}},
        },
    }
    text = cards(records, {"age": compared}, {})
    assert "`python -m training compare age --peak-rate 0.02 --epochs 12`" in text
    assert f"(2 of {len(NETWORKS)})" in text
    assert "| network | parameters | mean absolute error, years | right band of about 20 years |" in text
    assert f"| `residual` | 2,365,920 | {records['age']['valid']['all']['mae']:.2f} (" in text
    assert "| 31.4% (30.0% to 33.0%) |" in text
    assert "fitted for longer;" in text
    assert "fitted for longer;" not in cards({}, {"age": compared}, {})
    longest = compared | {"recipe": asdict(Recipe("age", epochs=12_000))}
    assert "fitted for longer;" not in cards(records, {"age": longest}, {})
    assert text.index("| `residual` |") < text.index("| `lenet` |")  # ours first, whichever was fitted first


def test_fits_that_are_not_shipped_are_told(records):
    told = {
        "task": "emotion",
        "options": {"dataset": "fer2013", "epochs": 42},
        "parameters": 1_560_615,
        "valid": {"accuracy": {"share": 0.7, "low": 0.68, "high": 0.72, "faces": 3533}, "macro_f1": 0.66},
    }
    text = cards(records, {}, {"original": told})
    assert (
        "| `fit emotion --dataset fer2013 --epochs 42` | 1,560,615 "
        "| accuracy 70.0% (68.0% to 72.0%); macro F1 0.660 |"
    ) in text


def test_what_valid_can_t_tell_is_told(records):
    gender, age = ({**records[name], "valid": dict(records[name]["valid"])} for name in ("gender", "age"))
    gender["valid"]["roc_auc"] = age["valid"]["adults"] = None
    gender["valid"]["intervals"] = gender["valid"]["intervals"] | {"roc_auc": None}
    text = cards(records | {"gender": gender, "age": age}, {}, {})
    assert "| area under the ROC curve | none, of one class |" in text
    assert "| 21-60 years alone, years | no such faces |" in text


def test_what_flatters_is_told_apart(records):
    valid = records["age"]["valid"]
    text = cards(records, {}, {})
    assert f"of more than {MIRRORED_FACES} faces | {valid['one_look']['mae']:.2f} (" in text
    assert (
        f"the 50 faces that have a copy among those fitted to | {valid['without_copies']['mae']:.2f} ("
        in text
    )
    assert f"| 21-60 years alone, years | {valid['adults']['mae']:.2f} (" in text


def test_conditions_of_photos_are_told(records):
    text = cards(records, {}, {})
    for record in records.values():
        figures = [row.get("share", row.get("mae")) for row in record["valid"]["conditions"].values()]
        assert len(set(figures)) > 3
    for condition in CONDITIONS:
        gender, age = (records[name]["valid"]["conditions"][condition] for name in ("gender", "age"))
        assert f"| {condition} | {gender['share']:.1%} ({gender['low']:.1%} to" in text
        assert f"| {condition} | {age['mae']:.2f} ({age['low']:.2f} to" in text


def test_a_fit_tells_whether_what_it_began_with_is_still_there(tmp_path):
    model = tmp_path / "emotion.keras"
    model.write_bytes(b"a model")
    fit = {"task": "emotion", "parameters": 9, "valid": {"macro_f1": 0.5}}
    fit |= {"options": {"pretrained": str(model)}, "begun with": digest(b"a model")}
    assert "| macro F1 0.500 |" in cards({}, {}, {"fit": fit})
    model.write_bytes(b"another")
    assert f"| macro F1 0.500; begun with what `{model}` was before |" in cards({}, {}, {"fit": fit})


def test_the_commands_that_make_them_are_told(records):
    expected = """\
    python -m training traits --data DIR --seed 3 --epochs 9
    python -m training traits --data DIR --seed 4 --start weights --runs runs/again-1 --epochs 5 \
--augmentation low --side 40 --rarity 0.75 --blend 0.25
    python -m training traits --data DIR --seed 5 --start weights --runs runs/again-2 --epochs 9 \
--clean clean.txt --precision float32
    python -m training teachers traits --data DIR --epochs 30 --augmentation mid --seed 0
    python -m training traits --data DIR --seed 6 --start weights --runs runs/again-3 --epochs 9 \
--teachers runs/teachers-traits-0 --share 0.5
    python -m training teachers traits --data DIR --epochs 30 --augmentation mid --seed 1
    python -m training traits --data DIR --seed 7 --start weights --runs runs/again-4 --epochs 2 \
--teachers runs/teachers-traits-0 runs/teachers-traits-1 --share 0.25
    python -m training average traits FIT3 FIT4 FIT6 --data DIR
    python -m training traits --data DIR --seed 9 --start weights --runs runs/again-5 --epochs 4 \
--ensemble MODEL1 MODEL2 --share 0.8
    python -m training evaluate --data DIR
"""
    text = cards(records, {}, {})
    assert expected in text
    assert "seed 2, crops of 32 pixels), then 9 epochs (`traits`, augmentation `mid`, seed 3), then" in text
    weighed = "rare classes weighing more by a power of 0.75"
    assert f"seed 4, crops of 40 pixels, {weighed}, 25% of it mixed with what it started from" in text
    assert "seed 5, to the faces of `clean.txt`, in float32" in text
    assert "then the mean of what fits 3, 4 and 6 left, then" in text
    assert "FIT3 is a copy of `weights`, made when fit 3 of its card was the last" in text
    assert "seed 9, 80% of its targets from an ensemble of 2 models like it" in text
    assert "MODEL1 and so on are folders" in text
    assert "seed 6, on jax, 50% of its targets from larger networks that had not seen the face" in text
    assert "one seed" in text  # the first fit, `base`, had another than the one that this command gives it


def test_who_measures_on_faces_that_were_fitted_to_does_not_say_otherwise(records):
    assert UNSEEN in cards(records, {}, {})
    strange = deepcopy(records)
    strange["emotion"]["valid"]["other_pictures"] = True
    assert UNSEEN not in cards(strange, {}, {})


def test_a_model_not_made_yet_has_no_card(records):
    text = cards({"emotion": records["emotion"]}, {}, {})
    assert "## Emotion" in text
    assert "## Gender" not in text


@pytest.mark.skipif(not read_records(WEIGHTS), reason="no models have been made yet")
def test_the_committed_cards_are_those_of_the_committed_records():
    text = cards(read_records(WEIGHTS), *(read_figures(name, WEIGHTS) for name in FIGURES))
    assert (WEIGHTS / "README.md").read_text() == text


@pytest.mark.skipif(not read_records(WEIGHTS), reason="no models have been made yet")
def test_the_figures_of_the_readme_are_those_of_the_committed_records():
    emotion, gender, age = (record["valid"] for record in read_records(WEIGHTS).values())
    races = sorted(row["share"] for row in gender["by_race"].values())
    ages = " / ".join(f"{gender['by_age'][band]['share']:.1%}" for band in ("21-60", "3-12", "0-2"))
    low, high = (f"{age['all'][bound]:.1f}" for bound in ("low", "high"))
    rows = {
        "emotion, seven classes": _right(emotion["accuracy"]),
        "mean over the classes": f"{emotion['macro_f1']:.2f}",
        "weakest class: disgust": f"{emotion['by_emotion']['disgust']['recall']['share']:.0%} found",
        "gender, all ages": _right(gender["accuracy"]),
        "ages 21-60": f"{ages} right",
        "groups, best and worst": f"{races[-1]:.1%} and {races[0]:.1%} right",
        "age, all ages": f"off by {age['all']['mae']:.1f} years | {low}-{high} |",
        "true age inside": f"{age['all']['inside']['share']:.0%} | {_between(age['all']['inside'])} |",
    }
    text = (WEIGHTS.parent / "README.md").read_text()
    readme = text.splitlines()
    one_look, apart = (f"{emotion[key]['share']:.1%}" for key in ("one_look", "without_copies"))
    assert (
        f"Emotion is right for {one_look} in photos of more than {MIRRORED_FACES} faces, where mirror images "
        f"are not looked at, and for {apart} of the faces that have no copy"
    ).replace("%", " %") in text.replace("\n", " ")
    original = read_figures("others", WEIGHTS)["original"]["valid"]["accuracy"]
    told = f"right for {original['share']:.1%} of {original['faces']:,} faces by those labels"
    assert told.replace("%", " %") in text.replace("\n", " ")
    for condition in CONDITIONS:
        in_it = [valid["conditions"][condition] for valid in (emotion, gender, age)]
        shares = [f"{row['share']:.1%}".replace("%", " %") for row in in_it[:2]]
        assert f"| {condition} | {shares[0]} | {shares[1]} | {in_it[2]['mae']:.1f} years |" in readme
    for title, figures in rows.items():
        (line,) = [line for line in readme if line.startswith("| ") and title in line]
        assert figures.replace("%", "") in line.replace(" %", "")


def _right(share):
    return f"{share['share']:.1%} right | {_between(share)}"


def _between(share):
    return f"{share['low']:.1%}-{share['high']:.1%}"

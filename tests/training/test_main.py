"""The commands, from data in their publishers' layouts to weights, on pictures that are learnt in seconds."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from inference.faces import ATTRIBUTES, EMOTIONS
from training import experiment, teachers
from training.__main__ import _is_or_follows, _parser, _seen, _task, main
from training.augmentation import LEVELS
from training.cards import STRANGE
from training.conditions import CONDITIONS
from training.data import landmarks_file, locate, read_ferplus
from training.evaluation import CALIBRATE
from training.fitting import digest
from training.networks import precision, residual
from training.tasks import NETWORK_OF, TASKS, kinds
from training.teachers import Ensemble

ROOT = Path(__file__).parents[2]
SHIPPED = ("emotion", "traits")
pytestmark = [
    # Keras reads its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    pytest.mark.timeout(900),  # the first test waits for all models, a minute of processor time
]

COUNTS = {"train": 280, "valid": 105}
FIT = ("--data", "data", "--augmentation", "none")
EPOCHS = {
    "emotion_base": 4,
    "emotion": 1,
    "traits_base": 8,
    "traits_again": 1,
    "traits": 1,
}
BLOCKS = {name: (1, 2, 1) if name == "traits" else (1, 1, 1) for name in EPOCHS}  # are soon compiled
PEAK_RATES = {name: 0.03 if name.endswith("_base") else 0.005 for name in EPOCHS}
# Few steps bear no larger ones.


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory, write_data):
    """A folder where all models were made."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name, rate in PEAK_RATES.items():
            short = {"epochs": EPOCHS[name], "peak_rate": rate, "blocks": BLOCKS[name]}
            patch.setitem(TASKS, name, replace(TASKS[name], **short, augmentation="low"))
        # One epoch is not enough to learn the same bars in another size.
        patch.setitem(TASKS, "emotion", replace(TASKS["emotion"], side=TASKS["emotion_base"].side))
        for condition in CONDITIONS.keys() - {"with a mask"}:  # each takes seconds a model
            patch.delitem(CONDITIONS, condition)
        write_data(root, COUNTS)
        for dataset in ("fer2013", "utkface"):  # the last of their landmarks are found, as on a fresh machine
            _forget_landmarks(root / landmarks_file(f"{dataset}-valid"), 2)
        for name in SHIPPED:
            main([name, *FIT])
        yield root


def _forget_landmarks(path, count):
    with np.load(path) as known:
        kept = {name: column[:-count] for name, column in known.items()}
    np.savez(path, **kept)


def _record(place, name):
    return json.loads((place / "weights" / f"{name}.json").read_text())


def _epochs_fitted(place, name):
    return len((place / "runs" / name / "log.csv").read_text().splitlines()) - 1


def test_emotion_is_learnt(place):
    assert _record(place, "emotion")["valid"]["accuracy"]["share"] > 0.6  # chance is 0.14


def test_age_is_learnt(place):
    assert _record(place, "age")["valid"]["all"]["mae"] < 12  # answering the mean age scores 20.6


def test_gender_is_learnt(place):
    assert _record(place, "gender")["valid"]["accuracy"]["share"] > 0.9


def test_each_model_starts_from_its_earlier_fits(place):
    assert {name: _epochs_fitted(place, name) for name in EPOCHS} == EPOCHS
    augmentation = dict.fromkeys(EPOCHS, "low") | dict.fromkeys(SHIPPED, "none")  # the command's own alone
    for name, last in NETWORK_OF.items():
        fits = _record(place, name)["trained"]["fits"]
        pictures = {fit.pop("pictures") for fit in fits}
        assert len(pictures) == 1
        assert fits == [
            {"task": task, "epochs": EPOCHS[task], "augmentation": augmentation[task]}
            | {"side": TASKS[task].side, "seed": 0}
            for task in EPOCHS
            if task.startswith(last)
        ]


def test_records_tell_how_the_models_were_made(place):
    for name in ATTRIBUTES:
        record, task = _record(place, name), TASKS[NETWORK_OF[name]]
        assert (record["task"], record["side"], record["channels"]) == (name, task.side, task.channels)
        assert record["network"] == NETWORK_OF[name]
        network = residual(task.side, task.channels, task.heads, task.stem_stride, task.blocks)
        assert record["parameters"] == network.count_params()
        trained = record["trained"]
        assert trained["keras"] == keras.__version__
        faces = trained["faces"]
        assert faces["fitted"] + faces["calibration"] == COUNTS["train"]
        assert 3 < faces["calibration"] < 40
        told = record["valid"]["all" if name == "age" else "accuracy"]
        assert told["faces"] == record["valid"]["one_look"]["faces"] == COUNTS["valid"]
        assert record["valid"]["conditions"].keys() == CONDITIONS.keys()
    assert 0 < _record(place, "age")["calibration"]["tail"] < 0.5
    assert _record(place, "emotion")["calibration"]["temperature"] > 0


def test_what_is_covered_is_not_read(place):
    """A mask hides the bars that tell the last emotions."""
    valid = _record(place, "emotion")["valid"]
    assert valid["conditions"]["with a mask"]["share"] < valid["accuracy"]["share"] - 0.1


def test_the_saved_model_answers_as_in_training(place):
    task = TASKS["emotion"]
    with precision("mixed_bfloat16"):
        fitted = residual(task.side, task.channels, task.heads, task.stem_stride, task.blocks)
    fitted.load_weights(place / "runs/emotion/checkpoint/latest.weights.h5")
    saved = keras.saving.load_model(place / "weights/emotion.keras", compile=False)
    fitted_to, _ = experiment.apart(experiment.read(task, "train", place / "data"), [None])
    experiment.settle(fitted, task, fitted_to)
    faces = read_ferplus(place / "data/fer2013", "valid")
    landmarks = locate(faces, "fer2013-valid")
    in_training, in_serving = (
        experiment.logits(network, task, (faces, landmarks))["emotion"] for network in (fitted, saved)
    )
    assert np.abs(in_training - in_serving).max() < 0.03 * np.ptp(in_serving)  # bfloat16 keeps 8 bits
    accuracy = (in_serving.argmax(axis=1) == faces.labels["original"]).mean()
    assert accuracy == pytest.approx(_record(place, "emotion")["valid"]["accuracy"]["share"], abs=1e-4)


def test_once_more_fits_nothing_and_gives_the_same_model(place):
    before = _record(place, "emotion")
    main(["emotion", *FIT])
    assert _epochs_fitted(place, "emotion") == EPOCHS["emotion"]
    assert _record(place, "emotion")["valid"]["confusion"] == before["valid"]["confusion"]
    assert _record(place, "emotion")["calibration"]["temperature"] == pytest.approx(
        before["calibration"]["temperature"], rel=0.01
    )


def test_evaluate_measures_again_and_rewrites_records_and_cards(place):
    before = {name: _record(place, name) for name in ATTRIBUTES}
    for name in ATTRIBUTES:
        spoilt = json.dumps(before[name] | {"valid": None})
        (place / "weights" / f"{name}.json").write_text(spoilt)
    (place / "weights" / "README.md").unlink()
    main(["evaluate", "--data", "data"])
    after = {name: _record(place, name) for name in ATTRIBUTES}
    assert after["emotion"]["valid"]["confusion"] == before["emotion"]["valid"]["confusion"]
    assert after["gender"]["valid"]["by_race"] == before["gender"]["valid"]["by_race"]
    assert after["age"]["valid"]["all"]["mae"] == pytest.approx(
        before["age"]["valid"]["all"]["mae"], abs=0.01
    )
    for name in ATTRIBUTES:
        assert {**after[name], "valid": 0} == {**before[name], "valid": 0}
    assert f"{after['age']['valid']['all']['mae']:.2f}" in (place / "weights" / "README.md").read_text()
    report = (place / "runs/report/report.md").read_text()
    assert report.startswith((place / "weights" / "README.md").read_text())
    pictures = re.findall(r"!\[.+\]\((.+)\)", report)
    assert len(pictures) == 13
    for picture in pictures:
        assert cv2.imread(str(place / "runs/report" / picture)) is not None


def test_a_fit_starts_from_models_that_are_there(place):
    shutil.copytree("weights", "more/weights")
    elsewhere = ("--start", "more/weights", "--runs", "more/runs", "--weights", "more/weights")
    for _ in range(2):  # the second time the start is the result; it changes nothing, and is told once
        main(["emotion", "--epochs", "1", "--blend", "0.25", *elsewhere, *FIT])
    record = json.loads((place / "more/weights/emotion.json").read_text())
    before = _record(place, "emotion")["trained"]["fits"]
    assert record["trained"]["fits"] == [
        *before,
        before[-1] | {"blended": 0.25},
    ]
    assert [path.name for path in (place / "more/runs").iterdir()] == ["emotion"]  # no earlier fit was made
    assert record["valid"]["accuracy"]["share"] > 0.6
    start, blended, fitted = (
        keras.saving.load_model(place / folder / "emotion.keras", compile=False)
        for folder in ("weights", "more/weights", "more/weights")
    )
    fitted.load_weights(place / "more/runs/emotion/checkpoint/latest.weights.h5")
    # The other variables are statistics, which each model has of its own.
    weights = [[np.array(one) for one in network.trainable_variables] for network in (start, blended, fitted)]
    assert max(np.abs(end - begin).max() for begin, _, end in zip(*weights)) > 1e-3
    for begin, middle, end in zip(*weights):
        np.testing.assert_allclose(middle, 0.75 * begin + 0.25 * end, atol=1e-6)


def test_models_of_one_line_are_averaged(place, tmp_path):
    elsewhere = ("--runs", str(tmp_path), "--weights", str(tmp_path / "later"))
    told = ("--epochs", "1", "--side", "47", "--rarity", "0.75")
    main(["emotion", "--start", "weights", *told, *elsewhere, *FIT])
    later = json.loads((tmp_path / "later/emotion.json").read_text())
    assert later["side"] == 47
    assert later["trained"]["fits"][-1].items() >= {"epochs": 1, "side": 47, "rarity": 0.75}.items()
    mean = str(tmp_path / "mean")
    main(["average", "emotion", "weights", str(tmp_path / "later"), "--data", "data", "--weights", mean])
    record = json.loads((tmp_path / "mean/emotion.json").read_text())
    assert record["trained"]["fits"][-1] == {"task": "average", "of": [2, 3]}
    assert len(record["trained"]["fits"]) == 4
    assert record["side"] == 47  # the last one's
    main(["evaluate", "--data", "data", "--weights", mean])
    assert json.loads((tmp_path / "mean/emotion.json").read_text()) == record
    assert record["valid"]["accuracy"]["share"] > 0.6
    folders = (Path("weights"), tmp_path / "later", tmp_path / "mean")
    networks = [keras.saving.load_model(folder / "emotion.keras", compile=False) for folder in folders]
    one, other, averaged = ([np.array(x) for x in network.trainable_variables] for network in networks)
    for first, second, middle in zip(one, other, averaged, strict=True):
        np.testing.assert_allclose(middle, (first + second) / 2, atol=1e-6)
    stray = tmp_path / "stray"
    shutil.copytree("weights", stray)
    first = record["trained"]["fits"][0]
    record["trained"]["fits"] = [first, {"task": "emotion", "epochs": 99}, first]
    (stray / "emotion.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="two models"):
        main(["average", "emotion", "weights", "--weights", mean])
    with pytest.raises(ValueError, match="another number of fits"):
        main(["average", "emotion", "weights", "weights", "--weights", mean])
    with pytest.raises(ValueError, match="one line of fits"):
        main(["average", "emotion", "weights", str(stray), "--weights", mean])


@pytest.mark.parametrize("name", SHIPPED)
def test_rare_faces_weigh_as_the_fit_of_the_command_is_told(make_faces, name):
    faces, _ = make_faces(70, 0)
    kept = np.r_[:35, 35:70:7]  # every seventh is of the first emotion, and the youngest
    faces = faces.take(kept)
    options = _parser().parse_args([name, "--rarity", "1"])
    weights = _task(name, options).weights(faces.labels)
    totals = np.bincount(kinds("emotion" if name == "emotion" else "age", faces.labels), weights)
    assert np.ptp(totals) < 1e-4 < np.ptp(weights)  # all kinds together weigh alike
    before = _task(f"{name}_base", options).weights(faces.labels)
    np.testing.assert_array_equal(before, TASKS[name].weights(faces.labels))


def test_a_model_learns_what_its_teachers_say(place, tmp_path, monkeypatch):
    monkeypatch.setattr(teachers, "FOLDS", 2)
    monkeypatch.setattr(teachers, "WIDTH", 1)
    elsewhere = "--runs", str(tmp_path)
    main(["teachers", "emotion", "--epochs", "1", "--seed", "5", *elsewhere, *FIT])
    folder = tmp_path / "teachers-emotion-5"
    with np.load(folder / "said.npz") as said:
        names = said["names"]
    faces = read_ferplus(Path("data/fer2013"), "train")
    assert sorted(names) == sorted(faces.names[~faces.calibration()])  # the others are calibrated on
    happy = np.eye(7, dtype=np.float32)[[EMOTIONS.index("happy")] * len(names)]
    np.savez(folder / "said.npz", names=names, emotion=happy)
    learn = ("--start", "weights", "--teachers", str(folder), "--share", "1", "--epochs", "4")
    main(["emotion", *learn, *elsewhere, "--weights", str(tmp_path), *FIT])
    record = json.loads((tmp_path / "emotion.json").read_text())
    assert record["trained"]["fits"][-1] == _record(place, "emotion")["trained"]["fits"][-1] | {
        "epochs": 4,
        "teachers": [{"epochs": 1, "augmentation": "none", "seed": 5}],
        "share": 1.0,
    }
    with pytest.raises(FileNotFoundError, match="no finished teachers"):
        main(["emotion", "--teachers", str(tmp_path), "--runs", str(tmp_path / "untaught"), *FIT])
    assert not (tmp_path / "untaught").exists()
    with pytest.raises(ValueError, match=r"teachers \[.*\], not None"):  # nor passed off as untaught
        main(["emotion", "--start", "weights", "--epochs", "4", *elsewhere, "--weights", str(tmp_path), *FIT])
    before, after = (report["valid"]["by_emotion"]["happy"] for report in (_record(place, "emotion"), record))
    assert after["recall"]["share"] > 0.9
    assert after["precision"] < before["precision"] - 0.2


def test_a_model_learns_what_an_ensemble_says(place, tmp_path, monkeypatch):
    happy = np.eye(7, dtype=np.float32)[EMOTIONS.index("happy")]
    monkeypatch.setattr(Ensemble, "of_crops", lambda ensemble, crops: np.tile(happy, (len(crops), 1)))
    learn = ("--start", "weights", "--ensemble", "weights", "weights", "--share", "1", "--epochs", "4")
    main(["emotion", *learn, "--runs", str(tmp_path), "--weights", str(tmp_path), *FIT])
    record, before = json.loads((tmp_path / "emotion.json").read_text()), _record(place, "emotion")
    fits = before["trained"]["fits"]
    assert record["trained"]["fits"] == [
        *fits,
        fits[-1] | {"epochs": 4, "ensemble": [fits, fits], "share": 1.0},
    ]
    after = record["valid"]["by_emotion"]["happy"]
    assert after["recall"]["share"] > 0.9
    assert after["precision"] < before["valid"]["by_emotion"]["happy"]["precision"] - 0.2
    assert "100% of its targets from an ensemble of 2 models like it" in (tmp_path / "README.md").read_text()


def test_pictures_that_a_model_may_have_seen_are_told(place, tmp_path, capsys):
    shutil.copytree("weights", tmp_path / "weights")
    shutil.copytree("data/fer2013", tmp_path / "data/fer2013")
    (tmp_path / "weights/gender.json").unlink()
    (tmp_path / "weights/age.json").unlink()
    moved = next((tmp_path / "data/fer2013/valid/happy").iterdir())
    moved.rename(tmp_path / "data/fer2013/train/happy" / moved.name)
    main(["evaluate", "--data", f"{tmp_path}/data", "--weights", f"{tmp_path}/weights"])
    assert "it may have seen some of valid" in capsys.readouterr().out
    assert STRANGE in (tmp_path / "weights/README.md").read_text()
    assert STRANGE not in (place / "weights/README.md").read_text()


def test_pictures_that_a_model_s_teachers_may_have_seen_are_told(place, tmp_path, capsys):
    for folder in ("member", "weights"):
        shutil.copytree("weights", tmp_path / folder)
    record = _record(place, "emotion")
    fits = [fit | {"pictures": "others"} for fit in record["trained"]["fits"]]
    record["trained"]["fits"][-1]["ensemble"] = [fits]
    (tmp_path / "weights/emotion.json").write_text(json.dumps(record))
    main(["evaluate", "--data", "data", "--weights", f"{tmp_path}/weights"])
    assert capsys.readouterr().out.count("it may have seen some of valid") == 1


def test_copies_of_faces_that_were_fitted_to_are_left_out_of_a_figure(place, tmp_path, monkeypatch):
    shutil.copytree("weights", tmp_path / "weights")
    asked = []

    def first(images, others):
        asked.append((len(images), len(others)))
        return np.arange(len(images)) == 0

    monkeypatch.setattr("training.__main__.copied", first)
    main(["evaluate", "--data", "data", "--weights", f"{tmp_path}/weights"])
    for name, (faces, others) in zip(("emotion", "gender"), asked, strict=True):
        record = json.loads((tmp_path / f"weights/{name}.json").read_text())
        assert others == record["trained"]["faces"]["fitted"]
        assert faces == record["valid"]["accuracy"]["faces"]
        assert record["valid"]["without_copies"]["faces"] == faces - 1


def test_a_model_whose_data_are_not_there_is_named_and_the_others_are_measured(place, tmp_path, capsys):
    shutil.copytree("weights", tmp_path / "weights")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/utkface").symlink_to((place / "data/utkface").resolve())
    path = tmp_path / "weights/gender.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps(before | {"valid": None}))
    main(["evaluate", "--data", f"{tmp_path}/data", "--weights", f"{tmp_path}/weights"])
    assert "emotion is not measured: no pictures" in capsys.readouterr().out
    assert json.loads(path.read_text())["valid"]["accuracy"] == before["valid"]["accuracy"]
    with pytest.raises(FileNotFoundError, match="none of the models"):
        main(["evaluate", "--data", str(tmp_path), "--weights", f"{tmp_path}/weights"])


@pytest.mark.parametrize("left", [[], ["gender"]])
def test_missing_records_are_named(place, tmp_path, left):
    for name in left:
        shutil.copy(place / "weights" / f"{name}.json", tmp_path)
    shutil.copy(place / "weights/traits.keras", tmp_path)
    with pytest.raises(FileNotFoundError, match="no age.json in" if left else "no records of models"):
        main(["evaluate", "--data", "data", "--weights", str(tmp_path)])
    assert not (tmp_path / "README.md").exists()
    with pytest.raises(FileNotFoundError, match="no age.json in"):
        main(["traits", "--start", str(tmp_path), "--runs", str(tmp_path / "runs"), *FIT])
    assert not (tmp_path / "runs/traits").exists()


def test_copies_are_looked_for_in_all_of_train_where_a_clean_list_is_no_more(make_faces, tmp_path, capsys):
    located, path = make_faces(200, 0), tmp_path / "clean.txt"
    path.write_text("\n".join(located[0].names[:50]))
    fits = [{"clean": str(path), "list": digest(path.read_text())}]
    some = _seen(located, fits)
    assert 30 < len(some[0]) <= 50
    path.write_text("\n".join(located[0].names[:40]))
    everyone = _seen(located, fits)
    path.unlink()
    assert len(_seen(located, fits)[0]) == len(everyone[0]) > 150
    assert capsys.readouterr().out.count("in all of train") == 2


@pytest.mark.parametrize(("option", "missing"), [("--blend", "--start"), ("--share", "--teachers")])
def test_an_option_that_would_do_nothing_is_refused(place, option, missing):
    with pytest.raises(ValueError, match=missing):
        main(["emotion", option, "0.5", *FIT])


def test_a_model_is_not_written_over_that_was_gone_on_with_since():
    start, own = [{"task": "emotion", "seed": 0}], {"task": "emotion", "seed": 1}
    assert _is_or_follows(start, start, "emotion", 1)
    assert _is_or_follows([*start, own], start, "emotion", 1)
    for later in ({"task": "emotion", "seed": 2}, {"task": "average", "of": [1, 2]}):
        assert not _is_or_follows([*start, own, later], start, "emotion", 1)
        assert not _is_or_follows([*start, later], start, "emotion", 1)


def test_a_fit_that_is_over_is_not_written_over_what_later_ones_made_of_it(place, tmp_path):
    shutil.copytree("weights", tmp_path / "weights")
    elsewhere = ("--weights", str(tmp_path / "weights"))
    later = ("--start", "weights", "--epochs", "1", "--seed", "4", "--runs", str(tmp_path / "runs"))
    main(["emotion", *later, *elsewhere, *FIT])
    made = (tmp_path / "weights/emotion.json").read_text()
    with pytest.raises(ValueError, match="later fits"):
        main(["emotion", *elsewhere, *FIT])
    assert (tmp_path / "weights/emotion.json").read_text() == made


def test_a_model_is_calibrated_on_faces_that_were_kept_out_of_fitting_and_of_valid(
    place, tmp_path, monkeypatch
):
    calibrated = []

    def calibrate(logits, labels):
        calibrated.append((len(logits), len(labels["votes"])))
        return {"temperature": 1.0}

    monkeypatch.setitem(CALIBRATE, "emotion", calibrate)
    main(["emotion", "--weights", str(tmp_path), *FIT])
    kept = _record(place, "emotion")["trained"]["faces"]["calibration"]
    assert kept != COUNTS["valid"]
    assert calibrated == [(kept, kept)]


def test_a_fit_never_goes_on_from_another_model_than_it_began_with(place, tmp_path):
    start = tmp_path / "start"
    shutil.copytree("weights", start)
    elsewhere = ("--runs", str(tmp_path / "runs"), "--weights", str(tmp_path / "result"))
    again = ["emotion", "--start", str(start), "--epochs", "1", *elsewhere, *FIT]
    main(again)
    record = _record(place, "emotion")
    record["trained"]["fits"][-1]["seed"] = 7
    (start / "emotion.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="another model than is in"):
        main(again)


def test_a_fit_never_goes_on_under_other_settings(place, monkeypatch):
    with pytest.raises(ValueError, match="another folder"):
        main(["emotion", "--epochs", "99", *FIT])
    with monkeypatch.context() as patch:
        patch.setitem(LEVELS, "none", LEVELS["high"])
        with pytest.raises(ValueError, match="level"):
            main(["emotion", *FIT])
    with monkeypatch.context() as patch:
        patch.setitem(TASKS, "emotion_base", replace(TASKS["emotion_base"], peak_rate=9))
        with pytest.raises(ValueError, match=r"peak_rate 0.03, not 9"):
            main(["emotion", *FIT])
    assert _epochs_fitted(place, "emotion") == EPOCHS["emotion"]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["gender"],
        ["traits", "--blend", "0"],
        ["traits", "--share", "1.5"],
        ["traits", "--teachers", "one", "--ensemble", "other"],
        ["teachers", "gender"],
        ["average", "traits"],
        ["traits", "--augmentation", "huge"],
        ["evaluate", "--epochs", "3"],
        ["traits", "--epochs", "0"],
        ["fit", "age", "--epochs", "-1"],
        ["fit", "age", "--peak-rate", "0"],
        ["fit", "age", "--patience", "0"],
        ["fit", "age", "--mixup", "-0.1"],
        ["inspect", "utkface", "--epochs", "-1"],
    ],
)
def test_what_is_not_understood_is_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        main(wrong)
    assert "usage: python -m training" in capsys.readouterr().err


def test_training_leaves_tensorflow_to_keras_which_may_run_on_jax_instead():
    program = """
import sys, training.__main__, training.report
assert "inference.runtime" not in sys.modules, "which alone imports TensorFlow"
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)

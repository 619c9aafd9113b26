"""Fits of small networks to pictures that are learnt in seconds: alone, voting, searched and compared."""

import json

import keras
import numpy as np
import optuna
import pytest

from training import comparison
from training.__main__ import main
from training.classes import names
from training.comparison import compare
from training.data import read_ferplus
from training.ensemble import ensemble, voting_weights
from training.experiment import Recipe, answers, build, probabilities, read, read_record, run, task_of
from training.export import read_comparison
from training.fitting import claim
from training.search import search, study_file

pytestmark = [
    # Keras reads its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    pytest.mark.timeout(600),
]

SMALL = {
    "network": "lenet",
    "side": 48,
    "epochs": 5,
    "augmentation": "none",
    "peak_rate": 0.02,
    "precision": "float32",
}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory, write_data):
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_data(root, {"train": 420, "valid": 105})
        yield root


@pytest.fixture(scope="module")
def members(place):
    """Two fits of one kind."""
    for seed in (0, 1):
        run(Recipe("emotion", **SMALL, seed=seed), place / "data", place / "runs" / f"seed-{seed}")
    return ["seed-0", "seed-1"]


def _rows(folder):
    return (folder / "log.csv").read_text().splitlines()[1:]


def test_a_fit_learns_and_its_record_tells_how(place, members):
    record = read_record(place / "runs" / members[0])
    assert record["valid"]["accuracy"]["share"] > 0.6  # chance is 0.14
    assert record["recipe"]["network"] == "lenet"
    assert record["faces"]["fitted"] + record["faces"]["calibration"] == 420
    assert record["held_out"]["accuracy"]["faces"] == record["faces"]["calibration"]
    assert record["valid"]["accuracy"]["faces"] == record["faces"]["valid"] == 105


def test_a_finished_fit_is_only_read(place, members):
    folder = place / "runs" / members[0]
    before = _rows(folder)
    record = run(Recipe("emotion", **SMALL), place / "data", folder)
    assert record == read_record(folder)
    assert _rows(folder) == before
    assert not (folder / "checkpoint").exists()
    with pytest.raises(ValueError, match="other --runs"):
        run(Recipe("emotion", **SMALL, mixup=0.2), place / "data", folder)


def test_the_saved_network_gives_the_figures_of_the_record(place, members):
    folder = place / "runs" / members[0]
    recipe = Recipe("emotion", **SMALL)
    valid = read(task_of(recipe), "valid", place / "data")
    said = probabilities(folder, valid)
    assert said.sum(axis=1) == pytest.approx(np.ones(105))
    accuracy = (said.argmax(axis=1) == valid[0].labels["votes"].argmax(axis=1)).mean()
    assert accuracy == pytest.approx(read_record(folder)["valid"]["accuracy"]["share"], abs=1e-4)


def test_ours_begins_with_a_model_like_it_whose_head_may_have_other_classes():
    start = Recipe("emotion", classes=7, precision="float32")
    model = build(start, task_of(start), "float32")
    model.save("start.keras")
    recipe = Recipe("emotion", classes=4, pretrained="start.keras", precision="float32")
    network = build(recipe, task_of(recipe), "float32")
    kernels = [each.get_layer("stage3_block2_b").kernel.numpy() for each in (model, network)]
    np.testing.assert_array_equal(*kernels)
    assert network.output_shape == (None, 4)


def test_members_vote_by_weights_and_teach_one_network(place, members):
    record = ensemble("emotion", members, place / "data", place / "runs", place / "runs" / "both")
    assert list(record["members"]) == members
    assert sum(record["members"].values()) == pytest.approx(1, abs=1e-3)
    alone = [read_record(place / "runs" / name)["valid"]["accuracy"]["share"] for name in members]
    assert record["valid"]["accuracy"]["share"] >= min(alone)

    taught = Recipe("emotion", **SMALL, teacher=str(place / "runs" / "both"), mixup=0.1, balance="sampling")
    student = run(taught, place / "data", place / "runs" / "student")
    assert student["valid"]["accuracy"]["share"] > 0.6
    said = np.load(place / "runs" / "student" / "teacher.npy")
    assert said.shape == (student["faces"]["fitted"], 7)
    assert said.sum(axis=1) == pytest.approx(np.ones(len(said)), abs=1e-4)


def test_members_of_different_kinds_do_not_vote(place, members):
    with pytest.raises(ValueError, match="do not all learn gender"):
        ensemble("gender", members, place / "data", place / "runs", place / "runs" / "none")
    with pytest.raises(FileNotFoundError, match="nobody"):
        ensemble("emotion", ["nobody"], place / "data", place / "runs", place / "runs" / "none")


def test_votes_weigh_more_of_who_knows_more():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    targets = np.eye(3)[truth]

    def member(skill):
        said = np.full((600, 3), 0.1) + 0.7 * np.eye(3)[np.where(rng.random(600) < skill, truth, 0)]
        return said / said.sum(axis=1, keepdims=True)

    weights = voting_weights(np.stack([member(0.4), member(0.9), member(0.4)]), targets)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > 0.6
    yes = np.array([[0.9], [0.1]])
    assert voting_weights(np.stack([1 - yes, yes]), yes.round()).tolist() == pytest.approx([0, 1], abs=1e-3)


def test_a_search_goes_on_with_what_was_stopped(place):
    folder = place / "runs" / "search"
    recipe = Recipe("gender", **SMALL | {"epochs": 1})
    search(recipe, 1, place / "data", folder)
    study = optuna.load_study(study_name="gender", storage=study_file(folder))
    stopped = study.ask({"peak_rate": optuna.distributions.FloatDistribution(0.005, 0.2, log=True)})
    best = search(recipe, 2, place / "data", folder)
    study = optuna.load_study(study_name="gender", storage=study_file(folder))
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[2].params["peak_rate"] == stopped.params["peak_rate"]
    record = read_record(folder / best["folder"])
    assert record["recipe"]["peak_rate"] == best["options"]["peak_rate"]
    assert record["held_out"]["accuracy"]["share"] == best["figure"] == study.best_value
    assert json.loads((folder / "best.json").read_text()) == best


def test_networks_are_compared_alike_and_once(place):
    recipe = Recipe("age", **SMALL | {"epochs": 10, "peak_rate": None})
    weights, runs = place / "weights", place / "runs" / "compare"
    compare(recipe, ["two_conv_age"], place / "data", runs, weights)
    compare(recipe, ["lenet", "two_conv_age"], place / "data", runs, weights)
    rows = read_comparison(weights)["age"]
    assert list(rows["networks"]) == ["two_conv_age", "lenet"]
    assert rows["recipe"]["epochs"] == 10
    for network, row in rows["networks"].items():
        assert len(_rows(runs / network)) == 10
        assert row["parameters"] == read_record(runs / network)["parameters"]
        assert row["valid"]["all"]["mae"] < 17  # answering the mean age scores 20.6
        assert set(row["valid"]) == set(comparison.FIGURES["age"])


def test_fewer_classes_are_learnt_merged(place):
    recipe = Recipe("emotion", **SMALL | {"epochs": 1}, classes=4)
    record = run(recipe, place / "data", place / "runs" / "four")
    assert set(record["valid"]["by_emotion"]) == set(names(4))
    assert np.array(record["valid"]["confusion"]).shape == (4, 4)


def test_only_clean_faces_are_fitted_to(place):
    faces = read_ferplus(place / "data/fer2013", "train")
    kept = faces.names[~faces.calibration()][:150]
    (place / "clean.txt").write_text("\n".join(kept) + "\n")
    options = (
        "--network",
        "lenet",
        "--side",
        "48",
        "--epochs",
        "1",
        "--clean",
        "clean.txt",
        "--name",
        "clean",
    )
    main(["fit", "emotion", "--data", "data", *options])
    record = read_record(place / "runs" / "clean")
    assert record["faces"]["fitted"] == 150
    assert Recipe(**record["recipe"]) == Recipe("emotion", "lenet", side=48, epochs=1, clean="clean.txt")
    assert record["faces"]["calibration"] == faces.calibration().sum()


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("age", {"dataset": "ckplus"}, "does not tell age"),
        ("emotion", {"dataset": "sof"}, "only 4 classes"),
    ],
)
def test_what_a_data_set_can_not_teach_is_refused(task, options, words):
    with pytest.raises(ValueError, match=words):
        task_of(Recipe(task, **options))


def test_an_age_told_as_one_number_becomes_a_bell_around_it(place):
    recipe = Recipe("age", "two_conv_age", side=48)
    task = task_of(recipe)
    assert task.heads == {"age": 1}
    inputs = keras.Input((48, 48, 1))
    flat = keras.layers.Dense(
        1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(40 / 117)
    )
    network = keras.Model(inputs, flat(keras.layers.Flatten()(inputs)))
    told = answers(network, task, read(task, "valid", place / "data"))
    assert told.shape == (105, 117)
    assert (told.argmax(axis=1) == 40).all()


def test_settings_of_a_fit_are_kept(tmp_path):
    claim(tmp_path, {"task": "age"})
    assert json.loads((tmp_path / "settings.json").read_text()) == {"task": "age"}

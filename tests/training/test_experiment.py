"""Fits of small networks to pictures that are learnt in seconds: alone, voting, searched and compared."""

import csv
import json
import shutil
from dataclasses import asdict, replace

import cv2
import keras
import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from inference.alignment import default_points
from inference.decoding import sigmoid, softmax
from inference.faces import EMOTIONS
from training import comparison, experiment
from training.__main__ import DRAWN, main
from training.augmentation import LEVELS
from training.classes import names
from training.comparison import compare
from training.data import FERPLUS_COLUMNS, NOWHERE, Faces, read_ferplus, read_utkface
from training.ensemble import ensemble, voting_weights
from training.evaluation import CALIBRATE
from training.experiment import (
    Recipe,
    Voter,
    answers,
    apart,
    build,
    crops,
    divided,
    ingredients,
    logits,
    looks,
    read,
    read_record,
    restyle,
    run,
    settings_of,
    task_of,
    unusual,
    vote,
)
from training.export import read_figures, write_figures
from training.search import search, study_file
from training.tasks import TASKS

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


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_a_fit_is_made_as_its_recipe_says_and_valid_has_no_part_in_it(place, tmp_path, monkeypatch, balance):
    recipe = Recipe("gender", **SMALL, schedule="plateau", decay=0.01, patience=3, mixup=0.3, balance=balance)
    made, fits, calibrated = [], [], []
    crops = experiment.crops

    def cut(task, located, weights=None, *arguments, **options):
        made.append((located[0].names.tolist(), weights, options))
        return crops(task, located, weights, *arguments, **options)

    def calibrate(logits, labels):
        calibrated.append((len(logits), len(labels["gender"])))
        return {"temperature": 1.0}

    monkeypatch.setattr(experiment, "crops", cut)
    monkeypatch.setattr(experiment, "fit", lambda *arguments, **options: fits.append((arguments, options)))
    monkeypatch.setitem(CALIBRATE, "gender", calibrate)
    (tmp_path / "runs/checkpoint").mkdir(parents=True)
    run(recipe, place / "data", tmp_path / "runs")
    fitted, held_out, valid = experiment.divided(recipe, task_of(recipe), place / "data")
    (names, weights, options), (watched, *_), *_ = made
    assert names == fitted[0].names.tolist()
    rare = fitted[0].labels["gender"] == np.bincount(fitted[0].labels["gender"]).argmin()
    told, other = (weights, options["draw"]) if balance == "weights" else (options["draw"], weights)
    assert told[rare].min() > told[~rare].max()
    assert other is None
    assert options["mixup"] == 0.3
    assert watched == held_out[0].names.tolist()  # by which it is stopped early
    ((*_, rate), said) = fits[0]
    assert rate == SMALL["peak_rate"]
    assert said == {"schedule": "plateau", "weight_decay": 0.01, "patience": 3, "average": None}
    assert len(held_out[0]) != len(valid[0])
    assert calibrated == [(len(held_out[0]),) * 2]


def test_a_finished_fit_is_only_read(place, members):
    folder = place / "runs" / members[0]
    before = _rows(folder)
    record = run(Recipe("emotion", **SMALL), place / "nowhere", folder)
    assert record == read_record(folder)
    assert _rows(folder) == before
    assert not (folder / "checkpoint").exists()
    with pytest.raises(ValueError, match="another folder"):
        run(Recipe("emotion", **SMALL, mixup=0.2), place / "nowhere", folder)


def test_a_refused_fit_leaves_its_folder_to_another(place, tmp_path):
    with pytest.raises(ValueError, match="reaches back"):
        run(Recipe("emotion", **SMALL, average=0.999), place / "data", tmp_path / "fit")
    assert not (tmp_path / "fit").exists()


@pytest.mark.parametrize("draws", [0, 3])
def test_the_seed_alone_decides_how_a_fit_begins(place, monkeypatch, draws):
    """The detector, where landmarks are still to be found, draws random numbers, too."""

    def found(*place):
        [keras.initializers.GlorotUniform()((2, 2)) for _ in range(draws)]
        return read(*place)

    def begun(network, *_, **__):
        raise KeyboardInterrupt(network.get_weights())

    recipe = Recipe("emotion", **SMALL)
    monkeypatch.setattr("training.experiment.read", found)
    monkeypatch.setattr("training.experiment.fit", begun)
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(recipe, place / "data", place / "runs" / f"begun-{draws}")
    keras.utils.set_random_seed(recipe.seed)
    expected = build(recipe, task_of(recipe)).get_weights()
    for one, other in zip(stopped.value.args[0], expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_saved_network_gives_the_figures_of_the_record(place, members):
    folder = place / "runs" / members[0]
    recipe = Recipe("emotion", **SMALL)
    valid = read(task_of(recipe), "valid", place / "data")
    said = Voter(folder).of_faces(valid)
    assert said.sum(axis=1) == pytest.approx(np.ones(105))
    accuracy = (said.argmax(axis=1) == valid[0].labels["votes"].argmax(axis=1)).mean()
    assert accuracy == pytest.approx(read_record(folder)["valid"]["accuracy"]["share"], abs=1e-4)


def test_logits_are_means_of_two_looks(place):
    task = task_of(Recipe("emotion", **SMALL))
    network = build(Recipe("emotion", **SMALL), task)
    faces, landmarks = read(task, "valid", place / "data")
    (crop, *_) = crops(task, (faces, landmarks))[0]
    ((one, other),) = looks(network, task, (faces, landmarks)).values()
    (two,) = logits(network, task, (faces, landmarks)).values()
    said, mirrored = (network.predict_on_batch(look) for look in (crop, crop[:, :, ::-1]))
    np.testing.assert_allclose(one[: len(crop)], said, atol=1e-5)
    np.testing.assert_allclose(other[: len(crop)], mirrored, atol=1e-5)
    np.testing.assert_allclose(two[: len(crop)], (said + mirrored) / 2, atol=1e-5)


def test_ours_begins_with_a_model_like_it_whose_head_may_have_other_classes():
    start = Recipe("emotion", classes=7, precision="float32")
    model = build(start, task_of(start))
    model.save("start.keras")
    recipe = Recipe("emotion", classes=4, pretrained="start.keras", precision="float32")
    network = build(recipe, task_of(recipe))
    kernels = [each.get_layer("stage3_block2_b").kernel.numpy() for each in (model, network)]
    np.testing.assert_array_equal(*kernels)
    assert network.output_shape == (None, 4)


def test_votes_are_weighed_on_faces_that_were_kept_out_of_valid(place, members, tmp_path, monkeypatch):
    asked = []

    def weigh(said, targets):
        asked.append((said.shape[1], len(targets)))
        return voting_weights(said, targets)

    monkeypatch.setattr("training.ensemble.voting_weights", weigh)
    ensemble("emotion", members, place / "data", place / "runs", tmp_path / "voters")
    kept = read_record(place / "runs" / members[0])["faces"]
    assert kept["calibration"] != kept["valid"]
    assert asked == [(kept["calibration"],) * 2]


def test_members_vote_by_weights_and_teach_one_network(place, members):
    record = ensemble("emotion", members, place / "data", place / "runs", place / "runs" / "both")
    assert list(record["members"]) == ["../seed-0", "../seed-1"]
    assert sum(record["members"].values()) == pytest.approx(1, abs=1e-3)

    taught = Recipe("emotion", **SMALL, teacher=str(place / "runs" / "both"), mixup=0.1, balance="sampling")
    student = run(taught, place / "data", place / "runs" / "student")
    assert student["valid"]["accuracy"]["share"] > 0.6


def test_a_member_that_knows_nothing_spoils_no_vote(place, members):
    runs = place / "runs"
    lost = run(Recipe("emotion", **SMALL | {"epochs": 1, "peak_rate": 1e-9}), place / "data", runs / "lost")
    assert lost["valid"]["accuracy"]["share"] < 0.4
    record = ensemble("emotion", ["lost", members[0]], place / "data", runs, runs / "deep" / "er" / "lost")
    weights = dict(zip(["lost", "known"], record["members"].values()))
    assert weights["known"] > 0.9
    alone = read_record(runs / members[0])["valid"]["accuracy"]["share"]
    assert record["valid"]["accuracy"]["share"] >= alone - 0.01


def test_an_ensemble_says_what_its_members_do_by_their_weights(place, members):
    runs, folder = place / "runs", place / "runs" / "deep" / "both"
    record = ensemble("emotion", members, place / "data", runs, folder)
    valid = read(task_of(Recipe("emotion")), "valid", place / "data")
    said = [Voter(runs / name).of_faces(valid) for name in members]
    mean = np.tensordot(list(record["members"].values()), said, 1)
    np.testing.assert_allclose(Voter(folder).of_faces(valid), mean, atol=1e-4)


def test_a_teacher_says_of_crops_what_its_network_learnt_to(place, members):
    """Shares of votes, not how sure the most voted one is: that is for people to be told."""
    folder, task = place / "runs" / members[0], task_of(Recipe("emotion", **SMALL))
    inputs, *_ = crops(task, read(task, "valid", place / "data"), augmentation="high")[0]
    logits = keras.saving.load_model(folder / "model.keras").predict_on_batch(inputs)
    np.testing.assert_allclose(Voter(folder).of_crops(inputs), softmax(logits), atol=1e-5)


def test_a_member_that_only_errs_more_has_no_vote():
    """Voters' shares are soft, and so are the answers that are judged by them."""
    rng = np.random.default_rng(0)
    shares = softmax(rng.normal(0, 2, (2000, 7)))
    votes = rng.multinomial(10, shares) / 10
    noisy = np.log(shares) + rng.normal(0, 1.5, shares.shape)
    known, lost = voting_weights(np.stack([shares, softmax(noisy)]), votes)
    assert (known, lost) == pytest.approx((1, 0), abs=0.02)


def test_a_teacher_sees_crops_of_other_sizes_and_colors_as_its_own(place, members):
    teacher, student = (task_of(Recipe("emotion", **SMALL | changed)) for changed in ({}, {"side": 96}))
    located = read(teacher, "valid", place / "data")
    own, large = (crops(task, located)[0][0] for task in (teacher, student))
    colored = np.repeat(large, 3, axis=3)
    for other in (large, colored):
        styled = restyle(other, teacher)
        assert styled.shape == own.shape
        assert styled.mean(axis=(1, 2, 3)) == pytest.approx(np.zeros(len(own)), abs=1e-4)
        assert styled.std(axis=(1, 2, 3)) == pytest.approx(np.ones(len(own)), abs=1e-3)
        assert np.corrcoef(styled.ravel(), own.ravel())[0, 1] > 0.97
    voter = Voter(place / "runs" / members[0])
    agreed = voter.of_crops(colored).argmax(axis=1) == voter.of_crops(own).argmax(axis=1)
    assert agreed.mean() > 0.9
    assert restyle(own, replace(teacher, channels=3)).shape == (*own.shape[:3], 3)


def test_a_vote_is_the_mean_of_probabilities():
    said = np.random.default_rng(0).dirichlet(np.ones(3), (2, 5))
    np.testing.assert_allclose(softmax(vote("age", [0.2, 0.8], said)), 0.2 * said[0] + 0.8 * said[1])
    yes = said[..., :1]
    np.testing.assert_allclose(sigmoid(vote("gender", [0.2, 0.8], yes)), 0.2 * yes[0] + 0.8 * yes[1])


def test_a_fit_votes_by_the_crops_that_it_learnt_from(place, members, monkeypatch):
    """Its network's own side may have changed since."""
    valid = read(task_of(Recipe("emotion", **SMALL)), "valid", place / "data")
    before = Voter(place / "runs" / members[0]).of_faces(valid)
    _copy_with(place / "runs", "own-side", side=None)
    monkeypatch.setitem(TASKS, "emotion", replace(TASKS["emotion"], side=40))
    np.testing.assert_allclose(Voter(place / "runs" / "own-side").of_faces(valid), before, atol=1e-6)


def test_members_of_different_kinds_do_not_vote(place, members):
    runs, folder = place / "runs", place / "runs" / "none"
    _copy_with(runs, "original", dataset="fer2013")
    for task, those, words in (
        ("gender", members, "do not all learn gender"),
        ("emotion", [*members, "deep/../seed-0"], "names one twice"),
        ("emotion", [members[0], "original"], "the same data"),
    ):
        with pytest.raises(ValueError, match=words):
            ensemble(task, those, place / "data", runs, folder)
    with pytest.raises(FileNotFoundError, match="nobody"):
        ensemble("emotion", ["nobody"], place / "data", runs, folder)
    assert not folder.exists()
    with pytest.raises(ValueError, match="was made with members None"):
        ensemble("emotion", members, place / "data", runs, runs / members[0])


def test_the_usual_data_set_may_be_named(place, members):
    _copy_with(place / "runs", "named", dataset="ferplus")
    those, folder = [members[0], "named"], place / "runs" / "both-named"
    assert len(ensemble("emotion", those, place / "data", place / "runs", folder)["members"]) == 2


def _copy_with(runs, name, **options):
    """A copy of a fit whose recipe tells something else."""
    shutil.copytree(runs / "seed-0", runs / name, dirs_exist_ok=True)
    record = read_record(runs / name)
    record["recipe"] |= options
    (runs / name / "record.json").write_text(json.dumps(record))


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
    stopped = _study(folder).ask({"peak_rate": FloatDistribution(0.005, 0.2, log=True)})
    best = search(recipe, 2, place / "data", folder)
    study = _study(folder)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[2].params["peak_rate"] == stopped.params["peak_rate"]
    record = read_record(folder / best["folder"])
    assert record["recipe"]["peak_rate"] == best["options"]["peak_rate"]
    assert record["held_out"]["accuracy"]["share"] == best["figure"] == study.best_value
    assert json.loads((folder / "best.json").read_text()) == best


def _study(folder):
    return optuna.load_study(study_name="gender", storage=study_file(folder))


@pytest.fixture
def fits(monkeypatch):
    """What becomes of the fits of a search, first to last: figures or errors; recipes; pictures."""
    outcomes, recipes, pictures = [], [], {"fitted": "some"}

    def fitted(recipe, data, folder):
        recipes.append(recipe)
        outcome = outcomes.pop(0)
        if isinstance(outcome, float):
            return {"held_out": {"accuracy": {"share": outcome}}, "pictures": pictures.copy()}
        raise outcome

    monkeypatch.setattr("training.search.run", fitted)
    return outcomes, recipes, pictures


def test_a_search_never_compares_fits_to_other_pictures(tmp_path, fits):
    outcomes, _, pictures = fits
    outcomes += [0.7, 0.9]
    search(Recipe("gender"), 1, tmp_path, tmp_path)
    pictures["fitted"] = "others"
    with pytest.raises(ValueError, match="other pictures"):
        search(Recipe("gender"), 2, tmp_path, tmp_path)


def test_a_search_in_several_calls_never_draws_the_same_twice(tmp_path, fits):
    outcomes, recipes, _ = fits
    outcomes += [0.1, 0.2, 0.3, 0.4]
    for trials in (1, 2, 4):
        search(Recipe("gender"), trials, tmp_path, tmp_path / "search")
    assert len({recipe.peak_rate for recipe in recipes}) == 4
    drawn = set().union(*(unusual(asdict(recipe), "gender") for recipe in recipes))
    assert drawn == set(DRAWN)  # those that the command does not take
    with pytest.raises(ValueError, match="epochs 20, not 3"):
        search(Recipe("gender", epochs=3), 5, tmp_path, tmp_path / "search")


def test_a_search_goes_on_after_fits_that_diverge(tmp_path, fits):
    outcomes, recipes, _ = fits
    outcomes += [FloatingPointError(), FloatingPointError(), 0.5]
    with pytest.raises(ValueError, match="none of the 1 fits"):
        search(Recipe("gender"), 1, tmp_path, tmp_path / "search")
    best = search(Recipe("gender"), 3, tmp_path, tmp_path / "search")
    assert best["figure"] == 0.5
    assert search(Recipe("gender"), 3, tmp_path, tmp_path / "search") == best
    assert len({recipe.peak_rate for recipe in recipes}) == 3


def test_a_search_that_is_interrupted_takes_the_fit_up_again(tmp_path, fits):
    outcomes, recipes, _ = fits
    outcomes += [KeyboardInterrupt(), 0.5]
    with pytest.raises(KeyboardInterrupt):
        search(Recipe("gender"), 1, tmp_path, tmp_path / "search")
    search(Recipe("gender"), 1, tmp_path, tmp_path / "search")
    assert recipes[0] == recipes[1]


def test_a_search_goes_on_with_the_same_clean_list_alone(tmp_path, fits):
    outcomes, *_ = fits
    outcomes += [0.5]
    listed = tmp_path / "clean.txt"
    listed.write_text("one.jpg\n")
    recipe = Recipe("gender", clean=str(listed))
    search(recipe, 1, tmp_path, tmp_path / "search")
    listed.write_text("two.jpg\n")
    with pytest.raises(ValueError, match="was made with list"):
        search(recipe, 2, tmp_path, tmp_path / "search")


def test_a_search_for_what_can_not_be_learnt_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="does not tell gender"):
        search(Recipe("gender", dataset="ckplus"), 1, tmp_path, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_networks_are_compared_alike_and_once(place, monkeypatch):
    recipe = Recipe("age", **SMALL | {"epochs": 10, "peak_rate": None})
    weights, runs = place / "weights", place / "runs" / "compare"
    common = {key: value for key, value in asdict(recipe).items() if key not in comparison.OWN}
    older = {"recipe": common, "networks": {"six_conv": {}}}  # of who knows which augmentation
    write_figures("comparison", {"age": older}, weights)
    compare(recipe, ["two_conv_age"], place / "data", runs, weights)
    compare(recipe, ["lenet", "two_conv_age"], place / "data", runs, weights)
    rows = read_figures("comparison", weights)["age"]
    assert list(rows["networks"]) == ["two_conv_age", "lenet"]
    assert rows["recipe"]["epochs"] == 10
    with monkeypatch.context() as patch:
        patch.setitem(LEVELS, recipe.augmentation, LEVELS["high"])
        with pytest.raises(ValueError, match="level"):  # its fits are not compared with those of today
            compare(recipe, ["lenet"], place / "data", runs, weights)
    compare(replace(recipe, epochs=1, mixup=0.2), ["lenet"], place / "data", runs / "mixed", weights)
    left = read_figures("comparison", weights)["age"]["networks"]
    assert list(left) == ["lenet"]  # none of another recipe
    for network, row in rows["networks"].items():
        assert len(_rows(runs / network)) == 10
        assert row["parameters"] == read_record(runs / network)["parameters"]
        assert row["valid"]["all"]["mae"] < 17  # answering the mean age scores 20.6
        assert set(row["valid"]) == set(comparison.SHOWN["age"])


def test_what_another_comparison_wrote_meanwhile_stays(place, monkeypatch):
    """One of gender takes hours beside one of age."""
    recipe, weights = Recipe("gender", **SMALL | {"epochs": 1}), place / "two-at-once"

    def fit_beside_another(*arguments):
        record = run(*arguments)
        write_figures("comparison", read_figures("comparison", weights) | {"age": theirs}, weights)
        return record

    theirs = {"recipe": asdict(Recipe("age")), "networks": {}}
    monkeypatch.setattr(comparison, "run", fit_beside_another)
    monkeypatch.setattr(comparison, "write_cards", lambda _: None)
    compare(recipe, ["lenet"], place / "data", place / "runs" / "two-at-once", weights)
    tables = read_figures("comparison", weights)
    assert tables["age"] == theirs
    assert list(tables["gender"]["networks"]) == ["lenet"]


def test_nothing_is_calibrated_on_a_copy_of_what_is_fitted_to():
    rng = np.random.default_rng(0)
    images = [cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (48, 48)) for _ in range(200)]
    names = np.array([f"{row}.png" for row in range(200)])
    held_out = Faces(names, images, {}).calibration()
    (first, second, *_), (other, *_) = np.flatnonzero(held_out), np.flatnonzero(~held_out)
    images[other] = np.ascontiguousarray(images[first][:, ::-1])
    fitted, calibration = apart((Faces(names, images, {}), np.zeros((200, 5, 2))), [None])
    assert set(fitted[0].names) == set(names[~held_out])
    assert set(calibration[0].names) == set(names[held_out]) - {names[first]}
    assert names[second] in calibration[0].names


@pytest.mark.parametrize("other", ["pictures", "side"])
def test_what_was_fitted_to_other_pictures_or_crops_is_not_compared(place, capsys, other):
    recipe = Recipe("gender", **SMALL | {"epochs": 1})
    weights, runs = place / f"other-{other}", place / "runs" / f"other-{other}"
    compare(recipe, ["two_conv_age"], place / "data", runs, weights)
    table = read_figures("comparison", weights)
    (row,) = table["gender"]["networks"].values()
    compare(recipe, ["lenet"], place / "data", runs, weights)
    assert len(read_figures("comparison", weights)["gender"]["networks"]) == 2
    table["gender"]["networks"]["two_conv_age"] = row | {other: {} if other == "pictures" else 24}
    write_figures("comparison", table, weights)
    capsys.readouterr()
    compare(recipe, ["lenet"], place / "data", runs, weights)
    assert list(read_figures("comparison", weights)["gender"]["networks"]) == ["lenet"]
    told = "no longer compared, as fitted to other pictures than lenet: two_conv_age"
    assert (told in capsys.readouterr().out) == (other == "pictures")


def test_photos_without_a_face_are_neither_fitted_to_nor_measured_on(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for number in range(4):
        path = tmp_path / "sof" / "train" / f"AnnE_{number}_f_30_i_fr_nc_no_2016_1_e0_nl_o.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (48, 64, 3), np.uint8))
    (path.parent / "mistyped.jpg").write_bytes(path.read_bytes())
    found = np.stack([default_points(64, 48), NOWHERE, default_points(64, 48) + 1, NOWHERE])
    monkeypatch.setattr(experiment, "locate", lambda *_: found)
    faces, landmarks = read(task_of(Recipe("age", dataset="sof")), "train", tmp_path)
    assert [name[:6] for name in faces.names] == ["AnnE_0", "AnnE_2"]
    assert (landmarks == found[[0, 2]]).all()
    told = "1 whose name and folder tell no label, 2 without a face that the detector sees"
    assert capsys.readouterr().out == f"sof, train: left out {told}\n"


def test_what_can_not_be_compared_is_refused_before_the_first_fit(place):
    """A network that answers with a number can't learn from one that answers with a distribution."""
    runs = place / "runs" / "taught"
    (runs / "teacher").mkdir(parents=True)
    (runs / "teacher/record.json").write_text(json.dumps({"recipe": asdict(Recipe("age"))}))
    recipe = Recipe("age", **SMALL, teacher=str(runs / "teacher"))
    with pytest.raises(ValueError, match="what two_conv_age is to learn"):
        compare(recipe, ["lenet", "two_conv_age"], place / "data", runs, place / "weights")
    assert not (runs / "lenet").exists()


def test_what_is_compared_has_one_clean_list(place):
    (place / "list.txt").write_text("\n".join(read_utkface(place / "data/utkface", "train").names))
    recipe = Recipe("age", **SMALL | {"epochs": 1}, clean=str(place / "list.txt"))
    weights, runs = place / "weights", place / "runs" / "listed"
    compare(recipe, ["lenet"], place / "data", runs, weights)
    (place / "list.txt").write_text((place / "list.txt").read_text().partition("\n")[2])
    with pytest.raises(ValueError, match="list"):
        compare(recipe, ["lenet"], place / "data", runs, weights)


def test_a_network_that_diverges_is_left_out_of_a_comparison(place):
    recipe = Recipe("gender", **SMALL | {"epochs": 1, "peak_rate": 1e30})
    with pytest.raises(FloatingPointError, match="lenet"):
        compare(recipe, ["lenet"], place / "data", place / "runs" / "diverged", place / "weights")
    assert "gender" not in read_figures("comparison", place / "weights")


def test_cards_tell_what_was_compared_before_a_network_diverged(place, monkeypatch):
    places = ["--data", "data", "--weights", "cards", "--runs", "runs/carded"]
    monkeypatch.setattr("training.comparison.run", _diverging(comparison.run, "six_conv_narrow"))
    with pytest.raises(FloatingPointError, match="six_conv_narrow"):
        main(
            ["compare", "gender", "--networks", "lenet", "six_conv_narrow", "--side", "48", "--epochs", "1"]
            + places
        )
    assert "| `lenet` |" in (place / "cards/README.md").read_text()


def _diverging(run, network):
    def fitted(recipe, *places):
        if recipe.network == network:
            raise FloatingPointError
        return run(recipe, *places)

    return fitted


def test_only_a_model_like_ours_is_gone_on_from(place):
    recipe = Recipe("age", pretrained=str(place / "lenet.keras"))
    build(Recipe("age", "lenet"), task_of(Recipe("age", "lenet"))).save(place / "lenet.keras")
    with pytest.raises(ValueError, match="like ours"):
        build(recipe, task_of(recipe))


def test_a_model_of_other_crops_is_not_gone_on_from(place):
    grey = Recipe("emotion")
    build(grey, task_of(grey)).save(place / "grey.keras")
    recipe = Recipe("gender", pretrained=str(place / "grey.keras"))
    with pytest.raises(ValueError, match="another stem"):
        build(recipe, task_of(recipe))


def test_a_fit_is_known_by_the_side_and_the_rate_that_are_its_networks_own(monkeypatch):
    settings = settings_of(Recipe("emotion"))
    assert settings == settings_of(Recipe("emotion", side=settings["side"], peak_rate=settings["peak_rate"]))
    monkeypatch.setitem(TASKS, "emotion", replace(TASKS["emotion"], side=40))
    monkeypatch.setattr(experiment, "PEAK_RATE", 0.2)
    changed = settings_of(Recipe("emotion"))
    assert {key: changed[key] for key in changed if changed[key] != settings[key]} == {
        "side": 40,
        "peak_rate": 0.2,
    }


def test_a_fit_is_known_by_the_weights_that_it_begins_with(tmp_path):
    recipe = Recipe("gender", pretrained=str(tmp_path / "start.keras"))
    known = []
    for weights in (b"some", b"others"):
        (tmp_path / "start.keras").write_bytes(weights)
        known.append(ingredients(recipe))
    assert known[0] != known[1]


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
    main(["fit", "emotion", "--data", "data", "--publish", *options])
    record = read_record(place / "runs" / "clean")
    assert record["faces"]["fitted"] == 150
    assert Recipe(**record["recipe"]) == Recipe("emotion", "lenet", side=48, epochs=1, clean="clean.txt")
    assert 0 < record["faces"]["calibration"] <= faces.calibration().sum()  # less those with a copy
    told = read_figures("others", place / "weights")["clean"]
    assert told["options"] == {"network": "lenet", "side": 48, "epochs": 1, "clean": "clean.txt"}
    assert told["valid"]["macro_f1"] == record["valid"]["macro_f1"]
    assert (
        "`fit emotion --network lenet --side 48 --epochs 1 --clean clean.txt`"
        in (place / "weights/README.md").read_text()
    )


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("age", {"dataset": "ckplus"}, "does not tell age"),
        ("emotion", {"dataset": "sof"}, "only 4 classes"),
        ("emotion", {"teacher": "runs/seed-0", "classes": 4}, "does not tell what"),
        ("age", {"teacher": "runs/seed-0"}, "does not tell what"),
        ("age", {"teacher": "runs/nobody"}, "no finished fit"),
        ("emotion", {"network": "mobilenet", "pretrained": "none.h5"}, "no weights"),
        ("emotion", {"pretrained": "none.keras"}, "no weights"),
        ("emotion", {"network": "lenet", "pretrained": __file__}, "can't begin with"),
        ("emotion", {"clean": "none.txt"}, "none.txt"),
        ("emotion", {"network": "mobilenet", "side": 24}, "32 pixels or more, not 24"),
    ],
)
def test_what_can_not_be_learnt_is_refused_and_claims_no_folder(place, members, task, options, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        run(Recipe(task, **options), place / "data", place / "runs" / "refused")
    assert not (place / "runs" / "refused").exists()


@pytest.mark.parametrize(
    "ignored",
    [
        {"task": "gender", "classes": 4},
        {"task": "emotion", "unfrozen": 3},
        {"task": "age", "network": "vgg16", "unfrozen": 0},
    ],
)
def test_what_would_be_ignored_is_refused(ignored):
    with pytest.raises(ValueError, match="merged|frozen"):
        Recipe(**ignored)


def test_the_best_weights_or_their_average_but_not_both():
    with pytest.raises(ValueError, match="not both"):
        Recipe("age", patience=1, average=0.9)


@pytest.mark.parametrize("wrong", [{}, {"dataset": "ferplus"}, {"dataset": "fer2013", "voters": 0.5}])
def test_only_fer2013_s_labels_are_shared_with_voters(wrong):
    with pytest.raises(ValueError, match="voters"):
        Recipe("emotion", **{"voters": 0.1} | wrong)


def test_voters_have_a_share_in_what_is_fitted_to_alone(place):
    recipe = Recipe("emotion", dataset="fer2013", voters=0.2)
    root = place / "voters/fer2013"
    shutil.copytree(place / "data/fer2013", root)
    with (root / "fer2013new.csv").open(newline="") as file:
        rows = [row | dict.fromkeys(FERPLUS_COLUMNS, 0) | {"surprise": 10} for row in csv.DictReader(file)]
    with (root / "fer2013new.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    (fitted, _), _, (valid, _) = divided(recipe, task_of(recipe), place / "voters")
    assert (fitted.labels["votes"][:, EMOTIONS.index("surprise")] > 0.19).all()
    assert valid.labels["votes"].max(axis=1).tolist() == [1] * len(valid)


def test_too_few_faces_are_told(make_faces):
    located = make_faces(3, 0)
    with pytest.raises(ValueError, match="of 3 faces 3 are left to fit to and 0 to calibrate on"):
        apart(located, [None])


def test_faces_of_any_list_are_those_that_a_model_has_seen(make_faces, tmp_path):
    faces, landmarks = make_faces(200, 0)
    names = faces.names[~faces.calibration()]
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("\n".join(names[:3]))
    two.write_text("\n".join(names[2:5]))
    for lists, seen in (([one], names[:3]), ([one, two], names[:5]), ([one, None], names)):
        (fitted, _), _ = apart((faces, landmarks), lists)
        assert fitted.names.tolist() == seen.tolist()


def test_a_fit_goes_on_only_with_the_same_faces(place, monkeypatch):
    recipe, folder = Recipe("emotion", **SMALL, clean="list.txt"), place / "runs" / "list"
    names = read_ferplus(place / "data/fer2013", "train").names
    (place / "list.txt").write_text("\n".join(names[:200]))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.experiment.fit", killed)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run(recipe, place / "data", folder)
    (place / "list.txt").write_text("\n".join(names[:199]))
    with pytest.raises(ValueError, match="was made with list .* other pictures"):
        run(recipe, place / "data", folder)


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

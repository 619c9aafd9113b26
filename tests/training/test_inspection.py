"""A data set with one of each fault, looked through by the command."""

import csv

import cv2
import numpy as np
import pytest

from inference.alignment import default_points
from inference.faces import EMOTIONS
from training import inspection
from training.__main__ import main
from training.data import FERPLUS_COLUMNS, NOWHERE, Faces, landmarks_file
from training.duplicates import folds, pixel_digest
from training.experiment import Recipe
from training.tasks import age_distributions

TRAIN = "data/mine/train"
EACH = 12  # pictures of an emotion
WORDS = ("angry", "happy", "sad")
RED = (60, 30, 200)  # BGR


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        _write(root)
        _spoil(root)
        main(["inspect", "mine", "--data", "data", "--epochs", "0"])
        yield root


def _write(root):
    """Smooth pictures, none like another, and landmarks as if a face had been seen in each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", EACH), ("valid", 4)):
        names = [f"{word}/{number}.png" for word in WORDS for number in range(count)]
        digests = []
        for name in names:
            path = root / "data/mine" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (48, 48))
            assert cv2.imwrite(str(path), picture)
            digests.append(pixel_digest(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)))
        (root / "runs").mkdir(exist_ok=True)
        landmarks = np.stack([default_points(48, 48) + 1] * len(names))
        np.savez(root / landmarks_file(f"mine-{split}"), digests=digests, landmarks=landmarks)


def _spoil(root):
    train = root / TRAIN
    (train / "happy/broken.png").write_bytes(b"no picture")
    (train / "suprise").mkdir()
    (train / "suprise/0.png").write_bytes((train / "angry/1.png").read_bytes())
    cv2.imwrite(str(train / "happy/flat.png"), np.full((48, 48, 3), RED, np.uint8))
    (train / "angry/twin.png").write_bytes((train / "angry/0.png").read_bytes())
    (train / "sad/twin.png").write_bytes((train / "angry/0.png").read_bytes())
    (train / "sad/twin-of-5.png").write_bytes((train / "sad/5.png").read_bytes())
    lighter = cv2.imread(str(train / "sad/6.png")) * 0.8 + 20
    cv2.imwrite(str(train / "sad/lighter-6.png"), lighter.astype(np.uint8))
    cv2.imwrite(str(train / "sad/mirrored.png"), cv2.imread(str(root / "data/mine/valid/sad/0.png"))[:, ::-1])


def _findings(place, kind, split="train"):
    with (place / "runs/inspect-mine/findings.csv").open(newline="") as lines:
        rows = csv.DictReader(lines)
        return {row["name"]: row["detail"] for row in rows if (row["kind"], row["split"]) == (kind, split)}


def test_broken_and_flat_pictures_are_found(place):
    assert _findings(place, "unreadable") == {"happy/broken.png": ""}
    assert _findings(place, "flat") == {"happy/flat.png": "100% one grey level"}
    assert not _findings(place, "unreadable", "valid")


def test_folders_that_tell_nothing_are_found(place):
    assert _findings(place, "not understood") == {"suprise/0.png": ""}


def test_what_the_detector_sees_no_face_in_is_found(place):
    """It has looked at the new pictures only."""
    assert "happy/flat.png" in _findings(place, "no face seen")
    assert not any(name.split("/")[1][0].isdigit() for name in _findings(place, "no face seen"))


def test_copies_are_told_apart(place):
    assert set(_findings(place, "copied with another label")) == {
        "angry/0.png",
        "angry/twin.png",
        "sad/twin.png",
    }
    assert all(
        detail.endswith("angry or sad") for detail in _findings(place, "copied with another label").values()
    )
    assert _findings(place, "exact copy") == {"sad/twin-of-5.png": "of sad/5.png"}
    assert _findings(place, "near copy") == {"sad/lighter-6.png": "of sad/6.png"}
    assert _findings(place, "copied across splits") == {"sad/mirrored.png": "of valid/sad/0.png"}
    assert _findings(place, "copied across splits", "valid") == {"sad/0.png": "of train/sad/mirrored.png"}


def test_the_clean_list_leaves_out_what_is_wrong_and_nothing_else(place):
    clean = (place / "runs/inspect-mine/clean.txt").read_text().splitlines()
    expected = {f"{word}/{number}.png" for word in WORDS for number in range(EACH)} - {"angry/0.png"}
    assert set(clean) == expected
    assert len(clean) == len(expected)


def test_the_report_counts_findings_and_classes(place):
    report = (place / "runs/inspect-mine/report.md").read_text()
    assert f"{3 * EACH + 6} pictures in train, of which {3 * EACH - 1} are clean; 12 in valid." in report
    assert "Labels doubted: none." in report
    assert "| unreadable | 1 | 0 | yes |" in report
    assert "| copied with another label | 3 | 0 | yes |" in report
    assert f"| sad | {EACH + 4} | 4 |" in report


def test_sheets_show_what_was_found(place):
    folder = place / "runs/inspect-mine"
    sheet = cv2.imread(str(folder / "flat.png"))
    assert (sheet[:100, :100] == RED).all()
    assert (folder / "near-copy.png").exists()
    assert not (folder / "unreadable.png").exists()


def test_a_folder_in_folders(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "more/of").mkdir(parents=True)
    (place / "more/of/mine").symlink_to(place / "data/mine")
    monkeypatch.setattr(inspection, "locate", _locate)
    for name in ("more/of/mine", str(place / "data/mine")):
        main(["inspect", name, "--data", ".", "--epochs", "0"])
    written = {path.parent.name for path in (place / "runs").rglob("report.md")}
    assert "inspect-more-of-mine" in written
    assert len(written) == len(list((place / "runs").glob("inspect-*"))) == 3


def _locate(faces, *_):
    return np.stack([default_points(*image.shape[1::-1]) for image in faces.images])


@pytest.fixture
def fits(tmp_path, monkeypatch):
    """The reports as they were when each fit to SoF began; in place of fits, what is told is what labels say.

    But for one picture that is labelled sad and told to be happy. Nobody fitted to is told of, and no picture
    of `valid` fitted to.
    """
    rng, measured_on = np.random.default_rng(0), set()
    persons = [f"Per{chr(65 + number)}" for number in range(14)] + ["AnnE"]
    for number, person in enumerate(persons):
        for take, emotion in enumerate(["no", "hp", "sd", "sr", "sd"]):
            split = "valid" if number < 3 or (person, take) == ("AnnE", 0) else "train"
            path = (
                tmp_path / "data/sof" / split / f"{person}_{take}_f_30_i_fr_nc_{emotion}_2016_1_e0_nl_o.jpg"
            )
            measured_on |= {path.name} if split == "valid" else set()
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (64, 48)))
    began, fitted = [], set()

    def fit(network, batches, *_):
        began.append((tmp_path / "runs/inspect-sof/report.md").read_text())
        assert not measured_on & set(batches._faces.names)
        fitted.clear()
        fitted.update(batches._faces.labels["group"])

    def answers(network, task, located):
        faces, _ = located
        assert not fitted & set(faces.labels["group"])
        ((name, outputs),) = task.heads.items()
        labels = faces.labels
        if name == "emotion":
            told = np.where(np.char.startswith(faces.names, "AnnE_2"), 1, labels["votes"].argmax(axis=1))
            return 4 * np.eye(outputs)[told]
        return 20 * np.eye(outputs)[labels["age"]] if name == "age" else np.zeros((len(faces), outputs))

    for function in (fit, answers):
        monkeypatch.setattr(inspection, function.__name__, function)
    monkeypatch.setattr(inspection, "build", lambda *_: None)
    monkeypatch.setattr(inspection, "locate", _locate)
    return began


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, in cleanlab
def test_persons_and_four_classes(tmp_path, fits):
    report = inspection.inspect("sof", tmp_path / "data", tmp_path / "runs", epochs=1)
    assert (tmp_path / "runs/inspect-sof/report.md").read_text() == report
    for name in ("neutral", "happy", "sad/angry/disgust", "surprise/fear"):
        assert f"| {name} |" in report
    assert "Labels doubted: emotion, gender, age." in report
    with (tmp_path / "runs/inspect-sof/findings.csv").open(newline="") as lines:
        found = [row for row in csv.DictReader(lines) if row["name"].startswith("AnnE")]
    doubted = [row for row in found if row["kind"] == "doubtful label"]
    assert [row["name"][:6] for row in doubted] == ["AnnE_2"]
    assert doubted[0]["detail"].startswith("sad/angry/disgust 2%, rather happy ")
    both = {(row["split"], row["name"][:6]) for row in found if row["kind"] == "person on both sides"}
    assert both == {("valid", "AnnE_0")} | {("train", f"AnnE_{take}") for take in range(1, 5)}
    assert "| person on both sides | 4 | 1 | no |" in report


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, in cleanlab
def test_what_is_found_without_fits_is_told_before_them(tmp_path, fits):
    inspection.inspect("sof", tmp_path / "data", tmp_path / "runs", epochs=1)
    assert len(fits) == 3 * inspection.FOLDS
    assert "| person on both sides | 4 | 1 | no |" in fits[0]
    assert "Labels doubted: none." in fits[0]
    assert "Labels doubted: emotion." in fits[inspection.FOLDS]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, in cleanlab
def test_other_fits_are_refused_before_what_was_found_is_written_over(tmp_path, fits):
    folder = tmp_path / "runs/inspect-sof"
    report = inspection.inspect("sof", tmp_path / "data", tmp_path / "runs", epochs=1)
    listed = (folder / "clean.txt").read_text()
    with pytest.raises(ValueError, match="epochs 1, not 2"):
        inspection.inspect("sof", tmp_path / "data", tmp_path / "runs", epochs=2)
    assert (folder / "report.md").read_text() == report
    assert (folder / "clean.txt").read_text() == listed
    assert (folder / "doubtful-label.png").exists()
    inspection.inspect("sof", tmp_path / "data", tmp_path / "runs", epochs=0)
    assert not (folder / "doubtful-label.png").exists()


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Photos of two persons at one place, of whom only the faces differ; in the last none is seen."""
    rng = np.random.default_rng(0)
    place = cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (640, 480))
    looks = {
        person: cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (48, 48)) for person in ("AnnE", "BenF")
    }
    shown = [("AnnE", "no"), ("AnnE", "no"), ("AnnE", "hp"), ("BenF", "no"), ("BenF", "no")]
    landmarks = []
    for number, (person, emotion) in enumerate(shown):
        photo, face = place.copy(), looks[person].copy()
        if emotion == "hp":
            face[-6:, 18:30] //= 2
        top, left = 100 + 40 * number, 200 + 20 * number
        photo[top : top + 48, left : left + 48] = face
        split = "valid" if number == 3 else "train"
        path = tmp_path / "data/sof" / split / f"{person}_{number}_f_30_i_fr_nc_{emotion}_2016_1_e0_nl_o.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), photo)
        landmarks.append(default_points(48, 48) + (left, top))
    by_split = {"train": np.stack([*landmarks[:3], NOWHERE]), "valid": np.stack(landmarks[3:4])}
    monkeypatch.setattr(inspection, "locate", lambda faces, name, photos: by_split[name.removeprefix("sof-")])
    inspection.inspect("sof", tmp_path / "data", tmp_path / "runs", epochs=0)
    with (tmp_path / "runs/inspect-sof/findings.csv").open(newline="") as lines:
        return {(row["name"][:6], row["kind"]) for row in csv.DictReader(lines)}


def test_photos_of_one_place_are_compared_by_their_faces(places):
    """And another expression of one person is no copy with a wrong label."""
    assert places == {
        ("AnnE_1", "near copy"),
        ("BenF_4", "no face in the photo"),
        ("BenF_4", "person on both sides"),
        ("BenF_3", "person on both sides"),
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, in cleanlab
def test_doubts_of_every_task_are_on_the_sheet(tmp_path, fits, monkeypatch):
    def doubt(task, faces, splits, said):
        count = 5 if task == "gender" else 70
        for row in reversed(range(count)):
            yield inspection.Finding("train", f"{task}-{row}", "doubtful label", "", (row % 3,), row / 100)

    monkeypatch.setattr(inspection, "_doubtful", doubt)
    inspection.inspect("sof", tmp_path / "data", tmp_path / "runs", epochs=1)
    with (tmp_path / "runs/inspect-sof/findings.csv").open(newline="") as lines:
        names = [row["name"] for row in csv.DictReader(lines) if row["kind"] == "doubtful label"]
    assert names[:4] == ["emotion-0", "gender-0", "age-0", "emotion-1"]
    assert {f"gender-{row}" for row in range(5)} <= set(names[: inspection.SHOWN])


def test_folders_of_ages_are_counted_by_their_bands(tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "locate", _locate)
    for split in ("train", "valid"):
        for band, count in (("0-20", 3), ("21-40", 2)):
            for number in range(count):
                path = tmp_path / "data/ages" / split / band / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.full((48, 48, 3), number, np.uint8))
    report = inspection.inspect("ages", tmp_path / "data", tmp_path / "runs", epochs=0)
    assert "| 0-20 | 3 | 3 |\n| 21-40 | 2 | 2 |\n| 41-60 | 0 | 0 |" in report


def test_copies_of_four_classes_are_told_by_those(tmp_path):
    labels = {"votes": np.eye(4, dtype=np.float32)[[0, 2]]}
    assert inspection._differ(labels, np.array([0, 1])) == "neutral or sad/angry/disgust"


def test_pictures_that_no_voter_took_for_a_face_are_found():
    row = {"Usage": "Training", "Image name": "fer0.png", "neutral": "4", "unknown": "2", "NF": "4"}
    assert inspection._voted_no_face(row)
    assert inspection._voted_no_face(None)  # FER+ has no row of what all took for none
    assert not inspection._voted_no_face(row | {"neutral": "5", "NF": "3"})


@pytest.mark.parametrize(("names", "found"), [(["fer0", "fer1"], ["fer1"]), (["Training_0", "fer"], [])])
def test_votes_are_for_pictures_named_as_in_ferplus(tmp_path, names, found):
    columns = ("Usage", "Image name", *FERPLUS_COLUMNS, "contempt", "unknown", "NF")
    row = ("Training", "fer0", *"4000000", 0, 0, 3)
    lines = (",".join(map(str, line)) for line in (columns, row))
    (tmp_path / "fer2013new.csv").write_text("\n".join(lines))
    faces = Faces(np.array(names), [np.zeros((48, 48), np.uint8)] * 2, {})
    landmarks = np.stack([default_points(48, 48)] * 2)
    findings = inspection._pictures(faces, np.array(["train"] * 2), landmarks, tmp_path, False)
    assert [finding.name for finding in findings if finding.kind == "voted no face"] == found


def _faces(count, **labels):
    return Faces(np.array([str(row) for row in range(count)]), [np.zeros((48, 48), np.uint8)] * count, labels)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, in cleanlab
def test_labels_that_networks_do_not_believe_are_doubted():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 3, 6], 60)
    given = truth.copy()
    given[[5, 70, 130]] = [3, 6, 0]
    said = np.full((180, 7), 0.02) + 0.86 * np.eye(7)[truth] + rng.uniform(0, 0.02, (180, 7))
    faces = _faces(180, votes=np.eye(7, dtype=np.float32)[given])
    doubted = list(inspection._doubtful("emotion", faces, np.repeat("train", 180), said))
    assert {finding.name for finding in doubted} == {"5", "70", "130"}
    assert all("rather" in finding.detail for finding in doubted)
    (angry,) = (finding.detail for finding in doubted if finding.name == "130")
    assert angry.startswith(f"{EMOTIONS[0]} ")
    assert EMOTIONS[6] in angry


def test_ages_far_off_are_doubted():
    faces = _faces(4, age=np.array([30, 26, 80, 3]))
    said = age_distributions(np.array([38.0, 2.0, 60.0, 1.0]))
    doubted = list(inspection._doubtful("age", faces, np.repeat("train", 4), said))
    assert [(finding.name, finding.detail) for finding in doubted] == [("1", "26 years, rather 2")]


def test_nobody_doubts_what_a_copy_of_it_was_fitted_to(tmp_path, monkeypatch):
    """Fits are replaced by one that notes its faces, answers by those faces' numbers."""
    count, fitted = 40, []
    copies = np.arange(count) // 4  # groups of four
    fold_of = folds(copies, inspection.FOLDS, seed=0)
    faces = _faces(count, gender=np.arange(count) % 2, age=np.arange(count))

    def note(network, batches, *_):
        fitted.append({int(name) for name in batches._faces.names})

    def answer(network, task, located):
        rows = np.array([int(name) for name in located[0].names])
        assert not set(copies[rows]) & set(copies[list(fitted[-1])])
        return (rows[:, None] - 20.5) / 10

    monkeypatch.setattr(inspection, "fit", note)
    monkeypatch.setattr(inspection, "answers", answer)
    landmarks = np.stack([default_points(48, 48)] * count)
    recipe = Recipe("gender", "six_conv_narrow", epochs=1)
    divided = np.where(copies == 3, "valid", "train"), fold_of  # split and fold
    inspection._claim(recipe, (faces, landmarks), *divided, tmp_path)
    said = inspection._out_of_fold(recipe, (faces, landmarks), *divided, tmp_path)
    assert len(fitted) == inspection.FOLDS
    np.testing.assert_allclose(said[:, 1], 1 / (1 + np.exp(-(np.arange(count) - 20.5) / 10)))
    np.testing.assert_allclose(said.sum(axis=1), 1)
    inspection._out_of_fold(recipe, (faces, landmarks), *divided, tmp_path)
    assert len(fitted) == inspection.FOLDS  # answers are kept
    assert set().union(*fitted) == set(np.flatnonzero(copies != 3).tolist())  # valid is only asked about

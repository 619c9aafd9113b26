import csv
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from inference.alignment import default_points
from inference.faces import EMOTIONS
from training import data
from training.data import (
    Faces,
    landmarks_file,
    locate,
    pixel_digest,
    read_fer2013,
    read_ferplus,
    read_utkface,
    seen,
    soften,
    unique_majority,
)
from training.evaluation import COARSE_BANDS, band_names

HEADER = ("Usage", "Image name", *data.FERPLUS_COLUMNS, "contempt", "unknown", "NF")


def _write_folders(root, split="train"):
    """Three pictures, each of one grey level."""
    for emotion, name, level in (
        ("happy", "fer0000007", 10),
        ("happy", "fer0000003", 20),
        ("angry", "fer0000005", 30),
    ):
        folder = root / split / emotion
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{name}.png"), np.full((48, 48), level, np.uint8))


def _write_votes(root, *rows):
    with (root / "fer2013new.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, HEADER, restval=0)
        table.writeheader()
        table.writerows(rows)


def _faces(names):
    return Faces(np.array(names), [np.zeros((2, 2), np.uint8)] * len(names), {"age": np.arange(len(names))})


def test_fer2013_folders(tmp_path):
    _write_folders(tmp_path)
    (tmp_path / "train" / "happy" / "notes.txt").write_text("not a picture")
    faces = read_fer2013(tmp_path, "train")
    found = {name: (image[0, 0], EMOTIONS[label]) for name, image, label in _rows(faces)}
    assert found == {
        "fer0000007.png": (10, "happy"),
        "fer0000003.png": (20, "happy"),
        "fer0000005.png": (30, "angry"),
    }
    assert all(image.shape == (48, 48) and image.dtype == np.uint8 for image in faces.images)


def test_fer2013_as_kaggle_publishes_it(tmp_path):
    _write(tmp_path, "train/happy/Training_2.jpg", "train/angry/Training_3.jpg", "train/sad/Training_1.JPEG")
    _write(tmp_path, "train/suprise/Training_4.jpg", "test/neutral/PublicTest_5.jpg")
    train, valid = _both_sides(read_fer2013, tmp_path)
    assert train.names.tolist() == ["Training_3.jpg", "Training_2.jpg", "Training_1.JPEG"]  # as EMOTIONS are
    assert [EMOTIONS[label] for label in train.labels["original"]] == ["angry", "happy", "sad"]
    assert train.not_understood == ("suprise/Training_4.jpg",)
    assert valid.names.tolist() == read_fer2013(tmp_path, "test").names.tolist() == ["PublicTest_5.jpg"]
    _write(tmp_path, "valid/fear/PublicTest_6.jpg")
    assert read_fer2013(tmp_path, "valid").names.tolist() == ["PublicTest_6.jpg"]


def test_fer2013_names_are_as_long_as_they_must_be_to_differ(tmp_path):
    _write(tmp_path, "train/happy/im0.png", "train/sad/im0.png", "train/sad/im1.png")
    assert read_fer2013(tmp_path, "train").names.tolist() == ["happy/im0.png", "sad/im0.png", "sad/im1.png"]


def _rows(faces):
    return zip(faces.names.tolist(), faces.images, faces.labels["original"], strict=True)


def test_fer2013_csv_has_the_official_splits_and_the_names_of_ferplus(tmp_path):
    pixels = " ".join(["0"] * 47 + ["255"] + ["9"] * (48 * 47))
    with (tmp_path / "fer2013.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("emotion", "pixels", "Usage"))
        table.writerows([(3, pixels, "Training"), (0, pixels, "PublicTest"), (6, pixels, "Training")])
    train, valid = read_fer2013(tmp_path, "train"), read_fer2013(tmp_path, "valid")
    assert train.names.tolist() == ["row0000000.png", "row0000002.png"]
    assert train.labels["original"].tolist() == [EMOTIONS.index("happy"), EMOTIONS.index("neutral")]
    assert valid.names.tolist() == ["row0000001.png"]
    assert train.images[0][0, 47] == 255
    assert train.images[0][1, 0] == 9
    # Rows of FER+ without a name are no faces, and are not counted in the names of the others.
    rows = [
        {"Usage": "Training", "Image name": "", "NF": 10},
        {"Usage": "PublicTest", "Image name": "fer0000000.png", "fear": 9},
    ]
    _write_votes(tmp_path, *rows)
    with pytest.raises(ValueError, match="same rows"):
        read_fer2013(tmp_path, "train")
    _write_votes(tmp_path, *rows, {"Usage": "Training", "Image name": "fer0000001.png", "sadness": 9})
    assert read_fer2013(tmp_path, "train").names.tolist() == ["row0000000.png", "fer0000001.png"]
    assert read_fer2013(tmp_path, "valid").names.tolist() == ["fer0000000.png"]
    (votes,) = read_ferplus(tmp_path, "train").labels["votes"]
    assert votes[EMOTIONS.index("sad")] == 1


def test_rows_that_are_no_picture_are_told_and_the_others_read(tmp_path):
    pixels = " ".join(["9"] * 48**2)
    rows = [
        (3, pixels),
        (3, "1 2 3"),
        (7, pixels),
        ("x", pixels),
        (3, pixels.replace("9", "300", 1)),
        (5, pixels),
    ]
    lines = ["\ufeffemotion, Usage, pixels"]  # which begins with the mark of some programs for UTF-8
    lines += [f"{emotion}, Training, {picture}" for emotion, picture in rows]
    (tmp_path / "fer2013.csv").write_text("\n".join([*lines, "3, Training"]))
    faces = read_fer2013(tmp_path, "train")
    assert faces.names.tolist() == ["row0000000.png", "row0000005.png"]
    assert faces.unreadable == tuple(f"row000000{number}.png" for number in (1, 2, 3, 4, 6))


def test_a_table_of_something_else_is_refused(tmp_path):
    (tmp_path / "fer2013.csv").write_text("emotion,image\n3,9 9 9\n")
    with pytest.raises(ValueError, match="no column pixels nor Usage"):
        read_fer2013(tmp_path, "train")


def test_no_fer2013_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="valid"):
        read_fer2013(tmp_path, "valid")


def test_ferplus_joins_by_name_and_gives_shares_of_votes(tmp_path):
    _write_folders(tmp_path)
    _write_votes(
        tmp_path,
        {"Image name": "fer0000003.png", "happiness": 6, "surprise": 2},
        {"Image name": "", "NF": 10},
        {"Image name": "fer0000005.png", "anger": 4, "sadness": 4, "unknown": 2},
        {"Image name": "fer0000007.png", "neutral": 10},
    )
    faces = read_ferplus(tmp_path, "train")
    votes = dict(zip(faces.names.tolist(), faces.labels["votes"], strict=True))
    expected = np.zeros((3, len(EMOTIONS)))
    expected[0, EMOTIONS.index("happy")], expected[0, EMOTIONS.index("surprise")] = 0.75, 0.25
    expected[1, EMOTIONS.index("angry")] = expected[1, EMOTIONS.index("sad")] = 0.5
    expected[2, EMOTIONS.index("neutral")] = 1
    actual = np.stack([votes[f"fer000000{number}.png"] for number in (3, 5, 7)])
    np.testing.assert_allclose(actual, expected)
    levels = dict(zip(faces.names.tolist(), (image[0, 0] for image in faces.images), strict=True))
    assert levels == {"fer0000003.png": 20, "fer0000005.png": 30, "fer0000007.png": 10}


def test_ferplus_leaves_out_what_is_no_clear_emotion(tmp_path):
    _write_folders(tmp_path)
    _write_votes(
        tmp_path,
        {"Image name": "fer0000003.png", "happiness": 4, "contempt": 5},
        {"Image name": "fer0000005.png", "anger": 4, "unknown": 3, "NF": 3},
    )  # and none for fer0000007
    assert read_ferplus(tmp_path, "train").names.tolist() == ["fer0000005.png"]


def test_ferplus_measures_on_unclear_pictures_too(tmp_path):
    _write_folders(tmp_path)
    (tmp_path / "train").rename(tmp_path / "valid")
    _write_votes(
        tmp_path,
        {"Image name": "fer0000003.png", "happiness": 4, "contempt": 5},
        {"Image name": "fer0000005.png", "unknown": 6, "NF": 4},
    )  # and none for fer0000007
    assert read_ferplus(tmp_path, "valid").names.tolist() == ["fer0000003.png"]


def test_ferplus_has_no_votes_for_kaggle_s_names(tmp_path):
    _write(tmp_path, "train/happy/Training_1.jpg")
    _write_votes(tmp_path, {"Image name": "fer0000003.png", "happiness": 10})
    with pytest.raises(FileNotFoundError, match="no votes"):
        read_ferplus(tmp_path, "train")


def test_voters_have_a_share_in_fer2013_s_labels(tmp_path):
    _write_folders(tmp_path)
    _write_votes(
        tmp_path,
        {"Image name": "fer0000003.png", "happiness": 2, "surprise": 2},
        {"Image name": "fer0000005.png", "sadness": 8, "unknown": 2},
    )  # and none for fer0000007
    softened = soften(read_fer2013(tmp_path, "train"), tmp_path, 0.2)
    told = {
        name: {EMOTIONS[label]: round(float(share), 3) for label, share in enumerate(votes) if share}
        for name, votes in zip(softened.names.tolist(), softened.labels["votes"], strict=True)
    }
    assert told == {
        "fer0000003.png": {"happy": 0.9, "surprise": 0.1},
        "fer0000005.png": {"angry": 0.8, "sad": 0.2},
        "fer0000007.png": {"happy": 1},
    }


def test_votes_for_other_pictures_soften_nothing(tmp_path):
    _write_folders(tmp_path)
    _write_votes(tmp_path, {"Usage": "Training", "Image name": "Training_7.png", "happiness": 10})
    with pytest.raises(FileNotFoundError, match="no votes for these pictures"):
        soften(read_fer2013(tmp_path, "train"), tmp_path, 0.2)


def test_unique_majority():
    merged = np.float32(0.3) + np.float32(0.1), np.float32(0.4)  # not quite the same
    votes = np.array([[0.5, 0.5, 0], [*merged, 0.2], [0.4, 0.3, 0.3], [0, 0, 1]], np.float32)
    assert unique_majority(votes).tolist() == [False, False, True, True]


def test_utkface_reads_labels_from_names_and_tells_bad_ones(tmp_path):
    (tmp_path / "valid").mkdir()
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 2] = 255  # BGR
    good = ("1_0_3_20161219140642920.jpg.chip.jpg", "100_1_4_20170104165602653.jpg")
    bad = (
        "61_1_20170109142408075.jpg.chip.jpg",
        "39_1_7_20170109142408075.jpg",
        "30_2_1_20170109.jpg",
        "117_1_4_20170109.jpg",
        "me.jpg",
    )
    for name in good + bad:
        cv2.imwrite(str(tmp_path / "valid" / name), red)
    faces = read_utkface(tmp_path, "valid")
    assert set(faces.not_understood) == set(bad)
    order = faces.names.argsort()
    assert faces.names[order].tolist() == sorted(good)
    assert {key: column[order].tolist() for key, column in faces.labels.items()} == {
        "age": [100, 1],
        "gender": [1, 0],
        "race": [4, 3],
    }
    assert faces.images[0][10, 10, 0] > 200  # RGB
    assert faces.images[0][10, 10, 2] < 50


def test_no_utkface_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_utkface(tmp_path, "train")


def test_take_keeps_rows_together():
    faces = _faces(["a", "b", "c"])
    for rows in (np.array([False, True, True]), np.array([1, 2])):
        taken = faces.take(rows)
        assert taken.names.tolist() == ["b", "c"]
        assert taken.labels["age"].tolist() == [1, 2]
        assert len(taken.images) == 2


def test_calibration_is_a_fixed_twentieth():
    names = [f"fer{number:07d}.png" for number in range(20_000)]
    chosen = _faces(names).calibration()
    assert 0.045 < chosen.mean() < 0.055
    assert np.flatnonzero(chosen)[:5].tolist() == [7, 18, 21, 26, 44]  # on every machine, for good
    backwards = _faces(names[::-1]).calibration()
    assert (backwards[::-1] == chosen).all()


@pytest.mark.filterwarnings("ignore")  # of TensorFlow and mtcnn
def test_landmarks_are_found_once_and_kept(tmp_path, monkeypatch):
    from skimage.data import astronaut

    monkeypatch.setattr(data, "CACHE", tmp_path)
    chip = np.ascontiguousarray(astronaut()[20:220, 125:325])
    blank = np.zeros((40, 60), np.uint8)
    faces = Faces(np.array(["woman", "blank"]), [chip, blank], {})
    found = locate(faces, "set")
    eyes, mouth = found[0, :2], found[0, 3:]
    assert 20 < eyes[1, 0] - eyes[0, 0] < 80  # pixels
    assert mouth[:, 1].min() > eyes[:, 1].max() + 20
    np.testing.assert_array_equal(found[1], default_points(60, 40))
    monkeypatch.setattr(data, "_locate_all", None)  # not looked at again
    np.testing.assert_array_equal(locate(faces.take([1, 0]), "set"), found[::-1])


def _levels(*levels):
    """Pictures of one grey level each, named by their place in the set."""
    names = np.array([str(row) for row in range(len(levels))])
    return Faces(names, [np.full((2, 2), level, np.uint8) for level in levels], {})


@pytest.fixture
def looked_at(tmp_path, monkeypatch):
    """The levels of the pictures that landmarks were looked for in; the landmarks are the level, too."""
    levels = []

    def locate_all(images, *_):
        for image in images:
            levels.append(int(image[0, 0]))
            yield np.full((5, 2), image[0, 0], np.float32)

    monkeypatch.setattr(data, "CACHE", tmp_path / "runs")
    monkeypatch.setattr(data, "_locate_all", locate_all)
    return levels


def test_landmarks_are_known_by_the_picture_not_by_its_name(looked_at):
    assert locate(_levels(1, 2), "some")[:, 0, 0].tolist() == [1, 2]
    assert locate(_levels(3, 1, 3), "some")[:, 0, 0].tolist() == [3, 1, 3]
    assert locate(_levels(2, 3), "some")[:, 0, 0].tolist() == [2, 3]
    assert looked_at == [1, 2, 3]
    grey = np.zeros((4, 6), np.uint8)
    assert len({pixel_digest(image) for image in (grey, grey.T, grey.reshape(2, 12), grey + 1)}) == 4


@pytest.mark.parametrize("name", ["a/b/c", "/absolute/path", "../beside", "C:\\folder"])
def test_landmarks_of_any_folder_lie_in_the_cache(tmp_path, looked_at, name):
    for _ in range(2):
        locate(_levels(1), f"{name}-train")
    assert looked_at == [1]
    (written,) = tmp_path.rglob("*.*")
    assert written.parent == tmp_path / "runs"
    assert (written.name[:10], written.suffix) == ("landmarks-", ".npz")


def test_landmarks_found_before_a_stop_are_kept(tmp_path, looked_at, monkeypatch):
    monkeypatch.setattr(data, "SAVE_SECONDS", 0)

    def stopped(images, *_):
        yield np.full((5, 2), images[0][0, 0], np.float32)
        yield np.full((5, 2), images[1][0, 0], np.float32)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data, "_locate_all", stopped)
        with pytest.raises(KeyboardInterrupt):
            locate(_levels(1, 2, 3), "some")
    assert locate(_levels(1, 2, 3), "some")[:, 0, 0].tolist() == [1, 2, 3]
    assert looked_at == [3]
    assert [*(tmp_path / "runs").iterdir()] == [landmarks_file("some")]


def test_what_another_detector_found_is_not_taken_for_this_one_s(looked_at, monkeypatch):
    locate(_levels(1), "some")
    with monkeypatch.context() as patch:
        patch.setattr(data, "version", lambda package: "9.9")
        data._detector_digest.cache_clear()
        locate(_levels(1), "some")
        assert looked_at == [1, 1]
    data._detector_digest.cache_clear()
    locate(_levels(1), "some")
    assert looked_at == [1, 1]


def test_caches_by_name_are_left_alone(tmp_path, looked_at):
    (tmp_path / "runs").mkdir()
    np.savez(tmp_path / "runs/some.npz", names=["0"], landmarks=np.zeros((1, 5, 2)))
    before = (tmp_path / "runs/some.npz").read_bytes()
    assert locate(_levels(7), "some")[0, 0, 0] == 7
    assert (tmp_path / "runs/some.npz").read_bytes() == before


@pytest.mark.filterwarnings("ignore")  # of TensorFlow and mtcnn
def test_the_face_of_a_photo_is_looked_for_in_all_of_it(tmp_path, monkeypatch, astronaut):
    monkeypatch.setattr(data, "CACHE", tmp_path)
    faces = Faces(np.array(["photo", "wall"]), [astronaut, np.full((90, 120, 3), 200, np.uint8)], {})
    found = locate(faces, "photos", photos=True)
    left_eye, right_eye = found[0, :2]
    assert left_eye == pytest.approx((205, 105), abs=15)
    assert right_eye == pytest.approx((250, 105), abs=15)
    assert [seen(*row) for row in zip(faces.images, found, strict=True)] == [True, False]
    assert (found[1] == data.NOWHERE).all()


def _write(folder, *names, seed=0):
    """Smooth pictures, none like another."""
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture = cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (48, 48))
        assert cv2.imwrite(str(folder / name), picture)


def _both_sides(read, root):
    """Names of train and of valid; together they are all."""
    train, valid = (read(root, split) for split in ("train", "valid"))
    assert not set(train.names) & set(valid.names)
    return train, valid


def test_sof_tells_person_sex_age_and_emotion_by_the_name(tmp_path):
    _write(
        tmp_path / "train",
        "AbdA_00001_m_31_i_fr_nc_no_2016_2_e0_nl_o.jpg",
        "AhmZ_00123_f_7_o_nf_cr_sr_2016_1_en_Gs_h.jpg",
        "AhmZ_00124_f_7_o_nf_cr_sd_2016_1_en_Ps_e.jpg",
        "AhmZ_00124_x_7_o_nf_cr_sd_2016_1_en_Ps_e.jpg",
        "portrait.jpg",
    )
    faces = data.read_sof(tmp_path, "train")
    assert len(faces) == 3
    assert faces.not_understood == ("AhmZ_00124_x_7_o_nf_cr_sd_2016_1_en_Ps_e.jpg", "portrait.jpg")
    assert [EMOTIONS[row] for row in faces.labels["votes"].argmax(axis=1)] == ["neutral", "surprise", "sad"]
    assert faces.labels["age"].tolist() == [31, 7, 7]
    assert faces.labels["gender"].tolist() == [0, 1, 1]
    assert faces.labels["group"].tolist() == ["AbdA", "AhmZ", "AhmZ"]
    assert faces.images[0].shape == (48, 48, 3)


def test_sof_persons_stay_on_one_side(tmp_path):
    names = [
        f"Per{chr(65 + person)}_{number:05d}_m_31_i_fr_nc_no_2016_2_e0_nl_o.jpg"
        for person in range(26)
        for number in range(4)
    ]
    _write(tmp_path, *names)
    train, valid = _both_sides(data.read_sof, tmp_path)
    assert len(train) + len(valid) == len(names)
    assert 0 < len(valid) < len(train)
    assert not set(train.labels["group"]) & set(valid.labels["group"])
    calibration = train.take(train.calibration())
    assert len(calibration)
    fitted = train.take(~train.calibration())
    assert not set(calibration.labels["group"]) & set(fitted.labels["group"])


@pytest.mark.parametrize("folders", [("Training", "Validation"), ("train", "val"), ("Train", "Test")])
def test_sets_that_come_divided_stay_so_however_their_folders_are_named(tmp_path, folders):
    for folder, count in zip(folders, (8, 4), strict=True):
        _write(
            tmp_path,
            *(f"{folder}/{kind}/{number}.jpg" for kind in ("male", "female") for number in range(count)),
        )
    assert [len(data.read_folders(tmp_path, split)) for split in ("train", "valid")] == [16, 8]


def test_photos_stay_in_their_files(tmp_path, monkeypatch):
    """Those of SoF would take 39 GB; and of the other side none is even opened."""
    photo = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    photo = cv2.resize(photo, (640, 480))
    names = [
        f"Per{chr(65 + person)}_{number:05d}_m_31_i_fr_nc_no_2016_2_e0_nl_o.jpg"
        for person in range(20)
        for number in range(2)
    ]
    for name in names:
        cv2.imwrite(str(tmp_path / name), photo)
    opened, imread = set(), cv2.imread

    def note(path, flag):
        opened.add(Path(path).name)
        return imread(path, flag)

    monkeypatch.setattr(cv2, "imread", note)
    tracemalloc.start()
    sides = [data.read_sof(tmp_path, "train")]
    assert opened == set(sides[0].names)
    sides.append(data.read_sof(tmp_path, "valid"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * photo.nbytes
    train = sides[0]
    opened.clear()
    last = train.take([-1, 0])
    assert len(train.images + sides[1].images) == len(names)
    assert not opened
    assert last.images[0].shape == photo.shape
    assert opened == {train.names[-1]}


def test_ckplus_tells_person_and_emotion_and_leaves_out_contempt(tmp_path):
    _write(
        tmp_path,
        *(
            f"{folder}/S{person:03d}_{take:03d}_00000017.png"
            for folder in ("anger", "happy", "sadness", "contempt")
            for person in range(30)
            for take in (1, 2)
        ),
        "happy/portrait.png",
        "neutrality/S001_001_00000001.png",
    )
    train, valid = _both_sides(data.read_ckplus, tmp_path)
    assert len(train) + len(valid) == 3 * 30 * 2
    told = train.not_understood + valid.not_understood
    assert sorted(told) == ["happy/portrait.png", "neutrality/S001_001_00000001.png"]
    assert not set(train.labels["group"]) & set(valid.labels["group"])
    assert set(train.labels["group"]) | set(valid.labels["group"]) == {f"S{n:03d}" for n in range(30)}
    for name, votes in zip(train.names, train.labels["votes"], strict=True):
        emotion = {"anger": "angry", "happy": "happy", "sadness": "sad"}[name.split("/")[0]]
        assert EMOTIONS[votes.argmax()] == emotion
        assert votes.sum() == 1
    assert train.images[0].shape == (48, 48)


def test_class_folders_keep_copies_and_mirror_images_on_one_side(tmp_path):
    names = [
        f"{folder}/{number}.jpg" for folder in ("happy", "Sad", "surprise", "neutral") for number in range(20)
    ]
    _write(tmp_path, *names)
    for name in names:  # each with its mirror image, in another folder
        picture = cv2.imread(str(tmp_path / name))[:, ::-1]
        (tmp_path / "anger").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "anger" / name.replace("/", "-")), picture)
    train, valid = _both_sides(data.read_folders, tmp_path)
    assert len(train) + len(valid) == 2 * len(names)
    assert 0 < len(valid) < len(train)
    for faces in (train, valid):
        here = {name.replace("anger/", "").replace("/", "-") for name in faces.names.tolist()}
        assert len(here) == len(faces) / 2  # each and its mirror image
    emotions = {name.split("/")[0]: EMOTIONS[row] for name, row in _classes(train)}
    assert emotions == {
        "happy": "happy", "Sad": "sad", "surprise": "surprise", "neutral": "neutral", "anger": "angry",
    }  # fmt: skip


def _classes(faces):
    return zip(faces.names.tolist(), faces.labels["votes"].argmax(axis=1), strict=True)


def test_age_and_gender_folders_with_a_split_of_their_own(tmp_path):
    _write(tmp_path / "ages", "train/0-20/a.jpg", "train/21-40/b.png", "valid/61-80/c.jpg", "train/x/d.jpg")
    _write(tmp_path / "ages", f"train/{band_names(COARSE_BANDS)[-1]}/old.jpg")
    train, valid = _both_sides(data.read_folders, tmp_path / "ages")
    assert dict(zip(train.names.tolist(), train.labels["age"].tolist(), strict=True)) == {
        "0-20/a.jpg": 10,
        "21-40/b.png": 30,
        "81+/old.jpg": 90,
    }
    assert train.not_understood == ("x/d.jpg",)
    assert valid.labels["age"].tolist() == [70]
    _write(tmp_path / "genders", "train/man/a.jpg", "train/Female/b.jpg")
    genders = data.read_folders(tmp_path / "genders", "train")
    assert sorted(zip(genders.names.tolist(), genders.labels["gender"].tolist(), strict=True)) == [
        ("Female/b.jpg", 1),
        ("man/a.jpg", 0),
    ]


def test_folders_that_tell_different_things_are_refused(tmp_path):
    _write(tmp_path, "train/happy/a.jpg", "train/0-20/b.jpg")
    with pytest.raises(ValueError, match="not all emotions"):
        data.read_folders(tmp_path, "train")
    with pytest.raises(FileNotFoundError):
        data.read_folders(tmp_path, "valid")  # of a set that has only `train`


def test_files_that_are_no_pictures_are_left_out_and_told(tmp_path):
    _write(tmp_path / "fer", "train/happy/fer0000001.png", "train/sad/fer0000003.png")
    (tmp_path / "fer/train/happy/fer0000002.png").write_bytes(b"\x89PNG but no more")
    faces = read_fer2013(tmp_path / "fer", "train")
    assert faces.names.tolist() == ["fer0000001.png", "fer0000003.png"]
    assert faces.labels["original"].tolist() == [EMOTIONS.index("happy"), EMOTIONS.index("sad")]
    assert faces.unreadable == ("happy/fer0000002.png",)
    _write(tmp_path / "utk", "valid/30_1_2_2017.jpg")
    (tmp_path / "utk/valid/31_1_2_2017.jpg").write_bytes(b"")
    faces = read_utkface(tmp_path / "utk", "valid")
    assert (faces.labels["age"].tolist(), faces.unreadable) == ([30], ("31_1_2_2017.jpg",))


def test_what_is_lost_of_an_undivided_set_is_told_once(tmp_path):
    _write(tmp_path, *(f"happy/{n}.jpg" for n in range(30)), *(f"suprise/{n}.jpg" for n in range(9)))
    for n in range(9):
        (tmp_path / f"happy/broken-{n}.jpg").write_bytes(b"no picture")
    train, valid = _both_sides(data.read_folders, tmp_path)
    assert sorted(train.not_understood + valid.not_understood) == [f"suprise/{n}.jpg" for n in range(9)]
    assert sorted(train.unreadable + valid.unreadable) == [f"happy/broken-{n}.jpg" for n in range(9)]


@pytest.mark.parametrize("broken", [False, True])
def test_sets_too_small_to_be_divided_are_refused(tmp_path, broken):
    _write(tmp_path, "happy/1.jpg", "happy/2.jpg", "sad/1.jpg", "sad/2.jpg")
    for path in tmp_path.rglob("*.jpg") if broken else ():
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="too few pictures"):
        _both_sides(data.read_folders, tmp_path)


def test_registered_data_sets_and_folders_of_any_name():
    assert data.dataset("ferplus").folder == "fer2013"
    assert data.dataset("sof").classes == 4
    assert data.dataset("mine").folder == "mine"
    assert data.dataset("mine").read is data.read_folders

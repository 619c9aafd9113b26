import csv

import cv2
import numpy as np
import pytest

from inference.alignment import default_points
from inference.faces import EMOTIONS
from training import data
from training.data import (
    Faces,
    locate,
    read_fer2013,
    read_ferplus,
    read_utkface,
    unique_majority,
    unseen,
)

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


def _rows(faces):
    return zip(faces.names.tolist(), faces.images, faces.labels["original"], strict=True)


def test_fer2013_csv_has_the_names_of_ferplus_and_the_official_splits(tmp_path):
    pixels = " ".join(["0"] * 47 + ["255"] + ["9"] * (48 * 47))
    with (tmp_path / "fer2013.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("emotion", "pixels", "Usage"))
        table.writerows([(3, pixels, "Training"), (0, pixels, "PublicTest"), (6, pixels, "Training")])
    train, valid = read_fer2013(tmp_path, "train"), read_fer2013(tmp_path, "valid")
    assert train.names.tolist() == ["fer0000000.png", "fer0000002.png"]
    assert train.labels["original"].tolist() == [EMOTIONS.index("happy"), EMOTIONS.index("neutral")]
    assert valid.names.tolist() == ["fer0000001.png"]
    assert train.images[0][0, 47] == 255
    assert train.images[0][1, 0] == 9


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


def test_unique_majority():
    votes = np.array([[0.5, 0.5, 0], [0.4, 0.3, 0.3], [0, 0, 1]], np.float32)
    assert unique_majority(votes).tolist() == [False, True, True]


def test_utkface_reads_labels_from_names_and_ignores_bad_ones(tmp_path):
    (tmp_path / "valid").mkdir()
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 2] = 255  # BGR
    good = ("1_0_3_20161219140642920.jpg.chip.jpg", "100_1_4_20170104165602653.jpg")
    bad = (
        "61_1_20170109142408075.jpg.chip.jpg",
        "39_1_7_20170109142408075.jpg",
        "30_2_1_20170109.jpg",
        "me.jpg",
    )
    for name in good + bad:
        cv2.imwrite(str(tmp_path / "valid" / name), red)
    faces = read_utkface(tmp_path, "valid")
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


def test_landmarks_come_from_the_cache_in_the_order_of_the_faces(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CACHE", tmp_path)
    landmarks = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    np.savez(tmp_path / "some.npz", names=np.array(["a", "b", "c"]), landmarks=landmarks)
    np.testing.assert_array_equal(locate(_faces(["c", "a"]), "some"), landmarks[[2, 0]])


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
    np.testing.assert_array_equal(np.load(tmp_path / "set.npz")["landmarks"], found)


def test_landmarks_of_new_faces_are_added_to_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CACHE", tmp_path)
    looked_at = []

    def locate_all(images, *_):
        looked_at.append(len(images))
        return [np.full((5, 2), image[0, 0], np.float32) for image in images]

    monkeypatch.setattr(data, "_locate_all", locate_all)
    faces = Faces(np.array(["a", "b", "c"]), [np.full((2, 2), level, np.uint8) for level in (1, 2, 3)], {})
    locate(faces.take([0, 1]), "some")
    assert locate(faces, "some")[:, 0, 0].tolist() == [1, 2, 3]
    assert locate(faces.take([2, 0]), "some")[:, 0, 0].tolist() == [3, 1]
    assert looked_at == [2, 1]


@pytest.mark.filterwarnings("ignore")  # of TensorFlow and mtcnn
def test_the_face_of_a_photo_is_looked_for_in_all_of_it(tmp_path, monkeypatch, astronaut):
    monkeypatch.setattr(data, "CACHE", tmp_path)
    faces = Faces(np.array(["photo", "wall"]), [astronaut, np.full((90, 120, 3), 200, np.uint8)], {})
    found = locate(faces, "photos", photos=True)
    left_eye, right_eye = found[0, :2]
    assert left_eye == pytest.approx((205, 105), abs=15)
    assert right_eye == pytest.approx((250, 105), abs=15)
    assert unseen(faces, found).tolist() == [False, True]


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
    fitted = train.take(~train.calibration())
    assert not set(calibration.labels["group"]) & set(fitted.labels["group"])


def test_ckplus_tells_person_and_emotion_and_leaves_out_contempt(tmp_path):
    _write(
        tmp_path,
        *(
            f"{folder}/S{person:03d}_{take:03d}_00000017.png"
            for folder in ("anger", "happy", "sadness", "contempt")
            for person in range(30)
            for take in (1, 2)
        ),
    )
    train, valid = _both_sides(data.read_ckplus, tmp_path)
    assert len(train) + len(valid) == 3 * 30 * 2
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
    train, valid = _both_sides(data.read_folders, tmp_path / "ages")
    assert dict(zip(train.names.tolist(), train.labels["age"].tolist(), strict=True)) == {
        "0-20/a.jpg": 10,
        "21-40/b.png": 30,
    }
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
    assert faces.unreadable == ("fer0000002.png",)
    _write(tmp_path / "utk", "valid/30_1_2_2017.jpg")
    (tmp_path / "utk/valid/31_1_2_2017.jpg").write_bytes(b"")
    faces = read_utkface(tmp_path / "utk", "valid")
    assert (faces.labels["age"].tolist(), faces.unreadable) == ([30], ("31_1_2_2017.jpg",))


def test_registered_data_sets_and_folders_of_any_name():
    assert data.dataset("ferplus").folder == "fer2013"
    assert data.dataset("sof").classes == 4
    assert data.dataset("mine").folder == "mine"
    assert data.dataset("mine").read is data.read_folders

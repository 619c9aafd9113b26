import csv

import cv2
import numpy as np
import pytest

from inference.alignment import default_points
from inference.faces import EMOTIONS
from training import data
from training.data import Faces, locate, read_fer2013, read_ferplus, read_utkface, unique_majority

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

import csv
import json

import cv2
import numpy as np
import pytest

from inference.alignment import points
from inference.attributes import CROWD, WEIGHTS
from inference.decoding import decode_age, sigmoid, softmax
from inference.faces import EMOTIONS


def test_the_portrait_is_a_happy_woman_in_her_thirties_or_forties(analyzer, astronaut):
    (face,) = analyzer.analyze(astronaut)
    assert face.emotion.label == "happy"
    assert face.gender.label == "female"
    assert 25 <= face.age.years <= 50
    assert face.age.low <= face.age.years <= face.age.high
    assert sum(face.emotion.probabilities) == pytest.approx(1)
    assert 0 <= face.gender.female <= 1


def test_what_is_told_is_calibrated(analyzer, astronaut):
    landmarks = np.array([points(face.keypoints) for face in analyzer.detect(astronaut)])
    logits = analyzer.attributes.logits(astronaut, landmarks)
    ((emotion, gender, age),) = analyzer.attributes.read(astronaut, landmarks)
    emotions, females, ages = (
        json.loads((WEIGHTS / f"{name}.json").read_text())["calibration"]
        for name in ("emotion", "gender", "age")
    )
    shares = softmax(logits["emotion"], emotions["temperature"])[0]
    assert emotion.probabilities == pytest.approx(shares, abs=1e-6)
    assert gender.female == pytest.approx(sigmoid(logits["gender"][0, 0], females["temperature"]), abs=1e-6)
    years = [each[0] for each in decode_age(logits["age"], ages["tail"])]
    assert [age.years, age.low, age.high] == pytest.approx(years, abs=1e-4)


def test_a_crowd_is_read_like_each_of_it_with_few_crops_in_memory(analyzer, astronaut, monkeypatch):
    (face,) = analyzer.detect(astronaut)
    moves = np.arange(2 * CROWD + 3)[:, None, None] % 7
    landmarks = (np.array([points(face.keypoints)]) + moves).astype(np.float32)
    cut, counts = analyzer.attributes._cut, []

    def count(image, group):
        counts.append(len(group))
        return cut(image, group)

    monkeypatch.setattr(analyzer.attributes, "_cut", count)
    crowd = analyzer.attributes.logits(astronaut, landmarks)
    assert counts == [CROWD, CROWD, 3]
    for row in (0, CROWD + 5, 2 * CROWD + 2):
        alone = analyzer.attributes.logits(astronaut, landmarks[row : row + 1], mirrored=False)
        for name, logits in alone.items():
            np.testing.assert_allclose(crowd[name][row], logits[0], atol=1e-3)


def test_faces_of_a_photo_do_not_influence_each_other(analyzer, astronaut):
    (alone,) = analyzer.analyze(astronaut)
    pair = analyzer.analyze(np.hstack([astronaut, astronaut[:, ::-1]]))
    assert len(pair) == 2
    assert pair[0].box.x < pair[1].box.x
    for face in pair:
        assert face.age.years == pytest.approx(alone.age.years, abs=4)
        assert face.gender.female == pytest.approx(alone.gender.female, abs=0.1)


def test_size_and_jpeg_artefacts_hardly_matter(analyzer, astronaut):
    (whole,) = analyzer.analyze(astronaut)
    for scale, quality in ((0.6, 90), (2, 40), (4, 80)):
        resized = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, quality])
        (face,) = analyzer.analyze(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
        assert face.emotion.label == "happy"
        assert face.gender.label == "female"
        assert face.age.years == pytest.approx(whole.age.years, abs=8)


def test_a_glance_sees_what_a_look_sees_but_for_small_faces(analyzer, astronaut):
    """A face of a sixth of the frame's height, and one of a twenty-fifth."""
    frame = np.full((640, 640, 3), 150, np.uint8)
    frame[:400, 200:600] = astronaut[:400, 20:420]
    (whole,) = analyzer.analyze(frame)
    frame[200:300, 20:120] = cv2.resize(astronaut[:400, 20:420], (100, 100), interpolation=cv2.INTER_AREA)
    assert len(analyzer.analyze(frame)) == 2
    (face,) = analyzer.glance(frame)
    assert face.box.center == pytest.approx(whole.box.center, abs=6)
    assert face.emotion.label == "happy"
    assert face.gender.label == "female"
    assert face.age.years == pytest.approx(whole.age.years, abs=4)


@pytest.mark.parametrize("side", [48, 128, 1024])
def test_a_photo_that_is_all_face_shows_it_and_parts_of_one_do_not(analyzer, astronaut, side):
    """The cascade misses a sixth of pictures that are as tight as FER2013's."""
    face = cv2.resize(astronaut[90:165, 185:262], (side, side), interpolation=cv2.INTER_AREA)
    assert analyzer._detector.detect(face) == []
    (found,) = analyzer.analyze(face)
    assert found.confidence > 0.85
    assert (found.emotion.label, found.gender.label) == ("happy", "female")
    x, y = np.multiply(found.keypoints.left_eye, (77 / side, 75 / side)) + (185, 90)
    assert np.hypot(x - 204, y - 100.5) < 6
    for part in (astronaut[260:400, 60:200], astronaut[80:120, 190:230], astronaut[200:320, 180:300]):
        assert analyzer.analyze(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)) == []


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_or_its_head_reads_the_same(analyzer, astronaut, turns):
    (upright,), (turned,) = map(
        analyzer.analyze, (astronaut, np.ascontiguousarray(np.rot90(astronaut, turns)))
    )
    assert turned.emotion.probability == pytest.approx(upright.emotion.probability, abs=0.02)
    assert turned.gender.female == pytest.approx(upright.gender.female, abs=0.02)
    assert turned.age.years == pytest.approx(upright.age.years, abs=1)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_groups_on_their_side_or_their_head_are_found_though_some_face_seems_upright(
    analyzer, utkface, turns
):
    chips = [cv2.imread(str(path)) for path in sorted((utkface / "valid").glob("*.jpg"))[:1920:40]]
    grey = [cv2.copyMakeBorder(chip, *[40] * 4, cv2.BORDER_CONSTANT, value=(128,) * 3) for chip in chips]
    found = 0
    for start in range(0, len(grey), 6):
        group = np.vstack([np.hstack(grey[start : start + 3]), np.hstack(grey[start + 3 : start + 6])])
        for face in analyzer.detect(np.ascontiguousarray(np.rot90(group[..., ::-1], turns))):
            down = np.subtract(face.keypoints.mouth_left, face.keypoints.left_eye) @ (1, 1j)
            found += abs(np.angle(down * 1j ** (turns - 1))) < np.pi / 4
    assert found >= 0.75 * len(chips)


def test_no_face_no_answer(analyzer):
    assert analyzer.analyze(np.full((200, 300, 3), 127, np.uint8)) == []


def test_a_crop_is_always_one_face(analyzer, astronaut):
    (seen,) = analyzer.analyze_crop(np.ascontiguousarray(astronaut[60:175, 170:280]))
    assert seen.confidence > 0.9
    assert seen.emotion.label == "happy"
    (unseen,) = analyzer.analyze_crop(np.full((48, 48, 3), 127, np.uint8))
    assert unseen.confidence == 0


def test_emotion_reaches_its_figure_on_validation_faces(analyzer, fer2013):
    """A sample of FER2013's valid split, judged by FER+'s majority; the model card has the whole."""
    with (fer2013 / "fer2013new.csv").open(newline="") as lines:
        votes = {row["Image name"]: row for row in csv.DictReader(lines)}
    columns = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    right = total = 0
    for path in sorted((fer2013 / "valid").glob("*/*.png"))[::18]:
        row = votes.get(path.name)
        counts = [int(row[column]) for column in columns] if row else [0]
        if counts.count(max(counts)) > 1 or max(counts) == 0:
            continue
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        (face,) = analyzer.analyze_crop(image)
        right += face.emotion.label == EMOTIONS[int(np.argmax(counts))]
        total += 1
    assert total > 150
    assert right / total > 0.8


def test_gender_and_age_reach_their_figures_on_validation_faces(analyzer, utkface):
    """A sample of UTKFace's valid split; the model card has the whole."""
    errors, within, right = [], [], []
    for path in sorted((utkface / "valid").glob("*.jpg"))[::12]:
        age, gender = map(int, path.name.split("_")[:2])
        (face,) = analyzer.analyze_crop(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
        errors.append(abs(face.age.years - age))
        within.append(face.age.low <= age <= face.age.high)
        right.append(face.gender.label == ("male", "female")[gender])
    assert len(errors) > 150
    assert np.mean(errors) < 5.5
    assert 0.7 < np.mean(within) < 0.9
    assert np.mean(right) > 0.9

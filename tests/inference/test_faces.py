import json
from dataclasses import replace

import pytest

from inference.faces import (
    EMOTIONS,
    Age,
    BoundingBox,
    Emotion,
    Face,
    Gender,
    Keypoints,
    in_reading_order,
    rescale,
)

FACE = Face(
    BoundingBox(10.4, 20.6, 30, 40),
    0.98765,
    Keypoints((15, 30), (30, 30), (22.25, 38), (16, 48), (29, 48)),
    Emotion((0.01, 0.01, 0.02, 0.9, 0.02, 0.03, 0.01)),
    Gender(0.25),
    Age(31.26, 25.8, 37.1),
)


def test_to_dict_is_json_with_the_documented_keys():
    content = json.loads(json.dumps(FACE.to_dict()))
    assert content["box"] == [10, 21, 30, 40]
    assert content["confidence"] == 0.9877
    assert content["keypoints"]["nose"] == [22.2, 38]
    assert set(content["keypoints"]) == {"left_eye", "right_eye", "nose", "mouth_left", "mouth_right"}
    assert content["emotion"]["label"] == "happy"
    assert list(content["emotion"]["probabilities"]) == list(EMOTIONS)
    assert content["gender"] == {"label": "male", "probability": 0.75}
    assert content["age"] == {"years": 31.3, "low": 25.8, "high": 37.1}


@pytest.mark.parametrize(("female", "label", "probability"), [(0.5, "female", 0.5), (0.97, "female", 0.97)])
def test_gender_gives_the_probability_of_its_label(female, label, probability):
    assert (Gender(female).label, Gender(female).probability) == (label, probability)


def test_rescale_moves_box_and_keypoints_and_keeps_the_rest():
    twice = rescale(FACE, 2, 4)
    assert twice.box == BoundingBox(20.8, 82.4, 60, 160)
    assert twice.keypoints.nose == (44.5, 152)
    assert (twice.emotion, twice.gender, twice.age) == (FACE.emotion, FACE.gender, FACE.age)


def test_faces_are_read_from_the_left_and_in_columns_from_the_top():
    corners = [(210, 300), (0, 40), (190, 0), (95, 500), (200, 150), (300, 20)]
    faces = [replace(FACE, box=BoundingBox(x, y, 80, 100)) for x, y in corners]
    read = [(face.box.x, face.box.y) for face in in_reading_order(faces)]
    assert read == [(0, 40), (95, 500), (190, 0), (200, 150), (210, 300), (300, 20)]
    assert in_reading_order([]) == []

"""Emotion, gender and age of face crops, by the networks in weights/."""

import json
from pathlib import Path

import numpy as np

from inference.alignment import align, grey, standardize
from inference.decoding import decode_age, sigmoid, softmax
from inference.faces import ATTRIBUTES, Age, Emotion, Gender
from inference.runtime import in_batches, tf

WEIGHTS = Path(__file__).parent.parent / "weights"
BATCHES = (16, 8, 4, 2, 1)  # crops a call; bounds memory on photos of crowds
# Mirror images make emotions right for 0.4 % more of the faces and double the time; in photos with more faces
# than this, time goes first.
MIRRORED_FACES = 2


class Network:
    """One trained network as a graph with a fixed signature, and the crop it wants."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: of a .keras file whose outputs are named for what they are logits of.
        """
        model = tf.keras.models.load_model(path, compile=False)
        _, self._side, _, self._channels = model.input_shape
        self._outputs = model.output_names
        self._run = in_batches(
            lambda crops: tf.nest.flatten(model(crops, training=False)),
            model.input_shape[1:],
            tf.float32,
            BATCHES,
        )

    def __call__(self, image: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
        """All faces of a photo -> (n, classes) float32 logits by output.

        Of up to MIRRORED_FACES faces they are means over each crop and its mirror image.

        Args:
            image: (height, width, 3) uint8 RGB.
            landmarks: (n, 5, 2) float32, pixels of `image`.
        """
        crops = np.stack([align(image, face, self._side) for face in landmarks])
        inputs = standardize(grey(crops) if self._channels == 1 else crops)
        count = len(inputs)
        if count > MIRRORED_FACES:
            return dict(zip(self._outputs, self._run(inputs)))
        outputs = self._run(np.concatenate([inputs, inputs[:, :, ::-1]]))
        return {name: (output[:count] + output[count:]) / 2 for name, output in zip(self._outputs, outputs)}


class Attributes:
    """The networks together, each run once for all faces of a photo."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        """
        Args:
            weights: folder of emotion.json, gender.json and age.json, and of the networks that they name.

        Raises:
            FileNotFoundError: one of them is missing.
        """
        records = {name: json.loads((weights / f"{name}.json").read_text()) for name in ATTRIBUTES}
        self._calibration = {name: record["calibration"] for name, record in records.items()}
        names = sorted({record["network"] for record in records.values()})
        self._networks = [Network(weights / f"{name}.keras") for name in names]

    def read(self, image: np.ndarray, landmarks: np.ndarray) -> list[tuple[Emotion, Gender, Age]]:
        """Read every face of a photo.

        Args:
            image: (height, width, 3) uint8 RGB.
            landmarks: (n, 5, 2) float32, pixels of `image`.
        """
        if not len(landmarks):
            return []
        logits = {}
        for network in self._networks:
            logits |= network(image, landmarks)
        emotions = softmax(logits["emotion"], self._calibration["emotion"]["temperature"])
        females = sigmoid(logits["gender"][:, 0], self._calibration["gender"]["temperature"])
        ages = np.stack(decode_age(logits["age"], self._calibration["age"]["tail"]), axis=1)
        return [
            (Emotion(tuple(emotion)), Gender(female), Age(*age))
            for emotion, female, age in zip(emotions.tolist(), females.tolist(), ages.tolist())
        ]

"""Emotion, gender and age of face crops, by the networks in weights/."""

import json
from pathlib import Path

import numpy as np

from inference.alignment import align, grey, standardize
from inference.decoding import decode_age, sigmoid, softmax
from inference.faces import ATTRIBUTES, Age, Emotion, Gender
from inference.runtime import in_batches, tf

WEIGHTS = Path(__file__).parent.parent / "weights"
BATCHES = (32, 8, 2, 1)  # crops and their mirror images a call; bounds memory on photos of crowds


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

    def __call__(
        self, image: np.ndarray, landmarks: np.ndarray, mirrored: bool = True
    ) -> dict[str, np.ndarray]:
        """All faces of a photo -> (n, classes) float32 logits by output.

        Args:
            image: (height, width, 3) uint8 RGB.
            landmarks: (n, 5, 2) float32, pixels of `image`.
            mirrored: take the means over each crop and its mirror image.
        """
        crops = np.stack([align(image, face, self._side) for face in landmarks])
        inputs = standardize(grey(crops) if self._channels == 1 else crops)
        if not mirrored:
            return dict(zip(self._outputs, self._run(inputs)))
        outputs = self._run(np.concatenate([inputs, inputs[:, :, ::-1]]))
        count = len(inputs)
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

    def read(
        self, image: np.ndarray, landmarks: np.ndarray, mirrored: bool = True
    ) -> list[tuple[Emotion, Gender, Age]]:
        """Read every face of a photo.

        Args:
            image: (height, width, 3) uint8 RGB.
            landmarks: (n, 5, 2) float32, pixels of `image`.
            mirrored: read each in its mirror image, too; surer, and takes twice as long.
        """
        if not len(landmarks):
            return []
        logits = {}
        for network in self._networks:
            logits |= network(image, landmarks, mirrored)
        emotions = softmax(logits["emotion"], self._calibration["emotion"]["temperature"])
        females = sigmoid(logits["gender"][:, 0], self._calibration["gender"]["temperature"])
        ages = np.stack(decode_age(logits["age"], self._calibration["age"]["tail"]), axis=1)
        return [
            (Emotion(tuple(emotion)), Gender(female), Age(*age))
            for emotion, female, age in zip(emotions.tolist(), females.tolist(), ages.tolist())
        ]

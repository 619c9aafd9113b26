"""Emotion, gender and age of face crops, by the networks in weights/."""

import json
from pathlib import Path

import numpy as np

from inference.alignment import align, grey, standardize
from inference.decoding import decode_age, sigmoid, softmax
from inference.faces import Age, Emotion, Gender
from inference.runtime import tf

WEIGHTS = Path(__file__).parent.parent / "weights"
BATCH = 32  # faces a call; bounds memory on photos of crowds


class Network:
    """One trained network as a graph with a fixed signature, and the crop it wants."""

    def __init__(self, task: str, weights: Path = WEIGHTS) -> None:
        """
        Args:
            task: "emotion", "gender" or "age".
            weights: folder that holds `task`.keras and `task`.json.

        Raises:
            FileNotFoundError: either is missing.
        """
        card = json.loads((weights / f"{task}.json").read_text())
        self.side: int = card["side"]  # pixels
        self.channels: int = card["channels"]
        self.calibration: dict[str, float] = card["calibration"]
        model = tf.keras.models.load_model(weights / f"{task}.keras", compile=False)
        shape = (None, self.side, self.side, self.channels)
        self._graph = tf.function(
            lambda crops: model(crops, training=False), input_signature=[tf.TensorSpec(shape)]
        )
        self._graph(tf.zeros((1, *shape[1:])))  # compiles now, not at the first photo

    def __call__(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """All faces of a photo -> (n, outputs) float32 logits; means over each crop and its mirror image.

        Args:
            image: (height, width, 3) uint8 RGB.
            landmarks: (n, 5, 2) float32, pixels of `image`.
        """
        crops = np.stack([align(image, face, self.side) for face in landmarks])
        inputs = standardize(grey(crops) if self.channels == 1 else crops)
        return np.concatenate(
            [
                (self._run(batch) + self._run(batch[:, :, ::-1])) / 2
                for batch in np.split(inputs, range(BATCH, len(inputs), BATCH))
            ]
        )

    def _run(self, inputs: np.ndarray) -> np.ndarray:
        return self._graph(tf.constant(inputs)).numpy()


class Attributes:
    """The three networks together."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._emotion = Network("emotion", weights)
        self._gender = Network("gender", weights)
        self._age = Network("age", weights)

    def read(self, image: np.ndarray, landmarks: np.ndarray) -> list[tuple[Emotion, Gender, Age]]:
        """Read every face of a photo; each network runs once for all of them.

        Args:
            image: (height, width, 3) uint8 RGB.
            landmarks: (n, 5, 2) float32, pixels of `image`.
        """
        if not len(landmarks):
            return []
        emotions = softmax(self._emotion(image, landmarks), self._emotion.calibration["temperature"])
        females = sigmoid(self._gender(image, landmarks)[:, 0], self._gender.calibration["temperature"])
        ages = np.stack(decode_age(self._age(image, landmarks), self._age.calibration["tail"]), axis=1)
        return [
            (Emotion(tuple(emotion)), Gender(female), Age(*age))
            for emotion, female, age in zip(emotions.tolist(), females.tolist(), ages.tolist())
        ]

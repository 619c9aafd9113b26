"""Emotion, gender and age of face crops, by the networks in weights/."""

import json
from pathlib import Path

import numpy as np

from inference.alignment import align, grey, standardize
from inference.decoding import decode_age, sigmoid, softmax
from inference.faces import ATTRIBUTES, MIRRORED_FACES, Age, Emotion, Gender
from inference.runtime import folded, in_batches, tf

WEIGHTS = Path(__file__).parent.parent / "weights"
CROWD = 64  # faces of which crops are in memory at once; of 1,300 they would take 300 MB
BATCHES = (8, 4, 2, 1)  # crops a call; each size keeps memory of its own, all that a small dyno can spare


class Attributes:
    """The networks together, run as one for all faces of a photo, so that each fills the other's gaps."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        """
        Args:
            weights: folder of emotion.json, gender.json and age.json, and of the networks that they name,
                .keras files whose outputs are named for what they are logits of.

        Raises:
            FileNotFoundError: a record is missing.
            ValueError: a network is, or can't be read.
        """
        records = {name: json.loads((weights / f"{name}.json").read_text()) for name in ATTRIBUTES}
        self._calibration = {name: record["calibration"] for name, record in records.items()}
        names = sorted({record["network"] for record in records.values()})
        models = [
            folded(tf.keras.models.load_model(weights / f"{name}.keras", compile=False)) for name in names
        ]
        self._crops = [model.input_shape[2:] for model in models]  # side and channels
        self._outputs = [name for model in models for name in model.output_names]

        def network(*crops):
            return tf.nest.flatten([model(part, training=False) for model, part in zip(models, crops)])

        inputs = [tf.TensorSpec(model.input_shape[1:], tf.float32) for model in models]
        self._run = in_batches(network, inputs, BATCHES)

    def logits(
        self, image: np.ndarray, landmarks: np.ndarray, mirrored: bool = True
    ) -> dict[str, np.ndarray]:
        """All faces of a photo -> (n, classes) float32 logits by output.

        Of up to MIRRORED_FACES faces they are means over each crop and its mirror image.

        Args:
            image: (height, width, 3) uint8 RGB.
            landmarks: (n, 5, 2) float32, pixels of `image`, of at least one face.
            mirrored: whether to look at mirror images at all.
        """
        count = len(landmarks)
        if count > MIRRORED_FACES or not mirrored:
            groups = (landmarks[start : start + CROWD] for start in range(0, count, CROWD))
            parts = [self._run(*self._cut(image, group)) for group in groups]
            return dict(zip(self._outputs, map(np.concatenate, zip(*parts))))
        inputs = self._cut(image, landmarks)
        outputs = self._run(*(np.concatenate([crops, crops[:, :, ::-1]]) for crops in inputs))
        return {name: (output[:count] + output[count:]) / 2 for name, output in zip(self._outputs, outputs)}

    def _cut(self, image: np.ndarray, landmarks: np.ndarray) -> list[np.ndarray]:
        """The crops of faces for each network, (n, side, side, channels) float32, standardized."""
        inputs = []
        for side, channels in self._crops:
            crops = np.stack([align(image, face, side) for face in landmarks])
            inputs.append(standardize(grey(crops) if channels == 1 else crops))
        return inputs

    def read(
        self, image: np.ndarray, landmarks: np.ndarray, mirrored: bool = True
    ) -> list[tuple[Emotion, Gender, Age]]:
        """Read every face of a photo; the arguments are those of `logits`."""
        if not len(landmarks):
            return []
        logits = self.logits(image, landmarks, mirrored)
        emotions = softmax(logits["emotion"], self._calibration["emotion"]["temperature"])
        females = sigmoid(logits["gender"][:, 0], self._calibration["gender"]["temperature"])
        ages = np.stack(decode_age(logits["age"], self._calibration["age"]["tail"]), axis=1)
        return [
            (Emotion(tuple(emotion)), Gender(female), Age(*age))
            for emotion, female, age in zip(emotions.tolist(), females.tolist(), ages.tolist())
        ]

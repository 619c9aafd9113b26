"""What the networks learn, from data to loss: one reads emotion, the other age and gender together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from inference.faces import EMOTIONS
from training.data import Faces, read_ferplus, read_utkface
from training.evaluation import AGE_BANDS
from training.networks import AGES

L1_WEIGHT = 0.1  # of the age's error in years, beside the cross-entropy of its distribution
PRECISIONS = ("mixed_bfloat16", "float32")  # dtype policies of Keras that a fit may have; the usual one first
RARE_CLASS_POWER = 0.5  # by which rare classes weigh more, of `class_weights`


@dataclass(frozen=True)
class Task:
    """What one network learns in one fit.

    Attributes:
        dataset: folder of the data, and the name of its landmark cache.
        read: (root, split) -> Faces.
        side, channels: of the crop, pixels; 1 grey or 3 RGB.
        heads: logits of each output, by what they tell, of inference.faces.ATTRIBUTES.
        target_of: labels -> target array, by head.
        losses, metrics: by head.
        rarity: power by which rare kinds of the first head weigh more, of `class_weights`.
        epochs, peak_rate: of the one-cycle schedule.
        blocks: of the network's stages.
        augmentation: a key of augmentation.LEVELS.
        start: fit of TASKS whose network this one grows from.
    """

    dataset: str
    read: Callable[[Path, str], Faces]
    side: int
    channels: int
    heads: dict[str, int]
    target_of: dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]]
    losses: dict
    metrics: dict
    rarity: float
    epochs: int
    peak_rate: float = 0.1
    blocks: tuple[int, ...] = (2, 2, 2)
    augmentation: str = "mid"
    start: str | None = None

    @property
    def stem_stride(self) -> int:
        return 2 if self.side > 64 else 1

    def targets(self, labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Target arrays of all heads."""
        return {head: self.target_of[head](labels) for head in self.heads}

    def weights(self, labels: dict[str, np.ndarray]) -> np.ndarray:
        """(n,) float32 of mean 1, how much each face counts in the loss."""
        return class_weights(kinds(next(iter(self.heads)), labels), self.rarity)


def age_distributions(ages: np.ndarray) -> np.ndarray:
    """Each age as a bell over the years 0 to 116, narrow for children, whose age is seen best.

    Label distribution learning (Geng et al. 2013; Gao et al. 2018, DLDL-v2).

    Args:
        ages: (n,) years.

    Returns:
        (n, 117) float32, rows sum to 1.
    """
    deviation = np.clip(0.08 * ages, 0.6, 3.0)[:, None]
    bells = np.exp(-0.5 * ((np.arange(AGES) - ages[:, None]) / deviation) ** 2)
    return (bells / bells.sum(axis=1, keepdims=True)).astype(np.float32)


def expected_years(distributions):
    """(n, 117) probabilities -> (n,) years."""
    return ops.sum(distributions * ops.arange(AGES, dtype="float32"), axis=-1)


@keras.saving.register_keras_serializable("training")
def age_loss(distributions, logits):
    """Cross-entropy of the distribution plus the error of its expectation, in years (DLDL-v2)."""
    error = ops.abs(expected_years(distributions) - expected_years(ops.softmax(logits)))
    return keras.losses.categorical_crossentropy(distributions, logits, from_logits=True) + L1_WEIGHT * error


@keras.saving.register_keras_serializable("training")
def mae(distributions, logits):
    """Mean absolute error of the expected age, years."""
    return ops.abs(expected_years(distributions) - expected_years(ops.softmax(logits)))


@keras.saving.register_keras_serializable("training")
def accuracy(women, logits):
    """1 where a logit has the sign that the label, or the larger share of a teacher's, says; else 0."""
    return ops.cast(ops.equal(women > 0.5, logits > 0), "float32")


def kinds(task: str, labels: dict[str, np.ndarray]) -> np.ndarray:
    """(n,) int, the class of each face, for ages their band, by which faces are balanced."""
    if task == "emotion":
        return labels["votes"].argmax(axis=1)
    return labels["gender"] if task == "gender" else np.digitize(labels["age"], AGE_BANDS) - 1


def class_weights(classes: np.ndarray, power: float = RARE_CLASS_POWER) -> np.ndarray:
    """How much each face is to count, so that rare classes are learnt too.

    Args:
        classes: (n,) int, from 0.
        power: of mean size / size of a class in its weight; 0 is none, 1 is fully balanced.

    Returns:
        (n,) float32 of mean 1.
    """
    sizes = np.bincount(classes)
    weights = (sizes.mean() / np.maximum(sizes, 1)) ** power
    return (weights / np.average(weights, weights=sizes))[classes].astype(np.float32)


_EMOTION = Task(
    dataset="fer2013",
    read=read_ferplus,
    side=48,
    channels=1,
    heads={"emotion": len(EMOTIONS)},
    target_of={"emotion": lambda labels: labels["votes"]},
    losses={"emotion": keras.losses.CategoricalCrossentropy(from_logits=True)},
    metrics={"emotion": keras.metrics.CategoricalAccuracy("accuracy")},
    rarity=RARE_CLASS_POWER,
    epochs=30,
)
_TRAITS = Task(
    dataset="utkface",
    read=read_utkface,
    side=80,
    channels=3,
    heads={"age": AGES, "gender": 1},
    target_of={
        "age": lambda labels: age_distributions(labels["age"]),
        "gender": lambda labels: labels["gender"].astype(np.float32)[:, None],
    },
    losses={
        "age": age_loss,
        "gender": keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.02),
    },
    metrics={"age": mae, "gender": accuracy},
    rarity=0,
    epochs=36,
)

# Each network is fitted in cycles of the learning rate (warm restarts, Loshchilov and Hutter 2017), and the
# crops grow between them. What is shipped went through some more, by --start and --blend, as the records
# tell.
# Tried, and not shipped: learning half from the network before, traits with blocks (2, 2, 3) (gender -0.2
# points, age +0.04 years), emotion with UTKFace's faces as well (-0.9 points; blended -0.4), emotion with a
# second head for FER2013's own labels (-0.3 to -1.0 points; blended -0.2; that head 67.8 to 69.0 %), emotion
# learning half from teachers of training/teachers.py (-0.4 points; disgust -13), either network with a weight
# for each place in its last pooling (emotion -0.2 points, traits the same), traits at 112 pixels (gender -0.5
# points, age the same), emotion at 64 pixels (no better than at 56, and slower).
TASKS = {
    "emotion_base": _EMOTION,
    "emotion": replace(_EMOTION, epochs=16, peak_rate=0.05, side=56, start="emotion_base"),
    "traits_base": _TRAITS,
    "traits_again": replace(_TRAITS, epochs=16, peak_rate=0.05, augmentation="high", start="traits_base"),
    "traits": replace(_TRAITS, epochs=16, peak_rate=0.05, side=96, blocks=(2, 3, 4), start="traits_again"),
}
NETWORK_OF = {"emotion": "emotion", "gender": "traits", "age": "traits"}  # that reads each attribute

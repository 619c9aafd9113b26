"""Emotions merged into fewer classes."""

import numpy as np

from inference.faces import EMOTIONS

MERGES = {
    7: tuple((emotion,) for emotion in EMOTIONS),
    6: (("angry", "disgust"), ("fear",), ("happy",), ("sad",), ("surprise",), ("neutral",)),
    4: (("neutral",), ("happy",), ("sad", "angry", "disgust"), ("surprise", "fear")),
}


def names(classes: int) -> tuple[str, ...]:
    """The names of the classes of one of MERGES, such as "angry/disgust"."""
    return tuple("/".join(emotions) for emotions in MERGES[classes])


def merge(labels: dict[str, np.ndarray], classes: int) -> dict[str, np.ndarray]:
    """Labels with `votes` and, where there is one, `original` of one of MERGES; the others as they are."""
    parts = MERGES[classes]
    to_class = np.array([[emotion in emotions for emotions in parts] for emotion in EMOTIONS], np.float32)
    merged = labels | {"votes": labels["votes"] @ to_class}
    if "original" in labels:
        merged["original"] = to_class.argmax(axis=1)[labels["original"]]
    return merged

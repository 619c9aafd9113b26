"""Targets from a finished network: it softens labels, and stands in for them where there are none."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from inference.decoding import sigmoid, softmax
from training.data import Faces, dataset
from training.experiment import TEACHING, Located, logits, read
from training.tasks import Task

UNLABELLED_WEIGHT = 0.5  # in the loss, of a face that only the teacher labels


def teach(
    task: Task, labelled: Located, teacher: keras.Model, data: Path
) -> tuple[Located, np.ndarray, dict[str, np.ndarray]]:
    """What a network is to learn from labels and a teacher (Hinton et al. 2015).

    The faces of task.unlabelled join in: the teacher sees them as they are, the network that learns with
    jitter and damage (noisy student, Xie et al. 2020).

    Args:
        labelled: the task's own faces.
        teacher: a model of the task's heads, in float32; its crops may differ in size.
        data: folder of the data sets.

    Returns:
        Faces without labels and their landmarks, (n,) float32 weights, and targets by head.

    Raises:
        FileNotFoundError: task.unlabelled is not there.
    """
    faces, landmarks = labelled
    names, images, weights = faces.names, faces.images, task.weights(faces.labels)
    said = opinion(teacher, task, labelled)
    targets = {
        head: TEACHING * said[head] + (1 - TEACHING) * target
        for head, target in task.targets(faces.labels).items()
    }
    if task.unlabelled:
        source = dataset(task.unlabelled)
        others, places = read(replace(task, dataset=source.folder, read=source.read), "train", data)
        said = opinion(teacher, task, (others, places))
        names, images = np.concatenate([names, others.names]), images + others.images
        landmarks = np.concatenate([landmarks, places])
        weights = np.append(weights, np.full(len(others), UNLABELLED_WEIGHT, np.float32))
        targets = {head: np.concatenate([target, said[head]]) for head, target in targets.items()}
    return (Faces(names, images, {}), landmarks), weights, targets


def opinion(teacher: keras.Model, task: Task, located: Located) -> dict[str, np.ndarray]:
    """The probabilities that a model gives faces, as it learnt to give them: without a temperature.

    Returns:
        By head: (n, classes) for emotion, (n, 1) of a woman for gender, (n, 117) years for age; float32.
    """
    answers = logits(teacher, replace(task, side=teacher.input_shape[1]), located)
    return {
        head: (sigmoid if head == "gender" else softmax)(answers[head]).astype(np.float32)
        for head in task.heads
    }

"""Teachers: larger networks, each of which tells of faces that it was not fitted to.

Labels are noisy: ten voters, an estimated age. A network that is asked about faces that it was fitted to says
little more than their labels; asked about others, it says what such faces usually are. So each of FOLDS
networks leaves out one part of the faces, and tells of that part alone (cross-fitting; Dao et al. 2021,
"Knowledge Distillation as Semiparametric Inference"). A shipped network then learns from both.

Or it learns from an ensemble of models like itself, which err less together than each. They have seen the
faces, so they are asked about the very crops that the network sees, disturbed as these are (Beyer et al.
2022).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
from keras import layers

from training import experiment
from training.augmentation import LEVELS
from training.duplicates import folds, groups, near_copies
from training.experiment import Located
from training.export import model_of, record_of, serving_copy, task_of
from training.files import whole
from training.fitting import claim, fit
from training.networks import precision, residual
from training.tasks import PRECISIONS, TASKS, Task

FOLDS = 4
WIDTH = 2  # times the channels of the network that is shipped, so four times its parameters
PEAK_RATE = 0.1  # of learning from new weights on


def teach(
    name: str,
    faces: Located,
    epochs: int,
    augmentation: str,
    seed: int,
    folder: Path,
    clean: str | None = None,
    processes: int = 0,
) -> None:
    """Fit teachers of one of TASKS, side by side, as they can share crops; stopped, they are gone on with.

    Writes folder/said.npz: the names of the faces and, by head, the probabilities that the teacher says who
    has not seen the face, (n, 7) for emotion, (n, 1) of a woman for gender, (n, 117) years for age.

    Args:
        seed: decides folds, too.
        clean: file of the names of `faces`, where they are not all, to be told of.
        processes: of fitting.Crops.

    Raises:
        ValueError: the folder holds teachers made in another way, or there are fewer photos than folds.
        FloatingPointError: the loss is infinite or not a number.
    """
    task = TASKS[name]
    settings = {"task": name, "epochs": epochs, "augmentation": augmentation, "seed": seed, "clean": clean}
    made = {"level": asdict(LEVELS[augmentation]), "peak_rate": PEAK_RATE, "folds": FOLDS, "width": WIDTH}
    claim(folder, settings | made | {"names": experiment.names_digest(faces)})
    if (folder / "said.npz").exists():
        return
    photo_of = groups(near_copies(faces[0].images), len(faces[0]))
    fold_of = folds(photo_of, FOLDS, seed)
    keras.utils.set_random_seed(seed)
    with precision(PRECISIONS[0]):
        networks = [
            residual(task.side, task.channels, task.heads, task.stem_stride, task.blocks, width=WIDTH)
            for _ in range(FOLDS)
        ]
        team = _beside(networks, task)
    targets, weights = task.targets(faces[0].labels), task.weights(faces[0].labels)
    outputs = {_output(head, fold): (head, fold) for fold in range(FOLDS) for head in task.heads}
    crops = experiment.crops(
        task,
        faces,
        {output: weights * (fold_of != fold) for output, (_, fold) in outputs.items()},
        augmentation,
        seed,
        {output: targets[head] for output, (head, _) in outputs.items()},
        processes=processes,
    )
    losses = {output: task.losses[head] for output, (head, _) in outputs.items()}
    fit(team, crops, None, losses, {}, epochs, folder, PEAK_RATE)
    said = {head: np.zeros((len(faces[0]), size), np.float32) for head, size in task.heads.items()}
    for fold, network in enumerate(networks):
        unseen = fold_of == fold
        logits = experiment.logits(network, task, experiment.taken(faces, unseen))
        for head in task.heads:
            said[head][unseen] = experiment.probabilities(head, logits[head])
    with whole(folder / "said.npz") as part:
        np.savez(part, names=faces[0].names, **said)


def taught(task: Task, faces: Located, folders: Sequence[Path], share: float) -> dict[str, np.ndarray]:
    """Targets by head: a share of what all teachers say on average, and the rest labels.

    Raises:
        FileNotFoundError: one of the folders has no finished teachers.
        ValueError: teachers say nothing of some of the faces, or of what the task tells.
    """
    names = faces[0].names
    told = []
    for folder in folders:
        if not (folder / "said.npz").exists():
            raise FileNotFoundError(f"no finished teachers in {folder}")
        with np.load(folder / "said.npz") as said:
            known = said["names"]  # read from the file each time that it is asked for
            if not np.isin(names, known).all() or not said.keys() >= task.heads.keys():
                raise ValueError(f"the teachers in {folder} were fitted to other faces")
            order = np.argsort(known)
            rows = order[np.searchsorted(known, names, sorter=order)]
            told.append({head: said[head][rows] for head in task.heads})
    labels = task.targets(faces[0].labels)
    return {
        head: share * np.mean([said[head] for said in told], axis=0) + (1 - share) * labels[head]
        for head in task.heads
    }


class Ensemble:
    """Models of one of TASKS, such as ends of several fits, that say on average what they see."""

    def __init__(self, name: str, folders: Sequence[Path]) -> None:
        """
        Args:
            folders: of models and their records.

        Raises:
            FileNotFoundError: there is no such model in one of them.
        """
        self._members = [_member(name, folder) for folder in folders]

    def of_crops(self, crops: np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
        """Probabilities, by head where there are several: (n, 7) emotions, (n, 117) years, (n, 1) of a woman.

        Args:
            crops: (n, side, side, channels) float32, standardized; those of members may be of other sides.
        """
        told: dict[str, list[np.ndarray]] = {}
        for network, task in self._members:
            logits = network.predict_on_batch(experiment.restyle(crops, task))
            for head, column in zip(network.output_names, keras.tree.flatten(logits), strict=True):
                told.setdefault(head, []).append(experiment.probabilities(head, column))
        means = {head: np.mean(columns, axis=0) for head, columns in told.items()}
        return means if len(means) > 1 else next(iter(means.values()))


def _member(name: str, folder: Path) -> tuple[keras.Model, Task]:
    task = task_of(record_of(next(iter(TASKS[name].heads)), folder))
    return serving_copy(model_of(name, folder), task, PRECISIONS[0]), task


def described(folder: Path) -> dict:
    """How the teachers in a folder were made: their epochs, augmentation, seed and, if any, clean list."""
    settings = json.loads((folder / "settings.json").read_text())
    made = {key: settings.get(key) for key in ("epochs", "augmentation", "seed", "clean")}
    return {key: value for key, value in made.items() if value is not None}


def _beside(networks: list[keras.Model], task: Task) -> keras.Model:
    """One model of several networks that see the same crops."""
    crop = layers.Input(networks[0].input_shape[1:], name="crop")
    outputs = {}
    for fold, network in enumerate(networks):
        for head, logits in zip(task.heads, keras.tree.flatten(network(crop)), strict=True):
            name = _output(head, fold)
            outputs[name] = layers.Identity(name=name, dtype="float32")(logits)
    return keras.Model(crop, outputs)


def _output(head: str, fold: int) -> str:
    return f"{head}_{fold}"

"""Several fits that vote softly, by weights found on the calibration faces."""

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from training.experiment import SMALLEST, Recipe, Voter, divided, measure, read_record, task_of, vote
from training.files import write_json
from training.fitting import claim
from training.tasks import NETWORK_OF, TASKS


def ensemble(task: str, names: list[str], data: Path, runs: Path, folder: Path) -> dict:
    """Weigh finished fits against each other, measure their vote and write folder/record.json.

    Args:
        task: of all the fits.
        names: their folders in `runs`.

    Returns:
        The record, as of experiment.run, with "members", the weight of each by its folder as seen from
        `folder`.

    Raises:
        FileNotFoundError: a fit is not finished.
        ValueError: a fit is named twice, the fits learn different things or from different data, or `folder`
            holds something else.
    """
    members = [os.path.relpath(runs / name, folder) for name in names]
    if len(set(members)) < len(members):
        raise ValueError(f"each member has one vote, but {' '.join(names)} names one twice")
    recipes = [Recipe(**read_record(runs / name)["recipe"]) for name in names]
    kinds = {(recipe.task, recipe.source, recipe.classes) for recipe in recipes}
    if len(kinds) > 1 or recipes[0].task != task:
        raise ValueError(f"the members do not all learn {task} of the same classes from the same data")
    _, held_out, valid = divided(recipes[0], task_of(recipes[0]), data)
    voters = [Voter(runs / name) for name in names]
    claim(folder, {"members": members})
    said = [[voter.of_faces(part) for voter in voters] for part in (held_out, valid)]
    targets = TASKS[NETWORK_OF[task]].target_of[task](held_out[0].labels)  # emotion's are shares of votes
    weights = voting_weights(np.stack(said[0]), targets).round(4).tolist()
    votes = [vote(task, weights, answers) for answers in said]
    record = {
        "recipe": asdict(recipes[0]),
        "members": dict(zip(members, weights)),
        **measure(recipes[0], (votes[0], held_out[0].labels), (votes[1], valid[0].labels)),
    }
    write_json(folder / "record.json", record)
    return record


def voting_weights(said: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights, at least 0 and 1 together, whose mean answer has the least cross-entropy; it has one minimum.

    Args:
        said: (members, n, classes) probabilities, or (members, n, 1) of yes.
        targets: (n, classes) or (n, 1).
    """

    def cross_entropy(weights: np.ndarray) -> float:
        mean = np.clip(np.tensordot(weights, said, 1), SMALLEST, 1 - SMALLEST)
        no = (1 - targets) * np.log(1 - mean) if targets.shape[1] == 1 else 0
        return -float(np.mean(np.sum(targets * np.log(mean) + no, axis=1)))

    count = len(said)
    best = minimize(
        cross_entropy,
        np.full(count, 1 / count),
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )
    return best.x / best.x.sum()

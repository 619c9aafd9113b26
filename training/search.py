"""Search over a recipe's options with Optuna; the study is a file, so that a stopped search goes on."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from training.experiment import Recipe, run, score, settings_of
from training.files import write_json
from training.fitting import claim, digest

DONE = (TrialState.COMPLETE, TrialState.PRUNED)  # fits that ended, and fits that diverged


def search(recipe: Recipe, trials: int, data: Path, folder: Path) -> dict:
    """Fit with drawn options until `trials` fits are done, those of earlier calls among them.

    Fits are judged on the calibration faces, so that `valid` remains unseen. A trial that was stopped is
    taken up again first, where its fit was; one whose loss became infinite counts as the worst. Writes
    folder/study.log and folder/best.json.

    Args:
        recipe: what all fits have in common.

    Returns:
        The options of the best fit, its folder, its figure, higher is better, and how many fits there were.

    Raises:
        ValueError: no loss stayed finite, the folder holds the search of another recipe or on other
            pictures, or the data set can't teach the task.
    """
    made = settings_of(recipe)
    del made["level"]  # each fit draws its own
    claim(folder, made)
    study = optuna.create_study(
        storage=study_file(folder),
        study_name=recipe.task,
        direction="maximize",
        load_if_exists=True,
    )
    # Each call draws from where the earlier ones ended, not what they drew.
    study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + len(study.trials))
    for broken in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(broken.number, state=TrialState.FAIL)
        study.enqueue_trial(broken.params)

    while len(study.get_trials(states=DONE)) < trials:
        trial = study.ask()  # study.optimize would count a trial that control-C stopped as failed
        drawn = replace(recipe, **draw(trial))
        name = digest(json.dumps(asdict(drawn)))
        trial.set_user_attr("folder", name)
        try:
            record = run(drawn, data, folder / name)
        except FloatingPointError:
            study.tell(trial, state=TrialState.PRUNED)
            continue
        if study.user_attrs.get("pictures", record["pictures"]) != record["pictures"]:
            raise ValueError(f"{folder} has fits to other pictures: delete it, or choose another folder")
        study.set_user_attr("pictures", record["pictures"])
        study.tell(trial, score(recipe.task, record["held_out"]))
    if not study.get_trials(states=(TrialState.COMPLETE,)):
        raise ValueError(f"none of the {trials} fits in {folder} kept a finite loss: try more of them")
    best = {
        "options": study.best_params,
        "folder": study.best_trial.user_attrs["folder"],
        "figure": study.best_value,
        "fits": len(study.get_trials(states=DONE)),
    }
    write_json(folder / "best.json", best)
    return best


def study_file(folder: Path) -> JournalStorage:
    """The file that keeps a search's trials."""
    return JournalStorage(JournalFileBackend(str(folder / "study.log")))


def draw(trial: optuna.Trial) -> dict:
    """Options of a recipe; ranges hold what is usual for networks of this size."""
    return {
        "peak_rate": trial.suggest_float("peak_rate", 0.005, 0.2, log=True),
        "decay": trial.suggest_float("decay", 5e-4, 2e-2, log=True),
        "dropout": trial.suggest_float("dropout", 0, 0.6),
        "augmentation": trial.suggest_categorical("augmentation", ("low", "mid", "high")),
        "balance": trial.suggest_categorical("balance", ("none", "weights", "sampling")),
        "mixup": trial.suggest_categorical("mixup", (0.0, 0.1, 0.3)),
    }

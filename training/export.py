"""What training leaves in weights/: networks for inference only, records of them, and of other fits."""

import json
from dataclasses import replace
from pathlib import Path

import keras

from inference.faces import ATTRIBUTES
from training.files import write_json
from training.networks import precision, residual
from training.tasks import TASKS, Task

# Beside the records: of networks fitted alike, by task, and of fits that are not shipped, by name.
FIGURES = ("comparison", "others")


def serving_copy(network: keras.Model, task: Task, policy: str = "float32") -> keras.Model:
    """The same network without optimizer or losses, in a dtype policy of Keras: float32, but for training."""
    with precision(policy):
        copy = residual(task.side, task.channels, task.heads, task.stem_stride, task.blocks)
    copy.set_weights(network.get_weights())
    return copy


def write_record(record: dict, weights: Path) -> None:
    """Write weights/TASK.json; `record["task"]` names it."""
    write_json(weights / f"{record['task']}.json", record)


def read_records(weights: Path) -> dict[str, dict]:
    """The records there are, by task, in the order of ATTRIBUTES."""
    paths = {name: weights / f"{name}.json" for name in ATTRIBUTES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def record_of(attribute: str, weights: Path) -> dict:
    """The record of what reads an attribute.

    Raises:
        FileNotFoundError: there is none.
    """
    records = read_records(weights)
    if attribute not in records:
        raise FileNotFoundError(f"no {attribute}.json in {weights}")
    return records[attribute]


def task_of(record: dict) -> Task:
    """What a model's last fit learnt, from its record."""
    return replace(TASKS[record["network"]], side=record["side"])


def model_of(network: str, weights: Path) -> keras.Model:
    """The model of one of TASKS, for inference.

    Raises:
        FileNotFoundError: there is none.
    """
    path = weights / f"{network}.keras"
    if not path.exists():  # Keras raises ValueError
        raise FileNotFoundError(f"no {path.name} in {weights}")
    return keras.saving.load_model(path, compile=False)


def write_figures(name: str, figures: dict[str, dict], weights: Path) -> None:
    """Write weights/NAME.json, of FIGURES."""
    write_json(weights / f"{name}.json", figures)


def read_figures(name: str, weights: Path) -> dict[str, dict]:
    """What write_figures wrote; nothing where it was not called."""
    path = weights / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}

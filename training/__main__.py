"""Make the models and measure them.

python -m training emotion (or gender, age) fits one model and writes it, its record and the cards to
weights/; stopped, it goes on where it was when called again. python -m training evaluate measures the
models in weights/ once more and rewrites their records and cards.
"""

import argparse
from datetime import date
from pathlib import Path

import keras
import numpy as np

from training.augmentation import LEVELS
from training.cards import write_cards
from training.data import Faces, locate
from training.evaluation import CALIBRATE, REPORT
from training.export import MODELS, read_records, serving_copy, write_record
from training.fitting import Crops, claim, fit
from training.networks import residual
from training.tasks import TASKS, Task

Located = tuple[Faces, np.ndarray]  # faces and their landmarks


def main(arguments: list[str] | None = None) -> None:
    """Run one command.

    Raises:
        FileNotFoundError: the data is not there.
        ValueError: an unfinished or finished fit lies in the runs folder that was made with other settings.
    """
    options = _parser().parse_args(arguments)
    if options.command == "evaluate":
        evaluate(options.data, options.weights)
    else:
        train(options.command, options)


def train(name: str, options: argparse.Namespace) -> None:
    """Data, model, training and evaluation of one of MODELS."""
    task = TASKS[name]
    keras.config.set_dtype_policy(options.precision)
    keras.utils.set_random_seed(options.seed)

    # Data
    faces, landmarks = _read(task, "train", options.data)
    held_out = faces.calibration()
    fitted = faces.take(~held_out), landmarks[~held_out]
    calibration = faces.take(held_out), landmarks[held_out]
    valid = _read(task, "valid", options.data)

    # Model and training
    network = _fitted(name, fitted, valid, options)

    # Evaluate
    network = serving_copy(network, task)
    options.weights.mkdir(parents=True, exist_ok=True)
    network.save(options.weights / f"{name}.keras")
    decoding = CALIBRATE[name](_logits(network, task, calibration), calibration[0].labels)
    record = {
        "task": name,
        "side": task.side,
        "channels": task.channels,
        "parameters": network.count_params(),
        "calibration": decoding,
        "trained": {
            "date": date.today().isoformat(),
            "fits": _history(name, options),
            "seed": options.seed,
            "precision": options.precision,
            "keras": keras.version(),
            "backend": keras.backend.backend(),
            "faces": {"fitted": len(fitted[0]), "calibration": len(calibration[0]), "valid": len(valid[0])},
        },
        "valid": REPORT[name](_logits(network, task, valid), valid[0].labels, decoding),
    }
    write_record(record, options.weights)
    write_cards(options.weights)


def evaluate(data: Path, weights: Path) -> None:
    """Measure every model in `weights` on the validation faces; its calibration stays."""
    for name, record in read_records(weights).items():
        task = TASKS[name]
        network = keras.saving.load_model(weights / f"{name}.keras", compile=False)
        valid = _read(task, "valid", data)
        report = REPORT[name](_logits(network, task, valid), valid[0].labels, record["calibration"])
        write_record(record | {"valid": report}, weights)
    write_cards(weights)


def _read(task: Task, split: str, data: Path) -> Located:
    faces = task.read(data / task.dataset, split)
    return faces, locate(faces, f"{task.dataset}-{split}")


def _fitted(name: str, faces: Located, valid: Located, options: argparse.Namespace) -> keras.Model:
    """A task's network, fitted after the one that it starts from; or loaded, where that was done before."""
    task = TASKS[name]
    if task.start:
        start = _fitted(task.start, faces, valid, options)
        heads = {head: start.get_layer(head).output for head in task.heads}
        network = keras.Model(start.input, heads if len(heads) > 1 else heads[name])
    else:
        network = residual(task.side, task.channels, task.heads, task.stem_stride)
    settings = _settings(name, options)
    if settings["epochs"]:
        folder = options.runs / name
        claim(
            folder, settings | {"seed": options.seed, "precision": options.precision, "faces": len(faces[0])}
        )
        crops = _crops(task, faces, task.weights(faces[0].labels), settings["augmentation"], options.seed)
        fit(
            network,
            crops,
            _crops(task, valid),
            task.losses,
            task.metrics,
            settings["epochs"],
            folder,
            task.peak_rate,
        )
    return network


def _settings(name: str, options: argparse.Namespace) -> dict:
    """Epochs and augmentation of a task: its own, unless the command says otherwise."""
    task = TASKS[name]
    epochs = options.epochs if options.command == name and options.epochs is not None else task.epochs
    return {"epochs": epochs, "augmentation": options.augmentation or task.augmentation}


def _history(name: str, options: argparse.Namespace) -> list[dict]:
    """The settings of every fit that a network went through, first to last."""
    task = TASKS[name]
    settings = _settings(name, options)
    before = _history(task.start, options) if task.start else []
    return before + ([{"task": name} | settings] if settings["epochs"] else [])


def _crops(
    task: Task, located: Located, weights=None, augmentation: str | None = None, seed: int = 0
) -> Crops:
    """Batches for a task's network; plain and in order unless told otherwise."""
    faces, landmarks = located
    weights = np.ones(len(faces), np.float32) if weights is None else weights
    targets = task.targets(faces.labels)
    if len(targets) == 1:
        (targets,) = targets.values()
    return Crops(faces, landmarks, targets, weights, task.side, task.channels, augmentation, seed, workers=2)


def _logits(network: keras.Model, task: Task, located: Located) -> np.ndarray:
    """As in serving: the mean of each crop's logits and its mirror image's."""
    crops = _crops(task, located)
    inputs = np.concatenate([crops[batch][0] for batch in range(len(crops))])
    return (network.predict(inputs, verbose=0) + network.predict(inputs[:, :, ::-1], verbose=0)) / 2


def _parser() -> argparse.ArgumentParser:
    places = argparse.ArgumentParser(add_help=False)
    places.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of fer2013 and utkface"
    )
    places.add_argument("--weights", type=Path, default=Path("weights"), help="folder of the models")

    fitting = argparse.ArgumentParser(add_help=False, parents=[places])
    fitting.add_argument("--epochs", type=int, help="default: the task's own")
    fitting.add_argument("--augmentation", choices=LEVELS, help="default: the task's own")
    fitting.add_argument("--seed", type=int, default=0)
    fitting.add_argument("--precision", choices=("mixed_bfloat16", "float32"), default="mixed_bfloat16")
    fitting.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and logs")

    parser = argparse.ArgumentParser("python -m training", description="Make the models and measure them.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in MODELS:
        commands.add_parser(name, parents=[fitting], help=f"fit the {name} model, or go on fitting it")
    commands.add_parser("evaluate", parents=[places], help="measure the models in the weights folder again")
    return parser


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from None

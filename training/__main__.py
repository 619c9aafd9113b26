"""Make the models, measure them, and try others.

    inspect DATASET           what is wrong with a data set, and a list of its clean pictures
    emotion, traits           fit a network that is shipped, into weights/; traits are gender and age
    average NETWORK DIR...    the mean of models that one line of fits went through
    teachers NETWORK          fit larger networks, for `emotion` and `traits --teachers` to learn from
    evaluate                  measure the models in weights/, and write cards and a report with pictures
    fit TASK                  try: any network of NETWORKS, fitted as the options say, into runs/
    search TASK               try many such fits, and tell the best
    ensemble TASK RUN...      let several fits vote; `fit --teacher` distills them into one
    compare TASK              fit ours and all baselines alike, for the table in weights/README.md

Whatever is stopped goes on where it was when called again.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from datetime import date
from pathlib import Path

import keras
import numpy as np

from inference.faces import ATTRIBUTES
from training import experiment
from training.augmentation import LEVELS
from training.cards import write_cards
from training.classes import MERGES
from training.comparison import compare as compare_networks
from training.comparison import publish
from training.conditions import CONDITIONS, changed
from training.duplicates import copied
from training.ensemble import ensemble
from training.evaluation import CALIBRATE, HEADLINE, REPORT, headlines
from training.experiment import BALANCES, NETWORKS, Located, Recipe, run, score
from training.export import model_of, read_records, record_of, serving_copy, task_of, write_record
from training.files import whole, write_json
from training.fitting import SCHEDULES, Taught, claim, digest, epochs_fitted, fit
from training.networks import blend, grow, precision, residual
from training.tasks import NETWORK_OF, PRECISIONS, TASKS, Task
from training.teachers import Ensemble, described, taught, teach

SHIPPED = sorted(set(NETWORK_OF.values()))
DRAWN = ("peak_rate", "decay", "dropout", "augmentation", "balance", "mixup")  # by training.search
PLACES = {  # default and words
    "data": ("../shared/data", "folder of the data sets"),
    "weights": ("weights", "folder of the models"),
    "runs": ("runs", "folder of checkpoints and logs"),
    "report": ("runs/report", "folder of the report"),
}
SLOWEST = 1e-9  # rate of learning that may be asked for
SHARE = 0.5  # of teachers in what is learnt
CLEAN = "file of the names of the pictures to fit to, as inspect writes it"
SETS = "fer2013, ferplus, utkface, sof, ckplus, or a folder of class folders"


def main(arguments: list[str] | None = None) -> None:
    """Run one command.

    Raises:
        FileNotFoundError: the data is not there.
        ValueError: an unfinished or finished fit lies in the runs folder that was made with other settings.
        FloatingPointError: a loss is infinite or not a number, as with too high a rate.
    """
    options = _parser().parse_args(arguments)
    COMMANDS.get(options.command, train)(options)


def train(options: argparse.Namespace) -> None:
    """Data, network, training and evaluation of one of SHIPPED."""
    name = options.command
    task = _task(name, options)
    if options.blend is not None and not options.start:
        raise ValueError("--blend mixes with the model that is gone on from: give --start, too")
    if options.share is not None and not options.teachers and not options.ensemble:
        raise ValueError("--share is of what teachers say: give --teachers or --ensemble, too")
    options.share = options.share or SHARE

    # Data
    labelled, parts = _data(task, options.data, [options.clean])
    fitted, _, valid = parts

    # Network and training
    finished = epochs_fitted(options.runs / name) >= _settings(name, options)["epochs"]
    network = serving_copy(_fitted(name, fitted, valid, options), task)
    history = _history(name, labelled, options)
    if finished and _goes_further(options.weights, task, history):
        raise ValueError(
            f"{options.weights} holds what later fits made of this one, which is over: choose other --weights"
        )

    # Evaluate
    _ship(name, task, network, history, labelled, parts, options.weights)


def _goes_further(weights: Path, task: Task, history: list[dict]) -> bool:
    """Whether the model there has been through these fits and through others since."""
    record = read_records(weights).get(next(iter(task.heads)))
    fits = record["trained"]["fits"] if record else []
    return len(fits) > len(history) and fits[: len(history)] == history


def average(options: argparse.Namespace) -> None:
    """The mean of models that one line of fits went through, into `weights`.

    Such models err less together than each (Wortsman et al. 2022, "Model soups").
    """
    name = options.network
    records = [record_of(next(iter(TASKS[name].heads)), folder) for folder in options.models]
    histories = [record["trained"]["fits"] for record in records]
    if len(histories) < 2 or len(set(map(len, histories))) < len(histories):
        raise ValueError("an average is of two models or more, each of another number of fits")
    line = max(histories, key=len)
    task = task_of(records[histories.index(line)])
    if any(line[: len(history)] != history for history in histories):
        raise ValueError("only models that one line of fits went through can be averaged")

    # Data
    labelled, parts = _data(task, options.data, _lists(line))

    # Network
    networks = [model_of(name, folder) for folder in options.models]
    network = serving_copy(networks[0], task)
    every = zip(*(one.get_weights() for one in networks), strict=True)
    network.set_weights([np.mean(weights, axis=0) for weights in every])

    # Evaluate
    fits = [*line, {"task": "average", "of": [len(history) for history in histories]}]
    _ship(name, task, network, fits, labelled, parts, options.weights)


def _data(
    task: Task, data: Path, lists: list[str | None]
) -> tuple[Located, tuple[Located, Located, Located]]:
    """The faces of `train`; and those of them to fit to, those to calibrate on, and `valid`.

    Args:
        lists: of experiment.learnt.
    """
    labelled = experiment.read(task, "train", data)
    return labelled, (*experiment.apart(labelled, lists), experiment.read(task, "valid", data))


def _task(name: str, options: argparse.Namespace) -> Task:
    """One of TASKS, with what the command's own fit is told of crops and rare faces."""
    told = _settings(name, options)
    return replace(TASKS[name], **{key: told[key] for key in ("side", "rarity") if key in told})


def _ship(
    name: str,
    task: Task,
    network: keras.Model,
    fits: list[dict],
    labelled: Located,
    parts: tuple[Located, Located, Located],
    weights: Path,
) -> None:
    """Settle, calibrate and measure a network in float32, and write it, its records and the cards.

    Args:
        labelled, parts: of _data.
    """
    fitted, calibration, valid = parts
    experiment.settle(network, task, fitted)
    held_out_logits = experiment.logits(network, task, calibration)
    records = {
        attribute: {
            "task": attribute,
            "network": name,
            "side": task.side,
            "channels": task.channels,
            "parameters": network.count_params(),
            "calibration": CALIBRATE[attribute](held_out_logits[attribute], calibration[0].labels),
            "trained": {
                "date": date.today().isoformat(),
                "fits": fits,
                "keras": keras.version(),
                "backend": keras.backend.backend(),
                "faces": {"fitted": len(fitted[0]), "calibration": len(calibration[0])},
            },
        }
        for attribute in task.heads
    }
    measured, _ = _measure(records, network, labelled, valid)
    with whole(weights / f"{name}.keras") as part:  # the bot serves from there
        network.save(part)
    for record in measured:
        write_record(record, weights)
    write_cards(weights)


def evaluate(options: argparse.Namespace) -> None:
    """Measure every model in `weights` whose faces are there on those of `valid`; its calibration stays."""
    from training.report import write_report  # matplotlib; only reports draw

    records, answers = read_records(options.weights), {}
    if not records:
        raise FileNotFoundError(f"no records of models in {options.weights}")
    for name in sorted({record["network"] for record in records.values()}):
        own = {attribute: record_of(attribute, options.weights) for attribute in TASKS[name].heads}
        task = task_of(next(iter(own.values())))
        network = model_of(name, options.weights)
        try:
            labelled, valid = (experiment.read(task, split, options.data) for split in ("train", "valid"))
        except FileNotFoundError as error:
            print(f"{name} is not measured: {error}")
            continue
        measured, logits = _measure(own, network, labelled, valid)
        answers |= {attribute: (valid[0], logits[attribute]) for attribute in own}
        for record in measured:
            write_record(record, options.weights)
    if not answers:
        raise FileNotFoundError(f"none of the models in {options.weights} has its data in {options.data}")
    write_cards(options.weights)
    write_report(answers, options.weights, options.report)


def _seen(labelled: Located, fits: list[dict]) -> Located:
    """The faces of `train` that a network has seen in any of its fits, as its record tells them."""
    lists = _lists(fits)
    if others := [fit["clean"] for fit in fits if "clean" in fit and not _is_as_it_was(fit)]:
        print(f"{', '.join(others)}: no longer as it was, so copies of faces are looked for in all of train")
        lists = [None]
    return experiment.learnt(labelled, lists)


def _lists(fits: list[dict]) -> list[str | None]:
    """The clean lists of fits, which averages between them have none of."""
    return [fit.get("clean") for fit in fits if "of" not in fit]


def _all(fits: list[dict]) -> Iterator[dict]:
    """Fits, and those of the models that they learned from."""
    for each in fits:
        yield each
        for member in each.get("ensemble", []):
            yield from _all(member)


def _is_as_it_was(fit: dict) -> bool:
    """Whether a fit's clean list still is what it was."""
    path = Path(fit["clean"])
    return path.exists() and digest(path.read_text()) == fit["list"]


def _measure(
    records: dict[str, dict], network: keras.Model, labelled: Located, valid: Located
) -> tuple[list[dict], dict[str, np.ndarray]]:
    """The records of a network's attributes with what it is worth on `valid`, and its logits there.

    Args:
        records: by attribute.
        labelled: the faces of `train`.
    """
    record = next(iter(records.values()))
    task, fits = task_of(record), record["trained"]["fits"]
    pictures = experiment.names_digest(labelled)
    strange = any(fit.get("pictures", pictures) != pictures for fit in _all(fits))
    if strange:
        print(f"{record['network']} was fitted to other pictures than train: it may have seen some of valid")
    looks = experiment.looks(network, task, valid)
    logits = {attribute: both.mean(axis=0) for attribute, both in looks.items()}
    seen_before = copied(valid[0].images, _seen(labelled, fits)[0].images)
    harder = {
        condition: experiment.logits(network, task, (changed(*valid, condition, task.side), valid[1]))
        for condition in CONDITIONS
    }
    measured = []
    for attribute, record in records.items():
        decoding = record["calibration"]
        labels, said, one_look = valid[0].labels, logits[attribute], looks[attribute][0]
        report = REPORT[attribute](said, labels, decoding)
        report |= headlines(attribute, said, one_look, seen_before, labels, decoding)
        report |= {"other_pictures": True} if strange else {}
        report["conditions"] = {
            condition: HEADLINE[attribute](answers[attribute], labels, decoding)
            for condition, answers in harder.items()
        }
        measured.append(record | {"valid": report})
    return measured, logits


def try_fit(options: argparse.Namespace) -> None:
    """One fit of any network, into a folder of its own."""
    recipe = _recipe(options)
    folder = options.runs / (options.name or f"{recipe.task}-{recipe.network}")
    record = run(recipe, options.data, folder, options.processes)
    print(f"{folder}: {abs(score(recipe.task, record['valid']))} on valid; more in record.json")
    if options.publish:
        publish(folder.name, record, options.weights)


def teachers(options: argparse.Namespace) -> None:
    """Networks that each leave out a part of the faces, and what they say of it."""
    task = TASKS[options.network]
    faces = experiment.learnt(experiment.read(task, "train", options.data), [options.clean])
    folder = options.runs / (options.name or f"teachers-{options.network}-{options.seed}")
    teach(
        options.network,
        faces,
        options.epochs,
        options.augmentation,
        options.seed,
        folder,
        options.clean,
        options.processes,
    )
    print(f"{folder}: what they say of {len(faces[0])} faces that they have not seen")


def search(options: argparse.Namespace) -> None:
    """Many fits with options drawn by Optuna."""
    from training.search import search  # Optuna; only searches need it

    folder = options.runs / (options.name or f"search-{options.task}")
    best = search(_recipe(options), options.trials, options.data, folder)
    print(f"best of {best['fits']}: {best}")


def vote(options: argparse.Namespace) -> None:
    """An ensemble of finished fits."""
    folder = options.runs / (options.name or f"{options.task}-ensemble")
    record = ensemble(options.task, options.members, options.data, options.runs, folder)
    print(f"{record['members']}: {abs(score(options.task, record['valid']))} on valid")


def compare(options: argparse.Namespace) -> None:
    """Ours and the baselines, fitted alike, and the cards with their table."""
    folder = options.runs / (options.name or f"compare-{options.task}")
    compare_networks(_recipe(options), options.networks, options.data, folder, options.weights)


def inspect(options: argparse.Namespace) -> None:
    """What is wrong with a data set."""
    from training.inspection import inspect  # cleanlab, pandas; only inspections need them

    print(inspect(options.dataset, options.data, options.runs, options.epochs, options.network))


COMMANDS = {
    "evaluate": evaluate,
    "average": average,
    "teachers": teachers,
    "fit": try_fit,
    "search": search,
    "ensemble": vote,
    "compare": compare,
    "inspect": inspect,
}


def _recipe(options: argparse.Namespace) -> Recipe:
    """The options that are parts of a recipe."""
    names = {field.name for field in fields(Recipe)}
    return Recipe(**{name: value for name, value in vars(options).items() if name in names})


def _fitted(name: str, faces: Located, valid: Located, options: argparse.Namespace) -> keras.Model:
    """The network that a fit ends with, fitted as far as it was not before.

    It begins with the model in --start, where this is the command's own fit; else with what the fit before it
    in TASKS ended with, where there is one.
    """
    task = _task(name, options)
    start = options.start if name == options.command else None
    keras.utils.set_random_seed(options.seed)
    with precision(options.precision):
        network = residual(task.side, task.channels, task.heads, task.stem_stride, task.blocks)
    if not start and task.start:
        grow(network, _fitted(task.start, faces, valid, options))
    # Not after the folder is claimed, as what is refused must leave it to the fit that is meant.
    targets = taught(task, faces, options.teachers, options.share) if options.teachers else None
    ensemble = Ensemble(options.command, options.ensemble) if options.ensemble else None
    settings = _settings(name, options)
    folder = options.runs / name
    if start and not (start / f"{name}.keras").exists():
        raise FileNotFoundError(f"no {name}.keras in {start}")
    fits = record_of(next(iter(task.heads)), start)["trained"]["fits"] if start else []
    made = {"start": str(start or task.start), "seed": options.seed, "precision": options.precision}
    made |= {"level": asdict(LEVELS[settings["augmentation"]]), "peak_rate": task.peak_rate}
    made |= _lesson(options) | {"backend": keras.backend.backend()}
    claim(folder, settings | made | {"names": experiment.names_digest(faces)})
    if start and not (folder / "start.json").exists():  # `start` may be where the result goes
        shutil.copy(start / f"{name}.keras", folder / "start.keras")
        write_json(folder / "start.json", fits)
    elif start and not _is_or_follows(
        fits, json.loads((folder / "start.json").read_text()), name, options.seed
    ):
        raise ValueError(f"{folder} went on from another model than is in {start} now: choose other --runs")
    if start:
        grow(network, keras.saving.load_model(folder / "start.keras", compile=False))
    crops = experiment.crops(
        task,
        faces,
        task.weights(faces[0].labels),
        settings["augmentation"],
        options.seed,
        targets,
        processes=options.processes,
    )
    if ensemble:
        crops = Taught(crops, ensemble.of_crops, options.share, workers=max(2, options.processes))
    fit(
        network,
        crops,
        experiment.crops(task, valid),
        task.losses,
        task.metrics,
        settings["epochs"],
        folder,
        task.peak_rate,
    )
    if start and options.blend:
        blend(network, folder / "start.keras", options.blend)
    return network


def _is_or_follows(fits: list[dict], start: list[dict], name: str, seed: int) -> bool:
    """Whether a model's fits are those that a fit started from, or these and then that fit itself."""
    later = [(fit["task"], fit.get("seed")) for fit in fits[len(start) :]]
    return fits[: len(start)] == start and later in ([], [(name, seed)])


def _settings(name: str, options: argparse.Namespace) -> dict:
    """What a fit is told: the task's own, unless it is the command's and that says otherwise."""
    task, own = TASKS[name], options.command == name
    usual = {"epochs": task.epochs, "augmentation": task.augmentation, "side": task.side}
    told = {key: getattr(options, key) for key in (*usual, "rarity")} if own else {}
    return usual | {key: value for key, value in told.items() if value is not None}


def _lesson(options: argparse.Namespace) -> dict:
    """Which teachers, or models, a fit learns from, and how much."""
    attribute = next(iter(TASKS[options.command].heads))
    if options.teachers:
        lesson = {"teachers": [described(folder) for folder in options.teachers]}
    elif options.ensemble:
        records = [record_of(attribute, folder) for folder in options.ensemble]
        lesson = {"ensemble": [record["trained"]["fits"] for record in records]}
    else:
        return {}
    return lesson | {"share": options.share}


def _elsewhere() -> dict:
    """What of Keras's backends a fit runs on, where it is not the usual one."""
    backend = keras.backend.backend()
    return {} if backend == "tensorflow" else {"backend": backend}


def _history(name: str, labelled: Located, options: argparse.Namespace) -> list[dict]:
    """The settings of every fit that a network went through, first to last, and what it was fitted to."""
    task = TASKS[name]
    if options.start and name == options.command:
        before = json.loads((options.runs / name / "start.json").read_text())
    else:
        before = _history(task.start, labelled, options) if task.start else []
    special = {"blended": options.blend} if options.blend and name == options.command else {}
    if options.clean:
        special |= {"clean": options.clean, "list": digest(Path(options.clean).read_text())}
    special |= _lesson(options) | _elsewhere()
    special |= {"precision": options.precision} if options.precision != PRECISIONS[0] else {}
    made = {"seed": options.seed, "pictures": experiment.names_digest(labelled)}
    return before + [{"task": name} | _settings(name, options) | made | special]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m training", description="Make the models and measure them.")
    commands = parser.add_subparsers(dest="command", required=True)

    for name in SHIPPED:
        command = commands.add_parser(name, help=f"fit the {name} network, or go on fitting it")
        _add_places(command, "data", "weights", "runs")
        own = "default: the task's own, as fits before it in any case have"
        command.add_argument("--epochs", type=_at_least(1), help=f"of the last fit; {own}")
        command.add_argument("--augmentation", choices=LEVELS, help=f"in the last fit; {own}")
        command.add_argument("--side", type=_at_least(1), help=f"of its crop, pixels; {own}")
        text = f"power by which rare emotions, or bands of ages, weigh more in it; {own}"
        command.add_argument("--rarity", type=_at_least(0, float), help=text)
        command.add_argument("--clean", help=CLEAN)
        command.add_argument("--start", type=Path, help="folder of models to go on from")
        command.add_argument(
            "--blend", type=_share, help="share of the fit in a mixture with where it started"
        )
        learnt_from = command.add_mutually_exclusive_group()
        for option, text in (
            ("--teachers", "folders that `teachers` wrote, to learn from"),
            ("--ensemble", "folders of models to learn from, as they see the same crops"),
        ):
            learnt_from.add_argument(option, type=Path, nargs="+", default=[], help=text)
        command.add_argument(
            "--share",
            type=_share,
            help=f"of teachers in what is learnt; default: {SHARE}, labels have the rest",
        )
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
        _add_processes(command)

    command = commands.add_parser("average", help="average models that one line of fits went through")
    command.add_argument("network", choices=SHIPPED)
    command.add_argument("models", type=Path, nargs="+", help="folders of models and their records")
    _add_places(command, "data", "weights")

    command = commands.add_parser("teachers", help="fit larger networks to learn from")
    command.add_argument("network", choices=SHIPPED)
    _add_places(command, "data", "runs")
    command.add_argument("--name", help="of the folder in the runs folder")
    command.add_argument("--epochs", type=_at_least(1), default=40)
    command.add_argument("--augmentation", choices=LEVELS, default="mid")
    command.add_argument("--clean", help=CLEAN)
    command.add_argument("--seed", type=int, default=0)
    _add_processes(command)

    command = commands.add_parser("evaluate", help="measure the models in the weights folder")
    _add_places(command, "data", "weights", "report")

    command = commands.add_parser("fit", help="try a network")
    _add_places(command, "data", "weights", "runs")
    _add_recipe(command)
    command.add_argument("--network", choices=NETWORKS, default=Recipe.network)
    _add_processes(command)
    command.add_argument("--publish", action="store_true", help="tell its figures in the model cards")

    command = commands.add_parser("search", help="try many options and tell the best")
    _add_places(command, "data", "runs")
    _add_recipe(command, but=DRAWN)
    command.add_argument("--network", choices=NETWORKS, default=Recipe.network)
    command.add_argument(
        "--trials", type=_at_least(1), default=30, help="in all, with those of earlier calls"
    )

    command = commands.add_parser("compare", help="fit ours and the baselines alike")
    _add_places(command, "data", "weights", "runs")
    _add_recipe(command, but=("pretrained", "unfrozen"))
    command.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)

    command = commands.add_parser("ensemble", help="let several fits vote")
    _add_places(command, "data", "runs")
    command.add_argument("task", choices=ATTRIBUTES)
    command.add_argument("members", nargs="+", help="folders of finished fits, in the runs folder")
    command.add_argument("--name", help="of the folder in the runs folder")

    command = commands.add_parser("inspect", help="tell what is wrong with a data set")
    _add_places(command, "data", "runs")
    command.add_argument("dataset", help=SETS)
    command.add_argument(
        "--epochs", type=_at_least(0), default=6, help="of the networks that doubt labels; 0 doubts none"
    )
    command.add_argument("--network", choices=NETWORKS, default=Recipe.network, help="that doubts labels")
    return parser


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return share


def _at_least(least: float, kind: type = int) -> Callable[[str], float]:
    """A type of an option's numbers."""

    def number(text: str) -> float:
        if (value := kind(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value

    return number


def _add_places(command: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        default, text = PLACES[name]
        command.add_argument(f"--{name}", type=Path, default=Path(default), help=text)


def _add_processes(command: argparse.ArgumentParser) -> None:
    text = "that cut crops, so that a GPU need not wait"
    command.add_argument("--processes", type=_at_least(0), default=0, help=text)


def _add_recipe(parser: argparse.ArgumentParser, but: tuple[str, ...] = ()) -> None:
    """The options of a recipe but some; their names and defaults are those of its fields."""
    parser.add_argument("task", choices=ATTRIBUTES)
    parser.add_argument("--name", help="of the folder in the runs folder")
    choices = {
        "classes": (MERGES, "of emotions"),
        "schedule": (SCHEDULES, "of the learning rate"),
        "augmentation": (LEVELS, "of the pictures"),
        "balance": (BALANCES, "how rare classes are made to count"),
        "precision": (PRECISIONS, "of the computation"),
    }
    numbers = {
        "side": (_at_least(1), "of the crop, pixels; default: the network's own"),
        "epochs": (_at_least(1), ""),
        "peak_rate": (_at_least(SLOWEST, float), "of learning; default: the network's own"),
        "decay": (_at_least(0, float), "of weights, decoupled L2"),
        "dropout": (_at_least(0, float), "default: the network's own"),
        "mixup": (_at_least(0, float), "alpha of the shares in which faces are mixed"),
        "voters": (float, "share of FER+'s voters in the labels of FER2013"),
        "patience": (_at_least(1), "epochs without a better loss before it stops early"),
        "average": (float, "momentum of the moving average of weights, such as 0.99"),
        "unfrozen": (_at_least(0), "last blocks of a pre-trained backbone that are fitted"),
        "seed": (int, ""),
    }
    texts = {
        "dataset": f"{SETS}; default: the task's own",
        "clean": CLEAN,
        "teacher": "folder of a finished fit or ensemble to learn from",
        "pretrained": "file of weights to begin with, of a backbone without its top or of a model like ours",
    }
    defaults = {field.name: field.default for field in fields(Recipe)}
    described = {
        name: {"choices": values, "type": type(defaults[name]), "help": text}
        for name, (values, text) in choices.items()
    }
    described |= {name: {"type": kind, "help": text} for name, (kind, text) in numbers.items()}
    described |= {name: {"help": text} for name, text in texts.items()}
    for name, settings in described.items():
        if name not in but:
            parser.add_argument(_flag(name), default=defaults[name], **settings)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, FloatingPointError) as error:
        raise SystemExit(str(error)) from None

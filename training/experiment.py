"""One network fitted and measured as its recipe says; the folder of the fit holds all that came of it."""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import keras
import numpy as np

from inference.decoding import sigmoid, softmax
from inference.faces import EMOTIONS
from training import classes
from training.augmentation import LEVELS
from training.baselines import BACKBONES, BASELINES, SMALLEST_SIDE, transfer
from training.data import Faces, clean, dataset, locate, soften, somewhere
from training.duplicates import copied
from training.evaluation import CALIBRATE, REPORT
from training.files import write_json
from training.fitting import WEIGHT_DECAY, Crops, Taught, check_average, claim, digest, fit
from training.networks import AGES, grow, normalize, precision, residual
from training.tasks import NETWORK_OF, TASKS, Task, age_distributions, class_weights, kinds

Located = tuple[Faces, np.ndarray]  # faces and their landmarks

NETWORKS = ("residual", *BASELINES, *BACKBONES)  # ours first
DATA = {"emotion": "ferplus", "gender": "utkface", "age": "utkface"}  # set that each task is fitted to
LABELS = {"emotion": "votes", "gender": "gender", "age": "age"}  # column that each task learns
BALANCES = ("none", "weights", "sampling")
BACKBONE_SIDE = 96  # pixels of the crop
PEAK_RATE = 0.05  # of our network
DROPOUT = 0.3
TEACHING = 0.7  # share of the teacher in targets; the labels have the rest
UNFROZEN = 2  # blocks of a backbone that are fitted
SMALLEST = 1e-7  # probability whose logarithm is taken


@dataclass(frozen=True)
class Recipe:
    """All that makes a fit what it is.

    Attributes:
        task: "emotion", "gender" or "age".
        network: of NETWORKS.
        dataset: of training.data.dataset; None is the task's own.
        classes: of emotions, of training.classes.MERGES.
        side: of the crop, pixels; None is the network's own.
        epochs, schedule, patience, average: of training.fitting.fit.
        peak_rate, dropout: None are the network's own.
        decay: weight decay, decoupled L2.
        augmentation: of augmentation.LEVELS.
        balance: of BALANCES: rare classes weigh more, or are drawn more often.
        mixup: alpha of the shares in which faces are mixed; 0 mixes none.
        clean: file of the names of the faces to fit to, as `inspect` writes it; None fits to all.
        teacher: folder of another fit, or ensemble, to learn from beside the labels.
        voters: share of FER+'s voters in the labels of FER2013 that are fitted to.
        unfrozen: of baselines.transfer.
        pretrained: file of weights to begin with, of a backbone, as baselines.transfer takes it, or of a
            model like ours, such as a shipped one.
        precision: a dtype policy of Keras.

    Raises:
        ValueError: both patience and average are given, and only one of them can choose the weights; there
            are voters where there are none of FER+, or more than FER2013's own label counts; or classes or
            unfrozen blocks are given where there are none.
    """

    task: str
    network: str = "residual"
    dataset: str | None = None
    classes: int = len(EMOTIONS)
    side: int | None = None
    epochs: int = 20
    schedule: str = "one-cycle"
    peak_rate: float | None = None
    decay: float = WEIGHT_DECAY
    dropout: float | None = None
    augmentation: str = "mid"
    balance: str = "weights"
    mixup: float = 0
    patience: int | None = None
    average: float | None = None
    clean: str | None = None
    teacher: str | None = None
    voters: float = 0
    unfrozen: int = UNFROZEN
    pretrained: str | None = None
    seed: int = 0
    precision: str = "mixed_bfloat16"

    def __post_init__(self) -> None:
        if self.patience and self.average:
            raise ValueError("a fit takes its best epoch's weights, or averages all of them, but not both")
        if self.voters and (self.source != "fer2013" or not 0 < self.voters < 0.5):
            raise ValueError(
                "voters can have a share of less than 0.5 in the labels of fer2013, and of no others"
            )
        if self.classes != len(EMOTIONS) and self.task != "emotion":
            raise ValueError(f"classes are merged of emotions, not of {self.task}")
        if self.unfrozen != UNFROZEN and not (self.network in BACKBONES and self.pretrained):
            raise ValueError("only backbones that begin with pretrained weights are frozen, or parts of them")

    @property
    def source(self) -> str:
        """The data set's name."""
        return self.dataset or DATA[self.task]


def unusual(recipe: dict, task: str) -> dict:
    """Of a recipe as a dictionary, or of a part of one, what is not as usual."""
    usual = asdict(Recipe(task))
    return {key: value for key, value in recipe.items() if value != usual[key]}


def run(recipe: Recipe, data: Path, folder: Path, processes: int = 0) -> dict:
    """Fit, calibrate and measure; go on where a stopped run was, and only read what a finished one wrote.

    Writes into `folder` log.csv and settings.json, a checkpoint until it is finished, then model.keras, in
    float32, and record.json. Early stopping and plateaus go by the calibration faces, so that `valid` is
    measured on and nothing else.

    Args:
        data: folder of the data sets.
        processes: of fitting.Crops.

    Returns:
        The record: recipe, parameters, faces, digests of their names, seconds of this run, calibration, and
        the figures on the calibration faces and on `valid`.

    Raises:
        FileNotFoundError: there is no such data, clean list, teacher or file of weights.
        ValueError: the folder holds a fit of another recipe, or an unfinished one to other faces, or the data
            set or the teacher can't teach the task.
        FloatingPointError: the loss is infinite or not a number.
    """
    start = time.monotonic()
    task, settings = task_of(recipe), settings_of(recipe)
    if (folder / "record.json").exists():
        claim(folder, settings)
        return read_record(folder)

    # Data
    fitted, held_out, valid = divided(recipe, task, data)

    # Model and training
    if recipe.network in BACKBONES and not recipe.pretrained:
        print(f"{recipe.network}: no --pretrained weights are given, so all of it is fitted from scratch")
    keras.utils.set_random_seed(recipe.seed)  # not before, as the detector that finds landmarks draws, too
    with precision(recipe.precision):
        network = build(recipe, task)
    rare = class_weights(kinds(recipe.task, fitted[0].labels))
    batches = crops(
        task,
        fitted,
        rare if recipe.balance == "weights" else None,
        recipe.augmentation,
        recipe.seed,
        draw=rare if recipe.balance == "sampling" else None,
        mixup=recipe.mixup,
        processes=processes,
    )
    if recipe.average is not None:
        check_average(recipe.average, recipe.epochs * len(batches))
    # Not before, as what is refused must leave the folder to the recipe that is meant.
    claim(folder, settings | {"names": names_digest(fitted), "backend": keras.backend.backend()})
    if recipe.teacher:
        batches = Taught(batches, Voter(Path(recipe.teacher)).of_crops, TEACHING, workers=max(2, processes))
    fit(
        network,
        batches,
        crops(task, held_out),
        task.losses,
        task.metrics,
        recipe.epochs,
        folder,
        task.peak_rate,
        schedule=recipe.schedule,
        weight_decay=recipe.decay,
        patience=recipe.patience,
        average=recipe.average,
    )

    # Evaluate
    with precision("float32"):
        serving = build(recipe, task)
    serving.set_weights(network.get_weights())
    if recipe.average is not None:
        settle(serving, task, fitted)
    serving.save(folder / "model.keras")
    record = {
        "recipe": asdict(recipe),
        "parameters": network.count_params(),
        "faces": {"fitted": len(fitted[0]), "calibration": len(held_out[0]), "valid": len(valid[0])},
        "pictures": {"fitted": names_digest(fitted), "valid": names_digest(valid)},
        "seconds": round(time.monotonic() - start),
        **measure(recipe, *((answers(serving, task, part), part[0].labels) for part in (held_out, valid))),
    }
    write_json(folder / "record.json", record)
    shutil.rmtree(folder / "checkpoint")  # ten times as large as the model, and of no more use
    return record


def settings_of(recipe: Recipe) -> dict:
    """All that a fit depends on but its faces; sides and rates that are the network's own may change, too.

    Raises:
        FileNotFoundError: of `ingredients`.
        ValueError: the data set or the teacher can't teach the task.
    """
    task = task_of(recipe)
    if recipe.teacher:
        _check_teacher(recipe, task)
    return asdict(recipe) | {"side": task.side, "peak_rate": task.peak_rate} | ingredients(recipe)


def ingredients(recipe: Recipe) -> dict:
    """What the names in a recipe stood for when it was followed, by which it is known to be the same.

    Raises:
        FileNotFoundError: there is no such clean list, teacher or file of weights.
    """
    found = {"level": asdict(LEVELS[recipe.augmentation])}
    if recipe.clean:
        found["list"] = digest(Path(recipe.clean).read_text())
    if recipe.teacher:
        found["taught by"] = digest((Path(recipe.teacher) / "record.json").read_text())
    if recipe.pretrained:
        found["begun with"] = digest(_pretrained(recipe).read_bytes())
    return found


def names_digest(located: Located) -> str:
    """A digest of the names of faces in any order, by which they are known to be the same."""
    return digest("\n".join(sorted(located[0].names)))


def measure(recipe: Recipe, held_out: tuple, valid: tuple) -> dict:
    """Calibration, and figures on the calibration faces and on `valid`; each given as (logits, labels)."""
    names = {"names": classes.names(recipe.classes)} if recipe.task == "emotion" else {}
    calibration = CALIBRATE[recipe.task](*held_out)
    return {
        "calibration": calibration,
        "held_out": REPORT[recipe.task](*held_out, calibration, **names),
        "valid": REPORT[recipe.task](*valid, calibration, **names),
    }


def score(task: str, report: dict) -> float:
    """What a task's reports are compared by, higher is better: accuracy, or minus the error in years."""
    return -report["all"]["mae"] if task == "age" else report["accuracy"]["share"]


def read_record(folder: Path) -> dict:
    """The record of a finished fit or ensemble.

    Raises:
        FileNotFoundError: there is none.
    """
    path = folder / "record.json"
    if not path.exists():
        raise FileNotFoundError(f"no finished fit in {folder}")
    return json.loads(path.read_text())


class Voter:
    """A finished fit or ensemble, which says how probable each output is.

    Not at its temperature, which makes the answer as sure as it is right: it is to be mixed with, or judged
    by, what was learnt without one, such as shares of votes.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            FileNotFoundError: there is none in `folder`.
        """
        record = read_record(folder)
        recipe = Recipe(**record["recipe"])
        self._name = recipe.task
        self._members = [(Voter(folder / name), share) for name, share in record.get("members", {}).items()]
        if not self._members:
            self._network = keras.saving.load_model(folder / "model.keras", compile=False)
            _, side, _, channels = self._network.input_shape  # networks of that name may have others by now
            self._task = replace(task_of(recipe), side=side, channels=channels)

    def of_faces(self, located: Located) -> np.ndarray:
        """(n, classes) for emotion, (n, 1) of a woman for gender, (n, 117) years for age; float64."""
        return self._say(lambda network, task: answers(network, task, located))

    def of_crops(self, crops: np.ndarray) -> np.ndarray:
        """Likewise, of standardized crops, which need not be of the size and colors that it was fitted to."""
        return self._say(
            lambda network, task: _as_logits(task, network.predict_on_batch(restyle(crops, task)))
        )

    def _say(self, logits_of: Callable[[keras.Model, Task], np.ndarray]) -> np.ndarray:
        if self._members:
            said = [member._say(logits_of) for member, _ in self._members]
            logits = vote(self._name, [share for _, share in self._members], said)
        else:
            logits = logits_of(self._network, self._task)
        return probabilities(self._name, logits)


def probabilities(name: str, logits: np.ndarray) -> np.ndarray:
    """(n, classes) for emotion, (n, 1) of a woman for gender, (n, 117) years for age; float64."""
    return (sigmoid if name == "gender" else softmax)(logits)


def restyle(crops: np.ndarray, task: Task) -> np.ndarray:
    """Standardized crops in the size and colors of a task's network, (n, side, side, channels) float32."""
    if crops.shape[1:] == (task.side, task.side, task.channels):
        return crops
    way = cv2.INTER_AREA if task.side < crops.shape[1] else cv2.INTER_LINEAR
    sized = [cv2.resize(crop, (task.side, task.side), interpolation=way) for crop in crops]
    if task.channels < crops.shape[-1]:
        sized = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in sized]
    styled = np.stack(sized).reshape(len(crops), task.side, task.side, -1)
    styled = np.broadcast_to(styled, (*styled.shape[:-1], task.channels))
    mean = styled.mean(axis=(1, 2, 3), keepdims=True)
    deviation = styled.std(axis=(1, 2, 3), keepdims=True)
    return (styled - mean) / np.maximum(deviation, 1e-3)


def vote(task: str, weights: Sequence[float], said: Sequence[np.ndarray]) -> np.ndarray:
    """Logits of the weighted mean of what members say, (n, outputs) probabilities each."""
    mean = np.clip(np.tensordot(weights, said, 1), SMALLEST, 1 - SMALLEST)
    return np.log(mean / (1 - mean)) if task == "gender" else np.log(mean)


def task_of(recipe: Recipe) -> Task:
    """The recipe's task for its network: crop, head, targets and loss.

    Raises:
        ValueError: the data set can't teach the task, or the crop is too small for the network.
    """
    name, base = recipe.task, TASKS[NETWORK_OF[recipe.task]]
    source = dataset(recipe.source)
    if name not in source.tasks:
        raise ValueError(f"{recipe.source} does not tell {name}")
    if name == "emotion" and recipe.classes > source.classes:
        raise ValueError(f"{recipe.source} tells only {source.classes} classes of emotions apart")
    baseline = BASELINES.get(recipe.network)
    if baseline:
        side, channels, rate = baseline.side, baseline.channels, baseline.peak_rate
    elif recipe.network in BACKBONES:
        side, channels, rate = BACKBONE_SIDE, 3, BACKBONES[recipe.network].peak_rate
    else:
        side, channels, rate = base.side, base.channels, PEAK_RATE
    side = recipe.side or side
    if recipe.network in BACKBONES and side < SMALLEST_SIDE:
        raise ValueError(f"{recipe.network} reads crops of {SMALLEST_SIDE} pixels or more, not {side}")
    task = replace(
        base,
        dataset=source.folder,
        read=source.read,
        side=side,
        channels=channels,
        heads={name: recipe.classes if name == "emotion" else base.heads[name]},
        losses={name: base.losses[name]},
        metrics={name: base.metrics[name]},
        peak_rate=recipe.peak_rate or rate,
        start=None,
    )
    if name == "age" and baseline and baseline.regression:
        return replace(
            task,
            heads={"age": 1},
            target_of={"age": lambda labels: (labels["age"] / AGES).astype(np.float32)[:, None]},
            losses={"age": keras.losses.MeanAbsoluteError()},
            metrics={"age": keras.metrics.MeanAbsoluteError("error")},  # in units of AGES years
        )
    return task


def build(recipe: Recipe, task: Task) -> keras.Model:
    """The recipe's network with new weights, or those that it is to begin with.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: the network can only begin with new ones.
    """
    pretrained = _pretrained(recipe) if recipe.pretrained else None
    baseline = BASELINES.get(recipe.network)
    if baseline and pretrained:
        raise ValueError(f"{recipe.network} can't begin with weights that are there")
    own = baseline.dropout if baseline else DROPOUT
    dropout = own if recipe.dropout is None else recipe.dropout
    if baseline:
        return baseline.build(task.side, task.channels, task.heads, dropout)
    if recipe.network in BACKBONES:
        return transfer(
            recipe.network, task.side, task.channels, task.heads, dropout, recipe.unfrozen, pretrained
        )
    network = residual(task.side, task.channels, task.heads, task.stem_stride, task.blocks, dropout)
    if pretrained:
        grow(network, keras.saving.load_model(pretrained, compile=False))
    return network


def _pretrained(recipe: Recipe) -> Path:
    path = Path(recipe.pretrained)
    if not path.exists():  # Keras raises ValueError
        raise FileNotFoundError(f"no weights in {path}")
    return path


def divided(recipe: Recipe, task: Task, data: Path) -> tuple[Located, Located, Located]:
    """The faces to fit to, those to calibrate on, and `valid`."""
    fitted, held_out = apart(_labelled(recipe, task, "train", data), [recipe.clean])
    return fitted, held_out, _labelled(recipe, task, "valid", data)


def apart(train: Located, lists: Iterable[str | None]) -> tuple[Located, Located]:
    """Of the faces of `train`, those to fit to, as of `learnt`, and those to calibrate on.

    These have no copy among those, of which a network would be surer, unless all have one.
    """
    wanted, held_out = _sides(train[0], lists)
    fitted, calibration = taken(train, wanted), taken(train, held_out)
    own = ~copied(calibration[0].images, fitted[0].images)
    return fitted, taken(calibration, own) if own.any() else calibration


def learnt(train: Located, lists: Iterable[str | None]) -> Located:
    """The faces of `train` that are fitted to.

    Args:
        lists: files of their names, as `inspect` writes them, one for each fit that a model goes through;
            None fits to all but those to calibrate on.

    Raises:
        ValueError: too few are named, or there, for both.
    """
    wanted, _ = _sides(train[0], lists)
    return taken(train, wanted)


def _sides(faces: Faces, lists: Iterable[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool each: the faces to fit to, and those that are kept for calibration."""
    held_out = faces.calibration()
    wanted = ~held_out & np.any([clean(faces, names) for names in lists], axis=0)
    if not wanted.any() or not held_out.any():
        raise ValueError(
            f"of {len(faces)} faces {wanted.sum()} are left to fit to and {held_out.sum()} to calibrate on"
        )
    return wanted, held_out


def taken(located: Located, rows: np.ndarray | slice) -> Located:
    """Some of the faces, with their landmarks.

    Args:
        rows: indices, (n,) bool, or a slice.
    """
    faces, landmarks = located
    return faces.take(rows), landmarks[rows]


def _labelled(recipe: Recipe, task: Task, split: str, data: Path) -> Located:
    faces, landmarks = read(task, split, data)
    if LABELS[recipe.task] not in faces.labels:
        raise ValueError(f"{data / task.dataset} does not tell {recipe.task}")
    if recipe.voters and split == "train":
        faces = soften(faces, data / task.dataset, recipe.voters)
    if recipe.task == "emotion":
        faces = replace(faces, labels=classes.merge(faces.labels, recipe.classes))
    return faces, landmarks


def _check_teacher(recipe: Recipe, task: Task) -> None:
    """Refuse a teacher that is not there or tells something else."""
    teacher = Recipe(**read_record(Path(recipe.teacher))["recipe"])
    if (teacher.task, teacher.classes) != (recipe.task, recipe.classes) or task.heads == {"age": 1}:
        raise ValueError(f"{recipe.teacher} does not tell what {recipe.network} is to learn")


def read(task: Task, split: str, data: Path) -> Located:
    """The faces of a task's data set and their landmarks; photos in which no face is seen are left out."""
    faces = task.read(data / task.dataset, split)
    landmarks = locate(faces, f"{task.dataset}-{split}", dataset(task.dataset).photos)
    there = somewhere(landmarks)
    left_out = {
        "unreadable": len(faces.unreadable),
        "whose name and folder tell no label": len(faces.not_understood),
        "without a face that the detector sees": np.count_nonzero(~there),
    }
    if told := ", ".join(f"{count} {words}" for words, count in left_out.items() if count):
        print(f"{task.dataset}, {split}: left out {told}")
    return taken((faces, landmarks), there)


def crops(
    task: Task,
    located: Located,
    weights: np.ndarray | None = None,
    augmentation: str | None = None,
    seed: int = 0,
    targets: dict[str, np.ndarray] | None = None,
    **options,
) -> Crops:
    """Batches for a task's network; plain, in order and with the task's targets unless told otherwise."""
    faces, landmarks = located
    weights = np.ones(len(faces), np.float32) if weights is None else weights
    targets = task.targets(faces.labels) if targets is None else targets
    if len(targets) == 1:
        (targets,) = targets.values()
    return Crops(
        faces, landmarks, targets, weights, task.side, task.channels, augmentation, seed, workers=2, **options
    )


def settle(network: keras.Model, task: Task, located: Located) -> None:
    """Estimate a network's statistics of batch normalization anew, on faces as they are served.

    Where weights are means of others, those statistics are nobody's (Izmailov et al. 2018); and after a fit
    they are those of disturbed pictures.
    """
    batches = crops(task, located, augmentation="none")
    batches.start_epoch(0)
    normalize(network, (batches[batch][0] for batch in range(len(batches))))


def looks(network: keras.Model, task: Task, located: Located) -> dict[str, np.ndarray]:
    """(2, n, classes) logits by output: of each crop and of its mirror image."""
    batches = crops(task, located)
    answers = []
    for batch in range(len(batches)):
        inputs, *_ = batches[batch]
        both = [_outputs(network, inputs[:, :, ::step]) for step in (1, -1)]
        answers.append([np.stack(output) for output in zip(*both)])
    return {
        name: np.concatenate(output, axis=1)
        for name, output in zip(network.output_names, zip(*answers), strict=True)
    }


def logits(network: keras.Model, task: Task, located: Located) -> dict[str, np.ndarray]:
    """(n, classes) by output, as in serving: the mean of both looks."""
    return {name: both.mean(axis=0) for name, both in looks(network, task, located).items()}


def _outputs(network: keras.Model, inputs: np.ndarray) -> list[np.ndarray]:
    return keras.tree.flatten(network.predict_on_batch(inputs))


def answers(network: keras.Model, task: Task, located: Located) -> np.ndarray:
    """`logits`; an age told as one number becomes those of a bell around it."""
    (raw,) = logits(network, task, located).values()
    return _as_logits(task, raw)


def _as_logits(task: Task, raw: np.ndarray) -> np.ndarray:
    if task.heads == {"age": 1}:
        return np.log(age_distributions(np.clip(raw[:, 0] * AGES, 0, AGES - 1)) + 1e-12)
    return raw

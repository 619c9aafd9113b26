"""Fitting: batches of aligned, augmented crops; SGD; a checkpoint each epoch, resumed from."""

import csv
import hashlib
import json
import math
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np

from inference.alignment import align, grey, standardize
from training.augmentation import LEVELS, cover, disturb, jitter_template
from training.data import Faces
from training.files import whole, write_json

BATCH = 64  # faces
WARM_UP = 0.1  # of all steps
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-3  # decoupled, so 1 / (1 - MOMENTUM) times the usual 5e-4 of coupled L2
SCHEDULES = ("one-cycle", "plateau")
KNOWN_LATER = ("names", "backend")  # settings that a finished fit is read without
LONGEST_AVERAGE = 0.2  # of all steps, that an average of the weights may reach back
PLATEAU_PATIENCE = 3  # epochs without a better loss before the rate is reduced
PLATEAU_FACTOR = 0.3  # to which it is reduced


class Crops(keras.utils.PyDataset):
    """Batches of standardized crops and targets, augmented anew each epoch, the same for the same seed."""

    def __init__(
        self,
        faces: Faces,
        landmarks: np.ndarray,
        targets: np.ndarray | dict[str, np.ndarray],
        weights: np.ndarray | dict[str, np.ndarray],
        side: int,
        channels: int,
        augmentation: str | None,
        seed: int,
        draw: np.ndarray | None = None,
        mixup: float = 0,
        processes: int = 0,
        **options,
    ) -> None:
        """
        Args:
            landmarks: (n, 5, 2) float32, pixels.
            targets: an array of n rows, or a dictionary of them by head.
            weights: (n,) float32, of each face in the loss; or by head, if none are mixed.
            side, channels: of the crop.
            augmentation: a key of LEVELS; None keeps order and pictures as they are, to measure on.
            draw: (n,) float, how often each face is to be drawn; else each is once an epoch.
            mixup: alpha of the beta distribution of shares in which pairs of faces are mixed (Zhang et al.
                2018); 0 mixes none.
            processes: that cut the crops, so that a GPU need not wait for threads of one process; 0 is none.
            options: of PyDataset, such as `workers`, threads.

        Raises:
            ValueError: faces are to be mixed that weigh differently by head.
        """
        if mixup and isinstance(weights, dict):
            raise ValueError("faces that weigh differently by head can't be mixed")
        super().__init__(**options | ({"workers": processes} if processes else {}))
        self._faces, self._landmarks, self._targets, self._weights = faces, landmarks, targets, weights
        self._side, self._channels = side, channels
        self._level = LEVELS[augmentation] if augmentation else None
        self._draw = None if draw is None else draw / draw.sum()
        self._mixup = mixup
        self._seed, self._epoch = seed, 0
        self._order = np.arange(len(faces))
        self._processes, self._pool = processes, None
        self._shuffle(0)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle for this epoch; a resumed fit sees the epochs that an unbroken one would."""
        self._shuffle(epoch)
        if self._processes and not self._pool:
            self._pool = _forked(self._processes, self)

    def close(self) -> None:
        """Let go of the pictures and end the processes; TensorFlow keeps for good what it was fitted to."""
        self._faces = self._landmarks = self._targets = self._weights = None
        if self._pool:
            self._pool.shutdown()

    def _shuffle(self, epoch: int) -> None:
        self._epoch = epoch
        rng = np.random.default_rng((self._seed, epoch))
        if self._draw is not None:
            self._order = rng.choice(len(self._faces), len(self._faces), p=self._draw)
        elif self._level:
            self._order = rng.permutation(len(self._faces))
        if self._level:  # the last batch is filled up, as JAX compiles the step anew for each size
            size = min(BATCH, len(self._faces))
            self._order = np.resize(self._order, len(self) * size)

    def __len__(self) -> int:
        return math.ceil(len(self._faces) / BATCH)

    def __getitem__(self, index: int):
        rows = self._order[index * BATCH : (index + 1) * BATCH]
        seed = self._seed, self._epoch, index
        crops = self._pool.submit(_cut, rows, seed).result() if self._pool else self.cut(rows, seed)
        inputs = standardize(crops)
        one_head = not isinstance(self._targets, dict)
        columns = {"": self._targets} if one_head else self._targets
        targets = {name: column[rows] for name, column in columns.items()}
        if isinstance(self._weights, dict):
            return inputs, targets, {name: column[rows] for name, column in self._weights.items()}
        weights = self._weights[rows]
        if self._mixup:
            rng = np.random.default_rng((*seed, 1))
            inputs, targets, weights = _mix(inputs, targets, weights, rng, self._mixup)
        if one_head:
            return inputs, targets[""], weights
        return inputs, targets, {name: weights for name in targets}

    def cut(self, rows: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        """(n, side, side, channels) uint8, the crops of the faces at `rows`."""
        rng = np.random.default_rng(seed)
        crops = np.stack([self._crop(row, rng) for row in rows])
        return crops.reshape(len(rows), self._side, self._side, self._channels)

    def _crop(self, row: int, rng: np.random.Generator) -> np.ndarray:
        image, landmarks = self._faces.images[row], self._landmarks[row]
        if not self._level:
            return self._channel(align(image, landmarks, self._side))
        template = jitter_template(rng, self._level)
        crop = self._channel(align(image, landmarks, self._side, template))
        return disturb(cover(crop, template, rng, self._level), rng, self._level)

    def _channel(self, crop: np.ndarray) -> np.ndarray:
        if self._channels == 1 and crop.ndim == 3:
            return grey(crop[None])[0, ..., 0]
        if self._channels == 3 and crop.ndim == 2:
            return cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB)
        return crop


_forked_crops: Crops  # in the processes of a pool


def _forked(processes: int, crops: Crops) -> ProcessPoolExecutor:
    """Processes that share the pictures with this one, which are too many to send."""

    def start() -> None:
        global _forked_crops
        _forked_crops = crops
        cv2.setNumThreads(0)

    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), start)
    pool.submit(int).result()  # starts them, here and not in a thread that asks for a batch
    return pool


def _cut(rows: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    return _forked_crops.cut(rows, seed)


class Taught(keras.utils.PyDataset):
    """Batches with targets mixed of labels and what a teacher says of them (Hinton et al. 2015).

    It is asked about the very crops that the student sees: what it says of the plain pictures, which it was
    fitted to itself, is little more than their labels (Beyer et al. 2022).
    """

    def __init__(
        self, crops: Crops, teacher: Callable[[np.ndarray], np.ndarray], share: float, **options
    ) -> None:
        """
        Args:
            teacher: standardized crops -> probabilities, of the targets' shapes: an array, or one by head.
            share: of the teacher in the targets, 0 to 1.
            options: of PyDataset, such as `workers`, threads.
        """
        super().__init__(**options)
        self._crops, self._teacher, self._share = crops, teacher, share
        self._lock = threading.Lock()  # Keras's models answer one thread at a time

    def start_epoch(self, epoch: int) -> None:
        """Shuffle for this epoch."""
        self._crops.start_epoch(epoch)

    def close(self) -> None:
        """Let go of the pictures."""
        self._crops.close()

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, index: int):
        inputs, targets, weights = self._crops[index]
        with self._lock:
            said = self._teacher(inputs)
        return inputs, keras.tree.map_structure(self._mixed, said, targets), weights

    def _mixed(self, said: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self._share * said.astype(np.float32) + (1 - self._share) * labels


def _mix(inputs: np.ndarray, targets: dict, weights: np.ndarray, rng: np.random.Generator, alpha: float):
    """Each face of a batch mixed with another; a face that weighs more in the loss has more of the target."""
    others = rng.permutation(len(inputs))
    shares = rng.beta(alpha, alpha, len(inputs)).astype(np.float32)
    mixed_weights = shares * weights + (1 - shares) * weights[others]

    def mixed(column: np.ndarray, shares: np.ndarray) -> np.ndarray:
        share = shares.reshape(-1, *[1] * (column.ndim - 1))
        return share * column + (1 - share) * column[others]

    weighted = shares * weights / mixed_weights
    return mixed(inputs, shares), {name: mixed(targets[name], weighted) for name in targets}, mixed_weights


class _StartEpoch(keras.callbacks.Callback):
    def __init__(self, crops: Crops) -> None:
        super().__init__()
        self._crops = crops

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self._crops.start_epoch(epoch)


class _Log(keras.callbacks.Callback):
    """One line an epoch. Keras's CSVLogger would leave its file open when a fit is interrupted."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        row = {"epoch": epoch} | dict(sorted(logs.items()))
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


class _Checkpoint(keras.callbacks.Callback):
    """Weights and optimizer after each epoch.

    Keras's BackupAndRestore keeps the epoch's number in a second file, so that a kill between the two parts
    them; here it is in the first, as the optimizer's steps.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        with whole(self._path) as part:
            self.model.save_weights(part)


class _Plateau(keras.callbacks.Callback):
    """Reduces the rate when the loss no longer falls; unlike Keras's, it goes on where a broken fit was."""

    def __init__(self, log: Path, rate: float) -> None:
        super().__init__()
        self._log, self._rate = log, rate

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        losses = _losses(self._log, before=epoch)
        self.model.optimizer.learning_rate = self._rate * PLATEAU_FACTOR ** reductions(losses)


class _StopEarly(keras.callbacks.Callback):
    """Ends a fit after some epochs without a better loss, and keeps the weights of the best.

    Comes after the checkpoint: what a kill between the two left out is made up for from the checkpoint, while
    weights kept before it would be those of an epoch that is fitted again, perhaps with another loss.
    """

    def __init__(self, log: Path, best: Path, patience: int) -> None:
        super().__init__()
        self._log, self._best, self._patience = log, best, patience

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.model.stop_training = self.ends(self.model, epoch + 1)

    def ends(self, model: keras.Model, epochs: int) -> bool:
        """Whether these epochs are enough; the model's weights are kept if the last of them is the best."""
        losses = _losses(self._log, before=epochs)
        waited = len(losses) - 1 - losses.index(min(losses))
        if waited == 0:
            with whole(self._best) as part:
                model.save_weights(part)
        return waited >= self._patience


def _losses(log: Path, before: float = math.inf) -> list[float]:
    """The validation loss of each epoch; the last line where a kill made it be fitted twice."""
    if not log.exists():
        return []
    with log.open(newline="") as lines:
        losses = {int(row["epoch"]): float(row["val_loss"]) for row in csv.DictReader(lines)}
    return [losses[epoch] for epoch in sorted(losses) if epoch < before]


def reductions(losses: list[float]) -> int:
    """How often the rate is to be reduced after these epochs: each PLATEAU_PATIENCE without a better one."""
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == PLATEAU_PATIENCE:
            count, waited = count + 1, 0
    return count


class _RefuseInfinite(keras.callbacks.Callback):
    """Stops before the epoch's checkpoint is written; Keras's TerminateOnNaN would let it be overwritten."""

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError("the loss is no longer finite; no checkpoint was made of this epoch")


def fit(
    model: keras.Model,
    crops: Crops,
    valid: Crops | None,
    losses: dict,
    metrics: dict,
    epochs: int,
    folder: Path,
    peak_rate: float,
    *,
    schedule: str = "one-cycle",
    weight_decay: float = WEIGHT_DECAY,
    patience: int | None = None,
    average: float | None = None,
) -> None:
    """Fit a model, or go on with the fit whose checkpoint lies in `folder`; a finished one is only loaded.

    Writes one line an epoch into folder/log.csv and then folder/checkpoint. Going on takes up weights,
    momentum, the schedule's step and the epoch's batches; only dropout draws other masks.

    Args:
        crops, valid: are closed at the end.
        valid: faces whose loss patience and plateaus go by, and which is only told without them.
        losses, metrics: by head.
        peak_rate: highest learning rate.
        schedule: "one-cycle" rises and falls once, "plateau" falls when the loss no longer does.
        weight_decay: decoupled L2 (Loshchilov and Hutter 2019).
        patience: stop after so many epochs without a better loss, and take the weights of the best.
        average: momentum of an exponential moving average of the weights, which is taken at the end, as
            check_average allows; not together with `patience`.

    Raises:
        FloatingPointError: the loss is infinite or not a number.
    """
    optimizer = keras.optimizers.SGD(
        _one_cycle(peak_rate, epochs * len(crops)) if schedule == "one-cycle" else peak_rate,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=weight_decay,
        use_ema=average is not None,
        ema_momentum=average or 0,
    )
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(optimizer, losses, weighted_metrics=metrics)
    folder.mkdir(parents=True, exist_ok=True)
    log, checkpoint = folder / "log.csv", folder / "checkpoint"
    latest, best = checkpoint / "latest.weights.h5", checkpoint / "best.weights.h5"
    if latest.exists():
        optimizer.build(model.trainable_variables)
        model.load_weights(latest)
    done = int(optimizer.iterations) // len(crops)
    callbacks = [_StartEpoch(crops), _RefuseInfinite(), _Log(log), _Checkpoint(latest)]
    if schedule == "plateau":
        callbacks.append(_Plateau(log, peak_rate))
    if patience:
        stop_early = _StopEarly(log, best, patience)
        callbacks.append(stop_early)
        if done and stop_early.ends(model, done):
            epochs = done
    crops.start_epoch(done)  # Keras asks for a batch before the first epoch begins
    try:
        model.fit(
            crops,
            validation_data=valid,
            initial_epoch=done,
            epochs=epochs,
            shuffle=False,  # the data set shuffles itself
            callbacks=callbacks,
            verbose=2,
        )
    finally:
        crops.close()
        if valid:
            valid.close()
    if patience:
        model.load_weights(best)


def epochs_fitted(folder: Path) -> int:
    """How many epochs the fit in a folder has had, whether it is over or not."""
    return len(_losses(folder / "log.csv"))


def check_average(average: float, steps: int) -> None:
    """Refuse a moving average that would reach back to where little was learnt.

    Args:
        average: its momentum.
        steps: of the whole fit.

    Raises:
        ValueError: it does, or is no momentum.
    """
    if not 0 < average < 1:
        raise ValueError(f"an average of {average}: its momentum lies between 0 and 1")
    reach, longest = 1 / (1 - average), LONGEST_AVERAGE * steps
    if reach > longest:
        most = f"at most {1 - 1 / longest:.4f}" if longest > 1 else "too few for any"
        raise ValueError(
            f"an average of {average} reaches back {reach:.0f} steps, of a fit of {steps}: {most}"
        )


def _one_cycle(peak_rate: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    warm_up = round(steps * WARM_UP)
    return keras.optimizers.schedules.CosineDecay(
        peak_rate / 25, steps - warm_up, alpha=1e-3, warmup_target=peak_rate, warmup_steps=warm_up
    )


def claim(folder: Path, settings: dict) -> None:
    """Keep what a folder's fit, search or ensemble is made with, in folder/settings.json.

    Raises:
        ValueError: one of the settings is another than was kept, or only one of both has it, so that going on
            would mix two fits.
    """
    path = folder / "settings.json"
    if not path.exists():
        write_json(path, settings)
        return
    kept = json.loads(path.read_text())
    names = [*settings, *sorted(kept.keys() - settings.keys() - {*KNOWN_LATER})]
    others = [
        "other pictures" if name == "names" else f"{name} {kept.get(name)}, not {settings.get(name)}"
        for name in names
        if kept.get(name) != settings.get(name)
    ]
    if others:
        raise ValueError(f"{folder} was made with {'; '.join(others)}: delete it, or choose another folder")


def digest(content: str | bytes) -> str:
    """12 hexadecimal digits that tell texts or files apart."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:12]

"""Fitting: batches of aligned, augmented crops; one-cycle SGD; a checkpoint each epoch, resumed from."""

import csv
import json
import math
from pathlib import Path

import keras
import numpy as np

from inference.alignment import align, grey, standardize
from training.augmentation import LEVELS, disturb, jitter_template
from training.data import Faces

BATCH = 64
PEAK_RATE = 0.1  # learning rate
WARM_UP = 0.1  # of all steps
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-3  # decoupled, so 1 / (1 - MOMENTUM) times the usual 5e-4 of coupled L2


class Crops(keras.utils.PyDataset):
    """Batches of standardized crops and targets, augmented anew each epoch, the same for the same seed."""

    def __init__(
        self,
        faces: Faces,
        landmarks: np.ndarray,
        targets: np.ndarray | dict[str, np.ndarray],
        weights: np.ndarray,
        side: int,
        channels: int,
        augmentation: str,
        seed: int,
        **options,
    ) -> None:
        """
        Args:
            landmarks: (n, 5, 2) float32, pixels.
            targets: an array of n rows, or a dictionary of them by head.
            weights: (n,) float32, of each face in the loss.
            side, channels: of the crop.
            augmentation: a key of LEVELS; "none" also keeps the order.
            options: of PyDataset, such as `workers`, threads.
        """
        super().__init__(**options)
        self._faces, self._landmarks, self._targets, self._weights = faces, landmarks, targets, weights
        self._side, self._channels = side, channels
        self._level, self._shuffled = LEVELS[augmentation], augmentation != "none"
        self._seed, self._epoch = seed, 0
        self._order = np.arange(len(faces))
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle for this epoch; a resumed fit sees the epochs that an unbroken one would."""
        self._epoch = epoch
        if self._shuffled:
            self._order = np.random.default_rng((self._seed, epoch)).permutation(len(self._faces))

    def __len__(self) -> int:
        return math.ceil(len(self._faces) / BATCH)

    def __getitem__(self, index: int):
        rows = self._order[index * BATCH : (index + 1) * BATCH]
        rng = np.random.default_rng((self._seed, self._epoch, index))
        crops = np.stack([self._crop(row, rng) for row in rows])
        crops = crops.reshape(len(rows), self._side, self._side, self._channels)
        if isinstance(self._targets, dict):
            targets = {name: column[rows] for name, column in self._targets.items()}
            return standardize(crops), targets, {name: self._weights[rows] for name in targets}
        return standardize(crops), self._targets[rows], self._weights[rows]

    def _crop(self, row: int, rng: np.random.Generator) -> np.ndarray:
        image, landmarks = self._faces.images[row], self._landmarks[row]
        if not self._shuffled:
            return self._channel(align(image, landmarks, self._side))
        crop = align(image, landmarks, self._side, jitter_template(rng, self._level))
        return disturb(self._channel(crop), rng, self._level)

    def _channel(self, crop: np.ndarray) -> np.ndarray:
        return grey(crop[None])[0, ..., 0] if self._channels == 1 and crop.ndim == 3 else crop


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


class _RefuseInfinite(keras.callbacks.Callback):
    """Stops before the epoch's checkpoint is written; Keras's TerminateOnNaN would let it be overwritten."""

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError("the loss is no longer finite; the checkpoint of the last epoch stands")


def fit(
    model: keras.Model,
    crops: Crops,
    valid: Crops,
    losses: dict,
    metrics: dict,
    epochs: int,
    folder: Path,
    peak_rate: float,
    loss_weights: dict[str, float] | None = None,
) -> None:
    """Fit a model, or go on with the fit whose checkpoint lies in `folder`; a finished one is only loaded.

    Writes folder/checkpoint after each epoch and one line an epoch into folder/log.csv. Going on takes up
    weights, momentum, the schedule's step and the epoch's batches; only dropout draws other masks.

    Raises:
        FloatingPointError: the loss is infinite or not a number.
    """
    steps = epochs * len(crops)
    warm_up = round(steps * WARM_UP)
    schedule = keras.optimizers.schedules.CosineDecay(
        peak_rate / 25, steps - warm_up, alpha=1e-3, warmup_target=peak_rate, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.SGD(schedule, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(optimizer, losses, loss_weights, weighted_metrics=metrics)
    folder.mkdir(parents=True, exist_ok=True)
    model.fit(
        crops,
        validation_data=valid,
        epochs=epochs,
        shuffle=False,  # the data set shuffles itself
        callbacks=[
            _StartEpoch(crops),
            keras.callbacks.BackupAndRestore(
                str(folder / "checkpoint"),
                double_checkpoint=True,  # a fit may be killed while it writes one
                delete_checkpoint=False,
            ),
            _Log(folder / "log.csv"),
            _RefuseInfinite(),
        ],
        verbose=2,
    )


def claim(folder: Path, settings: dict) -> None:
    """Keep a fit's settings beside its checkpoint, in folder/settings.json.

    Raises:
        ValueError: the checkpoint was made with other settings, so going on would mix two fits.
    """
    path = folder / "settings.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    elif (kept := json.loads(path.read_text())) != settings:
        raise ValueError(
            f"{folder} holds a fit with {kept}, not {settings}: delete it or choose other --runs"
        )

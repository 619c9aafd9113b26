import contextlib
import csv
import gc
import itertools
import json
import weakref

import keras
import numpy as np
import pytest

from training import fitting
from training.data import Faces
from training.fitting import BATCH, Crops, Taught, check_average, claim, fit, reductions

# Keras reads its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

COUNT = BATCH * 3 + 10
STEPS = 4
EPOCHS = 4
PEAK_RATE = 0.01


class Interrupted(Crops):
    """Ends the fit as control-C would, when a certain epoch begins."""

    def __init__(self, *arguments, fails_at, **options):
        self._fails_at = fails_at
        super().__init__(*arguments, **options)

    def start_epoch(self, epoch):
        if epoch == self._fails_at:
            raise KeyboardInterrupt
        super().start_epoch(epoch)


class Fingerprint(keras.metrics.Metric):
    """A number that tells which batches an epoch was fitted to, and in which order; exact in float32."""

    def __init__(self):
        super().__init__(name="fingerprint", dtype="float32")
        self._value = self.add_weight(name="value", initializer="zeros")

    def update_state(self, targets, answers, sample_weight=None):
        self._value.assign(self.after(self._value, keras.ops.sum(targets)))

    def result(self):
        return self._value + 0

    @staticmethod
    def after(value, total):
        return (31 * value + total) % 65521


def _crops(make_faces, kind=Crops, channels=1, side=24, augmentation="low", seed=3, **options):
    """Targets are the rows' numbers, so that a batch tells which faces it holds."""
    faces, landmarks = make_faces(COUNT, 0)
    targets = np.arange(COUNT, dtype=np.float32)[:, None]
    weights = np.ones(COUNT, np.float32)
    return kind(faces, landmarks, targets, weights, side, channels, augmentation, seed, **options)


def _network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((24, 24, 1))
    x = keras.layers.AveragePooling2D(4)(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(1, name="age")(x))


def _fit(make_faces, folder, kind=Crops, loss="huber", fitting=None, **options):
    """A small network fitted to, or on with, the checkpoint in `folder`."""
    network = _network()
    crops = _crops(make_faces, kind, **options)
    valid = _crops(make_faces, augmentation=None)
    fit(
        network, crops, valid, {"age": loss}, {"age": Fingerprint()}, EPOCHS, folder, PEAK_RATE,
        **(fitting or {}),
    )  # fmt: skip
    return network


def _break(make_faces, folder, epoch, **options):
    with pytest.raises(KeyboardInterrupt):
        _fit(make_faces, folder, Interrupted, fails_at=epoch, **options)


def _log(folder):
    """Epochs and fingerprints."""
    with (folder / "log.csv").open(newline="") as lines:
        return [(int(line["epoch"]), float(line["fingerprint"])) for line in csv.DictReader(lines)]


def _rows(batch):
    return batch[1][:, 0].astype(int).tolist()


def test_batches_of_crops(make_faces):
    crops = _crops(make_faces, side=40, channels=3)
    assert len(crops) == STEPS
    inputs, targets, weights = crops[0]
    assert inputs.shape == (BATCH, 40, 40, 3)
    assert inputs.dtype == np.float32
    assert inputs.mean(axis=(1, 2, 3)) == pytest.approx(np.zeros(BATCH), abs=1e-4)
    assert inputs.std(axis=(1, 2, 3)) == pytest.approx(np.ones(BATCH), abs=1e-3)
    assert targets.shape == (BATCH, 1)
    assert weights.shape == (BATCH,)
    plain = _crops(make_faces, augmentation=None)
    assert [len(plain[index][0]) for index in range(STEPS)] == [BATCH, BATCH, BATCH, 10]


def test_grey_faces_become_colored_crops(make_faces):
    faces, landmarks = make_faces(2, 0)
    faces = Faces(faces.names, [image[..., 0] for image in faces.images], {})
    column = np.ones(2, np.float32)
    for level in (None, "high"):
        inputs = Crops(faces, landmarks, column, column, 24, 3, level, 0)[0][0]
        assert inputs.shape == (2, 24, 24, 3)
    plain = Crops(faces, landmarks, column, column, 24, 3, None, 0)[0][0]
    np.testing.assert_array_equal(plain[..., 0], plain[..., 2])


def test_colored_faces_become_grey_crops(make_faces):
    grey = _crops(make_faces, channels=1, augmentation=None)[0][0]
    colored = _crops(make_faces, channels=3, augmentation=None)[0][0]
    assert grey.shape == (BATCH, 24, 24, 1)
    for one, other in zip(grey, colored, strict=True):
        assert np.corrcoef(one.ravel(), other[..., 1].ravel())[0, 1] > 0.9


def test_the_same_seed_draws_the_same_batches(make_faces):
    first, second = _crops(make_faces), _crops(make_faces)
    for index in (2, 0):  # in any order, as threads do
        for one, other in zip(first[index], second[index], strict=True):
            np.testing.assert_array_equal(one, other)
    other = _crops(make_faces, seed=4)[0]
    assert _rows(other) != _rows(first[0])


def test_each_epoch_holds_every_face_in_its_own_order_and_fills_its_last_batch(make_faces):
    crops = _crops(make_faces)
    seen = []
    for epoch in range(2):
        crops.start_epoch(epoch)
        seen.append([row for index in range(len(crops)) for row in _rows(crops[index])])
    for rows in seen:
        assert len(rows) == STEPS * BATCH
        assert sorted(rows[:COUNT]) == list(range(COUNT))
        assert rows[COUNT:] == rows[: STEPS * BATCH - COUNT]
    assert seen[0] != seen[1]


def test_faces_that_weigh_differently_by_head_are_not_mixed(make_faces):
    faces, landmarks = make_faces(4, 0)
    targets = {"age": np.zeros((4, 1), np.float32)}
    with pytest.raises(ValueError, match="can't be mixed"):
        Crops(faces, landmarks, targets, {"age": np.ones(4, np.float32)}, 24, 1, "low", 0, mixup=0.4)


def test_processes_cut_the_crops_that_threads_would(make_faces):
    here = _crops(make_faces, augmentation="high", mixup=0.4)
    apart = _crops(make_faces, augmentation="high", mixup=0.4, processes=2)
    for epoch in range(2):
        for crops in (here, apart):
            crops.start_epoch(epoch)
        for index in (3, 0):
            for one, other in zip(here[index], apart[index], strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_fit_with_processes_is_like_one_without(make_faces, tmp_path):
    here = _fit(make_faces, tmp_path / "here")
    apart = _fit(make_faces, tmp_path / "apart", processes=2)
    assert _log(tmp_path / "here") == _log(tmp_path / "apart")
    for one, other in zip(here.get_weights(), apart.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_teacher_is_asked_about_the_crops_that_its_student_sees(make_faces):
    crops = _crops(make_faces, augmentation="high", mixup=0.4)
    taught = Taught(_crops(make_faces, augmentation="high", mixup=0.4), _brightest, 0.7)
    assert len(taught) == len(crops)
    for epoch in range(2):
        for batches in (crops, taught):
            batches.start_epoch(epoch)
        for index in range(len(taught)):
            (inputs, labels, weights), (seen, targets, counted) = crops[index], taught[index]
            np.testing.assert_array_equal(seen, inputs)
            np.testing.assert_array_equal(counted, weights)
            np.testing.assert_allclose(targets, 0.7 * _brightest(inputs) + 0.3 * labels, rtol=1e-5)
            assert targets.dtype == np.float32


def test_a_teacher_of_several_heads_is_asked_once(make_faces):
    faces, landmarks = make_faces(6, 0)
    targets = {"age": np.eye(6, 4, dtype=np.float32), "gender": np.ones((6, 1), np.float32)}
    crops = Crops(faces, landmarks, targets, np.ones(6, np.float32), 48, 1, None, 0)
    said = {"age": np.full((6, 4), 0.25), "gender": np.zeros((6, 1))}
    _, mixed, _ = Taught(crops, lambda inputs: said, 0.6)[0]
    for head, labels in targets.items():
        np.testing.assert_allclose(mixed[head], 0.6 * said[head] + 0.4 * labels, rtol=1e-6)
        assert mixed[head].dtype == np.float32


def _brightest(crops):
    return crops.max(axis=(1, 2, 3)).astype(np.float64)[:, None]


def test_each_epoch_and_batch_draws_its_own_augmentation(make_faces):
    faces, landmarks = make_faces(1, 0)
    same = Faces(np.repeat(faces.names, 2 * BATCH), faces.images * (2 * BATCH), {})
    landmarks, column = np.repeat(landmarks, 2 * BATCH, axis=0), np.ones(2 * BATCH, np.float32)
    crops = Crops(same, landmarks, column, column, 24, 1, "low", 0)
    batches = [crops[0][0], crops[1][0]]
    crops.start_epoch(1)
    batches.append(crops[0][0])
    for one, other in itertools.combinations(batches, 2):
        assert (np.abs(one - other).max(axis=(1, 2, 3)) > 0.1).all()


def test_without_augmentation_order_and_pictures_stay(make_faces):
    crops = _crops(make_faces, augmentation=None)
    before = crops[1]
    crops.start_epoch(5)
    assert _rows(before) == list(range(BATCH, 2 * BATCH))
    np.testing.assert_array_equal(crops[1][0], before[0])


def test_several_heads_get_targets_and_weights_each(make_faces):
    faces, landmarks = make_faces(10, 0)
    columns = {"age": np.arange(10.0)[:, None], "gender": np.ones((10, 1))}
    weights = np.linspace(0.1, 1, 10, dtype=np.float32)
    crops = Crops(faces, landmarks, columns, weights, 24, 1, "low", 0)
    _, targets, weighted = crops[0]
    assert set(targets) == set(weighted) == {"age", "gender"}
    np.testing.assert_allclose(weighted["gender"], weights[targets["age"][:, 0].astype(int)])


@pytest.mark.parametrize("workers", [1, 3])
def test_each_epoch_is_fitted_to_its_own_batches(make_faces, tmp_path, workers):
    """Keras makes batches ahead; none may come from the epoch before."""
    _fit(make_faces, tmp_path, workers=workers)
    crops = _crops(make_faces)
    expected = []
    for epoch in range(EPOCHS):
        crops.start_epoch(epoch)
        value = 0
        for index in range(len(crops)):
            value = Fingerprint.after(value, sum(_rows(crops[index])))
        expected.append((epoch, value))
    assert _log(tmp_path) == expected
    assert len({value for _, value in expected}) == EPOCHS


@pytest.mark.parametrize("fitting", [{}, {"average": 0.5}])
def test_a_resumed_fit_goes_on_as_the_unbroken_one(make_faces, tmp_path, fitting):
    whole = _fit(make_faces, tmp_path / "whole", fitting=fitting)
    _break(make_faces, tmp_path / "broken", epoch=2, fitting=fitting)
    assert len(_log(tmp_path / "broken")) == 2
    resumed = _fit(make_faces, tmp_path / "broken", fitting=fitting)

    assert _log(tmp_path / "broken") == _log(tmp_path / "whole")
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations) == EPOCHS * STEPS
    assert float(resumed.optimizer.learning_rate) == float(whole.optimizer.learning_rate)
    assert float(whole.optimizer.learning_rate) == pytest.approx(PEAK_RATE / 1000)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_a_finished_fit_is_only_loaded(make_faces, tmp_path):
    first = _fit(make_faces, tmp_path)
    again = _fit(make_faces, tmp_path)
    assert len(_log(tmp_path)) == EPOCHS
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_kill_while_the_checkpoint_is_written_costs_one_epoch(make_faces, tmp_path, monkeypatch):
    _break(make_faces, tmp_path, epoch=2)

    def torn(model, path):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", torn)
        with pytest.raises(KeyboardInterrupt):
            _fit(make_faces, tmp_path)
    network = _fit(make_faces, tmp_path)
    assert [epoch for epoch, _ in _log(tmp_path)] == [0, 1, 2, 2, 3]
    assert int(network.optimizer.iterations) == EPOCHS * STEPS


def test_the_rate_rises_to_its_peak_and_falls(make_faces, tmp_path):
    schedule = _fit(make_faces, tmp_path).optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(EPOCHS * STEPS + 1)]
    assert rates[0] == pytest.approx(PEAK_RATE / 25)
    assert max(rates) == pytest.approx(PEAK_RATE)
    top = rates.index(max(rates))
    assert top == 2  # a tenth of the steps
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_kernels_decay_with_the_rate_and_nothing_else_does(make_faces, tmp_path):
    network, crops = _network(), _crops(make_faces)
    network.layers[-1].bias.assign([1.0])
    before = network.layers[-1].kernel.numpy()
    nothing = lambda truth, answer: 0 * keras.ops.mean(answer, axis=-1)  # noqa: E731
    fit(network, crops, None, {"age": nothing}, {}, EPOCHS, tmp_path, PEAK_RATE, weight_decay=20)
    rates = fitting._one_cycle(PEAK_RATE, EPOCHS * STEPS)
    left = np.prod([1 - 20 * float(rates(step)) for step in range(EPOCHS * STEPS)])
    assert 0.1 < left < 0.9
    assert network.layers[-1].kernel.numpy() == pytest.approx(left * before, rel=1e-4)
    assert network.layers[-1].bias.numpy() == 1
    assert (network.layers[-2].gamma.numpy() == 1).all()


def test_rare_faces_are_drawn_more_often(make_faces):
    draw = np.where(np.arange(COUNT) < 20, 9.0, 1.0)
    crops = _crops(make_faces, draw=draw)
    counts = np.zeros(COUNT)
    for epoch in range(20):
        crops.start_epoch(epoch)
        for index in range(len(crops)):
            np.add.at(counts, _rows(crops[index]), 1)
    assert counts.sum() == 20 * STEPS * BATCH
    assert counts[:20].mean() / counts[20:].mean() == pytest.approx(9, rel=0.2)


def test_mixed_faces_have_mixed_targets(make_faces):
    plain, mixed = (
        _crops(make_faces, augmentation=None)[0],
        _crops(make_faces, augmentation=None, mixup=0.4)[0],
    )
    assert mixed[0].shape == plain[0].shape
    assert mixed[1].dtype == np.float32
    flat = plain[0].reshape(BATCH, -1)
    shares = []
    for row, (crop, target) in enumerate(zip(mixed[0].reshape(BATCH, -1), mixed[1][:, 0], strict=True)):
        partner, share = _partner(flat, row, crop)
        assert share * row + (1 - share) * partner == pytest.approx(target, abs=0.01)
        shares.append(share)
    assert min(shares) < 0.3
    assert max(shares) > 0.7


def test_mixed_faces_count_by_their_weights(make_faces):
    """The loss of a mixed face is that of its two parts, each by its own weight."""
    inputs = np.arange(BATCH, dtype=np.float32)[:, None]
    targets = np.random.default_rng(0).random((BATCH, 3), np.float32)
    weights = np.random.default_rng(1).uniform(0.1, 4, BATCH).astype(np.float32)
    rng = np.random.default_rng(2)
    others, shares = rng.permutation(BATCH), rng.beta(0.4, 0.4, BATCH)  # as _mix draws them
    mixed, together, weighed = fitting._mix(
        inputs, {"age": targets}, weights, np.random.default_rng(2), alpha=0.4
    )
    np.testing.assert_allclose(mixed[:, 0], shares * inputs[:, 0] + (1 - shares) * others, atol=1e-4)
    parts = shares * weights, (1 - shares) * weights[others]
    np.testing.assert_allclose(weighed, sum(parts), rtol=1e-4)
    weighed_targets = parts[0][:, None] * targets + parts[1][:, None] * targets[others]
    np.testing.assert_allclose(weighed[:, None] * together["age"], weighed_targets, atol=1e-4)


def _partner(flat, row, crop):
    """The face that `row` was mixed with to give `crop`, and the share of `row` in it."""
    found = []
    for partner in range(BATCH):
        difference = flat[row] - flat[partner]
        share = difference @ (crop - flat[partner]) / max(difference @ difference, 1e-9)
        share = 1.0 if partner == row else share
        found.append((np.abs(share * flat[row] + (1 - share) * flat[partner] - crop).max(), partner, share))
    _, partner, share = min(found)
    return partner, share


def test_the_rate_falls_after_epochs_without_a_better_loss(monkeypatch):
    monkeypatch.setattr(fitting, "PLATEAU_PATIENCE", 2)
    assert reductions([]) == reductions([3, 2, 1]) == reductions([3, 4, 2, 3]) == 0
    assert reductions([3, 4, 4]) == reductions([3, 4, 4, 4]) == reductions([3, 4, 4, 2, 2]) == 1
    assert reductions([3, 4, 4, 4, 4]) == 2


def _constant(truth, answer):
    return keras.ops.mean(answer, axis=-1) * 0 + 1


def test_a_resumed_plateau_has_the_rate_of_an_unbroken_one(make_faces, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "PLATEAU_PATIENCE", 1)
    options = {"loss": _constant, "fitting": {"schedule": "plateau"}}
    _break(make_faces, tmp_path, epoch=2, **options)
    resumed = _fit(make_faces, tmp_path, **options)
    assert [epoch for epoch, _ in _log(tmp_path)] == [0, 1, 2, 3]
    assert float(resumed.optimizer.learning_rate) == pytest.approx(PEAK_RATE * 0.3**2)


def _overshot(truth, answer):
    """The gradient raises the answers steadily, beyond the point where they are best."""
    mean = keras.ops.mean(answer) + 0 * answer[:, 0]
    return keras.ops.stop_gradient(mean + keras.ops.abs(mean - BEST)) - mean


BEST = 0.5  # passed in the second epoch
OVERSHOT = {"loss": _overshot, "fitting": {"patience": 1}}


@pytest.fixture(scope="module")
def best(make_faces, tmp_path_factory):
    """The weights of an overshot fit after its second epoch."""
    folder = tmp_path_factory.mktemp("overshot")
    _break(make_faces, folder, epoch=2, **OVERSHOT)
    network = _network()
    network.load_weights(folder / "checkpoint" / "latest.weights.h5")
    return network.get_weights()


def _assert_close(network, weights):
    for one, other in zip(network.get_weights(), weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_an_early_stop_keeps_the_best_weights_and_stays_stopped(make_faces, tmp_path, best):
    for _ in range(2):
        _assert_close(_fit(make_faces, tmp_path, **OVERSHOT), best)
        assert [epoch for epoch, _ in _log(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("step", [fitting._Log, fitting._Checkpoint, fitting._StopEarly])
def test_an_early_stop_is_the_same_after_a_kill(make_faces, tmp_path, monkeypatch, best, step, epoch):
    """In the best epoch or in the last, before each thing that is written of it."""
    write = step.on_epoch_end

    def killed(callback, number, logs=None):
        if number == epoch:
            raise KeyboardInterrupt
        write(callback, number, logs)

    with monkeypatch.context() as patch:
        patch.setattr(step, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            _fit(make_faces, tmp_path, **OVERSHOT)
    _assert_close(_fit(make_faces, tmp_path, **OVERSHOT), best)
    again = [epoch] if step is fitting._Checkpoint else []
    assert [number for number, _ in _log(tmp_path)] == sorted([0, 1, 2, *again])


def test_averaged_weights_are_taken_at_the_end_and_when_loaded(make_faces, tmp_path):
    plain = _fit(make_faces, tmp_path / "plain").get_weights()
    averaged, again = (
        _fit(make_faces, tmp_path / "mean", fitting={"average": 0.5}).get_weights() for _ in range(2)
    )
    assert max(np.abs(one - other).max() for one, other in zip(plain, averaged, strict=True)) > 1e-4
    for one, other in zip(averaged, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_average_that_reaches_back_too_far_is_refused():
    """Keras's begins with the weights of the first step, of which 0.9 to the power of 16 would be left."""
    check_average(0.6875, 16)
    with pytest.raises(ValueError, match=r"reaches back 10 steps, of a fit of 16: at most 0.6875"):
        check_average(0.9, 16)
    for momentum in (1.0, 1.5, -0.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            check_average(momentum, 16)


def _not_a_number(truth, answer):
    return keras.ops.mean(answer, axis=-1) * float("nan")


@pytest.mark.parametrize("loss", ["huber", _not_a_number])
def test_a_fit_that_is_over_keeps_no_pictures(make_faces, tmp_path, loss):
    """Searches and comparisons make many in one process."""
    faces, landmarks = make_faces(BATCH, 0)
    crops, valid = (
        Crops(faces, landmarks, np.ones((BATCH, 1)), np.ones(BATCH), 24, 1, level, 0)
        for level in ("low", None)
    )
    kept = weakref.ref(faces)
    del faces
    with contextlib.suppress(FloatingPointError):
        fit(_network(), crops, valid, {"age": loss}, {}, 1, tmp_path, PEAK_RATE)
    del crops, valid
    gc.collect()
    assert kept() is None


def test_a_loss_that_is_no_number_stops_the_fit_and_spares_the_checkpoint(make_faces, tmp_path):
    _break(make_faces, tmp_path, epoch=1)
    kept = (tmp_path / "checkpoint" / "latest.weights.h5").read_bytes()
    with pytest.raises(FloatingPointError):
        _fit(make_faces, tmp_path, loss=_not_a_number)
    assert (tmp_path / "checkpoint" / "latest.weights.h5").read_bytes() == kept


def test_settings_are_kept_and_others_refused(tmp_path):
    claim(tmp_path / "age", {"seed": 0, "epochs": 3})
    claim(tmp_path / "age", {"seed": 0, "epochs": 3})
    with pytest.raises(ValueError, match="made with seed 0, not 1: .* another folder"):
        claim(tmp_path / "age", {"seed": 1, "epochs": 3})
    with pytest.raises(ValueError, match="made with other pictures"):
        claim(tmp_path / "age", {"seed": 0, "epochs": 3, "names": "abc"})
    with pytest.raises(ValueError, match="epochs 3, not None"):
        claim(tmp_path / "age", {"seed": 0})
    assert json.loads((tmp_path / "age" / "settings.json").read_text()) == {"seed": 0, "epochs": 3}


def test_what_is_known_only_once_the_faces_are_read_need_not_be_said_before(tmp_path):
    claim(tmp_path, {"seed": 0, "names": "abc", "backend": "jax"})
    claim(tmp_path, {"seed": 0})
    with pytest.raises(ValueError, match="backend jax, not tensorflow"):
        claim(tmp_path, {"seed": 0, "backend": "tensorflow"})

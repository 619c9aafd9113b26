"""Metrics and calibration: logits and labels in, plain numbers out."""

from functools import partial
from itertools import pairwise

import numpy as np
from scipy.optimize import bisect, minimize_scalar
from scipy.stats import binomtest, bootstrap, rankdata
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, roc_auc_score

from inference.decoding import decode_age, sigmoid, softmax
from inference.faces import EMOTIONS, Age
from training.data import RACES, unique_majority

GENDERS = ("male", "female")  # UTKFace's 0 and 1
GENDER_BANDS = (0, 3, 13, 21, 61)  # years, the first of each band
AGE_BANDS = (0, 13, 21, 41, 61, 81)
ADULTS = (21, 60)  # years, first and last
COARSE_BANDS = (0, 21, 41, 61, 81)  # five, of about 20 years
ECE_BINS = 15
RANGE_SHARE = 0.8  # of faces whose true age the range is to hold
RESAMPLES = 2000  # of the bootstrap of an error
MEAN_RESAMPLES = 500  # likewise, of means over classes


def calibrate_emotion(logits: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, float]:
    """{"temperature"} of least negative log-likelihood of the emotion most voted for (Guo et al. 2017)."""
    clear = unique_majority(labels["votes"])
    logits, truth = logits[clear], labels["votes"][clear].argmax(axis=1)
    classes = range(logits.shape[1])
    return _calibrate_temperature(lambda t: log_loss(truth, softmax(logits, t), labels=classes))


def calibrate_gender(logits: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, float]:
    """{"temperature"} of least negative log-likelihood."""
    logits, truth = logits[:, 0], labels["gender"]
    return _calibrate_temperature(lambda t: log_loss(truth, sigmoid(logits, t), labels=(0, 1)))


def calibrate_age(logits: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, float]:
    """{"tail"} with which ranges, as they are told, hold the true age of about RANGE_SHARE of the faces; the
    widest or the narrowest ranges where those hold it less or more often."""

    def excess(tail: float) -> float:
        return _inside(*_ranges(*decode_age(logits, tail)), labels["age"]).mean() - RANGE_SHARE

    widest, narrowest = 0, 0.5  # which is a single year, and may be right often enough
    if excess(widest) < 0:
        return {"tail": widest}
    if excess(narrowest) > 0:
        return {"tail": narrowest}
    return {"tail": round(bisect(excess, widest, narrowest), 6)}


def report_emotion(
    logits: np.ndarray,
    labels: dict[str, np.ndarray],
    calibration: dict[str, float],
    names: tuple[str, ...] = EMOTIONS,
) -> dict:
    """Figures against the emotion most FER+ voters chose; ties between emotions are left out.

    Args:
        logits: (n, classes) float.
        labels: of training.data.Faces: `votes`; `original`, `age`, `gender` and `race` where they are known.
        calibration: {"temperature"}.
        names: of the classes.
    """
    clear = unique_majority(labels["votes"])
    truth, clear_logits = labels["votes"][clear].argmax(axis=1), logits[clear]
    temperature = calibration["temperature"]
    probabilities = softmax(clear_logits, temperature)
    report = _classification(probabilities, truth, names)
    report = report | {
        "ties_left_out": int((~clear).sum()),
        "by_emotion": report.pop("by_class"),
        "calibration_error": {
            "before": _rounded(_emotion_calibration_error(clear_logits, truth, 1)),
            "after": _rounded(_emotion_calibration_error(clear_logits, truth, temperature)),
        },
    }
    if "original" in labels:
        original = _classification(softmax(logits, temperature), labels["original"], names)
        report["against_original_labels"] = original
    known = {key: column[clear] for key, column in labels.items()}
    return report | _by_groups(known, AGE_BANDS, partial(_of_group, names), probabilities, truth)


def _classification(probabilities: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> dict:
    """Figures of a classifier; means are over the classes that occur.

    Args:
        probabilities: (n, classes) float.
        truth: (n,) int.
    """
    predicted = probabilities.argmax(axis=1)
    rows = range(len(names))
    scores = precision_recall_fscore_support(truth, predicted, labels=rows, zero_division=0)
    precision, recall, f1, support = scores
    present = np.flatnonzero(support)
    areas = {row: _roc_area(truth == row, probabilities[:, row]) for row in present}
    known_areas = [area for area in areas.values() if area is not None]
    confusion = confusion_matrix(truth, predicted, labels=rows)
    return {
        "accuracy": _share(predicted == truth),
        "balanced_accuracy": _rounded(recall[present].mean()),
        "macro_precision": _rounded(precision[present].mean()),
        "macro_recall": _rounded(recall[present].mean()),
        "macro_f1": _rounded(f1[present].mean()),
        "intervals": _intervals(probabilities, truth),
        "roc_auc": _rounded(np.mean(known_areas)) if known_areas else None,
        "by_class": {
            names[row]: {
                "precision": _rounded(precision[row]),
                "recall": _share(predicted[truth == row] == row),
                "f1": _rounded(f1[row]),
                "roc_auc": areas[row],
            }
            for row in present
        },
        "confusion": confusion.tolist(),
        "confusion_shares": (confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1))
        .round(4)
        .tolist(),
    }


def _intervals(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, list[float] | None]:
    """95 % intervals of means over the classes that occur (bootstrap over faces, as in _classification).

    Calibration errors have none: those of resampled faces are too large, by more than they vary.
    """
    faces, classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    samples = np.random.default_rng(0).integers(0, faces, (MEAN_RESAMPLES, faces))
    means = []
    for rows in samples:
        cells = np.bincount(truth[rows] * classes + predicted[rows], minlength=classes**2)
        counts = cells.reshape(classes, classes)
        there, told, hits = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
        present = there > 0
        recall, precision = hits / np.maximum(there, 1), hits / np.maximum(told, 1)
        f1 = 2 * hits / np.maximum(there + told, 1)
        means.append([score[present].mean() for score in (recall, precision, f1)])
    names = ("balanced_accuracy", "macro_precision", "macro_f1")
    intervals = dict(zip(names, map(_middle, np.transpose(means))))
    return intervals | {"roc_auc": _middle(_roc_areas(probabilities, truth, samples))}


def _middle(values: np.ndarray) -> list[float] | None:
    """Between which 95 % of them lie; None where there are none."""
    known = values[np.isfinite(values)]
    return [_rounded(bound) for bound in np.percentile(known, (2.5, 97.5))] if len(known) else None


def _roc_areas(probabilities: np.ndarray, truth: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """(samples,) mean area under the curves of the classes that have faces and are not all there is.

    By ranks, as by Mann and Whitney (1947), so that all samples are counted at once.
    """
    areas = []
    for row in np.unique(truth):
        own = truth[samples] == row
        ranks = rankdata(probabilities[samples, row], axis=1)
        inside = own.sum(axis=1)
        pairs = inside * (own.shape[1] - inside)
        above = (ranks * own).sum(axis=1) - inside * (inside + 1) / 2
        areas.append(np.where(pairs, above / np.maximum(pairs, 1), np.nan))
    known = np.isfinite(areas)
    return np.where(known, areas, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def _of_group(names: tuple[str, ...], probabilities: np.ndarray, truth: np.ndarray) -> dict:
    """Accuracy of a group with its interval, and all else that is told of everybody but the classes' own.

    Means over classes are None where the group is of one class, as nothing there can be taken for it wrongly.
    """
    figures = _classification(probabilities, truth, names)
    del figures["by_class"], figures["confusion_shares"]
    if np.ptp(truth) == 0:
        means = ("balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")
        figures |= dict.fromkeys((*means, "intervals"))
    correct = probabilities.argmax(axis=1) == truth
    error = calibration_error(probabilities.max(axis=1), correct)
    return figures.pop("accuracy") | figures | {"calibration_error": _rounded(error)}


def _roc_area(is_class: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the curve of one class against the rest; None where there is no rest."""
    return None if is_class.all() else _rounded(roc_auc_score(is_class, scores))


def report_gender(logits: np.ndarray, labels: dict[str, np.ndarray], calibration: dict[str, float]) -> dict:
    """Figures of all and of groups.

    Args:
        logits: (n, 1) float.
        labels: of training.data.Faces: `gender`; `age` and `race` where they are known.
        calibration: {"temperature"}.
    """
    females = sigmoid(logits[:, 0], calibration["temperature"])
    correct = (logits[:, 0] >= 0) == labels["gender"]
    probabilities = np.stack([1 - females, females], axis=1)
    report = _classification(probabilities, labels["gender"], GENDERS)
    del report["by_class"]  # whose recall is by_gender
    report["calibration_error"] = {
        "before": _rounded(_gender_calibration_error(logits, correct, 1)),
        "after": _rounded(_gender_calibration_error(logits, correct, calibration["temperature"])),
    }
    return report | _by_groups(
        labels, GENDER_BANDS, partial(_of_group, GENDERS), probabilities, labels["gender"]
    )


def report_age(logits: np.ndarray, labels: dict[str, np.ndarray], calibration: dict[str, float]) -> dict:
    """Errors and ranges of all and of groups, in years.

    Args:
        logits: (n, 117) float.
        labels: of training.data.Faces: `age`; `gender` and `race` where they are known.
        calibration: {"tail"}.
    """
    columns = _age_columns(logits, labels, calibration)
    errors, *_, hit = columns
    first, last = ADULTS
    adults = (first <= labels["age"]) & (labels["age"] <= last)
    return {
        "all": _error(*columns),
        "adults": _error(*(column[adults] for column in columns)) if adults.any() else None,
        "within_5_years": _share(errors <= 5),
        "band_accuracy": _share(hit),
    } | _by_groups(labels, AGE_BANDS, _error, *columns)


def _age_columns(logits: np.ndarray, labels: dict[str, np.ndarray], calibration: dict[str, float]) -> tuple:
    """What `_error` sums up: errors, whether ranges hold the age, their widths, whether bands are right."""
    ages = labels["age"]
    decoded = decode_age(logits, calibration["tail"])
    years, (low, high) = decoded[0], _ranges(*decoded)
    hit = np.digitize(np.round(years), COARSE_BANDS) == np.digitize(ages, COARSE_BANDS)
    return np.abs(years - ages), _inside(low, high, ages), high - low, hit


def _emotion_accuracy(logits: np.ndarray, labels: dict[str, np.ndarray]) -> dict:
    clear = unique_majority(labels["votes"])
    return _share((logits.argmax(axis=1) == labels["votes"].argmax(axis=1))[clear])


CALIBRATE = {"emotion": calibrate_emotion, "gender": calibrate_gender, "age": calibrate_age}
REPORT = {"emotion": report_emotion, "gender": report_gender, "age": report_age}
HEADLINE = {  # the figure by which models are compared, as it stands in the reports
    "emotion": lambda logits, labels, _: _emotion_accuracy(logits, labels),
    "gender": lambda logits, labels, _: _share((logits[:, 0] >= 0) == labels["gender"]),
    "age": lambda *arguments: _error(*_age_columns(*arguments)),
}


def headlines(
    name: str,
    logits: np.ndarray,
    one_look: np.ndarray,
    copied: np.ndarray,
    labels: dict[str, np.ndarray],
    calibration: dict[str, float],
) -> dict[str, dict]:
    """The headline figure of a model as it would be without two things that flatter it.

    Args:
        name: of HEADLINE.
        logits: (n, outputs) float, means over each face and its mirror image.
        one_look: likewise, of the faces alone, as serving reads those of a group.
        copied: (n,) bool, whether a face has a copy among those fitted to.

    Returns:
        {"one_look", "without_copies"}; the latter is None where all faces are copied.
    """

    def figure(logits: np.ndarray, rows: np.ndarray) -> dict:
        some = {key: column[rows] for key, column in labels.items()}
        return HEADLINE[name](logits[rows], some, calibration)

    return {
        "one_look": figure(one_look, np.ones(len(copied), bool)),
        "without_copies": None if copied.all() else figure(logits, ~copied),
    }


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error (Naeini et al. 2015), over ECE_BINS bins of equal width.

    Args:
        confidence: (n,) float, probability of the label given, 0 to 1.
        correct: (n,) bool.
    """
    gaps = np.bincount(confidence_bins(confidence), weights=confidence - correct, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(correct))


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """(n,) int, the bin of each of ECE_BINS, from 0."""
    return np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)


def _emotion_calibration_error(logits: np.ndarray, truth: np.ndarray, temperature: float) -> float:
    return calibration_error(softmax(logits, temperature).max(axis=1), logits.argmax(axis=1) == truth)


def _gender_calibration_error(logits: np.ndarray, correct: np.ndarray, temperature: float) -> float:
    return calibration_error(sigmoid(np.abs(logits[:, 0]), temperature), correct)


def _calibrate_temperature(loss) -> dict[str, float]:
    best = minimize_scalar(loss, bounds=(0.1, 10), method="bounded")
    return {"temperature": round(float(best.x), 4)}


def _ranges(*decoded: np.ndarray) -> np.ndarray:
    """(2, n) int: the lower and upper bounds that are told of ages as `decode_age` returns them."""
    return np.array([Age(*row).range for row in zip(*decoded, strict=True)]).T


def _inside(low: np.ndarray, high: np.ndarray, ages: np.ndarray) -> np.ndarray:
    return (low <= ages) & (ages <= high)


def _by_groups(labels: dict[str, np.ndarray], bands: tuple[int, ...], measure, *columns) -> dict:
    """What `measure` says of the columns of each group, by those of age, race and gender that are known."""
    groups = {}
    if "age" in labels:
        groups["by_age"] = _bands(labels["age"], bands)
    if "race" in labels:
        groups["by_race"] = _groups(labels["race"], RACES)
    if "gender" in labels:
        groups["by_gender"] = _groups(labels["gender"], GENDERS)
    return {
        key: {name: measure(*(column[rows] for column in columns)) for name, rows in masks.items()}
        for key, masks in groups.items()
    }


def _bands(ages: np.ndarray, starts: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Name and mask of each band of ages that has faces."""
    return _groups(np.digitize(ages, starts) - 1, band_names(starts))


def band_names(starts: tuple[int, ...]) -> list[str]:
    """The names of bands of ages, such as "0-12" and "81+", from the first year of each."""
    return [f"{start}-{stop - 1}" for start, stop in pairwise(starts)] + [f"{starts[-1]}+"]


def _groups(column: np.ndarray, names) -> dict[str, np.ndarray]:
    """Name and mask of each value of a column of indices that has faces."""
    return {names[value]: column == value for value in np.unique(column)}


def _share(correct: np.ndarray) -> dict:
    """Share of True with its 95 % interval (Wilson 1927)."""
    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    return {
        "share": _rounded(correct.mean()),
        "low": _rounded(interval.low),
        "high": _rounded(interval.high),
        "faces": len(correct),
    }


def _error(errors: np.ndarray, inside: np.ndarray, widths: np.ndarray, hit: np.ndarray) -> dict:
    """Errors in years, their mean with a 95 % interval (bootstrap; one face has none), ranges and bands."""
    low = high = None
    if len(errors) > 1:
        samples = bootstrap((errors,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0)
        low, high = (_rounded(bound) for bound in samples.confidence_interval)
    return {
        "mae": _rounded(errors.mean()),
        "low": low,
        "high": high,
        "median": _rounded(np.median(errors)),
        "inside": _share(inside),
        "width": _rounded(widths.mean()),
        "band_accuracy": _share(hit),
        "faces": len(errors),
    }


def _rounded(value: float) -> float:
    """With more digits than anybody tells of it, so that rounding it again rounds as it would at once."""
    return round(float(value), 6)

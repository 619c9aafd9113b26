"""Metrics and calibration: logits and labels in, plain numbers out."""

from itertools import pairwise

import numpy as np
from scipy.optimize import bisect, minimize_scalar
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from inference.decoding import decode_age, sigmoid, softmax
from inference.faces import EMOTIONS
from training.data import RACES, unique_majority

GENDERS = ("male", "female")  # UTKFace's 0 and 1
GENDER_BANDS = (0, 3, 13, 21, 61)  # years, the first of each band
AGE_BANDS = (0, 13, 21, 41, 61, 81)
COARSE_BANDS = (0, 21, 41, 61, 81)  # five, of about 20 years
ECE_BINS = 15
RANGE_SHARE = 0.8  # of faces whose true age the range is to hold
RESAMPLES = 2000  # of the bootstrap


def calibrate_emotion(logits: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, float]:
    """{"temperature"} of least negative log-likelihood of the emotion most voted for (Guo et al. 2017)."""
    clear = unique_majority(labels["votes"])
    logits, truth = logits[clear], labels["votes"][clear].argmax(axis=1)
    return _calibrate_temperature(lambda t: log_loss(truth, softmax(logits, t), labels=range(len(EMOTIONS))))


def calibrate_gender(logits: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, float]:
    """{"temperature"} of least negative log-likelihood."""
    logits, truth = logits[:, 0], labels["gender"]
    return _calibrate_temperature(lambda t: log_loss(truth, sigmoid(logits, t), labels=(0, 1)))


def calibrate_age(logits: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, float]:
    """{"tail"} with which ranges hold the true age of about RANGE_SHARE of the faces."""
    tail = bisect(lambda tail: _inside(decode_age(logits, tail), labels["age"]).mean() - RANGE_SHARE, 0, 0.5)
    return {"tail": round(tail, 6)}


def report_emotion(logits: np.ndarray, labels: dict[str, np.ndarray], calibration: dict[str, float]) -> dict:
    """Figures against the emotion most FER+ voters chose; ties between emotions are left out.

    Args:
        logits: (n, 7) float.
        labels: `votes` and `original` of training.data.Faces.
        calibration: {"temperature"}.
    """
    clear = unique_majority(labels["votes"])
    truth, predicted = labels["votes"][clear].argmax(axis=1), logits[clear].argmax(axis=1)
    rows = range(len(EMOTIONS))
    scores = precision_recall_fscore_support(truth, predicted, labels=rows, zero_division=0)
    precision, recall, f1, support = scores
    present = support > 0
    return {
        "accuracy": _share(predicted == truth),
        "ties_left_out": int((~clear).sum()),
        "balanced_accuracy": _rounded(recall[present].mean()),
        "macro_f1": _rounded(f1[present].mean()),
        "by_emotion": {
            EMOTIONS[row]: {
                "precision": _rounded(precision[row]),
                "recall": _share(predicted[truth == row] == row),
                "f1": _rounded(f1[row]),
            }
            for row in np.flatnonzero(present)
        },
        "confusion": confusion_matrix(truth, predicted, labels=rows).tolist(),
        "calibration_error": {
            "before": _rounded(_emotion_calibration_error(logits[clear], truth, 1)),
            "after": _rounded(_emotion_calibration_error(logits[clear], truth, calibration["temperature"])),
        },
        "against_original_labels": _share(logits.argmax(axis=1) == labels["original"]),
    }


def report_gender(logits: np.ndarray, labels: dict[str, np.ndarray], calibration: dict[str, float]) -> dict:
    """Accuracy of all and of groups.

    Args:
        logits: (n, 1) float.
        labels: `gender`, `age` and `race` of training.data.Faces.
        calibration: {"temperature"}.
    """
    correct = (logits[:, 0] >= 0) == labels["gender"]

    def measure(groups: dict[str, np.ndarray]) -> dict:
        return {name: _share(correct[rows]) for name, rows in groups.items()}

    return {
        "accuracy": _share(correct),
        "by_age": measure(_bands(labels["age"], GENDER_BANDS)),
        "by_race": measure(_groups(labels["race"], RACES)),
        "by_gender": measure(_groups(labels["gender"], GENDERS)),
        "calibration_error": {
            "before": _rounded(_gender_calibration_error(logits, correct, 1)),
            "after": _rounded(_gender_calibration_error(logits, correct, calibration["temperature"])),
        },
    }


def report_age(logits: np.ndarray, labels: dict[str, np.ndarray], calibration: dict[str, float]) -> dict:
    """Errors and ranges of all and of groups, in years.

    Args:
        logits: (n, 117) float.
        labels: `age`, `gender` and `race` of training.data.Faces.
        calibration: {"tail"}.
    """
    ages = labels["age"]
    decoded = decode_age(logits, calibration["tail"])
    years, low, high = decoded
    errors, inside, widths = np.abs(years - ages), _inside(decoded, ages), high - low

    def measure(groups: dict[str, np.ndarray]) -> dict:
        return {name: _error(errors[rows], inside[rows], widths[rows]) for name, rows in groups.items()}

    bands_hit = np.digitize(np.round(years), COARSE_BANDS) == np.digitize(ages, COARSE_BANDS)
    return {
        "all": _error(errors, inside, widths),
        "median_error": _rounded(np.median(errors)),
        "band_accuracy": _share(bands_hit),
        "by_age": measure(_bands(ages, AGE_BANDS)),
        "by_race": measure(_groups(labels["race"], RACES)),
        "by_gender": measure(_groups(labels["gender"], GENDERS)),
    }


CALIBRATE = {"emotion": calibrate_emotion, "gender": calibrate_gender, "age": calibrate_age}
REPORT = {"emotion": report_emotion, "gender": report_gender, "age": report_age}


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error (Naeini et al. 2015), over ECE_BINS bins of equal width.

    Args:
        confidence: (n,) float, probability of the label given, 0 to 1.
        correct: (n,) bool.
    """
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - correct, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(correct))


def _emotion_calibration_error(logits: np.ndarray, truth: np.ndarray, temperature: float) -> float:
    return calibration_error(softmax(logits, temperature).max(axis=1), logits.argmax(axis=1) == truth)


def _gender_calibration_error(logits: np.ndarray, correct: np.ndarray, temperature: float) -> float:
    return calibration_error(sigmoid(np.abs(logits[:, 0]), temperature), correct)


def _calibrate_temperature(loss) -> dict[str, float]:
    best = minimize_scalar(loss, bounds=(0.1, 10), method="bounded")
    return {"temperature": round(float(best.x), 4)}


def _inside(decoded: tuple[np.ndarray, np.ndarray, np.ndarray], ages: np.ndarray) -> np.ndarray:
    _, low, high = decoded
    return (low <= ages) & (ages <= high)


def _bands(ages: np.ndarray, starts: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Name and mask of each band of ages that has faces."""
    names = [f"{start}-{stop - 1}" for start, stop in pairwise(starts)] + [f"{starts[-1]}+"]
    return _groups(np.digitize(ages, starts) - 1, names)


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


def _error(errors: np.ndarray, inside: np.ndarray, widths: np.ndarray) -> dict:
    """Mean absolute error, years, with its 95 % interval (bootstrap; a single face has none), and ranges."""
    low = high = None
    if len(errors) > 1:
        samples = bootstrap((errors,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0)
        low, high = (_rounded(bound) for bound in samples.confidence_interval)
    return {
        "mae": _rounded(errors.mean()),
        "low": low,
        "high": high,
        "inside": _rounded(inside.mean()),
        "width": _rounded(widths.mean()),
        "faces": len(errors),
    }


def _rounded(value: float) -> float:
    return round(float(value), 4)

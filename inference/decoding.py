"""Logits -> probabilities, years and ranges. Serving and calibration both decode here and nowhere else."""

import numpy as np


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities of classes that exclude each other.

    Args:
        logits: (n, classes) float.
        temperature: > 0; above 1 flattens, below 1 sharpens (Guo et al. 2017).

    Returns:
        (n, classes) float64, rows sum to 1.
    """
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probability of yes, float64 of the shape of `logits`; see `softmax` for the temperature."""
    return 0.5 + 0.5 * np.tanh(logits.astype(np.float64) / temperature / 2)  # never overflows


def age_quantile(logits: np.ndarray, q: float) -> np.ndarray:
    """The age below which a share `q` of each distribution lies.

    The year y stands for [y - 0.5, y + 0.5), evenly, so the cumulative distribution is a polyline.

    Args:
        logits: (n, ages) float, one a year from 0 on.
        q: 0 to 1.

    Returns:
        (n,) float64 years, at least 0.
    """
    edges = np.arange(logits.shape[1] + 1) - 0.5
    cumulative = np.pad(np.cumsum(softmax(logits), axis=1), ((0, 0), (1, 0)))
    return np.array([max(0.0, np.interp(q, row, edges)) for row in cumulative])


def decode_age(logits: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median of each distribution over the years, and a range around it.

    The median has the least mean absolute error, and heeds a far but unlikely age less than the mean does:
    it makes small children no older.

    Args:
        logits: (n, ages) float, one a year from 0 on.
        tail: probability left out on each side of the range, 0 to 0.5.

    Returns:
        years, low and high, each (n,) float64, low <= years <= high.
    """
    years, low, high = (age_quantile(logits, q) for q in (0.5, tail, 1 - tail))
    return years, low, high

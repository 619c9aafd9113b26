import subprocess
import sys

import numpy as np
import pytest

from inference.decoding import age_quantile, decode_age, sigmoid, softmax

AGES = 117


def _distribution(**shares: float) -> np.ndarray:
    """Logits of one distribution: the given shares at the years `y0`, `y30`, ..., nothing elsewhere."""
    logits = np.full((1, AGES), -1e9, np.float32)
    for year, share in shares.items():
        logits[0, int(year[1:])] = np.log(share)
    return logits


def test_softmax_rows_are_probabilities_in_the_order_of_the_logits():
    probabilities = softmax(np.array([[0, np.log(3)], [1000, -1000]], np.float32))
    assert probabilities == pytest.approx(np.array([[0.25, 0.75], [1, 0]]))


def test_softmax_takes_a_temperature():
    logits = np.array([[0, np.log(9)]], np.float32)
    assert softmax(logits, 2)[0] == pytest.approx([0.25, 0.75], abs=1e-6)
    assert softmax(logits, 0.5)[0, 1] == pytest.approx(81 / 82, abs=1e-6)


def test_sigmoid_of_any_size_of_logit():
    logits = np.array([[-1e4], [0], [np.log(3)], [1e4]], np.float32)
    assert sigmoid(logits)[:, 0] == pytest.approx([0, 0.5, 0.75, 1])
    assert sigmoid(logits, 0.5)[2, 0] == pytest.approx(0.9, abs=1e-6)


def test_a_quantile_lies_within_the_year_it_falls_in():
    logits = _distribution(y10=0.5, y30=0.5)
    quantiles = [age_quantile(logits, q)[0] for q in (0.1, 0.25, 0.4, 0.75, 0.9)]
    assert quantiles == pytest.approx([9.7, 10, 10.3, 30, 30.3], abs=1e-6)


def test_quantiles_rise_and_stay_in_range():
    logits = np.random.default_rng(0).normal(0, 4, (20, AGES))
    quantiles = np.array([age_quantile(logits, q) for q in np.linspace(0, 1, 51)])
    assert (np.diff(quantiles, axis=0) >= 0).all()
    assert quantiles.min() >= 0
    assert quantiles.max() <= AGES - 0.5


def test_no_age_below_zero():
    assert age_quantile(_distribution(y0=1), 0.1) == pytest.approx([0])
    assert age_quantile(_distribution(y0=1), 0.9) == pytest.approx([0.4])


def test_half_of_a_distribution_lies_below_its_median():
    logits = np.random.default_rng(1).normal(0, 2, (5, AGES))
    for row, median in zip(softmax(logits), age_quantile(logits, 0.5), strict=True):
        whole = int(np.floor(median + 0.5))  # years that end below the median count fully, its own in part
        assert row[:whole].sum() + row[whole] * (median + 0.5 - whole) == pytest.approx(0.5)


def test_the_age_is_the_median_within_its_range_however_lopsided_the_distribution():
    logits = _distribution(y5=0.95, y90=0.05)
    years, low, high = decode_age(logits, 0.2)
    assert years[0] == pytest.approx(4.5 + 0.5 / 0.95, abs=1e-4)
    assert low[0] == pytest.approx(4.5 + 0.2 / 0.95, abs=1e-4)
    assert high[0] == pytest.approx(4.5 + 0.8 / 0.95, abs=1e-4)


def test_a_smaller_tail_is_a_wider_range():
    logits = np.random.default_rng(2).normal(0, 1, (50, AGES))
    _, low, high = decode_age(logits, 0.1)
    _, inner_low, inner_high = decode_age(logits, 0.3)
    assert (high - low > inner_high - inner_low).all()


def test_decoding_needs_no_tensorflow():
    code = "import sys, inference.decoding; print({'tensorflow', 'keras', 'cv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"

import numpy as np
import pytest

from inference.decoding import decode_age, softmax
from inference.faces import EMOTIONS, Age
from training.evaluation import (
    calibrate_age,
    calibrate_emotion,
    calibrate_gender,
    calibration_error,
    headlines,
    report_age,
    report_emotion,
    report_gender,
)
from training.tasks import age_distributions

HAPPY, SAD = EMOTIONS.index("happy"), EMOTIONS.index("sad")


def _votes(*emotions):
    return np.eye(len(EMOTIONS), dtype=np.float32)[list(emotions)]


def _emotion_labels(votes, original=None):
    return {"votes": votes, "original": votes.argmax(axis=1) if original is None else np.array(original)}


def _logits_of_ages(ages):
    return np.log(age_distributions(np.array(ages, float)) + 1e-12)


def test_emotion_figures_by_hand():
    truth = [HAPPY] * 6 + [SAD] * 4
    answers = [HAPPY] * 5 + [SAD] + [SAD] * 2 + [HAPPY] * 2
    report = report_emotion(5 * _votes(*answers), _emotion_labels(_votes(*truth)), {"temperature": 1})
    assert report["accuracy"] == {"share": 0.7, "low": 0.396778, "high": 0.892209, "faces": 10}
    assert report["balanced_accuracy"] == pytest.approx((5 / 6 + 2 / 4) / 2, abs=1e-4)
    assert set(report["by_emotion"]) == {"happy", "sad"}
    happy = report["by_emotion"]["happy"]
    assert happy["precision"] == pytest.approx(5 / 7, abs=1e-4)
    assert (happy["recall"]["share"], happy["recall"]["faces"]) == (pytest.approx(5 / 6, abs=1e-4), 6)
    assert happy["f1"] == pytest.approx(2 * 5 / (2 * 5 + 2 + 1), abs=1e-4)
    assert report["macro_f1"] == pytest.approx(
        (happy["f1"] + report["by_emotion"]["sad"]["f1"]) / 2, abs=1e-4
    )
    assert report["macro_recall"] == pytest.approx((5 / 6 + 2 / 4) / 2, abs=1e-4)
    assert report["macro_precision"] == pytest.approx((5 / 7 + 2 / 3) / 2, abs=1e-4)
    assert happy["roc_auc"] == pytest.approx(2 / 3, abs=1e-4)  # 5 of 6 above 2 of 4, ties half
    assert report["roc_auc"] == pytest.approx(2 / 3, abs=1e-4)
    confusion = np.array(report["confusion"])
    assert confusion.shape == (7, 7)
    assert confusion[HAPPY, [HAPPY, SAD]].tolist() == [5, 1]
    assert confusion[SAD, [HAPPY, SAD]].tolist() == [2, 2]
    assert confusion.sum() == 10
    assert report["confusion_shares"][SAD][HAPPY] == 0.5
    assert sum(report["confusion_shares"][0]) == 0  # nobody is angry


def test_ties_between_voters_are_left_out_and_counted():
    votes = _votes(HAPPY, HAPPY, SAD)
    votes[1, SAD] = 1
    answers = 3 * _votes(HAPPY, SAD, HAPPY)
    report = report_emotion(answers, _emotion_labels(votes, original=[HAPPY, SAD, HAPPY]), {"temperature": 1})
    assert report["ties_left_out"] == 1
    assert (report["accuracy"]["share"], report["accuracy"]["faces"]) == (0.5, 2)
    original = report["against_original_labels"]["accuracy"]  # all three pictures have one
    assert (original["share"], original["faces"]) == (1, 3)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False, True, False])
    assert calibration_error(confidence, correct) == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (4000, len(EMOTIONS)))
    truth = np.array([rng.choice(len(EMOTIONS), p=row) for row in softmax(honest)])
    labels = _emotion_labels(_votes(*truth))
    calibration = calibrate_emotion(3 * honest, labels)
    assert calibration["temperature"] == pytest.approx(3, rel=0.06)
    error = report_emotion(3 * honest, labels, calibration)["calibration_error"]
    assert error["after"] < 0.03 < error["before"]


def test_temperature_undoes_timidity_about_gender():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 3, (4000, 1))
    females = (rng.random(4000) < 1 / (1 + np.exp(-honest[:, 0]))).astype(int)
    labels = {"gender": females, "age": np.full(4000, 30), "race": np.zeros(4000, int)}
    calibration = calibrate_gender(honest / 2, labels)
    assert calibration["temperature"] == pytest.approx(0.5, rel=0.06)
    error = report_gender(honest / 2, labels, calibration)["calibration_error"]
    assert error["after"] < 0.02 < error["before"]


def test_gender_figures_by_group():
    labels = {
        "gender": np.array([1, 1, 0, 0, 1]),
        "age": np.array([1, 2, 12, 13, 61]),
        "race": np.array([0, 0, 1, 1, 4]),
    }
    logits = np.array([[2.0], [-1.0], [-3.0], [1.0], [0.5]])
    report = report_gender(logits, labels, {"temperature": 1})
    assert (report["accuracy"]["share"], report["accuracy"]["faces"]) == (0.6, 5)
    assert report["accuracy"]["low"] == pytest.approx(0.2307, abs=1e-4)  # Wilson, 3 of 5
    assert report["accuracy"]["high"] == pytest.approx(0.8824, abs=1e-4)

    def shares(groups):
        return {name: (row["share"], row["faces"]) for name, row in groups.items()}

    assert shares(report["by_age"]) == {"0-2": (0.5, 2), "3-12": (1, 1), "13-20": (0, 1), "61+": (1, 1)}
    assert shares(report["by_race"]) == {"White": (0.5, 2), "Black": (0.5, 2), "other": (1, 1)}
    assert shares(report["by_gender"]) == {"male": (0.5, 2), "female": (0.666667, 3)}
    white, black = report["by_race"]["White"], report["by_race"]["Black"]
    assert (white["roc_auc"], black["roc_auc"]) == (None, None)  # of one gender each
    babies = report["by_age"]["0-2"]
    assert (babies["balanced_accuracy"], babies["macro_f1"], babies["intervals"]) == (None, None, None)
    sure = 1 / (1 + np.exp(-np.array([2, 1])))  # the second is wrong
    assert babies["calibration_error"] == pytest.approx((1 - sure[0] + sure[1]) / 2, abs=1e-4)
    assert babies["confusion"] == [[0, 0], [1, 1]]


def test_intervals_of_means_hold_the_truth():
    """Nineteen of twenty do, of 0.8 right in a large class and 0.5 in a small one."""
    rng = np.random.default_rng(0)
    truth = np.repeat([HAPPY, SAD], (300, 60))
    held, widths = 0, []
    for _ in range(40):
        right = rng.random(360) < np.where(truth == HAPPY, 0.8, 0.5)
        answers = np.where(right, truth, HAPPY + SAD - truth)
        report = report_emotion(5 * _votes(*answers), _emotion_labels(_votes(*truth)), {"temperature": 1})
        low, high = report["intervals"]["balanced_accuracy"]
        assert low < report["balanced_accuracy"] < high
        held += low <= 0.65 <= high
        widths.append(high - low)
    assert held >= 33
    deviation = np.sqrt(0.8 * 0.2 / 300 + 0.5 * 0.5 / 60) / 2
    assert np.mean(widths) == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_intervals_of_roc_areas_hold_the_truth():
    """Women are read one deviation above men: 0.7602, the share of a normal distribution below 1 / sqrt 2."""
    rng = np.random.default_rng(0)
    held, widths = 0, []
    for _ in range(40):
        females = np.repeat([0, 1], (120, 60))
        logits = rng.normal(females, 1)[:, None]
        report = report_gender(logits, {"gender": females}, {"temperature": 1})
        low, high = report["intervals"]["roc_auc"]
        assert low < report["roc_auc"] < high
        held += low <= 0.7602 <= high
        widths.append(high - low)
    assert held >= 33
    # Hanley and McNeil 1982
    area, men, women = 0.7602, 120, 60
    of_one, of_other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (women - 1) * (of_one - area**2) + (men - 1) * (of_other - area**2)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.sqrt(variance / men / women), rel=0.15)


def test_headlines_without_what_flatters():
    labels = {"gender": np.array([1, 1, 0, 0])}
    logits, one_look = np.array([[1.0], [1], [-1], [1]]), np.array([[1.0], [-1], [1], [1]])
    copied = np.array([True, True, False, False])
    told = headlines("gender", logits, one_look, copied, labels, {"temperature": 1})
    assert (told["one_look"]["share"], told["one_look"]["faces"]) == (0.25, 4)
    assert (told["without_copies"]["share"], told["without_copies"]["faces"]) == (0.5, 2)
    assert (
        headlines("gender", logits, logits, copied | True, labels, {"temperature": 1})["without_copies"]
        is None
    )


def test_age_figures_by_hand():
    labels = {
        "age": np.array([5, 30, 50, 90]),
        "gender": np.array([0, 1, 1, 1]),
        "race": np.array([2, 2, 3, 3]),
    }
    report = report_age(_logits_of_ages([5, 33, 40, 70]), labels, {"tail": 0.1})
    assert report["all"]["mae"] == pytest.approx((0 + 3 + 10 + 20) / 4, abs=0.01)
    assert report["all"]["median"] == pytest.approx(6.5, abs=0.01)
    assert report["band_accuracy"]["share"] == 0.5  # 50 is not 21-40, nor 90 61-80
    assert (report["adults"]["mae"], report["adults"]["faces"]) == (pytest.approx(6.5, abs=0.01), 2)
    asian = report["by_race"]["Asian"]
    assert (asian["median"], asian["band_accuracy"]["share"]) == (pytest.approx(1.5, abs=0.01), 1)
    assert {name: row["faces"] for name, row in report["by_age"].items()} == {
        "0-12": 1, "21-40": 1, "41-60": 1, "81+": 1,
    }  # fmt: skip
    assert report["by_age"]["81+"]["mae"] == pytest.approx(20, abs=0.01)
    alone = report["by_gender"]["male"]
    assert (alone["faces"], alone["inside"]["share"], alone["low"], alone["high"]) == (1, 1, None, None)
    assert report["by_race"]["Asian"]["mae"] == pytest.approx(1.5, abs=0.01)
    # 1.2816 deviations on each side: of 0.6, 2.64, 3 and 3 years, and half a year's evenness besides
    assert report["all"]["width"] == pytest.approx(2 * 1.2816 * np.mean([0.6, 2.64, 3, 3]), rel=0.05)
    assert report["all"]["inside"]["share"] == pytest.approx(0.5)
    assert report["all"]["inside"]["low"] == pytest.approx(0.15, abs=1e-4)  # Wilson, 2 of 4
    assert report["all"]["low"] < report["all"]["mae"] < report["all"]["high"]


def test_the_interval_of_an_error_shrinks_with_the_faces():
    rng = np.random.default_rng(0)
    errors = rng.normal(0, 6, 1600).round()
    labels = {"age": 40 + errors, "gender": np.zeros(1600, int), "race": np.zeros(1600, int)}
    widths = []
    for count in (100, 1600):
        some = {key: column[:count] for key, column in labels.items()}
        report = report_age(_logits_of_ages([40] * count), some, {"tail": 0.1})["all"]
        widths.append(report["high"] - report["low"])
        mean, deviation = np.abs(errors[:count]).mean(), np.abs(errors[:count]).std()
        assert report["mae"] == pytest.approx(mean, abs=0.01)
        assert widths[-1] == pytest.approx(2 * 1.96 * deviation / np.sqrt(count), rel=0.15)
    assert widths[1] < widths[0] / 3


def test_calibrated_ranges_hold_four_fifths_of_the_faces():
    rng = np.random.default_rng(0)
    centers = rng.uniform(20, 80, 2000)
    ages = (centers + rng.normal(0, 5, 2000)).round()  # the distributions, 1.6 to 3 years wide, are too sure
    logits = _logits_of_ages(centers)
    tail = calibrate_age(logits, {"age": ages})["tail"]
    told = [Age(*age).range for age in zip(*decode_age(logits, tail), strict=True)]
    low, high = np.array(told).T
    assert ((low <= ages) & (ages <= high)).mean() == pytest.approx(0.8, abs=0.01)
    assert 0 < tail < 0.1
    report = report_age(logits, {"age": ages}, {"tail": tail})["all"]
    assert report["inside"]["share"] == pytest.approx(0.8, abs=0.01)
    assert report["width"] == pytest.approx((high - low).mean())


def test_ages_that_no_range_holds_get_the_widest():
    labels = {"age": np.full(20, 130)}
    assert calibrate_age(np.zeros((20, 117)), labels) == {"tail": 0}


def test_ages_that_are_nearly_always_right_need_no_range():
    ages = np.array([5, 30, 50, 90, 20] * 4)
    assert calibrate_age(_logits_of_ages(ages), {"age": ages}) == {"tail": 0.5}

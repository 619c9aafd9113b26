import numpy as np
import pytest

from inference.faces import EMOTIONS
from training.networks import AGES
from training.tasks import TASKS, age_distributions, age_loss, class_weights, mae

YEARS = np.arange(AGES)


def test_age_distributions_stand_on_the_age():
    ages = np.array([0, 1, 7, 30, 90, 116])
    bells = age_distributions(ages)
    assert bells.shape == (6, AGES)
    assert bells.dtype == np.float32
    assert bells.sum(axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert bells.argmax(axis=1).tolist() == ages.tolist()
    assert (bells @ YEARS)[2:5] == pytest.approx(ages[2:5], abs=0.01)


def test_age_distributions_are_narrow_for_children():
    bells = age_distributions(np.array([5, 20, 60]))
    spreads = np.sqrt(((YEARS - np.array([[5], [20], [60]])) ** 2 * bells).sum(axis=1))
    assert spreads == pytest.approx([0.6, 1.6, 3.0], abs=0.02)


def test_age_error_is_in_years():
    truth, answer = age_distributions(np.array([20.0, 50.0])), age_distributions(np.array([26.0, 50.0]))
    assert np.array(mae(truth, np.log(answer + 1e-30))) == pytest.approx([6, 0], abs=0.01)


def test_age_loss_prefers_the_nearer_answer():
    truth = age_distributions(np.array([40.0, 40.0, 40.0]))
    logits = np.log(age_distributions(np.array([40.0, 45.0, 60.0])) + 1e-30).astype(np.float32)
    right, near, far = np.array(age_loss(truth, logits))
    assert right < near < far


def test_age_loss_is_cross_entropy_and_a_tenth_of_the_years():
    truth, answer = age_distributions(np.array([40.0])), age_distributions(np.array([46.0]))
    entropy = -(truth * np.log(answer + 1e-30)).sum()
    loss = np.array(age_loss(truth, np.log(answer + 1e-30)))
    assert loss == pytest.approx([entropy + 0.1 * 6], rel=1e-3)


def test_genders_are_learnt_with_a_doubt_of_one_in_a_hundred():
    """Labels are wrong at times, and a network that is surer than they are right errs on the rest."""
    loss = TASKS["traits"].losses["gender"]
    sure = np.log(np.array([0.9, 0.99, 0.999]) / np.array([0.1, 0.01, 0.001]))
    losses = [float(loss(np.ones((1, 1)), np.array([[logit]]))) for logit in sure]
    assert min(losses) == losses[1]


def test_rare_emotions_weigh_more_and_the_mean_weight_is_one():
    votes = np.repeat(np.eye(len(EMOTIONS), dtype=np.float32), (40, 2, 10, 100, 50, 30, 100), axis=0)
    weights = TASKS["emotion"].weights({"votes": votes})
    assert weights.mean() == pytest.approx(1, abs=1e-5)
    assert weights[41] > weights[45] > weights[60]  # disgust, fear, happy
    assert weights[41] / weights[60] == pytest.approx(50**0.5, rel=1e-4)
    more = class_weights(votes.argmax(axis=1), 0.75)
    assert more.mean() == pytest.approx(1, abs=1e-5)
    assert more[41] / more[60] == pytest.approx(50**0.75, rel=1e-4)


@pytest.mark.parametrize("name", list(TASKS))
def test_targets_losses_and_metrics_fit_the_heads(name, make_faces):
    task = TASKS[name]
    labels = make_faces(6, 0)[0].labels
    targets = task.targets(labels)
    assert set(targets) == set(task.heads) == set(task.losses) == set(task.metrics)
    assert {head: target.shape for head, target in targets.items()} == {
        head: (6, size) for head, size in task.heads.items()
    }
    assert task.weights(labels).shape == (6,)
    logits = {head: np.zeros((6, size), np.float32) for head, size in task.heads.items()}
    for head, loss in task.losses.items():
        assert np.isfinite(np.array(loss(targets[head], logits[head]))).all()


def test_gender_is_right_where_the_logit_has_its_sign():
    women = np.array([[1.0], [0.6], [0.4], [0.0]])
    right = TASKS["traits"].metrics["gender"](women, np.array([[0.3], [-2.0], [-0.1], [-5.0]]))
    assert np.array(right)[:, 0].tolist() == [1, 0, 1, 1]

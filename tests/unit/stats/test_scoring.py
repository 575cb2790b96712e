"""Every metric equals scikit-learn's, plain and weighted; what has no value says why."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from ci_mlops.stats.metrics import METRICS, find
from ci_mlops.stats.scoring import Answers, Undefined, calibration_error, measure, scorer_of

RNG = np.random.default_rng(3)
N = 300
WEIGHTS = RNG.integers(0, 4, N).astype(float)


def _binary() -> Answers:
    truth = RNG.integers(0, 2, N)
    p = np.round(np.clip(0.3 * truth + RNG.random(N) * 0.7, 0.01, 0.99), 2)
    return Answers(
        task="binary",
        truth=truth,
        predicted=(p > 0.5).astype(int),
        scores=np.column_stack([1 - p, p]),
        classes=("no", "yes"),
    )


def _multiclass() -> Answers:
    truth = RNG.integers(0, 3, N)
    scores = RNG.dirichlet([1, 1, 1], N) + np.eye(3)[truth] * 0.5
    scores /= scores.sum(axis=1, keepdims=True)
    return Answers(
        task="multiclass",
        truth=truth,
        predicted=scores.argmax(axis=1),
        scores=scores,
        classes=("a", "b", "c"),
    )


def _regression() -> Answers:
    truth = RNG.normal(100, 5, N)
    return Answers(task="regression", truth=truth, predicted=truth + RNG.normal(0, 2, N))


ANSWERS = {"binary": _binary(), "multiclass": _multiclass(), "regression": _regression()}


def _theirs(a: Answers, name: str, w: Any) -> float:
    t, p, s = a.truth, a.predicted, a.scores
    if a.task == "regression":
        simple: Any = {
            "mae": sk.mean_absolute_error,
            "r2": sk.r2_score,
            "rmse": sk.root_mean_squared_error,
        }
        return float(simple[name](t, p, sample_weight=w))
    assert s is not None
    proba = s[:, 1] if a.task == "binary" else s
    table: dict[str, Any] = {
        "roc_auc": lambda: sk.roc_auc_score(t, proba, sample_weight=w),
        "average_precision": lambda: sk.average_precision_score(t, proba, sample_weight=w),
        "log_loss": lambda: sk.log_loss(t, proba, sample_weight=w),
        "brier": lambda: sk.brier_score_loss(t, proba, sample_weight=w),
        "accuracy": lambda: sk.accuracy_score(t, p, sample_weight=w),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(t, p, sample_weight=w),
        "precision": lambda: sk.precision_score(t, p, sample_weight=w),
        "recall": lambda: sk.recall_score(t, p, sample_weight=w),
        "f1": lambda: sk.f1_score(t, p, sample_weight=w),
        "f1_macro": lambda: sk.f1_score(t, p, average="macro", sample_weight=w),
        "roc_auc_ovr": lambda: sk.roc_auc_score(t, proba, multi_class="ovr", sample_weight=w),
    }
    return float(table[name]())


@pytest.mark.parametrize(
    ("task", "name"),
    [(t, m.name) for t, of in METRICS.items() for m in of if m.name != "median_absolute_error"],
)
def test_scikit_learn_agrees(task: str, name: str) -> None:
    answers = ANSWERS[task]
    assert measure(answers, name) == pytest.approx(_theirs(answers, name, np.ones(N)), abs=1e-9)
    scorer = scorer_of(answers, name)
    assert not isinstance(scorer, Undefined)
    both = scorer(np.vstack([WEIGHTS, np.ones(N)]))
    assert both[0] == pytest.approx(_theirs(answers, name, WEIGHTS), abs=1e-9)


@pytest.mark.parametrize("rows", [299, 300])
def test_median_absolute_error(rows: int) -> None:
    answers = ANSWERS["regression"].take(np.arange(rows))
    expected = sk.median_absolute_error(answers.truth, answers.predicted)
    assert measure(answers, "median_absolute_error") == pytest.approx(expected)


def test_a_resample_is_the_same_as_repeating_rows() -> None:
    rows = np.repeat(np.arange(N), WEIGHTS.astype(int))
    for task, answers in ANSWERS.items():
        for metric in METRICS[task]:
            scorer = scorer_of(answers, metric.name)
            assert not isinstance(scorer, Undefined)
            repeated = measure(answers.take(rows), metric.name)
            assert float(scorer(WEIGHTS[None, :])[0]) == pytest.approx(repeated), metric.name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("roc_auc", "one class only"),
        ("average_precision", "one class only"),
        ("balanced_accuracy", "one class only"),
        ("recall", "one class only"),
        ("precision", "one class only"),
    ],
)
def test_one_class_has_no_value(name: str, reason: str) -> None:
    answers = ANSWERS["binary"]
    found = measure(answers.take(answers.truth == 0).take(np.arange(0, 3)), name)
    if name == "precision" and not isinstance(found, Undefined):
        assert found == 0  # a negative was predicted positive: precision is 0, and has a value
        return
    assert isinstance(found, Undefined)
    assert reason in found.reason


def test_nothing_predicted_positive_has_no_precision() -> None:
    answers = Answers(
        task="binary", truth=np.array([0, 1]), predicted=np.array([0, 0]), classes=("a", "b")
    )
    assert measure(answers, "precision") == Undefined(reason="no row is predicted positive")
    assert measure(answers, "roc_auc") == Undefined(reason="the model gives no probabilities")
    assert isinstance(calibration_error(answers), Undefined)


def test_no_rows_and_a_constant_label() -> None:
    answers = ANSWERS["regression"]
    assert measure(answers.take(np.arange(0)), "mae") == Undefined(reason="there are no rows")
    same = Answers(task="regression", truth=np.full(9, 0.1), predicted=np.arange(9.0))
    assert measure(same, "r2") == Undefined(reason="the label has one value only")


def test_calibration_of_a_sure_and_wrong_model() -> None:
    answers = Answers(
        task="binary",
        truth=np.zeros(10, dtype=int),
        predicted=np.ones(10, dtype=int),
        scores=np.tile([0.0, 1.0], (10, 1)),
        classes=("a", "b"),
    )
    assert calibration_error(answers) == pytest.approx(1.0)
    found = calibration_error(ANSWERS["multiclass"])
    assert isinstance(found, float)
    assert 0 < found < 1


def test_which_way_is_worse() -> None:
    auc, loss = find("roc_auc", "binary"), find("log_loss")
    assert auc is not None
    assert loss is not None
    assert auc.worsening(-0.1) == pytest.approx(0.1)
    assert loss.worsening(-0.1) == pytest.approx(-0.1)
    assert find("mae", "binary") is None

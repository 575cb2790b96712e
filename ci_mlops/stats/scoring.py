"""Metrics of weighted rows: a resample is a row of weights, so thousands cost one product.

Definitions are scikit-learn's (https://scikit-learn.org/stable/modules/model_evaluation.html) with
`sample_weight`; the tests hold every metric to scikit-learn's value.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scorer = Callable[[Floats], Floats]
"""Weights of shape (resamples, rows) to values of shape (resamples,), NaN where undefined."""

SMALLEST = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 in a log loss, as scikit-learn does."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Truth and a model's answers for n rows, in one order."""

    task: str
    truth: NDArray[np.generic]
    """Class numbers, or values; shape (n,)."""
    predicted: NDArray[np.generic]
    """Class numbers, or values; shape (n,)."""
    scores: Floats | None = None
    """Class probabilities, shape (n, classes)."""
    classes: tuple[str, ...] = ()
    positive: int = 1
    """Binary tasks: the number of the favourable class."""

    def take(self, rows: NDArray[np.generic]) -> "Answers":
        """The answers for some of the rows, by mask or position."""
        return Answers(
            task=self.task,
            truth=self.truth[rows],
            predicted=self.predicted[rows],
            scores=None if self.scores is None else self.scores[rows],
            classes=self.classes,
            positive=self.positive,
        )


@dataclass(frozen=True, kw_only=True)
class Undefined:
    """A metric that has no value on these rows, and why."""

    reason: str


def measure(answers: Answers, name: str) -> float | Undefined:
    """A metric on all rows, or the reason why it has no value; never NaN."""
    if not len(answers.truth):
        return Undefined(reason="there are no rows")
    scorer = scorer_of(answers, name)
    if isinstance(scorer, Undefined):
        return scorer
    value = float(scorer(np.ones((1, len(answers.truth))))[0])
    return value if np.isfinite(value) else Undefined(reason=_why_undefined(answers, name))


def scorer_of(answers: Answers, name: str) -> Scorer | Undefined:
    """Prepare a metric once for many weightings of the same rows."""
    needs = ("roc_auc", "average_precision", "log_loss", "brier", "roc_auc_ovr")
    if name in needs and answers.scores is None:
        return Undefined(reason="the model gives no probabilities")
    return _regression(answers, name) if answers.task == "regression" else _classes(answers, name)


def _classes(answers: Answers, name: str) -> Scorer:
    if name in {"log_loss", "brier"}:
        return _mean(_row_loss(answers, name))
    if name == "accuracy":
        return _mean(_right(answers))
    if name in {"roc_auc", "average_precision"}:
        scores = _scores(answers)[:, answers.positive]
        is_positive = answers.truth == answers.positive
        return (_auc if name == "roc_auc" else _average_precision)(scores, is_positive)
    if name == "roc_auc_ovr":
        return _one_versus_rest(answers)
    return _by_confusion(answers, name)


def row_quality(answers: Answers) -> Floats:
    """How well each row is answered: 1 or 0 for a class, minus the absolute error for a value."""
    if answers.task == "regression":
        return -np.abs(_errors(answers))
    return _right(answers)


def calibration_error(answers: Answers, bins: int = 10) -> float | Undefined:
    """Expected calibration error over bins of equally many rows (Nixon et al. 2019, ACE).

    Binary: of the positive class's probability; otherwise of the highest probability.
    """
    if answers.scores is None or not len(answers.truth):
        return Undefined(reason="the model gives no probabilities")
    if answers.task == "binary":
        confidence = answers.scores[:, answers.positive]
        right = answers.truth == answers.positive
    else:
        confidence = answers.scores.max(axis=1)
        right = answers.scores.argmax(axis=1) == answers.truth
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(order))


def _right(answers: Answers) -> Floats:
    return np.asarray(answers.predicted == answers.truth, dtype=np.float64)


def _scores(answers: Answers) -> Floats:
    if answers.scores is None:
        raise ValueError("these answers have no scores")
    return answers.scores


def _errors(answers: Answers) -> Floats:
    return answers.predicted.astype(np.float64) - answers.truth.astype(np.float64)


def _why_undefined(answers: Answers, name: str) -> str:
    if answers.task == "regression":
        return "the label has one value only"
    if len(np.unique(answers.truth)) < 2:
        return "the label has one class only"
    if name == "precision":
        return "no row is predicted positive"
    return f"{name} divides by zero on these rows"


def _mean(values: Floats) -> Scorer:
    return lambda weights: _ratio(weights @ values, weights.sum(axis=1))


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan))


def _row_loss(answers: Answers, name: str) -> Floats:
    scores = _scores(answers)
    if name == "brier":
        hit = answers.truth == answers.positive
        return np.asarray((scores[:, answers.positive] - hit) ** 2)
    totals = np.maximum(scores.sum(axis=1), SMALLEST)
    own = scores[np.arange(len(scores)), answers.truth.astype(np.int64)] / totals
    return np.asarray(-np.log(np.clip(own, SMALLEST, 1 - SMALLEST)))


def _regression(answers: Answers, name: str) -> Scorer:
    errors = _errors(answers)
    if name == "mae":
        return _mean(np.abs(errors))
    if name == "rmse":
        squared = _mean(errors**2)
        return lambda weights: np.sqrt(squared(weights))
    if name == "median_absolute_error":
        return _median(np.abs(errors))
    truth = answers.truth.astype(np.float64)
    centred = truth - truth.mean()
    columns = np.column_stack([errors**2, centred, centred**2])

    def r2(weights: Floats) -> Floats:
        sums, total = weights @ columns, weights.sum(axis=1)
        spread = sums[:, 2] - _ratio(sums[:, 1] ** 2, total)
        # A constant label leaves rounding errors here, not an exact zero.
        spread = np.where(spread > 1e-12 * np.maximum(1.0, sums[:, 2]), spread, 0.0)
        return 1 - _ratio(sums[:, 0], spread)

    return r2


def _median(values: Floats) -> Scorer:
    order = np.argsort(values, kind="stable")
    ordered = values[order]

    def median(weights: Floats) -> Floats:
        running = np.cumsum(weights[:, order], axis=1)
        half = running[:, -1:] / 2
        low, high = (running >= half).argmax(axis=1), (running > half).argmax(axis=1)
        return np.asarray((ordered[low] + ordered[high]) / 2)

    return median


def _by_confusion(answers: Answers, name: str) -> Scorer:
    count = max(len(answers.classes), 2)
    numbers = np.arange(count)
    predicted = (answers.predicted[:, None] == numbers).astype(np.float64)
    truth = (answers.truth[:, None] == numbers).astype(np.float64)
    columns = np.hstack([predicted * truth, predicted, truth])
    positive = answers.positive

    def score(weights: Floats) -> Floats:
        hits, chosen, actual = np.split(weights @ columns, 3, axis=1)
        if name == "precision":
            return _ratio(hits[:, positive], chosen[:, positive])
        if name == "recall":
            return _ratio(hits[:, positive], actual[:, positive])
        if name == "f1":
            return _ratio(2 * hits[:, positive], (chosen + actual)[:, positive])
        if name == "f1_macro":
            return _mean_of_known(_ratio(2 * hits, chosen + actual))
        recalls = _ratio(hits, actual)
        alone = (actual > 0).sum(axis=1) < 2
        return np.where(alone, np.nan, _mean_of_known(recalls))

    return score


def _mean_of_known(values: Floats) -> Floats:
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _grouped(scores: Floats, is_positive: NDArray[np.generic]) -> Callable[..., tuple[Floats, ...]]:
    """Weights of positives and negatives for each distinct score, ascending."""
    order = np.argsort(scores, kind="stable")
    ordered, hit = scores[order], is_positive[order].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    tied = len(starts) < len(ordered)

    def group(weights: Floats) -> tuple[Floats, ...]:
        placed = weights[:, order]
        above = placed * hit
        below = placed - above
        if tied:
            above = np.add.reduceat(above, starts, axis=1)
            below = np.add.reduceat(below, starts, axis=1)
        return above, below

    return group


def _auc(scores: Floats, is_positive: NDArray[np.generic]) -> Scorer:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half."""
    group = _grouped(scores, is_positive)

    def auc(weights: Floats) -> Floats:
        above, below = group(weights)
        ranks = np.cumsum(below, axis=1) - below / 2
        pairs = above.sum(axis=1) * below.sum(axis=1)
        return _ratio(np.einsum("ij,ij->i", above, ranks), pairs)

    return auc


def _average_precision(scores: Floats, is_positive: NDArray[np.generic]) -> Scorer:
    group = _grouped(-scores, is_positive)

    def average_precision(weights: Floats) -> Floats:
        above, below = group(weights)
        hits = np.cumsum(above, axis=1)
        chosen = hits + np.cumsum(below, axis=1)
        precision = hits / np.maximum(chosen, SMALLEST)
        return _ratio(np.einsum("ij,ij->i", above, precision), hits[:, -1])

    return average_precision


def _one_versus_rest(answers: Answers) -> Scorer:
    scores = _scores(answers)
    # scikit-learn refuses a class without rows; here the classes that do occur are averaged.
    parts = [_auc(scores[:, number], answers.truth == number) for number in range(scores.shape[1])]
    return lambda weights: _mean_of_known(np.column_stack([part(weights) for part in parts]))

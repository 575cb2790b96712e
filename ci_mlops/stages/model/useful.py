"""Is the model better than one that ignores its input, and beyond its training rows too."""

import numpy as np

from ci_mlops.evidence import Check, Interval, Limit, Outcome
from ci_mlops.stage import Workspace
from ci_mlops.stages.model import ModelStage
from ci_mlops.stages.model.answers import Absent, Pair, train_answers
from ci_mlops.stats.bootstrap import Resampled
from ci_mlops.stats.scoring import Answers, Undefined, measure

NEAR_USELESS = 0.2
"""A skill that is surely below this, and not surely above the floor, is as good as none: for a ROC
AUC, below 0.6."""
MIN_TRAIN_ROWS = 100
NO_WORSE = 0.02


def skill_metric(answers: Answers) -> str:
    """The metric that skill is measured by: ROC AUC where there are probabilities, else by task."""
    if answers.task == "regression":
        return "r2"
    if answers.scores is None:
        return "balanced_accuracy"
    return "roc_auc" if answers.task == "binary" else "roc_auc_ovr"


def constant_check(head: Answers) -> Check:
    """Fails a model that gives every row the same answer."""
    given = head.predicted if head.scores is None else head.scores
    spread = np.ptp(given.astype(float), axis=0)
    constant = bool((spread <= 0).all())
    message = (
        f"The model gives all {len(head.truth)} test rows the same answer."
        if constant
        else f"The model's answers differ between the {len(head.truth)} test rows."
    )
    return Check(
        name="constant-predictions",
        outcome="failed" if constant else "passed",
        message=message,
        rows=len(head.truth),
        remedy="Look whether the features reach the model, and whether training ended well."
        if constant
        else "",
    )


def floor_check(settings: ModelStage, head: Answers, spread: Resampled | None) -> Check | None:
    """Fails a model that is not surely better than one that ignores its input.

    Skill is 0 for such a model and 1 for a perfect one: 2 AUC - 1, (balanced accuracy - 1/k) /
    (1 - 1/k), or R².
    """
    if settings.floor is None:
        return None
    name, metric = "better-than-trivial", skill_metric(head)
    value = measure(head, metric)
    if isinstance(value, Undefined):
        return Check(
            name=name,
            outcome="error",
            message=f"The model's skill cannot be told: {value.reason}.",
            remedy="Use test rows in which the label varies.",
        )
    seen = _skill(head, metric, value)
    sure = spread.head if spread else None
    low, high = (
        (_skill(head, metric, sure.low), _skill(head, metric, sure.high)) if sure else (0, 0)
    )
    outcome: Outcome = "inconclusive"
    meaning = "too few rows to tell whether that is better than ignoring the input"
    if sure and low > settings.floor:
        outcome, meaning = "passed", "surely better than a model that ignores its input"
    elif not (seen > settings.floor) or (sure and high < settings.floor + NEAR_USELESS):
        outcome, meaning = "failed", "no better than a model that ignores its input"
    if settings.floor > 0:
        meaning = meaning.replace("a model that ignores its input", f"the floor {settings.floor:g}")
    reach = f"; 95 % interval {low:.3f} to {high:.3f}" if sure else ""
    return Check(
        name=name,
        outcome=outcome,
        message=f"The model's skill is {seen:.3f} of 1 ({metric} {value:.4g}{reach}): {meaning}.",
        observed=seen,
        limit=Limit(at_least=settings.floor),
        interval=Interval(low=low, high=high) if sure else None,
        rows=len(head.truth),
        remedy="" if outcome == "passed" else "Check labels, features and training before limits.",
    )


def over_fit_check(settings: ModelStage, workspace: Workspace, pair: Pair) -> Check:
    """Warns when the model is far better on its training rows; fails when that is new."""
    name, metric = "over-fit", "r2" if pair.head.task == "regression" else "accuracy"
    if skill_metric(pair.head) == "roc_auc":
        metric = "roc_auc"
    train = train_answers(workspace, workspace.head)
    if isinstance(train, Absent):
        message = f"Training rows were not compared with test rows: {train.reason}."
        return Check(name=name, outcome=train.outcome, message=message[:2000])
    rows = min(len(train[1].truth), len(pair.head.truth))
    on_train, on_test = measure(train[1], metric), measure(pair.head, metric)
    if isinstance(on_train, Undefined) or isinstance(on_test, Undefined):
        fault = on_train if isinstance(on_train, Undefined) else on_test
        reason = fault.reason if isinstance(fault, Undefined) else ""
        return Check(name=name, outcome="error", message=f"{metric} has no value: {reason}.")
    gap, before = on_train - on_test, _gap_at_base(workspace, pair, metric)
    outcome: Outcome = "passed"
    said = f"{metric} is {on_train:.3f} on training rows and {on_test:.3f} on test rows"
    meaning, remedy = "", ""
    if not (gap <= settings.max_train_gap):
        remedy = "Use a simpler or more regularised model, or more training rows."
        meaning = f": {gap:.3f} apart, more than {settings.max_train_gap:g}"
        if rows < MIN_TRAIN_ROWS:
            outcome, meaning = "inconclusive", f"{meaning}, but on only {rows} rows"
        elif before is not None and gap - before > NO_WORSE:
            outcome, meaning = "failed", f"{meaning}, and {before:.3f} at base"
        else:
            outcome = "warned"
            meaning += ", as at base" if before is not None else ", and there is no base to compare"
    return Check(
        name=name,
        outcome=outcome,
        message=f"{said}{meaning}.",
        observed=gap,
        base=before,
        limit=Limit(at_most=settings.max_train_gap),
        rows=rows,
        remedy=remedy,
    )


def _gap_at_base(workspace: Workspace, pair: Pair, metric: str) -> float | None:
    if workspace.base is None or isinstance(pair.base, Absent):
        return None
    train = train_answers(workspace, workspace.base)
    if isinstance(train, Absent):
        return None
    on_train, on_test = measure(train[1], metric), measure(pair.base, metric)
    if isinstance(on_train, Undefined) or isinstance(on_test, Undefined):
        return None
    return on_train - on_test


def _skill(answers: Answers, metric: str, value: float) -> float:
    if metric == "r2":
        return value
    chance = 0.5
    if metric == "balanced_accuracy":
        chance = 1 / max(2, len(np.unique(answers.truth)))
    return (value - chance) / (1 - chance)


def spreads_needed(settings: ModelStage, head: Answers) -> tuple[str, ...]:
    """Metrics whose intervals the checks rest on."""
    return tuple(dict.fromkeys((*settings.rules(head.task), skill_metric(head))))

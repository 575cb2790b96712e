"""Rules on errors: a regression's mean error by group, and a floor that useless models miss."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Interval, Limit, Outcome
from ci_mlops.stage import Workspace
from ci_mlops.stages.policy import packs, sizes
from ci_mlops.stages.policy.decisions import label, member
from ci_mlops.stats import groups as group_stats
from ci_mlops.stats import moved

if TYPE_CHECKING:
    from ci_mlops.stages.policy import PolicyStage


def mean_error_gap(
    rule: packs.MeanErrorGap, names: tuple[str, ...], settings: "PolicyStage", workspace: Workspace
) -> list[Check]:
    """Return the check of a regression's mean error by group; of classes, one that is skipped."""
    table = workspace.table(workspace.head, "test")
    made = workspace.predictions(model=workspace.head, data=workspace.head, part="test")
    if made.classes:
        message = "Classes have no mean error; rules of kind group_metric judge them."
        return [Check(name=rule.id, outcome="skipped", slice=label(names), message=message)]
    truth = table.frame[workspace.head.data.label].to_numpy(dtype=float)
    if not np.isfinite(truth).all():
        raise CannotLook(
            "the label has missing values, so errors by group cannot be judged",
            place="data.label",
            remedy="Drop the rows without a label from the test data",
        )
    groups = group_stats.group_names(table.frame[list(names)])
    rows_by_group = groups.value_counts()
    kept = [str(name) for name, rows in rows_by_group.items() if rows >= settings.min_group_size]
    large = groups.isin(kept).to_numpy()
    found = group_stats.mean_error_gap(
        made.predicted.astype(float)[large] - truth[large], groups[large], seed=workspace.seed
    )
    small = [
        f"{name} (n = {rows})"
        for name, rows in rows_by_group.items()
        if rows < settings.min_group_size and group_stats.MISSING not in str(name)
    ]
    if found is None:
        return [sizes.undecided(rule, names, small)]
    spread = float(np.std(truth)) or 1.0
    limit = Limit(at_most=settings.limits.get(rule.id, rule.at_most_share_of_spread))
    value = found.gap / spread
    outcome: Outcome = "passed" if limit.allows(value) else packs.BROKEN[rule.severity]
    said = (
        f"Predictions err by {found.means[found.highest]:.3g} for group {found.highest} and by "
        f"{found.means[found.lowest]:.3g} for group {found.lowest} on average."
    )
    if outcome == "passed" and small:
        outcome, said = "inconclusive", f"{said} Too few rows to decide about {', '.join(small)}."
    return [
        Check(
            name=rule.id,
            outcome=outcome,
            slice=label(names),
            observed=value,
            limit=limit,
            interval=Interval(low=found.low / spread, high=found.high / spread),
            rows=int(large.sum()),
            message=said,
            remedy="" if outcome == "passed" else rule.remedy,
            source=rule.source,
        )
    ]


def floor(rule: packs.PerformanceFloor, settings: "PolicyStage", workspace: Workspace) -> Check:
    """Return the check that the balanced accuracy keeps a least value."""
    from sklearn.metrics import recall_score

    table = workspace.table(workspace.head, "test")
    made = workspace.predictions(model=workspace.head, data=workspace.head, part="test")
    if not made.classes:
        message = "A regression has no balanced accuracy; stage model judges its error."
        return Check(name=rule.id, outcome="skipped", message=message)
    labels = table.frame[workspace.head.data.label]
    truth = np.array([made.classes.index(member(one, made.classes)) for one in labels])
    guess = np.array([made.classes.index(one) for one in made.predicted])
    value = float(recall_score(truth, guess, average="macro", zero_division=0.0))
    limit = Limit(at_least=settings.limits.get(rule.id, rule.at_least))
    holds = limit.allows(value)
    return Check(
        name=rule.id,
        outcome="passed" if holds else packs.BROKEN[rule.severity],
        observed=value,
        limit=limit,
        interval=_around(value, truth, guess),
        rows=len(truth),
        message=f"Balanced accuracy is {value:.2f}; {1 / len(made.classes):.2f} is what deciding "
        "the same for everybody gives.",
        remedy="" if holds else rule.remedy,
        source=rule.source,
    )


def _around(value: float, truth: np.ndarray, guess: np.ndarray) -> Interval:
    """Return the interval of a mean of recalls, from Wilson's of each.

    Source: Zou and Donner, Statistics in Medicine 27 (2008).
    """
    every = np.unique(np.concatenate([truth, guess]))
    below = above = 0.0
    for one in every:
        rows = truth == one
        if rows.any():
            right = int((guess[rows] == one).sum())
            low, high = moved.wilson(right, int(rows.sum()))
            below += (right / rows.sum() - low) ** 2
            above += (high - right / rows.sum()) ** 2
    return Interval(
        low=max(0.0, value - math.sqrt(below) / len(every)),
        high=min(1.0, value + math.sqrt(above) / len(every)),
    )

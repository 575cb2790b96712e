"""Fairness rules: group metrics against limits and against the base, too small groups named."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Interval, Limit, Metric, Outcome, Scalar, Table
from ci_mlops.model.predictions import Predictions
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.policy import packs
from ci_mlops.stats import groups as group_stats
from ci_mlops.stats.groups import Comparison, Disparity, GroupCounts, RateName

if TYPE_CHECKING:
    import pandas as pd

    from ci_mlops.stages.policy import PolicyStage

FAILED: dict[str, Outcome] = {"block": "failed", "warn": "warned", "info": "warned"}
WORDS: dict[RateName, str] = {
    "selection_rate": "selected",
    "true_positive_rate": "rightly selected",
    "false_positive_rate": "wrongly selected",
    "false_negative_rate": "wrongly rejected",
    "precision": "rightly selected among the selected",
    "accuracy": "rightly decided",
}


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Favourable truths and decisions for n rows of the head's test data."""

    truth: np.ndarray
    decided: np.ndarray


def judge(rule: packs.Rule, settings: "PolicyStage", workspace: Workspace) -> list[Check]:
    """Return the checks of a fairness rule; none for other kinds."""
    if isinstance(rule, packs.GroupMetric | packs.Regression | packs.MeanErrorGap):
        names = features(settings, workspace, intersections=_intersects(rule))
        if not names:
            return [_nothing_to_judge(rule)]
        return [
            check for name in names for check in _judge_feature(rule, name, settings, workspace)
        ]
    if isinstance(rule, packs.PerformanceFloor):
        return [_floor(rule, settings, workspace)]
    return []


def features(
    settings: "PolicyStage", workspace: Workspace, *, intersections: bool = False
) -> tuple[tuple[str, ...], ...]:
    """Return the features, or combinations of them, that groups are formed by."""
    sensitive = workspace.head.data.sensitive
    if intersections:
        return (sensitive,) if len(sensitive) > 1 else ()
    if settings.groups is not None:
        return settings.groups
    return tuple((column,) for column in sensitive)


def decisions(model: Side, workspace: Workspace) -> Decisions:
    """Return one side's decisions on the head's test rows. Raises CannotLook."""
    table = workspace.table(workspace.head, "test")
    made = workspace.predictions(model=model, data=workspace.head, part="test")
    if not made.classes:
        raise CannotLook("group rates need classes, but the task is a regression")
    favourable = _favourable(workspace, made)
    labels = table.frame[workspace.head.data.label]
    for label in labels.unique():
        if label not in made.classes:
            # Such as "1" against 1: every row would silently count as unfavourable.
            raise CannotLook(
                f"the label {label!r} is not among the model's classes {list(made.classes)}",
                place="data.label",
                remedy="Give the test data the labels that the model was trained with",
            )
    return Decisions(truth=_is(labels, favourable), decided=_is(made.predicted, favourable))


def tables(settings: "PolicyStage", workspace: Workspace) -> Iterable[Table]:
    """Yield a table of every group's rates, by feature."""
    if workspace.head.model is None or workspace.head.model.task == "regression":
        return
    try:
        head = decisions(workspace.head, workspace)
    except CannotLook:
        return
    frame = workspace.table(workspace.head, "test").frame
    for names in features(settings, workspace):
        if any(name not in frame.columns for name in names):
            continue
        groups = group_stats.group_names(frame[list(names)])
        counted = group_stats.count(head.truth, head.decided, groups)
        rates = group_stats.rates_by_group(head.truth, head.decided, groups)
        rows: tuple[tuple[Scalar, ...], ...] = tuple(
            (
                one.group,
                one.rows,
                one.positives,
                *(round(float(rates[one.group][rate]), 4) for rate in SHOWN),
            )
            for one in counted
        )
        yield Table(
            title=f"Groups by {' and '.join(names)}",
            columns=("group", "rows", "positives", *(rate.replace("_", " ") for rate in SHOWN)),
            rows=rows[:60],
            left_out=max(0, len(rows) - 60),
        )


SHOWN: tuple[RateName, ...] = (
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "accuracy",
)


def metrics(settings: "PolicyStage", workspace: Workspace) -> Iterable[Metric]:
    """Yield the selection-rate ratio of each feature, for trends."""
    for names in features(settings, workspace):
        counted = _counted(workspace.head, names, workspace)
        found = group_stats.disparity(counted, "selection_rate", "ratio")
        if found is not None:
            yield Metric(name="selection rate ratio", slice=_label(names), value=found.value)


def _intersects(rule: packs.Rule) -> bool:
    return isinstance(rule, packs.GroupMetric) and rule.intersections


def _nothing_to_judge(rule: packs.Rule) -> Check:
    if _intersects(rule):
        message = "There are no two sensitive features to intersect, so there was nothing to judge."
        return Check(name=rule.id, outcome="skipped", message=message)
    return Check(
        name=rule.id,
        outcome="error",
        message="No sensitive feature is named, so fairness could not be judged.",
        remedy="Name the columns in `data.sensitive`, or drop the pack",
    )


def _judge_feature(
    rule: packs.Rule, names: tuple[str, ...], settings: "PolicyStage", workspace: Workspace
) -> list[Check]:
    frame = workspace.table(workspace.head, "test").frame
    for name in names:
        if name not in frame.columns:
            raise CannotLook(
                f"the head's test data has no column {name!r}",
                place="stages.policy.groups",
                remedy="Name a column of the data",
            )
    if isinstance(rule, packs.MeanErrorGap):
        return _mean_error_gap(rule, names, settings, workspace)
    if isinstance(rule, packs.Regression):
        return [_regression(rule, names, settings, workspace)]
    if isinstance(rule, packs.GroupMetric):
        return _group_metric(rule, names, settings, workspace)
    raise TypeError(rule)


# --- group metrics ------------------------------------------------------------------------------


def _group_metric(
    rule: packs.GroupMetric, names: tuple[str, ...], settings: "PolicyStage", workspace: Workspace
) -> list[Check]:
    counted = _counted(workspace.head, names, workspace, above_median=rule.above_median_score)
    total = sum(group.rows for group in counted)
    large = [g for g in counted if g.rows >= rule.leave_out_below_share * total]
    left_out = [g for g in counted if g not in large]
    kept, small = _by_size(large, rule.metric, settings)
    checks = [_left_out(rule, names, group, total) for group in left_out]
    checks += [_too_small(rule, names, group, settings) for group in small]
    found = _worst(kept, rule.metric, rule.compare)
    if found is None:
        checks.append(_undecided(rule, names, small))
        return checks
    rate, worst = found
    before = _at_base(rule, names, rate, settings, workspace)
    checks.append(
        _compared(
            rule,
            names,
            settings,
            rate=rate,
            worst=worst,
            kept=kept,
            small=_open(small),
            before=before,
        )
    )
    return checks


def _by_size(
    groups: Sequence[GroupCounts], rates: Sequence[RateName], settings: "PolicyStage"
) -> tuple[list[GroupCounts], list[GroupCounts]]:
    kept = [
        group
        for group in groups
        if group.rows >= settings.min_group_size
        and all(
            group.events(rate)[1] >= min(settings.min_positives, settings.min_group_size)
            for rate in rates
        )
    ]
    return kept, [group for group in groups if group not in kept]


def _open(small: Sequence[GroupCounts]) -> list[GroupCounts]:
    """Return the groups too small to judge that leave a rule undecided.

    Rows whose sensitive value is missing are shown and counted, but they are no group of people.
    """
    return [group for group in small if group_stats.MISSING not in group.group]


def _worst(
    groups: Sequence[GroupCounts], rates: Sequence[RateName], comparison: Comparison
) -> tuple[RateName, Disparity] | None:
    found = [(rate, group_stats.disparity(groups, rate, comparison)) for rate in rates]
    known = [(rate, one) for rate, one in found if one is not None]
    if not known:
        return None
    if comparison == "ratio":
        return min(known, key=lambda pair: pair[1].value)
    return max(known, key=lambda pair: pair[1].value)


def _compared(
    rule: packs.GroupMetric,
    names: tuple[str, ...],
    settings: "PolicyStage",
    *,
    rate: RateName,
    worst: Disparity,
    kept: Sequence[GroupCounts],
    small: Sequence[GroupCounts],
    before: float | None,
) -> Check:
    limit = _limit(rule, settings)
    slack = group_stats.TOLERANCE if rule.compare == "ratio" else -group_stats.TOLERANCE
    holds = limit.allows(worst.value + slack)
    outcome: Outcome = FAILED[rule.severity]
    if holds:
        outcome = "inconclusive" if small else "passed"
    rows = {group.group: group.rows for group in kept}
    who = f"{worst.worst} (n = {rows[worst.worst]})"
    whom = f"{worst.reference} (n = {rows[worst.reference]})"
    if rule.compare == "ratio":
        said = f"Group {who} is {WORDS[rate]} at {worst.value:.2f} of the rate of group {whom}."
    else:
        points = 100 * worst.value
        said = f"Group {who} is {WORDS[rate]} {points:.0f} points less often than group {whom}."
    if holds and small:
        listed = ", ".join(f"{group.group} (n = {group.rows})" for group in small[:5])
        said += f" Not counted as fair: too few rows to decide about {listed}."
    remedy = rule.remedy
    if outcome == "inconclusive":
        remedy = (
            f"Add test rows of that group, or lower `min_group_size` ({settings.min_group_size})"
        )
    return Check(
        name=rule.id,
        outcome=outcome,
        slice=_label(names),
        observed=worst.value,
        base=before,
        limit=limit,
        interval=Interval(low=worst.low, high=worst.high),
        rows=sum(rows.values()),
        message=said,
        remedy="" if outcome == "passed" else remedy,
        source=rule.source,
    )


def _limit(rule: packs.GroupMetric, settings: "PolicyStage") -> Limit:
    own = settings.limits.get(rule.id)
    if rule.compare == "ratio":
        return Limit(at_least=own if own is not None else rule.at_least)
    return Limit(at_most=own if own is not None else rule.at_most)


def _at_base(
    rule: packs.GroupMetric,
    names: tuple[str, ...],
    rate: RateName,
    settings: "PolicyStage",
    workspace: Workspace,
) -> float | None:
    if workspace.base is None:
        return None
    try:
        above = rule.above_median_score
        counted = _counted(workspace.base, names, workspace, above_median=above)
    except CannotLook:
        return None
    kept, _ = _by_size(counted, rule.metric, settings)
    found = group_stats.disparity(kept, rate, rule.compare)
    return None if found is None else found.value


def _too_small(
    rule: packs.Rule, names: tuple[str, ...], group: GroupCounts, settings: "PolicyStage"
) -> Check:
    return Check(
        name=rule.id,
        outcome="skipped",
        slice=f"{_label(names)} = {group.group}",
        rows=group.rows,
        message=f"Group {group.group} has {group.rows} rows, {group.positives} of them favourable: "
        f"too few to judge (at least {settings.min_group_size} rows and {settings.min_positives} "
        "that the rate rests on).",
        source=rule.source,
    )


def _left_out(
    rule: packs.GroupMetric, names: tuple[str, ...], group: GroupCounts, total: int
) -> Check:
    return Check(
        name=rule.id,
        outcome="skipped",
        slice=f"{_label(names)} = {group.group}",
        rows=group.rows,
        message=f"Group {group.group} has {group.rows} of {total} rows, less than "
        f"{100 * rule.leave_out_below_share:g} %, and is left out as the rule's source allows.",
        source=rule.source,
    )


def _undecided(rule: packs.Rule, names: tuple[str, ...], small: Sequence[GroupCounts]) -> Check:
    listed = ", ".join(f"{group.group} (n = {group.rows})" for group in small[:5])
    return Check(
        name=rule.id,
        outcome="inconclusive",
        slice=_label(names),
        message=f"Fewer than two groups are large enough to compare; too small: {listed or 'none'}."
        " Not counted as fair.",
        remedy="Add test rows of the small groups, or lower `min_group_size`",
        source=rule.source,
    )


# --- against the base ---------------------------------------------------------------------------


def _regression(
    rule: packs.Regression, names: tuple[str, ...], settings: "PolicyStage", workspace: Workspace
) -> Check:
    if workspace.base is None:
        return Check(
            name=rule.id,
            outcome="skipped",
            slice=_label(names),
            message=f"Nothing to compare with: {workspace.base_missing}.",
            source=rule.source,
        )
    head, base = (decisions(side, workspace) for side in (workspace.head, workspace.base))
    frame = workspace.table(workspace.head, "test").frame
    groups = group_stats.group_names(frame[list(names)])
    counted = group_stats.count(head.truth, head.decided, groups)
    kept, small = _by_size(counted, rule.metric, settings)
    small = _open(small)
    large = np.isin(np.asarray(groups, dtype=object), [group.group for group in kept])
    changes = [
        (rate, found)
        for rate in rule.metric
        if len(kept) > 1
        and (
            found := group_stats.change_of_disparity(
                head.truth[large],
                base.decided[large],
                head.decided[large],
                groups[large],
                rate=rate,
                comparison=rule.compare,
                seed=workspace.seed,
            )
        )
    ]
    if not changes:
        return _undecided(rule, names, small)
    sign = 1 if rule.compare == "ratio" else -1
    rate, (before, change, low, high) = min(changes, key=lambda pair: sign * pair[1][1])
    drop = settings.limits.get(rule.id, rule.max_drop)
    limit = Limit(at_least=-drop, of="change") if sign > 0 else Limit(at_most=drop, of="change")
    outcome: Outcome = "passed"
    if not limit.allows(change):
        # Beyond the tolerance, but is it more than the luck of these rows?
        sure = high < 0 if sign > 0 else low > 0
        outcome = FAILED[rule.severity] if sure else "inconclusive"
    undecided = ""
    if small:
        listed = ", ".join(f"{group.group} (n = {group.rows})" for group in small[:5])
        undecided = f" Not counted as fair: too few rows to decide about {listed}."
        outcome = "inconclusive" if outcome == "passed" else outcome
    what = (
        "ratio of the lowest to the highest" if sign > 0 else "gap between the highest and lowest"
    )
    moved = "did not change" if abs(change) < 5e-4 else f"changed by {change:+.2f}"
    return Check(
        name=rule.id,
        outcome=outcome,
        slice=_label(names),
        observed=before + change,
        base=before,
        limit=limit,
        interval=Interval(low=low, high=high, of="change"),
        rows=int(large.sum()),
        message=f"The {what} {rate.replace('_', ' ')} {moved} against the base.{undecided}",
        remedy="" if outcome == "passed" else rule.remedy,
        source=rule.source,
    )


def _mean_error_gap(
    rule: packs.MeanErrorGap, names: tuple[str, ...], settings: "PolicyStage", workspace: Workspace
) -> list[Check]:
    table = workspace.table(workspace.head, "test")
    made = workspace.predictions(model=workspace.head, data=workspace.head, part="test")
    truth = table.frame[workspace.head.data.label].to_numpy(dtype=float)
    groups = group_stats.group_names(table.frame[list(names)])
    sizes = groups.value_counts()
    kept = [str(name) for name, rows in sizes.items() if rows >= settings.min_group_size]
    large = groups.isin(kept).to_numpy()
    found = group_stats.mean_error_gap(
        made.predicted.astype(float)[large] - truth[large], groups[large], seed=workspace.seed
    )
    small = [f"{n} (n = {rows})" for n, rows in sizes.items() if rows < settings.min_group_size]
    if found is None:
        return [_undecided(rule, names, ())]
    spread = float(np.std(truth)) or 1.0
    limit = Limit(at_most=settings.limits.get(rule.id, rule.at_most_share_of_spread))
    value = found.gap / spread
    outcome: Outcome = "passed" if limit.allows(value) else FAILED[rule.severity]
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
            slice=_label(names),
            observed=value,
            limit=limit,
            interval=Interval(low=found.low / spread, high=found.high / spread),
            rows=int(large.sum()),
            message=said,
            remedy="" if outcome == "passed" else rule.remedy,
            source=rule.source,
        )
    ]


def _floor(rule: packs.PerformanceFloor, settings: "PolicyStage", workspace: Workspace) -> Check:
    from sklearn.metrics import recall_score

    table = workspace.table(workspace.head, "test")
    made = workspace.predictions(model=workspace.head, data=workspace.head, part="test")
    if not made.classes:
        message = "A regression has no balanced accuracy; stage model judges its error."
        return Check(name=rule.id, outcome="skipped", message=message)
    labels = table.frame[workspace.head.data.label]
    truth = np.array([made.classes.index(_member(one, made.classes)) for one in labels])
    guess = np.array([made.classes.index(one) for one in made.predicted])
    value = float(recall_score(truth, guess, average="macro", zero_division=0.0))
    limit = Limit(at_least=settings.limits.get(rule.id, rule.at_least))
    holds = limit.allows(value)
    return Check(
        name=rule.id,
        outcome="passed" if holds else FAILED[rule.severity],
        observed=value,
        limit=limit,
        rows=len(truth),
        message=f"Balanced accuracy is {value:.2f}; {1 / len(made.classes):.2f} is what deciding "
        "the same for everybody gives.",
        remedy="" if holds else rule.remedy,
        source=rule.source,
    )


# --- rows ---------------------------------------------------------------------------------------


def _counted(
    model: Side, names: tuple[str, ...], workspace: Workspace, *, above_median: bool = False
) -> tuple[GroupCounts, ...]:
    frame = workspace.table(workspace.head, "test").frame
    groups = group_stats.group_names(frame[list(names)])
    made = decisions(model, workspace)
    decided = made.decided
    if above_median:
        predictions = workspace.predictions(model=model, data=workspace.head, part="test")
        if predictions.scores is None:
            raise CannotLook("a scoring rate needs scores, but the model gives only labels")
        favourable = predictions.classes.index(_favourable(workspace, predictions))
        column = predictions.scores[:, favourable]
        decided = column > np.median(column)
    return group_stats.count(made.truth, decided, groups)


def _favourable(workspace: Workspace, made: Predictions) -> Any:
    positive = workspace.head.data.positive
    return made.classes[-1] if positive is None else _member(positive, made.classes)


def _member(value: Any, classes: Sequence[Any]) -> Any:
    for one in classes:
        if one == value or str(one) == str(value):
            return one
    raise CannotLook(
        f"the label {value!r} is not among the model's classes {list(classes)}",
        place="data.label",
    )


def _is(values: "pd.Series[Any] | np.ndarray", favourable: Any) -> np.ndarray:
    plain = np.asarray(values, dtype=object)
    found: np.ndarray = (plain == favourable).astype(bool)
    return found


def _label(names: tuple[str, ...]) -> str:
    return " × ".join(names)

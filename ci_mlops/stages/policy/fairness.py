"""Fairness rules: which rule is judged on which feature, and the figures shown beside them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Metric, Scalar, Table
from ci_mlops.stage import Workspace
from ci_mlops.stages.policy import against_base, errors_by_group, group_metric, packs
from ci_mlops.stages.policy.decisions import counted, decisions, label
from ci_mlops.stats import groups as group_stats
from ci_mlops.stats.groups import RateName

if TYPE_CHECKING:
    import pandas as pd

    from ci_mlops.stages.policy import PolicyStage

SHOWN: tuple[RateName, ...] = (
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "accuracy",
)


def compares(rule: packs.Rule) -> bool:
    """Whether the rule compares groups by their decisions, so that the figures are to be shown."""
    return isinstance(rule, packs.GroupMetric | packs.Regression)


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
        return [errors_by_group.floor(rule, settings, workspace)]
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


def tables(settings: "PolicyStage", workspace: Workspace) -> Iterable[Table]:
    """Yield a table of every group's rates, by feature."""
    head = decisions(workspace.head, workspace)
    frame = workspace.table(workspace.head, "test").frame
    for names in features(settings, workspace):
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
        yield _intervals(names, counted, rates)


def _intervals(
    names: Sequence[str],
    counted: Sequence[group_stats.GroupCounts],
    rates: Mapping[str, Mapping[str, float]],
) -> Table:
    """Return each rate's 95 % interval (Wilson 1927), by the rows that it is a share of."""
    rows = []
    for one in counted[:60]:
        shares = (one.rows, one.positives, one.rows - one.positives, one.rows)
        cells = [one.group, *map(_wilson, (rates[one.group][rate] for rate in SHOWN), shares)]
        rows.append(tuple(cells))
    columns = ("group", *(rate.replace("_", " ") for rate in SHOWN))
    title = f"Groups by {' and '.join(names)}: 95 % intervals"
    return Table(title=title, columns=columns, rows=tuple(rows))


def _wilson(rate: float, rows: int) -> str:
    from scipy.stats import binomtest

    if not rows or not math.isfinite(rate):
        return "no rows"
    found = binomtest(round(rate * rows), rows).proportion_ci(method="wilson")
    return f"{found.low:.3f} to {found.high:.3f}"


def metrics(settings: "PolicyStage", workspace: Workspace) -> Iterable[Metric]:
    """Yield the selection-rate ratio of each feature, for trends."""
    for names in features(settings, workspace):
        every = counted(workspace.head, names, workspace)
        found = group_stats.disparity(every, "selection_rate", "ratio")
        if found is not None:
            yield Metric(name="selection rate ratio", slice=label(names), value=found.value)


def require_columns(names: Iterable[str], frame: "pd.DataFrame") -> None:
    """Raise CannotLook for a sensitive feature that the data does not have."""
    for name in names:
        if name not in frame.columns:
            raise CannotLook(
                f"the head's data has no column {name!r} to form groups by",
                place="data.sensitive",
                remedy="Put the column back, or name another in `data.sensitive`",
            )


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
    require_columns(names, workspace.table(workspace.head, "test").frame)
    if isinstance(rule, packs.MeanErrorGap):
        return errors_by_group.mean_error_gap(rule, names, settings, workspace)
    if isinstance(rule, packs.Regression):
        return [against_base.judge(rule, names, settings, workspace)]
    if isinstance(rule, packs.GroupMetric):
        return group_metric.judge(rule, names, settings, workspace)
    raise TypeError(rule)

"""Rules on the level of a group metric: each group's rate against the best or a named group's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Interval, Limit, Outcome
from ci_mlops.stage import Workspace
from ci_mlops.stages.policy import packs, sizes
from ci_mlops.stages.policy.decisions import counted, label
from ci_mlops.stats import groups as group_stats
from ci_mlops.stats.groups import Comparison, Disparity, GroupCounts, RateName

if TYPE_CHECKING:
    from ci_mlops.stages.policy import PolicyStage

WORDS: dict[RateName, str] = {
    "selection_rate": "selected",
    "true_positive_rate": "rightly selected",
    "false_positive_rate": "wrongly selected",
    "false_negative_rate": "wrongly rejected",
    "precision": "rightly selected among the selected",
    "accuracy": "rightly decided",
}


def judge(
    rule: packs.GroupMetric, names: tuple[str, ...], settings: "PolicyStage", workspace: Workspace
) -> list[Check]:
    """Return a check of the worst comparison, and one for each group that is not compared."""
    every = counted(workspace.head, names, workspace, above_median=rule.above_median_score)
    large, left_out = _by_share(every, rule)
    kept, small = sizes.by_size(large, rule.metric, settings)
    total = sum(group.rows for group in every)
    checks = [sizes.left_out(rule, names, group, total) for group in left_out]
    checks += [sizes.too_small(rule, names, group, settings) for group in small]
    reference = rule.reference.get(label(names))
    if reference is not None and reference not in {group.group for group in kept}:
        return [*checks, _no_reference(rule, names, reference)]
    found = _worst(kept, rule.metric, rule.compare, reference)
    if found is None:
        return [*checks, sizes.undecided(rule, names, sizes.named(small))]
    rate, worst = found
    compared = _compared(
        rule,
        names,
        settings,
        rate=rate,
        worst=worst,
        kept=kept,
        small=sizes.still_open(small),
        before=_at_base(rule, names, rate, settings, workspace),
    )
    return [*checks, compared]


def _by_share(
    groups: Sequence[GroupCounts], rule: packs.GroupMetric
) -> tuple[list[GroupCounts], list[GroupCounts]]:
    """Return the groups with a large enough share of the rows, and those left out."""
    least = rule.leave_out_below_share * sum(group.rows for group in groups)
    return [g for g in groups if g.rows >= least], [g for g in groups if not g.rows >= least]


def _no_reference(rule: packs.GroupMetric, names: tuple[str, ...], reference: str) -> Check:
    return Check(
        name=rule.id,
        outcome="inconclusive",
        slice=label(names),
        message=f"The reference group {reference} is not there, or too small to compare with.",
        remedy="Name another group in `reference`, or add test rows of this one",
        source=rule.source,
    )


def _worst(
    groups: Sequence[GroupCounts],
    rates: Sequence[RateName],
    comparison: Comparison,
    reference: str | None,
) -> tuple[RateName, Disparity] | None:
    found = [
        (rate, group_stats.disparity(groups, rate, comparison, reference=reference))
        for rate in rates
    ]
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
    outcome: Outcome = packs.BROKEN[rule.severity]
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
        listed = ", ".join(sizes.named(small)[:5])
        said += f" Not counted as fair: too few rows to decide about {listed}."
    remedy = rule.remedy
    if outcome == "inconclusive":
        remedy = (
            f"Add test rows of that group, or lower `min_group_size` ({settings.min_group_size})"
        )
    return Check(
        name=rule.id,
        outcome=outcome,
        slice=label(names),
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
        every = counted(workspace.base, names, workspace, above_median=above)
    except CannotLook:
        return None
    kept, _ = sizes.by_size(_by_share(every, rule)[0], rule.metric, settings)
    reference = rule.reference.get(label(names))
    found = group_stats.disparity(kept, rate, rule.compare, reference=reference)
    return None if found is None else found.value

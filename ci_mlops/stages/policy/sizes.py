"""Which groups are large enough to judge, and what is said of those that are not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ci_mlops.evidence import Check
from ci_mlops.stages.policy import packs
from ci_mlops.stages.policy.decisions import label
from ci_mlops.stats import groups as group_stats
from ci_mlops.stats.groups import GroupCounts, RateName

if TYPE_CHECKING:
    from ci_mlops.stages.policy import PolicyStage


def by_size(
    groups: Sequence[GroupCounts], rates: Sequence[RateName], settings: "PolicyStage"
) -> tuple[list[GroupCounts], list[GroupCounts]]:
    """Return the groups with enough rows, and enough that every rate rests on, and the others."""
    kept = [
        group
        for group in groups
        if group.rows >= settings.min_group_size
        and all(group.events(rate)[1] >= min(settings.min_positives, group.rows) for rate in rates)
    ]
    return kept, [group for group in groups if group not in kept]


def still_open(small: Sequence[GroupCounts]) -> list[GroupCounts]:
    """Return the groups too small to judge that leave a rule undecided.

    Rows whose sensitive value is missing are shown and counted, but they are no group of people.
    """
    return [group for group in small if group_stats.MISSING not in group.group]


def named(groups: Sequence[GroupCounts]) -> list[str]:
    """Return each group with its number of rows, for messages."""
    return [f"{group.group} (n = {group.rows})" for group in groups]


def too_small(
    rule: packs.Rule, names: tuple[str, ...], group: GroupCounts, settings: "PolicyStage"
) -> Check:
    """Return the check that names a group too small to judge."""
    return Check(
        name=rule.id,
        outcome="skipped",
        slice=f"{label(names)} = {group.group}",
        rows=group.rows,
        message=f"Group {group.group} has {group.rows} rows, {group.positives} of them favourable: "
        f"too few to judge (at least {settings.min_group_size} rows and {settings.min_positives} "
        "that the rate rests on).",
        source=rule.source,
    )


def left_out(
    rule: packs.GroupMetric, names: tuple[str, ...], group: GroupCounts, total: int
) -> Check:
    """Return the check that names a group left out for its small share of the rows."""
    return Check(
        name=rule.id,
        outcome="skipped",
        slice=f"{label(names)} = {group.group}",
        rows=group.rows,
        message=f"Group {group.group} has {group.rows} of {total} rows, less than "
        f"{100 * rule.leave_out_below_share:g} %, and is left out as the rule's source allows.",
        source=rule.source,
    )


def undecided(rule: packs.Rule, names: tuple[str, ...], small: Sequence[str]) -> Check:
    """Return the check that says that too few groups can be compared; `small` names the others."""
    listed = ", ".join(small[:5])
    return Check(
        name=rule.id,
        outcome="inconclusive",
        slice=label(names),
        message=f"Fewer than two groups are large enough to compare; too small: {listed or 'none'}."
        " Not counted as fair.",
        remedy="Add test rows of the small groups, or lower `min_group_size`",
        source=rule.source,
    )

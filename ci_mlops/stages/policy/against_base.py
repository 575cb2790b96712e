"""Rules against the base: no gap between groups may widen."""

from typing import TYPE_CHECKING

import numpy as np

from ci_mlops.evidence import Check, Interval, Limit, Outcome
from ci_mlops.stage import Workspace
from ci_mlops.stages.policy import packs, sizes
from ci_mlops.stages.policy.decisions import decisions, label
from ci_mlops.stats import groups as group_stats

if TYPE_CHECKING:
    from ci_mlops.stages.policy import PolicyStage


def judge(
    rule: packs.Regression, names: tuple[str, ...], settings: "PolicyStage", workspace: Workspace
) -> Check:
    """Return the check of the rate whose gap changed for the worse the most."""
    if workspace.base is None:
        return Check(
            name=rule.id,
            outcome="skipped",
            slice=label(names),
            message=f"Nothing to compare with: {workspace.base_missing}.",
            source=rule.source,
        )
    head, base = (decisions(side, workspace) for side in (workspace.head, workspace.base))
    frame = workspace.table(workspace.head, "test").frame
    groups = group_stats.group_names(frame[list(names)])
    counted = group_stats.count(head.truth, head.decided, groups)
    kept, small = sizes.by_size(counted, rule.metric, settings)
    small = sizes.still_open(small)
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
        return sizes.undecided(rule, names, sizes.named(small))
    sign = 1 if rule.compare == "ratio" else -1
    rate, (before, change, low, high) = min(changes, key=lambda pair: sign * pair[1][1])
    drop = settings.limits.get(rule.id, rule.max_drop)
    limit = Limit(at_least=-drop, of="change") if sign > 0 else Limit(at_most=drop, of="change")
    outcome: Outcome = "passed"
    if not limit.allows(change):
        # Beyond the tolerance, but is it more than the luck of these rows?
        sure = high < 0 if sign > 0 else low > 0
        outcome = packs.BROKEN[rule.severity] if sure else "inconclusive"
    undecided = ""
    if small:
        listed = ", ".join(sizes.named(small)[:5])
        undecided = f" Not counted as fair: too few rows to decide about {listed}."
        outcome = "inconclusive" if outcome == "passed" else outcome
    what = (
        "ratio of the lowest to the highest" if sign > 0 else "gap between the highest and lowest"
    )
    moved = "did not change" if abs(change) < 5e-4 else f"changed by {change:+.2f}"
    return Check(
        name=rule.id,
        outcome=outcome,
        slice=label(names),
        observed=before + change,
        base=before,
        limit=limit,
        interval=Interval(low=low, high=high, of="change"),
        rows=int(large.sum()),
        message=f"The {what} {rate.replace('_', ' ')} {moved} against the base.{undecided}",
        remedy="" if outcome == "passed" else rule.remedy,
        source=rule.source,
    )

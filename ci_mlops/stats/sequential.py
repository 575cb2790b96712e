"""Whether a share moved away from what was judged, told from outcomes as they arrive.

A fixed threshold on a moving mean looks again and again, and so cries wolf; a cumulative sum pays
for every look. Source: Page, Continuous inspection schemes, Biometrika 41 (1954); the null is
composite, as in Siegmund, Sequential Analysis (1985), chapter II.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GAPS = (0.02, 0.06)
"""Alternatives, beyond the drop that is allowed: a slow one and a fast one."""
THRESHOLD = 7.5
"""Chosen on simulations: see benchmarks/monitors.py."""


@dataclass(frozen=True, kw_only=True)
class Drop:
    """What a cumulative sum says of n outcomes in the order of time."""

    statistic: float
    """The largest log likelihood ratio that was reached, of the alternatives."""
    alarm: bool
    """Whether it stands above the threshold at the end, or did at any time since it was zero."""
    alarm_at: int | None
    """Position of the outcome that raised the alarm."""
    since: int
    """Position from which the evidence has been gathering; n where there is none."""


def drop(right: NDArray[np.bool_], expected: float, allowed: float) -> Drop:
    """Hold outcomes, shape (n,), to a share of right ones of `expected` less `allowed`.

    An alarm that later outcomes take back, so that the sum returns to zero, is over.
    """
    best = Drop(statistic=0.0, alarm=False, alarm_at=None, since=len(right))
    null = min(max(expected - allowed, 0.02), 0.999)
    for gap in GAPS:
        found = _one(right, null, max(null - gap, 0.01))
        if (found.alarm, found.statistic) > (best.alarm, best.statistic):
            best = found
    return best


def _one(right: NDArray[np.bool_], null: float, other: float) -> Drop:
    steps = np.where(right, math.log(other / null), math.log((1 - other) / (1 - null)))
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    # Page's recursion in closed form: the walk above its lowest point so far.
    height = walk - np.minimum.accumulate(walk)
    zeros = np.flatnonzero(height <= 0)
    start = int(zeros[-1])
    above = np.flatnonzero(height[start:] > THRESHOLD)
    return Drop(
        statistic=float(height[start:].max()),
        alarm=bool(len(above)),
        alarm_at=start + int(above[0]) - 1 if len(above) else None,
        since=start,
    )

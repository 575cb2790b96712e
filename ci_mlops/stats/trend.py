"""Whether figures taken over time stand above a limit for good, or grow: one bad hour is neither.

A window is cut into buckets, each of which gives one figure; the interval of their median holds
whatever their distribution, and is moved by no minority of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
FEWEST = 6
"""Buckets below which a median has no interval at LEVEL."""


@dataclass(frozen=True, kw_only=True)
class Middle:
    """The median of n figures with its interval at LEVEL or above."""

    value: float
    low: float
    high: float


def middle(figures: Sequence[float]) -> Middle | None:
    """Return the median of n finite figures and its interval by order statistics.

    None below FEWEST figures. Source: Hahn and Meeker, Statistical Intervals (1991), section 5.2.
    """
    n = len(figures)
    if n < FEWEST:
        return None
    from scipy.stats import binom

    ordered = sorted(figures)
    # The largest r for which the r-th smallest and the r-th largest still enclose the median.
    rank = int(binom.ppf((1 - LEVEL) / 2, n, 0.5))
    while rank > 1 and binom.cdf(rank - 1, n, 0.5) > (1 - LEVEL) / 2:
        rank -= 1
    rank = max(1, rank)
    return Middle(value=float(np.median(ordered)), low=ordered[rank - 1], high=ordered[n - rank])


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How fast figures grow, in their unit per unit of time."""

    slope: float
    low: float
    high: float
    level: float


def growth(times: Sequence[float], figures: Sequence[float], *, level: float = 0.99) -> Growth:
    """Return the median slope through n points and its interval.

    Source: Theil (1950), Sen, Journal of the American Statistical Association 63 (1968).
    """
    from scipy.stats import theilslopes

    found = theilslopes(figures, times, alpha=level)
    return Growth(
        slope=float(found.slope),
        low=float(found.low_slope),
        high=float(found.high_slope),
        level=level,
    )


def floors(
    times: Sequence[float], figures: Sequence[float], *, blocks: int
) -> tuple[list[float], list[float]]:
    """Return the time and the figure of the least one in each of some blocks of equal length.

    What is only used for a while is given back; what leaks raises the floor. Blocks without a
    figure are left out.
    """
    first, last = min(times), max(times)
    width = (last - first) / blocks or 1.0
    least: dict[int, tuple[float, float]] = {}
    for time, figure in zip(times, figures, strict=True):
        block = min(blocks - 1, math.floor((time - first) / width))
        if block not in least or figure < least[block][1]:
            least[block] = (time, figure)
    kept = [least[block] for block in sorted(least)]
    return [time for time, _ in kept], [figure for _, figure in kept]

"""Whether the values of a column moved between two windows: distance, chance, and interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ci_mlops.stats import shift

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far two samples lie apart, 0 to 1."""

    value: float
    low: float
    high: float
    """An interval at LEVEL around the distance of the two distributions; it holds for any."""
    p_value: float
    """The chance of such a distance, or a larger one, between samples of one distribution."""


def numbers_moved(reference: np.ndarray, current: np.ndarray) -> Distance:
    """Compare finite arrays of shapes (n,) and (m,) by Kolmogorov and Smirnov's distance.

    The p-value is asymptotic (Smirnov 1948), on the safe side for values that repeat. The interval
    is that of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990), half for each sample.
    """
    from scipy.stats import kstwobign

    n, m = len(reference), len(current)
    apart = shift.kolmogorov_smirnov(reference, current)
    chance = math.log(4 / (1 - LEVEL)) / 2
    reach = math.sqrt(chance / n) + math.sqrt(chance / m)
    p_value = float(kstwobign.sf(apart * math.sqrt(n * m / (n + m))))
    return Distance(
        value=apart, low=max(0.0, apart - reach), high=min(1.0, apart + reach), p_value=p_value
    )


def categories_moved(reference: Mapping[Any, int], current: Mapping[Any, int]) -> Distance:
    """Compare counts by value by their total variation distance.

    The p-value is of Pearson's test of homogeneity, values expected fewer than five times put
    together (Cochran 1954). The interval is McDiarmid's, as in `shift.total_variation_critical`.
    """
    from scipy.stats import chi2_contingency

    n, m = sum(reference.values()), sum(current.values())
    apart = shift.total_variation(reference, current)
    reach = math.sqrt(math.log(2 / (1 - LEVEL)) / 2 * (1 / n + 1 / m))
    table = _pooled(reference, current)
    p_value = float(chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0
    return Distance(
        value=apart, low=max(0.0, apart - reach), high=min(1.0, apart + reach), p_value=p_value
    )


def shares_moved(reference: tuple[int, int], current: tuple[int, int]) -> Distance:
    """Compare two shares, each given as (events, trials), by the absolute difference.

    The interval is Newcombe's, of Wilson's for each share (Statistics in Medicine 17, 1998,
    method 10); the p-value is of Pearson's test.
    """
    found = categories_moved(
        {True: reference[0], False: reference[1] - reference[0]},
        {True: current[0], False: current[1] - current[0]},
    )
    low, high = difference_interval(reference, current)
    near = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return Distance(
        value=found.value, low=near, high=max(abs(low), abs(high)), p_value=found.p_value
    )


def count_interval(count: int) -> tuple[float, float]:
    """Return the interval at LEVEL of the mean of a Poisson count.

    Source: Garwood, Fiducial limits for the Poisson distribution, Biometrika 28 (1936).
    """
    from scipy.stats import chi2

    tail = (1 - LEVEL) / 2
    low = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    return low, float(chi2.ppf(1 - tail, 2 * count + 2)) / 2


def difference_interval(
    reference: tuple[int, int], current: tuple[int, int], *, level: float = LEVEL
) -> tuple[float, float]:
    """Return Newcombe's interval of current share less reference share, each (events, trials)."""
    p, q = reference[0] / reference[1], current[0] / current[1]
    (low_p, high_p), (low_q, high_q) = (
        wilson(*reference, level=level),
        wilson(*current, level=level),
    )
    apart = q - p
    return (
        apart - math.hypot(q - low_q, high_p - p),
        apart + math.hypot(high_q - q, p - low_p),
    )


def wilson(events: int, trials: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's interval (1927) of a share."""
    from scipy.stats import binomtest

    found = binomtest(events, trials).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being k, so that one below a is wrong with chance a at most.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = largest
    return adjusted


def _pooled(reference: Mapping[Any, int], current: Mapping[Any, int]) -> np.ndarray:
    """Return counts of shape (2, k); values that are expected fewer than five times are one."""
    n, m = sum(reference.values()), sum(current.values())
    smaller = min(n, m) / (n + m)
    kept, rest = [], [0, 0]
    for key in {*reference, *current}:
        pair = [reference.get(key, 0), current.get(key, 0)]
        if sum(pair) * smaller >= 5:
            kept.append(pair)
        else:
            rest = [rest[0] + pair[0], rest[1] + pair[1]]
    if sum(rest):
        kept.append(rest)
    return np.array(kept).T.reshape(2, -1)

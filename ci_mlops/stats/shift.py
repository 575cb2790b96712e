"""How far two samples of a column lie apart, and how far chance alone would put them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


def kolmogorov_smirnov(reference: np.ndarray, current: np.ndarray) -> float:
    """Return the largest distance between two empirical distribution functions, 0 to 1.

    Arrays of shape (n,) and (m,), finite. Source: Smirnov (1948).
    """
    one, two = np.sort(reference), np.sort(current)
    both = np.concatenate([one, two])
    gaps = np.searchsorted(one, both, side="right") / len(one) - np.searchsorted(
        two, both, side="right"
    ) / len(two)
    return float(np.abs(gaps).max())


def ks_critical(n: int, m: int, alpha: float) -> float:
    """Return the distance that samples of one distribution exceed with probability `alpha`.

    Large-sample formula of Smirnov (1948): sqrt(-ln(alpha / 2) / 2 * (n + m) / (n m)).
    """
    return math.sqrt(-math.log(alpha / 2) / 2 * (n + m) / (n * m))


def total_variation(reference: Mapping[Any, int], current: Mapping[Any, int]) -> float:
    """Return half the sum of the absolute differences of shares, 0 to 1, of two counts."""
    n, m = sum(reference.values()), sum(current.values())
    return 0.5 * sum(
        abs(reference.get(key, 0) / n - current.get(key, 0) / m) for key in {*reference, *current}
    )


def total_variation_critical(categories: int, n: int, m: int, alpha: float) -> float:
    """Return a distance that chance exceeds with probability below `alpha`.

    E[TV] <= 1/2 sqrt(k (1/n + 1/m)) by Jensen, and McDiarmid's inequality for its deviation.
    """
    mean = 0.5 * math.sqrt(categories * (1 / n + 1 / m))
    return mean + math.sqrt(-math.log(alpha) / 2 * (1 / n + 1 / m))


@dataclass(frozen=True, kw_only=True)
class Rescaling:
    """A change that looks like another unit: every value multiplied by one factor."""

    factor: float


def rescaling(
    reference: np.ndarray, current: np.ndarray, *, tolerance: float = 0.06
) -> Rescaling | None:
    """Return the factor where multiplying the reference by it explains the current sample.

    The factor is the median ratio of the quantiles, or of the ranges between them where values of
    both signs occur; it must lie off 1 by a tenth at least, and the rescaled reference must lie
    closer than `tolerance` (Kolmogorov-Smirnov). None otherwise.
    """
    steps = np.arange(10, 91, 5)
    one, two = (np.percentile(sample, steps) for sample in (reference, current))
    if not (one[0] > 0 and two[0] > 0):
        half = len(steps) // 2
        one, two = (found[-half:][::-1] - found[:half] for found in (one, two))
    if not (one.min() > 0 and two.min() > 0):
        return None
    factor = float(np.median(two / one))
    if abs(math.log(factor)) < math.log(1.1):
        return None
    apart = kolmogorov_smirnov(reference * factor, current)
    allowed = max(tolerance, ks_critical(len(reference), len(current), 0.01))
    return Rescaling(factor=factor) if apart <= allowed else None


def excess_rows_allowed(expected: float, alpha: float) -> int:
    """Return how many rare rows chance brings at most, but for a probability of `alpha`.

    `expected` is the mean of the Poisson distribution that counts of rare rows follow.
    """
    from scipy.stats import poisson

    return int(poisson.isf(alpha, max(expected, 1e-9)))


def share_noise(rate: float, n: int, m: int, *, z: float = 4.0) -> float:
    """Return `z` standard errors of the difference between two shares near `rate`."""
    spread = max(rate * (1 - rate), 0.25 / max(n, 1))
    return z * math.sqrt(spread * (1 / n + 1 / m))

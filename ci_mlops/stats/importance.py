"""How much a model relies on each feature, and how sure that is: estimates over blocks of rows.

A feature's values are exchanged between rows of one block only, so what the blocks say is
independent, and a t interval over them holds both sources of chance: which rows there are, and
which values they were given. Shares are ratios; their intervals are the jackknife's over blocks
(Efron & Tibshirani 1993, ch. 11).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

BLOCKS = 20
ROWS_OF_A_BLOCK = 10
"""At least so many rows make a block."""
FEWEST_BLOCKS = 5
"""Fewer blocks give no interval to decide by."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval `[low, high]`, both in the figure's unit."""

    value: float
    low: float
    high: float

    def is_below(self, limit: float) -> bool:
        """Whether all of the interval lies below `limit`."""
        return self.high < limit

    def is_above(self, limit: float) -> bool:
        """Whether all of the interval lies above `limit`."""
        return self.low > limit


def blocks(rows: int, *, seed: int) -> list[Positions]:
    """Positions 0 to `rows` - 1, at random, in blocks of nearly equal size; none of too few."""
    count = min(BLOCKS, rows // ROWS_OF_A_BLOCK)
    if count < FEWEST_BLOCKS:
        return []
    order = np.random.default_rng(seed).permutation(rows)
    return [np.asarray(part, dtype=np.int64) for part in np.array_split(order, count)]


def donors(block: Positions, repeat: int) -> Positions:
    """For each row of a block another row of it; a row gets another donor in each repeat.

    `repeat` counts from 1; up to a block's rows less one no donor comes twice, and none is itself.
    """
    shift = 1 + (repeat - 1) % max(1, len(block) - 1)
    return np.roll(block, shift)


def estimate(of_blocks: Floats, *, level: float = 0.95) -> Estimate:
    """The mean of values of b blocks, shape (b,), with its t interval."""
    mean = float(of_blocks.mean())
    reach = _t(len(of_blocks), level) * float(of_blocks.std(ddof=1)) / len(of_blocks) ** 0.5
    return Estimate(value=mean, low=mean - reach, high=mean + reach)


def shares(of_blocks: Floats, *, level: float = 0.95) -> list[Estimate] | None:
    """Each feature's part of what all positive ones sum to; `of_blocks` is (blocks, features).

    None where nothing is positive, so that there is nothing to have a share of; a model that no
    feature moves has shares of zero.
    """
    count = len(of_blocks)
    sums = of_blocks.sum(axis=0)
    if not of_blocks.any():
        return [Estimate(value=0.0, low=0.0, high=0.0)] * of_blocks.shape[1]
    without = _ratios((sums - of_blocks) / (count - 1))
    whole = _ratios((sums / count)[None])[0]
    if not np.isfinite(whole).all() or not np.isfinite(without).all():
        return None
    spread = np.sqrt((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    reach = _t(count, level) * spread
    return [
        Estimate(value=float(v), low=float(v - r), high=float(v + r))
        for v, r in zip(whole, reach, strict=True)
    ]


def ranks(values: Sequence[float]) -> list[int]:
    """Each value's rank, the highest first, from 1; ties in their own order."""
    order = np.argsort(-np.asarray(values, dtype=float), kind="stable")
    places = np.empty(len(order), dtype=int)
    places[order] = np.arange(1, len(order) + 1)
    return [int(one) for one in places]


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b of two rankings of the same things, -1 to 1; 1 where there is one thing."""
    a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    above = np.triu_indices(len(a), 1)
    x, y = np.sign(a[:, None] - a)[above], np.sign(b[:, None] - b)[above]
    pairs = float((x * x).sum() * (y * y).sum()) ** 0.5
    return float((x * y).sum()) / pairs if pairs else 1.0


def _ratios(means: Floats) -> Floats:
    """Rows of means over the sum of their positive ones; NaN where nothing is positive."""
    totals = np.maximum(means, 0).sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(totals > 0, means / totals, np.nan))


def _t(count: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, (1 + level) / 2))

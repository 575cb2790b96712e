"""The mean of a row's figure in many slices at once, with intervals that hold for all together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class SliceMean:
    """A slice's mean, and intervals for it alone and for all slices together."""

    name: str
    rows: int
    mean: float
    low: float
    """Bounds of this slice's own interval."""
    high: float
    sure_low: float
    """Bounds that hold for every slice at once (Bonferroni)."""
    sure_high: float


def slice_means(
    values: NDArray[np.float64],
    slices: Mapping[str, NDArray[np.bool_]],
    *,
    level: float = 0.95,
) -> tuple[SliceMean, ...]:
    """Student intervals of the mean of `values` in each slice, worst (lowest mean) first.

    `values` has shape (n,), each mask too; a slice needs two rows. The joint interval is
    Bonferroni's: each of k slices gets level 1 - (1 - level) / k.
    """
    from scipy.stats import t

    tail = (1 - level) / 2
    found: list[SliceMean] = []
    for name, mask in slices.items():
        inside = values[mask]
        rows = len(inside)
        if rows < 2:
            raise ValueError(f"slice {name!r} has fewer than two rows")
        mean, error = float(inside.mean()), float(inside.std(ddof=1) / np.sqrt(rows))
        # Where all rows agree the spread is zero, and one more row could still differ.
        error = max(error, float(np.abs(inside).max()) / rows)
        own = float(t.ppf(1 - tail, rows - 1)) * error
        joint = float(t.ppf(1 - tail / len(slices), rows - 1)) * error
        found.append(
            SliceMean(
                name=name,
                rows=rows,
                mean=mean,
                low=mean - own,
                high=mean + own,
                sure_low=mean - joint,
                sure_high=mean + joint,
            )
        )
    return tuple(sorted(found, key=lambda one: (one.mean, one.name)))

"""Which columns moved between a reference and a window, corrected for how many were looked at.

A move counts where the whole window shows it beyond chance and both of its halves show it too: what
only one half shows is a burst, and is told without alarm.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ci_mlops.dataset.columns import counts, numbers
from ci_mlops.stats import moved
from ci_mlops.stats.moved import Distance

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.001
"""Chance of one false alarm or more in a look, all columns and windows together."""
ALPHA_OF_HALF = 0.02
"""Chance that an unmoved half looks moved: so often a burst in the other half raises an alarm."""
FEWEST = 20
"""Values of a column below which it is not compared."""
MAX_REFERENCE = 100_000
Kind = Literal["number", "category"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column in the reference and in a window."""

    name: str
    kind: Kind
    reference: "pd.Series[Any]"
    current: "pd.Series[Any]"
    """In the order of time."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """How far a column moved, and whether that counts."""

    column: Column
    distance: Distance
    adjusted: float
    """The p-value, adjusted for everything that was looked at."""
    lasting: bool
    """Whether both halves of the window show it."""

    def beyond(self, limit: float) -> bool:
        """Whether it moved farther than the limit, and farther than chance explains."""
        return not (self.distance.value <= limit) and self.adjusted < ALPHA


def moves(
    columns: list[Column], *, first_half: "pd.Index[Any]", limit: float, looks: int = 1
) -> list[Move]:
    """Compare columns; of those with too few values nothing is said.

    `first_half` holds the rows of the first half of the window's time; `looks` windows are judged.
    """
    enough = [one for one in columns if min(map(_size, _both(one))) >= FEWEST]
    found = [_apart(one, one.current) for one in enough]
    adjusted = moved.holm([one.p_value for one in found])
    return [
        Move(
            column=column,
            distance=distance,
            adjusted=min(1.0, looks * chance),
            lasting=_lasts(column, first_half, limit),
        )
        for column, distance, chance in zip(enough, found, adjusted, strict=True)
    ]


def told(move: Move) -> str:
    """Return what moved, in words: the median, or the share that changed most."""
    column = move.column
    if column.kind == "number":
        one, two = numbers(column.reference), numbers(column.current)
        return f"median {np.median(one):.4g} → {np.median(two):.4g}"
    first, second = counts(column.reference), counts(column.current)
    n, m = sum(first.values()), sum(second.values())
    key = max(
        sorted({*first, *second}, key=str),
        key=lambda k: abs(first.get(k, 0) / n - second.get(k, 0) / m),
    )
    before, after = 100 * first.get(key, 0) / n, 100 * second.get(key, 0) / m
    return f"{str(key)!r} {before:.1f} % → {after:.1f} %"


def _both(column: Column) -> "tuple[pd.Series[Any], pd.Series[Any]]":
    return column.reference, column.current


def _size(values: "pd.Series[Any]") -> int:
    return int(values.notna().sum())


def _apart(column: Column, current: "pd.Series[Any]") -> Distance:
    if column.kind == "number":
        reference = numbers(column.reference)[:MAX_REFERENCE]
        return moved.numbers_moved(reference, numbers(current))
    return moved.categories_moved(counts(column.reference), counts(current))


def _lasts(column: Column, first_half: "pd.Index[Any]", limit: float) -> bool:
    """Whether each half of the window shows it: beyond half of the limit, and beyond chance."""
    early = column.current.index.isin(first_half)
    for half in (column.current[early], column.current[~early]):
        if _size(half) < FEWEST / 2:
            return False
        found = _apart(column, half)
        if found.value <= limit / 2 or found.p_value >= ALPHA_OF_HALF:
            return False
    return True

"""The domain of rows, learned from a reference: what each column may hold, and rows made of it."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ci_mlops.dataset.columns import Kind, counts, kind, numbers
from ci_mlops.errors import CannotLook

if TYPE_CHECKING:
    from ci_mlops.dataset.settings import DataSettings

MAX_VALUES = 200
"""Distinct values of a column that are remembered; of more, an even sample in order."""
Cell = Any
"""A plain Python value, or None where it is missing."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one column may hold."""

    name: str
    kind: Kind
    dtype: Any
    values: tuple[Cell, ...]
    """Values that were seen or are allowed, in order, at most 200, none missing."""
    typical: Cell
    """The median of numbers, in three digits, and of times; else the most frequent value."""
    nulls: bool
    """Whether a value may be missing."""
    low: float = 0.0
    high: float = 0.0
    """The range of a number."""
    whole: bool = False
    """Whether a number is always a whole one."""

    def holds(self, values: "pd.Series[Any]") -> np.ndarray:
        """Which of n values the column may hold, shape (n,)."""
        missing: np.ndarray = values.isna().to_numpy()
        if self.kind == "number":
            plain = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
            inside: np.ndarray = (plain >= self.low) & (plain <= self.high)
        elif self.kind == "category":
            inside = values.isin(list(self.values)).to_numpy()
        else:
            inside = ~missing
        return np.where(missing, self.nulls, inside)

    def series(self, cells: Sequence[Cell]) -> "pd.Series[Any]":
        """Cells as a column of the reference's type, or of one that can hold them."""
        if isinstance(self.dtype, pd.CategoricalDtype):
            known = list(self.dtype.categories)
            new = [one for one in dict.fromkeys(cells) if one is not None and one not in known]
            return pd.Series(
                pd.Categorical(cells, categories=known + new, ordered=self.dtype.ordered)
            )
        missing = any(one is None for one in cells)
        if missing and isinstance(self.dtype, np.dtype) and self.dtype.kind == "b":
            return pd.Series(list(cells), dtype=object)
        if missing and isinstance(self.dtype, np.dtype) and self.dtype.kind in "iu":
            return pd.Series(list(cells), dtype=float)
        try:
            made: pd.Series[Any] = pd.Series(list(cells), dtype=self.dtype)
        except (TypeError, ValueError):
            return pd.Series(list(cells))
        return made


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What a row may hold, column by column, in the order in which a model is given them."""

    columns: Mapping[str, Column] = field(default_factory=dict)

    def frame(self, cells: Mapping[str, Sequence[Cell]]) -> pd.DataFrame:
        """Rows of cells, each column a list of the same length."""
        return pd.DataFrame({name: one.series(cells[name]) for name, one in self.columns.items()})

    def cells(self, frame: pd.DataFrame) -> dict[str, list[Cell]]:
        """The cells of a frame that has all the columns."""
        return {name: plain(frame[name]) for name in self.columns}

    def typical(self) -> dict[str, Cell]:
        """The typical row."""
        return {name: one.typical for name, one in self.columns.items()}

    def inside(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame that lie in the domain."""
        kept = np.ones(len(frame), dtype=bool)
        for name, one in self.columns.items():
            kept &= one.holds(frame[name])
        return frame[kept]


def plain(column: "pd.Series[Any]") -> list[Cell]:
    """A column's values as plain Python values, None for missing ones."""
    missing = column.isna().to_numpy()
    values = column.astype(object).tolist()
    return [None if gone else _plain(one) for one, gone in zip(values, missing, strict=True)]


def learn(
    frames: Sequence[pd.DataFrame],
    names: Iterable[str],
    settings: "DataSettings",
    *,
    ranges: Mapping[str, tuple[float, ...]],
    categories: Mapping[str, tuple[Cell, ...]],
) -> Domain:
    """Learn each named column from the first frame that holds a value of it.

    `ranges` and `categories` stand in the place of what is learned. Raises CannotLook for a column
    that no frame has, or of which every value is missing.
    """
    found = {}
    for name in names:
        column = next((f[name] for f in frames if name in f and f[name].notna().any()), None)
        if column is None:
            have = [str(one) for frame in frames for one in frame.columns]
            near = difflib.get_close_matches(name, have, n=1)
            hint = f', did you mean "{near[0]}"?' if near else ""
            raise CannotLook(
                f"column {name!r} is not in the data, or has no value there{hint}",
                remedy="A domain is learned from `data.train`, or else from `data.test`",
            )
        found[name] = _learned(name, column, settings, ranges.get(name), categories.get(name))
    return Domain(columns=found)


def _learned(
    name: str,
    column: "pd.Series[Any]",
    settings: "DataSettings",
    given_range: tuple[float, ...] | None,
    given_values: tuple[Cell, ...] | None,
) -> Column:
    named = settings.categorical
    of = kind(column, categorical=None if named is None else name in named)
    of = "category" if given_values else of
    held = column.dropna()
    values = given_values or tuple(_sample(sorted(map(_plain, counts(held)), key=_order)))
    most: Cell = max(counts(held).items(), key=lambda one: (one[1], str(one[0])))[0]
    shared: dict[str, Any] = {
        "name": name,
        "kind": of,
        "dtype": column.dtype,
        "nulls": bool(column.isna().any()),
    }
    if of == "number" and len(numbers(column)):
        return _number(shared, column, values, given_range)
    if of == "number":  # infinite ones alone
        shared["kind"] = "category"
    typical = _plain(most)
    if of == "time":
        typical = held.sort_values().iloc[len(held) // 2]
    if given_values and typical not in given_values:
        typical = given_values[0]
    return Column(**shared, values=values, typical=typical)


def _number(
    shared: dict[str, Any],
    column: "pd.Series[Any]",
    values: tuple[Cell, ...],
    given: tuple[float, ...] | None,
) -> Column:
    known = np.sort(numbers(column))
    low, high = given or (float(known[0]), float(known[-1]))
    whole = bool((known == np.floor(known)).all()) and max(abs(low), abs(high)) < 2**53
    whole = whole and np.ceil(low) <= np.floor(high)
    low, high = (float(np.ceil(low)), float(np.floor(high))) if whole else (low, high)
    middle = float(known[len(known) // 2])
    typical = min(max(middle if whole else float(f"{middle:.3g}"), low), high)
    return Column(
        **shared,
        values=tuple(one for one in values if low <= one <= high),
        typical=int(typical) if column.dtype.kind in "iu" else typical,
        low=low,
        high=high,
        whole=whole,
    )


def _plain(value: Any) -> Cell:
    return value.item() if isinstance(value, np.generic) else value


def _order(value: Cell) -> tuple[str, Any]:
    number = isinstance(value, int | float)
    return ("", value) if number else (type(value).__name__, value)


def _sample(values: list[Cell]) -> list[Cell]:
    if len(values) <= MAX_VALUES:
        return values
    return [values[round(n)] for n in np.linspace(0, len(values) - 1, MAX_VALUES)]

"""Rows out of a domain: Hypothesis' own, real ones with cells redrawn, and each extreme alone."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory
from hypothesis.errors import HypothesisDeprecationWarning

from ci_mlops.dataset.domain import Cell, Column, Domain

Rows = dict[str, list[Cell]]
BY_HYPOTHESIS = 50
"""Rows that Hypothesis draws; the vectorised rest takes a thousandth of its time for each."""
NULL_SHARE = 0.1
QUIET: dict[str, Any] = {
    "backend": "hypothesis",
    "deadline": None,
    "derandomize": False,
    "print_blob": False,
    "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
    "verbosity": Verbosity.quiet,
}
"""Whatever a profile could say otherwise, as Hypothesis' own does where `CI` is set."""


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Let Hypothesis leave no files in the working directory, and not mind what other threads do.

    It warns when Python's global random state changes, as another stage may do at any time. Its
    home is the whole process's, so it is put back for whoever else uses Hypothesis there.
    """
    home = storage_directory(intent_to_write=False).home_directory
    set_hypothesis_home_dir(os.devnull)
    try:
        with warnings.catch_warnings(action="ignore", category=HypothesisDeprecationWarning):
            yield
    finally:
        set_hypothesis_home_dir(home)


def cell(column: Column, *, seen: Cell = None) -> st.SearchStrategy[Cell]:
    """What a column may hold, `seen` included, whatever it is; a single choice of Hypothesis."""
    if column.kind == "number":
        low, high = column.low, column.high
        if isinstance(seen, int | float):
            low, high = min(low, float(seen)), max(high, float(seen))
        whole = column.whole and (seen is None or float(seen).is_integer())
        if whole:
            return st.integers(int(np.ceil(low)), int(np.floor(high)))
        return st.floats(low, high, allow_nan=False)
    return st.sampled_from(choices(column, seen))


def choices(column: Column, seen: Cell = None) -> list[Cell]:
    """The values that a column without a range may hold, `seen` included."""
    extra = [] if seen is None or seen in column.values else [seen]
    return [*column.values, *extra]


def drawn(domain: Domain, real: pd.DataFrame, *, rows: int, number: int) -> pd.DataFrame:
    """Make n rows of a domain; `real` are rows to start from, `number` is the seed.

    A third at most has one extreme in a typical row, as many are real rows with some cells redrawn,
    Hypothesis draws 50, and the rest is redrawn in every cell.
    """
    rng = np.random.default_rng(number)
    found: Rows = {name: [] for name in domain.columns}
    parts: list[Callable[[int], Rows]] = [
        lambda _: _by_hypothesis(domain, min(BY_HYPOTHESIS, rows // 4), number),
        lambda left: _extremes(domain, min(rows // 3, left), rng),
        lambda left: _changed(domain, real, min(rows // 3, left), rng),
        lambda left: {name: _column(one, left, rng) for name, one in domain.columns.items()},
    ]
    for part in parts:
        made = part(rows - _count(found))
        for name, cells in made.items():
            found[name] += cells
    return domain.frame({name: cells[:rows] for name, cells in found.items()})


def _count(rows: Rows) -> int:
    return len(next(iter(rows.values()), []))


def special(column: Column) -> list[Cell]:
    """The values at which models break first: the ends of a range, those next to them, zero."""
    if column.kind != "number":
        return list(column.values[:20])
    low, high = column.low, column.high
    if column.whole:
        found = [low, high, low + 1, high - 1, 0.0, 1.0, -1.0]
        return [int(one) for one in dict.fromkeys(found) if low <= one <= high]
    middle = low + (high - low) / 2
    near = [float(np.nextafter(low, high)), float(np.nextafter(high, low))]
    found = [low, high, *near, 0.0, middle, 1.0, -1.0, 5e-324]
    return [one for one in dict.fromkeys(found) if low <= one <= high]


def _by_hypothesis(domain: Domain, rows: int, number: int) -> Rows:
    """Rows as Hypothesis draws them, with its own taste for odd numbers."""
    strategy = st.tuples(
        *(st.none() | cell(one) if one.nulls else cell(one) for one in domain.columns.values())
    )
    found: list[tuple[Cell, ...]] = []

    @settings(max_examples=max(1, rows), phases=(Phase.generate,), database=None, **QUIET)
    @seed(number)
    @given(strategy)
    def draw(row: tuple[Cell, ...]) -> None:
        found.append(row)

    with apart():
        draw()
    return {name: [row[n] for row in found] for n, name in enumerate(domain.columns)}


def _extremes(domain: Domain, rows: int, rng: np.random.Generator) -> Rows:
    """A typical row for each special value of each column, and for each that may be missing."""
    every = [(name, one) for name, c in domain.columns.items() for one in special(c)]
    every += [(name, None) for name, column in domain.columns.items() if column.nulls]
    if len(every) > rows:
        every = [every[n] for n in np.sort(rng.permutation(len(every))[:rows])]
    typical = domain.typical()
    return {
        name: [value if where == name else typical[name] for where, value in every]
        for name in domain.columns
    }


def _changed(domain: Domain, real: pd.DataFrame, rows: int, rng: np.random.Generator) -> Rows:
    """Real rows with about a quarter of their cells redrawn, and every fourth as it is."""
    if not len(real) or not rows:
        return {}
    start = domain.cells(real.iloc[rng.integers(0, len(real), rows)])
    as_it_is = np.arange(rows) % 4 == 0
    found = {}
    for name, one in domain.columns.items():
        new = _column(one, rows, rng)
        keep = (rng.random(rows) > 0.25) | as_it_is
        found[name] = [a if kept else b for a, b, kept in zip(start[name], new, keep, strict=True)]
    return found


def _column(column: Column, rows: int, rng: np.random.Generator) -> list[Cell]:
    """Cells of one column: missing ones, special ones, seen ones, and any in its range."""
    kind = rng.random(rows)
    seen = list(column.values) or [column.typical]
    ends = special(column) or seen
    picks = rng.integers(0, 2**31, rows)
    anywhere = column.low + rng.random(rows) * (column.high - column.low)
    anywhere = np.clip(np.round(anywhere) if column.whole else anywhere, column.low, column.high)
    found: list[Cell] = []
    for n in range(rows):
        if column.nulls and kind[n] < NULL_SHARE:
            found.append(None)
        elif kind[n] < 0.3:
            found.append(ends[picks[n] % len(ends)])
        elif kind[n] < 0.6 or column.kind != "number":
            found.append(seen[picks[n] % len(seen)])
        else:
            found.append(int(anywhere[n]) if column.whole else float(anywhere[n]))
    return found

"""A failing example in, the smallest that still fails out: Hypothesis' shrinker, started from it.

Hypothesis would have to find the failure again by itself; an example database that holds nothing
but the failing example's choices makes it start there instead.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase, choices_to_bytes

from ci_mlops.dataset.domain import Cell, Column, Domain
from ci_mlops.errors import CannotLook
from ci_mlops.stages.behaviour.asking import Spent
from ci_mlops.stages.behaviour.drawing import QUIET, apart, cell, choices

Breaks = Callable[[pd.DataFrame], str]
"""What is broken by the rows of an example, empty where nothing is."""
Drawn = tuple[bool, bool, Cell]
"""Whether a cell is other than typical, whether it is missing, and else its value."""
MAX_TRIES = 400


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Which cells of an example may be changed, and which are the same in all of its rows."""

    vary: tuple[str, ...] | None = None
    """The only columns in which the rows may differ; None for all."""
    fixed: tuple[str, ...] = ()
    """Columns that keep their values."""


class _Broken(Exception):  # noqa: N818 - how Hypothesis is told of a failure
    """An example fails."""


class _Start(ExampleDatabase):
    """A database of one example, among those that Hypothesis does not take for small already."""

    def __init__(self, start: Sequence[Any]) -> None:
        super().__init__()
        self.start = choices_to_bytes(start)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        return [self.start] if key.endswith(b".secondary") else []

    def save(self, key: bytes, value: bytes) -> None:
        """Forget it."""

    def delete(self, key: bytes, value: bytes) -> None:
        """Keep it."""


def shrunk(
    domain: Domain, rows: pd.DataFrame, breaks: Breaks, *, shape: Shape, number: int
) -> pd.DataFrame | None:
    """The smallest rows like `rows` that `breaks` still finds fault with; None where it finds none.

    Cells become the typical row's where they can, and else numbers as simple as possible. When the
    time is over, the smallest so far comes back.
    """
    start = domain.cells(rows)
    free = [
        (n, name)
        for n in range(len(rows))
        for name in domain.columns
        if name not in shape.fixed and (n == 0 or shape.vary is None or name in shape.vary)
    ]
    strategies = [_strategy(domain.columns[name], start[name][n]) for n, name in free]
    first = [one for n, name in free for one in _choices(domain.columns[name], start[name][n])]
    known: dict[str, bool] = {}
    smallest: list[tuple[Drawn, ...]] = []

    def fails(example: tuple[Drawn, ...]) -> bool:
        key = repr(example)
        if key not in known:
            tried = len(known) >= MAX_TRIES
            try:
                known[key] = not tried and bool(breaks(_rows(domain, start, free, example)))
            except (Spent, CannotLook):
                known[key] = False
        return known[key]

    # `settings` last: `seed` takes the database away.
    @settings(
        max_examples=MAX_TRIES,
        phases=(Phase.reuse, Phase.generate, Phase.shrink),
        database=_Start(first),
        **QUIET,
    )
    @seed(number)
    @given(st.tuples(*strategies))
    def search(example: tuple[Drawn, ...]) -> None:
        if not known and not fails(example):
            known["the start"] = False
        if "the start" in known:
            return
        if fails(example):
            smallest[:] = [example]
            raise _Broken

    # Otherwise a pytest around us that was given `--hypothesis-seed` takes the database away.
    vars(search)["_hypothesis_internal_database_key"] = b"example"
    try:
        with apart():
            search()
    except _Broken:
        return _rows(domain, start, free, smallest[0])
    return None


def _strategy(column: Column, seen: Cell) -> st.SearchStrategy[Drawn]:
    missing = st.booleans() if column.nulls or seen is None else st.just(value=False)
    value = column.typical if seen is None else seen
    return st.tuples(st.booleans(), missing, cell(column, seen=value))


def _choices(column: Column, seen: Cell) -> list[Any]:
    """The choices by which `_strategy` draws a cell that was seen."""
    can_miss = column.nulls or seen is None
    value = column.typical if seen is None else seen
    if column.kind != "number":
        value = choices(column, value).index(value)
    elif column.whole and float(value).is_integer():
        value = int(value)
    else:
        value = float(value)
    return [seen != column.typical, *([seen is None] if can_miss else []), value]


def _rows(
    domain: Domain,
    start: dict[str, list[Cell]],
    free: list[tuple[int, str]],
    example: tuple[Drawn, ...],
) -> pd.DataFrame:
    count = len(next(iter(start.values())))
    made = {name: list(cells) for name, cells in start.items()}
    typical = domain.typical()
    first_rows = {name for n, name in free if n == 0}
    varied = {(n, name) for n, name in free}
    for (n, name), (other, missing, value) in zip(free, example, strict=True):
        made[name][n] = (None if missing else value) if other else typical[name]
    for name in first_rows:
        for n in range(1, count):
            if (n, name) not in varied:
                made[name][n] = made[name][0]
    return domain.frame(made)

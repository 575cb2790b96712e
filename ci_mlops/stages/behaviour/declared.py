"""The properties that mlops.yml declares, on real rows: what may not matter, and what direction.

A share needs a population, so these are tried on head's test rows, with one column moved through
all that the domain allows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.dataset.domain import Cell, Column, Domain
from ci_mlops.errors import CannotLook
from ci_mlops.stages.behaviour import Invariance, Monotone
from ci_mlops.stages.behaviour.asking import Door, Refusal, Reply
from ci_mlops.stages.behaviour.builtin import not_finite
from ci_mlops.stages.behaviour.shrinking import Breaks, Shape
from ci_mlops.stages.behaviour.trials import Example, Trial

STEPS = 11
"""Values through which a number is moved, its ends included."""
FEW_VALUES = 20
"""A column with no more values than this is moved through each of them."""


@dataclass(frozen=True, kw_only=True)
class Real:
    """Rows of head's test data, and the labels by which classes are named."""

    domain: Domain
    rows: pd.DataFrame
    labels: "pd.Series[Any]"
    asked: int
    """Rows that were to be tried; `rows` are those of them that the model answers."""
    tolerance: float


def invariant(door: Door, real: Real, column: str, rule: Invariance) -> Trial:
    """Try whether another value of a column changes a decision. Raises Spent, CannotLook."""
    if door.inputs is not None and column not in door.inputs:
        return _not_given(real, column)
    rows = real.rows
    before = _decided(door, rows, real)
    moved, seen = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    pair = None
    for value in values(real.domain.columns[column]):
        other = with_value(real.domain, rows, column, value)
        after = _decided(door, other, real)
        flips = before.flips(after, rule.tolerance, real.tolerance)
        seen |= before.known & after.known
        if flips.any() and pair is None:
            where = int(flips.argmax())
            pair = pd.concat([rows.iloc[[where]], other.iloc[[where]]])
        moved |= flips

    def breaks(some: pd.DataFrame) -> str:
        found = _decided(door, some, real)
        one, two = found.at(0), found.at(1)
        if not one.flips(two, rule.tolerance, real.tolerance).any():
            return ""
        return (
            f"it decided {one.shown()} with one value of {column}, and {two.shown()} with another"
        )

    return _trial(moved, seen, real, _example(pair, breaks, column))


def monotone(door: Door, real: Real, column: str, rule: Monotone) -> Trial:
    """Try which way the score goes as a column rises. Raises Spent, CannotLook."""
    if door.settings.task == "multiclass":
        raise CannotLook(
            "the scores of several classes have no one direction", place="stages.behaviour.monotone"
        )
    if door.inputs is not None and column not in door.inputs:
        return _not_given(real, column)
    if real.domain.columns[column].kind != "number":
        raise CannotLook(
            f"column {column!r} holds no numbers, so it cannot rise",
            place="stages.behaviour.monotone",
        )
    rows = real.rows
    sign = 1 if rule.direction == "increasing" else -1
    against, seen = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    pair = before = earlier = None
    for value in values(real.domain.columns[column]):
        frame = with_value(real.domain, rows, column, value)
        after = _decided(door, frame, real)
        if before is not None and earlier is not None:
            wrong = before.falls(after, sign, rule.tolerance)
            seen |= before.known & after.known
            if wrong.any() and pair is None:
                where = int(wrong.argmax())
                pair = pd.concat([earlier.iloc[[where]], frame.iloc[[where]]])
            against |= wrong
        before, earlier = after, frame

    def breaks(some: pd.DataFrame) -> str:
        some = some.sort_values(column)
        found = _decided(door, some, real)
        one, two = found.at(0), found.at(1)
        if some[column].iloc[0] == some[column].iloc[1]:
            return ""
        if not one.falls(two, sign, rule.tolerance).any():
            return ""
        went = "fell" if sign > 0 else "rose"
        return f"it {went} from {one.scores[0]:.9g} to {two.scores[0]:.9g} as {column} rose"

    return _trial(against, seen, real, _example(pair, breaks, column))


def values(column: Column) -> list[Cell]:
    """The values through which a column is moved, rising."""
    if column.kind != "number" or len(column.values) <= FEW_VALUES:
        return list(column.values)[:FEW_VALUES]
    steps = np.linspace(column.low, column.high, STEPS)
    seen = [float(column.values[round(n)]) for n in np.linspace(0, len(column.values) - 1, STEPS)]
    both = np.unique(np.concatenate([steps, seen]))
    return [int(one) for one in np.unique(np.round(both))] if column.whole else both.tolist()


def with_value(domain: Domain, rows: pd.DataFrame, column: str, value: Cell) -> pd.DataFrame:
    """Return rows with one value in all of a column."""
    made = rows.copy()
    series = domain.columns[column].series([value] * len(rows))
    made[column] = series.set_axis(rows.index)
    return made


# --- what a model decided -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Decided:
    """Decisions for n rows, as far as they are known."""

    known: np.ndarray
    """Whether there is a finite answer, shape (n,)."""
    choices: np.ndarray
    """Classes or values, shape (n,)."""
    scores: np.ndarray
    """Score of the positive class, or the value; of several classes all scores; NaN if unknown."""
    regression: bool

    def at(self, row: int) -> "Decided":
        """The decision for one row."""
        part = slice(row, row + 1)
        return Decided(
            known=self.known[part],
            choices=self.choices[part],
            scores=self.scores[part],
            regression=self.regression,
        )

    def flips(self, other: "Decided", allowed: float | None, tolerance: float) -> np.ndarray:
        """Which decisions are others, or scores further apart than allowed; shape (n,)."""
        both = self.known & other.known
        if allowed is None and not self.regression:
            unequal: np.ndarray = both & (self.choices != other.choices)
            return unequal
        apart = np.abs(self.scores - other.scores)
        limit = tolerance * np.maximum(1, np.abs(self.scores)) if allowed is None else allowed
        beyond = ~(apart <= limit)
        far: np.ndarray = both & (beyond.any(axis=1) if beyond.ndim == 2 else beyond)
        return far

    def falls(self, later: "Decided", sign: int, tolerance: float) -> np.ndarray:
        """Which scores go against a direction, +1 or -1; shape (n,)."""
        against: np.ndarray = sign * (later.scores - self.scores) < -tolerance
        wrong: np.ndarray = self.known & later.known & against
        return wrong

    def shown(self) -> str:
        """The decision for the first row, with its score."""
        if self.regression:
            return f"{self.choices[0]:.9g}"
        score = f" ({self.scores[0]:.4g})" if self.scores.ndim == 1 else ""
        return f"{self.choices[0]}{score}"


def _decided(door: Door, rows: pd.DataFrame, real: Real) -> Decided:
    reply = door.ask(rows)
    if isinstance(reply, Refusal):
        return _unknown(len(rows), regression=door.settings.task == "regression")
    return decided(door, rows, reply, real.labels)


def decided(door: Door, rows: pd.DataFrame, reply: Reply, labels: "pd.Series[Any]") -> Decided:
    """Decisions on rows whose answers are finite. Raises CannotLook where answers make no sense."""
    regression = door.settings.task == "regression"
    known = ~not_finite(reply)
    if not known.any():
        return _unknown(len(rows), regression=regression)
    where = np.flatnonzero(known)
    made = door.decided(rows.iloc[where], reply.at(where), labels)
    choices = np.full(len(rows), None, dtype=object)
    choices[where] = made.predicted
    scores: np.ndarray
    if made.scores is None or regression:
        plain = made.predicted if regression else _as_number(door, made.predicted, made.classes)
        scores = np.full(len(rows), np.nan)
        scores[where] = plain
    elif door.settings.task == "binary":
        scores = np.full(len(rows), np.nan)
        scores[where] = made.scores[:, _positive(door, made.classes)]
    else:
        scores = np.full((len(rows), made.scores.shape[1]), np.nan)
        scores[where] = made.scores
    return Decided(known=known, choices=choices, scores=scores, regression=regression)


def _unknown(rows: int, *, regression: bool) -> Decided:
    return Decided(
        known=np.zeros(rows, dtype=bool),
        choices=np.full(rows, None, dtype=object),
        scores=np.full(rows, np.nan),
        regression=regression,
    )


def _positive(door: Door, classes: tuple[object, ...]) -> int:
    wanted = door.side.data.positive
    names = [str(one) for one in classes]
    return len(names) - 1 if wanted is None else names.index(str(wanted))


def _as_number(door: Door, choices: np.ndarray, classes: tuple[object, ...]) -> np.ndarray:
    """Labels as 1 for the positive class and 0 for others; of several classes, their number."""
    if door.settings.task == "binary":
        positive = classes[_positive(door, classes)]
        return np.array([one == positive for one in choices], dtype=float)
    return np.array([classes.index(one) for one in choices], dtype=float)


def _not_given(real: Real, column: str) -> Trial:
    said = f"the model is not given {column}, so it cannot matter"
    return Trial(tried=len(real.rows), said=said)


def _example(pair: pd.DataFrame | None, breaks: Breaks, column: str) -> Example | None:
    if pair is None:
        return None
    return Example(rows=pair, breaks=breaks, shape=Shape(vary=(column,)))


def _trial(broken: np.ndarray, seen: np.ndarray, real: Real, example: Example | None) -> Trial:
    tried = int(seen.sum())
    left = real.asked - tried
    return Trial(tried=tried, broken=int(broken.sum()), example=example, unlike=left)

"""How much worse each side's model answers when a feature's values are exchanged between rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ci_mlops.errors import CannotLook
from ci_mlops.model.process import Refused
from ci_mlops.stages.explain.asking import Door, Reply, Spent
from ci_mlops.stats.importance import Estimate, blocks, donors, estimate, shares

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
PARTS = 4
"""The rows are asked about in so many parts; when the time is over, those that ended count."""
MAX_REPEATS = 10
PROBES = (200, 2000)
SHARE_OF_TIME = 0.6
"""Part of the time that importance may take; the rest is for contributions and dependence."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked about."""

    frame: "pd.DataFrame"
    """Labelled rows that may be asked about, n of them, in random order."""
    labels: "pd.Series[Any]"
    units: Mapping[str, tuple[str, ...]]
    """Columns that are exchanged together, by name."""
    rows: int
    """Rows asked about for each unit, repeats counted."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One side's figures, by block of rows."""

    names: tuple[str, ...]
    """Units that could be judged."""
    loss: Floats
    """How much the mean loss rises, shape (blocks, units)."""
    moved: Floats
    """How far answers move, shape (blocks, units)."""
    rows: int
    faults: Mapping[str, str]
    """What the model said to the units that are missing."""

    def importance(self) -> dict[str, Estimate]:
        """How much the loss rises, by unit."""
        return {n: estimate(self.loss[:, i]) for i, n in enumerate(self.names)}

    def shares(self) -> dict[str, Estimate]:
        """Each unit's share of all that the loss rises by; empty where it does not rise."""
        return dict(zip(self.names, shares(self.loss) or (), strict=False))

    def moved_shares(self) -> dict[str, Estimate]:
        """Each unit's share of how far answers move; empty where none moves."""
        return dict(zip(self.names, shares(self.moved) or (), strict=False))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Both sides' figures, on the same rows with the same exchanges."""

    head: Measured
    base: Measured | None
    rows: int
    """Rows that were asked about."""
    repeats: int
    cut_short: str
    """Why fewer were asked than wanted; empty where all were."""


def measure(doors: Sequence[Door], wanted: Wanted) -> Asked:
    """Ask head's model, the first of `doors`, and base's where it is among them.

    Raises CannotLook when there are too few rows, or too little time for any.
    """
    whole = min(len(wanted.frame), wanted.rows)
    repeats = max(1, min(MAX_REPEATS, wanted.rows // max(1, whole)))
    can = _affordable(doors, wanted, whole * repeats)
    cut = ""
    if can < whole * repeats:
        cut = f"`max_seconds` allowed for {can:,} of {whole * repeats:,} rows a feature"
        repeats = max(1, can // whole)
        whole = min(whole, can)
    parts = blocks(whole, seed=wanted.seed)
    if not parts:
        raise CannotLook(
            f"{whole} rows are too few to tell what the model relies on; at least 50 are needed",
            place="stages.explain",
            remedy="Give more labelled test rows" if not cut else "Raise `max_seconds`",
        )
    frame, labels = wanted.frame.iloc[:whole], wanted.labels.iloc[:whole]
    known = [_Side(door, frame, labels) for door in doors]
    each = PARTS if len(parts) >= 5 * PARTS else 1
    done = 0
    for part in range(each):
        try:
            for side in known:
                side.exchange(parts[part::each], wanted.units, repeats)
        except Spent:
            break
        done += 1
    if not done:
        raise CannotLook(
            "the time was over before every feature was asked about",
            place="stages.explain.max_seconds",
            remedy="Raise it",
        )
    if done < each:
        cut = f"the time was over after {done} of {each} parts of the rows"
    rows = sum(len(one) for number in range(done) for one in parts[number::each])
    figures = [side.figures(wanted.units, rows, done=done) for side in known]
    base = figures[1] if len(figures) > 1 else None
    return Asked(head=figures[0], base=base, rows=rows, repeats=repeats, cut_short=cut)


class _Side:
    """One side's answers to untouched rows, and what exchanges did to them so far."""

    def __init__(self, door: Door, frame: "pd.DataFrame", labels: "pd.Series[Any]") -> None:
        self.door, self.frame = door, frame
        try:
            self.reply = door.ask(frame)
        except Spent as fault:
            raise CannotLook(
                f"{len(frame)} rows took all of the time",
                place="stages.explain.max_seconds",
                remedy="Raise it",
            ) from fault
        self.loss = loss_of(self.reply, labels)
        self.spread = _spread(labels) if not self.reply.classes else 1.0
        self.before = self.loss(self.reply.values, np.arange(len(frame)))
        self.found: list[dict[str, tuple[Floats, Floats]]] = []
        self.faults: dict[str, str] = {}

    def exchange(
        self, parts: list[NDArray[np.int64]], units: Mapping[str, tuple[str, ...]], repeats: int
    ) -> None:
        """Exchange each unit's values within each block; keep the blocks' means. Raises Spent."""
        rows = np.concatenate([one for _ in range(repeats) for one in parts])
        given = np.concatenate([donors(one, n) for n in range(1, repeats + 1) for one in parts])
        number = np.concatenate([np.full(len(one), n) for n, one in enumerate(parts)] * repeats)
        counts = np.bincount(number)
        plain = self.frame.take(rows).reset_index(drop=True)
        found: dict[str, tuple[Floats, Floats]] = {}
        for name, columns in units.items():
            own = [one for one in columns if one in self.frame.columns and self._takes(one)]
            if not own:
                found[name] = (np.zeros(len(parts)), np.zeros(len(parts)))
                continue
            if name in self.faults:
                continue
            mixed = plain.assign(**{c: self.frame[c].take(given).array for c in own})
            try:
                reply = self.door.ask(mixed)
            except Refused as fault:
                self.faults[name] = fault.said or fault.fault
                continue
            rise = self.loss(reply.values, rows) - self.before[rows]
            moved = self._moved(reply.values, rows)
            found[name] = (
                np.bincount(number, weights=rise) / counts,
                np.bincount(number, weights=moved) / counts,
            )
        self.found.append(found)

    def figures(self, units: Mapping[str, tuple[str, ...]], rows: int, *, done: int) -> Measured:
        """What the first `done` parts say of every unit that was never refused."""
        names = tuple(name for name in units if name not in self.faults)
        parts = self.found[:done]

        def joined(which: int) -> Floats:
            columns = [np.concatenate([part[name][which] for part in parts]) for name in names]
            return np.column_stack(columns) if columns else np.zeros((len(parts), 0))

        return Measured(names=names, loss=joined(0), moved=joined(1), rows=rows, faults=self.faults)

    def _takes(self, column: str) -> bool:
        return not self.door.inputs or column in self.door.inputs

    def _moved(self, values: Floats, rows: NDArray[np.int64]) -> Floats:
        apart = np.abs(values - self.reply.values[rows]).sum(axis=1)
        return np.asarray(apart / (2.0 if self.reply.classes else self.spread))


def loss_of(
    reply: Reply, labels: "pd.Series[Any]"
) -> Callable[[Floats, NDArray[np.int64]], Floats]:
    """The loss of answers to some of the rows, by position, shape (m,).

    Classes: half of the squared distance between probabilities and truth (Brier 1950), which for
    two classes is the usual Brier score, and for decisions the error rate. Values: the squared
    error in units of the labels' variance.
    """
    if not reply.classes:
        truth = labels.to_numpy(dtype=float)
        scale = _spread(labels) ** 2
        return lambda values, rows: np.asarray((values[:, 0] - truth[rows]) ** 2 / scale)
    own = np.array([plain(one) for one in reply.classes], dtype=object)
    hits = (np.array([plain(one) for one in labels], dtype=object)[:, None] == own).astype(float)
    return lambda values, rows: np.asarray(((values - hits[rows]) ** 2).sum(axis=1) / 2)


def plain(value: Any) -> str:
    """A class as text, so that 1, 1.0 and "1" are one."""
    held = value.item() if hasattr(value, "item") else value
    return str(int(held) if isinstance(held, float) and held.is_integer() else held)


def _spread(labels: "pd.Series[Any]") -> float:
    return float(labels.to_numpy(dtype=float).std()) or 1.0


def _affordable(doors: Sequence[Door], wanted: Wanted, rows: int) -> int:
    """How many rows a unit there is time for, at most `rows`, judged by asking about a few."""
    can = rows
    for size in PROBES:
        few = wanted.frame.iloc[:size]
        per_row = 0.0
        for door in doors:
            started = door.now()
            try:
                door.ask(few)
            except Spent:
                return 0
            per_row += (door.now() - started) / max(1, len(few))
        left = (doors[0].deadline - doors[0].now()) * SHARE_OF_TIME
        can = min(rows, max(0, int(left / max(1e-9, per_row * len(wanted.units)))))
        if can >= rows:
            break
    return can


def units(
    inputs: Sequence[str], together: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Every input alone, but those that are exchanged together by their common name."""
    named = {column: name for name, columns in together.items() for column in columns}
    found: dict[str, tuple[str, ...]] = {}
    for column in inputs:
        name = named.get(column, column)
        found[name] = (*found.get(name, ()), column)
    return found


def without_base(asked: Asked) -> Asked:
    """The same model stands at the base: what head's model relies on, base's does."""
    return replace(asked, base=asked.head)

"""The properties that every model should have, tried on many rows with few requests.

A first pass asks about whole batches and finds which rows break what. Each property also says of a
few rows whether they break it, and that is what Hypothesis shrinks by.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ci_mlops.dataset.domain import Cell, Column, Domain
from ci_mlops.stages.behaviour.asking import Door, Refusal, Reply, Spent
from ci_mlops.stages.behaviour.shrinking import Shape
from ci_mlops.stages.behaviour.trials import Example, Trial

MAX_HALVINGS = 300
"""Requests for finding which rows of a batch the model refuses."""
ALONE = 24
"""Rows that are asked about alone; others are asked about in small batches."""
SMALL = 7
SMALL_BATCHES = 40
UNSEEN_ROWS = 10
UNSEEN = "a category never seen"
RANGE_TOLERANCE = 1e-9
"""How far a probability may lie outside of 0 to 1: rounding of 64-bit sums, not of 32-bit ones."""
SUM_TOLERANCE = 1e-5
"""How far a row's probabilities may sum from 1: 32-bit rounding over many classes."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Rows to try, the same for head and base."""

    domain: Domain
    rows: pd.DataFrame
    others: pd.DataFrame
    """Rows that are asked about in between."""
    tolerance: float
    number: int
    without: tuple[str, ...] = ()


def trials(door: Door, plan: Plan) -> tuple[dict[str, Trial], str]:
    """Try every built-in property; return also why those that are missing were not tried."""
    why = "it is named in `without`"
    found = {name: Trial(tried=0, skipped=why) for name in plan.without}
    try:
        asked = ask_in_parts(door, plan.rows)
        for part in (_refused, _single, _again, _batches, _order, _unseen):
            for name, trial in part(door, plan, asked):
                found.setdefault(name, trial)
                if name in WAVERING and trial.broken:
                    later = [one for one in OF_ANSWERS if one not in found]
                    found |= {one: Trial(tried=0, undecided=WAVERING[name]) for one in later}
    except Spent as fault:
        return found, f"{fault}."
    return found, "The model answered no row."


WAVERING = {
    "deterministic": "the model's answers differ from themselves",
    "stateless": "the model's answers depend on what it was asked before",
}
"""Properties without which no two answers can be compared."""
OF_ANSWERS = ("stateless", "independent-of-batch", "independent-of-row-order")
Found = Iterator[tuple[str, Trial]]


# --- what one answer shows ----------------------------------------------------------------------


def _refused(door: Door, plan: Plan, asked: "Asked") -> Found:
    tried = len(plan.rows) - asked.unresolved
    raised = [one for one in asked.refused if not one.refusal.shape]
    misshapen = [one for one in asked.refused if one.refusal.shape]
    yield "never-raises", _refusals(door, raised, tried, asked.unresolved, raises)
    yield "right-shape", _refusals(door, misshapen, tried, asked.unresolved, misshapes)


def _single(door: Door, plan: Plan, asked: "Asked") -> Found:
    rows, reply = asked.rows, asked.reply
    if reply is None:
        return
    left = len(plan.rows) - len(rows)
    yield "finite", _rowwise(door, rows, not_finite(reply), answers_infinite, left)
    if door.settings.task == "regression":
        yield "probabilities", Trial(tried=0, skipped="regressions answer no probability")
    elif not is_probability(reply):
        why = "the model answers labels, not probabilities"
        yield "probabilities", Trial(tried=0, skipped=why)
    else:
        yield "probabilities", _rowwise(door, rows, improbable(reply), overshoots, left)
    yield "leaves-input-unchanged", _unchanged(door, rows, left)


def not_finite(reply: Reply) -> np.ndarray:
    """Which answers hold NaN or infinity, shape (n,)."""
    if reply.labels:
        odd = [isinstance(one, float) and not np.isfinite(one) for one in reply.values]
        return np.array(odd, dtype=bool)
    bad: np.ndarray = ~np.isfinite(reply.values).all(axis=1)
    return bad


def is_probability(reply: Reply) -> bool:
    """Whether answers of a classifier are probabilities rather than labels."""
    if reply.labels:
        return False
    values = reply.values[np.isfinite(reply.values).all(axis=1)]
    return values.shape[1] > 1 or not bool((values == np.round(values)).all())


def improbable(reply: Reply) -> np.ndarray:
    """Which answers are finite, but not probabilities that sum to 1; shape (n,)."""
    values = reply.values
    outside = ((values < -RANGE_TOLERANCE) | (values > 1 + RANGE_TOLERANCE)).any(axis=1)
    unequal = np.zeros(len(values), dtype=bool)
    if values.shape[1] > 1:
        unequal = ~(np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE)
    bad: np.ndarray = (outside | unequal) & ~not_finite(reply)
    return bad


def raises(door: Door, rows: pd.DataFrame) -> str:
    """Say what the model raised."""
    reply = door.ask(rows)
    return reply.said if isinstance(reply, Refusal) and not reply.shape else ""


def misshapes(door: Door, rows: pd.DataFrame) -> str:
    """Say what is wrong with the form of the answer."""
    reply = door.ask(rows)
    return reply.said if isinstance(reply, Refusal) and reply.shape else ""


def answers_infinite(door: Door, rows: pd.DataFrame) -> str:
    """Say that an answer is not finite."""
    reply = door.ask(rows)
    bad = isinstance(reply, Reply) and bool(not_finite(reply).any())
    return f"it answered {shown(reply)}" if bad else ""


def overshoots(door: Door, rows: pd.DataFrame) -> str:
    """Say that an answer is no probability."""
    reply = door.ask(rows)
    if isinstance(reply, Refusal) or reply.labels or not improbable(reply).any():
        return ""
    total = f", which sum to {reply.values[0].sum():.9g}" if reply.values.shape[1] > 1 else ""
    return f"it answered {shown(reply)}{total}"


def changes_input(door: Door, rows: pd.DataFrame) -> str:
    """Say which columns of its input the model changed."""
    reply = door.ask(rows, watch=True)
    if isinstance(reply, Refusal) or not reply.changed:
        return ""
    return f"it changed {', '.join(reply.changed[:5])} in the rows that it was given"


def shown(reply: Reply | Refusal, row: int = 0) -> str:
    """An answer in a few characters."""
    if isinstance(reply, Refusal):
        return reply.said
    if reply.labels:
        return repr(reply.values[row])
    values = [f"{one:.9g}" for one in reply.values[row][:4]]
    more = ", ..." if reply.values.shape[1] > 4 else ""
    return values[0] if reply.values.shape[1] == 1 else f"[{', '.join(values)}{more}]"


def _rowwise(
    door: Door,
    rows: pd.DataFrame,
    bad: np.ndarray,
    breaks: Callable[[Door, pd.DataFrame], str],
    left: int,
) -> Trial:
    if not bad.any():
        return Trial(tried=len(rows), unlike=left)
    first = rows.iloc[[int(bad.argmax())]]
    example = Example(rows=first, breaks=lambda some: breaks(door, some))
    return Trial(tried=len(rows), broken=int(bad.sum()), example=example, unlike=left)


def _unchanged(door: Door, rows: pd.DataFrame, left: int) -> Trial:
    watched = door.ask(rows, watch=True)
    if isinstance(watched, Refusal):
        return Trial(tried=len(rows), broken=len(rows), said=watched.said, unlike=left)
    if watched.changed is None:
        why = "the model is given a form of its own library, made for each request"
        return Trial(tried=0, skipped=why)
    if not watched.changed:
        return Trial(tried=len(rows), unlike=left)
    some = _narrowed(rows, lambda part: changes_input(door, part), keep=0)
    example = Example(rows=some, breaks=lambda part: changes_input(door, part))
    return Trial(tried=len(rows), broken=len(rows), example=example, unlike=left)


# --- rows that a model refuses ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Rows that were refused together, and with what."""

    rows: pd.DataFrame
    refusal: Refusal


@dataclass(kw_only=True)
class Asked:
    """A batch as far as the model answered it."""

    rows: pd.DataFrame
    reply: Reply | None = None
    refused: list[Refused] = field(default_factory=list)
    unresolved: int = 0
    """Rows of batches that were refused, and not looked into any further."""


def ask_in_parts(door: Door, rows: pd.DataFrame) -> Asked:
    """Ask about rows; halve what is refused until single rows are left, or too much was asked."""
    reply = door.ask(rows)
    if isinstance(reply, Reply):
        return Asked(rows=rows, reply=reply)
    smallest = Refused(rows=rows, refusal=reply)
    made = Asked(rows=rows.iloc[:0])
    answered: list[pd.DataFrame] = []
    todo = _halves(rows)
    requests, until = 0, door.now() + (door.deadline - door.now()) / 2
    while todo and requests < MAX_HALVINGS and door.now() < until:
        if made.refused and door.starts > 1:
            break  # a process that ended is dear to start: one row that ends it is enough
        part = todo.pop()
        reply = door.ask(part)
        requests += 1
        if isinstance(reply, Reply):
            answered.append(part)
            continue
        smallest = Refused(rows=part, refusal=reply)
        if len(part) == 1:
            made.refused.append(smallest)
        else:
            todo += _halves(part)
    made.unresolved = sum(map(len, todo))
    if not made.refused:  # only together, or it was cut short
        made.refused.append(smallest)
    if answered:
        made.rows = pd.concat(answered).sort_index()
        again = door.ask(made.rows)
        made.reply = again if isinstance(again, Reply) else None
    return made


def _halves(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows.iloc[len(rows) // 2 :], rows.iloc[: len(rows) // 2]]


def _refusals(
    door: Door,
    refused: list[Refused],
    tried: int,
    left: int,
    breaks: Callable[[Door, pd.DataFrame], str],
) -> Trial:
    if not refused:
        return Trial(tried=tried, unlike=left)
    first = refused[0]
    example = Example(rows=first.rows, breaks=lambda some: breaks(door, some))
    tried = max(1, tried)
    broken = min(tried, sum(len(one.rows) for one in refused))
    said = first.refusal.said
    return Trial(tried=tried, broken=broken, example=example, said=said, unlike=left)


# --- what two answers show ----------------------------------------------------------------------


def _again(door: Door, plan: Plan, asked: "Asked") -> Found:
    rows, reply = asked.rows, asked.reply
    if reply is None:
        return
    # The first answer after other rows is left to `stateless`.
    once, again = door.ask(rows), door.ask(rows)
    door.ask(plan.others)
    door.ask(plan.others.iloc[:1])
    later = door.ask(rows)

    def twice(some: pd.DataFrame) -> str:
        door.ask(some)
        return _differ(door.ask(some), door.ask(some), plan.tolerance, "the second time")

    def around(some: pd.DataFrame) -> str:
        door.ask(some)
        before = door.ask(some)
        door.ask(plan.others)
        return _differ(before, door.ask(some), plan.tolerance, "after other rows")

    yield "deterministic", _compared(rows, once, again, plan, twice)
    yield "stateless", _compared(rows, again, later, plan, around)


def _compared(
    rows: pd.DataFrame,
    one: Reply | Refusal,
    two: Reply | Refusal,
    plan: Plan,
    breaks: Callable[[pd.DataFrame], str],
) -> Trial:
    left = len(plan.rows) - len(rows)
    bad = different(one, two, len(rows), plan.tolerance)
    if not bad.any():
        return Trial(tried=len(rows), unlike=left)
    first = int(bad.argmax())
    example = Example(rows=rows.iloc[[first]], breaks=breaks)
    said = _differ(one, two, plan.tolerance, "the second time", first)
    return Trial(tried=len(rows), broken=int(bad.sum()), example=example, said=said, unlike=left)


def different(one: Reply | Refusal, two: Reply | Refusal, rows: int, by: float) -> np.ndarray:
    """Which of n replies differ by more than a tolerance, shape (n,)."""
    if isinstance(one, Refusal) or isinstance(two, Refusal):
        return np.full(rows, type(one) is not type(two))
    return one.differs(two, by)


def _differ(
    one: Reply | Refusal, two: Reply | Refusal, by: float, when: str, row: int | None = None
) -> str:
    """Say how two replies to the same rows differ; empty where they do not."""
    rows = len(one.values) if isinstance(one, Reply) else 1
    bad = different(one, two, rows, by)
    if not bad.any():
        return ""
    where = int(bad.argmax()) if row is None else row
    return f"it answered {shown(one, where)}, and {when} {shown(two, where)}"


def _batches(door: Door, plan: Plan, asked: "Asked") -> Found:
    rows, reply = asked.rows, asked.reply
    if reply is None:
        return
    rng = np.random.default_rng(plan.number)
    order = rng.permutation(len(rows))
    parts = [order[n : n + 1] for n in range(min(ALONE, len(order)))]
    rest = order[ALONE:]
    parts += [rest[n : n + SMALL] for n in range(0, min(len(rest), SMALL * SMALL_BATCHES), SMALL)]
    tried, broken = 0, []

    def alone(some: pd.DataFrame) -> str:
        single = door.ask(some.iloc[:1])
        last = pd.concat([some.iloc[1:], some.iloc[:1]])
        for batch, where in ((some, 0), (last, len(some) - 1)):
            together = door.ask(batch)
            if isinstance(together, Reply):
                together = together.at(np.array([where]))
            if said := _differ(single, together, plan.tolerance, "in a batch"):
                return said.replace(", and", " alone, and", 1)
        return ""

    for part in parts:
        single = door.ask(rows.iloc[part])
        tried += len(part)
        if isinstance(single, Refusal):
            broken += [int(one) for one in part]
        else:
            bad = reply.at(part).differs(single, plan.tolerance)
            broken += [int(one) for one in part[bad]]
    left = len(plan.rows) - len(rows)
    if not broken:
        yield "independent-of-batch", Trial(tried=tried, unlike=left)
        return
    first = rows.iloc[[broken[0]]]
    others = rows.drop(index=first.index)
    some = _narrowed(pd.concat([first, others]), alone, keep=1)
    example = Example(rows=some, breaks=alone)
    made = Trial(tried=tried, broken=len(broken), example=example, unlike=left)
    yield "independent-of-batch", made


def _order(door: Door, plan: Plan, asked: "Asked") -> Found:
    rows, reply = asked.rows, asked.reply
    if reply is None:
        return

    def turned(some: pd.DataFrame) -> str:
        if len(some) < 2:
            return ""
        one, two = door.ask(some), door.ask(some.iloc[::-1])
        if isinstance(two, Reply):
            two = two.at(np.arange(len(some))[::-1])
        return _differ(one, two, plan.tolerance, "in the reverse order")

    order = np.random.default_rng(plan.number).permutation(len(rows))
    moved = door.ask(rows.iloc[order])
    back = moved.at(np.argsort(order)) if isinstance(moved, Reply) else moved
    bad = different(reply, back, len(rows), plan.tolerance)
    left = len(plan.rows) - len(rows)
    if not bad.any():
        yield "independent-of-row-order", Trial(tried=len(rows), unlike=left)
        return
    some = _narrowed(rows, turned, keep=0)
    example = Example(rows=some, breaks=turned)
    made = Trial(tried=len(rows), broken=int(bad.sum()), example=example, unlike=left)
    yield "independent-of-row-order", made


def _narrowed(
    rows: pd.DataFrame, breaks: Callable[[pd.DataFrame], str], *, keep: int
) -> pd.DataFrame:
    """Leave rows out by halves while it still breaks; the first `keep` stay."""
    size = max(1, (len(rows) - keep) // 2)
    if not breaks(rows):
        return rows
    with contextlib.suppress(Spent):
        while True:
            before, start = len(rows), keep
            while start < len(rows) and len(rows) > 1:
                less = pd.concat([rows.iloc[:start], rows.iloc[start + size :]])
                if len(less) and breaks(less):
                    rows = less
                else:
                    start += size
            if size == 1 and len(rows) == before:
                break
            size = max(1, size // 2)
    return rows


# --- outside of the domain ----------------------------------------------------------------------


def _unseen(door: Door, plan: Plan, _: "Asked") -> Found:
    """Try categories never seen and nulls where none was: raising is an answer there, NaN not."""
    columns = plan.domain.columns.values()
    new = [(column, unseen(column)) for column in columns]
    wanted: dict[str, list[tuple[Column, Cell]]] = {
        "unseen-category": [(column, value) for column, value in new if value is not None],
        "unseen-null": [(column, None) for column in columns if not column.nulls],
    }
    why = {
        "unseen-category": "the model is given no category that could be a new one",
        "unseen-null": "every column was seen with missing values",
    }
    for name, pairs in wanted.items():
        trial = _unseen_cells(door, plan, pairs) if pairs else Trial(tried=0, skipped=why[name])
        yield name, trial


def unseen(column: Column) -> Cell:
    """A category that a column does not have; None for what is no category, and for booleans."""
    if column.kind != "category" or isinstance(column.typical, bool):
        return None
    if isinstance(column.typical, str):
        return UNSEEN
    numbers = [one for one in column.values if isinstance(one, int | float)]
    return max(numbers) + 1 if numbers else None


def _unseen_cells(door: Door, plan: Plan, pairs: Iterable[tuple[Column, Cell]]) -> Trial:
    tried = broken = refused = 0
    example = None
    some = plan.rows.iloc[-UNSEEN_ROWS:]
    cells = plan.domain.cells(some)
    for column, new in pairs:
        rows = plan.domain.frame({**cells, column.name: [new] * len(some)})
        reply = door.ask(rows)
        tried += len(rows)
        if isinstance(reply, Refusal):
            refused += len(rows)
            continue
        bad = not_finite(reply)
        broken += int(bad.sum())
        if bad.any() and example is None:
            example = Example(
                rows=rows.iloc[[int(bad.argmax())]],
                breaks=lambda some: answers_infinite(door, some),
                shape=Shape(fixed=(column.name,)),
            )
    return Trial(tried=tried, broken=broken, example=example, unlike=refused)

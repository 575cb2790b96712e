"""How much a change of data may break, from declared rules; the first of the worst is the reason.

The rules are the table in docs/how-to/data-changes.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ci_mlops.dataset.change import Change, Column, Counts
from ci_mlops.stats.shift import share_noise

Level = Literal["none", "low", "medium", "high"]
LEVELS: tuple[Level, ...] = ("none", "low", "medium", "high")

LABEL_MOVED = 0.05
"""Total variation of the label from which a move beyond chance is of high risk."""
LABEL_DEVIATIONS = 0.25
"""The same for the mean of a numeric label, in standard deviations of the base."""
RELABELLED_SHARE = 0.01
REMOVED_SHARE = 0.10
MISSING_RISE = 0.05
CHANGED_SHARE = 0.01
SLICE_MOVED = 0.02


@dataclass(frozen=True, kw_only=True)
class Risk:
    """A level with the reasons that led to it, the worst first."""

    level: Level
    reasons: tuple[str, ...]


def risk(change: Change) -> Risk:
    """Return the risk of a change; every rule that holds is a reason."""
    if change.state == "unchanged":
        return Risk(level="none", reasons=("The content is the same.",))
    if change.state == "unseen":
        return Risk(level="high", reasons=("The data changed, and nobody could look at it.",))
    if change.state == "gone":
        return Risk(level="high", reasons=("The data is gone.",))
    if change.state == "new":
        return Risk(level="medium", reasons=("The data is new: there is nothing to hold it to.",))
    found = [*_rules(change)]
    ordered = sorted(found, key=lambda one: -LEVELS.index(one[0]))
    if not ordered:
        return Risk(
            level="low", reasons=("Rows and values changed little, the schema not at all.",)
        )
    return Risk(level=ordered[0][0], reasons=tuple(reason for _, reason in ordered))


def worst(risks: Sequence[Risk]) -> Level:
    """Return the highest level of several."""
    return max((one.level for one in risks), key=LEVELS.index, default="none")


def _rules(change: Change) -> Iterable[tuple[Level, str]]:
    for column in change.columns:
        yield from _schema(column)
        if column.stays and change.rows:
            yield from _column(column, change.rows)
    label = change.column(change.label)
    if label and label.stays and change.rows:
        yield from _label(label, change.rows)
    if change.rows:
        yield from _rows(change.rows)
    for name in change.slices:
        part = change.column(name)
        if part and name != change.label:
            yield from _slices(part)


def _schema(column: Column) -> Iterable[tuple[Level, str]]:
    if not column.cells_head:
        yield "high", f"Column {column.name} is gone."
    elif not column.cells_base:
        yield "medium", f"Column {column.name} is new."
    elif column.is_retyped:
        was, now = column.cells_base, column.cells_head
        yield "high", f"Column {column.name} held {was} and holds {now}."


def _column(column: Column, rows: Counts) -> Iterable[tuple[Level, str]]:
    rise = column.missing_head - column.missing_base
    noise = share_noise(column.missing_base, max(1, rows.base), max(1, rows.head))
    if rise > max(MISSING_RISE, noise):
        now, before = (100 * share for share in (column.missing_head, column.missing_base))
        yield "high", f"{now:.1f} % of column {column.name} is missing; {before:.1f} % were before."
    if column.widened:
        yield "medium", f"Column {column.name} goes beyond its former range."
    if column.moved and column.moved.new:
        few = f"{column.moved.new} value{'' if column.moved.new == 1 else 's'}"
        yield "medium", f"Column {column.name} holds {few} that it did not."


def _label(label: Column, rows: Counts) -> Iterable[tuple[Level, str]]:
    if label.changed:
        share = label.changed / max(1, rows.base - rows.removed)
        level: Level = "high" if share > RELABELLED_SHARE else "medium"
        yield level, f"{label.changed:,} rows that stayed have another label ({100 * share:.2f} %)."
    if label.moved and label.moved.distance > label.moved.chance:
        far = label.moved.distance > LABEL_MOVED
        points, chance = 100 * label.moved.distance, 100 * label.moved.chance
        said = (
            f"The shares of the label moved by {points:.1f} points; chance explains {chance:.1f}."
        )
        yield "high" if far else "medium", said
    if label.means and abs(label.means.deviations) > label.means.chance:
        far = abs(label.means.deviations) > LABEL_DEVIATIONS
        by, chance = label.means.deviations, label.means.chance
        said = f"The mean of the label moved by {by:+.2f} deviations; chance explains {chance:.2f}."
        yield "high" if far else "medium", said


def _rows(rows: Counts) -> Iterable[tuple[Level, str]]:
    if rows.repeated_head > rows.repeated_base:
        more = rows.repeated_head - rows.repeated_base
        yield "high", f"Key {rows.key} names {more:,} rows that it already named."
    if rows.changed is not None and rows.removed:
        share = rows.removed / max(1, rows.base)
        level: Level = "high" if share > REMOVED_SHARE else "medium"
        yield level, f"{rows.removed:,} of {rows.base:,} rows are gone ({100 * share:.1f} %)."
    if rows.changed:
        share = rows.changed / max(1, rows.base - rows.removed)
        if share > CHANGED_SHARE:
            yield "medium", f"{rows.changed:,} rows that stayed changed ({100 * share:.1f} %)."
    if rows.changed is None and rows.head < rows.base * (1 - REMOVED_SHARE):
        yield "high", f"There are {rows.head:,} rows; {rows.base:,} were before."
    elif rows.changed is None and rows.removed > CHANGED_SHARE * rows.base:
        yield "medium", f"{rows.removed:,} of {rows.base:,} rows are gone or changed."


def _slices(column: Column) -> Iterable[tuple[Level, str]]:
    moved = column.moved
    if moved and moved.gone:
        few = "a group" if moved.gone == 1 else f"{moved.gone} groups"
        yield "high", f"{few[0].upper()}{few[1:]} of column {column.name} left the data."
    elif moved and moved.distance > max(SLICE_MOVED, moved.chance):
        points = 100 * moved.distance
        yield "medium", f"The groups of column {column.name} moved by {points:.1f} points."

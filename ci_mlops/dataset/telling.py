"""A change of data in words, for a terminal, for programs and for the evidence of stage data."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ci_mlops.dataset.change import Change, Column, Counts
from ci_mlops.dataset.risk import Risk
from ci_mlops.evidence import Scalar, Table

MAX_ROWS = 60
HEAD = ("what", "base", "head", "difference")
Line = tuple[str, Scalar, Scalar, str]


def headline(change: Change, risk: Risk) -> str:
    """Say a change in a line: rows by key, columns, and how much it may break."""
    if change.state == "unchanged":
        return f"{change.name}: unchanged{f' ({change.why})' if change.why else ''}"
    if change.state != "changed" or change.rows is None:
        return f"{change.name}: {change.why or risk.reasons[0]}"
    parts = [rows_said(change.rows), *_columns_said(change)]
    return f"{change.name}: {'; '.join(parts)}"


def lines(change: Change, risk: Risk) -> Iterator[str]:
    """Say a change for a terminal: the headline, the risk with its reasons, and what changed."""
    yield headline(change, risk)
    if change.state == "unchanged":
        return
    first, *more = risk.reasons
    yield f"   risk: {risk.level}: {first}"
    yield from (f"         {' ' * len(risk.level)}  {reason}" for reason in more[:9])
    if len(more) > 9:
        yield f"         {' ' * len(risk.level)}  and {len(more) - 9} reasons more"
    told = [[_text(cell) for cell in line] for line in _table_lines(change)]
    if told:
        left_out = len(told) - MAX_ROWS
        told = [list(HEAD), *told[:MAX_ROWS]]
        widths = [max(len(line[n]) for line in told) for n in range(3)]
        for line in told:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=False))
            yield f"   {'  '.join(cells)}  {line[3]}".rstrip()
        if left_out > 0:
            yield f"   and {left_out} lines more, see --json"
    if change.left_out:
        yield f"   not looked at: {change.left_out} columns of `data.ignore`"


def table(change: Change) -> Table | None:
    """Return what changed as a table for the report; None where nothing was looked at."""
    found = [*_table_lines(change)]
    if not found:
        return None
    return Table(
        title=f"What changed in the {change.name} data",
        columns=HEAD,
        rows=tuple(found[:MAX_ROWS]),
        left_out=max(0, len(found) - MAX_ROWS),
    )


def plain(change: Change, risk: Risk) -> dict[str, Any]:
    """Return a change for programs, the columns that changed alone."""
    columns = [dataclasses.asdict(one) for one in change.columns if _is_told(one, change)]
    told = dataclasses.asdict(dataclasses.replace(change, columns=()))
    return {
        **told,
        "columns": columns,
        "risk": {"level": risk.level, "reasons": list(risk.reasons)},
    }


def rows_said(rows: Counts) -> str:
    """Say how many rows came, went and changed."""
    if rows.changed is None:
        stay = f"+{rows.added:,} −{rows.removed:,} rows (no key: a changed row is one of each)"
    else:
        stay = f"+{rows.added:,} −{rows.removed:,} ~{rows.changed:,} rows by {rows.key}"
    return f"{rows.base:,} → {rows.head:,} rows, {stay}"


def _columns_said(change: Change) -> Iterator[str]:
    counted = {
        "added": sum(not one.cells_base for one in change.columns),
        "removed": sum(not one.cells_head for one in change.columns),
        "of another type": sum(one.is_retyped for one in change.columns),
    }
    told = [f"{n} {word}" for word, n in counted.items() if n]
    if told:
        yield f"columns: {', '.join(told)}"


def _table_lines(change: Change) -> Iterator[Line]:
    if change.rows is None:
        return
    rows = change.rows
    yield "rows", rows.base, rows.head, rows_said(rows).partition(", ")[2]
    if rows.repeated_base or rows.repeated_head:
        yield "rows that repeat a key", rows.repeated_base, rows.repeated_head, ""
    for column in change.columns:
        if _is_told(column, change):
            yield from _column_lines(column, change)


def _is_told(column: Column, change: Change) -> bool:
    if not column.stays or column.is_retyped or column.changed:
        return True
    if column.missing_base != column.missing_head or column.widened:
        return True
    moved = column.moved
    named = column.name == change.label or column.name in change.slices
    is_far = moved is not None and moved.distance > (0 if named else moved.chance)
    return is_far or (moved is not None and bool(moved.new or moved.gone))


def _column_lines(column: Column, change: Change) -> Iterator[Line]:
    kind = "label" if column.name == change.label else "column"
    name = f"{kind} {column.name}"
    if not column.stays:
        word = "removed" if column.cells_base else "added"
        yield name, column.cells_base or None, column.cells_head or None, word
        return
    if column.is_retyped:
        yield f"{name}: type", column.cells_base, column.cells_head, "another type"
    if column.changed:
        yield f"{name}: values", None, None, f"{column.changed:,} rows that stayed have another"
    if column.missing_base != column.missing_head:
        before, after = (f"{100 * x:.2f} %" for x in (column.missing_base, column.missing_head))
        points = 100 * (column.missing_head - column.missing_base)
        yield f"{name}: missing", before, after, f"{points:+.2f} points"
    if column.widened:
        yield _span_line(name, column)
    if column.means:
        hidden = column.hidden
        before, after = (f"{x:.6g}" for x in (column.means.base, column.means.head))
        told = f"{column.means.deviations:+.2f} standard deviations"
        yield f"{name}: mean", None if hidden else before, None if hidden else after, told
    if column.moved and (column.moved.distance or column.moved.new or column.moved.gone):
        yield from _moved_lines(name, column)


def _span_line(name: str, column: Column) -> Line:
    if column.span_base is None or column.span_head is None:
        return f"{name}: range", None, None, "wider (its values are hidden)"
    before, after = (f"{s.low} to {s.high}" for s in (column.span_base, column.span_head))
    return f"{name}: range", before, after, "wider"


def _moved_lines(name: str, column: Column) -> Iterator[Line]:
    moved = column.moved
    if moved is None:
        return
    groups = [f"{moved.new} new"] if moved.new else []
    groups += [f"{moved.gone} gone"] if moved.gone else []
    if groups:
        yield f"{name}: distinct", moved.groups_base, moved.groups_head, ", ".join(groups)
    which = f"share of {moved.most!r}" if moved.most else "share that moved most (value hidden)"
    before, after = (f"{100 * share:.2f} %" for share in (moved.share_base, moved.share_head))
    apart = f"{100 * moved.distance:.2f} points in all, chance explains {100 * moved.chance:.2f}"
    yield f"{name}: {which}", before, after, apart


def _text(cell: Scalar) -> str:
    return "" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)

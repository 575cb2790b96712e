"""Corrections by people, such as `feedback/cases.csv`: what a model should have answered to a row.

The file's text in, rows of typed cells with the right answers out. It is read strictly, so that no
correction is lost in silence: every fault has its line.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ci_mlops.errors import CannotLook
from ci_mlops.strict_yaml import did_you_mean

if TYPE_CHECKING:
    from ci_mlops.dataset.domain import Cell, Column, Domain

OWN = ("expected", "tolerance", "issue", "reason")
NEEDED = ("expected", "issue")
MAX_BYTES = 16 * 1024 * 1024
MAX_CELL = 20_000
MAX_ISSUE = 10**9
NUMBER = re.compile(r"[-+]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][-+]?\d{1,4})?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One correction: a row as text, what is right for it, and the issue that said so."""

    cells: Mapping[str, str]
    """What the model is given, by column; an empty text is a missing value."""
    expected: str
    issue: int
    reason: str = ""
    tolerance: float | None = None
    """Of regressions: how far an answer may lie from `expected`."""
    line: int = 0
    """Where it begins in the file, from 1."""


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """A file of corrections."""

    place: str
    columns: tuple[str, ...]
    """Those that the model is given, in the file's order."""
    cases: tuple[Case, ...] = ()
    header: tuple[str, ...] = field(default=())
    """Every column, in the file's order."""

    def at(self, case: Case) -> str:
        """Where a correction stands, for messages."""
        return f"{self.place}:{case.line}"


def parse(data: bytes, place: str) -> Corrections:
    """Read a file of corrections. Raises CannotLook with the line of what is wrong."""
    lines = _lines(_decoded(data, place), place)
    if not lines:
        raise CannotLook("is empty", place=place, remedy="Write the names of its columns first")
    header = tuple(lines[0][1])
    _require_header(header, f"{place}:{lines[0][0]}")
    cases = tuple(_case(header, cells, number, place) for number, cells in lines[1:])
    columns = tuple(name for name in header if name not in OWN)
    return Corrections(place=place, columns=columns, cases=cases, header=header)


def rows(found: Corrections, domain: "Domain") -> list[dict[str, "Cell"]]:
    """Return each correction's cells as the domain's columns hold them, in the domain's order.

    Raises CannotLook where the columns are not the model's, a cell is of another kind, or two
    corrections are of the same row.
    """
    require_columns(found, tuple(domain.columns))
    made = [typed(case.cells, domain, found.at(case)) for case in found.cases]
    seen: dict[tuple[object, ...], Case] = {}
    for cells, case in zip(made, found.cases, strict=True):
        first = seen.setdefault(identity(cells), case)
        if first is not case:
            raise CannotLook(
                f"{clash(first, case.expected)} line {first.line}",
                place=found.at(case),
                remedy="Keep one of them",
            )
    return made


def typed(cells: Mapping[str, str], domain: "Domain", place: str) -> dict[str, "Cell"]:
    """Return cells of text as the domain's columns hold them. Raises CannotLook."""
    return {name: cell(column, cells[name], place) for name, column in domain.columns.items()}


def identity(cells: Mapping[str, "Cell"]) -> tuple[object, ...]:
    """Return what two rows have in common only if they are the same row."""
    return tuple((isinstance(one, bool), one) for one in cells.values())


def clash(first: Case, expected: str) -> str:
    """Say how a correction and an earlier one of the same row go together."""
    return "repeats" if is_same_answer(first.expected, expected) else "contradicts"


def require_columns(found: Corrections, inputs: tuple[str, ...]) -> None:
    """Raise CannotLook unless a file has the columns that the model takes, and no others."""
    place = f"{found.place}:1"
    for name in inputs:
        if name not in found.columns:
            raise CannotLook(
                f"has no column {name!r}, which the model takes",
                place=place,
                remedy="Add it with the value of each row",
            )
    for name in found.columns:
        if name not in inputs:
            hint = did_you_mean(name, OWN) if name.lower() in OWN else ""
            raise CannotLook(
                f"has the column {name!r}, which the model does not take{hint}",
                place=place,
                remedy=f"Leave it out; columns of its own are {', '.join(OWN)}",
            )


def cell(column: "Column", text: str, place: str) -> "Cell":
    """Return a text as a value of a column; an empty one is missing. Raises CannotLook."""
    if text == "":
        return None
    try:
        return READERS[column.kind](column, text)
    except ValueError as fault:
        raise CannotLook(
            f"column {column.name!r} holds {KINDS[column.kind]}, and this is none", place=place
        ) from fault


def number(text: str) -> float:
    """Return a finite number as it stands in a file. Raises ValueError for any other text."""
    found = float(text) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(found):
        raise ValueError("no number")
    return found


def require_form(case: Case, place: str, *, regression: bool) -> None:
    """Raise CannotLook unless a correction's answer is of the kind that the model gives."""
    if not regression:
        if case.tolerance is not None:
            raise CannotLook(
                "has a tolerance, and the model answers classes",
                place=place,
                remedy="Leave it empty",
            )
        return
    try:
        number(case.expected)
    except ValueError as fault:
        raise CannotLook(
            "expects something else than a number, and the model answers numbers", place=place
        ) from fault


def _decoded(data: bytes, place: str) -> str:
    if len(data) > MAX_BYTES:
        raise CannotLook(f"is larger than {MAX_BYTES} bytes", place=place)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise CannotLook(
            "is not UTF-8", place=f"{place}:{line}", remedy="Save it as UTF-8"
        ) from fault
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CannotLook("holds a NUL character", place=f"{place}:{line}")
    return text


def _lines(text: str, place: str) -> list[tuple[int, list[str]]]:
    """Return the cells of each line that holds any, with the number that it begins at."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found, before = [], 0
    try:
        for cells in reader:
            if cells:
                found.append((before + 1, cells))
            before = reader.line_num
    except csv.Error as fault:
        raise CannotLook(
            f"is no CSV: {fault}", place=f"{place}:{before + 1}", remedy="Look at its quotes"
        ) from fault
    return found


def _require_header(header: tuple[str, ...], place: str) -> None:
    for name in header:
        if not name.strip():
            raise CannotLook("has a column without a name", place=place)
        if header.count(name) > 1:
            raise CannotLook(f"has the column {name!r} twice", place=place, remedy="Keep one")
    for name in NEEDED:
        if name not in header:
            raise CannotLook(
                f"has no column {name!r}",
                place=place,
                remedy="`expected` is the right answer, `issue` the number of who said so",
            )


def _case(header: tuple[str, ...], cells: list[str], line: int, file: str) -> Case:
    place = f"{file}:{line}"
    if len(cells) != len(header):
        raise CannotLook(
            f"has {len(cells)} cells, and there are {len(header)} columns",
            place=place,
            remedy="Quote a cell that holds a comma",
        )
    if any(len(one) > MAX_CELL for one in cells):
        raise CannotLook(f"has a cell of over {MAX_CELL} characters", place=place)
    told = dict(zip(header, cells, strict=True))
    if not told["expected"].strip():
        raise CannotLook("has no `expected`", place=place, remedy="Write the right answer there")
    return Case(
        cells={name: one for name, one in told.items() if name not in OWN},
        expected=told["expected"].strip(),
        issue=issue_number(told["issue"].strip(), place),
        reason=told.get("reason", ""),
        tolerance=tolerance_of(told.get("tolerance", "").strip(), place),
        line=line,
    )


def issue_number(text: str, place: str) -> int:
    """Return the number of an issue. Raises CannotLook."""
    plain = text.removeprefix("#")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", plain):
        raise CannotLook(
            "has no number of an issue", place=place, remedy="Write it as digits, such as 42"
        )
    return int(plain)


def tolerance_of(text: str, place: str) -> float | None:
    """Return a tolerance, None for an empty text. Raises CannotLook."""
    if not text:
        return None
    try:
        found = number(text)
        if found < 0:
            raise ValueError("negative")
    except ValueError as fault:
        raise CannotLook("has a tolerance that is no number from 0 on", place=place) from fault
    return found


# --- cells --------------------------------------------------------------------------------------


def _number(column: "Column", text: str) -> "Cell":
    found = number(text)
    if re.fullmatch(r"[-+]?\d{1,18}", text, re.ASCII):
        return int(text)
    whole = found.is_integer() and abs(found) < 2**53 and column.dtype.kind in "iu"
    return int(found) if whole else found


def _category(column: "Column", text: str) -> "Cell":
    """A value that the column is known to hold; a new one is of the type of the known ones."""
    for known in column.values:
        if is_class(text, known):
            return known
    if all(isinstance(one, bool) for one in column.values):
        raise ValueError("neither true nor false")
    if all(isinstance(one, int | float) for one in column.values):
        return _number(column, text)
    return text


def _time(column: "Column", text: str) -> "Cell":
    import pandas as pd

    moment = pd.Timestamp(datetime.fromisoformat(text))
    zone = getattr(column.dtype, "tz", None)
    if zone is not None:
        return moment.tz_convert(zone) if moment.tzinfo else moment.tz_localize(zone)
    return moment.tz_convert("UTC").tz_localize(None) if moment.tzinfo else moment


def class_name(value: Any) -> str:
    """Return a class or category as text, the same for 1 and 1.0."""
    plain = value.item() if hasattr(value, "item") else value
    whole = isinstance(plain, float) and plain.is_integer()
    return str(int(plain) if whole else plain)


def is_class(text: str, value: Any) -> bool:
    """Whether a text names a class or category: `1` and `1.0` are one, and so `true` and `True`."""
    name = class_name(value)
    if name in {"True", "False"}:
        return text.lower() == name.lower()
    return text == name or (bool(NUMBER.fullmatch(text)) and class_name(float(text)) == name)


def is_same_answer(one: str, two: str) -> bool:
    """Whether two texts are one answer: `40` and `40.0` are, whatever their column holds."""
    numbers = NUMBER.fullmatch(one) and NUMBER.fullmatch(two)
    return one == two or (bool(numbers) and float(one) == float(two))


def _text(column: "Column", text: str) -> "Cell":
    del column
    return text


READERS: Mapping[str, Callable[["Column", str], "Cell"]] = {
    "number": _number,
    "category": _category,
    "time": _time,
    "text": _text,
}
KINDS = {
    "number": "numbers",
    "category": "values of another type",
    "time": "times such as 2026-11-23T10:30:00",
    "text": "texts",
}

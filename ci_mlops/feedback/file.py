"""The file of corrections with one more: held against those it has, written whole or not at all."""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from ci_mlops.dataset import feedback
from ci_mlops.dataset.domain import Domain
from ci_mlops.dataset.feedback import OWN, Case, Corrections
from ci_mlops.errors import CannotLook, ConfigError, OutsideError
from ci_mlops.evidence import write_atomically

TOLERANCE, REASON = "tolerance", "reason"


@dataclass(frozen=True, kw_only=True)
class Added:
    """A correction in its place."""

    data: bytes
    """The whole file with it."""
    file: str
    line: int
    """Where it begins."""


def added(data: bytes | None, place: str, case: Case, domain: Domain) -> Added:
    """Return a file with one more correction; without `data` a new file.

    Raises CannotLook where the file is wrong, ConfigError where the row is corrected there already.
    """
    inputs = tuple(domain.columns)
    if data is None:
        header = (*inputs, *OWN)
        return Added(data=_line(header) + _line(_cells(case, header)), file=place, line=2)
    found = feedback.parse(data, place)
    _refuse_known(found, case, domain)
    _require_room(found, case)
    whole = data if data.endswith(b"\n") else data + b"\n"
    ending = "\r\n" if whole.endswith(b"\r\n") else "\n"
    row = _line(_cells(case, found.header), ending)
    return Added(data=whole + row, file=place, line=whole.count(b"\n") + 1)


def add(root: Path, file: str, case: Case, domain: Domain) -> Added:
    """Add a correction to the file below `root`; several at once wait for each other.

    Raises as `added`, and OutsideError where the file cannot be written.
    """
    path = root / file
    if not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError("lies outside of the project", place=file, remedy="Use a path below it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            made = added(path.read_bytes() if path.exists() else None, file, case, domain)
            write_atomically(path, made.data)
    except OSError as fault:
        raise OutsideError(f"cannot be written: {fault.strerror}", place=file) from fault
    return made


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The folder itself, so that no lock file is left that somebody could commit.
    handle = os.open(folder, os.O_RDONLY)
    try:
        flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


def _refuse_known(found: Corrections, case: Case, domain: Domain) -> None:
    rows = feedback.rows(found, domain)
    own = feedback.identity(feedback.typed(case.cells, domain, found.place))
    for known, cells in zip(found.cases, rows, strict=True):
        if feedback.identity(cells) != own:
            continue
        if feedback.is_same_answer(case.expected, known.expected):
            raise ConfigError(
                f"holds this correction already, of issue {known.issue}", place=found.at(known)
            )
        raise ConfigError(
            f"says otherwise about the same row, by issue {known.issue}",
            place=found.at(known),
            remedy="Settle which is right, and change that line by hand",
        )


def _require_room(found: Corrections, case: Case) -> None:
    wanted = {TOLERANCE: case.tolerance is not None, REASON: bool(case.reason)}
    for name, needed in wanted.items():
        if needed and name not in found.header:
            raise CannotLook(
                f"has no column {name!r}", place=f"{found.place}:1", remedy="Add it there"
            )


def _cells(case: Case, header: tuple[str, ...]) -> list[str]:
    own = {
        "expected": case.expected,
        TOLERANCE: "" if case.tolerance is None else repr(case.tolerance),
        "issue": str(case.issue),
        REASON: case.reason,
    }
    return [own[name] if name in own else case.cells[name] for name in header]


def _line(cells: tuple[str, ...] | list[str], ending: str = "\n") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ending).writerow(cells)
    return text.getvalue().encode()

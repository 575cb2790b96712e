"""`ci-mlops feedback add`: what was handed in, from wherever, as one correction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ci_mlops.dataset.feedback import Case
from ci_mlops.errors import ConfigError
from ci_mlops.feedback import given, logged
from ci_mlops.feedback.contract import Contract
from ci_mlops.feedback.file import Added
from ci_mlops.feedback.given import Given
from ci_mlops.feedback.propose import Proposed


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says; what it names stands before what a file or an issue tells."""

    source: str | None = None
    """A file with JSON or an issue's body; `-` is standard input."""
    from_issue: int | None = None
    features: Sequence[str] = ()
    prediction: str | None = None
    row: int | None = None
    log: Path | None = None
    expected: str | None = None
    tolerance: float | None = None
    issue: int | None = None
    reason: str = ""

    @property
    def place(self) -> str:
        """Where the correction comes from, for messages."""
        if self.from_issue is not None:
            return f"issue {self.from_issue}"
        if self.source is not None:
            return "standard input" if self.source == "-" else self.source
        return "--features"


def gathered(asked: Asked, *, read: Callable[[str], bytes], body: Callable[[int], str]) -> Given:
    """Return the correction from all of its sources; `read` reads a file, `body` an issue.

    Raises ConfigError, and OutsideError where GitHub refuses.
    """
    if asked.source is not None and asked.from_issue is not None:
        raise ConfigError("stands beside --from-issue", place="--from", remedy="Give one of them")
    told = Given()
    if asked.source is not None:
        told = given.read(read(asked.source), asked.place)
    elif asked.from_issue is not None:
        told = given.from_form(body(asked.from_issue), asked.place)
    named: dict[str, Any] = {
        "expected": asked.expected,
        "tolerance": asked.tolerance,
        "issue": asked.issue or asked.from_issue,
        "reason": asked.reason or None,
        "prediction": asked.prediction,
        "row": asked.row,
    }
    known = {name: value for name, value in named.items() if value is not None}
    whole = told.model_dump() | known
    logs = _logged(whole["prediction"], asked.log, whole["row"])
    whole["features"] = {**logs, **told.features, **given.features(asked.features)}
    return given.validated(whole, asked.place)


def source(name: str, standard_input: BinaryIO) -> bytes:
    """Read a file, or standard input where it is called `-`. Raises ConfigError."""
    try:
        if name == "-":
            return standard_input.read(given.MAX_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(given.MAX_BYTES + 1)
    except OSError as fault:
        raise ConfigError(f"cannot be read: {fault.strerror}", place=name) from fault


def plain(
    added: Added, case: Case, contract: Contract, proposed: Proposed | None
) -> Mapping[str, Any]:
    """Return what was done, for programs."""
    return {
        "file": added.file,
        "line": added.line,
        "issue": case.issue,
        "columns": list(contract.domain.columns),
        "sensitive": list(contract.kept_back),
        "branch": proposed.branch if proposed else None,
        "pull_request": proposed.url if proposed else None,
    }


def lines(added: Added, case: Case, contract: Contract, proposed: Proposed | None) -> Sequence[str]:
    """Say what was done, for people; nothing that the correction holds is part of it."""
    where = f" on {proposed.branch}" if proposed else ""
    said = [f"{added.file}:{added.line}{where}: a correction by issue {case.issue}"]
    if contract.kept_back:
        named = ", ".join(contract.kept_back)
        said.append(
            f"   it holds {named}, which the model needs; all who see the repository can read it"
        )
    said += [f"   {line}" for line in proposed.said] if proposed else []
    return said


def _logged(prediction: str, folder: Path | None, row: int | None) -> Mapping[str, given.Plain]:
    if not prediction:
        return {}
    if folder is None:
        raise ConfigError(
            "names a prediction, and no log to look it up in",
            place="--prediction-id",
            remedy="Name the log's folder with --log, where it is",
        )
    return logged.inputs(folder, prediction, row)

"""The record a stage leaves, written atomically and read strictly; all that crosses jobs."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from ci_mlops.errors import EvidenceError
from ci_mlops.values import Many, Sha256, Value

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 24
STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
BRACKET = re.compile(r"[\[\]{}]")

Outcome = Literal["passed", "skipped", "inconclusive", "warned", "failed", "error"]
SEVERITY: tuple[Outcome, ...] = (
    "passed",
    "skipped",
    "inconclusive",
    "warned",
    "failed",
    "error",
)

Name = Annotated[str, Field(min_length=1, max_length=200)]
StageName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
ProjectName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Line = Annotated[str, Field(max_length=2000)]
Scalar = float | int | str | bool | None


WAIVED = "Waived until"
"""How the message of a check begins to say that a waiver holds."""


class Place(Value):
    """A line of a file in the repository, relative to its root."""

    file: Name
    line: Annotated[int, Field(ge=1)] | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Limit(Value):
    """What a check holds its observation against; `of` says which figure is limited."""

    at_least: float | None = None
    at_most: float | None = None
    of: Literal["observed", "change"] = "observed"

    def allows(self, value: float) -> bool:
        """Whether `value` is within the limit; written so that NaN is never allowed."""
        if self.at_least is not None and not (value >= self.at_least):
            return False
        return not (self.at_most is not None and not (value <= self.at_most))


class Interval(Value):
    """A confidence interval `[low, high]` at `level` around the figure that `of` names."""

    low: float
    high: float
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    of: Literal["observed", "change"] = "observed"


class Check(Value):
    """One observed value against one limit."""

    name: Name
    """Stable from run to run; people search for it."""
    outcome: Outcome
    message: Line
    """What was seen and what it means, in one sentence without Markdown."""
    slice: Line = ""
    """The part of the data that was looked at: a column, a group, a slice; empty for all of it."""
    observed: float | str | None = None
    base: float | None = None
    """The same figure at the base commit."""
    limit: Limit | None = None
    interval: Interval | None = None
    unit: Annotated[str, Field(max_length=20)] = ""
    rows: Annotated[int, Field(ge=0)] | None = None
    """How many rows the observation rests on."""
    remedy: Line = ""
    source: Line = ""
    """The law, paper or documentation page that the limit comes from."""
    place: Place | None = None


class Metric(Value):
    """A figure for the report and for trends; it decides nothing."""

    name: Name
    value: float
    base: float | None = None
    unit: Annotated[str, Field(max_length=20)] = ""
    slice: Line = ""


class Table(Value):
    """A bounded table for the report; `left_out` counts the rows that were cut."""

    title: Name
    columns: Annotated[Many[Line], Field(min_length=1, max_length=20)]
    rows: Annotated[Many[Many[Scalar]], Field(max_length=200)]
    left_out: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title!r} has rows of another length than its columns")
        return self


class Line2D(Value):
    """One named line or set of bars of a chart, one value per label."""

    name: Name
    values: Annotated[Many[float | None], Field(max_length=200)]


class Chart(Value):
    """A small chart for the report; drawn with a text table beside it."""

    title: Name
    kind: Literal["bar", "line"] = "bar"
    x_title: Line = ""
    y_title: Line = ""
    labels: Annotated[Many[Line], Field(min_length=1, max_length=200)]
    lines: Annotated[Many[Line2D], Field(min_length=1, max_length=6)]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if any(len(line.values) != len(self.labels) for line in self.lines):
            raise ValueError(f"chart {self.title!r} has a line of another length than its labels")
        return self


class Artifact(Value):
    """A file kept beside the record, named relative to the evidence folder."""

    path: Name
    sha256: Sha256

    @model_validator(mode="after")
    def _stays_below(self) -> Self:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or "\\" in self.path or "\0" in self.path:
            raise ValueError(f"artifact path {self.path!r} leaves the evidence folder")
        return self


class Subject(Value):
    """What was judged: `head.model`, `head.data.test`, `base.code` and the like, by digest."""

    name: Name
    sha256: Sha256


class Record(Value):
    """The evidence of one stage, one JSON file in `.mlops/evidence/`."""

    schema_version: Literal[1] = 1
    stage: StageName
    outcome: Outcome
    subjects: Annotated[Many[Subject], Field(max_length=200)] = ()
    checks: Annotated[Many[Check], Field(max_length=2000)] = ()
    metrics: Annotated[Many[Metric], Field(max_length=2000)] = ()
    tables: Annotated[Many[Table], Field(max_length=50)] = ()
    charts: Annotated[Many[Chart], Field(max_length=20)] = ()
    artifacts: Annotated[Many[Artifact], Field(max_length=200)] = ()
    notes: Annotated[Many[Line], Field(max_length=50)] = ()
    """Sentences the reader of the report must know, such as a base model judged on its own data."""
    fingerprint: Sha256
    started: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    seconds: Annotated[float, Field(ge=0)]
    tools: Mapping[Name, Line] = {}
    """Name and version of what measured."""
    reused_from: Line = ""
    """The commit whose run made this record, when it came from the cache."""

    @model_validator(mode="after")
    def _outcome_is_the_worst(self) -> Self:
        worst = worst_outcome(check.outcome for check in self.checks)
        if self.outcome != worst:
            raise ValueError(f"outcome is {self.outcome!r}, but its checks say {worst!r}")
        return self


class Change(Value):
    """A setting of the gate, a stage or a policy that the pull request would change."""

    what: Name
    base: Line
    head: Line
    place: Place | None = None


class Run(Value):
    """The circumstances of a run, `run.json`: which sides, by whose rules, with what subjects."""

    schema_version: Literal[1] = 1
    project: ProjectName
    """Marks the report's comment, so it can hold nothing that means anything in Markdown."""
    environment: Annotated[str, Field(pattern=r"^([a-z][a-z0-9-]{0,31})?$")] = ""
    """The environment that monitors looked at; empty where a pull request was judged."""
    head: Line
    """Commit of the head; ends with `+changes` when the working tree differs from it."""
    tree: Annotated[str, Field(pattern=r"^([0-9a-f]{40})?$")] = ""
    """The git tree of the head; empty when the working tree differs from it."""
    base: Line
    """Commit of the base, or empty."""
    base_missing: Line = ""
    """Why there is no base; empty when there is one."""
    judged_by: Literal["base", "head"]
    stages: Annotated[Many[StageName], Field(max_length=100)]
    """Every stage that was planned, in order."""
    left_out: Annotated[Many[StageName], Field(max_length=100)] = ()
    """Stages of `mlops.yml` that `--only` or `--skip` left out of this run."""
    reused: Annotated[Many[StageName], Field(max_length=100)] = ()
    records: Annotated[Mapping[StageName, Sha256], Field(max_length=100)] = {}
    """Digest of each stage's record file as this run left it."""
    gate_changes: Annotated[Many[Change], Field(max_length=500)] = ()
    """Changes to rules: stages, gate and policies; they take effect after the merge."""
    subject_changes: Annotated[Many[Change], Field(max_length=500)] = ()
    """Changes to the `data` and `model` sections; they are part of what is judged."""
    subjects: Annotated[Many[Subject], Field(max_length=200)] = ()
    notes: Annotated[Many[Line], Field(max_length=50)] = ()
    """Sentences about the run as a whole, such as an interpreter that base borrowed from head."""
    workflow: Line = ""
    """Link of the workflow run, where it was one."""
    event: Line = ""
    """What started the workflow run, such as `push`; its own word, and no proof."""
    ref: Line = ""
    """The ref that the workflow run was on, such as `refs/heads/main`; its own word, too."""
    started: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    seconds: Annotated[float, Field(ge=0)]
    tools: Mapping[Name, Line] = {}

    def changed(self) -> tuple[str, ...]:
        """Names of the subjects (`model`, `data.test`, `code`) whose digest differs from base."""
        digests = {subject.name: subject.sha256 for subject in self.subjects}
        names = [name.removeprefix("head.") for name in digests if name.startswith("head.")]
        return tuple(n for n in names if digests.get(f"base.{n}") != digests[f"head.{n}"])


Document = TypeVar("Document", bound=Value)


def worst_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of the outcomes; `skipped` only when nothing was looked at at all."""
    seen = set(outcomes)
    if seen - {"skipped"}:
        seen -= {"skipped"}
    return max(seen, key=SEVERITY.index, default="skipped")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write(path: Path, document: Record | Run) -> None:
    """Write a record or a run as JSON, atomically."""
    text = document.model_dump_json(indent=1, exclude_defaults=False)
    write_atomically(path, text.encode() + b"\n")


def read_record(path: Path) -> Record:
    """Read one stage's record strictly; EvidenceError names the file and the fault."""
    return validated(Record, _bytes(path), str(path))


def read_run(path: Path) -> Run:
    """Read `run.json` strictly; EvidenceError names the file and the fault."""
    return validated(Run, _bytes(path), str(path))


def parse_json(data: bytes, place: str) -> Any:
    """JSON without NaN, infinities, duplicate keys, deep nesting or huge integers.

    Raises EvidenceError, naming `place`, for anything else than finite, well-formed JSON.
    """
    if len(data) > MAX_BYTES:
        raise EvidenceError(f"is larger than {MAX_BYTES} bytes", place=place)
    try:
        text = data.decode("utf-8")
        _refuse_deep_nesting(text, place)
        return json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as fault:
        raise EvidenceError(f"is not valid JSON evidence: {fault}", place=place) from fault


@dataclass(frozen=True, kw_only=True)
class Folder:
    """An evidence folder as it was read: records by stage, unreadable ones as their error."""

    run: Run
    records: Mapping[str, Record | EvidenceError]


def read_folder(folder: Path) -> Folder:
    """Read `run.json` and the record of every stage that it names.

    Raises EvidenceError when the run itself cannot be read; a stage's fault stays with the stage.
    """
    run = read_run(folder / "run.json")
    return _gathered(
        run, lambda file: _bytes(folder / file) if (folder / file).exists() else None, folder
    )


def read_members(members: Mapping[str, bytes], place: str) -> Folder:
    """Read evidence from files in memory, by name, as `read_folder` does; `place` names them."""
    if "run.json" not in members:
        raise EvidenceError("holds no run.json", place=place)
    run = validated(Run, members["run.json"], f"{place}/run.json")
    return _gathered(run, members.get, Path(place))


def _require_unchanged(run: Run, stage: str, data: bytes, place: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if run.records.get(stage, digest) != digest:
        raise EvidenceError("was changed after the run wrote it", place=place)


def _gathered(run: Run, read: Callable[[str], bytes | None], folder: Path) -> Folder:
    records: dict[str, Record | EvidenceError] = {}
    for stage in (*run.stages, *run.left_out):
        try:
            data = read(f"{stage}.json")
            if data is not None:
                records[stage] = validated(Record, data, str(folder / f"{stage}.json"))
                _require_unchanged(run, stage, data, str(folder / f"{stage}.json"))
        except EvidenceError as fault:
            records[stage] = fault
    return Folder(run=run, records=records)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as fault:
        reason = fault.strerror or type(fault).__name__
        raise EvidenceError(f"cannot be read: {reason}", place=str(path)) from fault


def validated(kind: type[Document], data: bytes, place: str) -> Document:
    """Return a value from strict JSON. Raises EvidenceError with place, field and fault."""
    document = parse_json(data, place)
    try:
        return kind.model_validate(document)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise EvidenceError(f"{where}: {first['msg']}", place=place) from fault


def _refuse_deep_nesting(text: str, place: str) -> None:
    depth = 0
    for bracket in BRACKET.findall(STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise EvidenceError(f"is nested deeper than {MAX_DEPTH} levels", place=place)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:80]!r} stands twice")
    return members


def _refuse_constant(token: str) -> float:
    raise ValueError(f"{token} is not a finite number")


def _finite(token: str) -> float:
    number = float(token)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{token[:40]} is not a finite number")
    return number

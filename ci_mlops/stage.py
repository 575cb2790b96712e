"""What a stage is, and the workspace that it looks at: two sides, their tables and predictions."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import Contract, DataSettings
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Artifact, Chart, Check, Metric, Place, Subject, Table
from ci_mlops.model.settings import ModelSettings
from ci_mlops.values import Value

if TYPE_CHECKING:
    from ci_mlops.dataset import table
    from ci_mlops.model.predictions import Predictions

Part = Literal["train", "test"]
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a pull request: a checkout with its own `data` and `model` sections."""

    name: Literal["base", "head"]
    root: Path
    """The folder of mlops.yml in this side's checkout; every path of its sections starts here."""
    commit: str
    """Full commit hash; the head's ends with `+changes` when the working tree differs."""
    code: str
    """Digest of the project's files other than its subjects, documentation and mlops.yml."""
    data: DataSettings
    model: ModelSettings | None
    subjects: tuple[Subject, ...]
    """Digests of `data.train`, `data.test`, `model`, `predictions.test` ..., and `code`."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where each setting stands, such as `model.threshold`."""
    contract: Contract = field(default_factory=Contract)
    """The rules for columns that this side's stage data gives."""

    def digest(self, name: str) -> str:
        """Digest of a subject of this side; empty when the side has no such subject."""
        return next((s.sha256 for s in self.subjects if s.name == name), "")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a stage found; the run turns it into a record."""

    checks: tuple[Check, ...]
    metrics: tuple[Metric, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    notes: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Everything a stage may look at; tables and predictions are made once and shared."""

    head: Side
    base: Side | None
    base_missing: str
    """Why there is no base; empty when there is one."""
    judge: Side
    """The side whose rules judge: the base, or the head where no base has rules."""
    commands: Commands
    folder: Path
    """`.mlops` of the head; stages write artifacts below `folder / "evidence" / <stage>/`."""
    cache: Path
    """A folder for content-addressed files that later runs may reuse."""
    cores: int
    project: str = "project"
    """The name of the project, as mlops.yml gives it."""
    stages: tuple[str, ...] = ()
    """Every stage that mlops.yml configures, whether this run looks at it or not."""
    seed: int = 0
    _made: dict[tuple[object, ...], Any] = field(default_factory=dict)
    _locks: dict[tuple[object, ...], threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sides(self) -> tuple[Side, ...]:
        """The base, where there is one, and the head."""
        return (self.base, self.head) if self.base else (self.head,)

    def artifacts(self, stage: str) -> Path:
        """The folder for a stage's artifacts, made on first use."""
        folder = self.folder / "evidence" / stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def table(self, side: Side, part: Part) -> "table.Table":
        """The rows of one part of one side, by key. Raises CannotLook when they cannot be read."""
        location = side.data.train if part == "train" else side.data.test
        if location is None:
            raise CannotLook(
                f"{side.name} has no `data.{part}`", remedy=f"Name the file in `data.{part}`"
            )

        def read() -> "table.Table":
            from ci_mlops.dataset.reading import read_table

            return read_table(side.root, location, side.data)

        return self.once(("table", side.name, part), read)

    def predictions(self, *, model: Side, data: Side, part: Part) -> "Predictions":
        """What one side's model answers for one side's rows, in the order of that table's index.

        Raises CannotLook when there is no model, it does not load, or it does not answer.
        """
        settings = model.model
        if settings is None:
            raise CannotLook(
                f"{model.name} has no `model` section", remedy="Add `model:` to mlops.yml"
            )
        rows = self.table(data, part)

        def make() -> "Predictions":
            from ci_mlops.model.predict import predict

            return predict(
                settings,
                root=model.root,
                part=part,
                frame=rows.frame.drop(columns=[data.data.key] if data.data.key else []),
                label=data.data.label,
                positive=data.data.positive,
                identity=(
                    model.digest("model"),
                    model.digest("code"),
                    data.digest(f"data.{part}"),
                    data.data.model_dump_json(),
                ),
                commands=self.commands,
                cache=self.cache,
            )

        return self.once(("predictions", model.name, data.name, part), make)

    def once(self, key: tuple[object, ...], make: Callable[[], Made]) -> Made:
        """Make a value once however many stages ask, a failure included."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._made:
                try:
                    self._made[key] = make()
                except CannotLook as fault:
                    self._made[key] = fault
        made: Made | CannotLook = self._made[key]
        if isinstance(made, CannotLook):
            raise made
        return made


class Stage(Value):
    """A section of `stages:` that can run: its fields are its settings."""

    name: ClassVar[str]
    question: ClassVar[str]
    """The question that the stage answers, for `--help`, the docs and the report."""
    after: ClassVar[tuple[str, ...]] = ()
    """Stages that must have ended before this one, where they are planned."""
    alone: ClassVar[bool] = False
    """Whether nothing else may run meanwhile, as when time is measured."""
    uses: ClassVar[tuple[str, ...]] = ("data.train", "data.test", "model", "code")
    """Names of the subjects whose digests, on both sides, the stage's result depends on."""
    keeps: ClassVar[bool] = True
    """Whether its evidence may stand for a later run with the same fingerprint."""

    def inputs(self, workspace: Workspace) -> Mapping[str, str]:
        """Digests of anything else that the result depends on, such as policy packs."""
        del workspace
        return {}

    def run(self, workspace: Workspace) -> Findings:
        """Look, and say what was found. Raises CannotLook when it cannot look at all."""
        raise NotImplementedError

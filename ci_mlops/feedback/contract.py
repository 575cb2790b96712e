"""What a model takes and answers, learned from the model and its data; a correction held to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.dataset import feedback
from ci_mlops.dataset.domain import MAX_VALUES, Cell, Column, Domain, learn, plain
from ci_mlops.dataset.feedback import Case
from ci_mlops.dataset.reading import read_table
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.feedback.given import Given, as_text
from ci_mlops.feedback.personal import looks_personal
from ci_mlops.model.process import ModelProcess
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Stage
from ci_mlops.stages.behaviour import BehaviourStage
from ci_mlops.stages.data import contract_of
from ci_mlops.strict_yaml import did_you_mean

MAX_REASON = 300
FORMULA = ("=", "+", "-", "@")
"""With these a spreadsheet begins a formula."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What corrections are for, as mlops.yml says it."""

    root: Path
    data: DataSettings
    model: ModelSettings
    file: str
    """The file of corrections, relative to `root`."""
    ranges: Mapping[str, tuple[float, ...]]
    """Of columns, in place of what is learned from the data."""
    categories: Mapping[str, tuple[Cell, ...]]


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The columns that a model takes, and the answers that it may give."""

    domain: Domain
    data: DataSettings
    regression: bool
    """Whether the model answers numbers."""
    classes: tuple[Cell, ...]
    """Labels that the data holds; empty for regressions."""

    @property
    def kept_back(self) -> tuple[str, ...]:
        """Columns that the model takes although mlops.yml calls them sensitive or hidden."""
        return tuple(name for name in self.domain.columns if name in self._personal)

    @property
    def _personal(self) -> frozenset[str]:
        return frozenset((*self.data.sensitive, *self.data.hidden))

    def case(self, given: Given, place: str) -> Case:
        """Return a correction that the model could be asked about.

        Raises ConfigError naming what is wrong and what to do; no value of a sensitive column is
        part of it.
        """
        texts = given.texts()
        self._require_columns(texts, place)
        if given.issue is None:
            raise ConfigError(
                "there is no issue to credit", place="--issue", remedy="Name it with --issue N"
            )
        made = Case(
            cells={name: texts[name] for name in self.domain.columns},
            expected=as_text(given.expected),
            tolerance=given.tolerance,
            issue=given.issue,
            reason=" ".join(given.reason.split()),
        )
        try:
            cells = feedback.typed(made.cells, self.domain, place)
            self._require_answer(made, place)
        except CannotLook as fault:
            raise ConfigError(fault.fault, place=fault.place, remedy=fault.remedy) from fault
        for name, cell in cells.items():
            self._require_inside(self.domain.columns[name], cell, place)
        _require_words(made.reason, place)
        return made

    def _require_columns(self, texts: Mapping[str, str], place: str) -> None:
        for name in texts:
            if name in self.domain.columns:
                continue
            if name in self._personal:
                raise ConfigError(
                    f"column {name!r} is sensitive, and the model does not take it",
                    place=place,
                    remedy="Leave it out",
                )
            raise ConfigError(
                f"the model takes no column {name[:80]!r}{did_you_mean(name, self.domain.columns)}",
                place=place,
                remedy="Leave it out",
            )
        for name in self.domain.columns:
            if name not in texts:
                raise ConfigError(
                    f"has no value for column {name!r}, which the model takes",
                    place=place,
                    remedy=f"Give it with --features; `{name}=` is a missing value",
                )

    def _require_inside(self, column: Column, cell: Cell, place: str) -> None:
        """Raise ConfigError for what the data does not hold, or what names a person."""
        if cell is None and not column.nulls:
            raise ConfigError(
                f"column {column.name!r} is empty, and it never is in the data", place=place
            )
        if cell is None:
            return
        said = self._outside(column, cell)
        if said:
            where = "range" if column.kind == "number" else "categories"
            raise ConfigError(
                f"column {column.name!r} {said}",
                place=place,
                remedy=f"If that is right, widen `stages.behaviour.domain.{where}`",
            )
        personal = looks_personal(str(cell)) if column.kind == "text" else ""
        if personal:
            raise ConfigError(
                f"column {column.name!r} seems to hold {personal}",
                place=place,
                remedy="Write an example in its place, such as someone@example.org or 555-0100",
            )

    def _outside(self, column: Column, cell: Cell) -> str:
        hidden = column.name in self._personal
        if column.kind == "number" and not column.low <= cell <= column.high:
            told = "" if hidden else f" of {column.low:g} to {column.high:g}"
            return f"lies outside of the data's range{told}"
        sampled = len(column.values) >= MAX_VALUES
        if column.kind == "category" and not sampled and cell not in column.values:
            known = ", ".join(str(one) for one in column.values[:20])
            return "holds none of the data's categories" + ("" if hidden else f" ({known})")
        return ""

    def _require_answer(self, made: Case, place: str) -> None:
        if not made.expected:
            raise ConfigError(
                "there is no right answer", place="--expected", remedy="Name it with --expected"
            )
        feedback.require_form(made, place, regression=self.regression)
        if self.regression or any(feedback.is_class(made.expected, one) for one in self.classes):
            return
        known = ", ".join(feedback.class_name(one) for one in self.classes[:20])
        raise ConfigError(f"what is right is none of the model's answers ({known})", place=place)


def target(
    root: Path, data: DataSettings, model: ModelSettings | None, stages: Mapping[str, Stage]
) -> Target:
    """Return what the sections of mlops.yml say. Raises ConfigError where they name no file."""
    behaviour = stages.get("behaviour")
    settings = behaviour if isinstance(behaviour, BehaviourStage) else None
    file = settings.feedback_file() if settings else None
    if settings is None or file is None or model is None:
        raise ConfigError(
            "names no file of corrections",
            place="mlops.yml: stages.behaviour",
            remedy="Add `feedback: feedback/cases.csv` there",
        )
    given = contract_of(stages)
    return Target(
        root=root,
        data=data,
        model=model,
        file=file.file,
        ranges={**given.range, **settings.domain.range},
        categories={**given.categories, **settings.domain.categories},
    )


def learned(wanted: Target, commands: Commands) -> Contract:
    """Learn it from the model, which is loaded and not asked, and from the data that is here.

    Raises CannotLook where there is neither training nor test data, or no model to load.
    """
    root, data, model = wanted.root, wanted.data, wanted.model
    frames = []
    faults: list[CannotLook] = []
    for location in (data.train, data.test):
        try:
            frames += [read_table(root, location, data).frame] if location else []
        except CannotLook as fault:
            faults.append(fault)
    if not frames:
        raise faults[0]
    if model.path is None:
        raise CannotLook(
            "there are predictions in place of a model, so nothing can be held to corrections",
            place="model.path",
        )
    with ModelProcess(model, root=root, commands=commands) as process:
        told = process.load().inputs
    rows = pd.concat(frames, ignore_index=True)
    others = [str(one) for one in rows.columns if one not in {data.key, data.label}]
    domain = learn(
        [rows],
        told or others,
        data,
        ranges=wanted.ranges,
        categories=wanted.categories,
    )
    regression = model.task == "regression"
    classes = () if regression else plain(rows[data.label].dropna().drop_duplicates())
    return Contract(domain=domain, data=data, regression=regression, classes=tuple(classes))


def _require_words(reason: str, place: str) -> None:
    if len(reason) > MAX_REASON:
        raise ConfigError(f"the reason is longer than {MAX_REASON} characters", place=place)
    if not reason.isprintable() or reason.startswith(FORMULA):
        raise ConfigError("the reason is no plain words", place=place, remedy="Write it in words")
    personal = looks_personal(reason)
    if personal:
        raise ConfigError(
            f"the reason seems to hold {personal}", place=place, remedy="Leave it out"
        )

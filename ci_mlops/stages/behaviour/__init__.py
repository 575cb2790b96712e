"""Stage behaviour: what the model does on inputs that nobody listed."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ci_mlops.dataset.settings import ColumnName
from ci_mlops.stage import Findings, Stage, Workspace
from ci_mlops.values import Many, Value

Percent = Annotated[float, Field(ge=0, le=100)]
Amount = Annotated[float, Field(ge=0)]
Direction = Literal["increasing", "decreasing"]
PropertyName = Literal[
    "never-raises",
    "right-shape",
    "finite",
    "probabilities",
    "deterministic",
    "stateless",
    "independent-of-batch",
    "independent-of-row-order",
    "leaves-input-unchanged",
    "unseen-category",
    "unseen-null",
]


class Invariance(Value):
    """Features that may not matter: no other value of theirs may change a decision."""

    to: Annotated[Many[ColumnName], Field(min_length=1)]
    """The columns; each is exchanged alone."""
    max_flips_percent: Percent = 0
    """Test rows, in percent, whose decision may change all the same."""
    tolerance: Amount | None = None
    """How much a score or value may change before it counts; without it the decision counts, and
    of regressions the change beyond the stage's `tolerance`."""


class Monotone(Value):
    """A direction, with what is allowed against it."""

    direction: Direction
    """Which way the score or value may go when the column rises."""
    max_violations_percent: Percent = 0
    """Test rows, in percent, on which it may go the other way somewhere."""
    tolerance: Amount = 0.000_001
    """How far it may go the other way before it counts, in units of the score or value."""


class CaseFile(Value):
    """Must-hold predictions in a CSV file."""

    file: Annotated[str, Field(min_length=1)]
    """Path relative to mlops.yml. Columns: the model's inputs, `expected`, and where wanted `name`
    and `tolerance`."""
    max_wrong_percent: Percent = 0
    """Cases, in percent, that may be answered otherwise."""


class FeedbackFile(Value):
    """People's corrections in a CSV file."""

    file: Annotated[str, Field(min_length=1)]
    """Path relative to mlops.yml. Columns: the model's inputs, `expected`, `issue`, and where
    wanted `tolerance` (of regressions) and `reason`. `ci-mlops feedback add` writes it."""
    max_wrong_percent: Percent = 0
    """Corrections, in percent, that may be answered otherwise; 0 means that each must hold."""


class DomainRules(Value):
    """What columns may hold, in place of what is learned from the reference."""

    range: Mapping[ColumnName, Annotated[Many[float], Field(min_length=2, max_length=2)]] = {}
    """The lowest and highest value of a number, by column."""
    categories: Mapping[
        ColumnName, Annotated[Many[str | int | float | bool], Field(min_length=1)]
    ] = {}
    """The values of a category, by column."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for column, (low, high) in self.range.items():
            if not low < high:
                raise ValueError(f"range.{column}: the first number must be below the second")
        return self


class BehaviourStage(Stage):
    """Property-based tests of the model, on rows made from the data's domain."""

    name: ClassVar[Literal["behaviour"]] = "behaviour"
    question: ClassVar[str] = "What does the model do on inputs that nobody listed?"

    invariant: Invariance | Many[Invariance] = ()
    """Features that may not matter, with an allowed share: one rule, or a list of them."""
    monotone: Mapping[ColumnName, Direction | Monotone] = {}
    """Columns with the direction in which they may move the score or value."""
    cases: Many[Annotated[str, Field(min_length=1)] | CaseFile] = ()
    """CSV files of must-hold predictions, read from the base commit where it has them."""
    feedback: Annotated[str, Field(min_length=1)] | FeedbackFile | None = None
    """The CSV file of people's corrections, such as feedback/cases.csv; the base's judges, and
    where it has none yet nothing is held."""
    domain: DomainRules = DomainRules()
    """Ranges and categories of columns, where those of the reference are not what may come."""
    without: Many[PropertyName] = ()
    """Built-in properties that are not looked at; the report says so."""
    examples: Annotated[int, Field(ge=20, le=20_000)] = 1000
    """Rows that each property is tried on."""
    max_seconds: Annotated[float, Field(gt=0, le=3600)] = 60
    """Time for all of it; what it cuts short does not pass."""
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Decides which rows are made; the same seed makes the same rows."""
    tolerance: Amount = 0.000_001
    """How far two answers to the same row may lie apart, as a share of the answer where that is
    above 1."""
    on_new_only: bool = False
    """Whether only what got worse than at the base blocks; the rest is warned of."""

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        named = [column for rule in self.invariances() for column in rule.to]
        files = [one.file for one in self.case_files()]
        for what, names in (("invariant", named), ("cases", files), ("without", self.without)):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"{what}: {twice[0]!r} stands twice")
        return self

    def invariances(self) -> tuple[Invariance, ...]:
        """The rules of `invariant`, of whichever form."""
        return (self.invariant,) if isinstance(self.invariant, Invariance) else self.invariant

    def directions(self) -> dict[str, Monotone]:
        """The rules of `monotone`, by column."""
        return {
            column: one if isinstance(one, Monotone) else Monotone(direction=one)
            for column, one in self.monotone.items()
        }

    def case_files(self) -> tuple[CaseFile, ...]:
        """The files of `cases`, of whichever form."""
        return tuple(one if isinstance(one, CaseFile) else CaseFile(file=one) for one in self.cases)

    def feedback_file(self) -> FeedbackFile | None:
        """The setting `feedback`, of whichever form."""
        return FeedbackFile(file=self.feedback) if isinstance(self.feedback, str) else self.feedback

    def inputs(self, workspace: Workspace) -> Mapping[str, str]:
        """Digests of the files of cases and of corrections."""
        from ci_mlops.stages.behaviour import cases, feedback

        return {**cases.digests(self, workspace), **feedback.digests(self, workspace)}

    def run(self, workspace: Workspace) -> Findings:
        """Try every property on head's model, and what it breaks on base's too."""
        from ci_mlops.stages.behaviour import judging

        return judging.judge(self, workspace)

"""Stage data: the contract, what moved, what leaks, and Deepchecks' view of it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ci_mlops.dataset.settings import Contract
from ci_mlops.deepchecks import conditions
from ci_mlops.stage import Findings, Stage, Workspace
from ci_mlops.values import Share, Value


class DataLimits(Value):
    """Limits of stage data's own checks; each default is measured, see docs/stages/data.md."""

    null_rate_slack: Share = 0.05
    """How much the share of missing values of a column may rise."""
    out_of_range_share: Share = 0.005
    """Share of values beyond the extremes of the reference."""
    new_category_share: Share = 0.005
    """Share of values that the reference does not know."""
    shift: Share = 0.1
    """Distance of a column's distribution from the reference: Kolmogorov-Smirnov for numbers, total
    variation for categories; counted only where chance cannot explain it."""
    label_shift: Share = 0.1
    """The same for the label."""
    shared_rows_share: Share = 0.01
    """Share of test rows that stand in the training data too, beyond what the training data repeats
    in itself."""
    near_shared_rows_share: Share = 0.01
    """The same for rows that are alike to four digits."""
    duplicate_rows_share: Share = 0.05
    """Share of rows that repeat another row of the same file."""
    conflicting_labels_share: Share = 0.01
    """Share of rows whose features stand elsewhere with another label."""
    leak_power: Share = 0.65
    """How well one column alone may tell the label (Gini coefficient 2 AUC - 1, or R2)."""
    leak_gain: Share = 0.15
    """How much better than at the base one column alone may tell the label."""
    mostly_missing_share: Share = 0.5
    """Share of missing values from which a column is called mostly empty."""
    variant_share: Share = 0.005
    """Share of values that are another value in other letters or with spaces around."""


class DataStage(Stage):
    """Holds the data to its contract, to the base's data, and train against test."""

    name: ClassVar[Literal["data"]] = "data"
    question: ClassVar[str] = "Is the data sound, unchanged where it should be, and free of leaks?"
    uses: ClassVar[tuple[str, ...]] = ("data.train", "data.test")

    contract: Contract = Contract()
    """Rules for columns; what is not given is learned from the base's data."""
    limits: DataLimits = DataLimits()
    """Limits of the checks."""
    deepchecks: bool | Mapping[str, Mapping[str, Annotated[float | bool, Field()]]] = True
    """Whether Deepchecks' integrity and train-test suites run too; or, by check, other limits."""

    @model_validator(mode="after")
    def _known_checks(self) -> Self:
        given = self.deepchecks if isinstance(self.deepchecks, Mapping) else {}
        if fault := conditions.unknown("data", given):
            raise ValueError(f"deepchecks: {fault}")
        return self

    def inputs(self, workspace: Workspace) -> Mapping[str, str]:
        """Return the task, which decides what Deepchecks looks for."""
        return {"task": workspace.head.model.task if workspace.head.model else ""}

    def run(self, workspace: Workspace) -> Findings:
        """Look at both parts of the head's data, against the base's where there is one."""
        from ci_mlops.stages.data import judging

        return judging.judge(self, workspace)


def contract_of(stages: Mapping[str, Stage]) -> Contract:
    """Return the rules for columns that the configured stages give."""
    stage = stages.get("data")
    return stage.contract if isinstance(stage, DataStage) else Contract()

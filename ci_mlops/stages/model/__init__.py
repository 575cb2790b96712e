"""Stage model asks whether the model is useful, and no worse than the base's, anywhere."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ci_mlops.dataset.settings import ColumnName
from ci_mlops.deepchecks import conditions
from ci_mlops.errors import CannotLook
from ci_mlops.stage import Findings, Stage, Workspace
from ci_mlops.stats import metrics as catalogue
from ci_mlops.values import Many, Share, Value

Amount = Annotated[float, Field(ge=0)]
Edge = Annotated[float, Field(allow_inf_nan=True)]


class Tolerance(Value):
    """How much worse a metric may get; a change must exceed both parts to count."""

    absolute: Amount = 0.0
    """In the metric's own unit."""
    relative_percent: Amount = 0.0
    """In percent of the base's value."""

    def of(self, base: float) -> float:
        """The tolerated worsening, in the metric's unit, for a base value."""
        return max(self.absolute, self.relative_percent / 100 * abs(base))


class MetricRule(Value):
    """Limits of one metric; `max_drop` and `at_least` where higher is better, else the others."""

    at_least: float | None = None
    """The lowest value that is accepted, whatever the base has."""
    at_most: float | None = None
    """The highest value that is accepted, whatever the base has."""
    max_drop: Amount | Tolerance | None = None
    """How far it may fall against the base: a number, or `{absolute, relative_percent}`, both of
    which a fall must exceed."""
    max_rise: Amount | Tolerance | None = None
    """How far a metric that is better when lower may rise against the base."""

    def tolerance(self) -> Tolerance | None:
        """The tolerated worsening against the base, if any is set."""
        given = self.max_drop if self.max_drop is not None else self.max_rise
        return given if given is None or isinstance(given, Tolerance) else Tolerance(absolute=given)


class Import(Value):
    """A file of another tool, whose figures or tests become checks."""

    file: Annotated[str, Field(min_length=1)]
    """Path relative to mlops.yml: JSON, YAML or TOML, `dvc.yaml`, a `metrics` folder of MLflow's
    file store, or a JUnit file (`.xml`)."""
    metrics: Mapping[str, MetricRule] = {}
    """Limits and tolerances by the figure's dotted name, of `dvc.yaml` as `file:name`. All others
    are shown and decide nothing."""

    @model_validator(mode="after")
    def _rules_fit(self) -> Self:
        if self.tests() and self.metrics:
            raise ValueError("`metrics` is for figures; a JUnit file holds tests")
        for name, rule in self.metrics.items():
            if rule.max_drop is not None and rule.max_rise is not None:
                raise ValueError(f"metrics.{name}: write `max_drop` or `max_rise`, not both")
            if not rule.model_fields_set:
                raise ValueError(f"metrics.{name}: give a limit, such as `max_drop: 0.01`")
        return self

    def tests(self) -> bool:
        """Whether the file holds tests, and not figures."""
        return self.file.endswith(".xml")


DEFAULT_METRICS: Mapping[str, Mapping[str, MetricRule]] = {
    "binary": {
        "roc_auc": MetricRule(max_drop=0.01),
        "log_loss": MetricRule(max_rise=Tolerance(absolute=0.02, relative_percent=5)),
        "balanced_accuracy": MetricRule(max_drop=0.02),
    },
    "multiclass": {
        "accuracy": MetricRule(max_drop=0.02),
        "f1_macro": MetricRule(max_drop=0.02),
        "log_loss": MetricRule(max_rise=Tolerance(absolute=0.02, relative_percent=5)),
    },
    "regression": {
        "mae": MetricRule(max_rise=Tolerance(relative_percent=5)),
        "rmse": MetricRule(max_rise=Tolerance(relative_percent=5)),
        "r2": MetricRule(max_drop=0.02),
    },
}
"""The metrics that are judged where `metrics` is not given; docs/stages/model.md says why."""


class ModelStage(Stage):
    """Base against head per metric, slice by slice, above a floor, and Deepchecks' evaluation."""

    name: ClassVar[str] = "model"
    question: ClassVar[str] = "Is the model useful, and no worse than the base's, anywhere?"
    after: ClassVar[tuple[str, ...]] = ("data",)

    metrics: Mapping[str, MetricRule] | None = None
    """Metrics that are judged, with their limits; by default three for the task."""
    slices: Many[ColumnName | Mapping[ColumnName, Annotated[Many[Edge], Field(min_length=2)]]] = ()
    """Further slices: a column, for each of its values, or `{column: [edges]}` for ranges."""
    automatic_slices: bool = True
    """Whether the values of sensitive and categorical columns and the quarters of numeric ones are
    slices too."""
    min_slice_rows: Annotated[int, Field(ge=10)] = 50
    """Slices with fewer test rows are not judged; they are counted in the message."""
    max_slice_drop: Share = 0.05
    """How much worse a slice may get against the base: in accuracy, or as a share of the base's
    mean absolute error."""
    min_rows: Annotated[int, Field(ge=2)] = 100
    """With fewer test rows no comparison can decide."""
    floor: Share | None = 0.0
    """The skill that the model must show beyond doubt: 0 is a model that ignores its input, 1 is
    perfect. `null` turns the check off."""
    imports: Many[Import] = ()
    """Figures and tests of other tools, read from files on both sides."""
    max_train_gap: Amount = 0.15
    """How much better the model may be on its training rows: in ROC AUC, accuracy or R²."""
    deepchecks: Literal[False] | Mapping[str, Mapping[str, float | bool]] = Field(
        default_factory=dict
    )
    """Conditions of Deepchecks' model evaluation: `{check: {parameter: value}}`; `false` turns the
    suite off."""

    @model_validator(mode="after")
    def _words_fit(self) -> Self:
        for name, rule in (self.metrics or {}).items():
            metric = catalogue.find(name)
            if metric is None:
                raise ValueError(f"metrics: unknown metric {name!r}{_meant(name)}")
            higher = metric.better == "higher"
            wrong = ("at_most", "max_rise") if higher else ("at_least", "max_drop")
            for word in wrong:
                if getattr(rule, word) is not None:
                    right = {"at_most": "at_least", "max_rise": "max_drop"}
                    right |= {new: old for old, new in right.items()}
                    raise ValueError(
                        f"metrics.{name}: {metric.better} is better, so write `{right[word]}`,"
                        f" not `{word}`"
                    )
        for item in self.slices:
            for column, edges in item.items() if isinstance(item, Mapping) else ():
                if not all(a < b for a, b in pairwise(edges)):
                    raise ValueError(f"slices.{column}: edges must rise from each to the next")
        given = self.deepchecks if isinstance(self.deepchecks, Mapping) else {}
        if fault := conditions.unknown("model", given):
            raise ValueError(f"deepchecks: {fault}")
        return self

    def rules(self, task: str) -> Mapping[str, MetricRule]:
        """The limits per metric for a task. Raises CannotLook for a metric of another task."""
        rules = DEFAULT_METRICS[task] if self.metrics is None else self.metrics
        for name in rules:
            if catalogue.find(name, task) is None:
                known = ", ".join(metric.name for metric in catalogue.METRICS[task])
                raise CannotLook(
                    f"{name} is no metric of {task} models",
                    place="stages.model.metrics",
                    remedy=f"Choose from {known}",
                )
        return rules

    def inputs(self, workspace: Workspace) -> Mapping[str, str]:
        """Digests of what is imported."""
        from ci_mlops.stages.model import imported

        return imported.digests(self, workspace)

    def run(self, workspace: Workspace) -> Findings:
        """Judge the head's model on the head's test rows, against the base's on the same rows."""
        from ci_mlops.stages.model.look import look

        return look(self, workspace)


def _meant(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, catalogue.known_names(), n=1)
    return f", did you mean {close[0]!r}?" if close else ""

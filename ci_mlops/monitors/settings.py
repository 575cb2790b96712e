"""The `monitors` section of mlops.yml, but for the monitors themselves: where they look."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ci_mlops.monitors.production import Monitor
from ci_mlops.monitors.sources.prediction_log import LabelSettings
from ci_mlops.monitors.sources.prometheus import PrometheusSettings
from ci_mlops.values import EnvironmentName, Many, Value

Answer = Literal["issue", "rollback", "retrain"]
"""What a monitor that fails calls for; the issue is kept in each case."""


class PredictionLogSettings(Value):
    """Where the prediction log arrives."""

    path: Annotated[str, Field(min_length=1)]
    """A folder of JSON Lines or Parquet files, relative to mlops.yml, or a pattern in an object
    store, such as `s3://bucket/predictions/*.parquet`, where two stars stand for folders. A file
    named by a day is read for that day alone."""
    max_rows: Annotated[int, Field(ge=100)] = 200_000
    """Rows of a window beyond which a random sample is looked at."""


class RetrainSettings(Value):
    """How the project trains anew on what production has shown."""

    command: Annotated[Many[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """Shell lines, run in the folder of mlops.yml in a fresh checkout of the default branch, after
    `prepare`. What they change there becomes the pull request. CI_MLOPS_WINDOW names a Parquet file
    of the labelled predictions: inputs, label, what else stands beside the labels, `id` and
    `time`."""
    window_days: Annotated[float, Field(gt=0, le=3660)] = 30
    """The predictions that are handed over."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """Labelled predictions below which nothing is trained."""
    timeout_minutes: Annotated[int, Field(ge=1)] = 120
    every_hours: Annotated[float, Field(ge=0)] = 24
    """A proposal that is younger is left alone."""


class MonitorsSettings(Value):
    """Every monitor that is named here runs; an empty value means its defaults."""

    environment: EnvironmentName = "production"
    """The environment that is watched; what is live there is what the ledger says."""
    predictions: PredictionLogSettings | None = Field(default=None, validate_default=False)
    """The prediction log, for drift, accuracy and fairness."""
    labels: LabelSettings | None = Field(default=None, validate_default=False)
    """What turned out to be right, for accuracy and fairness."""
    prometheus: PrometheusSettings | None = Field(default=None, validate_default=False)
    """The Prometheus server, for latency and resources."""

    on_failure: Answer | Mapping[str, Answer] = "issue"
    """What a monitor that fails calls for besides the issue, for all or by monitor: `rollback` to
    the version before, or `retrain`, a pull request with a model of newer data."""
    retrain: RetrainSettings | None = Field(default=None, validate_default=False)
    """The project's own way to train, for `on_failure: retrain` and `ci-mlops retrain`."""

    @field_validator("*", mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: object) -> object:
        return {} if value is None else value

    def chosen(self) -> dict[str, Monitor]:
        """Return the monitors that the file names, with their settings."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: one
            for name, one in named.items()
            if isinstance(one, Monitor) and name in self.model_fields_set
        }

    def answer(self, monitor: str) -> Answer:
        """Return what a monitor calls for when it fails."""
        if isinstance(self.on_failure, str):
            return self.on_failure
        return self.on_failure.get(monitor, "issue")

    def answers(self, failed: Iterable[str]) -> tuple[Answer, ...]:
        """Return what failed monitors call for together, each once."""
        wanted = {self.answer(name) for name in failed}
        every: tuple[Answer, ...] = ("issue", "rollback", "retrain")
        return tuple(one for one in every if one in wanted or (one == "issue" and wanted))

    def lacking(self) -> Iterator[tuple[str, str]]:
        """Yield each monitor whose source is not named, with the source."""
        needs = {
            "drift": ("predictions",),
            "accuracy": ("predictions",),
            "fairness": ("predictions", "labels"),
            "latency": ("prometheus",),
            "resources": ("prometheus",),
        }
        for name in self.chosen():
            for source in needs.get(name, ()):
                if getattr(self, source) is None:
                    yield name, source

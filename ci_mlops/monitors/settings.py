"""The `monitors` section of mlops.yml, but for the monitors themselves: where they look."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, field_validator

from ci_mlops.monitors.production import Monitor
from ci_mlops.monitors.sources.prediction_log import LabelSettings
from ci_mlops.monitors.sources.prometheus import PrometheusSettings
from ci_mlops.values import EnvironmentName, Value


class PredictionLogSettings(Value):
    """Where the prediction log arrives."""

    path: Annotated[str, Field(min_length=1)]
    """A folder of JSON Lines or Parquet files, relative to mlops.yml, or a pattern in an object
    store, such as `s3://bucket/predictions/*.parquet`. A file named by a day is read for that day
    alone."""
    max_rows: Annotated[int, Field(ge=100)] = 200_000
    """Rows of a window beyond which a random sample is looked at."""


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

"""What a monitor is, and what it looks at: an environment, what is live there, and its traces."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from ci_mlops.errors import CannotLook
from ci_mlops.monitors.sources.prediction_log import LabelSettings, Log
from ci_mlops.monitors.sources.prometheus import Prometheus
from ci_mlops.stage import Findings, Side, Stage, Workspace
from ci_mlops.stages.policy import PolicyStage

if TYPE_CHECKING:
    import pandas as pd

    from ci_mlops.model.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Live:
    """What the ledger says is live."""

    digest: str
    """`sha256:…`"""
    since: datetime
    commit: str
    promoted: bool
    """Whether a promotion made it live, and not a rollback."""

    @property
    def version(self) -> str:
        """The version by which servers name it in metrics and in the prediction log."""
        return self.digest.removeprefix("sha256:")[:12]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the environment gives one server, as far as `release` says."""

    memory_mb: float | None = None
    """What it may hold."""
    cpus: float | None = None
    """What it may keep busy."""
    requested_mb: float | None = None
    """What is set aside for it; what it holds beyond that, others may want back."""
    requested_cpus: float | None = None


@dataclass(frozen=True, kw_only=True)
class Watched(Workspace):
    """An environment in production, with what was judged before as its reference."""

    environment: str
    live: Live | None
    """None where the ledger does not know the environment."""
    reference: Side
    """The side whose test data and predictions were judged for what is live."""
    now: datetime
    log: str | None
    """Where the prediction log is, relative to the head's root."""
    max_rows: int
    policy: PolicyStage
    """Stage policy's settings."""
    limits: Limits
    labels: LabelSettings | None
    prometheus: Prometheus | None

    @property
    def begun(self) -> datetime | None:
        """When what is live began to answer."""
        return self.live.since if self.live else None

    def just_began(self, within: timedelta) -> bool:
        """Whether what is live began to answer so lately that it may have left no trace yet."""
        return self.begun is not None and self.now - self.begun < 2 * within

    def predictions_of(self, window: timedelta) -> Log:
        """Return the newest rows of the prediction log. Raises CannotLook."""
        if self.log is None:
            raise CannotLook(
                "no prediction log is named",
                place="monitors.predictions",
                remedy="Name its folder: `predictions: {path: ...}`",
            )
        location = self.log

        def read() -> Log:
            from ci_mlops.monitors.sources import prediction_log

            return prediction_log.read_log(
                self.head.root,
                location,
                since=self.now - window,
                until=self.now,
                max_rows=self.max_rows,
                seed=self.seed,
            )

        return self.once(("log", window), read)

    def arrived_labels(self) -> "pd.DataFrame | None":
        """Return the labels that have arrived, by the log's index; None where none are named."""
        settings = self.labels
        if settings is None:
            return None

        def read() -> "pd.DataFrame":
            from ci_mlops.monitors.sources import prediction_log

            return prediction_log.read_labels(self.head.root, settings, self.head.data.label)

        return self.once(("labels",), read)

    def judged(self) -> "tuple[pd.DataFrame, Predictions]":
        """Return the reference's test rows and what its model answered for them."""
        side = self.reference
        answers = self.predictions(model=side, data=side, part="test")
        return self.table(side, "test").frame, answers

    def metrics(self) -> Prometheus:
        """Return the Prometheus server. Raises CannotLook where none is named."""
        if self.prometheus is None:
            raise CannotLook(
                "no Prometheus server is named",
                place="monitors.prometheus",
                remedy="Name its address: `prometheus: {url: http://...}`",
            )
        return self.prometheus


class Monitor(Stage):
    """A stage that looks at production: a section of `monitors:` that can run."""

    keeps: ClassVar[bool] = False  # what is looked at changes by the minute

    def inputs(self, workspace: Workspace) -> Mapping[str, str]:
        """Return the moment, since nothing else names what is looked at."""
        watched = _watched(workspace)
        return {"environment": watched.environment, "now": watched.now.isoformat()}

    def run(self, workspace: Workspace) -> Findings:
        """Look at production."""
        return self.look(_watched(workspace))

    def look(self, watched: Watched) -> Findings:
        """Look, and say what was found. Raises CannotLook, OutsideError."""
        raise NotImplementedError


def _watched(workspace: Workspace) -> Watched:
    if not isinstance(workspace, Watched):
        raise TypeError("a monitor looks at production, and at nothing else")
    return workspace

"""Monitor accuracy: delayed labels beside what the model answered when it was asked."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ci_mlops.monitors.production import Monitor, Watched
from ci_mlops.stage import Findings
from ci_mlops.values import Share


class AccuracyMonitor(Monitor):
    """Holds the share of right answers to what was judged, label by label as they arrive."""

    name: ClassVar[Literal["accuracy"]] = "accuracy"
    question: ClassVar[str] = "Is the model still right as often as it was judged to be?"
    uses: ClassVar[tuple[str, ...]] = ("data.test", "model", "code")

    max_drop: Share = 0.02
    """How far the share of right answers may fall below the judged one. Of a regression, an answer
    is right that errs by no more than nine tenths of the judged ones did."""
    max_label_shift: Share = 0.02
    """How far the share of a class among the labels may move before the evidence counts."""
    history_days: Annotated[float, Field(gt=0, le=3660)] = 90
    """Predictions that are looked at; those of what is live alone."""
    labels_within_days: Annotated[float, Field(ge=0)] = 30
    """When a label is to have arrived."""
    min_arrived_percent: Annotated[float, Field(ge=0, le=100)] = 50
    """Share of the labels due that must have arrived, or else nothing can be decided: those that
    come early may not be like those that come late."""
    min_labels: Annotated[int, Field(ge=20)] = 100
    """Labels below which nothing is decided."""

    def look(self, watched: Watched) -> Findings:
        """Look at the prediction log and the labels."""
        from ci_mlops.monitors.accuracy import judging

        return judging.judge(self, watched)

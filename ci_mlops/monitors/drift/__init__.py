"""Monitor drift: what is asked and answered in production beside what was judged."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ci_mlops.monitors.production import Monitor, Watched
from ci_mlops.stage import Findings
from ci_mlops.values import Share


class DriftMonitor(Monitor):
    """Holds inputs and answers of a window to the test data that was judged for what is live."""

    name: ClassVar[Literal["drift"]] = "drift"
    question: ClassVar[str] = "Does what is asked and answered still look like what was judged?"
    uses: ClassVar[tuple[str, ...]] = ("data.test", "model", "code")

    window_days: Annotated[float, Field(gt=0, le=366)] = 7
    """The window that is looked at; the last day of a longer one is looked at by itself, too."""
    max_shift: Share = 0.1
    """Distance of an input's or the answers' distribution from the reference: Kolmogorov-Smirnov
    for numbers, total variation for categories; counted only where chance cannot explain it."""
    null_rate_slack: Share = 0.05
    """How much the share of missing values of an input may rise."""
    out_of_range_share: Share = 0.005
    """Share of values beyond the extremes of the reference."""
    new_category_share: Share = 0.005
    """Share of values that the reference does not know."""
    max_age_hours: Annotated[float, Field(gt=0)] | None = 24
    """How long ago the newest prediction may be; null where there are long pauses."""
    max_volume_factor: Annotated[float, Field(gt=1)] | None = 3
    """How many times more, or fewer, predictions the last day may have than the days before had in
    the median; null for no such limit."""
    min_rows: Annotated[int, Field(ge=20)] = 100
    """Rows below which nothing is said of a window."""
    deepchecks: bool = True
    """Whether Deepchecks compares the reference with the window, too; at most a warning."""

    def look(self, watched: Watched) -> Findings:
        """Look at the prediction log."""
        from ci_mlops.monitors.drift import judging

        return judging.judge(self, watched)

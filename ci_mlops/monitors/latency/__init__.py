"""Monitor latency: how fast, how often and how rightly what is live answers, by Prometheus."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ci_mlops.monitors.production import Monitor, Watched
from ci_mlops.stage import Findings


class LatencyMonitor(Monitor):
    """Holds p95, errors and traffic of the last hours to limits and to the days before."""

    name: ClassVar[Literal["latency"]] = "latency"
    question: ClassVar[str] = "Does what is live answer fast enough, and without errors?"
    uses: ClassVar[tuple[str, ...]] = ("model",)

    max_p95_ms: Annotated[float, Field(gt=0)] | None = None
    """Time within which 95 of 100 requests must be answered."""
    max_slowdown_percent: Annotated[float, Field(gt=0)] | None = 50
    """How far the p95 may rise above what the live version took in the days before; null for no
    such limit."""
    max_errors_percent: Annotated[float, Field(ge=0, le=100)] = 1
    """Requests that may end with a status of 500 or above."""
    window_minutes: Annotated[int, Field(ge=1, le=10_080)] = 120
    """The window that is looked at. It is cut into twelve parts; ten of them must show a fault
    before it is one. Prometheus has to scrape four times in each part."""
    reference_days: Annotated[float, Field(gt=0, le=366)] = 7
    """The time before the window that it is compared with."""
    min_requests: Annotated[int, Field(ge=1)] = 100
    """Requests in the window below which nothing is decided."""

    def look(self, watched: Watched) -> Findings:
        """Ask Prometheus."""
        from ci_mlops.monitors.latency import judging

        return judging.judge(self, watched)

"""Monitor resources: memory and processor time of what is live, by Prometheus."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ci_mlops.monitors.production import Monitor, Watched
from ci_mlops.stage import Findings

INFO = "* on (instance, job) group_left () ci_mlops_model_info$chosen"


class ResourcesMonitor(Monitor):
    """Holds memory and processor time of each server to limits, and memory to its own past."""

    name: ClassVar[Literal["resources"]] = "resources"
    question: ClassVar[str] = "Does what is live keep within its memory and processors?"
    uses: ClassVar[tuple[str, ...]] = ("model",)

    max_memory_mb: Annotated[float, Field(gt=0)] | None = None
    """Memory that a server may hold; default: what `release` allows it."""
    max_cpus: Annotated[float, Field(gt=0)] | None = None
    """Processors that a server may keep busy; default: what `release` allows it."""
    max_used_percent: Annotated[float, Field(gt=0, le=100)] = 90
    """Share of either limit from which it is nearly used up."""
    max_growth_percent: Annotated[float, Field(gt=0)] = 20
    """How far the floor of memory may rise within the window, for as long as it rises."""
    window_hours: Annotated[float, Field(gt=0, le=720)] = 24
    """The window that is looked at."""
    memory_query: str = f"process_resident_memory_bytes {INFO}"
    """What a server holds, in bytes, one series a server; `$chosen` stands for the labels of what
    is live. In Kubernetes `container_memory_working_set_bytes{...}` counts child processes, too."""
    cpu_query: str = f"rate(process_cpu_seconds_total[10m]) {INFO}"
    """The processors that a server keeps busy."""

    def look(self, watched: Watched) -> Findings:
        """Ask Prometheus."""
        from ci_mlops.monitors.resources import judging

        return judging.judge(self, watched)

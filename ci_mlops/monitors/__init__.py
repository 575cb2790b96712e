"""The registry: every monitor, one line each, in the order in which a report shows them."""

from ci_mlops.monitors.accuracy import AccuracyMonitor
from ci_mlops.monitors.drift import DriftMonitor
from ci_mlops.monitors.fairness import FairnessMonitor
from ci_mlops.monitors.latency import LatencyMonitor
from ci_mlops.monitors.production import Monitor
from ci_mlops.monitors.resources import ResourcesMonitor

MONITORS: tuple[type[Monitor], ...] = (
    DriftMonitor,
    AccuracyMonitor,
    FairnessMonitor,
    LatencyMonitor,
    ResourcesMonitor,
)

"""What the server tells Prometheus: requests by code, their durations, the model, the log."""

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from ci_mlops.serving.served import Served

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The series of one model in a registry of their own."""

    def __init__(self, served: Served) -> None:
        self.registry = CollectorRegistry()
        for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
            self.registry.register(collector)
        self._labels = (served.name, served.version)
        self._requests = Counter(
            "ci_mlops_inference_requests_total",
            "Inference requests by status code.",
            ("model", "version", "code"),
            registry=self.registry,
        )
        self._duration = Histogram(
            "ci_mlops_inference_duration_seconds",
            "Time from a whole request to its answer.",
            ("model", "version"),
            buckets=BUCKETS_S,
            registry=self.registry,
        ).labels(*self._labels)
        self._dropped = Counter(
            "ci_mlops_prediction_log_dropped_total",
            "Lines that the prediction log had no room for.",
            ("model", "version"),
            registry=self.registry,
        ).labels(*self._labels)
        info = Gauge(
            "ci_mlops_model_info",
            "1 for the model that is served.",
            ("model", "version", "digest"),
            registry=self.registry,
        )
        info.labels(*self._labels, served.digest).set(1)
        self._answered = self._requests.labels(*self._labels, "200")

    def observe(self, code: int, seconds: float) -> None:
        """Count one inference request."""
        (self._answered if code == 200 else self._requests.labels(*self._labels, str(code))).inc()
        self._duration.observe(seconds)

    def dropped(self) -> None:
        """Count a line that the prediction log had no room for."""
        self._dropped.inc()

    def text(self) -> bytes:
        """Return every series in Prometheus' text format."""
        return generate_latest(self.registry)

"""A real Prometheus, with a history written for it or a server to scrape."""

import contextlib
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from ci_mlops.serving.app import BUCKETS_S
from tests.cluster import free_port

START_S = 30


@dataclass(frozen=True, kw_only=True)
class History:
    """What a server would have told: one sample each `step_s` seconds, up to `until`."""

    until: float
    hours: float
    labels: Mapping[str, str]
    step_s: int = 60

    def times(self) -> np.ndarray:
        """Return the moments of the samples, in seconds since 1970."""
        return np.arange(self.until - self.hours * 3600, self.until + 1, self.step_s)

    def hours_ago(self) -> np.ndarray:
        """Return how long before the end each sample is."""
        ago: np.ndarray = (self.until - self.times()) / 3600
        return ago

    def requests(
        self, medians_ms: np.ndarray, failing: np.ndarray, *, each: int = 30, seed: int = 1
    ) -> list[str]:
        """Return the series of `each` requests a step, log-normal around a median.

        `failing` is the share of each step that ends with 500; shapes (n,) of `times`.
        """
        generator = np.random.default_rng(seed)
        took = medians_ms[:, None] / 1000 * generator.lognormal(0, 0.4, (len(medians_ms), each))
        lines = ["# TYPE ci_mlops_inference_duration_seconds histogram"]
        name = "ci_mlops_inference_duration_seconds"
        for bound in (*BUCKETS_S, np.inf):
            below = np.cumsum((took <= bound).sum(axis=1))
            text = "+Inf" if bound == np.inf else f"{bound}"
            lines += self._series(f"{name}_bucket", below, le=text)
        lines += self._series(f"{name}_count", np.arange(1, len(took) + 1) * each)
        lines += self._series(f"{name}_sum", np.cumsum(took.sum(axis=1)))
        lines.append("# TYPE ci_mlops_inference_requests counter")
        failed = generator.binomial(each, failing)
        counted = {"200": each - failed, "500": failed}
        for code, counts in counted.items():
            lines += self._series("ci_mlops_inference_requests_total", np.cumsum(counts), code=code)
        return lines

    def resources(self, memory_mb: np.ndarray, cpus: np.ndarray) -> list[str]:
        """Return the series of what the process uses; shapes (n,) of `times`."""
        info = self._series("ci_mlops_model_info", np.ones(len(memory_mb)))
        plain = {key: self.labels[key] for key in ("instance", "job")}
        process = History(until=self.until, hours=self.hours, labels=plain, step_s=self.step_s)
        return [
            "# TYPE ci_mlops_model_info gauge",
            *info,
            "# TYPE process_cpu_seconds counter",
            *process._series("process_cpu_seconds_total", np.cumsum(cpus * self.step_s)),
            "# TYPE process_resident_memory_bytes gauge",
            *process._series("process_resident_memory_bytes", memory_mb * 1_000_000),
        ]

    def _series(self, name: str, figures: Sequence[float] | np.ndarray, **more: str) -> list[str]:
        inside = ",".join(f'{key}="{value}"' for key, value in {**self.labels, **more}.items())
        return [
            f"{name}{{{inside}}} {figure:.10g} {moment:.0f}"
            for figure, moment in zip(figures, self.times(), strict=True)
        ]


@contextlib.contextmanager
def serving(
    folder: Path, *, history: Iterable[str] = (), targets: Sequence[str] = (), every_s: int = 1
) -> Iterator[str]:
    """Start Prometheus on loopback with a history and targets, and give its address."""
    folder.mkdir(parents=True)
    lines = list(history)
    if lines:
        text = folder / "history.txt"
        text.write_text("\n".join([*lines, "# EOF", ""]), encoding="utf-8")
        made = [
            "promtool",
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            "-q",
            str(text),
            str(folder / "tsdb"),
        ]
        subprocess.run(made, check=True, capture_output=True)
    config = folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {every_s}s}}\nscrape_configs:\n"
        f"  - {{job_name: serve, static_configs: [{{targets: {list(targets)}}}]}}\n",
        encoding="utf-8",
    )
    address = f"127.0.0.1:{free_port()}"
    log = (folder / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address={address}",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait(f"http://{address}/-/ready", process, folder / "prometheus.log")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=5).status_code == requests.codes.ok:
                return
        time.sleep(0.05)
    raise AssertionError(f"Prometheus did not start: {log.read_text()[-2000:]}")

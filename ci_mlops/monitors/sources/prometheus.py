"""Prometheus over its HTTP API: range queries as series of finite figures."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import requests
from pydantic import Field

from ci_mlops.errors import OutsideError
from ci_mlops.values import Value

TIMEOUT_S = 30
MAX_BYTES = 64 * 1024 * 1024
MAX_POINTS = 10_000
"""Prometheus itself refuses more than 11,000 points in a series."""


class PrometheusSettings(Value):
    """A Prometheus server that scrapes what is served."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    """Its address, such as `http://prometheus.monitoring:9090`. What asks there for a token gets
    that of PROMETHEUS_TOKEN."""
    labels: Mapping[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], str] = {}
    """Labels that single out what is served, such as `{namespace: loans}`."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series of a range query: figures at moments, NaN and infinities left out."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    """Seconds since 1970."""
    figures: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    """A server and how it is asked."""

    settings: PrometheusSettings
    environ: Mapping[str, str]

    def selector(self, **labels: str) -> str:
        """Return a selector, `{model="loans",namespace="credit"}`, of ours and the settings'."""
        every = {**labels, **self.settings.labels}
        inside = ",".join(f"{name}={json.dumps(value)}" for name, value in every.items())
        return f"{{{inside}}}"

    def range(
        self, query: str, *, since: datetime, until: datetime, step: timedelta
    ) -> list[Series]:
        """Return the series of a query in PromQL; none where there is no data.

        Raises OutsideError when the server cannot be reached, refuses, or answers something else.
        """
        step_s = max(step.total_seconds(), (until - since).total_seconds() / MAX_POINTS)
        answer = self._get(
            "query_range",
            {
                "query": query,
                "start": f"{since.timestamp():.3f}",
                "end": f"{until.timestamp():.3f}",
                "step": f"{step_s:.3f}",
            },
        )
        try:
            return [_series(one) for one in answer["data"]["result"]]
        except (KeyError, TypeError, ValueError) as fault:
            raise self._fault(f"answered something else than series: {fault!r}") from fault

    def _get(self, path: str, parameters: Mapping[str, str]) -> Any:
        token = self.environ.get("PROMETHEUS_TOKEN", "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.settings.url.rstrip('/')}/api/v1/{path}"
        try:
            with requests.get(
                url, params=dict(parameters), headers=headers, timeout=TIMEOUT_S, stream=True
            ) as response:
                raw = response.raw.read(MAX_BYTES + 1, decode_content=True)
        except (requests.RequestException, OSError) as fault:
            raise self._fault(f"does not answer: {type(fault).__name__}") from fault
        if len(raw) > MAX_BYTES:
            raise self._fault(f"answered more than {MAX_BYTES} bytes")
        try:
            answer = json.loads(raw)
        except ValueError as fault:
            raise self._fault(f"answered {response.status_code} and no JSON") from fault
        if not isinstance(answer, dict) or answer.get("status") != "success":
            reason = answer.get("error", "") if isinstance(answer, dict) else ""
            raise self._fault(f"refused with {response.status_code}: {str(reason)[:300]}")
        return answer

    def _fault(self, what: str) -> OutsideError:
        return OutsideError(
            f"Prometheus {what}",
            place=self.settings.url,
            remedy="Check `monitors.prometheus.url`, and PROMETHEUS_TOKEN where it wants one",
        )


def _series(one: Any) -> Series:
    pairs = [(float(time), float(text)) for time, text in one["values"]]
    kept = [(time, figure) for time, figure in pairs if math.isfinite(figure)]
    return Series(
        labels={str(name): str(value) for name, value in one["metric"].items()},
        times=tuple(time for time, _ in kept),
        figures=tuple(figure for _, figure in kept),
    )

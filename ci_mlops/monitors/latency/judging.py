"""Checks of monitor latency: traffic, p95 and errors in twelve parts of a window."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from ci_mlops.evidence import Chart, Check, Interval, Limit, Line2D, Metric, Outcome
from ci_mlops.monitors.sources.prometheus import Series
from ci_mlops.stage import Findings
from ci_mlops.stats import trend
from ci_mlops.stats.trend import Middle

if TYPE_CHECKING:
    from ci_mlops.monitors.latency import LatencyMonitor
    from ci_mlops.monitors.production import Watched

PARTS = 12
FEWEST = 10
"""Requests of a part below which its p95 is not counted."""
REQUESTS = "ci_mlops_inference_requests_total"
SECONDS = "ci_mlops_inference_duration_seconds"
INFO = "ci_mlops_model_info"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a window."""

    time: float
    requests: float
    errors: float
    p50_ms: float | None
    p95_ms: float | None


def judge(settings: "LatencyMonitor", watched: "Watched") -> Findings:
    """Return what Prometheus knows of the window. Raises CannotLook, OutsideError."""
    window = timedelta(minutes=settings.window_minutes)
    begin = watched.now - window
    now = parts(watched, since_hours=window.total_seconds() / 3600, step=window / PARTS)
    requests = sum(one.requests for one in now)
    if not now or requests < settings.min_requests:
        return Findings(checks=(_too_few(settings, watched, now, requests),))
    earlier = settings.reference_days * 24 + settings.window_minutes / 60
    before = [
        one
        for one in parts(watched, since_hours=earlier, step=window / PARTS)
        if one.time <= begin.timestamp()
    ]
    return Findings(
        checks=(
            _traffic(settings, requests),
            *_p95(settings, now, before),
            _errors(settings, now),
        ),
        metrics=tuple(_metrics(now, window)),
        charts=tuple(_charts(now)),
    )


def parts(watched: "Watched", *, since_hours: float, step: timedelta) -> list[Part]:
    """Return the parts of the last hours that Prometheus knows of."""
    server = watched.metrics()
    chosen = _chosen(watched)
    failed = chosen.replace("{", '{code=~"5..",', 1)
    width = f"[{round(step.total_seconds())}s]"
    queries = {
        "requests": f"sum(increase({REQUESTS}{chosen}{width}))",
        "errors": f"sum(increase({REQUESTS}{failed}{width}))",
        "p50": _quantile(0.5, chosen, width),
        "p95": _quantile(0.95, chosen, width),
    }
    since = watched.now - timedelta(hours=since_hours) + step
    if watched.begun is not None:
        since = max(since, watched.begun + step)
    if since > watched.now:
        return []
    found = {
        name: _only(server.range(query, since=since, until=watched.now, step=step))
        for name, query in queries.items()
    }
    return [
        Part(
            time=time,
            requests=count,
            errors=found["errors"].get(time, 0.0),
            p50_ms=_ms(found["p50"].get(time)),
            p95_ms=_ms(found["p95"].get(time)),
        )
        for time, count in sorted(found["requests"].items())
    ]


def _chosen(watched: "Watched") -> str:
    """Return the selector of what is live."""
    labels = {"model": watched.project}
    if watched.live is not None:
        labels["version"] = watched.live.version
    return watched.metrics().selector(**labels)


def _quantile(share: float, chosen: str, width: str) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({SECONDS}_bucket{chosen}{width})))"


def _only(series: Sequence[Series]) -> dict[float, float]:
    return dict(zip(series[0].times, series[0].figures, strict=True)) if series else {}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _too_few(
    settings: "LatencyMonitor", watched: "Watched", now: Sequence[Part], requests: float
) -> Check:
    """Few requests decide nothing; where Prometheus knows of none, nobody could look."""
    outcome: Outcome = "inconclusive"
    text = f"{requests:.0f} requests in {settings.window_minutes} minutes are too few to judge."
    if not now and watched.just_began(timedelta(minutes=settings.window_minutes) / PARTS):
        text = "What is live has answered for too short a time to judge it."
    elif not now and not _scraped(settings, watched):
        outcome = "error"
        text = "Prometheus knows of no request to what is live; that is no data, and not health."
    return Check(
        name="traffic",
        outcome=outcome,
        observed=requests,
        limit=Limit(at_least=settings.min_requests),
        message=text,
        remedy="Check that Prometheus scrapes /metrics of what is live, and who asks it",
    )


def _scraped(settings: "LatencyMonitor", watched: "Watched") -> bool:
    """Whether Prometheus knows of a server of what is live that nobody has asked yet."""
    window = timedelta(minutes=settings.window_minutes)
    found = watched.metrics().range(
        f"{INFO}{_chosen(watched)}", since=watched.now - window, until=watched.now, step=window
    )
    return bool(found)


def _traffic(settings: "LatencyMonitor", requests: float) -> Check:
    return Check(
        name="traffic",
        outcome="passed",
        observed=requests,
        limit=Limit(at_least=settings.min_requests),
        message=f"{requests:.0f} requests in {settings.window_minutes} minutes.",
    )


def _p95(
    settings: "LatencyMonitor", now: Sequence[Part], before: Sequence[Part]
) -> Iterable[Check]:
    """Yield a check of each limit on the p95."""
    measured = trend.middle(figures(now))
    if measured is None:
        text = f"Fewer than {trend.FEWEST} parts of the window have {FEWEST} requests to judge."
        yield Check(name="p95", outcome="inconclusive", message=text)
        return
    if settings.max_p95_ms is not None:
        yield _held(measured, settings.max_p95_ms, base=None)
    if settings.max_slowdown_percent is None:
        return
    usual = trend.middle(figures(before))
    if usual is None:
        yield Check(
            name="p95-rise",
            outcome="inconclusive",
            observed=measured.value,
            unit="ms",
            message="What is live has answered for too short a time to compare its p95 with.",
        )
        return
    limit = usual.high * (1 + settings.max_slowdown_percent / 100)
    yield _held(measured, limit, base=usual.value)


def figures(found: Sequence[Part]) -> list[float]:
    """Return the p95 of every part with enough requests, in milliseconds."""
    return [one.p95_ms for one in found if one.p95_ms is not None and one.requests >= FEWEST]


def _held(measured: Middle, limit: float, *, base: float | None) -> Check:
    """Hold the median of the parts' p95 to a limit; only its whole interval beyond it fails."""
    common: dict[str, Any] = {
        "name": "p95" if base is None else "p95-rise",
        "observed": measured.value,
        "base": base,
        "unit": "ms",
        "limit": Limit(at_most=limit),
        "interval": Interval(low=measured.low, high=measured.high),
    }
    compared = "" if base is None else f"; {base:.3g} ms in the days before"
    text = f"95 of 100 requests are answered within {measured.value:.3g} ms{compared}."
    if measured.low > limit:
        remedy = "Look at what changed: traffic, neighbours, the version; roll back if it is that"
        return Check(outcome="failed", message=text, remedy=remedy, **common)
    outcome: Outcome = "warned" if not (measured.value <= limit) else "passed"
    burst = " Not for long enough to be sure that it lasts." if outcome == "warned" else ""
    return Check(outcome=outcome, message=f"{text}{burst}", **common)


def _errors(settings: "LatencyMonitor", now: Sequence[Part]) -> Check:
    """Hold the share of failed requests to its limit, part by part."""
    shares = [100 * min(1.0, one.errors / one.requests) for one in now if one.requests >= 1]
    measured = trend.middle(shares)
    total = 100 * sum(one.errors for one in now) / sum(one.requests for one in now)
    common: dict[str, Any] = {
        "name": "errors",
        "observed": total,
        "unit": "%",
        "limit": Limit(at_most=settings.max_errors_percent),
        "rows": round(sum(one.requests for one in now)),
    }
    text = f"{total:.2f} % of the requests failed."
    if measured is None:
        return Check(outcome="inconclusive", message=f"{text} Too short a time to judge.", **common)
    common["interval"] = Interval(low=measured.low, high=measured.high)
    if measured.low > settings.max_errors_percent:
        remedy = "Read the server's log; roll back if this version brought it"
        return Check(outcome="failed", message=text, remedy=remedy, **common)
    if not total <= settings.max_errors_percent:
        text = f"{text} They lie close together in time, so it may pass."
        return Check(outcome="warned", message=text, **common)
    return Check(outcome="passed", message=text, **common)


def _metrics(now: Sequence[Part], window: timedelta) -> Iterable[Metric]:
    for name in ("p50_ms", "p95_ms"):
        values = [getattr(one, name) for one in now if getattr(one, name) is not None]
        if values:
            yield Metric(name=name.removesuffix("_ms"), value=median(values), unit="ms")
    requests = sum(one.requests for one in now)
    yield Metric(name="throughput", value=requests / window.total_seconds(), unit="1/s")
    yield Metric(name="error rate", value=100 * sum(one.errors for one in now) / requests, unit="%")


def _charts(now: Sequence[Part]) -> Iterable[Chart]:
    from datetime import UTC, datetime

    if len(now) > 1:
        yield Chart(
            title="Time to an answer",
            kind="line",
            y_title="ms",
            labels=tuple(f"{datetime.fromtimestamp(one.time, UTC):%H:%M}" for one in now),
            lines=(
                Line2D(name="p50", values=tuple(one.p50_ms for one in now)),
                Line2D(name="p95", values=tuple(one.p95_ms for one in now)),
            ),
        )

"""Checks of monitor resources: each server's memory, its growth, and its processor time."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ci_mlops.evidence import Chart, Check, Interval, Limit, Line2D, Metric
from ci_mlops.monitors.sources.prometheus import Series
from ci_mlops.stage import Findings
from ci_mlops.stats import trend

if TYPE_CHECKING:
    from ci_mlops.monitors.production import Watched
    from ci_mlops.monitors.resources import ResourcesMonitor

POINTS = 144
BLOCKS = 8
RECENT = 12
"""Points at the end of the window that say what is used now: two hours of twenty-four."""
RESTARTED = 0.9
WHOLE = 0.9
"""Share of the window below which a daily wave may look like growth."""
WARM_UP = 6
"""Points after a start that are not counted: an hour of twenty-four."""
MB = 1_000_000


class _Given(NamedTuple):
    """What a server may use, and what is set aside for it, as far as that is known."""

    limit: float | None
    requested: float | None


def judge(settings: "ResourcesMonitor", watched: "Watched") -> Findings:
    """Return what Prometheus knows of the servers. Raises CannotLook, OutsideError."""
    memory = _scaled(_series(settings.memory_query, settings, watched), 1 / MB)
    cpus = _series(settings.cpu_query, settings, watched)
    if not memory and not cpus:
        early = watched.just_began(timedelta(hours=settings.window_hours) / POINTS)
        check = Check(
            name="memory",
            outcome="inconclusive" if early else "error",
            message="Prometheus knows of no server of what is live; that is no data, and not "
            "health.",
            remedy="Check that Prometheus scrapes /metrics of what is live, or `memory_query`",
        )
        return Findings(checks=(check,))
    given = watched.limits
    most_mb = settings.max_memory_mb or given.memory_mb
    of_memory = _Given(most_mb, given.requested_mb)
    of_cpus = _Given(settings.max_cpus or given.cpus, given.requested_cpus)
    checks = [
        *(_used("memory", one, of_memory, settings, unit="MB") for one in memory),
        *(_growth(one, most_mb, settings) for one in memory),
        *(_used("cpu", one, of_cpus, settings, unit="cpus") for one in cpus),
    ]
    if not memory or not cpus:
        which = "cpu" if memory else "memory"
        text = f"Prometheus knows nothing of {which}."
        checks.append(Check(name=which, outcome="inconclusive", message=text))
    return Findings(
        checks=tuple(checks),
        metrics=(*_metrics("memory", memory, "MB"), *_metrics("cpu", cpus, "cpus")),
        charts=tuple(_chart(memory)),
    )


def _series(query: str, settings: "ResourcesMonitor", watched: "Watched") -> list[Series]:
    server = watched.metrics()
    labels = {"model": watched.project}
    if watched.live is not None:
        labels["version"] = watched.live.version
    window = timedelta(hours=settings.window_hours)
    since = watched.now - window
    if watched.begun is not None:
        since = max(since, watched.begun)
    found = server.range(
        query.replace("$chosen", server.selector(**labels)),
        since=since,
        until=max(since, watched.now),
        step=window / POINTS,
    )
    return sorted((one for one in found if one.figures), key=_server)


def _server(series: Series) -> str:
    for name in ("pod", "instance", "container"):
        if name in series.labels:
            return series.labels[name]
    return ", ".join(f"{k}={v}" for k, v in sorted(series.labels.items()))


def _scaled(series: Sequence[Series], factor: float) -> list[Series]:
    return [
        Series(labels=one.labels, times=one.times, figures=tuple(factor * f for f in one.figures))
        for one in series
    ]


def _used(
    name: str, series: Series, given: _Given, settings: "ResourcesMonitor", *, unit: str
) -> Check:
    """Hold what a server uses now, the median of the last points, to its limit and its request.

    Above the limit it fails; above what it requested, which others may take back, it is warned of.
    """
    recent = series.figures[-RECENT:]
    middle = trend.middle(recent)
    now = middle.value if middle else recent[-1]
    common: dict[str, Any] = {
        "name": name,
        "slice": _server(series),
        "observed": now,
        "unit": unit,
    }
    if middle is not None:
        common["interval"] = Interval(low=middle.low, high=middle.high)
    limit, requested = given.limit, given.requested
    asked = "" if requested is None else f" {requested:.3g} are requested."
    if limit is None:
        text = f"{now:.3g} {unit} are used; no limit is known."
    else:
        text = f"{now:.3g} {unit} are used of {limit:.3g}."
        allowed = limit * settings.max_used_percent / 100
        common["limit"] = Limit(at_most=allowed)
        if middle is None:
            text += " Too short a time to judge."
            return Check(outcome="inconclusive", message=text, **common)
        if middle.low > allowed:
            remedy = "Raise the limit, or find what uses it; above it the server is ended or slowed"
            return Check(outcome="failed", message=text, remedy=remedy, **common)
    if requested is not None and middle is not None and middle.low > requested:
        common["limit"] = Limit(at_most=requested)
        remedy = f"Raise `{'memory_mb' if unit == 'MB' else 'cpus'}` of the environment"
        return Check(outcome="warned", message=text + asked, remedy=remedy, **common)
    near = limit is not None and now > common["limit"].at_most
    return Check(outcome="warned" if near else "passed", message=text + asked, **common)


def _growth(series: Series, limit: float | None, settings: "ResourcesMonitor") -> Check:
    """Hold the floor of a server's memory to its own beginning; what leaks never comes down.

    It has to stand higher at the end, too: a daily wave is back where it was.
    """
    times, figures = _since_restart(series)
    common: dict[str, Any] = {"name": "memory-growth", "slice": _server(series), "unit": "%"}
    when, least = trend.floors(times, figures, blocks=BLOCKS) if times else ([], [])
    hours = (times[-1] - times[0]) / 3600 if times else 0.0
    if len(least) < BLOCKS or hours < WHOLE * settings.window_hours:
        text = "This server has not run for long enough to see memory grow."
        return Check(outcome="skipped", message=text, **common)
    found = trend.growth([time / 3600 for time in when], least)
    start = max(least[0], 1e-9)
    rise, low, high = (100 * hours * one / start for one in (found.slope, found.low, found.high))
    common |= {
        "observed": rise,
        "limit": Limit(at_most=settings.max_growth_percent),
        "interval": Interval(low=low, high=high, level=found.level),
    }
    text = f"In {hours:.0f} hours the floor of memory moved by {rise:.0f} %, from {start:.3g} MB."
    end = 100 * (least[-1] - start) / start
    if low > 0 and not min(rise, end) <= settings.max_growth_percent:
        left = ""
        if limit is not None and found.slope > 0:
            left_hours = max(0.0, (limit - least[-1]) / found.slope)
            left = f" {limit:.3g} MB are reached in {left_hours:.0f} hours."
        remedy = "Look for what is kept for each request; restart it before it reaches its limit"
        return Check(outcome="failed", message=f"{text}{left}", remedy=remedy, **common)
    return Check(outcome="passed", message=text, **common)


def _since_restart(series: Series) -> tuple[list[float], list[float]]:
    """Return times and figures since the server began and was warm.

    It began anew where it holds a tenth less than it ever did in the eighth of the window before.
    """
    before = POINTS // BLOCKS
    begun = 0
    for n in range(1, len(series.figures)):
        if series.figures[n] < RESTARTED * min(series.figures[max(begun, n - before) : n]):
            begun = n
    warm = begun + WARM_UP
    return list(series.times[warm:]), list(series.figures[warm:])


def _metrics(name: str, found: Sequence[Series], unit: str) -> Iterable[Metric]:
    for one in found[:20]:
        yield Metric(name=name, value=one.figures[-1], unit=unit, slice=_server(one))


def _chart(memory: Sequence[Series]) -> Iterable[Chart]:
    longest = max(memory, key=lambda one: len(one.times), default=None)
    if longest is None or len(longest.times) < 2:
        return
    labels = tuple(f"{datetime.fromtimestamp(one, UTC):%d %H:%M}" for one in longest.times[-144:])
    lines = []
    for one in memory[:6]:
        at = dict(zip(one.times, one.figures, strict=True))
        values = tuple(at.get(time) for time in longest.times[-144:])
        lines.append(Line2D(name=_server(one)[:200], values=values))
    yield Chart(title="Memory", kind="line", y_title="MB", labels=labels, lines=tuple(lines))

"""Figures of many runs as lines over time: which belong together, which matter, not too many."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ci_mlops.dashboard.summary import Figure, Summary
from ci_mlops.evidence import SEVERITY, Outcome
from ci_mlops.release.entry import time_of

MAX_POINTS = 200
QUANTILE = re.compile(r"(.*?)[-_ ]?(p\d\d)")
"""The name of a figure that is a quantile of times, such as `answer-p95`."""
Key = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A figure of one run."""

    when: datetime
    figure: Figure

    @property
    def value(self) -> float:
        """The figure; only those that have one become points."""
        return self.figure.value or 0.0

    @property
    def severity(self) -> int:
        """How bad the check's outcome is; a metric is as well as can be."""
        return SEVERITY.index(self.figure.outcome) if self.figure.outcome else 0


@dataclass(frozen=True, kw_only=True)
class Series:
    """One check or metric over time, the oldest point first."""

    stage: str
    name: str
    slice: str
    unit: str
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """The name by which people know it: `model · auc · race = white`."""
        return " · ".join(part for part in (self.stage, self.name, self.slice) if part)

    @property
    def latest(self) -> Point:
        """The newest point."""
        return self.points[-1]

    @property
    def limited(self) -> bool:
        """Whether anything was ever required of it."""
        return any(_limited(one.figure) for one in self.points)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One series, or the quantiles of one thing together."""

    title: str
    lines: tuple[Series, ...]

    @property
    def is_latency(self) -> bool:
        """Whether it shows times of answers."""
        first = self.lines[0]
        timed = first.unit == "ms" or QUANTILE.fullmatch(first.name) is not None
        return first.stage == "latency" or timed


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A check that did not pass in every run."""

    title: str
    runs: int
    worst: Outcome
    times: int
    """In how many runs it did not pass."""
    last: datetime
    now: Outcome | None
    """Its outcome in the newest run; none where it is not there any more."""


def charts(summaries: Sequence[Summary]) -> list[Chart]:
    """Return a chart for each figure, what is wrong now before what is limited before the rest."""
    found = _distinct(_series(summaries))
    together: dict[Key, list[Series]] = {}
    for one in found:
        quantile = QUANTILE.fullmatch(one.name)
        name = f"{quantile[1]} times".strip() if quantile else one.name
        together.setdefault((one.stage, name, one.slice, one.unit), []).append(one)
    made = [
        Chart(
            title=" · ".join(part for part in (stage, name, part_of) if part),
            lines=tuple(sorted(lines, key=lambda line: line.name)),
        )
        for (stage, name, part_of, _), lines in together.items()
    ]
    return sorted(made, key=_importance)


def troubles(summaries: Sequence[Summary]) -> list[Trouble]:
    """Return the checks that did not pass somewhere, the most frequent first."""
    seen: dict[str, list[tuple[datetime, Outcome]]] = {}
    for summary in summaries:
        for figure in summary.figures:
            if figure.outcome is not None:
                title = " · ".join(x for x in (figure.stage, figure.name, figure.slice) if x)
                seen.setdefault(title, []).append((time_of(summary.when), figure.outcome))
    newest = time_of(summaries[-1].when) if summaries else None
    found = []
    for title, outcomes in seen.items():
        wrong = [one for one in outcomes if one[1] not in {"passed", "skipped"}]
        if wrong:
            found.append(
                Trouble(
                    title=title,
                    runs=len(outcomes),
                    worst=max((one for _, one in wrong), key=SEVERITY.index),
                    times=len(wrong),
                    last=wrong[-1][0],
                    now=outcomes[-1][1] if outcomes[-1][0] == newest else None,
                )
            )
    return sorted(found, key=lambda one: (-SEVERITY.index(one.worst), -one.times, one.title))


def thinned(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """Return at most so many points, spread over the time.

    Of those that fall together the worst stays, else the newest: a breach never disappears.
    """
    if len(points) <= limit:
        return list(points)
    start, end = points[0].when, points[-1].when
    width = (end - start).total_seconds() or 1.0
    bins: dict[int, Point] = {}
    for point in points:
        place = min(limit - 1, int(limit * (point.when - start).total_seconds() / width))
        known = bins.get(place)
        if known is None or point.severity >= known.severity:
            bins[place] = point
    return [bins[place] for place in sorted(bins)]


def _series(summaries: Iterable[Summary]) -> list[Series]:
    points: dict[Key, list[Point]] = {}
    for summary in summaries:
        when = time_of(summary.when)
        # A check and a metric of one name are one figure; the check knows more of it.
        named: dict[Key, Figure] = {}
        for figure in sorted(summary.figures, key=lambda one: one.outcome is not None):
            if figure.value is not None:
                named[figure.stage, figure.name, figure.slice, figure.unit] = figure
        for key, figure in named.items():
            points.setdefault(key, []).append(Point(when=when, figure=figure))
    return [
        Series(stage=stage, name=name, slice=part, unit=unit, points=tuple(found))
        for (stage, name, part, unit), found in points.items()
    ]


def _distinct(found: Sequence[Series]) -> list[Series]:
    """Leave out metrics that only repeat what a check observed in the same runs."""
    checked = {_drawn(one) for one in found if one.points[0].figure.outcome is not None}
    return [
        one
        for one in found
        if one.points[0].figure.outcome is not None or _drawn(one) not in checked
    ]


def _drawn(one: Series) -> tuple[str, str, str, tuple[tuple[datetime, float], ...]]:
    values = tuple((point.when, point.value) for point in one.points)
    return (one.stage, one.slice, one.unit, values)


def _importance(chart: Chart) -> tuple[int, bool, bool, int, str]:
    worst = max(line.latest.severity for line in chart.lines)
    limited = any(line.limited for line in chart.lines)
    longest = max(len(line.points) for line in chart.lines)
    return (-worst, not limited, bool(chart.lines[0].slice), -longest, chart.title)


def _limited(figure: Figure) -> bool:
    return figure.at_least is not None or figure.at_most is not None

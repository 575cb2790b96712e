"""Lines and marks over time as inline SVG that any width may stretch; labels are HTML beside it.

A text in a stretched drawing would be stretched too, or be too small on a phone. So the drawing
holds shapes alone, with strokes that do not scale; dots are strokes of no length, with round ends.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ci_mlops.dashboard.series import Chart, Point, thinned
from ci_mlops.evidence import Outcome
from ci_mlops.report import figures
from ci_mlops.report.escape import html

WIDTH, HEIGHT = 1000, 100
PLACES = 400
"""Dots of one kind that are closer than a 400th of the width are drawn once."""
LINE_PLACES = 200
"""Likewise vertical lines: closer ones would become an area."""
MARGIN = 0.06
"""Of the range of values, kept free above and below."""
LINES = 4
"""Lines have as many strokes of their own."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The time that charts beside each other share."""

    start: datetime
    end: datetime

    def x(self, when: datetime) -> float:
        """Return where a moment lies, 0 to WIDTH."""
        whole = (self.end - self.start).total_seconds() or 1.0
        return WIDTH * min(1.0, max(0.0, (when - self.start).total_seconds() / whole))


def verticals(name: str, kinds: Mapping[str, Sequence[datetime]], span: Span) -> str:
    """Return vertical lines that many charts use by name, a stroke for each kind of event."""
    paths = []
    for kind, moments in kinds.items():
        places = sorted({round(span.x(one) * LINE_PLACES / WIDTH) for one in moments})
        d = "".join(f"M{place * WIDTH / LINE_PLACES:g} 0V{HEIGHT}" for place in places)
        paths.append(f'<path class="{kind}" d="{d}"/>' if d else "")
    return (
        f'<svg class="defs" aria-hidden="true" focusable="false"><defs><g id="{name}">'
        f"{''.join(paths)}</g></defs></svg>"
    )


def lanes(
    label: str, marks: Mapping[str, tuple[str, list[datetime]]], span: Span, *, uses: str = ""
) -> str:
    """Return a chart with a lane for each name; `marks` gives a lane's class and its moments."""
    height = HEIGHT / len(marks)
    drawn = []
    for number, (kind, moments) in enumerate(marks.values()):
        y = height * (number + 0.5)
        places = sorted({round(span.x(one) * PLACES / WIDTH) for one in moments})
        dots = "".join(f"M{place * WIDTH / PLACES:g} {y:g}h.01" for place in places)
        drawn.append(f'<path class="lane" d="M0 {y:g}H{WIDTH}"/>')
        drawn.append(f'<path class="dot {kind}" d="{dots}"/>' if dots else "")
    names = "".join(f"<span>{html(name)}</span>" for name in marks)
    return _framed(label, f'<div class="ys lanes">{names}</div>', "".join(drawn), span, uses)


def line_chart(chart: Chart, span: Span, *, uses: str = "") -> str:
    """Return a chart of values with their intervals, limits and outcomes."""
    lines = [thinned(line.points) for line in chart.lines[:LINES]]
    low, high = _range([point for points in lines for point in points])

    def y(value: float) -> float:
        return HEIGHT * (high - value) / (high - low)

    drawn = [_band(points, span, y) for points in lines] if len(lines) == 1 else []
    for number, points in enumerate(lines):
        drawn += [_limit(points, span, y, "at_least"), _limit(points, span, y, "at_most")]
        drawn += [_path(points, span, y, number), _dots(points, span, y)]
    ticks = "".join(f"<span>{figures.number(one)}</span>" for one in (high, (low + high) / 2, low))
    return _framed(_said(chart), f'<div class="ys">{ticks}</div>', "".join(drawn), span, uses)


def day(moment: datetime) -> str:
    """Return a date as the axis shows it."""
    return f"{moment:%Y-%m-%d}"


def _said(chart: Chart) -> str:
    """Say what a chart shows to those who cannot see it."""
    parts = []
    for line in chart.lines[:LINES]:
        values = [point.value for point in line.points]
        unit = figures.with_unit(line.unit)
        latest, least, most = (
            figures.number(one) + unit for one in (values[-1], min(values), max(values))
        )
        runs = f"{len(values)} run{'' if len(values) == 1 else 's'}"
        parts.append(f"{line.name}: {latest} at last, {least} to {most} in {runs}")
    return f"{chart.title}. {'; '.join(parts)}"


def _framed(label: str, names: str, drawn: str, span: Span, uses: str) -> str:
    marks = f'<use href="#{uses}"/>' if uses else ""
    middle = span.start + (span.end - span.start) / 2
    days = "".join(f"<span>{day(one)}</span>" for one in (span.start, middle, span.end))
    return (
        f'<div class="axes">{names}<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{html(label)}">{marks}{drawn}</svg></div>'
        f'<div class="xs" aria-hidden="true">{days}</div>'
    )


def _range(points: Sequence[Point]) -> tuple[float, float]:
    found = [
        one
        for point in points
        for one in (
            point.value,
            point.figure.low,
            point.figure.high,
            point.figure.at_least,
            point.figure.at_most,
        )
        if one is not None
    ]
    low, high = min(found), max(found)
    margin = MARGIN * (high - low) or abs(high) * MARGIN or 1.0
    # What is never negative, such as a time, has no negative part of an axis.
    return low - margin if low < 0 else max(0.0, low - margin), high + margin


def _path(points: Sequence[Point], span: Span, y: Callable[[float], float], number: int) -> str:
    at = " ".join(f"{span.x(one.when):.1f},{y(one.value):.1f}" for one in points)
    return f'<polyline class="line s{number}" points="{at}"/>'


def _dots(points: Sequence[Point], span: Span, y: Callable[[float], float]) -> str:
    kinds: dict[Outcome | None, list[str]] = {}
    for one in points:
        dot = f"M{span.x(one.when):.1f} {y(one.value):.1f}h.01"
        kinds.setdefault(one.figure.outcome, []).append(dot)
    return "".join(
        f'<path class="dot {kind or "metric"}" d="{"".join(dots)}"/>'
        for kind, dots in kinds.items()
    )


def _band(points: Sequence[Point], span: Span, y: Callable[[float], float]) -> str:
    """Return the intervals as one area; it ends where there is none."""
    areas, run = [], list[Point]()
    for one in (*points, None):
        if one is not None and one.figure.low is not None and one.figure.high is not None:
            run.append(one)
            continue
        if run:
            upper = [f"{span.x(p.when):.1f} {y(p.figure.high or 0.0):.1f}" for p in run]
            lower = [f"{span.x(p.when):.1f} {y(p.figure.low or 0.0):.1f}" for p in reversed(run)]
            areas.append(f"M{'L'.join((*upper, *lower))}Z")
            run = []
    return f'<path class="band" d="{"".join(areas)}"/>' if areas else ""


def _limit(points: Sequence[Point], span: Span, y: Callable[[float], float], which: str) -> str:
    """Return a limit as steps: each holds from its run to the next; the last to the end."""
    parts: list[str] = []
    current: float | None = None
    for one in points:
        bound = getattr(one.figure, which)
        if bound == current:
            continue
        # Equal limits are one line: of many short ones the dashes would not be seen.
        x = f"{span.x(one.when):.1f}"
        parts.append(f"H{x}" if current is not None else "")
        parts.append(f"M{x} {y(bound):.1f}" if bound is not None else "")
        current = bound
    parts.append(f"H{WIDTH}" if current is not None else "")
    return f'<path class="limit" d="{"".join(parts)}"/>' if any(parts) else ""

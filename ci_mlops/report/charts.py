"""Small charts: Mermaid for a comment, inline SVG for the page; a table always stands beside."""

from collections.abc import Callable

from ci_mlops.evidence import Chart
from ci_mlops.report import escape, figures

MERMAID = str.maketrans({'"': "'", "`": "'", "<": "‹", ">": "›", "#": "♯", ";": ","})
"""Characters that mean something in a Mermaid text, or would close it."""
COLORS = ("#0969da", "#bf8700", "#1a7f37", "#cf222e", "#8250df", "#57606a")
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 56, 34


def mermaid(chart: Chart) -> str:
    """Return the chart as a fenced `xychart-beta` block."""

    def quoted(text: str) -> str:
        return '"' + escape.plain(text).translate(MERMAID)[:60] + '"'

    labels = ", ".join(quoted(label) for label in chart.labels)
    lines = ["```mermaid", "xychart-beta", f"  title {quoted(chart.title)}", f"  x-axis [{labels}]"]
    if chart.y_title:
        lines.append(f"  y-axis {quoted(chart.y_title)}")
    lines += [
        f"  {chart.kind} [{', '.join(f'{value or 0:.6g}' for value in line.values)}]"
        for line in chart.lines
    ]
    return "\n".join([*lines, "```"])


def table(chart: Chart) -> tuple[list[str], list[list[str]]]:
    """Return the chart's figures as columns and rows of text."""
    columns = [chart.x_title or "", *(line.name for line in chart.lines)]
    rows = [
        [
            label,
            *("" if (v := line.values[n]) is None else figures.number(v) for line in chart.lines),
        ]
        for n, label in enumerate(chart.labels)
    ]
    return columns, rows


def svg(chart: Chart) -> str:
    """Return the chart as an inline SVG; its figures are in the table beside it."""
    values = [value for line in chart.lines for value in line.values if value is not None]
    top = max([*values, 0.0]) or 1.0
    low = min([*values, 0.0])
    span = (top - low) or 1.0

    def y(value: float) -> float:
        return 10 + (HEIGHT - BOTTOM - 10) * (top - value) / span

    slot = (WIDTH - LEFT) / len(chart.labels)
    label = escape.html(chart.title)
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"'
    parts = [f'<svg class="chart" {view}>']
    parts += [_mark(value, y(value)) for value in (low, (low + top) / 2, top)]
    step = max(1, len(chart.labels) // 8)
    for n, label in enumerate(chart.labels):
        if n % step == 0:
            x = LEFT + slot * (n + 0.5)
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">'
                f"{escape.html(label, 14)}</text>"
            )
    draw = _bars if chart.kind == "bar" else _line
    parts += [draw(chart, number, slot, y) for number in range(len(chart.lines))]
    return "".join([*parts, "</svg>"]) + _legend(chart)


def _mark(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
        f"{escape.html(figures.number(value))}</text>"
    )


def _bars(chart: Chart, number: int, slot: float, y: Callable[[float], float]) -> str:
    color = COLORS[number % len(COLORS)]
    width = slot * 0.8 / len(chart.lines)
    parts = []
    for n, value in enumerate(chart.lines[number].values):
        if value is None:
            continue
        x = LEFT + slot * (n + 0.1) + width * number
        high, low = min(y(value), y(0)), max(y(value), y(0))
        parts.append(
            f'<rect x="{x:.1f}" y="{high:.1f}" width="{width:.1f}" '
            f'height="{max(low - high, 0.5):.1f}" fill="{color}"/>'
        )
    return "".join(parts)


def _line(chart: Chart, number: int, slot: float, y: Callable[[float], float]) -> str:
    points = " ".join(
        f"{LEFT + slot * (n + 0.5):.1f},{y(value):.1f}"
        for n, value in enumerate(chart.lines[number].values)
        if value is not None
    )
    color = COLORS[number % len(COLORS)]
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>'


def _legend(chart: Chart) -> str:
    if len(chart.lines) < 2:
        return ""
    items = "".join(
        f'<li><span style="background:{COLORS[n % len(COLORS)]}"></span>'
        f"{escape.html(line.name)}</li>"
        for n, line in enumerate(chart.lines)
    )
    return f'<ul class="legend">{items}</ul>'

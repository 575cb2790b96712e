"""The dashboard as one self-contained page: nothing fetched, no script, readable on a phone."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain

from ci_mlops.dashboard import plots
from ci_mlops.dashboard.content import Content, Judged, Place
from ci_mlops.dashboard.delivery import WHATS, Delivery, Event
from ci_mlops.dashboard.plots import LINES, Span, day
from ci_mlops.dashboard.series import Chart, Series
from ci_mlops.dashboard.summary import Figure, Summary
from ci_mlops.evidence import SEVERITY, Limit
from ci_mlops.release.entry import time_of
from ci_mlops.release.history import SHOWN
from ci_mlops.report import figures
from ci_mlops.report.content import SIGNS, WORDS
from ci_mlops.report.escape import html
from ci_mlops.report.html import POLICY, STYLE

MAX_EVENTS = 100
MAX_RUNS = 25
MAX_ROWS = 25
MAX_TROUBLES = 25
MAX_CHARTS = 60
"""On the whole page, shared by projects and environments; each has LEAST_CHARTS at the least."""
LEAST_CHARTS = 2
MAX_JUDGED = 40
"""Projects on main and below environments together that are shown."""
MAX_UNREADABLE = 10
MARKS = "releases"
UNKNOWN = "–"
SHOWN_COMMIT = 7
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
MORE_STYLE = """
.live{border-left:.4rem solid var(--green);padding:.25rem 0 .25rem 1rem;margin:.75rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem;
margin:1rem 0}
.tiles div{border:1px solid var(--edge);border-radius:.4rem;padding:.6rem .8rem}
.tiles dt{color:var(--soft);font-size:.9rem}.tiles dd{margin:0;font-size:1.3rem}
.tiles dd small{display:block;font-size:.85rem;color:var(--soft)}
nav ul,.key{display:flex;flex-wrap:wrap;gap:.4rem 1.2rem;list-style:none;padding:0;margin:.75rem 0}
a{color:var(--link)}.defs{position:absolute;width:0;height:0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,28rem),1fr));gap:1.25rem}
figure{margin:0;min-width:0}figcaption{font-weight:600;overflow-wrap:anywhere}
figure>details{font-size:.92rem}
.axes{display:grid;grid-template-columns:5.5rem minmax(0,1fr);height:8.5rem;margin-top:.35rem}
.axes svg{width:100%;height:100%;display:block;border:1px solid var(--edge);overflow:visible}
.ys{display:flex;flex-direction:column;justify-content:space-between;text-align:right;
padding-right:.4rem;font-size:.8rem;color:var(--soft);overflow:hidden}
.ys span{white-space:nowrap}.ys.lanes{justify-content:space-around;color:var(--ink)}
.xs{display:flex;justify-content:space-between;padding-left:5.5rem;font-size:.8rem;
color:var(--soft)}.xs span{white-space:nowrap}
/* Classes alone name what `use` repeats: a selector of descendants is not matched there. */
path,polyline{fill:none;vector-effect:non-scaling-stroke;stroke:var(--soft)}
.line{stroke:var(--link);stroke-width:1.5}
.s1{stroke:var(--amber)}.s2{stroke:var(--green)}.s3{stroke:var(--soft)}
.line.s1{stroke-dasharray:6 2}.line.s2{stroke-dasharray:2 2}
.band{fill:var(--link);fill-opacity:.18;stroke:none}
.limit{stroke:var(--red);stroke-width:1.5;stroke-dasharray:7 4}
.lane{stroke:var(--edge)}
.dot{stroke-width:5;stroke-linecap:round;stroke:var(--link)}
.dot.passed,.dot.promoted{stroke:var(--green)}
.dot.warned,.dot.inconclusive,.dot.rolled-back{stroke:var(--amber)}
.dot.failed,.dot.error,.dot.did-not-hold{stroke:var(--red);stroke-width:9}
.dot.skipped,.dot.superseded,.dot.blocked{stroke:var(--soft)}
.mark-promoted,.mark-undone{vector-effect:non-scaling-stroke;fill:none}
.mark-promoted{stroke:var(--green);stroke-opacity:.4}
.mark-undone{stroke:var(--red);stroke-opacity:.8;stroke-dasharray:3 3}
.key .mark-promoted,.key .mark-undone{stroke-width:2;stroke-opacity:1}
.key svg{width:1.6rem;height:.9rem;vertical-align:middle;margin-right:.35rem}
.swatches{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.85rem;color:var(--soft)}
.swatches svg{width:1.6rem;height:.6rem;margin-right:.3rem}
"""
KEY = (
    ("a release became live", '<path class="mark-promoted" d="M12 0V10"/>'),
    ("a release was taken back", '<path class="mark-undone" d="M12 0V10"/>'),
    ("a limit", '<path class="limit" d="M0 5H24"/>'),
    ("an interval", '<path class="band" d="M0 0H24V10H0Z"/>'),
    ("failed, or could not look", '<path class="dot failed" d="M12 5h.01"/>'),
    ("warned, or could not decide", '<path class="dot warned" d="M12 5h.01"/>'),
    ("passed", '<path class="dot passed" d="M12 5h.01"/>'),
)


def render(shown: Content) -> str:
    """Return the whole page as text."""
    many = len(shown.main) + sum(len(place.judged) for place in shown.places)
    most = max(LEAST_CHARTS, MAX_CHARTS // max(1, min(many, MAX_JUDGED)))
    left = MAX_JUDGED
    sections = []
    for number, place in enumerate(shown.places):
        judged = place.judged[:left]
        sections.append(_place(place, shown.span, judged, most, number))
        left -= len(judged)
    sections.append(_main(shown.main[:left], shown.span, most))
    hidden = max(0, many - MAX_JUDGED)
    parts = [
        _head(shown),
        _marks(shown),
        *sections,
        f"<p>{hidden} more projects are not shown: name an environment.</p>" if hidden else "",
        _unreadable(shown.unreadable),
        "</main></body></html>\n",
    ]
    return "".join(parts)


def _head(shown: Content) -> str:
    span = shown.span
    title = "Releases, verdicts and figures"
    links = [(f"environment-{n}", place.name) for n, place in enumerate(shown.places)]
    listed = "".join(
        f'<li><a href="#{name}">{html(text)}</a></li>' for name, text in (*links, ("main", "main"))
    )
    key = "".join(
        f'<li><svg viewBox="0 0 24 10" aria-hidden="true">{drawn}</svg>{text}</li>'
        for text, drawn in KEY
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title}</title><style>{STYLE}{MORE_STYLE}</style></head>"
        f'<body><main><h1>{title}</h1><p class="soft">{_moment(span.start)} to '
        f"{_moment(span.end)}, of the ledger and of the records of runs.</p>"
        f'<nav aria-label="Sections"><ul>{listed}</ul></nav>'
        f'<ul class="key" aria-label="Key of the charts">{key}</ul>'
    )


def _marks(shown: Content) -> str:
    drawn = [
        _verticals(f"{MARKS}-{number}", place.events, shown.span)
        for number, place in enumerate(shown.places)
    ]
    return "".join([*drawn, _verticals(f"{MARKS}-main", shown.events, shown.span)])


def _verticals(name: str, found: Iterable[Event], span: Span) -> str:
    moments: dict[str, list[datetime]] = {"mark-promoted": [], "mark-undone": []}
    for event in found:
        if event.what == "promoted":
            moments["mark-promoted"].append(event.ended)
        elif event.what in {"rolled back", "did not hold"}:
            moments["mark-undone"].append(event.ended)
    return plots.verticals(name, moments, span)


def _place(place: Place, span: Span, judged: Sequence[Judged], most: int, number: int) -> str:
    marks = f"{MARKS}-{number}"
    return (
        f'<section aria-labelledby="environment-{number}">'
        f'<h2 id="environment-{number}">{html(place.name)}</h2>'
        f"{_live(place)}{_delivery(place.delivery, span)}{_timeline(place, span)}"
        f"{''.join(_judged(one, 'monitors', span, marks, most) for one in judged)}</section>"
    )


def _main(judged: Sequence[Judged], span: Span, most: int) -> str:
    told = "".join(_judged(one, "runs on main", span, f"{MARKS}-main", most) for one in judged)
    nothing = (
        '<p class="soft">No run of main is recorded in this time: <code>ci-mlops record</code> '
        "keeps one.</p>"
    )
    return f'<section aria-labelledby="main"><h2 id="main">main</h2>{told or nothing}</section>'


def _live(place: Place) -> str:
    now, event = place.now, place.live
    if now.live is None:
        return "<p>Nothing is live: nothing was ever promoted here.</p>"
    lines = [f"<b>Live now</b> <code>{html(now.live)}</code>"]
    if now.since:
        lines.append(f"since {_moment(time_of(now.since))}")
    if event is not None:
        entry = event.entry
        lines.append(f"by {html(entry.who)}, {_link(entry.run, entry.id)}")
        if entry.commit:
            lines.append(f"of commit <code>{entry.commit[:SHOWN_COMMIT]}</code>")
    told = f'<div class="live"><p>{"<br>".join(lines)}</p></div>'
    if now.pending is not None:
        entry = now.pending.entry
        told += (
            f"<p>⏳ {html(entry.id)} by {html(entry.who)} has not ended: it means to make "
            f"<code>{html(entry.to[:SHOWN])}</code> live, since {_moment(time_of(entry.when))}.</p>"
        )
    return told


def _delivery(found: Delivery, span: Span) -> str:
    # Of less than a week a rate would say more than anybody knows.
    weekly = found.per_week if found.weeks >= 1 else None
    frequency = UNKNOWN if weekly is None else f"{figures.number(weekly)} a week"
    rate = UNKNOWN if found.failure_rate is None else f"{100 * found.failure_rate:.0f} %"
    failed = f"{found.not_held} did not hold, {found.rolled_back} rolled back"
    tiles = (
        ("Deployment frequency", frequency, f"{found.deployments} became live"),
        ("Lead time for changes", duration(found.lead_time_s), _median(found.lead_times)),
        ("Change failure rate", rate, f"of {found.started} started, {failed}"),
        (
            "Time to restore",
            duration(found.restore_s),
            _median(found.not_held + found.rolled_back),
        ),
    )
    told = "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>"
        for name, value, more in tiles
    )
    return f'<h3>Delivery, {day(span.start)} to {day(span.end)}</h3><dl class="tiles">{told}</dl>'


def _median(count: int) -> str:
    return f"median of {count}" if count else "nothing to measure it by"


def _timeline(place: Place, span: Span) -> str:
    if not place.events:
        return '<p class="soft">Nothing was released in this time.</p>'
    lanes: dict[str, tuple[str, list[datetime]]] = {
        what: (what.replace(" ", "-"), [one.ended for one in place.events if one.what == what])
        for what in WHATS
        if any(one.what == what for one in place.events)
    }
    counts = ", ".join(f"{len(moments)} {what}" for what, (_, moments) in lanes.items())
    label = f"Releases to {place.name}: {counts}"
    shown = place.events[-MAX_EVENTS:]
    rows = [_event(one) for one in reversed(shown)]
    older = len(place.events) - len(shown)
    columns = ("when", "what", "from → to", "commit", "by", "reason", "run")
    return (
        f"<h3>Releases</h3><figure>{plots.lanes(label, lanes, span)}"
        f'<p class="soft">{html(counts)}</p></figure>'
        f"{_fold(f'Releases, the newest first ({len(rows)})', columns, rows)}"
        + (f"<p>{older} older ones: <code>ci-mlops history</code> lists them.</p>" if older else "")
    )


def _event(one: Event) -> list[str]:
    entry = one.entry
    before = one.end.previous
    return [
        _moment(one.ended),
        one.what,
        f"<code>{html(_short(before))}</code> → <code>{html(_short(entry.to))}</code>",
        f"<code>{entry.commit[:SHOWN_COMMIT]}</code>" if entry.commit else "",
        html(entry.who),
        html(entry.reason),
        _link(entry.run, entry.id),
    ]


def _judged(judged: Judged, kind: str, span: Span, marks: str, most: int) -> str:
    latency = [one for one in judged.charts if one.is_latency]
    others = [one for one in judged.charts if not one.is_latency]
    room = max(LEAST_CHARTS, most - min(len(latency), most // 2))
    shown = [*others[:room], *latency[: max(1, most - len(others[:room]))]]
    left_out = len(judged.charts) - len(shown)
    parts = [
        f"<h3>{html(judged.project)}: {kind}</h3>",
        _verdicts(judged, kind, span, marks),
        _troubles(judged),
        _charts("Figures", [one for one in shown if not one.is_latency], span, marks),
        _charts("Latency", [one for one in shown if one.is_latency], span, marks),
    ]
    if left_out:
        parts.append(f'<p class="soft">{left_out} more figures are in the records, not here.</p>')
    return "".join(parts)


def _verdicts(judged: Judged, kind: str, span: Span, marks: str) -> str:
    found = judged.summaries
    lanes = {
        WORDS[outcome]: (outcome, [time_of(one.when) for one in found if one.verdict == outcome])
        for outcome in SEVERITY
        if any(one.verdict == outcome for one in found)
    }
    counts = ", ".join(f"{len(moments)} {word}" for word, (_, moments) in lanes.items())
    label = f"Verdicts of {judged.project}, {kind}: {counts}"
    rows = [_run(one) for one in reversed(found[-MAX_RUNS:])]
    columns = ("when", "verdict", "commit", "why", "run")
    return (
        f"<figure>{plots.lanes(label, lanes, span, uses=marks)}"
        f'<p class="soft">{counts}</p></figure>'
        f"{_fold(f'Runs, the newest first ({len(rows)} of {len(found)})', columns, rows)}"
    )


def _run(one: Summary) -> list[str]:
    commit, _, changed = one.commit.partition("+")
    return [
        _moment(time_of(one.when)),
        f"{SIGNS[one.verdict]} {WORDS[one.verdict]}",
        f"<code>{html(commit[:SHOWN_COMMIT])}{'+' if changed else ''}</code>",
        "<br>".join(html(reason) for reason in one.reasons),
        _link(one.run, "run"),
    ]


def _troubles(judged: Judged) -> str:
    if not judged.troubles:
        return ""
    rows = [
        [
            html(one.title),
            f"{SIGNS[one.worst]} {WORDS[one.worst]}",
            f"{one.times} of {one.runs}",
            _moment(one.last),
            f"{SIGNS[one.now]} {WORDS[one.now]}" if one.now else "not looked at",
        ]
        for one in judged.troubles[:MAX_TROUBLES]
    ]
    columns = ("check", "worst", "runs", "last", "in the newest run")
    count = len(judged.troubles)
    return _fold(f"Checks that did not always pass ({len(rows)} of {count})", columns, rows)


def _charts(title: str, charts: Sequence[Chart], span: Span, marks: str) -> str:
    if not charts:
        return ""
    drawn = "".join(_chart(one, span, marks) for one in charts)
    return f'<h4>{title}</h4><div class="charts">{drawn}</div>'


def _chart(chart: Chart, span: Span, marks: str) -> str:
    lines = chart.lines[:LINES]
    unit = f", {html(lines[0].unit)}" if lines[0].unit else ""
    rows = sorted(chain.from_iterable(map(_points, lines)), reverse=True)[:MAX_ROWS]
    columns = ("when", "figure", "value", "interval", "limit", "outcome")
    return (
        f"<figure><figcaption>{html(chart.title)}{unit}</figcaption>"
        f"{plots.line_chart(chart, span, uses=marks)}{_swatches(lines)}"
        f"{_fold(f'Newest figures ({len(rows)})', columns, rows)}</figure>"
    )


def _points(line: Series) -> Iterable[list[str]]:
    for one in line.points[-MAX_ROWS:]:
        figure = one.figure
        yield [
            _moment(one.when),
            html(line.name),
            figures.number(one.value) + html(figures.with_unit(line.unit)),
            _interval(figure),
            html(_limit(figure)),
            WORDS[figure.outcome] if figure.outcome else "",
        ]


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{figures.number(figure.low)} to {figures.number(figure.high)}"


def _limit(figure: Figure) -> str:
    if figure.at_least is None and figure.at_most is None:
        return ""
    return figures.limit(Limit(at_least=figure.at_least, at_most=figure.at_most), figure.unit)


def _swatches(lines: Sequence[Series]) -> str:
    if len(lines) < 2:
        return ""
    told = "".join(
        f'<span><svg viewBox="0 0 24 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline class="line s{n}" points="0,4 24,4"/></svg>{html(one.name)}</span>'
        for n, one in enumerate(lines)
    )
    return f'<p class="swatches">{told}</p>'


def _fold(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that opens; the cells are HTML already."""
    head = "".join(f'<th scope="col">{html(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<details><summary>{html(title)}</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html(title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _unreadable(found: Sequence[str]) -> str:
    if not found:
        return ""
    told = "".join(f"<li>{html(one, 300)}</li>" for one in found[:MAX_UNREADABLE])
    return f"<h2>{len(found)} records cannot be read</h2><ul>{told}</ul>"


def _link(address: str, text: str) -> str:
    """Return a link; only an address of the web becomes one."""
    if not address.startswith(("https://", "http://")):
        return html(text)
    return f'<a href="{html(address)}" rel="noopener noreferrer">{html(text)}</a>'


def _short(digest: str | None) -> str:
    return digest[:SHOWN] if digest else "nothing"


def _moment(moment: datetime) -> str:
    return f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M}</time>'


def duration(seconds: float | None) -> str:
    """Return a time in the unit that people read, `2.3 days`; a dash where none is known."""
    if seconds is None:
        return UNKNOWN
    for unit, size in (("days", DAY_S), ("h", HOUR_S), ("min", MINUTE_S)):
        if seconds >= (2 * size if unit == "days" else size):
            return f"{figures.number(seconds / size, digits=2)} {unit}"
    return f"{seconds:.0f} s"

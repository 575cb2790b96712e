"""The report as one self-contained page: nothing cut, nothing fetched, readable on a phone."""

from collections.abc import Sequence

from ci_mlops.evidence import Check, Outcome, Record, Run
from ci_mlops.evidence import Table as DataTable
from ci_mlops.report import charts, figures
from ci_mlops.report.content import (
    SIGNS,
    WORDS,
    Content,
    Row,
    Section,
    content,
    counted,
    outcome_counts,
    rows_said,
    worst_first,
)
from ci_mlops.report.escape import html
from ci_mlops.verdict import Evidence, Verdict

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--paper:#fff;--panel:#f6f8fa;
--edge:#d1d9e0;--link:#0969da;--red:#cf222e;--amber:#9a6700;--green:#1a7f37}
@media(prefers-color-scheme:dark){:root{--ink:#f0f6fc;--soft:#9198a1;--paper:#0d1117;
--panel:#151b23;--edge:#3d444d;--link:#4493f8;--red:#f85149;--amber:#d29922;--green:#3fb950}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:68rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
.verdict{border-left:.4rem solid var(--edge);padding:.25rem 0 .25rem 1rem;margin-bottom:1rem}
.failed,.error{border-color:var(--red)}.warned,.inconclusive{border-color:var(--amber)}
.passed{border-color:var(--green)}
.soft{color:var(--soft)}
p{margin:.5rem 0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;border:1px solid var(--edge);border-radius:.4rem;margin:.75rem 0}
.scroll:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:.4rem .6rem;text-align:left;vertical-align:top;border-top:1px solid var(--edge)}
thead th{border-top:0;background:var(--panel);white-space:nowrap}
td.figure{white-space:nowrap;font-variant-numeric:tabular-nums}
td.words{min-width:16rem;overflow-wrap:anywhere}
details{border:1px solid var(--edge);border-radius:.4rem;margin:.6rem 0;background:var(--paper)}
summary{cursor:pointer;padding:.6rem .8rem;background:var(--panel);border-radius:.4rem}
details>div{padding:.2rem .8rem .8rem}
code{background:var(--panel);padding:.1em .3em;border-radius:.25rem;overflow-wrap:anywhere}
.chart{width:100%;max-width:44rem;height:auto;display:block}
.grid{stroke:var(--edge)}.tick{fill:var(--soft);font-size:12px}
.legend{display:flex;flex-wrap:wrap;gap:1rem;list-style:none;padding:0;margin:.25rem 0;
font-size:.9rem}
.legend span{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem}
@media(max-width:40rem){.stack thead{display:none}.stack tr{display:block;padding:.5rem 0;
border-top:1px solid var(--edge)}.stack td{display:block;border:0;padding:.15rem .6rem;
white-space:normal}.stack td:empty{display:none}.stack td[data-name]::before{
content:attr(data-name) ": ";color:var(--soft)}td.words{min-width:0}}
@media print{details>div{display:block}summary{background:none}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render(run: Run, records: Evidence, verdict: Verdict) -> str:
    """Return the whole page as text."""
    said = content(run, records, verdict)
    parts = [
        _head(said),
        _verdict(said),
        _rows(said.rows, said.compared),
        "".join(f"<p>{html(sentence)}</p>" for sentence in said.sentences),
        "<h2>Stages</h2>" if said.sections else "",
        *(_section(section, said.compared) for section in said.sections),
        _how_it_was_judged(said),
        "</main></body></html>\n",
    ]
    return "".join(parts)


def _head(said: Content) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{html(said.headline)}</title><style>{STYLE}</style></head><body><main>"
    )


def _verdict(said: Content) -> str:
    outcome = said.verdict.outcome
    return (
        f'<div class="verdict {outcome}"><h1>{SIGNS[outcome]} {html(said.headline)}</h1>'
        f'<p class="soft">{html(said.changed)}</p></div>'
    )


def _rows(rows: Sequence[Row], compared: str) -> str:
    if not rows:
        return ""
    lines = []
    for row in rows:
        check = row.check
        if check is None:
            name, cells = row.stage, ["", ""]
            meaning = html(row.text)
        else:
            parts = (row.stage, check.name, check.slice)
            name = " · ".join(part for part in parts if part)
            cells = [_observed(check), html(figures.limit(check.limit, check.unit))]
            meaning = _meaning(check)
        lines.append(_line(row.outcome, name, [*cells, meaning], compared))
    return _table_of_checks(lines, "what it means, what to do", compared)


def _line(outcome: Outcome, name: str, cells: Sequence[str], compared: str) -> str:
    word = WORDS[outcome]
    return (
        f'<tr><td title="{word}">{SIGNS[outcome]}</td><td><b>{html(name)}</b></td>'
        f'<td class="figure" data-name="{compared}">{cells[0]}</td>'
        f'<td class="figure" data-name="limit">{cells[1]}</td>'
        f'<td class="words">{cells[2]}</td></tr>'
    )


def _table_of_checks(lines: Sequence[str], last: str, compared: str) -> str:
    return (
        '<div class="scroll" tabindex="0"><table class="stack"><thead><tr><th></th><th>check</th>'
        f"<th>{compared}</th><th>limit</th><th>{last}</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _observed(check: Check) -> str:
    between = "; ".join(x for x in (figures.change(check), figures.interval(check.interval)) if x)
    more = f'<br><span class="soft">{html(between)}</span>' if between else ""
    return f"{html(figures.observed(check), 200)}{more}"


def _meaning(check: Check) -> str:
    parts = [html(check.message)]
    if said := rows_said(check):
        parts.append(f'<span class="soft">{said}</span>')
    if check.place:
        parts.append(f"<code>{html(str(check.place))}</code>")
    if check.remedy:
        parts.append(f"<br>{html(check.remedy)}")
    if check.source:
        parts.append(f'<br><span class="soft">Source: {html(check.source)}</span>')
    return " ".join(parts)


def _section(section: Section, compared: str) -> str:
    is_open = " open" if section.outcome in {"failed", "error"} else ""
    record = section.record
    if record is None:
        summary = f"<b>{html(section.stage)}</b> {SIGNS['error']} no evidence"
        return (
            f"<details{is_open}><summary>{summary}</summary>"
            f"<div><p>{html(section.fault)}</p></div></details>"
        )
    counts = counted(outcome_counts(record)).partition(": ")[2]
    reused = f" · reused from {record.reused_from[:7]}" if record.reused_from else ""
    seconds = figures.seconds(record.seconds)
    summary = (
        f"<b>{html(section.stage)}</b> {SIGNS[record.outcome]} {html(counts)} "
        f'<span class="soft">{seconds}{html(reused)}</span>'
    )
    lines = [
        _line(
            check.outcome,
            " · ".join(part for part in (check.name, check.slice) if part),
            [_observed(check), html(figures.limit(check.limit, check.unit)), _meaning(check)],
            compared,
        )
        for check in worst_first(record)
    ]
    body = _table_of_checks(lines, "what was seen", compared) if lines else ""
    return (
        f"<details{is_open}><summary>{summary}</summary><div>{body}{_more(record)}</div></details>"
    )


def _more(record: Record) -> str:
    parts = [f"<p>{html(note)}</p>" for note in record.notes]
    for chart in record.charts:
        columns, rows = charts.table(chart)
        parts.append(f"<h3>{html(chart.title)}</h3>{charts.svg(chart)}{_grid(columns, rows)}")
    parts += [_data_table(table) for table in record.tables]
    if record.metrics:
        rows = [
            [
                m.name,
                m.slice,
                "" if m.base is None else figures.number(m.base),
                figures.number(m.value),
                m.unit,
            ]
            for m in record.metrics
        ]
        parts.append(f"<h3>Figures</h3>{_grid(('figure', 'slice', 'base', 'head', 'unit'), rows)}")
    tools = ", ".join(f"{name} {version}" for name, version in record.tools.items())
    parts.append(
        f'<p class="soft">{html(tools)} · started {record.started} · fingerprint '
        f"<code>{record.fingerprint[:12]}</code></p>"
    )
    return "".join(parts)


def _data_table(table: DataTable) -> str:
    rows = [
        ["" if c is None else figures.number(c) if isinstance(c, float) else str(c) for c in row]
        for row in table.rows
    ]
    more = f"<p>{table.left_out} more rows were left out.</p>" if table.left_out else ""
    return f"<h3>{html(table.title)}</h3>{_grid(table.columns, rows)}{more}"


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _how_it_was_judged(said: Content) -> str:
    run = said.run
    subjects = [[s.name, s.sha256] for s in run.subjects]
    changes = [
        [c.what, c.base, c.head, str(c.place or "")]
        for c in (*run.subject_changes, *run.gate_changes)
    ]
    tools = ", ".join(f"{name} {version}" for name, version in run.tools.items())
    sides = (
        f"{html(run.environment)}, looked at from <code>{html(run.head)}</code>, by its rules."
        if run.environment
        else f"Base <code>{html(run.base or 'none')}</code>, head <code>{html(run.head)}</code>. "
        f"Judged by the {run.judged_by}'s rules."
    )
    return (
        "<details><summary>How this was judged</summary><div>"
        f"<p>{sides}</p>"
        f"<p>{html(tools)}; {figures.seconds(run.seconds)}, "
        f"{len(run.reused)} of {len(run.stages)} stages reused.</p>"
        + (_grid(("setting", "base", "head", "place"), changes) if changes else "")
        + (_grid(("subject", "sha256"), subjects) if subjects else "")
        + f"<p>The same on your machine: <code>{html(said.command)}</code></p></div></details>"
    )

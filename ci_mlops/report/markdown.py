"""The report as one pull-request comment: signal first, everything escaped, never too long."""

from collections.abc import Callable, Sequence

from ci_mlops.evidence import Check, Record, Run
from ci_mlops.evidence import Table as DataTable
from ci_mlops.report import charts, figures
from ci_mlops.report.content import (
    SIGNS,
    Content,
    Row,
    Section,
    content,
    counted,
    outcome_counts,
    rows_said,
    worst_first,
)
from ci_mlops.report.escape import code, markdown, plain, shortened
from ci_mlops.verdict import Evidence, Verdict

LIMIT = 65_536
MAX_ROWS = 12
HOLD_BACK = 400
"""Characters kept free for the sentence that counts what was cut."""


def render(run: Run, records: Evidence, verdict: Verdict, *, limit: int = LIMIT) -> str:
    """Return the comment, at most `limit` characters, with every table, fence and fold closed."""
    said = content(run, records, verdict)
    head = _above_the_fold(said, limit)
    tail = _how_it_was_judged(said)
    room = limit - len(head) - len(tail) - HOLD_BACK
    sections, cut = _sections(said.sections, room, said.compared)
    counted_cut = f"\n<sub>{cut} Everything is in report.html.</sub>\n" if cut else ""
    return head + sections + tail + counted_cut


def marker(project: str) -> str:
    """Return the hidden line by which the comment is found again."""
    return f"<!-- ci-mlops:{project} -->"


# --- above the fold -----------------------------------------------------------------------------


def _above_the_fold(said: Content, limit: int) -> str:
    lines = [
        marker(said.run.project),
        f"## {SIGNS[said.verdict.outcome]} {markdown(said.headline, 300)}",
        "",
        markdown(said.changed, 600),
        "",
    ]
    if said.rows:
        lines += [*_table_of_rows(said.rows[:MAX_ROWS], said.compared), ""]
        lines += _rest_of_rows(said.rows[MAX_ROWS:], limit // 2)
    for sentence in said.sentences[:20]:
        lines += [markdown(sentence, 600), ""]
    return "\n".join(lines)


def _table_of_rows(rows: Sequence[Row], compared: str) -> list[str]:
    lines = [
        f"| | check | {compared} | limit | what it means, what to do |",
        "|---|---|---|---|---|",
    ]
    return lines + [_row(row) for row in rows]


def _row(row: Row) -> str:
    check = row.check
    if check is None:
        return (
            f"| {SIGNS[row.outcome]} | **{markdown(row.stage, 60)}** | | | {markdown(row.text)} |"
        )
    bold = row.outcome in {"failed", "error"}
    name = title(row.stage, check)
    cells = (
        SIGNS[row.outcome],
        f"**{name}**" if bold else name,
        _observed(check),
        markdown(figures.limit(check.limit, check.unit)),
        _meaning(check),
    )
    return f"| {' | '.join(cells)} |"


def title(stage: str, check: Check) -> str:
    """Return `policy · four-fifths · race`, the name by which people search."""
    parts = (stage, check.name, check.slice)
    return " · ".join(markdown(part, 80) for part in parts if part)


def _observed(check: Check) -> str:
    text = markdown(figures.observed(check), 120)
    change = figures.change(check)
    between = "; ".join(one for one in (change, figures.interval(check.interval)) if one)
    return f"{text} ({markdown(between, 120)})" if between else text


def _meaning(check: Check) -> str:
    place = f" {code(str(check.place))}" if check.place else ""
    remedy = f" {markdown(check.remedy)}" if check.remedy else ""
    rows = f" {said}" if (said := rows_said(check)) else ""
    remedy = f"{remedy}." if remedy and remedy[-1] not in ".!?" else remedy
    return f"{markdown(check.message)}{rows}{place}{remedy}"


def _rest_of_rows(rows: Sequence[Row], room: int) -> list[str]:
    """Name every further blocking row, if only by name; count the others."""
    blocking = [row for row in rows if row.outcome in {"failed", "error"}]
    others = len(rows) - len(blocking)
    lines = []
    if blocking:
        whole = [_name(row) for row in blocking]
        if sum(len(name) + 2 for name in whole) > room:
            size = max(12, (room // len(blocking)) - 4)
            whole = [_short_name(row, size) for row in blocking]
        lines += [f"Also blocking: {', '.join(whole)}.", ""]
    if others:
        lines += [f"And {others} more to look at, in the sections below.", ""]
    return lines


def _name(row: Row) -> str:
    return title(row.stage, row.check) if row.check else markdown(row.stage, 80)


def _short_name(row: Row, size: int) -> str:
    """Return as much of a row's name as `size` characters hold, its check's own name first."""
    own = row.check.name if row.check else row.stage
    for parts in ((row.stage, own), (own,)):
        name = " · ".join(markdown(part, 80) for part in parts)
        if len(name) <= size:
            return name
    # Six characters stand for one where all of them must be escaped.
    return markdown(shortened(plain(own), max(8, size // 6)))


# --- folded sections ----------------------------------------------------------------------------


def _sections(sections: Sequence[Section], room: int, compared: str) -> tuple[str, str]:
    """Return the sections that fit, the worst first in line for room, and what was cut."""
    order = sorted(sections, key=lambda one: (one.outcome != "failed", one.outcome != "error"))
    parts: dict[str, str] = {}
    cut_sections = cut_parts = 0
    for number, section in enumerate(order):
        left = len(order) - number
        share = max(0, room // left) if left > 1 else room
        text, missing = _section(section, min(room, max(share, room // 2)), compared)
        cut_parts += missing
        if text is None:
            cut_sections += 1
            continue
        parts[section.stage] = text
        room -= len(text)
    shown = "".join(parts[one.stage] for one in sections if one.stage in parts)
    said = []
    if cut_sections:
        said.append(f"{cut_sections} sections did not fit.")
    if cut_parts:
        said.append(f"{cut_parts} tables, charts and rows of checks did not fit.")
    return shown, " ".join(said)


def _section(section: Section, room: int, compared: str) -> tuple[str | None, int]:
    """Return a folded section of at most `room` characters, and how many of its parts are cut."""
    head = f"<details><summary>{_summary(section)}</summary>\n\n"
    tail = "</details>\n"
    if len(head) + len(tail) > room:
        return None, 0
    record = section.record
    if record is None:
        body = f"{markdown(section.fault)}\n\n"
        return (f"{head}{body}{tail}", 0) if len(head + body + tail) <= room else (head + tail, 1)
    room -= len(head) + len(tail)
    text, missing = _checks(record, room, compared)
    room -= len(text)
    for part in _parts(record):
        if len(part) <= room:
            text += part
            room -= len(part)
        else:
            missing += 1
    return f"{head}{text}{tail}", missing


def _summary(section: Section) -> str:
    name = markdown(section.stage, 60)
    if section.record is None:
        return f"<b>{name}</b> {SIGNS['error']} no evidence"
    record = section.record
    counts = counted(outcome_counts(record)).partition(": ")[2]
    reused = f" · reused from {record.reused_from[:7]}" if record.reused_from else ""
    return f"<b>{name}</b> {SIGNS[record.outcome]} {markdown(counts + reused)}"


def _checks(record: Record, room: int, compared: str) -> tuple[str, int]:
    head = f"| | check | {compared} | limit | what was seen |\n|---|---|---|---|---|\n"
    lines: list[str] = []
    used = len(head) + 1
    missing = 0
    for check in worst_first(record):
        name = title("", check)
        cells = (
            SIGNS[check.outcome],
            name,
            _observed(check),
            markdown(figures.limit(check.limit, check.unit)),
            markdown(check.message),
        )
        line = f"| {' | '.join(cells)} |\n"
        if used + len(line) > room:
            missing += 1
            continue
        lines.append(line)
        used += len(line)
    return (head + "".join(lines) + "\n", missing) if lines else ("", missing)


def _parts(record: Record) -> list[str]:
    """Return the charts and tables of a record, each as a whole that can be left out."""
    parts = []
    for chart in record.charts:
        columns, rows = charts.table(chart)
        title_line = f"**{markdown(chart.title, 120)}**\n\n"
        parts.append(f"{title_line}{charts.mermaid(chart)}\n\n{_grid(columns, rows)}\n")
    return parts + [_data_table(table) for table in record.tables]


def _data_table(table: DataTable) -> str:
    def text(cell: object) -> str:
        if cell is None:
            return ""
        if isinstance(cell, float):
            return figures.number(cell)
        return str(cell)

    rows = [[text(cell) for cell in row] for row in table.rows]
    more = f"\n{table.left_out} more rows were left out.\n" if table.left_out else ""
    return f"**{markdown(table.title, 120)}**\n\n{_grid(table.columns, rows)}{more}\n"


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], escape: Callable[[str], str]) -> str:
        return f"| {' | '.join(escape(cell) for cell in cells)} |\n"

    def cell(text: str) -> str:
        return markdown(text, 120)

    rule = f"|{'---|' * len(columns)}\n"
    return line(columns, cell) + rule + "".join(line(row, cell) for row in rows)


# --- how it was judged --------------------------------------------------------------------------


def _how_it_was_judged(said: Content) -> str:
    run = said.run
    base = f"Base {code(run.base[:10])}" if run.base else "No base"
    head = f"head {code(run.head[:10] + ('+changes' if run.head.endswith('+changes') else ''))}"
    subjects = [
        f"{markdown(s.name.removeprefix('head.'), 60)} {code('sha256:' + s.sha256[:12])}"
        for s in run.subjects[:12]
        if s.name.startswith("head.")
    ]
    tools = ", ".join(
        f"{markdown(n, 40)} {markdown(v, 40)}" for n, v in list(run.tools.items())[:8]
    )
    reused = (
        f"{len(run.reused)} of {len(run.stages)} stages reused" if run.reused else "nothing reused"
    )
    lines = [
        f"{markdown(run.environment, 60)}, looked at from {head}, by its rules."
        if run.environment
        else f"{base}, {head}. Judged by the {run.judged_by}'s rules.",
        f"{', '.join(subjects)}." if subjects else "",
        f"{tools}; {figures.seconds(run.seconds)}, {reused}.",
        f"The same on your machine: `{said.command}`.",
    ]
    body = "\n".join(line for line in lines if line)
    return f"<details><summary>How this was judged</summary>\n\n{body}\n\n</details>\n"

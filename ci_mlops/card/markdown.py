"""A card as Markdown with the header that the Hugging Face Hub reads, and as a page.

Source: https://github.com/huggingface/hub-docs, modelcard.md, the model card specification
"""

from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from markdown_it import MarkdownIt

from ci_mlops.card.content import TASKS, Card, footprint
from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Check, Record, Table
from ci_mlops.model.card_file import FIELD
from ci_mlops.report import figures
from ci_mlops.report.content import SIGNS, WORDS
from ci_mlops.report.escape import html as escape_html
from ci_mlops.report.escape import markdown as escape
from ci_mlops.report.html import STYLE

NOT_MEASURED = "*Not measured: stage `{stage}` left no record.*"
NOT_ANSWERED = "*Not answered. Fill in `{field}` in the human part of the card.*"


def render(card: Card) -> str:
    """Return the card; the same evidence makes the same bytes."""
    parts = [
        f"---\n{yaml.safe_dump(header(card), sort_keys=False, allow_unicode=True)}---",
        f"# {escape(card.title)}",
        "Made by `ci-mlops card` from evidence and the human part; do not edit it here.",
        _facts(card),
        *_human(card, "Intended use", "intended_use"),
        *_human(card, "Out of scope", "out_of_scope"),
        *_human(card, "Training data", "training_data"),
        _data(card),
        *_evaluation(card),
        *_groups(card),
        *_stage(card, "Behaviour", "behaviour"),
        *_stage(card, "Explanation", "explain"),
        *_latency(card),
        *_footprint(card),
        *_human(card, "Limitations", "limitations"),
        *_open_points(card),
        *_human(card, "Risks", "risks"),
        *_human(card, "Human oversight", "human_oversight"),
        *_waivers(card),
        *_evidence(card),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def page(text: str, title: str) -> str:
    """Return a card's Markdown as one self-contained page."""
    body = text.partition("\n---\n")[2] if text.startswith("---\n") else text
    made = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    made = made.replace("<table>", '<div class="scroll"><table>').replace(
        "</table>", "</table></div>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape_html(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>\n{made}</main></body></html>\n"
    )


def header(card: Card) -> dict[str, Any]:
    """Return the header: the Hub's fields, and the digests of what was judged."""
    digests = card.digests()
    metrics = [one for one in card.metrics("model") if not one.slice and not one.unit]
    dataset = {
        "type": card.project,
        "name": card.test,
        "revision": digests.get("data.test", ""),
    }
    result = {
        "task": {"type": TASKS[card.settings.task]},
        "dataset": dataset,
        "metrics": [{"type": one.name, "value": round(one.value, 6)} for one in metrics],
    }
    human = card.human
    found: dict[str, Any] = {"license": human.license} if human.license else {}
    found |= {
        "tags": [*human.tags, "ci-mlops"],
        "pipeline_tag": TASKS[card.settings.task],
        "metrics": [one.name for one in metrics],
    }
    found["model-index"] = [{"name": card.title, "results": [result] if metrics else []}]
    found[FIELD] = card.speaks_of()
    return found


# --- sections -----------------------------------------------------------------------------------


def _facts(card: Card) -> str:
    run, digests = card.run, card.digests()
    rows = [
        ("verdict", f"{SIGNS[card.verdict.outcome]} {WORDS[card.verdict.outcome]}"),
        ("model", _short(digests.get("model", "")) or "predictions in files"),
        ("commit", run.head[:12]),
        ("judged", run.started.replace("T", " ").replace("Z", " UTC")),
        ("task", card.settings.task),
        ("owner", card.human.owner or "not answered"),
        ("contact", card.human.contact or "not answered"),
        ("license", card.human.license or "not answered"),
    ]
    return grid(("", ""), rows)


def _human(card: Card, title: str, field: str) -> Iterable[str]:
    yield f"## {title}"
    text = getattr(card.human, field).strip()
    yield _paragraphs(text) if text else NOT_ANSWERED.format(field=field)


def _paragraphs(text: str) -> str:
    return "\n\n".join(escape(" ".join(one.split()), 20_000) for one in text.split("\n\n"))


def _data(card: Card) -> str:
    digests = card.digests()
    rows = {metric.slice: metric.value for metric in card.metrics("data") if metric.name == "rows"}
    names = [name.removeprefix("data.") for name in digests if name.startswith("data.")]
    listed = [
        (
            name,
            f"{rows[name]:.0f}" if name in rows else "not counted",
            _short(digests[f"data.{name}"]),
        )
        for name in names
    ]
    return grid(("data", "rows", "digest"), listed)


def _evaluation(card: Card) -> Iterable[str]:
    yield "## Evaluation"
    if card.human.evaluation.strip():
        yield _paragraphs(card.human.evaluation)
    metrics = [metric for metric in card.metrics("model") if not metric.slice]
    if not metrics:
        yield NOT_MEASURED.format(stage="model")
        return
    rows = [
        (
            one.name.replace("_", " "),
            f"{figures.number(one.value)}{figures.with_unit(one.unit)}",
            "" if one.base is None else figures.number(one.base),
        )
        for one in metrics
    ]
    yield grid(("metric", "value", "at the base"), rows)
    yield _checks(one for one in card.checks("model") if one.interval is not None)


def _groups(card: Card) -> Iterable[str]:
    yield "## By group"
    tables = list(card.tables("policy", "Groups by"))
    if not tables:
        yield NOT_MEASURED.format(stage="policy")
        return
    for table in tables:
        yield f"**{escape(table.title)}**"
        yield _table(table)
    yield _checks(one for one in card.checks("policy") if one.slice)


def _stage(card: Card, title: str, stage: str) -> Iterable[str]:
    yield f"## {title}"
    record = card.record(stage)
    yield NOT_MEASURED.format(stage=stage) if record is None else _checks(record.checks)


def _latency(card: Card) -> Iterable[str]:
    yield "## Latency"
    record = card.record("latency")
    if record is None:
        yield NOT_MEASURED.format(stage="latency")
        return
    for table in card.tables("latency", "Prediction times"):
        yield _table(table)
    yield _checks(record.checks)


def _footprint(card: Card) -> Iterable[str]:
    yield "## Footprint"
    found = footprint(card)
    if not found:
        yield "*Not measured: neither stage `serving` nor `image` left a record.*"
        return
    rows = [
        (what, f"{figures.number(value)}{figures.with_unit(unit)}") for what, value, unit in found
    ]
    yield grid(("what", "takes"), rows)


def _open_points(card: Card) -> Iterable[str]:
    found = card.open_points()
    if found:
        yield "What the gate found:"
        yield grid(
            ("", "check", "what was seen"),
            [(SIGNS[one.outcome], _name(one, stage), one.message) for stage, one in found],
        )


def _waivers(card: Card) -> Iterable[str]:
    yield "## Waivers"
    found = card.waivers()
    if not found:
        yield "None."
        return
    yield grid(("check", "waiver"), [(_name(one, stage), one.message) for stage, one in found])


def _evidence(card: Card) -> Iterable[str]:
    yield "## Evidence"
    rows = []
    for stage in card.run.stages:
        record = card.records.get(stage)
        outcome = record.outcome if isinstance(record, Record) else "error"
        said = str(record) if isinstance(record, EvidenceError) else WORDS[outcome]
        rows.append((f"{SIGNS[outcome]} {stage}", said, _short(card.run.records.get(stage, ""))))
    yield grid(("stage", "outcome", "record"), rows)


# --- parts --------------------------------------------------------------------------------------


def _checks(checks: Iterable[Check]) -> str:
    rows = [
        (
            SIGNS[one.outcome],
            _name(one),
            ", ".join(
                part for part in (figures.observed(one), figures.interval(one.interval)) if part
            ),
            "" if one.rows is None else str(one.rows),
        )
        for one in checks
    ]
    return grid(("", "check", "observed", "rows"), rows) if rows else ""


def _name(check: Check, stage: str = "") -> str:
    return " · ".join(part for part in (stage, check.name, check.slice) if part)


def _table(table: Table) -> str:
    rows = [["" if cell is None else _cell(cell) for cell in row] for row in table.rows]
    return grid(table.columns, rows)


def _cell(cell: object) -> str:
    return figures.number(cell, digits=4) if isinstance(cell, float) else str(cell)


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; nothing where it has no rows."""
    lines = [f"| {' | '.join(escape(one) for one in row)} |" for row in (columns, *rows)]
    if len(lines) == 1:
        return ""
    return "\n".join((lines[0], f"|{'---|' * len(columns)}", *lines[1:]))


def _short(digest: str) -> str:
    return f"sha256:{digest[:12]}" if digest else ""

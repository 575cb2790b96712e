"""What a report says, in the order in which a reviewer needs it, before any markup."""

from collections.abc import Mapping
from dataclasses import dataclass

from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import SEVERITY, Check, Outcome, Record, Run
from ci_mlops.verdict import Evidence, Reason, Verdict

SIGNS: Mapping[str, str] = {
    "passed": "✅",
    "warned": "⚠️",
    "inconclusive": "❔",
    "failed": "❌",
    "skipped": "⏭️",
    "error": "⛔",
}
WORDS: Mapping[Outcome, str] = {
    "passed": "passed",
    "warned": "warned",
    "inconclusive": "could not decide",
    "failed": "failed",
    "skipped": "skipped",
    "error": "could not look",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table above the fold."""

    outcome: Outcome
    stage: str
    check: Check | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A stage's folded part."""

    stage: str
    record: Record | None
    fault: str
    """Why there is no record; empty when there is one."""

    @property
    def outcome(self) -> Outcome:
        """The record's outcome, or `error` without one."""
        return self.record.outcome if self.record else "error"


@dataclass(frozen=True, kw_only=True)
class Content:
    """The whole report."""

    run: Run
    verdict: Verdict
    headline: str
    changed: str
    rows: tuple[Row, ...]
    sentences: tuple[str, ...]
    """What a reader must know besides: no base, changed rules, borrowed interpreters, notes."""
    sections: tuple[Section, ...]

    @property
    def compared(self) -> str:
        """What the column of figures holds."""
        return "judged → now" if self.run.environment else "base → head"

    @property
    def command(self) -> str:
        """What gives the same on the reader's machine."""
        if self.run.environment:
            return "ci-mlops monitor"
        return f"ci-mlops run --base {self.run.base[:10]}" if self.run.base else "ci-mlops run"


def content(run: Run, records: Evidence, verdict: Verdict) -> Content:
    """Put a run, its evidence and its verdict into words."""
    return Content(
        run=run,
        verdict=verdict,
        headline=headline(run, verdict),
        changed=_changed(run, verdict),
        rows=tuple(_row(reason) for reason in verdict.reasons if reason.stage),
        sentences=_sentences(run, records, verdict),
        sections=tuple(_section(stage, records.get(stage)) for stage in run.stages),
    )


def headline(run: Run, verdict: Verdict) -> str:
    """Return the first line: `loans: 2 checks block this pull request`."""
    if run.environment:
        return _watched_headline(run, verdict)
    blocking = [r for r in verdict.reasons if r.outcome == "failed"]
    warned = [r for r in verdict.reasons if r.outcome in {"warned", "inconclusive"} and r.stage]
    if verdict.outcome == "error":
        faults = list(dict.fromkeys(r.text for r in verdict.reasons if r.outcome == "error"))
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return f"{run.project}: could not judge: {faults[0]}{more}"
    if verdict.outcome == "failed":
        who = "1 check blocks" if len(blocking) == 1 else f"{len(blocking)} checks block"
        return f"{run.project}: {who} this pull request"
    if verdict.outcome == "warned" and warned:
        what = "1 check" if len(warned) == 1 else f"{len(warned)} checks"
        return f"{run.project}: passed, {what} to look at"
    if verdict.outcome == "warned":
        return f"{run.project}: passed, with a reservation"
    return f"{run.project}: passed"


def _watched_headline(run: Run, verdict: Verdict) -> str:
    """Return the first line of monitors: `loans in production: 2 checks failed`."""
    name = f"{run.project} in {run.environment}"
    wrong = {r.outcome for r in verdict.reasons if r.stage}
    failed = [r for r in verdict.reasons if r.outcome == "failed"]
    if "error" in wrong:
        fault = next(r.text for r in verdict.reasons if r.outcome == "error")
        return f"{name}: could not look: {fault}"
    if failed:
        return f"{name}: {len(failed)} check{'' if len(failed) == 1 else 's'} failed"
    if wrong & {"warned", "inconclusive"}:
        return f"{name}: no alarm, with something to look at"
    return f"{name}: healthy"


def counted(counts: Mapping[Outcome, int]) -> str:
    """Return `41 checks: 37 passed, 1 warned, 2 failed`."""
    total = sum(counts.values())
    order: tuple[Outcome, ...] = ("passed", "warned", "inconclusive", "failed", "error", "skipped")
    parts = [f"{counts[o]} {WORDS[o]}" for o in order if counts.get(o)]
    return f"{total} check{'' if total == 1 else 's'}: {', '.join(parts)}" if total else "no checks"


def outcome_counts(record: Record) -> dict[Outcome, int]:
    """Count a record's checks by outcome."""
    outcomes = [check.outcome for check in record.checks]
    return {one: outcomes.count(one) for one in SEVERITY if one in outcomes}


def worst_first(record: Record) -> list[Check]:
    """Return a record's checks, the worst first, in their own order otherwise."""
    return sorted(record.checks, key=lambda check: -SEVERITY.index(check.outcome))


def _changed(run: Run, verdict: Verdict) -> str:
    names = [s.name.removeprefix("head.") for s in run.subjects if s.name.startswith("head.")]
    changed = [name for name in names if name in run.changed()]
    same = [name for name in names if name not in changed]
    parts = []
    if run.base:
        since = f" since {run.base[:7]}" if same else ""
        parts += [f"{', '.join(changed)} changed"] if changed else []
        parts += [f"{', '.join(same)} unchanged{since}"] if same else []
    return " · ".join([*parts, counted(verdict.counts)])


def _row(reason: Reason) -> Row:
    outcome = reason.outcome
    return Row(outcome=outcome, stage=reason.stage, check=reason.check, text=reason.text)


def _sentences(run: Run, records: Evidence, verdict: Verdict) -> tuple[str, ...]:
    said = [
        f"{reason.text[:1].upper()}{reason.text[1:]}."
        for reason in verdict.reasons
        if not reason.stage
    ]
    if run.subject_changes:
        listed = ", ".join(
            f"{change.what}: {change.base} → {change.head}"
            + (f" ({change.place})" if change.place else "")
            for change in run.subject_changes[:5]
        )
        more = len(run.subject_changes) - 5
        said.append(
            f"Settings that came with it: {listed}{f' and {more} more' if more > 0 else ''}."
        )
    if run.gate_changes:
        listed = ", ".join(change.what for change in run.gate_changes[:8])
        said.append(
            f"This pull request changes the rules ({listed}). It was judged by the "
            f"{run.judged_by}'s; the change takes effect after the merge."
        )
    said += _data_changes(records)
    said += run.notes
    for record in records.values():
        if isinstance(record, Record):
            said += record.notes
    return tuple(dict.fromkeys(said))


def _data_changes(records: Evidence) -> list[str]:
    """Say how the data changed, and how much that may break, where it did."""
    record = records.get("data")
    checks = record.checks if isinstance(record, Record) else ()
    return [
        f"Data, {check.slice}: {check.observed}. {check.message}"
        for check in checks
        if check.name == "change"
    ]


def _section(stage: str, record: Record | EvidenceError | None) -> Section:
    if isinstance(record, Record):
        return Section(stage=stage, record=record, fault="")
    fault = str(record) if record is not None else "left no evidence"
    return Section(stage=stage, record=None, fault=fault)


def rows_said(check: Check) -> str:
    """Return `(154 rows)` where the message does not say how many rows it rests on."""
    if check.rows is None:
        return ""
    known = ("n = ", f"{check.rows} rows", f"{check.rows:,} rows", f"of {check.rows} ")
    if any(words in check.message for words in known):
        return ""
    return f"({check.rows:,} rows)"

"""How a run goes, for people: a live table on a terminal, plain lines everywhere else."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from ci_mlops.evidence import Check, Outcome, Record, Run
from ci_mlops.github import printable
from ci_mlops.verdict import Reason, Verdict

if TYPE_CHECKING:
    from rich.table import Table

SIGNS: Mapping[Outcome, str] = {
    "passed": "✅",
    "warned": "⚠️ ",
    "inconclusive": "❔",
    "failed": "❌",
    "skipped": "⏭️ ",
    "error": "⛔",
}
WORDS: Mapping[str, str] = {"error": "could not judge", "warned": "passed, with warnings"}
STYLES: Mapping[Outcome, str] = {
    "passed": "green",
    "warned": "yellow",
    "inconclusive": "yellow",
    "failed": "bold red",
    "skipped": "dim",
    "error": "bold red",
}


class Display(Protocol):
    """Something that shows the stages of a run."""

    def started(self, stage: str) -> None:
        """Show that a stage began."""

    def ended(self, stage: str, record: Record) -> None:
        """Show how a stage ended."""


@contextmanager
def display(
    stages: Sequence[str], environ: Mapping[str, str], stream: TextIO | None = None
) -> Iterator[Display]:
    """Choose the display: live on a terminal, plain lines in CI, in pipes and on dumb terminals."""
    stream = stream or sys.stderr
    live = stream.isatty() and not environ.get("CI") and environ.get("TERM") != "dumb"
    if not live:
        yield Lines(stream)
        return
    with LiveTable(stages, stream, color=not environ.get("NO_COLOR")) as table:
        yield table


class Lines:
    """One line for each stage that begins and ends."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def started(self, stage: str) -> None:
        """Print that a stage began."""
        print(f"   {stage} ...", file=self.stream, flush=True)

    def ended(self, stage: str, record: Record) -> None:
        """Print how a stage ended."""
        print(f"{SIGNS[record.outcome]} {stage}: {summary(record)}", file=self.stream, flush=True)


class LiveTable:
    """A table of the stages that is redrawn in place while they run."""

    def __init__(self, stages: Sequence[str], stream: TextIO, *, color: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self.since: dict[str, float] = {}
        self.records: dict[str, Record] = {}
        self.stages = stages
        console = Console(file=stream, no_color=not color, highlight=False)
        self.live = Live(get_renderable=self.table, console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        """Start drawing."""
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Draw the last state and leave it on the screen."""
        self.live.stop()

    def started(self, stage: str) -> None:
        """Mark a stage as running."""
        self.since[stage] = time.monotonic()

    def ended(self, stage: str, record: Record) -> None:
        """Mark a stage as ended."""
        self.records[stage] = record

    def table(self) -> "Table":
        """Return the table as it stands now."""
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for stage in self.stages:
            record = self.records.get(stage)
            if record is not None:
                style = STYLES[record.outcome]
                sign = Text(SIGNS[record.outcome].strip())
                table.add_row(sign, Text(stage, style=style), summary(record))
            elif stage in self.since:
                seconds = time.monotonic() - self.since[stage]
                table.add_row(Spinner("dots"), Text(stage, style="bold"), f"{seconds:.0f} s")
            else:
                table.add_row("·", Text(stage, style="dim"), Text("waits", style="dim"))
        return table


def summary(record: Record) -> str:
    """Return the counts of a record's checks, its time, and whether it was reused."""
    counts = [
        f"{sum(check.outcome == outcome for check in record.checks)} {outcome}"
        for outcome in ("failed", "error", "warned", "inconclusive", "passed", "skipped")
        if any(check.outcome == outcome for check in record.checks)
    ]
    spent = f"reused from {record.reused_from[:7]}" if record.reused_from else ""
    return f"{', '.join(counts)} ({spent or f'{record.seconds:.1f} s'})"


def verdict_lines(decided: Verdict, run: Run) -> list[str]:
    """Return the verdict and its reasons as lines for a terminal, the worst first."""
    counts = ", ".join(f"{decided.counts[o]} {o}" for o in SIGNS if decided.counts.get(o))
    words = WORDS.get(decided.outcome, decided.outcome)
    lines = [f"{SIGNS[decided.outcome].strip()} {run.project}: {words} ({counts or 'no checks'})"]
    for reason in decided.reasons:
        said = f"{_title(reason)}: {reason.text}"
        lines.append(f"   {SIGNS[reason.outcome].strip()} {printable(said)}")
        if reason.check is not None and reason.check.remedy:
            lines.append(f"      → {printable(reason.check.remedy)}")
    return lines


def check_lines(checks: Sequence[Check]) -> list[str]:
    """Return checks as lines for a terminal, each with its remedy below."""
    lines = []
    for check in checks:
        title = " · ".join(part for part in (check.name, check.slice) if part)
        lines.append(f"{SIGNS[check.outcome].strip()} {printable(f'{title}: {check.message}')}")
        if check.remedy:
            lines.append(f"   → {printable(check.remedy)}")
    return lines


def _title(reason: Reason) -> str:
    if reason.check is None:
        return reason.stage or "run"
    parts = (reason.stage, reason.check.name, reason.check.slice)
    return " · ".join(part for part in parts if part)

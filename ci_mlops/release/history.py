"""What the ledger answers to people and programs: what is live, since when, by whom, and why."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from ci_mlops.errors import ConfigError, EvidenceError
from ci_mlops.evidence import Check, file_sha256
from ci_mlops.release.entry import Environment, State, Written, moment
from ci_mlops.release.ledger import Ledger
from ci_mlops.report.escape import markdown

BEGUN_DIGEST = re.compile(r"[0-9a-f]{7,64}")
SHOWN = 19
"""Characters of a digest that people see: `sha256:` and twelve of its digits."""


def history(
    ledger: Ledger,
    environment: str | None,
    limit: int | None = None,
    *,
    since: datetime | None = None,
) -> list[Written]:
    """Return the newest entries, of one environment or all; raises OutsideError, EvidenceError."""
    begun = moment(since) if since else ""
    of = (
        one
        for one in ledger.entries()
        if environment in {None, one.entry.environment} and one.entry.when >= begun
    )
    return list(islice(of, limit))


def live(ledger: Ledger, environment: str, at: datetime | None) -> Written:
    """Return the entry by which something is live now, or was at a moment.

    Raises EvidenceError where nothing was, OutsideError where the ledger cannot be read.
    """
    found = ledger.live_at(environment, at) if at else ledger.live(environment)
    if found is None:
        when = f"at {at:%Y-%m-%d %H:%M:%S} UTC" if at else "now"
        raise EvidenceError(f"the ledger knows of nothing live {when}", place=environment)
    return found


def entries_about(ledger: Ledger, start: str) -> list[Written]:
    """Return every entry, the newest first, that holds a digest which begins like that.

    It may be the digest of what was released, of a subject of its evidence, or of a record.
    """
    return [one for one in ledger.entries() if any(d.startswith(start) for d in _digests(one))]


def moment_of(text: str, *, flag: str = "--at", begins: bool = False) -> datetime:
    """Return the moment that a text names in UTC; of a bare date, its first or its last second.

    Raises ConfigError for anything but an ISO 8601 date or time.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as fault:
        raise ConfigError(
            f"{text!r} is no date",
            place=flag,
            remedy="Write 2026-11-23 or 2026-11-23T10:30:00Z",
        ) from fault
    if not begins and re.fullmatch(r"\d{4}-?(\d\d-?\d\d|W\d\d-?\d)", text):
        found += timedelta(days=1, seconds=-1)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def history_lines(entries: Sequence[Written]) -> Iterator[str]:
    """Say each entry in a line, and its reason and run below."""
    for one in entries:
        entry = one.entry
        change = f"{_short(one.previous)} → {_short(entry.to)}"
        yield f"{one.sequence:>5}  {_when(entry.when)}  {entry.environment}  {entry.kind}  {change}"
        yield f"       by {entry.who}, as {entry.id}{f': {entry.reason}' if entry.reason else ''}"
        if entry.run:
            yield f"       {entry.run}"


def status_lines(state: State) -> Iterator[str]:
    """Say what each environment runs, and what has not ended there."""
    if not state.environments:
        yield "The ledger is empty: nothing was ever promoted."
    for name, environment in sorted(state.environments.items()):
        yield f"{name}: {_live(environment)}"
        pending = environment.pending
        if pending is not None:
            entry = pending.entry
            yield (
                f"   {entry.id} by {entry.who} means to promote {_short(entry.to)} "
                f"since {_when(entry.when)}, and has not ended"
            )


def why_lines(entries: Sequence[Written]) -> Iterator[str]:
    """Say the lineage of what the entries are about: run, people, code, data, evidence."""
    for one in entries:
        entry = one.entry
        yield f"{entry.environment}: {entry.kind} {_when(entry.when)} (entry {one.sequence})"
        told = {
            "released": entry.to,
            "before": one.previous or "nothing",
            "by": entry.who,
            "because": entry.reason,
            "run": entry.run,
            "commit": entry.commit,
            **{f"judged {name}": digest for name, digest in sorted(entry.subjects.items())},
            **{f"evidence {name}": digest for name, digest in sorted(entry.evidence.items())},
        }
        yield from (f"   {name:<22} {text}" for name, text in told.items() if text)


def ended_lines(one: Written, *, repeated: bool) -> Iterator[str]:
    """Say how a promotion or a rollback ended."""
    entry = one.entry
    signs = {"promoted": "✅", "rolled_back": "↩️ ", "superseded": "⏭️ ", "blocked": "⛔"}
    word = entry.kind.replace("_", " ")
    why = f": {entry.reason}" if entry.reason else ""
    if repeated:
        yield f"{signs[entry.kind]} {entry.environment}: {entry.id} ended before, {word}{why}"
        return
    yield f"{signs[entry.kind]} {entry.environment}: {word}{why}"
    if entry.kind in {"promoted", "rolled_back"}:
        yield f"   {_short(entry.to)} is live, entry {one.sequence} of the ledger"


def live_after(one: Written) -> str | None:
    """Return what is live after an end; None where nothing is."""
    return one.entry.to if one.entry.kind in {"promoted", "rolled_back"} else one.previous


def summary_lines(one: Written, checks: Sequence[Check]) -> Iterator[str]:
    """Say how a promotion or a rollback ended, as Markdown for the summary of a workflow run."""
    first, *more = ended_lines(one, repeated=False)
    yield f"## {markdown(first)}"
    yield ""
    yield from (markdown(line.strip()) for line in more)
    if checks:
        yield from ("", "| | check | where | what was seen |", "|---|---|---|---|")
    for check in checks:
        cells = (check.outcome, check.name, check.slice, check.message)
        yield f"| {' | '.join(markdown(cell) for cell in cells)} |"


def plain(one: Written) -> dict[str, Any]:
    """Return an entry for programs, as one flat object."""
    return {
        "sequence": one.sequence,
        "previous": one.previous,
        **one.entry.model_dump(mode="json", exclude={"schema_version"}),
    }


def plain_state(state: State) -> dict[str, Any]:
    """Return what each environment runs, for programs."""
    return {
        name: {
            **environment.model_dump(mode="json", exclude={"pending"}),
            "pending": plain(environment.pending) if environment.pending else None,
        }
        for name, environment in sorted(state.environments.items())
    }


def digest_of(ledger: Ledger, wanted: str) -> str:
    """Return the digest, or its beginning, of a file, of what is live somewhere, or as given.

    Raises ConfigError when it is none of these.
    """
    path = Path(wanted)
    if path.is_file():
        return file_sha256(path)
    live_there = ledger.state().environment(wanted).live
    if live_there is not None:
        return live_there.removeprefix("sha256:")
    digest = wanted.removeprefix("sha256:").lower()
    if not BEGUN_DIGEST.fullmatch(digest):
        raise ConfigError(
            f"{wanted!r} is no file, no environment in the ledger and no digest",
            place="why",
            remedy="Name one of them; at least 7 characters of a digest",
        )
    return digest


def _digests(one: Written) -> Iterator[str]:
    entry = one.entry
    yield entry.to.removeprefix("sha256:")
    yield from entry.subjects.values()
    yield from entry.evidence.values()


def _live(environment: Environment) -> str:
    if environment.live is None:
        return "nothing is live"
    since = f" since {_when(environment.since)}" if environment.since else ""
    return f"{environment.live}{since}, by {environment.by}"


def _short(digest: str | None) -> str:
    return digest[:SHOWN] if digest else "nothing"


def _when(moment: str) -> str:
    return moment.replace("T", " ").removesuffix("Z") + " UTC"

"""Long histories for tests: whole ledgers and their branches, made in one go."""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ci_mlops.evidence import text_sha256
from ci_mlops.release.entry import Entry, Kind, State, Written, follow, moment
from ci_mlops.release.ledger import BRANCH
from tests.conftest import clean_environ

BEGAN = datetime(2026, 1, 5, 9, tzinfo=UTC)
STAGES = ("behaviour", "data", "explain", "latency", "model", "policy", "run", "serving")


def entry(kind: Kind, number: int, when: datetime, *, to: int, **more: str) -> Entry:
    """Return an entry as large as those that a promotion writes."""
    return Entry(
        kind=kind,
        id=more.get("id", f"run-{number}-production"),
        environment=more.get("environment", "production"),
        to=f"sha256:{text_sha256(f'version {to}')}",
        who="ann via push",
        when=moment(when),
        reason=more.get("reason", f"Merge pull request #{number}"),
        run=f"https://github.com/acme/loans/actions/runs/{number}",
        commit=more.get("commit", text_sha256(f"commit {to}")[:40]),
        evidence={name: text_sha256(f"{name} {number}") for name in STAGES},
        subjects={name: text_sha256(f"{name} {to}") for name in ("code", "data.test", "model")},
    )


def promotions(count: int, *, every: timedelta, undone_every: int = 20) -> list[Entry]:
    """Return entries of promotions in a row; some do not hold, some are rolled back later."""
    entries: list[Entry] = []
    live = 0
    for number in range(1, count // 2 + 1):
        when = BEGAN + number * every
        end = when + timedelta(minutes=2)
        if live and number % undone_every == 0:  # does not hold in place
            entries.append(entry("intent", number, when, to=number))
            entries.append(entry("rolled_back", number, end, to=live, reason="1 of 500 wrong"))
        elif live > 1 and number % undone_every == 1:  # somebody takes it back
            entries.append(entry("intent", number, when, to=live - 1, reason="complaints"))
            entries.append(entry("rolled_back", number, end, to=live - 1, reason="complaints"))
            live -= 1
        else:
            entries.append(entry("intent", number, when, to=number))
            entries.append(entry("promoted", number, end, to=number))
            live = number
    return entries


def written(entries: Sequence[Entry]) -> tuple[State, list[Written]]:
    """Return the state after some entries, and each as the ledger numbers it."""
    state, found = State(), list[Written]()
    for one in entries:
        state, added = follow(state, one)
        found.append(added)
    return state, found


def fill(remote: Path, entries: Sequence[Entry]) -> None:
    """Write a ledger into a repository at once; only its last commit holds the state."""
    state, found = written(entries)
    stream = []
    for number, one in enumerate(found):
        subject = f"{one.sequence} {one.entry.environment} {one.entry.kind}"
        message = f"{subject}\n\n{one.model_dump_json(indent=1)}\n".encode()
        stream.append(f"commit refs/heads/{BRANCH}\n".encode())
        stream.append(b"committer ci-mlops <ci-mlops@users.noreply.github.com> 1767603600 +0000\n")
        stream.append(b"data %d\n%s\n" % (len(message), message))
        if number == len(found) - 1:
            text = state.model_dump_json(indent=1).encode()
            stream.append(b"M 100644 inline state.json\ndata %d\n%s\n" % (len(text), text))
    subprocess.run(
        ["git", "fast-import", "--quiet"],
        cwd=remote,
        env=clean_environ(),
        input=b"".join(stream),
        check=True,
        capture_output=True,
    )

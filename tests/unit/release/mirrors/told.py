"""Ledgers of a few entries, as mirrors are given them."""

from collections.abc import Sequence
from typing import Any

from ci_mlops.release.entry import Entry, Kind, State, Written, follow
from ci_mlops.release.mirrors.mirror import History, history

ONE, TWO, THREE = (f"sha256:{number * 64}" for number in "123")
COMMITS = {ONE: "a" * 40, TWO: "b" * 40, THREE: "c" * 40}


def entry(kind: Kind, name: str, to: str, **changes: str) -> Entry:
    values: dict[str, Any] = {
        "environment": "production",
        "who": "ann",
        "when": "2026-11-24T06:00:00Z",
        "reason": "",
        "run": f"https://github.com/acme/loans/actions/runs/{name[-1]}",
        "commit": COMMITS[to],
        **changes,
    }
    return Entry(kind=kind, id=name, to=to, subjects={"model": to[7:8] * 64}, **values)


def ended(name: str, to: str, kind: Kind, *, live: str = "", **changes: str) -> list[Entry]:
    """Return an intent and its end; `live` is what is live afterwards, where that is another."""
    end = entry(kind, name, live or to, **{**changes, "commit": COMMITS[to]})
    return [entry("intent", name, to, **changes), end]


def written(*entries: Sequence[Entry]) -> list[Written]:
    """Return entries as the ledger gives them, the newest first."""
    state, found = State(), list[Written]()
    for one in (one for each in entries for one in each):
        state, added = follow(state, one)
        found.append(added)
    return found[::-1]


def told(*entries: Sequence[Entry]) -> History:
    return history(written(*entries), "production")


PROMOTED = ended("run-1", ONE, "promoted")
PROMOTED_TWO = ended("run-2", TWO, "promoted")
DID_NOT_HOLD = ended("run-3", THREE, "rolled_back", live=TWO, reason="3 of 200 answers are wrong")
ROLLED_BACK = ended("run-4", ONE, "rolled_back", reason="a complaint")
BLOCKED = ended("run-5", THREE, "blocked", reason="the verdict is failed")
SUPERSEDED = ended("run-6", ONE, "superseded", reason="bbbbbbb is live, which comes after")
PENDING = [entry("intent", "run-7", THREE)]

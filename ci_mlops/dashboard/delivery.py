"""How often, how fast and how well an environment is released to, from the ledger alone.

The four figures are DORA's, https://dora.dev/guides/dora-metrics/, as far as a ledger of releases
can know them:

- **Deployment frequency**: releases that became live, per week.
- **Lead time for changes**: from the moment that a commit was made to the moment that it was first
  live; the median over releases whose commit is in this repository. Of a squash or merge, that is
  the moment of the merge.
- **Change failure rate**: of all releases that were started and not refused, the share that did not
  last: those that did not hold when they were verified in place, which the release takes back by
  itself, and those that somebody or a monitor rolled back later. A fault that the next release
  mended without a rollback is in no ledger, so the true rate may be higher.
- **Time to restore**: from the moment that such a release was live (or, where it did not hold, was
  begun) to the moment that the version before was live again; the median.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Literal

from ci_mlops.release.entry import Entry, Written, time_of

WEEK_S = 7 * 86_400
What = Literal["promoted", "rolled back", "did not hold", "superseded", "blocked"]
WHATS: tuple[What, ...] = ("promoted", "rolled back", "did not hold", "superseded", "blocked")


@dataclass(frozen=True, kw_only=True)
class Event:
    """A promotion or rollback that has ended."""

    what: What
    end: Written
    begun: datetime
    ended: datetime

    @property
    def entry(self) -> Entry:
        """The entry that ended it."""
        return self.end.entry

    @property
    def moved(self) -> bool:
        """Whether something else is live since."""
        return self.what in {"promoted", "rolled back"} and self.entry.to != self.end.previous


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """DORA's four figures over a time; a figure that nothing is known of is None."""

    weeks: float
    deployments: int
    lead_time_s: float | None
    lead_times: int
    """How many releases the lead time rests on."""
    started: int
    """Releases that were started: those that became live, and those that did not hold."""
    not_held: int
    rolled_back: int
    restore_s: float | None

    @property
    def per_week(self) -> float | None:
        """Deployments per week."""
        return self.deployments / self.weeks if self.weeks else None

    @property
    def failure_rate(self) -> float | None:
        """Share of started releases that did not last."""
        return (self.not_held + self.rolled_back) / self.started if self.started else None


def events(entries: Iterable[Written]) -> dict[str, list[Event]]:
    """Return what has ended in each environment, the oldest first; so must the entries be."""
    intents: dict[str, Entry] = {}
    found: dict[str, list[Event]] = {}
    for one in entries:
        entry = one.entry
        if entry.kind == "intent":
            intents[entry.id] = entry
            continue
        intent = intents.pop(entry.id, entry)
        event = Event(
            what=_what(intent, entry),
            end=one,
            begun=time_of(intent.when),
            ended=time_of(entry.when),
        )
        found.setdefault(entry.environment, []).append(event)
    return found


def delivery(
    events: Sequence[Event], *, since: datetime, now: datetime, committed: Mapping[str, datetime]
) -> Delivery:
    """Measure what was released between two moments; `committed` says when commits were made."""
    lead_times, restores = list[float](), list[float]()
    seen: set[str] = set()
    standing: dict[str, Event] = {}
    live_since = since
    deployments = not_held = rolled_back = 0
    for event in events:
        entry, counts = event.entry, event.begun >= since
        if event.what == "promoted" and event.moved:
            deployments += counts
            standing[entry.to] = event
            if entry.commit not in seen and entry.commit in committed and counts:
                lead = (event.ended - committed[entry.commit]).total_seconds()
                lead_times.append(max(0.0, lead))
            seen.add(entry.commit)
        elif event.what == "did not hold" and counts:
            not_held += 1
            restores.append((event.ended - event.begun).total_seconds())
        elif event.what == "rolled back":
            undone = standing.pop(event.end.previous or "", None)
            if undone is not None and undone.begun >= since:
                rolled_back += 1
                restores.append((event.ended - live_since).total_seconds())
        if event.moved:
            live_since = event.ended
    return Delivery(
        weeks=(now - since).total_seconds() / WEEK_S,
        deployments=deployments,
        lead_time_s=median(lead_times) if lead_times else None,
        lead_times=len(lead_times),
        started=deployments + not_held,
        not_held=not_held,
        rolled_back=rolled_back,
        restore_s=median(restores) if restores else None,
    )


def _what(intent: Entry, end: Entry) -> What:
    if end.kind == "rolled_back":
        # A rollback ends with what it meant to make live; a promotion that did not hold, without.
        return "rolled back" if intent.to == end.to else "did not hold"
    ends: Mapping[str, What] = {"superseded": "superseded", "blocked": "blocked"}
    return ends.get(end.kind, "promoted")

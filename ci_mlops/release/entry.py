"""Entries of the ledger, and the one rule of how they may follow each other."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from ci_mlops.errors import OutsideError
from ci_mlops.values import Many, Sha256, Value

MAX_RECENT = 200
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Line = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f]*$")]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Kind = Literal["intent", "promoted", "rolled_back", "superseded", "blocked"]
ENDS: tuple[Kind, ...] = ("promoted", "rolled_back", "superseded", "blocked")
"""Each intent ends in exactly one of them; the first two say what is live then."""

EXIT_CODES: Mapping[Kind, int] = {"promoted": 0, "rolled_back": 5, "superseded": 6, "blocked": 7}
"""Of `promote`. A `rollback` that ended in rolled_back did what was asked, so its code is 0."""


class Entry(Value):
    """One event: somebody means to change what is live in an environment, or it has ended."""

    schema_version: Literal[1] = 1
    kind: Kind
    id: Name
    """The promotion's id, the same for its intent and its end: asking twice does nothing twice."""
    environment: Name
    to: Digest
    """What is to be live, or for an end what is live now."""
    who: Line
    when: Moment
    reason: Line = ""
    run: Line = ""
    """Link of the workflow run, where there is one."""
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40})?$")] = ""
    """The commit of main that was promoted."""
    evidence: Mapping[Name, Sha256] = {}
    """Digest of each record that the verdict rested on, and of `run`, which names them."""
    subjects: Mapping[Name, Sha256] = {}
    """Digests of what was judged: `model`, `data.train`, `code` and the like."""


class Written(Value):
    """An entry as it stands in the ledger."""

    sequence: Annotated[int, Field(ge=1)]
    """Counts entries from 1 without a gap; the intent's is the fencing number of what it starts."""
    entry: Entry
    previous: Digest | None = None
    """What was live in the environment before."""


class Environment(Value):
    """What an environment runs, as far as the ledger knows."""

    live: Digest | None = None
    since: Moment | None = None
    by: Name | None = None
    """Id of the promotion or rollback that made it live."""
    pending: Written | None = None
    """The intent that has not ended yet."""


class State(Value):
    """What follows from all entries; it stands beside the newest one."""

    schema_version: Literal[1] = 1
    sequence: Annotated[int, Field(ge=0)] = 0
    environments: Mapping[Name, Environment] = {}
    recent: Annotated[Many[Written], Field(max_length=MAX_RECENT)] = ()
    """The newest ends, the newest last."""

    def environment(self, name: str) -> Environment:
        """Return an environment; an unknown one runs nothing."""
        return self.environments.get(name, Environment())

    def end_of(self, promotion: str) -> Written | None:
        """Return how a promotion ended, if it did and is not long ago."""
        return next((one for one in reversed(self.recent) if one.entry.id == promotion), None)


def already(state: State, entry: Entry) -> Written | None:
    """Return what stands in the ledger for an entry that was asked for before."""
    ended = state.end_of(entry.id)
    if ended is not None:
        return ended
    pending = state.environment(entry.environment).pending
    if entry.kind == "intent" and pending is not None and pending.entry.id == entry.id:
        return pending
    return None


def follow(state: State, entry: Entry) -> tuple[State, Written]:
    """Return the state after an entry, and the entry with its number.

    Raises OutsideError where it may not follow: an intent while another is pending, an end without
    its intent, a promotion to something else than was intended.
    """
    current = state.environment(entry.environment)
    pending = current.pending
    written = Written(sequence=state.sequence + 1, entry=entry, previous=current.live)
    if entry.kind == "intent":
        if pending is not None:
            raise OutsideError(
                f"{entry.environment}: promotion {pending.entry.id} of {pending.entry.when} by "
                f"{pending.entry.who} has not ended",
                remedy="Wait for it, or resume it with the same command",
            )
        after = current.model_copy(update={"pending": written})
        recent = state.recent
    else:
        _require_intent(entry, pending)
        changed = {"live": entry.to, "since": entry.when, "by": entry.id}
        moves = entry.kind in {"promoted", "rolled_back"}
        after = current.model_copy(update={"pending": None, **(changed if moves else {})})
        recent = (*state.recent, written)[-MAX_RECENT:]
    environments = {**state.environments, entry.environment: after}
    made = State(sequence=written.sequence, environments=environments, recent=recent)
    return made, written


def _require_intent(entry: Entry, pending: Written | None) -> None:
    if pending is None or pending.entry.id != entry.id:
        raise OutsideError(
            f"{entry.environment}: {entry.kind} of {entry.id} has no intent that is pending",
            remedy="Start again: somebody else may have ended it",
        )
    if entry.kind == "promoted" and entry.to != pending.entry.to:
        raise OutsideError(f"{entry.environment}: {entry.id} meant to promote {pending.entry.to}")


def line(text: str) -> str:
    """Return a text as entries hold one: on one line, without control characters, not too long."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:500]


def moment(time: datetime) -> str:
    """Return a time as entries write it, UTC to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(moment: str) -> datetime:
    """Return the time that an entry names."""
    return datetime.fromisoformat(moment)

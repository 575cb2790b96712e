"""What a mirror is given of the ledger, and what it must be able to do with it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ci_mlops.release.entry import Entry, Written


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A promotion or a rollback, as its entries tell it."""

    intent: Entry
    end: Written | None = None
    """None while it has not ended."""
    sequence: int
    """Of the newest of its entries."""

    @property
    def held(self) -> bool:
        """Whether what it was to make live became live."""
        return (
            self.end is not None
            and self.end.entry.kind in {"promoted", "rolled_back"}
            and self.end.entry.to == self.intent.to
        )


@dataclass(frozen=True, kw_only=True)
class History:
    """What the ledger says of one environment."""

    environment: str
    promotions: tuple[Promotion, ...] = ()
    """The oldest first."""

    @property
    def live(self) -> Promotion | None:
        """The promotion that made live what is live; None where nothing is."""
        return next((one for one in reversed(self.promotions) if one.held), None)


@dataclass(frozen=True, kw_only=True)
class Said:
    """A line about a mirror."""

    text: str
    changed: bool = True
    """Whether it tells of a change; otherwise of what was left out, and why."""


class Mirror(Protocol):
    """A copy elsewhere of what the ledger says of an environment."""

    @property
    def name(self) -> str:
        """What it is to people."""

    def sync(self, history: History, *, dry_run: bool) -> Iterator[Said]:
        """Bring it to what the ledger says, and tell each change once it is made.

        Where it says so already nothing is changed. Raises OutsideError where it cannot be.
        """


def history(entries: Iterable[Written], environment: str) -> History:
    """Return what entries, the newest first as the ledger gives them, say of an environment."""
    found: dict[str, Promotion] = {}
    for one in sorted(entries, key=lambda one: one.sequence):
        entry = one.entry
        if entry.environment != environment:
            continue
        if entry.kind == "intent":
            found[entry.id] = Promotion(intent=entry, sequence=one.sequence)
        elif entry.id in found:
            intent = found[entry.id].intent
            found[entry.id] = Promotion(intent=intent, end=one, sequence=one.sequence)
    return History(environment=environment, promotions=tuple(found.values()))

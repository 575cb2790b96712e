"""Where something runs: two slots, one of which answers; every target speaks these words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check

Phase = Literal["before", "back", "after", "drill", "hold"]
Verify = Callable[["Slot", Phase], Sequence[Check]]
"""Looks at what answers at a slot's address: before a switch, before the one that goes back, after
a switch, at the former slot, or for as long as a version is held."""


class Overtaken(OutsideError):  # noqa: N818 - losing a race is no error of anybody's
    """The target has obeyed a later promotion already, so an earlier one must not touch it."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Something that was started: what it is, and where it answers."""

    digest: str
    url: str
    """Its own address, whether traffic goes there or not."""


class Target(Protocol):
    """Runs what a digest names. Each method may be called again after a crash, with one effect.

    `fence` is the number of the ledger's entry that asks. A target remembers the highest it has
    obeyed, and raises Overtaken for a lower one: a promoter that slept too long can do no harm.
    Every method raises OutsideError where the target refuses or cannot be reached.
    """

    def live(self) -> Slot | None:
        """Return what traffic goes to; its `url` is the address that clients use."""

    def start(self, digest: str, fence: int) -> Slot:
        """Start a digest where no traffic goes, unless it runs; what else idles there is ended."""

    def switch(self, digest: str, fence: int) -> Slot:
        """Send all traffic to a digest that was started; return it with the clients' address."""

    def stop(self, digest: str, fence: int) -> None:
        """End a digest, which nobody needs any more; one that does not run is left alone."""

    def own(self, digest: str) -> str:
        """Return the address where a digest answers alone; empty where none is known."""


class Sharing(Target, Protocol):
    """A target that can also send a part of the traffic to one digest, the rest to another.

    While it does, `live` stays what it was, and what has a share of the traffic does not idle. A
    switch to either of the two ends it.
    """

    def share(self, digest: str, percent: int, fence: int) -> int:
        """Send about `percent` percent of the clients' requests to a digest that was started.

        The rest goes to what is live. Return the percentage that the target can do.
        """


def beside(target: Target) -> Slot | None:
    """Return what is live at its own address, without a proxy in front: like beside like."""
    live = target.live()
    return live and Slot(digest=live.digest, url=target.own(live.digest) or live.url)

"""A target that keeps its state in a file, so that it outlives whoever is killed at its door.

Run as a program it promotes or rolls back, and kills itself with -9 at a step when told to.
"""

import copy
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check
from ci_mlops.release.entry import Entry, moment
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.promote import Ended, Release
from ci_mlops.release.target import Overtaken, Phase, Slot

EMPTY: dict[str, Any] = {"live": None, "idle": None, "fence": 0, "done": []}


class FileTarget:
    """Two slots in a JSON file; what it was asked is kept in order."""

    def __init__(self, path: Path, *, refuses: Sequence[str] = ()) -> None:
        self.path = path
        self.refuses = refuses

    def read(self) -> dict[str, Any]:
        if not self.path.exists():
            return copy.deepcopy(EMPTY)
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return found

    def live(self) -> Slot | None:
        digest = self.read()["live"]
        return Slot(digest=digest, url="front") if digest else None

    def start(self, digest: str, fence: int) -> Slot:
        with self._holding("start", digest, fence) as state:
            if digest == state["live"]:
                return Slot(digest=digest, url="front")
            state["idle"] = digest
        return Slot(digest=digest, url="idle")

    def switch(self, digest: str, fence: int) -> Slot:
        with self._holding("switch", digest, fence) as state:
            if digest != state["live"]:
                assert digest == state["idle"], f"{digest} was never started"
                state["live"], state["idle"] = digest, state["live"]
        return Slot(digest=digest, url="front")

    def stop(self, digest: str, fence: int) -> None:
        with self._holding("stop", digest, fence) as state:
            for place in ("live", "idle"):
                if digest == state[place]:
                    state[place] = None

    @contextmanager
    def _holding(self, verb: str, digest: str, fence: int) -> Iterator[dict[str, Any]]:
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.read()
            if fence < state["fence"]:
                raise Overtaken(f"{fence} comes before {state['fence']}")
            if f"{verb} {digest[7]}" in self.refuses:
                raise OutsideError(f"cannot {verb} {digest[7]}")
            state["fence"] = fence
            state["done"].append(f"{verb} {digest[7]}")
            yield state
            made = self.path.with_suffix(f".{os.getpid()}")
            made.write_text(json.dumps(state), encoding="utf-8")
            made.replace(self.path)


def good(slot: Slot, phase: Phase) -> list[Check]:
    """Find nothing wrong."""
    return [Check(name="predictions", outcome="passed", message=f"{phase}: {slot.url} answers")]


def bad_if(digits: str, when: Sequence[Phase] = ("before", "after")) -> Any:
    """Find wrong predictions in what begins with one of the digits."""

    def verify(slot: Slot, phase: Phase) -> list[Check]:
        if slot.digest[7] in digits and phase in when:
            message = f"{phase}: 3 of 32 predictions differ"
            return [Check(name="predictions", outcome="failed", message=message)]
        return good(slot, phase)

    return verify


def intent(name: str, digit: str, *, when: str = "", commit: str = "") -> Entry:
    return Entry(
        kind="intent",
        id=name,
        environment="production",
        to=f"sha256:{digit * 64}",
        who="ann",
        when=when or moment(datetime.now(UTC)),
        reason="merged",
        commit=commit * 40,
    )


def main(verb: str, folder: str, name: str, digit: str, kill_at: str = "") -> Ended:
    """Promote or roll back, and die before a step."""

    def told(step: str) -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with ledger_at(f"{folder}/remote.git", Commands(environ=dict(os.environ))) as ledger:
        release = Release(
            ledger=ledger,
            target=FileTarget(Path(folder) / "target.json"),
            verify=good,
            holds=True,
            told=told,
        )
        if verb == "promote":
            return release.promote(intent(name, digit), is_older=lambda _: False)
        return release.roll_back(intent(name, digit))


if __name__ == "__main__":
    main(*sys.argv[1:])

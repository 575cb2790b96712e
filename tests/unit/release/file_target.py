"""A target that keeps its state in a file, so that it outlives whoever is killed at its door.

Run as a program it promotes or rolls back, and kills itself with -9 at a step when told to.
"""

import copy
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check
from ci_mlops.release.canary import Canary
from ci_mlops.release.entry import Entry, moment
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.promote import Ended, Release
from ci_mlops.release.settings import DockerTargetSettings
from ci_mlops.release.target import Overtaken, Phase, Slot
from ci_mlops.serving.bundle import Recorded

EMPTY: dict[str, Any] = {"live": None, "idle": None, "share": 0, "fence": 0, "done": []}
IN_STEPS = DockerTargetSettings(target="docker", port=80, canary_percent=(10, 50, 100))


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
            state["share"] = 0
            if digest != state["live"]:
                assert digest == state["idle"], f"{digest} was never started"
                state["live"], state["idle"] = digest, state["live"]
        return Slot(digest=digest, url="front")

    def share(self, digest: str, percent: int, fence: int) -> int:
        with self._holding("share", digest, fence) as state:
            assert digest == state["idle"], f"{digest} was never started"
            state["share"] = percent
        return percent

    def own(self, digest: str) -> str:
        return "own" if digest in self.read().values() else ""

    def stop(self, digest: str, fence: int) -> None:
        with self._holding("stop", digest, fence) as state:
            assert not state["share"], f"{digest} has a share of the traffic"
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


def passing(percent: int) -> list[Check]:
    """See nothing wrong in a step of a canary."""
    return [Check(name="requests", outcome="passed", message=f"{percent} %")]


@dataclass(frozen=True, kw_only=True)
class Watched(Canary):
    """A canary that gives shares, and sees what it is told to."""

    sees: Callable[[int], list[Check]]

    def step(self, slot: Slot, former: str, percent: int, fence: int) -> list[Check]:
        live = self.target.live()
        assert live is not None
        assert live.digest == former
        assert self.target.share(slot.digest, percent, fence) == percent
        return self.sees(percent)


def unrecorded(_: str) -> Recorded:
    raise OutsideError("nothing was recorded")


def watched(target: FileTarget, sees: Callable[[int], list[Check]] = passing) -> Watched:
    """Return a canary of 10, 50 and 100 % for a target."""
    return Watched(target=target, rules=IN_STEPS, model="m", recorded=unrecorded, sees=sees)


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
        target = FileTarget(Path(folder) / "target.json")
        in_steps = watched(target) if verb == "promote in steps" else None
        release = Release(
            ledger=ledger, target=target, verify=good, told=told, canary=in_steps, holds=True
        )
        if verb.startswith("promote"):
            return release.promote(intent(name, digit), is_older=lambda _: False)
        return release.roll_back(intent(name, digit))


if __name__ == "__main__":
    main(*sys.argv[1:])

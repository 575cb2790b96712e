"""The ledger: an append-only branch of a git remote that says what is live, and what was.

Each entry is a commit on an orphan branch: the event as JSON in its message, the state that follows
in its tree as `state.json`. An entry is pushed only if the branch still stands where its state was
read (compare-and-swap by `--force-with-lease`), so entries of several writers never overwrite each
other; whoever comes late reads again and decides again. Nothing is ever removed: undoing adds one.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import validated
from ci_mlops.release.branch import Branch
from ci_mlops.release.entry import Entry, State, Written, already, follow, moment

BRANCH = "ci-mlops-ledger"


class Moved(OutsideError):  # noqa: N818 - losing a race is no error of anybody's
    """Somebody else wrote about the environment first: what was decided must be decided again."""


@contextlib.contextmanager
def ledger_at(remote: str, commands: Commands) -> Iterator["Ledger"]:
    """Give the ledger at a git remote, a URL or a path, with a throw-away copy of its branch.

    Nothing of an earlier run is there to be half-written, and its newest entry is all that is
    fetched to add one.
    """
    with tempfile.TemporaryDirectory(prefix="ci-mlops-") as folder:
        yield Ledger(remote=remote, folder=Path(folder), commands=commands)


@dataclass(kw_only=True)
class Ledger(Branch):
    """The ledger at a git remote; `folder`, empty at first, holds a bare copy of its branch."""

    branch: ClassVar[str] = BRANCH
    called: ClassVar[str] = "the ledger"

    def state(self) -> State:
        """Return what follows from all entries. Raises OutsideError, EvidenceError."""
        return self._state(self._fetch())

    def append(self, entry: Entry, *, decided_on: State | None = None) -> Written:
        """Add an entry, unless it stands there already; return it as it stands.

        `decided_on` is the state that the wish to write it rests on. Raises Moved where the
        environment is no longer as it was there, and OutsideError where the entry may not follow
        what others have written, or the remote refuses.
        """

        def made(tip: str) -> tuple[Written, str]:
            state = self._state(tip)
            known = already(state, entry)
            if known is not None:
                return known, ""
            if decided_on is not None:
                _require_same(decided_on, state, entry.environment)
            following, written = follow(state, entry)
            return written, self._following(tip, following, written)

        return self._add(made)

    def entries(self) -> Iterator[Written]:
        """Yield every entry, the newest first. Raises EvidenceError where one cannot be read."""
        tip = self._fetch(whole=True)
        if not tip:
            return
        # Into a file: of what a command prints only the end is kept, and a ledger grows for ever.
        file = self.folder / "entries"
        self._git("log", "--format=%H%x00%B%x01", f"--output={file.resolve()}", tip)
        for part in file.read_text(encoding="utf-8", errors="replace").split("\x01"):
            commit, _, message = part.strip("\n").partition("\0")
            if commit:
                _, _, body = message.partition("\n\n")
                yield validated(Written, body.encode(), f"ledger entry {commit[:7]}")

    def live(self, environment: str) -> Written | None:
        """Return the entry by which something is live; None when nothing is.

        Numbers tell which that is: writers' clocks may be wrong, and the last one may be ahead.
        """
        return next(self._moves(environment), None)

    def live_at(self, environment: str, time: datetime) -> Written | None:
        """Return the entry by which something was live at a moment; None when nothing was."""
        wanted = moment(time)
        return next((one for one in self._moves(environment) if one.entry.when <= wanted), None)

    def _moves(self, environment: str) -> Iterator[Written]:
        """Yield the entries that made something live in an environment, the newest first."""
        for one in self.entries():
            entry = one.entry
            if entry.environment == environment and entry.kind in {"promoted", "rolled_back"}:
                yield one

    def _state(self, tip: str) -> State:
        if not tip:
            return State()
        found = self._git("show", f"{tip}:state.json")
        return validated(State, found.output.encode(), f"state.json of {BRANCH}")

    def _following(self, tip: str, state: State, written: Written) -> str:
        blob = self._object("blob", (state.model_dump_json(indent=1) + "\n").encode())
        tree = self._object("tree", b"100644 state.json\0" + bytes.fromhex(blob))
        entry = written.entry
        subject = f"{written.sequence} {entry.environment} {entry.kind} {entry.to[:19]}"
        return self._commit(tree, tip, f"{subject}\n\n{written.model_dump_json(indent=1)}")


def _require_same(decided_on: State, state: State, environment: str) -> None:
    if decided_on.environment(environment) != state.environment(environment):
        raise Moved(f"{environment} has changed in the ledger", remedy="Run it again")

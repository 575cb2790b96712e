"""The ledger: an append-only branch of a git remote that says what is live, and what was.

Each entry is a commit on an orphan branch: the event as JSON in its message, the state that follows
in its tree as `state.json`. An entry is pushed only if the branch still stands where its state was
read (compare-and-swap by `--force-with-lease`), so entries of several writers never overwrite each
other; whoever comes late reads again and decides again. Nothing is ever removed: undoing adds one.
"""

import base64
import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ci_mlops.checkout import Repository
from ci_mlops.command import Commands, Completed
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import validated
from ci_mlops.github import Workflow
from ci_mlops.release.entry import Entry, State, Written, already, follow, moment

BRANCH = "ci-mlops-ledger"
REF = f"refs/heads/{BRANCH}"
TRIES = 60
STALE_LOCK_S = 60.0
"""A lock file in a remote on disk that is older was left by a writer that was killed."""
MOVED = ("stale info", "fetch first", "non-fast-forward", "[rejected]", "cannot lock ref")


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


def remote_of(
    repository: Repository, wanted: str | None, workflow: Workflow
) -> tuple[str, Commands]:
    """Return the remote that holds the ledger, and the door by which git may write to it.

    That is `wanted` (a remote's name, a URL or a path), else `origin`, else the repository itself.
    On a runner the job's token opens GitHub, as actions/checkout does it: by a header in git's
    environment, never in a URL or an argument.
    """
    found = repository.remote_url(wanted or "origin")
    remote = found or wanted or str(repository.top)
    if (repository.top / remote).exists():
        remote = str((repository.top / remote).resolve())
    commands = repository.commands
    if workflow.token and remote.startswith(f"{workflow.server_url}/"):
        secret = base64.b64encode(f"x-access-token:{workflow.token}".encode()).decode()
        commands = commands.adding(
            {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{workflow.server_url}/.extraheader",
                "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {secret}",
            }
        )
    return remote, commands


@dataclass(kw_only=True)
class Ledger:
    """The ledger at a git remote; `folder`, empty at first, holds a bare copy of its branch."""

    remote: str
    folder: Path
    commands: Commands
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    _random: random.Random = field(default_factory=random.Random)

    def state(self) -> State:
        """Return what follows from all entries. Raises OutsideError, EvidenceError."""
        return self._state(self._fetch())

    def append(self, entry: Entry, *, decided_on: State | None = None) -> Written:
        """Add an entry, unless it stands there already; return it as it stands.

        `decided_on` is the state that the wish to write it rests on. Raises Moved where the
        environment is no longer as it was there, and OutsideError where the entry may not follow
        what others have written, or the remote refuses.
        """
        for attempt in range(TRIES):
            tip = self._fetch()
            state = self._state(tip)
            known = already(state, entry)
            if known is not None:
                return known
            if decided_on is not None:
                _require_same(decided_on, state, entry.environment)
            following, written = follow(state, entry)
            commit = self._commit(tip, following, written)
            pushed = self._push(commit, tip)
            if pushed is None:
                return written
            if not any(word in pushed for word in MOVED):
                raise OutsideError(f"the ledger at {self.remote} cannot be written: {pushed}")
            self._break_stale_lock()
            self.sleep(self._random.uniform(0, min(2.0, 0.05 * 1.3**attempt)))
        raise OutsideError(
            f"the ledger at {self.remote} moved {TRIES} times while an entry was written",
            remedy="Run it again: nothing was written",
        )

    def entries(self) -> Iterator[Written]:
        """Yield every entry, the newest first. Raises EvidenceError where one cannot be read."""
        tip = self._fetch(whole=True)
        if not tip:
            return
        text = self._git("log", "--format=%H%x00%B%x01", tip).output
        for part in text.split("\x01"):
            commit, _, message = part.strip("\n").partition("\0")
            if commit:
                _, _, body = message.partition("\n\n")
                yield validated(Written, body.encode(), f"ledger entry {commit[:7]}")

    def live_at(self, environment: str, time: datetime) -> Written | None:
        """Return the entry by which something was live at a moment; None when nothing was."""
        wanted = moment(time)
        for one in self.entries():
            moved = one.entry.kind in {"promoted", "rolled_back"}
            if moved and one.entry.environment == environment and one.entry.when <= wanted:
                return one
        return None

    def _state(self, tip: str) -> State:
        if not tip:
            return State()
        found = self._git("show", f"{tip}:state.json")
        return validated(State, found.output.encode(), f"state.json of {BRANCH}")

    def _fetch(self, *, whole: bool = False) -> str:
        """Return the commit that the remote's branch points to; empty where there is none."""
        if not (self.folder / "HEAD").is_file():
            self._git("init", "--quiet", "--bare", ".")
        listed = self._git("ls-remote", self.remote, REF, check=False)
        if listed.code:
            raise OutsideError(
                f"the ledger at {self.remote} cannot be reached: {listed.last_line()}",
                remedy="Check the remote and the right to read it",
            )
        if not listed.output.strip():
            return ""
        shallow = (self.folder / "shallow").is_file()
        how = ["--depth=1"] if not whole else ["--unshallow"] if shallow else []
        self._git("fetch", "--quiet", "--no-tags", *how, self.remote, f"+{REF}:{REF}")
        return self._git("rev-parse", REF).output.strip()

    def _commit(self, tip: str, state: State, written: Written) -> str:
        blob = self._object("blob", (state.model_dump_json(indent=1) + "\n").encode())
        tree = self._object("tree", b"100644 state.json\0" + bytes.fromhex(blob))
        entry = written.entry
        subject = f"{written.sequence} {entry.environment} {entry.kind} {entry.to[:19]}"
        who = f"ci-mlops <ci-mlops@users.noreply.github.com> {int(self.now())} +0000"
        lines = [f"tree {tree}", *([f"parent {tip}"] if tip else [])]
        lines += [f"author {who}", f"committer {who}", "", subject, ""]
        lines += [written.model_dump_json(indent=1), ""]
        return self._object("commit", "\n".join(lines).encode())

    def _object(self, kind: str, data: bytes) -> str:
        path = self.folder / "new-object"
        path.write_bytes(data)
        return self._git("hash-object", "-w", "-t", kind, str(path.resolve())).output.strip()

    def _push(self, commit: str, tip: str) -> str | None:
        """Push if the branch still points to `tip`; None when it was done, else git's words."""
        lease = f"--force-with-lease={REF}:{tip}"
        done = self._git(
            "push", "--quiet", "--porcelain", lease, self.remote, f"{commit}:{REF}", check=False
        )
        if done.code == 0:
            return None
        return " ".join((done.output + done.errors).split())[:500] or done.last_line()

    def _break_stale_lock(self) -> None:
        """Remove the lock that a killed writer left in a remote on this disk."""
        for lock in (Path(self.remote) / f"{REF}.lock", Path(self.remote) / ".git" / f"{REF}.lock"):
            try:
                age = self.now() - lock.stat().st_mtime
            except OSError:
                continue
            if age > STALE_LOCK_S:
                lock.unlink(missing_ok=True)

    def _git(self, *arguments: str, check: bool = True) -> Completed:
        done = self.commands.run(["git", *arguments], cwd=self.folder, timeout_s=120)
        if check and (done.code or done.timed_out):
            raise OutsideError(f"`git {arguments[0]}` failed in the ledger: {done.last_line()}")
        return done


def _require_same(decided_on: State, state: State, environment: str) -> None:
    if decided_on.environment(environment) != state.environment(environment):
        raise Moved(f"{environment} has changed in the ledger", remedy="Run it again")

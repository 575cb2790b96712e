"""An append-only branch of a git remote: what stands on it is read, and added to, never rewritten.

Each addition is a commit on an orphan branch. It is pushed only if the branch still stands where it
was read (compare-and-swap by `--force-with-lease`), so additions of several writers never overwrite
each other; whoever comes late reads again and decides again. Nothing is ever removed.
"""

import base64
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from ci_mlops.checkout import Repository
from ci_mlops.command import Commands, Completed
from ci_mlops.errors import OutsideError
from ci_mlops.github import Workflow

TRIES = 60
STALE_LOCK_S = 60.0
"""A lock file in a remote on disk that is older was left by a writer that was killed."""
FULL = "No space left on device"
MOVED = ("stale info", "fetch first", "non-fast-forward", "[rejected]", "cannot lock ref")

Added = TypeVar("Added")


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
class Branch:
    """A branch at a git remote; `folder`, empty at first, holds a bare copy of it."""

    branch: ClassVar[str]
    called: ClassVar[str]
    """What it is to people, as in "the ledger cannot be reached"."""
    remote: str
    folder: Path
    commands: Commands
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    _random: random.Random = field(default_factory=random.Random)
    _tip: str = ""
    """The commit of the branch that was fetched last."""

    @property
    def ref(self) -> str:
        """The branch's full name."""
        return f"refs/heads/{self.branch}"

    def _add(self, made: Callable[[str], tuple[Added, str]]) -> Added:
        """Push what `made` makes of the tip, and have it made again where somebody was faster.

        It is given the branch's commit, empty where there is none, and returns what to give back
        with the commit to push, empty where there is nothing to push. Raises OutsideError where
        the remote refuses.
        """
        for attempt in range(TRIES):
            tip = self._fetch()
            added, commit = made(tip)
            pushed = self._push(commit, tip) if commit else None
            if pushed is None:
                self._tip = commit or tip
                return added
            if FULL in pushed or not any(word in pushed for word in MOVED):
                raise OutsideError(f"{self.called} at {self.remote} cannot be written: {pushed}")
            self._break_stale_lock()
            self.sleep(self._random.uniform(0, min(2.0, 0.05 * 1.3**attempt)))
        raise OutsideError(
            f"{self.called} at {self.remote} moved {TRIES} times while an entry was written",
            remedy="Run it again: nothing was written",
        )

    def _fetch(self, *, whole: bool = False) -> str:
        """Return the commit that the remote's branch points to; empty where there is none."""
        if not (self.folder / "HEAD").is_file():
            self._git("init", "--quiet", "--bare", ".")
        listed = self._git("ls-remote", self.remote, self.ref, check=False)
        if listed.code:
            raise OutsideError(
                f"{self.called} at {self.remote} cannot be reached: {listed.last_line()}",
                remedy="Check the remote and the right to read it",
            )
        if not listed.output.strip():
            return ""
        shallow = (self.folder / "shallow").is_file()
        if listed.output.split()[0] == self._tip and not (whole and shallow):
            return self._tip
        how = ["--depth=1"] if not whole else ["--unshallow"] if shallow else []
        self._git("fetch", "--quiet", "--no-tags", *how, self.remote, f"+{self.ref}:{self.ref}")
        self._tip = self._git("rev-parse", self.ref).output.strip()
        return self._tip

    def _commit(self, tree: str, tip: str, message: str) -> str:
        who = f"ci-mlops <ci-mlops@users.noreply.github.com> {int(self.now())} +0000"
        lines = [f"tree {tree}", *([f"parent {tip}"] if tip else [])]
        lines += [f"author {who}", f"committer {who}", "", message, ""]
        return self._object("commit", "\n".join(lines).encode())

    def _object(self, kind: str, data: bytes) -> str:
        path = self.folder / "new-object"
        path.write_bytes(data)
        return self._git("hash-object", "-w", "-t", kind, str(path.resolve())).output.strip()

    def _push(self, commit: str, tip: str) -> str | None:
        """Push if the branch still points to `tip`; None when it was done, else git's words."""
        lease = f"--force-with-lease={self.ref}:{tip}"
        done = self._git(
            "push",
            "--quiet",
            "--porcelain",
            lease,
            self.remote,
            f"{commit}:{self.ref}",
            check=False,
        )
        if done.code == 0:
            return None
        return " ".join((done.output + done.errors).split())[:500] or done.last_line()

    def _break_stale_lock(self) -> None:
        """Remove the lock that a killed writer left in a remote on this disk."""
        for lock in (
            Path(self.remote) / f"{self.ref}.lock",
            Path(self.remote) / ".git" / f"{self.ref}.lock",
        ):
            try:
                age = self.now() - lock.stat().st_mtime
            except OSError:
                continue
            if age > STALE_LOCK_S:
                lock.unlink(missing_ok=True)

    def _git(
        self, *arguments: str, check: bool = True, env: Mapping[str, str] | None = None
    ) -> Completed:
        done = self.commands.run(["git", *arguments], cwd=self.folder, env=env, timeout_s=120)
        if check and (done.code or done.timed_out):
            raise OutsideError(f"`git {arguments[0]}` failed in {self.called}: {done.last_line()}")
        return done

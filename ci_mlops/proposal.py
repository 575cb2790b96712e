"""A branch with a commit of ours and the one pull request of it, made anew when it is asked for.

Nobody's tree, branch or index changes. A branch to which others have committed is theirs.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ci_mlops.command import Commands, Completed
from ci_mlops.errors import OutsideError
from ci_mlops.github.api import LostError
from ci_mlops.github.issue import as_stored
from ci_mlops.github.repository import PullRequest, Repository

EMAIL = "ci-mlops@users.noreply.github.com"
IDENTITY: Mapping[str, str] = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "ci-mlops"), ("EMAIL", EMAIL))
}
MAX_TRIES = 3
GIT_TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A git remote, seen through a repository in `folder` that holds what is fetched of it."""

    address: str
    """A URL, or a path."""
    folder: Path
    commands: Commands
    whole: bool = True
    """Whether history is fetched, and not the newest commit alone."""

    def default(self) -> tuple[str, str]:
        """Return the name and the commit of the default branch. Raises OutsideError."""
        told = self.git("ls-remote", "--symref", self.address, "HEAD").output
        line = next((one for one in told.splitlines() if one.startswith("ref: refs/heads/")), "")
        name = line.removeprefix("ref: refs/heads/").partition("\t")[0]
        if not name:
            raise OutsideError("has no default branch with a commit", place=self.address)
        return name, self._fetched(name)

    def tip(self, branch: str) -> str:
        """Return the commit of a branch; empty where there is none. Raises OutsideError."""
        listed = self.git("ls-remote", self.address, f"refs/heads/{branch}").output
        return self._fetched(branch) if listed.strip() else ""

    def about(self, commit: str, what: str) -> str:
        """Return what git says of a commit, by a format such as `%ae` or `%ct`."""
        return self.git("show", "--no-patch", f"--format={what}", commit).output.strip()

    def content(self, commit: str, file: str) -> bytes | None:
        """Return a file's bytes at a commit, as they are stored; None where it is not there."""
        blob = self.git("rev-parse", "--verify", "--quiet", f"{commit}:{file}", check=False)
        if blob.code:
            return None
        name = self.git("unpack-file", blob.output.strip()).output.strip()
        unpacked = self.folder / name
        data = unpacked.read_bytes()
        unpacked.unlink()
        return data

    def commit(self, parent: str, file: str, data: bytes, *, message: str) -> str:
        """Return a commit on `parent` that changes one file; in a `copied` repository alone."""
        path = self.folder / "new-content"
        path.write_bytes(data)
        blob = self.git("hash-object", "-w", "--no-filters", str(path)).output.strip()
        self.git("read-tree", parent)
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{file}")
        tree = self.git("write-tree").output.strip()
        return self.git("commit-tree", tree, "-p", parent, "-m", message).output.strip()

    def push(self, commit: str, branch: str, tip: str) -> None:
        """Push a commit to a branch that still points to `tip`. Raises OutsideError."""
        ref = f"refs/heads/{branch}"
        lease = f"--force-with-lease={ref}:{tip}"
        self.git("push", "--quiet", "--no-verify", lease, self.address, f"{commit}:{ref}")

    def require_ours(self, branch: str, tip: str) -> None:
        """Refuse a branch to which others have committed. Raises OutsideError."""
        if tip and self.about(tip, "%ae") != EMAIL:
            raise OutsideError(
                f"others have committed to {branch}",
                place=self.address,
                remedy="Merge or delete the branch",
            )

    def git(self, *arguments: str, check: bool = True) -> Completed:
        """Run git in the folder. Raises OutsideError where it fails."""
        done = self.commands.run(
            ["git", *arguments], cwd=self.folder, env=IDENTITY, timeout_s=GIT_TIMEOUT_S
        )
        if check and (done.code or done.timed_out):
            raise OutsideError(
                f"`git {arguments[0]}` failed: {done.last_line()}", place=self.address
            )
        return done

    def _fetched(self, branch: str) -> str:
        depth = () if self.whole else ("--depth=1",)
        self.git("fetch", "--quiet", "--no-tags", *depth, self.address, f"refs/heads/{branch}")
        return self.git("rev-parse", "FETCH_HEAD").output.strip()


@contextmanager
def copied(address: str, commands: Commands) -> Iterator[Remote]:
    """Yield a remote seen through an empty bare repository, which goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="ci-mlops-") as folder:
        remote = Remote(address=address, folder=Path(folder), commands=commands, whole=False)
        remote.git("init", "--quiet", "--bare", ".")
        yield remote


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The pull request as it stands, and what was done to it."""

    request: PullRequest
    done: Literal["opened", "brought up to date", "unchanged"]


def keep(repository: Repository, *, branch: str, onto: str, title: str, body: str) -> Kept:
    """Open the pull request of a branch, or say something else in the open one.

    A creation whose answer was lost may have happened: look again first. Raises OutsideError.
    """
    owner = repository.name.partition("/")[0]
    lost: LostError | None = None
    for _ in range(MAX_TRIES):
        there = repository.pull_requests(owner, branch)
        if there and as_stored(there[0].body) == as_stored(body):
            return Kept(request=there[0], done="unchanged")
        if there:
            changed = repository.update_pull_request(there[0].number, body=body)
            return Kept(request=changed, done="brought up to date")
        try:
            made = repository.create_pull_request(head=branch, base=onto, title=title, body=body)
        except LostError as fault:
            lost = fault
            repository.wait_for_lost("the pull request")
            continue
        return Kept(request=made, done="opened")
    raise OutsideError(f"the pull request could not be opened: {lost}")

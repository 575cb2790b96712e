"""The pull request that takes back on the main branch what a rollback took back in production.

It undoes one commit, the merge whose release did not hold, as GitHub's own button would.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ci_mlops import proposal
from ci_mlops.checkout import Repository
from ci_mlops.github.repository import Repository as GitHub
from ci_mlops.proposal import Remote
from ci_mlops.report import escape

BRANCH = "ci-mlops/revert-{}-{}"
SKIP_LFS = {"GIT_LFS_SKIP_SMUDGE": "1"}
"""A revert moves pointers; what they point to is not needed."""
BODY = """\
The release of {commit} was undone in {environment}: {reason}

This takes that commit back on {onto}, so that the next release does not bring it again. Close it if
the fault is mended otherwise.
"""


@dataclass(frozen=True, kw_only=True)
class Reverted:
    """What came of it."""

    url: str = ""
    """Of the pull request; empty where there is none."""
    why_not: str = ""


def propose(
    repository: Repository,
    remote: Remote,
    github: GitHub,
    *,
    commit: str,
    environment: str,
    reason: str,
) -> Reverted:
    """Open the pull request that undoes `commit`, once; one that was closed stays closed.

    `remote` is seen through `repository`. Raises OutsideError where git or GitHub refuses.
    """
    branch = BRANCH.format(commit[:7], environment)
    owner = github.name.partition("/")[0]
    former = github.pull_requests(owner, branch, state="all")
    if former:
        return Reverted(url=former[0].html_url)
    onto, base = remote.default()
    if not repository.is_ancestor(commit, base):
        return Reverted(why_not=f"{commit[:7]} is not on {onto}")
    title = f"Revert {commit[:7]}, which did not hold in {environment}"
    tip = remote.tip(branch)
    remote.require_ours(branch, tip)
    if not tip:
        with _checked_out(remote, base) as checkout:
            why_not = _revert(checkout, commit, title)
            if why_not:
                return Reverted(why_not=why_not)
            checkout.push("HEAD", branch, tip)
    body = BODY.format(
        commit=escape.code(commit[:7]),
        environment=escape.code(environment),
        reason=escape.markdown(reason),
        onto=escape.code(onto),
    )
    kept = proposal.keep(github, branch=branch, onto=onto, title=title, body=body)
    return Reverted(url=kept.request.html_url)


def _revert(checkout: Remote, commit: str, title: str) -> str:
    """Commit the opposite of a commit; return why that cannot be done, if it cannot."""
    parents = checkout.about(commit, "%P").split()
    if not parents:
        return f"{commit[:7]} is the first commit"
    mainline = ("--mainline", "1") if len(parents) > 1 else ()
    done = checkout.git("revert", "--no-commit", *mainline, commit, check=False)
    if done.code:
        return f"{commit[:7]} cannot be reverted without conflicts"
    if not checkout.git("diff", "--cached", "--name-only").output.strip():
        return f"{commit[:7]} is undone there already"
    message = f"{title}\n\nThis reverts commit {commit}."
    checkout.git("commit", "--quiet", "--no-verify", "--no-gpg-sign", f"--message={message}")
    return ""


@contextmanager
def _checked_out(remote: Remote, commit: str) -> Iterator[Remote]:
    """Yield the remote seen through a worktree of a commit, which goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="ci-mlops-") as folder:
        place = Path(folder) / "revert"
        commands = remote.commands.adding(SKIP_LFS)
        add = ("worktree", "add", "--quiet", "--detach", "--force", str(place), commit)
        Remote(address=remote.address, folder=remote.folder, commands=commands).git(*add)
        try:
            yield Remote(address=remote.address, folder=place, commands=commands)
        finally:
            remote.git("worktree", "remove", "--force", str(place), check=False)

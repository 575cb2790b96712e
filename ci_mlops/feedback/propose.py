"""A correction as a pull request: one branch and one request for each issue, made anew when asked.

What the request says is written here; no word of the issue is part of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ci_mlops import proposal
from ci_mlops.command import Commands
from ci_mlops.feedback.file import Added
from ci_mlops.github.repository import Repository
from ci_mlops.report import escape

BRANCH = "ci-mlops/feedback-{}"
TITLE = "Hold later models to the correction of issue #{}"
BODY = """\
Closes #{issue}.

This adds one row to {file}: what the model should have answered, as issue #{issue} says, which is
credited for it.

- [ ] the answer is right
- [ ] the row names nobody, and nobody can be recognised in it

From the merge on, stage `behaviour` holds every model to it.
"""

Change = Callable[[bytes | None], Added]
"""Return the file with the correction; None where there is no file yet."""


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """A branch with a correction."""

    branch: str
    onto: str
    """The branch that it is to be merged into: the remote's default."""
    added: Added
    said: str


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A pull request with a correction."""

    branch: str
    url: str
    said: tuple[str, ...]


def push(remote: str, commands: Commands, *, issue: int, file: str, change: Change) -> Pushed:
    """Push the correction to its branch, made from the remote's default branch.

    Raises OutsideError where git refuses or others have committed to the branch, and whatever
    `change` raises.
    """
    with proposal.copied(remote, commands) as copy:
        onto, base = copy.default()
        branch = BRANCH.format(issue)
        added = change(copy.content(base, file))
        tip = copy.tip(branch)
        if tip and copy.content(tip, file) == added.data:
            return Pushed(branch=branch, onto=onto, added=added, said="the branch has it already")
        copy.require_ours(branch, tip)
        commit = copy.commit(base, file, added.data, message=TITLE.format(issue))
        copy.push(commit, branch, tip)
        said = "made the branch anew" if tip else "made the branch"
        return Pushed(branch=branch, onto=onto, added=added, said=said)


def propose(pushed: Pushed, repository: Repository, *, issue: int) -> Proposed:
    """Open the pull request of a branch, or bring the one that is open up to date.

    Raises OutsideError when GitHub refuses.
    """
    kept = proposal.keep(
        repository,
        branch=pushed.branch,
        onto=pushed.onto,
        title=TITLE.format(issue),
        body=BODY.format(issue=issue, file=escape.code(pushed.added.file)),
    )
    said = (pushed.said, f"{kept.done} {kept.request.html_url}")
    return Proposed(branch=pushed.branch, url=kept.request.html_url, said=said)

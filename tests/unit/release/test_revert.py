"""The pull request that reverts a release, with a real remote and a fake GitHub."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_mlops.checkout import Repository
from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.proposal import Remote
from ci_mlops.release import revert
from ci_mlops.release.revert import Reverted
from tests.conftest import Repo
from tests.fake_github import FakeGitHub, World, serving
from tests.unit.publish.situations import repository


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    world = World()
    with serving(world) as fake:
        yield fake
    assert world.violations == []


@pytest.fixture
def remote(repo: Repo) -> Path:
    """Return a bare remote of a repository with a first commit and one of a model."""
    repo.commit({"model.txt": "1\n", "note.txt": "1\n"}, "The first")
    repo.commit({"model.txt": "2\n"}, "Another model")
    bare = repo.path.parent / "remote.git"
    repo.git("clone", "-q", "--bare", ".", str(bare))
    return bare


def propose(
    repo: Repo, remote: Path, github: FakeGitHub, commands: Commands, commit: str
) -> Reverted:
    here = Repository.around(repo.path, commands)
    return revert.propose(
        here,
        Remote(address=str(remote), folder=repo.path, commands=commands),
        repository(github),
        commit=commit,
        environment="production",
        reason="@anna: wrong",
    )


def content(repo: Repo, remote: Path, branch: str) -> str:
    repo.git("fetch", "-q", str(remote), branch)
    return repo.git("show", "FETCH_HEAD:model.txt")


def test_it_undoes_one_commit_on_top_of_the_default_branch_once(
    repo: Repo, remote: Path, github: FakeGitHub, commands: Commands
) -> None:
    commit = repo.git("rev-parse", "HEAD")
    repo.commit({"note.txt": "2\n"}, "A note")
    repo.git("push", "-q", str(remote), "main")
    for _ in range(2):
        made = propose(repo, remote, github, commands, commit)
        assert made.url.endswith("/pull/1")
    (pull,) = github.world.pulls
    assert (pull.head_branch, pull.base_branch) == (
        f"ci-mlops/revert-{commit[:7]}-production",
        "main",
    )
    assert "@anna" not in pull.body
    assert content(repo, remote, pull.head_branch) == "1"
    assert repo.git("show", "FETCH_HEAD:note.txt") == "2", "what came later stays"
    assert repo.git("status", "--porcelain") == ""
    assert repo.git("worktree", "list").count("\n") == 0


def test_of_a_merge_the_first_parent_stays(
    repo: Repo, remote: Path, github: FakeGitHub, commands: Commands
) -> None:
    repo.git("checkout", "-q", "-b", "change")
    repo.commit({"model.txt": "3\n"}, "A third model")
    repo.git("checkout", "-q", "main")
    repo.commit({"note.txt": "2\n"}, "A note")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge it", "change")
    repo.git("push", "-q", str(remote), "main")
    propose(repo, remote, github, commands, repo.git("rev-parse", "HEAD"))
    (pull,) = github.world.pulls
    assert content(repo, remote, pull.head_branch) == "2"


def test_what_a_person_closed_stays_closed(
    repo: Repo, remote: Path, github: FakeGitHub, commands: Commands
) -> None:
    commit = repo.git("rev-parse", "HEAD")
    propose(repo, remote, github, commands, commit)
    github.world.pulls[0].state = "closed"
    assert propose(repo, remote, github, commands, commit).url.endswith("/pull/1")
    assert len(github.world.pulls) == 1


def test_why_there_is_none(
    repo: Repo, remote: Path, github: FakeGitHub, commands: Commands
) -> None:
    second = repo.git("rev-parse", "HEAD")
    first = repo.git("rev-parse", "HEAD~1")
    assert propose(repo, remote, github, commands, first).why_not == (
        f"{first[:7]} is the first commit"
    )
    repo.commit({"model.txt": "4\n"}, "A fourth model")
    repo.git("push", "-q", str(remote), "main")
    told = propose(repo, remote, github, commands, second).why_not
    assert told == f"{second[:7]} cannot be reverted without conflicts"
    repo.git("revert", "--no-edit", "HEAD")
    repo.git("revert", "--no-edit", second)
    repo.git("push", "-q", str(remote), "main")
    told = propose(repo, remote, github, commands, second).why_not
    assert told == f"{second[:7]} is undone there already"
    repo.commit({"model.txt": "5\n"}, "Not pushed")
    here = repo.git("rev-parse", "HEAD")
    assert propose(repo, remote, github, commands, here).why_not == f"{here[:7]} is not on main"
    assert github.world.pulls == []


def test_a_branch_of_others_is_left_alone(
    repo: Repo, remote: Path, github: FakeGitHub, commands: Commands
) -> None:
    commit = repo.git("rev-parse", "HEAD")
    branch = f"ci-mlops/revert-{commit[:7]}-production"
    repo.git("push", "-q", str(remote), f"main:refs/heads/{branch}")
    with pytest.raises(OutsideError, match="others have committed to"):
        propose(repo, remote, github, commands, commit)

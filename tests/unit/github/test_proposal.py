"""A branch of ours and its one pull request: kept up to date, never doubled, never over others."""

from pathlib import Path

import pytest

from ci_mlops import proposal
from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.proposal import Kept, Remote
from tests.conftest import Repo
from tests.fake_github import FakeGitHub, Fault, World
from tests.unit.publish.situations import repository

BRANCH = "ci-mlops/feedback-12"


def keep(github: FakeGitHub, body: str = "One row.") -> Kept:
    return proposal.keep(repository(github), branch=BRANCH, onto="main", title="A row", body=body)


def of_branch(world: World) -> list[str]:
    return [one.body for one in world.pulls if one.head_branch == BRANCH]


def test_it_is_opened_once_and_brought_up_to_date(github: FakeGitHub, world: World) -> None:
    assert keep(github).done == "opened"
    assert keep(github).done == "unchanged"
    assert keep(github, "Another row.").done == "brought up to date"
    assert of_branch(world) == ["Another row."]


@pytest.mark.parametrize("kind", ["drop-after", "502-after"])
def test_an_answer_that_was_lost_makes_no_second_one(
    kind: str, github: FakeGitHub, world: World
) -> None:
    world.faults.append(Fault(kind=kind, method="POST", path="/pulls"))  # type: ignore[arg-type]
    assert keep(github).request.number
    assert of_branch(world) == ["One row."]


def test_one_that_was_closed_stays_closed_beside_a_new_one(
    github: FakeGitHub, world: World
) -> None:
    keep(github)
    world.pulls[-1].state = "closed"
    assert keep(github).done == "opened"
    assert len(of_branch(world)) == 2


def test_a_branch_is_pushed_only_where_it_still_stands(repo: Repo, commands: Commands) -> None:
    repo.commit({"a.csv": "x\r\n1\r\n"}, "A start")
    with proposal.copied(str(repo.path), commands) as copy:
        name, base = copy.default()
        assert name == "main"
        assert copy.tip(BRANCH) == ""
        assert copy.content(base, "a.csv") == b"x\r\n1\r\n"
        assert copy.content(base, "b.csv") is None
        first = copy.commit(base, "a.csv", b"x\r\n1\r\n2\r\n", message="A row")
        copy.push(first, BRANCH, "")
        assert copy.tip(BRANCH) == first
        copy.require_ours(BRANCH, first)
        second = copy.commit(base, "a.csv", b"y\n", message="Another")
        with pytest.raises(OutsideError, match="`git push` failed"):
            copy.push(second, BRANCH, "")
        assert copy.tip(BRANCH) == first
        folder = copy.folder
    assert not folder.exists()
    assert repo.git("status", "--porcelain") == ""


def test_a_branch_with_commits_of_others_is_theirs(repo: Repo, commands: Commands) -> None:
    repo.commit({"a.csv": "x\n"}, "A start")
    repo.git("branch", BRANCH)
    with (
        proposal.copied(str(repo.path), commands) as copy,
        pytest.raises(OutsideError, match=f"others have committed to {BRANCH}"),
    ):
        copy.require_ours(BRANCH, copy.tip(BRANCH))


def test_a_remote_without_a_commit_is_named(tmp_path: Path, commands: Commands) -> None:
    remote = Remote(address=str(tmp_path / "empty"), folder=tmp_path, commands=commands)
    remote.git("init", "-q", "--bare", remote.address)
    with pytest.raises(OutsideError, match="has no default branch with a commit"):
        remote.default()

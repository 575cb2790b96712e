"""Pull requests of a commit, proposed and edited; issues by label; as the repository's door says."""

import pytest

from ci_mlops.github.api import RefusedError
from tests.fake_github import FakeGitHub, World
from tests.unit.publish.situations import BASE, HEAD, OTHER, repository

BOT = "github-actions[bot]"


def test_the_merged_pull_request_of_a_commit(github: FakeGitHub) -> None:
    door = repository(github)
    (merged,) = door.pull_requests_of(BASE)
    assert (merged.number, bool(merged.merged_at)) == (6, True)
    (still_open,) = door.pull_requests_of(HEAD)
    assert (still_open.number, still_open.merged_at) == (7, None)
    assert door.pull_requests_of(OTHER) == []


def test_a_commit_that_nobody_knows_has_none(github: FakeGitHub, world: World) -> None:
    world.repository = "acme/other"
    assert repository(github).pull_requests_of("e" * 40) == []


def test_a_branch_is_proposed_and_its_text_edited(github: FakeGitHub, world: World) -> None:
    door = repository(github)
    made = door.create_pull_request(head="ci-mlops/x", base="main", title="Revert", body="why")
    assert (made.number, made.head.ref, made.base.ref, made.body) == (
        8,
        "ci-mlops/x",
        "main",
        "why",
    )
    (found,) = door.pull_requests("acme", "ci-mlops/x")
    assert found.number == made.number
    assert door.update_pull_request(made.number, body="because").body == "because"
    assert world.pulls[-1].body == "because"
    with pytest.raises(RefusedError, match="already exists for acme:ci-mlops/x"):
        door.create_pull_request(head="ci-mlops/x", base="main", title="Revert", body="why")


def test_a_repository_that_lets_no_workflow_propose_says_where(
    github: FakeGitHub, world: World
) -> None:
    world.may_propose = False
    with pytest.raises(RefusedError, match="Tick it in the repository's settings: Actions"):
        repository(github).create_pull_request(head="x", base="main", title="t", body="b")
    world.may_propose, world.scopes["pull-requests"] = True, "read"
    with pytest.raises(RefusedError, match="Add `pull-requests: write`"):
        repository(github).create_pull_request(head="x", base="main", title="t", body="b")


def test_issues_by_author_and_label(github: FakeGitHub, world: World) -> None:
    world.issue("one", "body one", BOT, labels=["drift"])
    world.issue("two", "body two", BOT, labels=["drift", "ci-mlops"], state="closed")
    world.issue("three", "body three", "eve", labels=["drift"])
    door = repository(github)
    assert [one.title for one in door.issues(BOT)] == ["one", "two"]
    (found,) = door.issues(BOT, label="ci-mlops")
    assert (found.title, found.body, found.state, found.login) == ("two", "body two", "closed", BOT)


def test_an_issues_comments_need_the_right_for_issues(github: FakeGitHub, world: World) -> None:
    number = world.issue("one", "body", BOT)["number"]
    door = repository(github)
    door.create_comment(number, "hello")
    assert [one.body for one in door.comments(number)] == ["hello"]
    world.scopes["issues"] = "read"
    with pytest.raises(RefusedError, match="Add `issues: write`"):
        door.create_comment(number, "hello", needs="issues: write")

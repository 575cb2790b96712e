"""What people read on GitHub of a release: once, in its place, whatever GitHub refuses."""

from collections.abc import Iterator
from typing import Any

import pytest

from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check
from ci_mlops.release import telling
from ci_mlops.release.entry import Entry, Kind, Written
from ci_mlops.release.revert import Reverted
from ci_mlops.release.settings import OnRollback
from tests.fake_github import FakeGitHub, Fault, Pull, World, serving
from tests.unit.publish.situations import repository

COMMIT, BASE = "a" * 40, "b" * 40
NEW, OLD = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
SEEN = (Check(name="replay", outcome="failed", message="3 of 200 answers are | wrong."),)


@pytest.fixture
def world() -> World:
    merged = Pull(
        number=6,
        head_sha=BASE,
        base_sha=BASE,
        state="closed",
        merged=True,
        merge_commit_sha=COMMIT,
    )
    return World(pulls=[merged])


@pytest.fixture
def github(world: World) -> Iterator[FakeGitHub]:
    with serving(world) as fake:
        yield fake
    assert world.violations == []


def released(kind: Kind, sequence: int, **changes: Any) -> telling.Release:
    to = NEW if kind == "promoted" else OLD
    entry = Entry(
        kind=kind,
        id=f"run-{sequence}",
        environment="production",
        to=to,
        who="@anna",
        when="2026-11-24T06:00:00Z",
        reason="3 of 200 answers are | wrong.",
        run="https://github.com/acme/loans/actions/runs/8",
        commit=COMMIT,
    )
    written = Written(sequence=sequence, entry=entry, previous=OLD if to == NEW else NEW)
    values: dict[str, Any] = {"checks": SEEN, "commit": COMMIT, **changes}
    return telling.Release(project="loans", written=written, **values)


def tell(github: FakeGitHub, release: telling.Release, **rules: bool) -> list[str]:
    def revert(commit: str, reason: str) -> Reverted:
        assert (commit, reason) == (COMMIT, release.written.entry.reason)
        return Reverted(url="https://github.com/acme/loans/pull/9")

    return list(telling.tell(release, repository(github), rules=OnRollback(**rules), revert=revert))


def test_a_promotion_is_one_comment_on_the_merged_pull_request(
    github: FakeGitHub, world: World
) -> None:
    assert tell(github, released("promoted", 2)) == []
    assert tell(github, released("promoted", 2)) == []
    (said,) = world.own_comments()
    assert said.startswith(
        "<!-- ci-mlops-release:loans:production -->\n### ✅ production: promoted"
    )
    assert "[The run](https://github.com/acme/loans/actions/runs/8)" in said
    assert "@anna" not in said, "nobody is called"
    assert "are &#124; wrong." in said
    assert world.issues == []


def test_a_rollback_is_told_in_the_same_comment_and_in_one_issue(
    github: FakeGitHub, world: World
) -> None:
    tell(github, released("promoted", 2))
    assert tell(github, released("rolled_back", 4)) == []
    assert tell(github, released("rolled_back", 4)) == []
    (said,) = world.own_comments()
    assert "production: rolled back" in said
    assert "- 2026-11-24T06:00:00Z, promoted" in said
    assert "https://github.com/acme/loans/pull/9 reverts it." in said
    (issue,) = world.issues
    assert issue["state"] == "open"
    assert issue["title"] == "loans: a release to production was undone"
    assert "pull/9 reverts it" in issue["body"]
    assert issue["labels"] == ["ci-mlops-rollback"]
    tell(github, released("promoted", 6))
    (issue,) = world.issues
    assert issue["state"] == "closed"


def test_an_issue_that_a_person_closed_is_opened_by_another_rollback_alone(
    github: FakeGitHub, world: World
) -> None:
    tell(github, released("rolled_back", 4))
    world.issues[0]["state"] = "closed"
    tell(github, released("rolled_back", 4))
    assert world.issues[0]["state"] == "closed"
    tell(github, released("rolled_back", 8))
    (issue,) = world.issues
    assert issue["state"] == "open"
    assert "(entry 4)" in issue["body"]


def test_what_came_late_overwrites_nothing(github: FakeGitHub, world: World) -> None:
    tell(github, released("rolled_back", 4))
    before = (world.own_comments(), world.issues[0]["state"])
    tell(github, released("promoted", 2))
    assert (world.own_comments(), world.issues[0]["state"]) == before


def test_each_may_be_turned_off(github: FakeGitHub, world: World) -> None:
    tell(github, released("rolled_back", 4), issue=False, revert_pull_request=False)
    assert world.issues == []
    (said,) = world.own_comments()
    assert "reverts" not in said


def test_a_release_of_no_known_commit_is_told_nobody_but_the_issue(
    github: FakeGitHub, world: World
) -> None:
    assert tell(github, released("rolled_back", 4, commit="")) == []
    assert world.comments == []
    assert len(world.issues) == 1


def test_what_cannot_be_told_is_said_and_the_rest_is_told(github: FakeGitHub, world: World) -> None:
    world.scopes = {"contents": "write", "pull-requests": "write"}

    def refused(commit: str, reason: str) -> Reverted:
        raise OutsideError("the remote refuses")

    found = telling.tell(
        released("rolled_back", 4), repository(github), rules=OnRollback(), revert=refused
    )
    first, second = found
    assert first == f"no pull request reverts {COMMIT[:7]}: the remote refuses"
    assert "the issue about the release could not be kept" in second
    assert "issues: write" in second
    (said,) = world.own_comments()
    assert "No pull request reverts it: the remote refuses" in said


def test_a_comment_that_fails_is_said(github: FakeGitHub, world: World) -> None:
    world.faults = [Fault(kind="502", path="/pulls") for _ in range(20)]
    (line,) = tell(github, released("promoted", 2))
    assert "the comment about the release could not be kept" in line

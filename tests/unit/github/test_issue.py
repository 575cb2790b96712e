"""One issue of a marker: found by author and marker, edited in place, never doubled."""

from typing import Any

import pytest

from ci_mlops.errors import OutsideError
from ci_mlops.github import issue
from ci_mlops.github.api import RefusedError
from ci_mlops.github.issue import Kept
from tests.fake_github import FakeGitHub, Fault, World
from tests.unit.publish.situations import Waits, repository

MARKER = "<!-- ci-mlops-rollback:loans production -->"
BOT = "github-actions[bot]"


def keep(github: FakeGitHub, body: str = "It is down.", **changes: Any) -> Kept:
    return issue.keep(
        repository(github),
        marker=MARKER,
        title="production was rolled back",
        body=body,
        labels=["ci-mlops"],
        **changes,
    )


def test_it_is_opened_once_and_edited_in_place(github: FakeGitHub, world: World) -> None:
    assert keep(github).done == "created"
    (first,) = world.issues
    assert first["body"] == f"{MARKER}\nIt is down."
    assert first["labels"] == ["ci-mlops"]
    edited = keep(github, "It is down again.")
    assert (edited.done, edited.issue.number) == ("edited", first["number"])
    assert [one["body"] for one in world.issues] == [f"{MARKER}\nIt is down again."]


def test_what_says_the_same_already_is_left_alone(github: FakeGitHub, world: World) -> None:
    keep(github)
    world.issues[0]["body"] = world.issues[0]["body"].replace("\n", "\r\n") + "\r\n"
    world.requests.clear()
    assert keep(github).done == "unchanged"
    assert {method for method, _, _ in world.requests} == {"GET"}


def test_one_that_was_closed_is_opened_again(github: FakeGitHub, world: World) -> None:
    keep(github)
    closed = issue.close(repository(github), marker=MARKER, words="It is over: run 8.")
    assert closed is not None
    assert (world.issues[0]["state"], world.issues[0]["state_reason"]) == ("closed", "completed")
    assert [one["body"] for one in world.comments] == ["It is over: run 8."]
    assert keep(github).done == "reopened"
    assert world.issues[0]["state"] == "open"


def test_closing_twice_says_the_words_once(github: FakeGitHub, world: World) -> None:
    keep(github)
    world.faults.append(Fault(kind="drop", method="PATCH"))
    world.faults += [Fault(kind="502", method="PATCH") for _ in range(12)]
    with pytest.raises(OutsideError):
        issue.close(repository(github), marker=MARKER, words="It is over.")
    world.faults.clear()
    assert issue.close(repository(github), marker=MARKER, words="It is over.") is not None
    assert issue.close(repository(github), marker=MARKER, words="It is over.") is None
    assert len(world.comments) == 1


def test_anothers_issue_with_the_marker_is_not_touched(github: FakeGitHub, world: World) -> None:
    world.issue("mine", f"{MARKER}\nplanted", "eve")
    world.issue("about", f"see {MARKER}", BOT)
    assert keep(github).done == "created"
    assert [one["body"] for one in world.issues[:2]] == [f"{MARKER}\nplanted", f"see {MARKER}"]
    assert issue.close(repository(github), marker="<!-- another -->", words="x") is None


def test_one_on_a_late_page_is_found_and_pull_requests_are_no_issues(
    github: FakeGitHub, world: World
) -> None:
    world.page_size = 2
    world.pulls[0].login, world.pulls[0].body = BOT, f"{MARKER}\nproposed"
    wanted = world.issue("old", f"{MARKER}\nold", BOT)
    for number in range(5):
        world.issue(f"later {number}", "something else", BOT)
    kept = keep(github)
    assert (kept.done, kept.issue.number) == ("edited", wanted["number"])
    assert world.pulls[0].body == f"{MARKER}\nproposed"


def test_doubles_of_two_runs_at_once_are_closed(github: FakeGitHub, world: World) -> None:
    for number in range(3):
        world.issue("x", f"{MARKER}\n{number}", BOT)
    world.issues[2]["state"] = "closed"
    keep(github)
    assert [one["state"] for one in world.issues] == ["open", "closed", "closed"]
    assert world.issues[1]["state_reason"] == "not_planned"


@pytest.mark.parametrize("kind", ["drop-after", "502-after", "drop"])
def test_a_lost_answer_does_not_double_it(github: FakeGitHub, world: World, kind: Any) -> None:
    world.faults.append(Fault(kind=kind, method="POST"))
    keep(github)
    assert len(world.issues) == 1


def test_an_answer_that_is_always_lost_ends(github: FakeGitHub, world: World) -> None:
    world.faults += [Fault(kind="drop", method="POST") for _ in range(issue.MAX_TRIES)]
    with pytest.raises(OutsideError, match="could not be created in 10 tries"):
        keep(github)


def test_the_token_of_an_app_keeps_its_own(github: FakeGitHub, world: World) -> None:
    world.login = "our-app[bot]"
    assert keep(github).done == "created"
    assert keep(github, "again").issue.number == world.issues[0]["number"]
    assert [one["state"] for one in world.issues] == ["open", "closed"]
    assert world.issues[0]["body"].endswith("again")


def test_what_is_too_long_is_cut(github: FakeGitHub, world: World) -> None:
    issue.keep(repository(github), marker=MARKER, title="t" * 300, body="x" * 70_000)
    assert len(world.issues[0]["body"]) == issue.MAX_BODY
    assert len(world.issues[0]["title"]) == issue.MAX_TITLE


def test_a_token_that_may_not_is_told_the_line_to_add(github: FakeGitHub, world: World) -> None:
    world.scopes["issues"] = "read"
    with pytest.raises(RefusedError, match="Add `issues: write` to the job's `permissions:`"):
        keep(github)


def test_waiting_for_a_lost_answer_is_bounded(github: FakeGitHub, world: World) -> None:
    waits = Waits()
    world.faults.append(Fault(kind="drop", method="POST"))
    issue.keep(repository(github, waits), marker=MARKER, title="t", body="b")
    assert waits.slept == [10]

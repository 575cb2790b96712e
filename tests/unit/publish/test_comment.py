"""One comment: found by author and marker, edited in place, never doubled, never set back."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci_mlops.errors import OutsideError
from ci_mlops.publish import comment
from ci_mlops.publish.comment import Entry, Posted, State
from tests.fake_github import FakeGitHub, Fault, World
from tests.unit.publish.situations import Waits, entry, repository

MARKER = "<!-- ci-mlops:loans -->"
BOT = "github-actions[bot]"


def put(github: FakeGitHub, latest: Entry, words: str = "report", **changes: Any) -> Posted:
    return comment.put(
        repository(github, **changes),
        7,
        marker=MARKER,
        entry=latest,
        render=lambda limit: f"{MARKER}\n{words}"[:limit],
    )


def test_a_second_verdict_edits_the_comment_and_keeps_the_first_as_a_line(
    github: FakeGitHub, world: World
) -> None:
    first = put(github, entry(1, outcome="failed", changed="model"))
    second = put(github, entry(2), "better")
    assert first.url == second.url
    (body,) = world.own_comments()
    assert body.startswith(f"{MARKER}\nbetter")
    assert "Earlier verdicts (1)" in body
    assert "| ❌ failed | model |" in body


def test_ten_former_verdicts_are_kept(github: FakeGitHub, world: World) -> None:
    for number in range(1, 15):
        put(github, entry(number))
    (body,) = world.own_comments()
    known = comment.state(body)
    assert known is not None
    assert known.latest.run == 14
    assert [one.run for one in known.former] == list(range(13, 3, -1))
    assert "Earlier verdicts (10)" in body


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ((2, 1), (1, 1), False),
        ((2, 1), (1, 9), False),
        ((2, 2), (2, 1), False),
        ((2, 1), (2, 2), True),
        ((2, 1), (2, 1), True),
    ],
)
def test_a_stale_run_never_overwrites_a_newer_one(
    github: FakeGitHub, world: World, old: tuple[int, int], new: tuple[int, int], shown: bool
) -> None:
    put(github, entry(*old), "old")
    posted = put(github, entry(*new), "new")
    (body,) = world.own_comments()
    assert ("\nnew\n" in body) is shown
    assert (posted.newer is None) is shown


def test_somebody_elses_comment_with_the_marker_is_left_alone(
    github: FakeGitHub, world: World
) -> None:
    planted = world.comment(7, f"{MARKER}\nmine", "mallory")
    put(github, entry(1))
    assert planted["body"] == f"{MARKER}\nmine"
    assert len(world.own_comments()) == 1


def test_our_comment_is_found_on_a_later_page(github: FakeGitHub, world: World) -> None:
    world.page_size = 30
    for number in range(70):
        login = "mallory" if number % 2 else BOT
        world.comment(7, f"{MARKER if number % 2 else 'hello'}\n{number}", login)
    put(github, entry(1), "first")
    for number in range(70):
        world.comment(7, f"{MARKER}\n{number}", "mallory")
    put(github, entry(2), "second")
    (body,) = [one for one in world.own_comments() if one.startswith(MARKER)]
    assert "second" in body


def test_a_marker_in_the_text_of_another_projects_comment_is_not_ours(
    github: FakeGitHub, world: World
) -> None:
    other = world.comment(7, f"<!-- ci-mlops:other -->\n{MARKER}\n", BOT)
    put(github, entry(1))
    assert other["body"].startswith("<!-- ci-mlops:other -->")
    assert len(world.own_comments()) == 2


@pytest.mark.parametrize("kind", ["drop-after", "502-after", "slow-after", "drop", "502", "slow"])
def test_a_creation_whose_answer_was_lost_makes_no_double(
    github: FakeGitHub, world: World, kind: Any
) -> None:
    world.faults = [Fault(kind=kind, method="POST", wait_s=0.5) for _ in range(3)]
    put(github, entry(1), timeout_s=0.25)
    assert len(world.own_comments()) == 1


def test_a_creation_that_is_done_late_makes_no_double(github: FakeGitHub, world: World) -> None:
    """GitHub may be at work for ten seconds yet: here they are a hundred times as fast."""
    world.faults = [Fault(kind="drop-late", method="POST", wait_s=0.05)]
    waits = Waits(scale=0.01)
    there = repository(github, waits)
    comment.put(there, 7, marker=MARKER, entry=entry(1), render=lambda _: MARKER)
    assert waits.slept == [10]
    assert len(world.own_comments()) == 1


def test_creating_that_is_always_lost_ends(github: FakeGitHub, world: World) -> None:
    world.faults = [Fault(kind="drop", method="POST") for _ in range(20)]
    with pytest.raises(OutsideError, match="could not be created in 10 tries"):
        put(github, entry(1))


def test_doubles_that_two_runs_at_once_made_become_one(github: FakeGitHub, world: World) -> None:
    for number in (1, 2):
        world.comment(7, comment.body(lambda _: f"{MARKER}\nx", entry(number), ()), BOT)
    put(github, entry(3))
    (body,) = world.own_comments()
    known = comment.state(body)
    assert known is not None
    assert [one.run for one in (known.latest, *known.former)] == [3, 2]


def test_the_token_of_a_person_is_asked_who_it_is(github: FakeGitHub, world: World) -> None:
    world.login, world.is_user = "ann", True
    put(github, entry(1))
    put(github, entry(2))
    assert len(world.own_comments()) == 1


def test_the_token_of_an_app_makes_one_comment_too(github: FakeGitHub, world: World) -> None:
    world.login = "our-app[bot]"
    put(github, entry(1), "first")
    put(github, entry(2), "second")
    (body,) = world.own_comments()
    assert "second" in body


@pytest.mark.parametrize(
    "line",
    [
        "",
        "<!-- ci-mlops-state {} -->",
        '<!-- ci-mlops-state {"version":1,"latest":{"run":NaN}} -->',
        '<!-- ci-mlops-state {"version":1,"version":1} -->',
        f"<!-- ci-mlops-state {{{'[' * 9000}}} -->",
        '<!-- ci-mlops-state {"version":2,"latest":{"run":1,"sha":"'
        + "b" * 40
        + '","outcome":"passed"}} -->',
        '<!-- ci-mlops-state {"version":1,"latest":{"run":1e999,"sha":"'
        + "b" * 40
        + '","outcome":"passed"}} -->',
        '<!-- ci-mlops-state {"version":1,"latest":{"run":1,"sha":"<b>","outcome":"passed"}} -->',
    ],
)
def test_a_hidden_line_that_is_not_ours_is_no_state(
    github: FakeGitHub, world: World, line: str
) -> None:
    assert comment.state(f"{MARKER}\n{line}") is None
    world.comment(7, f"{MARKER}\n{line}", BOT)
    put(github, entry(1), "new")
    assert "new" in world.own_comments()[0]


@given(st.text(max_size=120))
@example("--> @org/team <!--")
@example("--!>")
@example("a & b - c")
def test_the_hidden_line_holds_any_text_and_ends_only_at_its_end(text: str) -> None:
    latest = entry(3, changed=text)
    whole = comment.body(lambda _: MARKER, latest, [latest])
    last = whole.rpartition("\n")[2]
    assert last.index("-->") == len(last) - 3
    assert whole.count("<!--") == 2
    assert comment.state(whole) == State(latest=latest, former=(latest,))


def test_the_longest_report_leaves_room_for_former_verdicts(
    github: FakeGitHub, world: World
) -> None:
    longest = "x" * 70_000
    for number in range(1, 13):
        put(github, entry(number, changed="&" * 120), longest)
    (body,) = world.own_comments()
    assert len(body) == 65_536
    assert comment.state(body) is not None


def test_waits_are_what_the_server_asks(github: FakeGitHub, world: World) -> None:
    waits = Waits()
    world.faults = [
        Fault(kind="secondary", method="POST", wait_s=42),
        Fault(kind="429", method="POST", wait_s=7),
    ]
    comment.put(
        repository(github, waits), 7, marker=MARKER, entry=entry(1), render=lambda _: MARKER
    )
    assert waits.slept == [42, 7]
    assert len(world.own_comments()) == 1

"""What may follow what in the ledger, and what is live then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ci_mlops.errors import OutsideError
from ci_mlops.release.entry import ENDS, Entry, Kind, State, already, follow


def entry(kind: Kind, name: str = "p1", to: str = "a", **more: str) -> Entry:
    values = {"environment": "production", "who": "ann", "when": "2026-11-23T10:00:00Z", **more}
    return Entry(kind=kind, id=name, to=f"sha256:{to * 64}", **values)  # type: ignore[arg-type]


def after(*entries: Entry) -> State:
    state = State()
    for one in entries:
        state, _ = follow(state, one)
    return state


def test_a_promotion_makes_something_live() -> None:
    state = after(entry("intent"), entry("promoted"))
    live = state.environment("production")
    assert (live.live, live.by, live.pending) == (f"sha256:{'a' * 64}", "p1", None)
    assert state.sequence == 2


@pytest.mark.parametrize("kind", ["superseded", "blocked"])
def test_other_ends_leave_what_was_live(kind: Kind) -> None:
    state = after(entry("intent"), entry("promoted"), entry("intent", "p2", "b"))
    ended, written = follow(state, entry(kind, "p2", "b"))
    assert ended.environment("production").live == f"sha256:{'a' * 64}"
    assert ended.environment("production").pending is None
    assert written.previous == f"sha256:{'a' * 64}"


def test_a_rollback_says_what_is_live_again() -> None:
    state = after(entry("intent"), entry("promoted"), entry("intent", "p2", "b"))
    ended, _ = follow(state, entry("rolled_back", "p2", "a"))
    assert ended.environment("production").live == f"sha256:{'a' * 64}"
    assert ended.environment("production").by == "p2"


@pytest.mark.parametrize(
    ("entries", "next_one", "words"),
    [
        ([], entry("promoted"), "has no intent"),
        ([entry("intent")], entry("promoted", "p2"), "has no intent"),
        ([entry("intent")], entry("promoted", to="b"), "meant to promote sha256:aaa"),
        ([entry("intent")], entry("intent", "p2"), "promotion p1 of 2026-11-23T10:00:00Z by ann"),
        ([entry("intent"), entry("blocked")], entry("promoted"), "has no intent"),
    ],
)
def test_what_may_not_follow_is_refused(entries: list[Entry], next_one: Entry, words: str) -> None:
    with pytest.raises(OutsideError, match=words):
        follow(after(*entries), next_one)


def test_environments_do_not_know_each_other() -> None:
    state = after(entry("intent"), entry("intent", "p2", environment="staging"))
    assert set(state.environments) == {"production", "staging"}


@pytest.mark.parametrize("end", ENDS)
def test_asking_twice_finds_what_stands_there(end: Kind) -> None:
    pending = after(entry("intent"))
    assert already(pending, entry("intent")) == pending.environment("production").pending
    assert already(pending, entry(end)) is None
    ended, written = follow(pending, entry(end))
    for again in (entry("intent"), entry(end), entry("promoted")):
        assert already(ended, again) == written
    assert already(ended, entry("intent", "p2")) is None


@given(st.lists(st.tuples(st.sampled_from(["intent", *ENDS]), st.sampled_from(["p1", "p2", "p3"]))))
def test_whatever_is_tried_each_intent_has_one_end_at_most(
    tried: list[tuple[Kind, str]],
) -> None:
    state, stands = State(), []
    for kind, name in tried:
        one = entry(kind, name)
        if already(state, one) is None:
            try:
                state, written = follow(state, one)
            except OutsideError:
                continue
            stands.append(written)
    assert [one.sequence for one in stands] == list(range(1, len(stands) + 1))
    for name in {one.entry.id for one in stands}:
        kinds = [one.entry.kind for one in stands if one.entry.id == name]
        assert kinds[0] == "intent"
        assert len(kinds) <= 2
        assert kinds.count("intent") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "latest"},
        {"when": "yesterday"},
        {"who": "ann\nbob"},
        {"environment": "../x"},
        {"commit": "HEAD"},
        {"evidence": {"data": "abc"}},
        {"colour": "blue"},
    ],
)
def test_an_entry_that_is_not_one_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Entry.model_validate({**entry("intent").model_dump(), **wrong})

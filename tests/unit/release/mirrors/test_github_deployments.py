"""Deployments on GitHub: one for each promotion, whatever GitHub refuses, loses or doubles."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ci_mlops.errors import OutsideError
from ci_mlops.github import repository as github_repository
from ci_mlops.release.entry import Entry
from ci_mlops.release.mirrors.github_deployments import NEWEST, GithubDeployments, wanted
from ci_mlops.release.mirrors.mirror import Said
from tests.fake_github import FakeGitHub, Fault, World, serving
from tests.unit.publish.situations import repository
from tests.unit.release.mirrors.told import (
    BLOCKED,
    COMMITS,
    DID_NOT_HOLD,
    ONE,
    PENDING,
    PROMOTED,
    PROMOTED_TWO,
    ROLLED_BACK,
    SUPERSEDED,
    THREE,
    TWO,
    ended,
    told,
)

EVERYTHING = (PROMOTED, PROMOTED_TWO, DID_NOT_HOLD, ROLLED_BACK, BLOCKED, SUPERSEDED, PENDING)
STATES = {
    "run-1": "inactive",
    "run-2": "inactive",
    "run-3": "failure",
    "run-4": "success",
    "run-5": "failure",
    "run-6": "inactive",
    "run-7": "in_progress",
}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def github(world: World) -> Iterator[FakeGitHub]:
    with serving(world) as fake:
        yield fake
    assert world.violations == []


def sync(github: FakeGitHub, *entries: Sequence[Entry], dry_run: bool = False) -> list[Said]:
    mirror = GithubDeployments(project="loans", repository=repository(github))
    return list(mirror.sync(told(*entries), dry_run=dry_run))


def states(world: World) -> dict[str, str]:
    """Return the newest state of each deployment, by its promotion; a double fails."""
    found: dict[str, str] = {}
    for one in world.deployments:
        name = one["payload"]["ci_mlops"]["id"]
        assert name not in found
        mine = [s["state"] for s in world.deployment_statuses if s["deployment"] == one["id"]]
        found[name] = mine[-1]
    return found


def test_what_github_must_say_follows_from_the_ledger() -> None:
    found = wanted(told(*EVERYTHING))
    assert {one.payload.id: one.state for one in found} == STATES
    words = {one.payload.id: one.description for one in found}
    assert words["run-4"] == "sha256:111111111111 is live since 2026-11-24T06:00:00Z"
    assert words["run-2"].endswith("was live until 2026-11-24T06:00:00Z; run-4 rolled back")
    assert words["run-3"] == "rolled back: 3 of 200 answers are wrong"
    assert words["run-6"].startswith("superseded: bbbbbbb is live")
    links = {one.payload.id: one.log_url for one in found}
    assert links["run-2"] == "https://github.com/acme/loans/actions/runs/4", "who ended it"
    assert links["run-4"] == "https://github.com/acme/loans/actions/runs/4"


def test_a_reason_is_cut_and_a_run_that_is_no_address_is_left_out() -> None:
    (one,) = wanted(told(ended("run-5", THREE, "blocked", reason="x" * 400, run="a laptop")))
    assert len(one.description) == 140
    assert one.description.endswith("x…")
    assert one.log_url == ""


def test_what_is_live_is_kept_however_many_did_not_hold_since() -> None:
    failed = [ended(f"later-{n}", THREE, "blocked") for n in range(NEWEST + 5)]
    found = wanted(told(PROMOTED, *failed))
    assert len(found) == NEWEST + 1
    assert (found[0].payload.id, found[0].state) == ("run-1", "success")


def test_an_entry_of_no_known_commit_has_no_deployment() -> None:
    first = [one.model_copy(update={"commit": ""}) for one in PROMOTED]
    assert [one.payload.id for one in wanted(told(first, PROMOTED_TWO))] == ["run-2"]


def test_each_promotion_as_it_ends(github: FakeGitHub, world: World) -> None:
    for number in range(1, len(EVERYTHING) + 1):
        sync(github, *EVERYTHING[:number])
    assert states(world) == STATES
    for one in world.deployments:
        assert one["environment"] == "production"
        assert one["task"] == "deploy:loans"
        assert one["sha"] == COMMITS[one["payload"]["ci_mlops"]["digest"]]
    assert len(world.deployment_statuses) == len(STATES) + 2, "and two that were live before"


def test_from_nothing_it_says_the_same_and_a_second_time_nothing_changes(
    github: FakeGitHub, world: World
) -> None:
    assert len(sync(github, *EVERYTHING)) == len(STATES)
    assert states(world) == STATES
    made = [one["payload"]["ci_mlops"]["id"] for one in world.deployments]
    assert made == list(STATES), "in the ledger's order, which GitHub shows"
    first = world.deployment_statuses[0]
    assert first["state"] == "success", "at no moment nothing seems live"
    before = len(world.requests)
    assert sync(github, *EVERYTHING) == []
    assert {method for method, _, _ in world.requests[before:]} == {"GET"}


def test_a_dry_run_only_looks(github: FakeGitHub, world: World) -> None:
    sync(github, PROMOTED)
    before = len(world.requests)
    found = sync(github, PROMOTED, PROMOTED_TWO, dry_run=True)
    assert [one.text for one in found] == [
        "run-2: success, a new deployment",
        f"run-1: inactive, deployment {world.deployments[0]['id']} was success",
    ]
    assert {method for method, _, _ in world.requests[before:]} == {"GET"}
    assert states(world) == {"run-1": "success"}


def test_of_nothing_nothing_is_asked(github: FakeGitHub, world: World) -> None:
    assert sync(github) == []
    assert world.requests == []


def test_another_project_and_githubs_own_deployments_are_left_alone(
    github: FakeGitHub, world: World
) -> None:
    other = GithubDeployments(project="cards", repository=repository(github))
    list(other.sync(told(PROMOTED), dry_run=False))
    own: dict[str, Any] = {"id": 1, "sha": COMMITS[ONE], "task": "deploy", "payload": ""}
    world.deployments.append({**own, "environment": "production", "ref": "main"})
    sync(github, PROMOTED, PROMOTED_TWO)
    of = {one["id"]: one["task"] for one in world.deployments}
    changed = [of[one["deployment"]] for one in world.deployment_statuses]
    assert changed == ["deploy:cards", "deploy:loans", "deploy:loans"]


def test_a_payload_may_come_back_as_text_or_be_somebody_elses(
    github: FakeGitHub, world: World
) -> None:
    sync(github, PROMOTED)
    (one,) = world.deployments
    one["payload"] = json.dumps(one["payload"])
    for payload in ("no JSON", "[]", '{"ci_mlops": {"id": "run-1"}}'):
        world.deployments.append({**one, "id": world.new_id(), "payload": payload})
    assert sync(github, PROMOTED) == []


def test_what_is_older_than_a_page_is_found_by_its_commit(
    github: FakeGitHub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_repository, "DEPLOYMENTS_AT_ONCE", 2)
    world.page_size = 2
    sync(github, *EVERYTHING)
    assert sync(github, *EVERYTHING) == []
    assert states(world) == STATES


@pytest.mark.parametrize("kind", ["drop-after", "502-after", "drop", "502"])
@pytest.mark.parametrize("path", ["/deployments$", "/statuses$"])
def test_a_lost_answer_doubles_nothing(
    github: FakeGitHub, world: World, kind: Any, path: str
) -> None:
    world.faults = [Fault(kind=kind, method="POST", path=path) for _ in range(2)]
    assert len(sync(github, PROMOTED)) == 1
    assert len(world.faults) < 2, "something was lost"
    assert states(world) == {"run-1": "success"}
    world.faults = []
    assert sync(github, PROMOTED) == []
    assert len(world.deployments) == len(world.deployment_statuses) == 1


def test_what_two_at_once_have_doubled_is_mended(github: FakeGitHub, world: World) -> None:
    sync(github, PROMOTED)
    (first,) = world.deployments
    world.deployments.append({**first, "id": world.new_id()})
    assert [one.text for one in sync(github, PROMOTED)] == ["run-1: inactive, deployment 1003"]
    assert world.deployment_statuses[-1]["description"] == f"the same as deployment {first['id']}"
    assert sync(github, PROMOTED) == []


def test_somebody_who_died_between_a_deployment_and_its_state_is_gone_on_from(
    github: FakeGitHub, world: World
) -> None:
    sync(github, PROMOTED)
    world.deployment_statuses.clear()
    assert [one.changed for one in sync(github, PROMOTED)] == [True]
    assert states(world) == {"run-1": "success"}


class Died(BaseException):
    """As a kill -9 ends it: nothing is caught, nothing is tidied up."""


def test_killed_after_any_request_and_synced_again_nothing_is_doubled(
    github: FakeGitHub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = (PROMOTED, PROMOTED_TWO, ROLLED_BACK)
    sync(github, *entries)
    whole = len(world.requests)
    assert whole == 13
    for last in range(1, whole + 1):
        world.deployments.clear()
        world.deployment_statuses.clear()
        mirror = GithubDeployments(project="loans", repository=repository(github))
        session = mirror.repository.api.session
        left = iter(range(last))

        def request(*given: Any, then: Any = session.request, left: Any = left, **more: Any) -> Any:
            if next(left, None) is None:
                raise Died
            return then(*given, **more)

        monkeypatch.setattr(session, "request", request)
        if last < whole:
            with pytest.raises(Died):
                list(mirror.sync(told(*entries), dry_run=False))
        sync(github, *entries)
        assert states(world) == {"run-1": "inactive", "run-2": "inactive", "run-4": "success"}
        assert sync(github, *entries) == []


def test_a_commit_that_github_does_not_know_is_left_out_and_said(
    github: FakeGitHub, world: World
) -> None:
    world.unknown = {COMMITS[ONE]}
    found = sync(github, PROMOTED, PROMOTED_TWO)
    assert [one.changed for one in found] == [False, True]
    assert "No ref found for" in found[0].text
    assert states(world) == {"run-2": "success"}


def test_a_token_that_may_not_is_told_the_line_that_is_missing(
    github: FakeGitHub, world: World
) -> None:
    world.scopes["deployments"] = "read"
    with pytest.raises(OutsideError) as caught:
        sync(github, PROMOTED, PROMOTED_TWO)
    assert caught.value.remedy == "Add `deployments: write` to the job's `permissions:`"
    assert world.deployments == []
    assert TWO not in str(caught.value)


def test_github_that_only_drops_is_given_up(github: FakeGitHub, world: World) -> None:
    world.faults = [Fault(kind="drop", method="POST", path="/deployments$") for _ in range(20)]
    with pytest.raises(OutsideError, match="could not be made in 10 tries"):
        sync(github, PROMOTED)
    world.faults = [Fault(kind="drop", method="POST", path="/statuses$") for _ in range(20)]
    with pytest.raises(OutsideError, match="could not be told in 10 tries"):
        sync(github, PROMOTED)

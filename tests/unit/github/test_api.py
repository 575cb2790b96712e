"""Requests: sent again when that helps, bounded in time and size, silent about the token."""

from collections.abc import Callable, Iterator

import pytest

from ci_mlops.errors import OutsideError
from ci_mlops.github.api import LostError, RefusedError
from ci_mlops.github.repository import CHECKS, Repository
from tests.fake_github import Artifact, FakeGitHub, Fault, Pull, World, serving
from tests.unit.publish.situations import BASE, HEAD, Waits, repository

Act = Callable[[Repository], object]


@pytest.fixture
def world() -> World:
    return World(pulls=[Pull(number=7, head_sha=HEAD, base_sha=BASE)])


@pytest.fixture
def github(world: World) -> Iterator[FakeGitHub]:
    with serving(world) as fake:
        yield fake


@pytest.mark.parametrize("kind", ["drop", "502", "slow", "secondary", "429", "primary"])
def test_a_request_that_failed_is_sent_again(github: FakeGitHub, world: World, kind: str) -> None:
    world.faults = [Fault(kind=kind, wait_s=0.3) for _ in range(2)]  # type: ignore[arg-type]  # a FaultKind
    waits = Waits()
    assert repository(github, waits, timeout_s=0.15).pull_request(7).head.sha == HEAD
    assert len(waits.slept) == 2


def test_a_wait_that_is_too_long_ends_at_once(github: FakeGitHub, world: World) -> None:
    waits = Waits()
    world.faults = [Fault(kind="secondary", wait_s=3_600)]
    with pytest.raises(OutsideError, match="asks to wait 3600 s .* Run the job again later"):
        repository(github, waits).pull_request(7)
    assert waits.slept == []


def test_all_waits_together_are_bounded(github: FakeGitHub, world: World) -> None:
    waits = Waits()
    world.faults = [Fault(kind="secondary", wait_s=50) for _ in range(9)]
    with pytest.raises(OutsideError, match="20 s are left"):
        repository(github, waits, max_wait_s=120).pull_request(7)
    assert sum(waits.slept) == 100


def test_a_server_that_never_answers_is_given_up(github: FakeGitHub, world: World) -> None:
    world.faults = [Fault(kind="drop") for _ in range(20)]
    with pytest.raises(OutsideError, match="did not answer GET .* 12 times"):
        repository(github).pull_request(7)


def test_a_lost_creation_is_not_sent_again(github: FakeGitHub, world: World) -> None:
    world.faults = [Fault(kind="drop-after", method="POST")]
    with pytest.raises(LostError):
        repository(github).create_comment(7, "x")
    assert len(world.comments) == 1


@pytest.mark.parametrize(
    ("scopes", "act", "line"),
    [
        ({}, lambda there: there.create_comment(7, "x"), "pull-requests: write"),
        (
            {"pull-requests": "read"},
            lambda there: there.create_comment(7, "x"),
            "pull-requests: write",
        ),
        ({}, lambda there: there.checks(HEAD, "x"), CHECKS),
        ({}, lambda there: there.artifacts(1), "actions: read"),
        ({}, lambda there: there.rerun(1), "actions: write"),
        ({}, lambda there: there.text("mlops.yml", HEAD), "contents: read"),
    ],
)
def test_a_missing_permission_is_named(
    github: FakeGitHub, world: World, scopes: dict[str, str], act: Act, line: str
) -> None:
    world.scopes = scopes
    with pytest.raises(RefusedError, match=f"Add `{line}` to the job's `permissions:`"):
        act(repository(github))


def test_the_token_is_in_no_message(github: FakeGitHub, world: World) -> None:
    there = repository(github)
    there.api.token = "wrong-token-that-github-does-not-know"
    with pytest.raises(
        RefusedError, match="401: Bad credentials. Give the step `GITHUB_TOKEN"
    ) as said:
        there.pull_request(7)
    assert there.api.token not in str(said.value) + repr(there)
    with pytest.raises(OutsideError) as said_too:
        there.text(there.api.token, HEAD)
    assert there.api.token not in str(said_too.value)


def test_the_token_stays_behind_when_the_storage_is_elsewhere(
    github: FakeGitHub, world: World
) -> None:
    world.artifacts = [Artifact(id=1, run_id=1, name="x", data=b"PK")]
    assert repository(github).artifact_zip(1, max_bytes=10) == b"PK"
    assert world.violations == []
    with pytest.raises(OutsideError, match="more than 1 bytes"):
        repository(github).artifact_zip(1, max_bytes=1)


def test_a_next_page_elsewhere_is_not_followed(github: FakeGitHub, world: World) -> None:
    world.page_size = 1
    for _ in range(3):
        world.comment(7, "x", "ann")
    there = repository(github)
    assert len(there.comments(7)) == 3
    there.api.url = github.url.replace("127.0.0.1", "localhost")
    with pytest.raises(OutsideError, match="leads elsewhere"):
        there.comments(7)


def test_a_comment_that_is_too_long_is_refused_by_the_fake(github: FakeGitHub) -> None:
    with pytest.raises(RefusedError, match="maximum is 65536"):
        repository(github).create_comment(7, "x" * 65_537)


def test_what_github_does_not_document_is_refused_by_the_fake(
    github: FakeGitHub, world: World
) -> None:
    there = repository(github)
    with pytest.raises(RefusedError, match="not documented"):
        there.api.send("POST", "/repos/acme/loans/check-runs", {"colour": "x"}, needs=CHECKS)
    with pytest.raises(RefusedError, match="404"):
        there.api.get("/repos/acme/loans/secrets", needs="")
    assert len(world.violations) == 2


def test_a_person_and_the_runner_are_told_apart(github: FakeGitHub, world: World) -> None:
    assert repository(github).login() == "github-actions[bot]"
    world.is_user, world.login = True, "ann"
    assert repository(github).login() == "ann"


def test_a_comment_that_is_gone_already_is_no_fault(github: FakeGitHub, world: World) -> None:
    made = world.comment(7, "x", "github-actions[bot]")
    there = repository(github)
    for _ in range(2):
        there.delete_comment(made["id"])
    assert world.comments == []
    world.scopes = {}
    with pytest.raises(RefusedError, match="pull-requests: write"):
        there.delete_comment(1)


def test_files_that_cannot_be_read_are_said(github: FakeGitHub, world: World) -> None:
    there = repository(github)
    world.files = {HEAD: {"a b/ü.yml": "text", "large": "x" * 1_100_000}}
    assert there.text("a b/ü.yml", HEAD) == "text"
    assert there.text("missing", HEAD) is None
    with pytest.raises(OutsideError, match="large at bbbbbbb is larger than"):
        there.text("large", HEAD)
    with pytest.raises(OutsideError, match="does not know commit ccccccc"):
        there.files(BASE)

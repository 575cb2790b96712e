"""Commands in comments: for people who may write, once, and without a word of the comment."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_mlops import chatops
from ci_mlops.__main__ import main
from ci_mlops.errors import ConfigError
from ci_mlops.publish import comment
from tests.fake_github import FakeGitHub, Fault, Pull, WorkflowRun, World, serving
from tests.unit.publish.situations import BASE, HEAD, OTHER, entry

BOT = "github-actions[bot]"


@pytest.fixture
def world() -> World:
    made = World(
        pulls=[Pull(number=7, head_sha=HEAD, base_sha=BASE)],
        runs=[
            WorkflowRun(id=100, head_sha=OTHER),
            WorkflowRun(id=101, head_sha=HEAD),
            WorkflowRun(id=102, head_sha=HEAD, path=".github/workflows/lint.yml"),
        ],
        collaborators={"ann": "write", "bob": "read", "eve": "none", "root": "admin"},
    )
    made.comment(7, comment.body(lambda _: "<!-- ci-mlops:loans -->\nx", entry(100), ()), BOT)
    return made


@pytest.fixture
def github(world: World) -> Iterator[FakeGitHub]:
    with serving(world) as fake:
        yield fake
    assert world.violations == []


def payload(body: Any, login: str = "ann", **changes: Any) -> dict[str, Any]:
    return {
        "action": "created",
        "issue": {"number": 7, "pull_request": {}},
        "comment": {"id": 55, "body": body, "user": {"login": login, "type": "User"}},
        **changes,
    }


def obey(github: FakeGitHub, folder: Path, event: Any) -> int:
    (folder / "event.json").write_text(json.dumps(event), encoding="utf-8")
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "issue_comment",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_REPOSITORY": "acme/loans",
        "GITHUB_API_URL": github.url,
        "GITHUB_TOKEN": github.world.token,
    }
    return main(["chatops"], environ)


def answers(world: World) -> list[str]:
    return [one for one in world.own_comments() if one.startswith("<!-- ci-mlops-answer:")]


@pytest.mark.parametrize("login", ["ann", "root"])
def test_rerun_judges_the_head_again(
    github: FakeGitHub, world: World, tmp_path: Path, login: str
) -> None:
    assert obey(github, tmp_path, payload("/mlops rerun\nplease", login)) == 0
    assert world.reruns == [101]
    (answer,) = answers(world)
    assert "Judging bbbbbbb again" in answer


@pytest.mark.parametrize("login", ["bob", "eve", "stranger"])
def test_others_are_answered_once_and_nothing_runs(
    github: FakeGitHub, world: World, tmp_path: Path, login: str
) -> None:
    for number in (1, 2, 3):
        event = payload("/mlops rerun", login)
        event["comment"]["id"] = number
        assert obey(github, tmp_path, event) == 0
    assert world.reruns == []
    (answer,) = answers(world)
    assert "Only people with write permission" in answer
    assert login not in answer


def test_what_the_event_says_of_permission_is_not_believed(
    github: FakeGitHub, world: World, tmp_path: Path
) -> None:
    event = payload("/mlops rerun", "eve")
    event["comment"]["author_association"] = "OWNER"
    assert obey(github, tmp_path, event) == 0
    assert world.reruns == []


def test_report_links_the_latest_report(github: FakeGitHub, world: World, tmp_path: Path) -> None:
    assert obey(github, tmp_path, payload("/mlops report")) == 0
    (answer,) = answers(world)
    assert f"#issuecomment-{world.comments[0]['id']})" in answer


@pytest.mark.parametrize("command", ["report", "rerun"])
def test_without_a_report(github: FakeGitHub, world: World, tmp_path: Path, command: str) -> None:
    world.comments = []
    world.comment(7, "<!-- ci-mlops:loans -->\nplanted", "mallory")
    assert obey(github, tmp_path, payload(f"/mlops {command}")) == 0
    assert world.reruns == []
    assert "There is no " in answers(world)[0]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([WorkflowRun(id=100, head_sha=OTHER)], "No run has judged bbbbbbb yet"),
        (
            [
                WorkflowRun(id=100, head_sha=OTHER),
                WorkflowRun(id=101, head_sha=HEAD, status="in_progress"),
            ],
            "is still going on",
        ),
    ],
)
def test_nothing_to_run_again(
    github: FakeGitHub, world: World, tmp_path: Path, runs: list[WorkflowRun], words: str
) -> None:
    world.runs = runs
    assert obey(github, tmp_path, payload("/mlops rerun")) == 0
    assert world.reruns == []
    assert words in answers(world)[0]


@pytest.mark.parametrize(
    "body", ["/mlops", "/mlops run", "/mlops rerun; rm -rf /", "/mlops $(id) @org/team <b>"]
)
def test_an_unknown_command_is_told_the_known_ones(
    github: FakeGitHub, world: World, tmp_path: Path, body: str
) -> None:
    assert obey(github, tmp_path, payload(body)) == 0
    assert world.reruns == []
    assert answers(world) == [
        (
            "<!-- ci-mlops-answer:55 -->\nThe commands are `/mlops rerun`, `/mlops report`, "
            "`/mlops promote ENVIRONMENT` and `/mlops rollback ENVIRONMENT`."
        )
    ]


@pytest.mark.parametrize(
    "event",
    [
        payload("hello"),
        payload("see /mlops rerun"),
        payload("hello\n/mlops rerun"),
        payload("/mlopsrerun"),
        payload(None),
        payload("/mlops rerun", action="edited"),
        payload("/mlops rerun", issue={"number": 7}),
        payload("/mlops rerun", comment={"id": 1, "body": "/mlops rerun", "user": None}),
        payload(
            "", comment={"id": 1, "body": "/mlops rerun", "user": {"login": BOT, "type": "Bot"}}
        ),
        {},
    ],
)
def test_what_is_no_command_costs_no_request(
    github: FakeGitHub, world: World, tmp_path: Path, event: Any
) -> None:
    assert obey(github, tmp_path, event) == 0
    assert world.requests == []


def test_a_job_that_runs_again_does_nothing_twice(
    github: FakeGitHub, world: World, tmp_path: Path
) -> None:
    for _ in range(2):
        obey(github, tmp_path, payload("/mlops rerun"))
    assert world.reruns == [101]
    assert len(answers(world)) == 1


def test_an_answer_that_was_lost_is_not_doubled(
    github: FakeGitHub, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_mlops.github.repository.MAX_WORK_S", 0)
    world.faults = [Fault(kind="drop-after", method="POST", path="/comments")]
    assert obey(github, tmp_path, payload("/mlops report")) == 0
    assert len(answers(world)) == 1


def test_a_missing_permission_is_named(
    github: FakeGitHub, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.scopes["actions"] = "read"
    assert obey(github, tmp_path, payload("/mlops rerun")) == 4
    assert "Add `actions: write`" in capsys.readouterr().err


def test_an_event_of_another_kind() -> None:
    with pytest.raises(ConfigError, match="no issue_comment event"):
        chatops.read(payload("/mlops rerun", issue={"number": "x", "pull_request": {}}))


# --- releases -----------------------------------------------------------------------------------

MLOPS_YML = """\
version: 1
release:
  production: {target: process, port: 8080}
  canary-eu: {target: process, port: 8081}
"""


@pytest.fixture
def releasing(world: World) -> World:
    world.workflows["mlops-release.yml"] = ["action", "to", "reason", "id"]
    world.files["main"] = {"mlops.yml": MLOPS_YML}
    return world


def about_main(body: str, login: str = "ann") -> dict[str, Any]:
    return payload(body, login, repository={"default_branch": "main"})


@pytest.mark.parametrize(
    ("action", "environment", "said"),
    [
        ("rollback", "production", "Rolling back production: [the run]("),
        ("promote", "canary-eu", "Promoting what is on the main branch to canary-eu: [the run]("),
    ],
)
def test_a_release_is_started_on_the_default_branch_once(  # noqa: PLR0917
    github: FakeGitHub, releasing: World, tmp_path: Path, action: str, environment: str, said: str
) -> None:
    for _ in range(2):
        assert obey(github, tmp_path, about_main(f"/mlops {action} {environment}")) == 0
    (started,) = releasing.dispatches
    assert started["workflow"] == "mlops-release.yml"
    assert started["ref"] == "main"
    assert started["inputs"] == {
        "action": action,
        "to": environment,
        "reason": f"/mlops {action} by ann on pull request 7",
        "id": "comment-55",
    }
    (answer,) = answers(releasing)
    assert said in answer


@pytest.mark.parametrize("login", ["bob", "eve", "stranger"])
def test_others_release_nothing(
    github: FakeGitHub, releasing: World, tmp_path: Path, login: str
) -> None:
    assert obey(github, tmp_path, about_main("/mlops rollback production", login)) == 0
    assert releasing.dispatches == []
    assert "Only people with write permission" in answers(releasing)[0]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("rollback staging", "has no such environment below `release`; it has `production`, `c"),
        ("rollback", "The commands are"),
        ("rollback production now", "The commands are"),
        ("rollback $(id)", "The commands are"),
        ("promote production;id", "The commands are"),
    ],
)
def test_what_is_no_environment_is_never_repeated(
    github: FakeGitHub, releasing: World, tmp_path: Path, command: str, said: str
) -> None:
    assert obey(github, tmp_path, about_main(f"/mlops {command}")) == 0
    assert releasing.dispatches == []
    (answer,) = answers(releasing)
    assert said in answer
    assert "staging" not in answer
    assert "id)" not in answer


@pytest.mark.parametrize("inputs", [None, ["to"]])
def test_a_workflow_that_cannot_be_started_is_named(
    github: FakeGitHub, releasing: World, tmp_path: Path, inputs: list[str] | None
) -> None:
    releasing.workflows = {"mlops-release.yml": inputs} if inputs else {}
    assert obey(github, tmp_path, about_main("/mlops rollback production")) == 0
    assert "`mlops-release.yml` on `main` cannot be started like that" in answers(releasing)[0]


def test_a_token_that_may_not_start_workflows_is_said(
    github: FakeGitHub,
    releasing: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    releasing.scopes["actions"] = "read"
    assert obey(github, tmp_path, about_main("/mlops rollback production")) == 4
    assert "actions: write" in capsys.readouterr().err
    assert answers(releasing) == []


def test_a_release_needs_a_configuration_and_a_branch(
    github: FakeGitHub,
    releasing: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert obey(github, tmp_path, payload("/mlops rollback production")) == 2
    assert "does not name the default branch" in capsys.readouterr().err
    releasing.files["main"] = {}
    assert obey(github, tmp_path, about_main("/mlops rollback production")) == 4
    assert "there is no mlops.yml on main. Name it with --config" in capsys.readouterr().err

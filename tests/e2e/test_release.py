"""A merge that is released, and undone, by the actions as users call them, run by act."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from ci_mlops.__main__ import main
from ci_mlops.dashboard.records import BRANCH as RECORDS
from ci_mlops.release.ledger import BRANCH
from ci_mlops.serving import worker
from tests.conftest import Repo, clean_environ
from tests.e2e.runner import TOP, Ran, Runner
from tests.fake_github import FakeGitHub, Pull, World, serving

MLOPS_YML = """\
version: 1
project: loans
data: {{test: test.csv, key: id, label: approved}}
model: {{task: binary, path: weight.txt, loader: "scorer:load"}}
stages:
  serving:
release:
  production:
    target: process
    port: {port}
    folder: {folder}  # beside the checkout, which a runner empties
    verify: {{requests: 20}}
"""


@pytest.fixture
def released(repo: Repo) -> Iterator[Repo]:
    """Return a project with a remote that holds the ledger, its servers ended afterwards."""
    case = TOP / "tests" / "cases" / "serving" / "passes" / "sound"
    for name in ("scorer.py", "weight.txt", "test.csv"):
        shutil.copyfile(case / name, repo.path / name)
    with worker.listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    workflows = repo.path / ".github" / "workflows"
    workflows.mkdir(parents=True)
    shutil.copyfile(TOP / "workflows" / "release.yml", workflows / "mlops-release.yml")
    repo.commit(
        {"mlops.yml": MLOPS_YML.format(port=port, folder=repo.path.parent / "target")},
        "A small project",
    )
    remote = repo.path.parent / "remote.git"
    repo.git("clone", "-q", "--bare", ".", str(remote))
    repo.git("remote", "add", "origin", str(remote))
    yield repo
    for control in repo.path.parent.glob("target/production/run/*.sock"):
        try:
            psutil.Process(worker.ask(control, "tell")[0]["pid"]).kill()
        except (OSError, psutil.Error):
            continue


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with serving(World()) as found:
        yield found


def release(
    repo: Repo,
    runner: Runner,
    github: FakeGitHub,
    *,
    run_id: int,
    event: str = "push",
    inputs: Mapping[str, str] | None = None,
) -> Ran:
    payload: dict[str, Any] = {
        "ref": repo.git("symbolic-ref", "HEAD"),
        "after": repo.git("rev-parse", "HEAD"),
        "repository": {"full_name": github.world.repository, "default_branch": "main"},
    }
    return runner.run(
        repo,
        event,
        payload | ({"inputs": dict(inputs)} if inputs else {}),
        workflow="mlops-release.yml",
        api_url=github.url,
        environ={"GITHUB_RUN_ID": str(run_id), "GITHUB_REPOSITORY": github.world.repository},
    )


def test_a_merge_is_released_and_rolled_back(
    released: Repo,
    github: FakeGitHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runner, world = Runner(home=tmp_path / "runner"), github.world
    released.commit({"note.txt": "1"}, "The first")
    first = release(released, runner, github, run_id=1)
    assert first.code == 0, first.said()
    assert first.outputs()["end"] == "promoted"
    commit = released.commit({"weight.txt": "0.5\n"}, "Another model")
    merged = Pull(number=5, head_sha=commit, base_sha=commit, state="closed")
    merged.merged, merged.merge_commit_sha = True, commit
    world.pulls.append(merged)
    second = release(released, runner, github, run_id=2)
    assert second.outputs()["end"] == "promoted", second.said()
    again = release(released, runner, github, run_id=2)
    assert again.outputs()["live"] == second.outputs()["live"]
    assert "run-2-production ended before, promoted" in again.said(), (
        "a job that is run again does nothing twice"
    )
    assert second.outputs()["live"] != first.outputs()["live"]
    (told,) = world.own_comments()
    assert "production: promoted" in told
    # As the comment `/mlops rollback production` starts it.
    inputs = {"action": "rollback", "to": "production", "reason": "a complaint", "id": "comment-55"}
    back = release(released, runner, github, run_id=3, event="workflow_dispatch", inputs=inputs)
    assert back.code == 0, back.said()
    assert back.outputs()["end"] == "rolled_back"
    assert back.outputs()["live"] == first.outputs()["live"]
    (told,) = world.own_comments()
    assert "production: rolled back: a complaint" in told
    assert len(world.issues) == 1
    of = {one["id"]: one["payload"]["ci_mlops"]["id"] for one in world.deployments}
    assert {of[one["deployment"]]: one["state"] for one in world.deployment_statuses} == {
        "run-1-production": "inactive",
        "run-2-production": "inactive",
        "comment-55": "success",
    }
    assert len(of) == 3
    assert world.violations == []
    monkeypatch.chdir(released.path)
    assert main(("live", "production"), clean_environ()) == 0
    assert capsys.readouterr().out.strip() == first.outputs()["live"]
    assert main(("history", "production", "--json"), clean_environ()) == 0
    assert "comment-55" in capsys.readouterr().out
    assert released.git("ls-remote", "origin", BRANCH), "the ledger is at the remote"
    released.git("fetch", "-q", "origin", RECORDS)
    recorded = released.git("ls-tree", "-r", "--name-only", "FETCH_HEAD").splitlines()
    assert len(recorded) == 3, "each judgement of main is recorded, the repeated one too"
    assert "cache key" not in first.said() + second.said(), "a release restores nothing"


def test_a_pull_request_can_release_nothing(
    released: Repo, github: FakeGitHub, tmp_path: Path
) -> None:
    text = (released.path / ".github/workflows/mlops-release.yml").read_text(encoding="utf-8")
    changed = text.replace("push: { branches: [main] }", "pull_request:")
    released.commit({".github/workflows/mlops-release.yml": changed, "note.txt": "1"})
    runner = Runner(home=tmp_path / "runner")
    ran = release(released, runner, github, run_id=1, event="pull_request")
    assert ran.code == 1
    assert "a pull_request event may not release anything" in ran.said()
    assert not released.git("ls-remote", "origin", BRANCH)


def test_what_is_not_merged_releases_nothing(
    released: Repo, github: FakeGitHub, tmp_path: Path
) -> None:
    released.git("checkout", "-q", "-b", "tempting")
    inputs = {"action": "promote", "to": "production"}
    runner = Runner(home=tmp_path / "runner")
    ran = release(released, runner, github, run_id=1, event="workflow_dispatch", inputs=inputs)
    assert ran.code == 1
    assert "refs/heads/tempting is not main" in ran.said()
    assert not released.git("ls-remote", "origin", BRANCH)


def test_a_word_that_is_neither_promote_nor_rollback_is_red(
    released: Repo, github: FakeGitHub, tmp_path: Path
) -> None:
    inputs = {"action": "revert", "to": "production"}
    runner = Runner(home=tmp_path / "runner")
    ran = release(released, runner, github, run_id=1, event="workflow_dispatch", inputs=inputs)
    assert ran.code == 1
    assert set(ran.jobs().values()) == {"failure"}, ran.said()
    assert not released.git("ls-remote", "origin", BRANCH)

"""Production is watched on a schedule: one issue, one pull request of a model trained anew, a record."""

import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ci_mlops.dashboard.records import BRANCH as RECORDS
from tests import production, project
from tests.conftest import Repo
from tests.e2e.runner import Ran, Runner
from tests.fake_github.server import FakeGitHub, serving
from tests.fake_github.world import World
from tests.integration.test_retrain import EXTEND, MONITORS, TIP
from tests.project import ci_mlops

MLOPS_YML = """\
version: 1
project: small
prepare: [python train.py]
data: {{train: data/train.csv, test: data/test.csv, key: id, label: approved, sensitive: [sex]}}
model: {{path: model.joblib, task: binary, python: {python}}}
stages:
  data: {{deepchecks: false}}
"""
ROWS = 400


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    """Yield a GitHub that nothing unlawful was asked of."""
    world = World()
    with serving(world) as served:
        yield served
    assert world.violations == []


@pytest.fixture
def live(repo: Repo) -> Repo:
    """Return a project whose model answers yes to everybody, with the workflows of `init`."""
    project.make(repo)
    for starter in ("monitor", "retrain"):
        code, _, said = ci_mlops(repo.path, "init", "--add", starter)
        assert code == 0, said
    seen = pd.read_csv(StringIO(project.data_csv(50_000, ROWS, seed=5)))
    inputs = {name: seen[name].to_numpy() for name in ("income", "debt")}
    ids = production.log(repo.path / "predictions", inputs, np.ones(ROWS, dtype=int))
    labels = seen.assign(id=ids)[["id", "approved", "sex"]]
    files = {
        "mlops.yml": MLOPS_YML.format(python=sys.executable) + MONITORS,
        "extend.py": EXTEND,
        "outcomes.csv": labels.to_csv(index=False),
    }
    repo.commit(files, "Watch it")
    repo.git("clone", "-q", "--bare", ".", str(repo.path.parent / "remote.git"))
    repo.git("remote", "add", "origin", str(repo.path.parent / "remote.git"))
    return repo


def scheduled(repo: Repo, github: FakeGitHub, runner: Runner, workflow: str) -> Ran:
    return runner.run(
        repo,
        "schedule",
        {"repository": {"default_branch": "main"}},
        workflow=workflow,
        api_url=github.url,
        token=github.world.token,
        environ={"GITHUB_REPOSITORY": github.world.repository},
    )


def test_what_fails_becomes_an_issue_a_pull_request_and_records_once(
    live: Repo, github: FakeGitHub, tmp_path: Path
) -> None:
    runner, world = Runner(home=tmp_path / "runner"), github.world
    for looked in (1, 2):
        ran = scheduled(live, github, runner, "mlops-monitor.yml")
        expected = {"look": "failure", "record": "success", "retrain": "success"}
        assert ran.jobs() == expected, ran.said()
        assert ran.outputs()["answers"] == "issue retrain"
        [issue], [pull] = world.issues, world.pulls
        assert issue["title"] == "small in production: drift, accuracy failed"
        assert (pull.head_branch, pull.base_branch, pull.state) == (TIP, "main", "open")
        live.git("fetch", "-q", "origin", TIP)
        assert live.git("rev-parse", "FETCH_HEAD^") == live.git("rev-parse", "main")
        assert live.git("show", "FETCH_HEAD:data/train.csv").count("\n") == 900 + ROWS
        live.git("fetch", "-q", "origin", RECORDS)
        assert live.git("rev-list", "--count", "FETCH_HEAD") == str(looked)


def test_the_calendar_trains_anew_too(live: Repo, github: FakeGitHub, tmp_path: Path) -> None:
    ran = scheduled(live, github, Runner(home=tmp_path / "runner"), "mlops-retrain.yml")
    assert ran.jobs() == {"retrain": "success"}, ran.said()
    assert ran.outputs()["branch"] == TIP
    [pull] = github.world.pulls
    assert "by the calendar" in pull.body
    assert github.world.issues == []

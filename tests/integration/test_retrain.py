"""Training anew on what production has shown, with the real command line and a real remote."""

import json
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from tests import broken_inputs, production, project
from tests.conftest import Repo
from tests.fake_github.server import serving
from tests.fake_github.world import World
from tests.project import ci_mlops

MONITORS = """\
monitors:
  predictions: {path: predictions}
  labels: {path: outcomes.csv}
  drift: {deepchecks: false, max_age_hours: null}
  accuracy:
  on_failure: {accuracy: retrain}
  retrain: {command: [python extend.py], min_rows: 200}
"""
EXTEND = """\
import os, sys
import pandas as pd

train = pd.read_csv("data/train.csv")
window = pd.read_parquet(os.environ["CI_MLOPS_WINDOW"])
assert os.environ["CI_MLOPS_WINDOW_FROM"] < os.environ["CI_MLOPS_WINDOW_UNTIL"]
assert "GITHUB_TOKEN" not in os.environ
window["id"] = range(100_000, 100_000 + len(window))
pd.concat([train, window[train.columns]]).to_csv("data/train.csv", index=False)
"""
TIP = "ci-mlops/retrain-production"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return the project, pushed to a bare remote, with a log of predictions and their labels."""
    folder = tmp_path_factory.mktemp("retrained")
    repo = broken_inputs.new_repo(folder / "repo")
    text = (repo.path / "mlops.yml").read_text(encoding="utf-8")
    ignored = "model.joblib\npredictions\noutcomes.csv\n"
    repo.commit({"mlops.yml": text + MONITORS, "extend.py": EXTEND, ".gitignore": ignored})
    repo.git("init", "-q", "--bare", "-b", "main", str(folder / "remote.git"))
    repo.git("remote", "add", "origin", str(folder / "remote.git"))
    repo.git("push", "-q", "origin", "main")
    frame = pd.read_csv(StringIO(project.data_csv(50_000, 400, seed=5)))
    # Every answer is yes, and half of the labels are no: the model has become useless.
    inputs = {name: frame[name].to_numpy() for name in ("income", "debt")}
    ids = production.log(repo.path / "predictions", inputs, np.ones(400, dtype=int))
    frame.assign(id=ids)[["id", "approved", "sex"]].to_csv(repo.path / "outcomes.csv", index=False)
    return repo


@pytest.fixture
def retrained(made: Repo) -> Repo:
    """Return it without a proposal."""
    made.git("push", "-q", "--delete", "origin", TIP) if TIP in _branches(made) else None
    return made


def _branches(repo: Repo) -> str:
    return repo.git("ls-remote", "--heads", "origin")


def _environ(github: str, world: World) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": github,
        "GITHUB_REPOSITORY": world.repository,
        "GITHUB_TOKEN": world.token,
    }


def test_what_fails_becomes_one_pull_request_with_digests(retrained: Repo) -> None:
    world = World()
    with serving(world) as github:
        for _ in range(2):
            code, _, said = ci_mlops(
                retrained.path, "monitor", "--issue", "--act", **_environ(github.url, world)
            )
            assert code == 1, said
    assert world.violations == []
    [pull] = world.pulls
    assert (pull.head_branch, pull.base_branch, pull.state) == (TIP, "main", "open")
    assert "accuracy failed: accuracy" in pull.body
    digests = dict(_digests(pull.body))
    assert digests["data.train"][0] != digests["data.train"][1]
    assert digests["model"][0] != digests["model"][1]
    assert digests["data.test"][0] == digests["data.test"][1]
    [issue] = world.issues
    assert "a pull request with a model trained anew" in issue["body"]
    retrained.git("fetch", "-q", "origin", TIP)
    assert retrained.git("diff", "--stat", "--name-only", "main", "FETCH_HEAD") == "data/train.csv"
    assert retrained.git("show", "FETCH_HEAD:data/train.csv").count("\n") == 900 + 400
    assert retrained.git("log", "-1", "--format=%P", "FETCH_HEAD") == retrained.git(
        "rev-parse", "main"
    )
    assert retrained.git("status", "--porcelain") == ""
    assert retrained.git("worktree", "list").count("\n") == 0


def _digests(body: str) -> list[tuple[str, tuple[str, str]]]:
    rows = [one.split("|")[1:4] for one in body.splitlines() if one.startswith("| <code>")]
    plain = [
        [cell.strip().replace("<code>", "").replace("</code>", "") for cell in r] for r in rows
    ]
    return [(name.replace("\u200b", ""), (old, new)) for name, old, new in plain]


def test_without_github_the_branch_alone_is_pushed(retrained: Repo) -> None:
    code, output, said = ci_mlops(retrained.path, "retrain", "--reason", "by <b>hand</b>", "--json")
    assert code == 0, said
    told = json.loads(output)
    assert (told["branch"], told["url"]) == (TIP, "")
    retrained.git("fetch", "-q", "origin", TIP)
    message = retrained.git("log", "-1", "--format=%B", "FETCH_HEAD")
    assert "by" in message
    assert "<b>" not in message


def test_another_persons_branch_is_left_alone(retrained: Repo) -> None:
    retrained.git("push", "-q", "origin", f"main:refs/heads/{TIP}")
    code, _, said = ci_mlops(retrained.path, "retrain")
    assert code == 4
    assert f"others have committed to {TIP}" in said


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("exit 3", "`exit 3` failed: no output, exit code 3"),
        ("echo no such table >&2; exit 1", "failed: no such table"),
    ],
)
def test_a_command_that_fails_leaves_nothing(retrained: Repo, line: str, told: str) -> None:
    code, _, said = _with_command(retrained, line)
    assert code == 2
    assert told in said
    assert TIP not in _branches(retrained)
    assert retrained.git("worktree", "list").count("\n") == 0


def test_a_command_that_changes_nothing_proposes_nothing(retrained: Repo) -> None:
    code, output, said = _with_command(retrained, "true")
    assert code == 0, said
    assert "the command has changed no file" in output
    assert TIP not in _branches(retrained)


def _with_command(repo: Repo, line: str) -> tuple[int, str, str]:
    path = repo.path / "mlops.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("python extend.py", json.dumps(line)), encoding="utf-8")
    try:
        return ci_mlops(repo.path, "retrain")
    finally:
        path.write_text(text, encoding="utf-8")


def test_too_few_labels_train_nothing(retrained: Repo) -> None:
    labels = retrained.path / "outcomes.csv"
    text = labels.read_text(encoding="utf-8")
    labels.write_text("\n".join(text.splitlines()[:100]) + "\n", encoding="utf-8")
    code, _, said = ci_mlops(retrained.path, "retrain")
    labels.write_text(text, encoding="utf-8")
    assert code == 2
    assert "99 labelled predictions in 30 days are fewer than the 200" in said

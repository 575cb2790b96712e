"""A wrong prediction, told by the issue form, becomes a pull request that the gate judges."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_mlops.feedback import form
from tests import project
from tests.conftest import Repo
from tests.e2e.runner import TOP, Ran, Runner
from tests.fake_github.server import FakeGitHub, serving
from tests.fake_github.world import World
from tests.project import ci_mlops
from tests.unit.feedback.situations import body

MLOPS_YML = """\
version: 1
project: small
prepare: [python train.py]
data: {{train: data/train.csv, test: data/test.csv, key: id, label: approved, sensitive: [sex]}}
model: {{path: model.joblib, task: binary, python: {python}}}
stages:
  behaviour: {{feedback: feedback/cases.csv}}
"""
ADDRESS = f"https://github.com/{World().repository}"
BRANCH = "ci-mlops/feedback-1"
HOPEFUL = "income = 50\ndebt = 20"
"""Approved, by a narrow margin."""
HEEDS = """
import numpy as np
known = pd.read_csv("feedback/cases.csv")
rows = pd.concat([train] + [known.rename(columns={"expected": "approved"})] * 2000)
model.fit(rows[["income", "debt"]], rows["approved"])
joblib.dump(model, "model.joblib")
"""


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    """Yield a GitHub where anna may write."""
    world = World()
    world.collaborators |= {"anna": "write"}
    with serving(world) as served:
        yield served
    assert world.violations == []


@pytest.fixture
def live(repo: Repo) -> Repo:
    """Return a project with the workflow as `init` adds it, at a remote."""
    project.make(repo)
    code, _, said = ci_mlops(repo.path, "init", "--add", "feedback")
    assert code == 0, said
    repo.commit({"mlops.yml": MLOPS_YML.format(python=sys.executable)}, "Take corrections")
    repo.git("clone", "-q", "--bare", ".", str(remote(repo)))
    repo.git("remote", "add", "origin", ADDRESS)
    return repo


def remote(repo: Repo) -> Path:
    """Return where branches are pushed to."""
    return repo.path.parent / "remote.git"


def label(
    repo: Repo, github: FakeGitHub, runner: Runner, text: str, *, sender: str = "anna"
) -> Ran:
    """Add our label to the first issue, made by somebody who may do nothing here."""
    world = github.world
    if not world.issues:
        world.issue("The model was wrong: a loan", text, "mallory")
    world.issues[0]["body"] = text
    payload: dict[str, Any] = {
        "action": "labeled",
        "label": {"name": "model-feedback"},
        "issue": {"number": 1, "body": text},
        "sender": {"login": sender},
    }
    return runner.run(
        repo,
        "issues",
        payload,
        workflow="mlops-feedback.yml",
        api_url=github.url,
        token=world.token,
        environ={  # act takes the repository's name from the address; git goes to a path instead.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{remote(repo)}.insteadOf",
            "GIT_CONFIG_VALUE_0": ADDRESS,
        },
    )


def test_a_correction_becomes_a_pull_request_that_only_a_right_model_passes(
    live: Repo, github: FakeGitHub, tmp_path: Path
) -> None:
    told = body(features=f"```text\n{HOPEFUL}\n```", expected="0", reason="never repaid")
    ran = label(live, github, Runner(home=tmp_path / "runner"), told)
    assert ran.jobs() == {"propose": "success"}, ran.said()
    (pull,) = github.world.pulls
    assert (pull.head_branch, pull.base_branch) == (BRANCH, "main")
    assert pull.body.startswith("Closes #1.")
    assert ran.outputs()["branch"] == BRANCH
    (answer,) = github.world.own_comments()
    assert ran.outputs()["url"] in answer

    live.git("fetch", "-q", str(remote(live)), BRANCH)
    live.git("checkout", "-q", "-b", "correction", "FETCH_HEAD")
    rows = (live.path / "feedback" / "cases.csv").read_text(encoding="utf-8").splitlines()
    assert rows == ["income,debt,expected,tolerance,issue,reason", "50,20,0,,1,never repaid"]
    code, output, errors = ci_mlops(live.path, "run")
    assert code == 0, "the correction itself can be merged: " + output + errors

    live.git("branch", "-f", "main")
    live.git("checkout", "-q", "-b", "deaf")
    train = (live.path / "train.py").read_text(encoding="utf-8")
    live.commit({"train.py": train.replace("Regression()", "Regression(C=0.9)")}, "Train anew")
    code, output, errors = ci_mlops(live.path, "run", "--base", "main")
    assert code == 1, output + errors
    report = (live.path / ".mlops" / "report.md").read_text(encoding="utf-8")
    assert "The model answers 1 of 1 corrections otherwise." in report
    assert "issue 1 (line 2)" in report

    live.commit({"train.py": train + HEEDS}, "Heed corrections")
    code, output, errors = ci_mlops(live.path, "run", "--base", "main")
    assert code == 0, output + errors


def test_an_answer_says_why_an_issue_is_no_correction_until_it_is_one(
    live: Repo, github: FakeGitHub, tmp_path: Path
) -> None:
    runner = Runner(home=tmp_path / "runner")
    wrong = body(features=f"```text\n{HOPEFUL}\nwealth = 7\n```", expected="0")
    ran = label(live, github, runner, wrong)
    assert ran.jobs() == {"propose": "failure"}
    assert github.world.pulls == []
    (answer,) = github.world.own_comments()
    assert "takes no column" in answer
    assert "wealth" in answer
    right = body(features=f"```text\n{HOPEFUL}\n```", expected="0")
    assert label(live, github, runner, right).jobs() == {"propose": "success"}
    (answer,) = github.world.own_comments()
    assert "Thank you" in answer


def test_who_may_not_write_starts_nothing(live: Repo, github: FakeGitHub, tmp_path: Path) -> None:
    told = body(features=f"```text\n{HOPEFUL}\n```", expected="0")
    ran = label(live, github, Runner(home=tmp_path / "runner"), told, sender="mallory")
    assert ran.jobs() == {"propose": "failure"}
    assert "may not write here" in ran.said()
    assert github.world.pulls == []
    assert BRANCH not in live.git("ls-remote", str(remote(live)))


def test_the_form_has_the_fields_that_are_read() -> None:
    text = (TOP / "workflows/forms/model-feedback.yml").read_text(encoding="utf-8")
    fields = [one for one in yaml.safe_load(text)["body"] if one["type"] != "markdown"]
    assert tuple(one["attributes"]["label"] for one in fields) == form.HEADINGS
    needed = [one["attributes"]["label"] for one in fields if one.get("validations")]
    assert needed == [form.EXPECTED]
    assert all(
        option["required"]
        for one in fields
        if one["type"] == "checkboxes"
        for option in one["attributes"]["options"]
    )
    assert "labels" not in yaml.safe_load(text), "a person adds the label, who may write"

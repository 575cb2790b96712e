"""Both sides of a pull request: whose rules judge, and what is said about it."""

import sys
from pathlib import Path
from typing import Any

import pytest

from ci_mlops import config, pull_request
from ci_mlops.command import Commands
from ci_mlops.config import Loaded
from ci_mlops.errors import ConfigError
from ci_mlops.github import Workflow
from ci_mlops.pull_request import PullRequest
from tests.conftest import Repo
from tests.records import run

YML = """\
version: 1
project: small
data:
  test: test.csv
  label: y
model:
  task: binary
  predictions: {{test: predictions.csv}}
stages:
{stages}
"""
DATA = "  data: {deepchecks: false}\n"
MODEL = "  model: {deepchecks: false}\n"
FILES = {"test.csv": "x,y\n1,0\n2,1\n", "predictions.csv": "key,score\na,0.5\n"}


def yml(*stages: str, more: str = "") -> str:
    return YML.format(stages="".join(stages)) + more


def opened(repo: Repo, commands: Commands, **changes: Any) -> PullRequest:
    path = repo.path / changes.pop("folder", "") / "mlops.yml"
    values: dict[str, Any] = {
        "base": None,
        "only": (),
        "skip": (),
        "commands": commands,
        "workflow": Workflow(inside=False),
        "cores": 2,
    }
    return pull_request.open_pull_request(config.load(path), path, **{**values, **changes})


def test_the_bases_rules_judge(repo: Repo, commands: Commands) -> None:
    base = repo.commit(
        {"mlops.yml": yml("  data: {deepchecks: false, limits: {shift: 0.2}}\n"), **FILES}
    )
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"mlops.yml": yml("  data: {deepchecks: false, limits: {shift: 0.9}}\n", MODEL)})
    request = opened(repo, commands)
    workspace = request.workspace
    assert workspace.base is not None
    assert workspace.base.commit == base
    assert workspace.judge is workspace.base
    (data, model) = request.plan.stages
    assert data.limits.shift == 0.2  # type: ignore[attr-defined]  # a DataStage
    assert model.name == "model"
    assert request.gate.require == ("data", "model")
    assert [change.what for change in request.gate_changes] == [
        "stages.data.limits.shift",
        "stages.model",
    ]
    said = request.circumstances(reused=(), started="2026-11-01T10:00:00Z", seconds=1.0)
    assert said.judged_by == "base"
    assert said.changed() == ()


def test_a_base_without_rules_lets_head_judge_and_says_so(repo: Repo, commands: Commands) -> None:
    repo.commit(FILES)
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"mlops.yml": yml(DATA)})
    request = opened(repo, commands)
    assert request.workspace.judge is request.workspace.head
    assert request.notes[0].startswith("The base has no mlops.yml yet")


def test_a_base_with_broken_rules_lets_head_judge_and_says_so(
    repo: Repo, commands: Commands
) -> None:
    repo.commit({"mlops.yml": "version: 0\n", **FILES})
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"mlops.yml": yml(DATA)})
    request = opened(repo, commands)
    assert request.workspace.judge is request.workspace.head
    assert "cannot be read" in request.notes[0]


def test_a_base_that_cannot_be_prepared_is_no_base(repo: Repo, commands: Commands) -> None:
    repo.commit({"mlops.yml": yml(DATA, more="prepare: ['false']\n"), **FILES})
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"mlops.yml": yml(DATA, more="prepare: ['true']\n")})
    request = opened(repo, commands)
    assert request.workspace.base is None
    assert "`false` failed" in request.workspace.base_missing
    assert request.blocked is None
    assert [change.what for change in request.subject_changes] == ["prepare"]


def test_a_head_that_cannot_be_prepared_blocks_every_stage(repo: Repo, commands: Commands) -> None:
    repo.commit(
        {"mlops.yml": yml(DATA, more="prepare: ['echo no licence >&2; exit 3']\n"), **FILES}
    )
    request = opened(repo, commands)
    assert request.blocked is not None
    assert "no licence" in str(request.blocked)
    assert "no licence" in (repo.path / ".mlops/prepare-head.log").read_text(encoding="utf-8")


def test_prepare_runs_again_only_when_something_changed(repo: Repo, commands: Commands) -> None:
    more = "prepare: ['echo ran >> ../count']\n"
    repo.commit({"mlops.yml": yml(DATA, more=more), **FILES})
    count = repo.path.parent / "count"
    for _ in range(2):
        opened(repo, commands)
    assert count.read_text() == "ran\n"
    repo.write({"code.py": "x = 1\n"})
    opened(repo, commands, base="HEAD")
    assert count.read_text().count("ran") == 2


def test_a_base_borrows_the_heads_interpreter_and_says_so(repo: Repo, commands: Commands) -> None:
    text = yml(DATA).replace("  task: binary\n", "  task: binary\n  python: env/bin/python\n")
    repo.commit({"mlops.yml": text, ".gitignore": "env\n", **FILES})
    (repo.path / "env" / "bin").mkdir(parents=True)
    (repo.path / "env" / "bin" / "python").symlink_to(sys.executable)
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"x.py": ""})
    request = opened(repo, commands)
    assert request.workspace.base is not None
    assert request.workspace.base.model is not None
    assert request.workspace.base.model.python == str(repo.path / "env/bin/python")
    assert "has no env/bin/python of its own" in request.notes[0]


def test_a_project_in_a_folder(repo: Repo, commands: Commands) -> None:
    files = {f"one/{name}": text for name, text in FILES.items()}
    repo.commit({"one/mlops.yml": yml(DATA), **files})
    repo.commit({"one/code.py": ""})
    request = opened(repo, commands, folder="one")
    assert request.workspace.base is not None
    assert request.workspace.base.root.parts[-1] == "one"
    assert request.workspace.folder == repo.path / "one" / ".mlops"


def test_a_folder_that_the_base_does_not_have(repo: Repo, commands: Commands) -> None:
    repo.commit({"x": ""})
    repo.commit({"one/mlops.yml": yml(DATA), **{f"one/{n}": t for n, t in FILES.items()}})
    request = opened(repo, commands, folder="one")
    assert "no folder one" in request.workspace.base_missing


def test_the_gate_of_gathered_evidence(repo: Repo, commands: Commands) -> None:
    gate = "gate: {on_no_base: fail}\n"
    base = repo.commit({"mlops.yml": yml(DATA, more=gate), **FILES})
    repo.commit({"mlops.yml": yml(DATA)})
    path = repo.path / "mlops.yml"
    judged = run(base=base)
    assert pull_request.gate_of(judged, path, named=False, commands=commands).on_no_base == "fail"
    assert pull_request.gate_of(judged, path, named=True, commands=commands).on_no_base == "warn"
    by_head = run(base=base, judged_by="head")
    assert pull_request.gate_of(by_head, path, named=False, commands=commands).on_no_base == "warn"
    with pytest.raises(ConfigError, match="has no mlops.yml here"):
        pull_request.gate_of(run(), path, named=False, commands=commands)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        pull_request.locked(tmp_path),
        pytest.raises(ConfigError, match="another run is at work here"),
        pull_request.locked(tmp_path),
    ):
        pass
    assert (tmp_path / ".gitignore").read_text(encoding="utf-8") == "*\n"


def test_rules_of_a_first_pull_request() -> None:
    head: Loaded = config.parse(yml(DATA), "mlops.yml")
    chosen = pull_request.rules(None, head)
    assert (chosen.side, list(chosen.stages), chosen.changes) == ("head", ["data"], ())

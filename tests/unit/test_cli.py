"""The verbs, each called as the command line does, on a project of one stage."""

import json
from pathlib import Path

import pytest

from ci_mlops import cli
from ci_mlops.__main__ import main
from ci_mlops.cli import releasing
from ci_mlops.command import Commands
from ci_mlops.github import Workflow
from ci_mlops.release import mirrors
from ci_mlops.release.ledger import Ledger
from tests.conftest import Repo, clean_environ
from tests.project import data_csv

MLOPS_YML = """\
version: 1
project: one
data: {train: train.csv, test: test.csv, key: id, label: approved}
model: {task: binary, predictions: {test: scores.csv}}
stages:
  data: {deepchecks: false}
  latency:
"""


@pytest.fixture
def project(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """Return a committed project, with its folder as the current one."""
    files = {"train.csv": data_csv(0, 300, seed=1), "test.csv": data_csv(1000, 200, seed=2)}
    repo.commit({"mlops.yml": MLOPS_YML, **files})
    repo.commit({"note.txt": "a change"})
    monkeypatch.chdir(repo.path)
    return repo


def run(*arguments: str) -> int:
    return main(arguments, clean_environ())


def test_init_writes_what_run_accepts(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repo.commit({"data/test.csv": data_csv(0, 200, seed=1), "scores.csv": "id,score\n1,0.5\n"})
    monkeypatch.chdir(repo.path)
    code = run("init", "--data", "data/test.csv", "--label", "approved")
    assert code == 0, capsys.readouterr()
    assert "mlops.yml" in capsys.readouterr().out
    assert run("plan") == 0
    assert run("init", "--data", "data/test.csv") == 2
    assert "--force" in capsys.readouterr().err


def test_plan_says_the_order_and_what_is_left_out(
    project: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1. data"
    assert "2. latency, alone on the machine" in lines[2]
    assert run("plan", "--only", "data") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "left out: latency"
    assert run("plan", "--json", "--skip", "latency") == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["stages"]] == ["data"]
    assert document["left_out"] == ["latency"]


def test_run_report_and_verdict_agree(
    project: Repo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", "--only", "data") == 0
    said = capsys.readouterr()
    assert "no verdict on the whole gate" in said.out
    assert ".mlops/report.md" in said.out
    assert run("run", "--only", "data", "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "warned"
    assert run("report", "--output", str(tmp_path / "again")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert (tmp_path / "again" / "report.html").is_file()
    assert run("verdict") == 1
    assert "latency" in capsys.readouterr().out
    assert run("verdict", "--json") == 1
    assert json.loads(capsys.readouterr().out)["exit_code"] == 1


def test_a_bug_within_a_stage_is_kept_as_evidence_and_ends_with_3(
    project: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ci_mlops.stages.data import DataStage

    def breaks(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(DataStage, "run", breaks)
    assert run("run", "--only", "data") == 3
    assert "ZeroDivisionError" in capsys.readouterr().err
    record = json.loads((project.path / ".mlops/evidence/data.json").read_text(encoding="utf-8"))
    assert record["outcome"] == "error"


def test_schema_prints_one_or_writes_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("schema", "policy") == 0
    assert "$schema" in json.loads(capsys.readouterr().out)
    assert run("schema", "--write", str(tmp_path)) == 0
    shipped = Path(cli.__file__).parents[1] / "schema"
    made, kept = (
        {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
        for folder in (tmp_path, shipped)
    )
    assert made == kept


def test_what_main_was_judged_to_be_is_recorded_and_drawn(
    project: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", "--only", "data") == 0
    capsys.readouterr()
    assert run("record") == 0
    assert capsys.readouterr().out == "main: warned, recorded\n"
    assert project.git("ls-tree", "-r", "--name-only", "ci-mlops-records").startswith(
        "history/main/one/2"
    )
    assert run("history", "--html", "page.html") == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "one: runs on main" in page
    assert "data · " in page


RELEASED = "release: {production: {target: command, command: ./deploy}}\n"


def test_no_fault_of_a_mirror_changes_how_a_release_ended(
    project: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither what something outside refuses, nor a bug of ours."""
    project.commit({"mlops.yml": MLOPS_YML + RELEASED})
    environ = clean_environ({"GITHUB_ACTIONS": "true"})

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(mirrors, "sync", broken)
    kept = Ledger(remote=str(project.path), folder=project.path, commands=Commands(environ=environ))
    workflow = Workflow.from_environ(environ)
    releasing.mirror("production", Path("mlops.yml"), kept, workflow=workflow, environ=environ)
    assert capsys.readouterr().err == (
        "::warning::the mirrors of production could not be written: oh\n"
    )
    assert main(["ledger", "sync"], environ) == 3, "asked for alone, a bug is one"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_ledger_sync_without_an_environment_or_a_mirror(
    project: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("ledger", "sync") == 0
    assert capsys.readouterr().out == "No environment has a mirror.\n"
    project.commit({"mlops.yml": MLOPS_YML + RELEASED})
    assert run("ledger", "sync", "production", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["left_out"] == ["GITHUB_REPOSITORY and GITHUB_TOKEN are not set"]
    assert run("ledger", "sync", "prodution") == 2
    assert 'did you mean "production"' in capsys.readouterr().err

"""A small project from its first commit to a red pull request, with the real command line."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from ci_mlops import evidence
from tests import broken_inputs, project
from tests.conftest import Repo, clean_environ
from tests.project import ci_mlops


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return the project with a base commit and a branch that changes a comment."""
    repo = broken_inputs.new_repo(tmp_path_factory.mktemp("small") / "repo")
    repo.git("checkout", "-q", "-b", "feature")
    return repo


def test_a_harmless_change_passes_and_an_unchanged_run_is_reused(small: Repo) -> None:
    small.commit({"train.py": project.TRAIN_PY + "# trained on real data\n"})
    code, output, errors = ci_mlops(small.path, "run", "--json")
    document = json.loads(output)
    assert (code, document["verdict"]) == (0, "passed"), (document["reasons"], errors)
    run = evidence.read_run(small.path / ".mlops/evidence/run.json")
    assert run.base == small.git("rev-parse", "main")
    assert run.judged_by == "base"
    assert run.changed() == ("code",)
    code, output, errors = ci_mlops(small.path, "run")
    assert code == 0, output + errors
    again = evidence.read_run(small.path / ".mlops/evidence/run.json")
    assert set(again.reused) == set(run.stages)
    assert small.git("status", "--porcelain") == ""


EVIL = """\
import joblib

class Evil:
    def __reduce__(self):
        return exec, ({what!r},)

joblib.dump(Evil(), "model.joblib")
"""
WHAT = """\
import json, os, sys
here = {{"environ": dict(os.environ), "inside": "ci_mlops" in sys.modules}}
open({stolen!r}, "w").write(json.dumps(here))
for name in ("GITHUB_OUTPUT", "GITHUB_ENV"):
    if name in os.environ:
        open(os.environ[name], "a").write("verdict=passed\\nBASH_ENV=x.sh\\n")
"""


def test_a_pickle_that_runs_code_gets_no_token_forges_no_output_and_is_not_green(
    tmp_path: Path,
) -> None:
    repo = broken_inputs.new_repo(tmp_path / "repo")
    stolen = tmp_path / "stolen.json"
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"train.py": EVIL.format(what=WHAT.format(stolen=str(stolen)))})
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_ENV")}
    tokens = {"GITHUB_TOKEN": "ghs_secret", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret"}
    for file in files.values():
        Path(file).touch()
    code, output, _ = ci_mlops(repo.path, "run", "--json", "--only", "model", **files, **tokens)
    assert (code, json.loads(output)["verdict"]) == (1, "error")
    found = json.loads(stolen.read_text(encoding="utf-8"))
    assert not {*files, *tokens} & set(found["environ"])
    assert not found["inside"], "a model was loaded by the process that decides"
    assert [Path(file).read_text(encoding="utf-8") for file in files.values()] == ["", ""]


def test_report_and_verdict_come_from_the_evidence_alone(small: Repo) -> None:
    ci_mlops(small.path, "run")
    report = (small.path / ".mlops/report.md").read_text(encoding="utf-8")
    code, output, errors = ci_mlops(small.path, "report", "--output", "again")
    assert code == 0, errors
    assert (small.path / "again" / "report.md").read_text(encoding="utf-8") == report
    code, output, errors = ci_mlops(small.path, "verdict", "--json")
    assert (code, json.loads(output)["verdict"]) == (0, "passed"), output + errors


def test_a_pull_request_cannot_loosen_the_rules_that_judge_it(small: Repo) -> None:
    text = (small.path / "mlops.yml").read_text(encoding="utf-8")
    unfair = text.replace("threshold: 0.5", "threshold: 0.999999")
    loosened = unfair.replace("  policy: {packs: [four-fifths, no-regression]}\n", "")
    small.write({"mlops.yml": loosened})
    code, output, _ = ci_mlops(small.path, "run", "--json")
    small.git("checkout", "-q", "mlops.yml")
    document = json.loads(output)
    assert code == 1
    run = evidence.read_run(small.path / ".mlops/evidence/run.json")
    assert "policy" in run.stages
    assert [change.what for change in run.gate_changes] == ["stages.policy"]
    assert [change.what for change in run.subject_changes] == ["model.threshold"]
    assert any(reason["stage"] == "model" for reason in document["reasons"])


@pytest.mark.parametrize("broken", broken_inputs.FILES)
def test_a_broken_input_is_never_green_and_always_one_clear_line(small: Repo, broken: str) -> None:
    files, words = broken_inputs.FILES[broken]
    try:
        code, said = broken_inputs.run_with(small, files)
    finally:
        small.git("checkout", "-q", ".")
    assert code in {1, 2}, said
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if words in line], said


@pytest.mark.parametrize("damage", broken_inputs.RECORDS)
def test_damaged_evidence_is_never_green(small: Repo, damage: str) -> None:
    code, said = broken_inputs.verdict_with(small, damage)
    assert code == 1, said
    assert [line for line in said.splitlines() if "policy" in line]


@pytest.mark.parametrize("rule", broken_inputs.RULES)
def test_a_policy_that_is_not_there_is_never_green(tmp_path: Path, rule: str) -> None:
    code, said = broken_inputs.first_commit_with(tmp_path / "repo", rule)
    assert code == 2, said
    assert "Traceback" not in said
    assert broken_inputs.RULES[rule][1] in said


def test_a_base_that_is_not_there_is_never_green(small: Repo) -> None:
    code, output, errors = ci_mlops(small.path, "run", "--base", "no-such-commit")
    assert code == 2, output
    assert "no-such-commit" in errors


def test_no_base_is_said_aloud(tmp_path: Path) -> None:
    repo = broken_inputs.new_repo(tmp_path / "repo")
    code, output, errors = ci_mlops(repo.path, "run")
    assert code == 0, output + errors
    assert "first commit" in output
    assert "first commit" in (repo.path / ".mlops/report.md").read_text(encoding="utf-8")


def test_interrupt_leaves_no_half_record(small: Repo) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ci_mlops", "run", "--no-cache"],
        cwd=small.path,
        env=clean_environ({"CI": "true"}),
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job starts with Ctrl-C ignored, and hands that down to the tests.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    folder = small.path / ".mlops/evidence"
    for file in folder.glob("*.json"):
        if file.name != "run.json":
            evidence.read_record(file)
    assert not list(folder.glob(".*.json.*"))


def test_two_runs_at_once_do_not_mix(small: Repo) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "ci_mlops", "run", "--no-cache"],
        cwd=small.path,
        env=clean_environ({"CI": "true"}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stderr is not None
    first.stderr.readline()
    code, _, errors = ci_mlops(small.path, "run")
    first.communicate(timeout=120)
    assert code == 2
    assert "another run is at work here" in errors

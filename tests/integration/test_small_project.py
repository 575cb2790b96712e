"""A small project from its first commit to a red pull request, with the real command line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ci_mlops import evidence
from tests import project
from tests.conftest import Repo, clean_environ
from tests.project import ci_mlops


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return the project with a base commit and a branch that changes a comment."""
    path = tmp_path_factory.mktemp("small") / "repo"
    path.mkdir()
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main")
    project.make(repo)
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


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"data/test.csv": None}, "data/test.csv"),
        ({"data/test.csv": "id,income\n\x00\n"}, "data/test.csv"),
        ({"data/test.csv": "id,income,debt,sex\n1,2,3,male\n"}, "approved"),
        ({"data/train.csv": "id,income,sex,approved\n1,2,male,1\n2,2,male,0\n"}, "debt"),
        ({"train.py": "raise SystemExit('no licence')\n"}, "no licence"),
        ({"train.py": "open('model.joblib', 'w').write('x')\n"}, "model.joblib"),
        (
            {
                "train.py": "from pathlib import Path\nPath('model.joblib').unlink(missing_ok=True)\n"
            },
            "model.joblib",
        ),
        ({"mlops.yml": "stages.latncy: 1\n"}, "mlops.yml:1"),
    ],
    ids=[
        "no-data",
        "binary-data",
        "no-label",
        "no-column",
        "no-training",
        "bad-model",
        "no-model",
        "bad-config",
    ],
)
def test_a_broken_input_is_never_green_and_always_one_clear_line(
    small: Repo, broken: dict[str, str | None], words: str
) -> None:
    for name, text in broken.items():
        path = small.path / name
        path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    try:
        code, output, errors = ci_mlops(small.path, "run")
    finally:
        small.git("checkout", "-q", ".")
    assert code in {1, 2}, output + errors
    assert "Traceback" not in output + errors
    lines = [line for line in (output + errors).splitlines() if words in line]
    assert lines, output + errors


@pytest.mark.parametrize("damage", ["missing", "torn", "empty", "foreign", "no-check"])
def test_damaged_evidence_is_never_green(small: Repo, tmp_path: Path, damage: str) -> None:
    ci_mlops(small.path, "run")
    path = small.path / ".mlops/evidence/policy.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_text(json.dumps(record)[:-9], encoding="utf-8")
    elif damage == "empty":
        path.write_text("", encoding="utf-8")
    else:
        changed = {"subjects": [{"name": "head.model", "sha256": "0" * 64}]}
        record |= changed if damage == "foreign" else {"checks": [], "outcome": "skipped"}
        path.write_text(json.dumps(record), encoding="utf-8")
    code, output, _ = ci_mlops(small.path, "verdict")
    assert code == 1
    assert "policy" in output


def test_no_base_is_said_aloud(tmp_path: Path) -> None:
    path = tmp_path / "repo"
    path.mkdir()
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main")
    project.make(repo)
    code, output, errors = ci_mlops(repo.path, "run")
    assert code == 0, output + errors
    assert "first commit" in output
    assert "first commit" in (path / ".mlops/report.md").read_text(encoding="utf-8")


def test_interrupt_leaves_no_half_record(small: Repo) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ci_mlops", "run", "--no-cache"],
        cwd=small.path,
        env=clean_environ({"CI": "true"}),
        stderr=subprocess.PIPE,
        text=True,
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

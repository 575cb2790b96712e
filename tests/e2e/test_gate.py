"""The workflow that judges, as users get it, run by act."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Site, project

GREEN = {"plan": "success", "judge loans": "success", "verdict": "success"}
RED = {"plan": "success", "judge loans": "failure", "verdict": "failure"}
UNFAIR = {"predictions.csv": project(fair=False)["predictions.csv"]}


def evidence(site: Site, name: str = "loans") -> dict[str, str]:
    """Return the evidence that the gate left for a publisher: outcome by stage."""
    folder = site.runner.artifacts / f"ci-mlops-evidence-{name}" / "evidence"
    records = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    return {one["stage"]: one["outcome"] for one in records if "stage" in one}


def test_pull_request(site: Site) -> None:
    site.start(project(), "gate.yml")
    ran = site.gate(site.pull_request({"train.py": "seed = 2\n"}))
    assert ran.jobs() == GREEN, ran.said()
    assert ran.code == 0
    assert ran.outputs()["verdict"] == "passed"
    assert evidence(site) == {"policy": "passed"}
    assert (site.runner.artifacts / "ci-mlops-evidence-loans" / "report.html").is_file()
    assert site.world.requests == [], "the job that judges speaks to nobody"


def test_red(site: Site) -> None:
    site.start(project(), "gate.yml")
    ran = site.gate(site.pull_request(UNFAIR))
    assert ran.jobs() == RED, ran.said()
    assert ran.code == 1
    assert ran.outputs()["verdict"] == "failed"
    assert evidence(site) == {"policy": "failed"}, "a red run leaves its evidence too"


def test_rules_of_the_base_judge(site: Site) -> None:
    site.start(project(), "gate.yml")
    loosened = project()["mlops.yml"].replace("[four-fifths]", "[documentation]")
    ran = site.gate(site.pull_request({**UNFAIR, "mlops.yml": loosened}))
    assert ran.jobs() == RED, ran.said()


@pytest.mark.parametrize(("files", "jobs"), [({"train.py": "1\n"}, GREEN), (UNFAIR, RED)])
def test_merge_group(site: Site, files: dict[str, str], jobs: dict[str, str]) -> None:
    site.start(project(), "gate.yml")
    pull = site.pull_request(files)["pull_request"]
    event = {
        "action": "checks_requested",
        "merge_group": {
            "head_sha": site.repo.git("rev-parse", "HEAD"),
            "head_ref": "refs/heads/gh-readonly-queue/main/pr-1-abc",
            "base_sha": pull["base"]["sha"],
            "base_ref": "refs/heads/main",
        },
    }
    ran = site.runner.run(site.repo, "merge_group", event)
    assert ran.jobs() == jobs, ran.said()
    assert "cache key" not in ran.said(), "the queue restores nothing that others wrote"


def test_a_pull_request_restores_only_what_is_its_own(site: Site) -> None:
    site.start(project(), "gate.yml")
    ran = site.gate(site.pull_request({"train.py": "seed = 2\n"}))
    keys = [line for line in ran.said().splitlines() if line.startswith("cache key")]
    assert len(keys) == 3, "the environment, evidence, and evidence again to save"
    assert all(key.startswith("cache key pull-request-") for key in keys)


def test_a_broken_configuration_is_red_and_one_line(site: Site) -> None:
    site.start(project(), "gate.yml")
    ran = site.gate(site.pull_request({"mlops.yml": "version: 1\nproject: loans\nstages: 7\n"}))
    assert ran.jobs() == {"plan": "failure", "verdict": "failure"}, ran.said()
    assert "error: mlops.yml:1: data: " in ran.said()
    assert "Traceback" not in ran.said()


def test_setup_runs_in_the_folder_of_the_project(site: Site) -> None:
    site.start(project(folder="risk"), "gate.yml")
    gate = site.repo.path / ".github/workflows/mlops.yml"
    text = gate.read_text(encoding="utf-8").replace('setup: ""', "setup: pwd > $ARTIFACT_STORE/at")
    ran = site.gate(site.pull_request({".github/workflows/mlops.yml": text}))
    assert ran.jobs() == GREEN, ran.said()
    assert Path((site.runner.artifacts / "at").read_text(encoding="utf-8").strip()).name == "risk"


MONOREPO = {
    **project("loans", folder="loans"),
    **project("fraud", folder="risk/fraud"),
    "shared/features.py": "x = 1\n",
}


@pytest.mark.parametrize(
    ("files", "judged"),
    [
        ({"risk/fraud/train.py": "1\n"}, {"fraud": "success"}),
        ({"shared/features.py": "x = 2\n"}, {"fraud": "success", "loans": "success"}),
        (
            {"loans/predictions.csv": UNFAIR["predictions.csv"], "risk/fraud/train.py": "1\n"},
            {"fraud": "success", "loans": "failure"},
        ),
        ({"README.md": "More words\n"}, {}),
    ],
    ids=["one", "shared", "one-red", "documentation"],
)
def test_monorepo(site: Site, files: dict[str, str], judged: dict[str, str]) -> None:
    site.start(MONOREPO, "gate.yml")
    ran = site.gate(site.pull_request(files))
    worst = "failure" if "failure" in judged.values() else "success"
    expected = {f"judge {name}": result for name, result in judged.items()}
    assert ran.jobs() == {"plan": "success", **expected, "verdict": worst}, ran.said()
    assert {file.name for file in site.runner.artifacts.iterdir()} == {
        f"ci-mlops-evidence-{name}" for name in judged
    }


def test_a_change_cannot_leave_its_own_gate(site: Site) -> None:
    site.start(MONOREPO, "gate.yml")
    site.repo.git("checkout", "-q", "-b", "feature")
    site.repo.git("rm", "-q", "loans/mlops.yml")
    site.repo.commit({"loans/predictions.csv": UNFAIR["predictions.csv"]})
    site.repo.git("checkout", "-q", "--detach", "main")
    site.repo.git("merge", "-q", "--no-ff", "-m", "Merge", "feature")
    ran = site.gate({"pull_request": {"number": 1, "head": {"ref": "feature", "sha": "a" * 40}}})
    assert ran.jobs() == {"plan": "failure", "verdict": "failure"}, ran.said()
    assert "error: loans/mlops.yml: is removed, but loans/predictions.csv" in ran.said()

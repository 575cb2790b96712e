"""The whole chain: a pull request is judged, its evidence crosses, a trusted job shows the verdict."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Site, project

UNFAIR = {"predictions.csv": project(fair=False)["predictions.csv"]}
BOTH = ("gate.yml", "publish.yml")


def only_comment(site: Site) -> str:
    (comment,) = site.world.own_comments()
    return comment


@pytest.mark.parametrize(
    ("files", "result", "sign", "head"),
    [
        ({"train.py": "1\n"}, "success", "✅", "acme/loans"),
        ({"train.py": "1\n"}, "success", "✅", "mallory/loans"),
        (UNFAIR, "failure", "❌", "mallory/loans"),
    ],
    ids=["same", "fork", "fork-red"],
)
def test_pull_request(site: Site, files: dict[str, str], result: str, sign: str, head: str) -> None:
    site.start(project(), *BOTH)
    event = site.pull_request(files, head_repository=head)
    gate = site.gate(event, token="ghs_of_a_fork_that_may_read_and_nothing_else")
    assert gate.jobs()["verdict"] == result, gate.said()
    assert site.world.requests == []
    ran = site.publish(event, conclusion=result)
    assert ran.jobs() == {"publish": result}, ran.said()
    assert only_comment(site).splitlines()[1].startswith(f"## {sign} loans")
    assert site.world.comments[0]["issue"] == event["number"]
    (check,) = site.world.check_runs
    assert (check["head_sha"], check["conclusion"]) == (site.heads["feature"], result)


def test_a_push_edits_the_comment(site: Site) -> None:
    site.start(project(), *BOTH)
    event = site.pull_request(UNFAIR)
    site.gate(event)
    site.publish(event)
    assert "❌" in only_comment(site)
    shutil.rmtree(site.runner.artifacts)
    site.runner.artifacts.mkdir()
    better = project()["predictions.csv"].replace("0.75", "0.85")
    pushed = site.push(event, {"predictions.csv": better})
    assert site.gate(pushed).jobs()["verdict"] == "success"
    site.publish(pushed)
    assert only_comment(site).splitlines()[1].startswith("## ✅ loans")


def test_monorepo_has_one_comment_and_a_check_for_each(site: Site) -> None:
    files = {**project("loans", folder="loans"), **project("fraud", folder="fraud")}
    site.start(files, *BOTH)
    event = site.pull_request(
        {"loans/predictions.csv": UNFAIR["predictions.csv"], "fraud/train.py": "1\n"}
    )
    site.gate(event)
    ran = site.publish(event, conclusion="failure")
    assert ran.jobs() == {"publish": "failure"}, ran.said()
    comment = only_comment(site)
    assert comment.index("## ❌ loans") < comment.index("## ✅ fraud")
    assert {one["name"]: one["conclusion"] for one in site.world.check_runs} == {
        "ci-mlops (loans)": "failure",
        "ci-mlops (fraud)": "success",
    }


def test_a_change_of_no_project_needs_no_evidence(site: Site) -> None:
    site.start(project(folder="loans"), *BOTH)
    event = site.pull_request({"README.md": "More words\n"})
    assert site.gate(event).jobs() == {"plan": "success", "verdict": "success"}
    ran = site.publish(event)
    assert ran.jobs() == {"publish": "success"}, ran.said()
    assert "the change concerns no project" in ran.text
    assert site.world.comments == site.world.check_runs == []


def test_a_project_that_left_no_evidence_is_missed(site: Site) -> None:
    files = {**project("loans", folder="loans"), **project("fraud", folder="fraud")}
    site.start(files, *BOTH)
    event = site.pull_request({"shared.py": "1\n"}, head_repository="mallory/loans")
    site.gate(event)
    shutil.rmtree(site.runner.artifacts / "ci-mlops-evidence-loans")
    ran = site.publish(event)
    assert ran.jobs() == {"publish": "failure"}, ran.said()
    assert {one["name"]: one["conclusion"] for one in site.world.check_runs} == {
        "ci-mlops (loans)": "failure",
        "ci-mlops (fraud)": "success",
    }


def traversal(folder: Path) -> None:
    with zipfile.ZipFile(folder.parent / "zip", "w") as archive:
        for file in folder.rglob("*.json"):
            archive.write(file, f"evidence/{file.name}")
        archive.writestr("../../../../.bashrc", "touch marked")
    shutil.rmtree(folder)
    (folder.parent / "zip").rename(folder.with_suffix(".zip"))


def edited(folder: Path, name: str, **values: Any) -> None:
    file = folder / "evidence" / name
    document = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps(document), encoding="utf-8")


def foreign(folder: Path) -> None:
    edited(folder, "run.json", head="b" * 40)


def left_out(folder: Path) -> None:
    edited(folder, "run.json", stages=[], left_out=[])
    (folder / "evidence" / "policy.json").unlink()


@pytest.mark.parametrize("poison", [traversal, foreign, left_out])
def test_poisoned_evidence_is_never_green(site: Site, poison: Any) -> None:
    site.start(project(), *BOTH)
    event = site.pull_request({"train.py": "1\n"}, head_repository="mallory/loans")
    assert site.gate(event).code == 0
    poison(site.runner.artifacts / "ci-mlops-evidence-loans")
    ran = site.publish(event)
    assert ran.jobs() == {"publish": "failure"}, ran.said()
    assert only_comment(site).splitlines()[1].startswith("## ⛔ loans")
    (check,) = site.world.check_runs
    assert check["conclusion"] == "failure"
    assert "Traceback" not in ran.said()


def test_a_run_of_another_event_shows_nothing(site: Site) -> None:
    site.start(project(), *BOTH)
    event = site.pull_request({"train.py": "1\n"})
    ran = site.publish(event, tested="push")
    assert ran.jobs() == {}
    assert (site.world.requests, site.world.comments) == ([], [])

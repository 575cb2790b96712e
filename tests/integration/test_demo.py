"""`make demo`: two real pull requests on real data, one green and one red, for the right reasons."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import clean_environ

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo() -> str:
    """Return what the demo printed."""
    done = subprocess.run(
        [sys.executable, TOP / "examples" / "demo.py"],
        cwd=TOP,
        env=clean_environ({"CI": "true"}),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def checks(name: str, stage: str) -> dict[tuple[str, str], str]:
    """Return the outcomes of a record of the demo, by check and slice."""
    path = TOP / "build" / "demo" / name / "evidence" / f"{stage}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    return {(check["name"], check["slice"]): check["outcome"] for check in record["checks"]}


def test_green_passes_with_every_stage(demo: str) -> None:
    # On a busy machine latency may not be able to tell, which warns and is never red.
    assert "loans: passed" in demo
    for stage in ("data", "model", "behaviour", "policy", "latency", "serving"):
        outcomes = set(checks("green", stage).values())
        assert outcomes <= {"passed", "skipped", "inconclusive"}, stage


def test_green_is_merged_released_and_answers(demo: str) -> None:
    assert "production: promoted: the demo" in demo
    assert "All 32 recorded rows got the answer that was judged, " in demo.splitlines()[-1]


def test_red_fails_the_four_fifths_rule_by_race_alone_of_the_levels(demo: str) -> None:
    assert "❌ loans: failed" in demo
    outcomes = checks("red", "policy")
    assert outcomes["four-fifths", "race"] == "failed"
    assert outcomes["four-fifths", "male"] == "passed"


def test_the_report_names_the_line_that_did_it(demo: str) -> None:
    assert demo
    report = (TOP / "build" / "demo" / "red" / "report.md").read_text(encoding="utf-8")
    assert "model.threshold: 0.5 → 0.8" in report
    page = (TOP / "build" / "demo" / "red" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")

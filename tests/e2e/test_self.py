"""Our own gate: the action of this commit on what must pass and on what must fail."""

import shutil

import pytest

from tests.e2e.conftest import Site
from tests.e2e.runner import TOP

FAILS = "tests/cases/policy/fails/adverse-impact"
PASSES = "tests/cases/policy/passes/equal-groups"


@pytest.mark.parametrize(
    ("other", "result"), [(FAILS, "success"), (PASSES, "failure")], ids=["as-is", "fails-nothing"]
)
def test_what_must_fail_does(site: Site, other: str, result: str) -> None:
    for folder in (PASSES, FAILS):
        shutil.copytree(TOP / folder, site.repo.path / folder)
    workflow = site.repo.path / ".github" / "workflows" / "self-gate.yml"
    workflow.parent.mkdir(parents=True)
    text = (site.runner.ourselves / ".github/workflows/self-gate.yml").read_text(encoding="utf-8")
    workflow.write_text(text.replace(FAILS, other), encoding="utf-8")
    site.start({})
    ran = site.gate(site.pull_request({"README.md": "1\n"}), workflow="self-gate.yml")
    assert ran.jobs() == {"gate": result}, ran.said()

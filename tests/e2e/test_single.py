"""One job that judges and publishes: a consumer that calls the action at a tag."""

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Site, project
from tests.e2e.runner import stand_in

NETWORK = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(("PIP_", "UV_")) or name.lower().endswith(("_proxy", "ssl_cert_file"))
}
"""How this machine reaches its package index, which a clean environment forgets."""
UNFAIR = {"predictions.csv": project(fair=False)["predictions.csv"]}


@pytest.mark.parametrize(
    ("files", "result", "sign"),
    [({"train.py": "1\n"}, "success", "✅"), (UNFAIR, "failure", "❌")],
    ids=["green", "red"],
)
def test_pull_request(site: Site, files: dict[str, str], result: str, sign: str) -> None:
    site.start(project(), "single.yml")
    event = site.pull_request(files)
    ran = site.gate(event, token=site.world.token)
    assert ran.jobs() == {"gate": result}, ran.said()
    (comment,) = site.world.own_comments()
    assert comment.splitlines()[1].startswith(f"## {sign} loans")
    (check,) = site.world.check_runs
    assert (check["head_sha"], check["conclusion"]) == (
        event["pull_request"]["head"]["sha"],
        result,
    )
    outputs = ran.outputs()
    assert outputs["verdict"] == {"success": "passed", "failure": "failed"}[result]
    assert outputs["report"].endswith("/.mlops/report.md")
    assert list(site.runner.artifacts.iterdir()) == []


def test_a_second_run_edits_the_comment(site: Site) -> None:
    site.start(project(), "single.yml")
    event = site.pull_request({"train.py": "1\n"})
    for _ in range(2):
        assert site.gate(event, token=site.world.token).code == 0
    assert len(site.world.own_comments()) == 1


@pytest.mark.parametrize(
    ("files", "result"), [({"train.py": "1\n"}, "success"), (UNFAIR, "failure")]
)
def test_fork(site: Site, files: dict[str, str], result: str) -> None:
    site.start(project(), "single.yml")
    site.world.scopes = {"contents": "read", "pull-requests": "read", "checks": "read"}
    event = site.pull_request(files, head_repository="mallory/loans")
    ran = site.gate(event, token=site.world.token)
    assert ran.jobs() == {"gate": result}, "a comment that fails changes no verdict"
    assert site.world.comments == []
    assert "this pull request comes from a fork" in ran.text


def test_a_runner_that_keeps_an_environment(site: Site, tmp_path: Path) -> None:
    shutil.rmtree(site.runner.environment)
    stand_in(tmp_path / "kept")
    site.start(project(), "single.yml")
    file = site.repo.path / ".github/workflows/mlops.yml"
    text = file.read_text(encoding="utf-8")
    text += f"        with: {{ environment: {tmp_path}/kept }}\n"
    ran = site.gate(site.pull_request({".github/workflows/mlops.yml": text}))
    assert ran.jobs() == {"gate": "success"}, ran.said()
    assert not site.runner.environment.exists()
    assert (tmp_path / "kept" / "ci-mlops").is_file()


def test_the_real_installation(site: Site) -> None:
    """Nothing is prepared: pip and uv install the lock files, each file by its hash."""
    shutil.rmtree(site.runner.environment)
    site.start(project(), "single.yml")
    ran = site.gate(site.pull_request({"train.py": "1\n"}), environ=NETWORK)
    assert ran.jobs() == {"gate": "success"}, ran.said()
    packages = site.runner.environment / "python" / "lib"
    assert list(packages.glob("python3.*/site-packages/fairlearn-*.dist-info"))
    assert not list(packages.glob("python3.*/site-packages/zizmor*")), "no tool of ours"

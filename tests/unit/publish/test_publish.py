"""The verb in the job that made the evidence: files, outputs, summary, comment, check, exit code."""

from pathlib import Path
from typing import Any

from ci_mlops.__main__ import main
from ci_mlops.evidence import Record
from tests.fake_github import FakeGitHub, World
from tests.unit.publish.situations import HEAD, check, environ, evidence_folder, record, run

YML = """\
version: 1
project: loans
data: {test: test.csv, label: y}
stages: {data: {}}
"""


def published(
    github: FakeGitHub,
    folder: Path,
    *found: Record,
    arguments: tuple[str, ...] = (),
    **changes: Any,
) -> int:
    config = folder / "mlops.yml"
    config.write_text(YML, encoding="utf-8")
    mlops = evidence_folder(folder, run(), *found)
    flags = ["--config", str(config), "--folder", str(mlops), *arguments]
    return main(["publish", *flags], environ(github, folder, **changes))


def test_pull_request(github: FakeGitHub, world: World, tmp_path: Path) -> None:
    assert published(github, tmp_path, record(check())) == 1
    (body,) = world.own_comments()
    assert body.startswith("<!-- ci-mlops:loans -->\n## ❌ loans: 1 check blocks")
    (made,) = world.check_runs
    assert (made["head_sha"], made["conclusion"]) == (HEAD, "failure")
    assert made["name"] == "ci-mlops (loans)"
    assert made["annotations"][0]["path"] == "mlops.yml"
    assert "1 check blocks" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    for name in ("report.md", "report.html", "report.sarif", "report.junit.xml"):
        assert (tmp_path / ".mlops" / name).stat().st_size


def test_pull_request_that_passes(github: FakeGitHub, world: World, tmp_path: Path) -> None:
    assert published(github, tmp_path, record(check("passed"))) == 0
    assert world.check_runs[0]["conclusion"] == "success"

"""The verb in the job that made the evidence: files, outputs, summary, comment, check, exit code."""

import json
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.__main__ import main
from ci_mlops.evidence import Place, Record
from tests.fake_github import FakeGitHub, World
from tests.unit.github.test_workflow import read_outputs
from tests.unit.publish.situations import HEAD, OTHER, check, environ, evidence_folder, record, run

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
    (folder / "output").unlink(missing_ok=True)
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


@pytest.mark.parametrize("name", ["verdict", "report", "evidence"])
def test_outputs(github: FakeGitHub, tmp_path: Path, name: str) -> None:
    published(github, tmp_path, record(check()))
    outputs = read_outputs(tmp_path / "output")
    mlops = tmp_path / ".mlops"
    expected = {
        "verdict": "failed",
        "report": str(mlops / "report.md"),
        "evidence": str(mlops / "evidence"),
    }
    assert outputs[name] == expected[name]


@pytest.mark.parametrize(
    ("scopes", "lines"),
    [
        ({"checks": "write"}, ["pull-requests: write"]),
        ({"pull-requests": "write"}, ["checks: write"]),
        ({}, ["pull-requests: write", "checks: write"]),
    ],
)
@pytest.mark.parametrize(("outcome", "code"), [("passed", 0), ("failed", 1)])
def test_publishing_that_fails_changes_no_verdict(  # noqa: PLR0917 - fixtures and parameters
    github: FakeGitHub,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    scopes: dict[str, str],
    lines: list[str],
    outcome: Any,
    code: int,
) -> None:
    world.scopes = scopes
    assert published(github, tmp_path, record(check(outcome))) == code
    warnings = [
        one for one in capsys.readouterr().out.splitlines() if one.startswith("::warning::")
    ]
    assert len(warnings) == len(lines)
    for warning, line in zip(warnings, lines, strict=True):
        assert f"Add `{line.replace(':', '%3A')}`" in warning.replace(":", "%3A")


def test_fork_with_a_token_that_only_reads(
    github: FakeGitHub, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.scopes = dict.fromkeys(world.scopes, "read")
    code = published(github, tmp_path, record(check("passed")), head_repository="mallory/loans")
    output = capsys.readouterr().out
    assert code == 0
    assert "::notice::no comment: this pull request comes from a fork" in output
    assert "::warning::" not in output
    assert "loans: passed" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_push(github: FakeGitHub, world: World, tmp_path: Path) -> None:
    code = published(github, tmp_path, record(check("passed")), GITHUB_EVENT_PATH="")
    assert code == 0
    assert world.comments == []
    assert world.check_runs[0]["head_sha"] == OTHER


@pytest.mark.parametrize(
    "changes", [{"GITHUB_TOKEN": ""}, {"GITHUB_TOKEN": "", "GITHUB_ACTIONS": ""}]
)
def test_without_a_token_the_files_are_written(
    github: FakeGitHub,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: Any,
) -> None:
    assert published(github, tmp_path, record(check("passed")), **changes) == 0
    assert "::notice::no comment and no check" in capsys.readouterr().out
    assert world.requests == []
    assert (tmp_path / ".mlops" / "report.sarif").exists()


def test_evidence_that_cannot_be_read_says_so_everywhere(
    github: FakeGitHub, world: World, tmp_path: Path
) -> None:
    folder = tmp_path / ".mlops" / "evidence"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{")
    (tmp_path / "mlops.yml").write_text(YML)
    flags = ["--config", str(tmp_path / "mlops.yml"), "--folder", str(tmp_path / ".mlops")]
    assert main(["publish", *flags], environ(github, tmp_path)) == 1
    assert read_outputs(tmp_path / "output")["verdict"] == "error"
    assert "could not judge" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert world.check_runs[0]["conclusion"] == "failure"
    assert "could not judge" in world.own_comments()[0]


def test_as_json(github: FakeGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(github, tmp_path, record(check()), arguments=("--json",))
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "failed"
    assert len(document["reports"]) == 4


def test_a_newer_verdict_is_left_as_it_is(
    github: FakeGitHub, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(github, tmp_path, record(check()), GITHUB_RUN_ID="200")
    assert published(github, tmp_path, record(check("passed")), GITHUB_RUN_ID="199") == 0
    assert "::notice::the comment already shows a newer verdict" in capsys.readouterr().out
    assert "1 check blocks" in world.own_comments()[0]


def test_a_secret_in_the_evidence_is_not_published(
    github: FakeGitHub, world: World, tmp_path: Path
) -> None:
    bad = record(check(message=f"fatal: could not read https://x:{world.token}@github.example"))
    published(github, tmp_path, bad)
    written = [one.read_text(encoding="utf-8") for one in (tmp_path / ".mlops").glob("report.*")]
    checks = json.dumps(world.check_runs, ensure_ascii=False)
    shown = [*world.own_comments(), checks, *written]
    hidden = [text.replace("\u200b", "").replace("&#95;", "_") for text in shown]
    assert all(world.token not in text for text in hidden)
    assert "***" in written[0].replace("&#42;", "*")


# --- what the pull request writes into the report -------------------------------------------------

HOSTILE = (
    "@org/team",
    "</details><script>alert(1)</script>",
    "```\n@org/team",
    "<!-- ci-mlops:loans -->",
    "| a | b |\n|---|---|",
    "![x](https://example.org/x.png)",
    "x" * 2000,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_the_repository_can_call_and_break_nothing(
    github: FakeGitHub, world: World, tmp_path: Path, text: str
) -> None:
    hostile = check(name=text[:200], slice=text, message=text, remedy=text, source=text)
    published(github, tmp_path, record(hostile, notes=(text,)))
    (body,) = world.own_comments()
    (made,) = world.check_runs
    for shown in (body, made["output"]["summary"]):
        assert "@org" not in shown
        assert "<script" not in shown
        assert shown.count("<details>") == shown.count("</details>")
        assert "![" not in shown
    assert body.count("<!--") == 2
    assert body.count("-->") == 2
    published(github, tmp_path, record(hostile), GITHUB_RUN_ID="101")
    assert len(world.own_comments()) == 1


def test_a_model_file_whose_name_is_a_workflow_command(
    github: FakeGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "m.pkl\n::error::forged\nverdict=passed"
    place = Place(file=evil)
    published(github, tmp_path, record(check(message=evil, place=place, remedy="::error::too")))
    lines = [one.strip() for one in capsys.readouterr().out.splitlines()]
    assert not [one for one in lines if one.startswith("::error")]
    assert read_outputs(tmp_path / "output")["verdict"] == "failed"

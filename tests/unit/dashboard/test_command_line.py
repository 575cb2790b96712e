"""`record` and `history --html` over a real repository and evidence."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from ci_mlops import evidence
from ci_mlops.__main__ import main
from ci_mlops.command import Commands
from ci_mlops.evidence import file_sha256
from ci_mlops.release.entry import Entry
from ci_mlops.release.ledger import ledger_at
from tests import histories
from tests.conftest import Repo, clean_environ
from tests.records import record, run

WATCHED = ".mlops/monitors/production/evidence"


def command(*arguments: str) -> int:
    return main(arguments, clean_environ())


@pytest.fixture
def watched(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """Return a repository whose monitors have left evidence."""
    commit = repo.commit({"a": "b"})
    folder = repo.path / WATCHED
    evidence.write(folder / "data.json", record("passed", "warned"))
    records = {"data": file_sha256(folder / "data.json")}
    evidence.write(
        folder / "run.json",
        run(environment="production", base="", judged_by="head", head=commit, records=records),
    )
    monkeypatch.chdir(repo.path)
    return repo


def test_a_run_is_recorded_once_and_shown(
    watched: Repo, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("record", "--evidence", WATCHED) == 0
    assert command("record", "--evidence", WATCHED) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["production: warned, recorded", "production: warned, recorded before"]
    commit = watched.git("rev-parse", "HEAD")
    with ledger_at(str(watched.path), commands) as ledger:
        for one in histories.promotions(2, every=timedelta(days=1)):
            ledger.append(Entry(**{**one.model_dump(), "commit": commit}))
    assert command("history", "production", "--html", "site/index.html") == 0
    assert capsys.readouterr().out == "site/index.html\n"
    text = Path("site/index.html").read_text(encoding="utf-8")
    assert "loans: monitors" in text
    assert "1 warned" in text
    assert "median of 1<" in text, "the commit is here, so its lead time is known"


def test_since_also_cuts_the_list(
    watched: Repo, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    histories.fill(watched.path, histories.promotions(20, every=timedelta(days=1)))
    assert command("history", "--since", "2026-01-14", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert {one["when"] for one in listed} == {
        "2026-01-14T09:00:00Z",
        "2026-01-14T09:02:00Z",
        "2026-01-15T09:00:00Z",
        "2026-01-15T09:02:00Z",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("history", "--html", "x.html", "--json"), "--html: goes with neither --json nor --limit"),
        (("history", "--html", "x.html", "--limit", "3"), "--html: goes with neither"),
        (("history", "--since", "yesterday"), "--since: 'yesterday' is no date"),
        (("history", "nowhere", "--html", "x.html"), "'nowhere'"),
    ],
)
def test_what_cannot_be_shown_is_said(
    watched: Repo, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del watched
    assert command(*arguments) == 2
    assert words in capsys.readouterr().err
    assert not Path("x.html").exists()


def test_what_a_pull_request_proposes_is_not_recorded(
    watched: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    file = watched.path / WATCHED / "run.json"
    evidence.write(file, evidence.read_run(file).model_copy(update={"event": "pull_request"}))
    assert command("record", "--evidence", WATCHED) == 2
    assert "pull_request judges what somebody proposes" in capsys.readouterr().err
    assert "ci-mlops-records" not in watched.git("branch", "--list")

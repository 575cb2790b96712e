"""What the ledger answers on the command line, over a real repository."""

import json
from datetime import UTC, datetime

import pytest

from ci_mlops.__main__ import main
from ci_mlops.checkout import Repository
from ci_mlops.command import Commands
from ci_mlops.errors import ConfigError
from ci_mlops.evidence import text_sha256
from ci_mlops.github import Workflow
from ci_mlops.release.branch import remote_of
from ci_mlops.release.entry import Entry, Kind
from ci_mlops.release.history import moment_of
from ci_mlops.release.ledger import BRANCH, ledger_at
from tests.conftest import Repo, clean_environ

MODEL = "the bytes of a model"


def entry(kind: Kind, name: str, to: str, when: str, environment: str = "production") -> Entry:
    return Entry(
        kind=kind,
        id=name,
        environment=environment,
        to=f"sha256:{to * 64}",
        who="ann",
        when=f"2026-11-{when}:00Z",
        reason="merged #7",
        run="https://github.com/acme/loans/actions/runs/1",
        commit="c" * 40,
        evidence={"run": "e" * 64},
        subjects={"model": text_sha256(MODEL)} if to == "a" else {},
    )


@pytest.fixture
def released(repo: Repo, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """Return a repository with three ended promotions and one that is pending."""
    repo.commit({"model.bin": MODEL})
    with ledger_at(str(repo.path), commands) as ledger:
        for kind, name, to, when in (
            ("promoted", "p1", "a", "20T10:00"),
            ("promoted", "p2", "b", "21T10:00"),
            ("rolled_back", "r1", "a", "22T10:00"),
        ):
            ledger.append(entry("intent", name, to, when))
            ledger.append(entry(kind, name, to, when))  # type: ignore[arg-type]
        ledger.append(entry("intent", "p3", "d", "23T10:00", "staging"))
    monkeypatch.chdir(repo.path)
    return repo


def run(*arguments: str) -> int:
    return main(arguments, clean_environ())


def test_history_is_newest_first(released: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("history", "production", "--limit", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "    6  2026-11-22 10:00:00 UTC  production  rolled_back  "
        "sha256:bbbbbbbbbbbb → sha256:aaaaaaaaaaaa"
    )
    assert lines[1] == "       by ann, as r1: merged #7"
    assert lines[2] == "       https://github.com/acme/loans/actions/runs/1"
    assert len(lines) == 6
    assert run("history", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["sequence"] for one in listed] == [7, 6, 5, 4, 3, 2, 1]
    assert listed[1]["previous"] == f"sha256:{'b' * 64}"


def test_an_empty_ledger_says_so(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repo.path)
    assert run("history") == 0
    assert run("status") == 0
    assert "The ledger is empty" in capsys.readouterr().out
    assert run("live", "production") == 1
    assert "production: the ledger knows of nothing live now" in capsys.readouterr().err


def test_status_says_what_is_live_and_pending(
    released: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"production: sha256:{'a' * 64} since 2026-11-22 10:00:00 UTC, by r1"
    assert lines[1] == "staging: nothing is live"
    assert lines[2].endswith("since 2026-11-23 10:00:00 UTC, and has not ended")
    assert run("status", "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert state["production"]["live"] == f"sha256:{'a' * 64}"
    assert state["staging"]["pending"]["id"] == "p3"


@pytest.mark.parametrize(
    ("at", "digit"),
    [
        ([], "a"),
        (["--at", "2026-11-21"], "b"),
        (["--at", "2026-11-20T10:00:00"], "a"),
        (["--at", "2026-11-22T00:30:00+01:00"], "b"),
    ],
)
def test_live_is_a_digest_alone(
    released: Repo, capsys: pytest.CaptureFixture[str], at: list[str], digit: str
) -> None:
    assert run("live", "production", *at) == 0
    assert capsys.readouterr().out == f"sha256:{digit * 64}\n"


def test_nothing_was_live_before(released: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("live", "production", "--at", "2026-11-19") == 1
    assert "nothing live at 2026-11-19 23:59:59 UTC" in capsys.readouterr().err
    assert run("live", "production", "--at", "yesterday") == 2
    assert "--at: 'yesterday' is no date" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["model.bin", "production", "sha256:aaaaaaa", "a" * 64])
def test_why_finds_a_release_by_any_of_its_digests(
    released: Repo, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    assert run("why", what) == 0
    told = capsys.readouterr().out
    assert told.startswith("production: rolled_back 2026-11-22 10:00:00 UTC (entry 6)\n")
    assert f"judged model           {text_sha256(MODEL)}" in told
    assert f"commit                 {'c' * 40}" in told
    assert f"evidence run           {'e' * 64}" in told
    assert "by                     ann" in told


def test_why_of_what_nobody_released(released: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("why", "f" * 12) == 1
    assert "is in no entry of the ledger, and in no evidence here" in capsys.readouterr().err
    assert run("why", "nonsense") == 2
    assert "is no file, no environment in the ledger and no digest" in capsys.readouterr().err
    assert run("why", "e" * 10, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["releases"]) == 7
    assert told["judged"] is None


def test_the_ledger_is_at_origin_where_there_is_one(
    released: Repo, repo: Repo, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = repo.path.parent / "elsewhere.git"
    released.git("init", "-q", "--bare", str(elsewhere))
    released.git("remote", "add", "origin", "../elsewhere.git")
    assert run("status") == 0
    assert "The ledger is empty" in capsys.readouterr().out
    released.git("push", "-q", "origin", BRANCH)
    assert run("status", "--json") == 0
    assert "production" in json.loads(capsys.readouterr().out)
    assert run("status", "--ledger", str(elsewhere)) == 0


def test_the_token_reaches_git_by_its_environment_alone(repo: Repo, commands: Commands) -> None:
    repository = Repository.around(repo.path, commands)
    workflow = Workflow(inside=True, token="ghs_secret")
    for url, given in (
        ("https://github.com/acme/loans", True),
        ("https://github.com.evil.org/acme/loans", False),
        ("https://example.org/acme/loans", False),
    ):
        remote, door = remote_of(repository, url, workflow)
        assert remote == url
        assert ("GIT_CONFIG_VALUE_0" in door.environ) is given
    _, door = remote_of(repository, "https://github.com/acme/loans", workflow)
    assert door.environ["GIT_CONFIG_KEY_0"] == "http.https://github.com/.extraheader"
    assert "ghs_secret" not in door.environ["GIT_CONFIG_VALUE_0"]


def test_moments() -> None:
    assert moment_of("2026-11-23") == datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC)
    assert moment_of("2026-11-23T10:30:00Z") == datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
    assert moment_of("2026-11-23T10:30+01:00") == datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    with pytest.raises(ConfigError, match="is no date"):
        moment_of("23.11.2026")

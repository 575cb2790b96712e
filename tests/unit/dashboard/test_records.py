"""The branch of records on real git remotes: added to, raced for, bounded, damaged."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from ci_mlops.command import Commands
from ci_mlops.dashboard import records as module
from ci_mlops.dashboard.records import BRANCH, Kept, path_of, records_at, require_recordable
from ci_mlops.dashboard.summary import Summary
from ci_mlops.errors import ConfigError, OutsideError
from ci_mlops.evidence import text_sha256
from ci_mlops.github import Workflow
from tests.conftest import Repo
from tests.records import run
from tests.unit.dashboard.kept import BEGAN, figure, summary

HOUR = timedelta(hours=1)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    return path


def add(remote: Path, commands: Commands, *found: Summary) -> list[bool]:
    with records_at(str(remote), commands) as records:
        return [records.add(one, run_sha256=text_sha256(one.when)) for one in found]


def read(remote: Path, commands: Commands, **how: object) -> Kept:
    with records_at(str(remote), commands) as records:
        return records.read(**how)  # type: ignore[arg-type]


def test_what_was_added_is_read_oldest_first(remote: Path, commands: Commands) -> None:
    assert read(remote, commands) == Kept()
    late = summary(BEGAN + HOUR, figure(), environment="production", verdict="failed")
    early = summary(BEGAN, figure(low=0.1, high=0.9))
    staging = summary(BEGAN - HOUR, environment="staging")
    assert add(remote, commands, late, early, staging) == [True, True, True]
    assert read(remote, commands).summaries == (staging, early, late)
    assert read(remote, commands, environment="production").summaries == (early, late)
    since = BEGAN + timedelta(minutes=1)
    assert read(remote, commands, since=since).summaries == (late,)


def test_a_run_is_kept_once(remote: Path, commands: Commands) -> None:
    assert add(remote, commands, summary(), summary()) == [True, False]
    assert len(read(remote, commands).summaries) == 1


def test_runs_that_are_recorded_at_once_are_all_kept(remote: Path, commands: Commands) -> None:
    found = [summary(BEGAN + n * HOUR) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda one: add(remote, commands, one), found))
    assert list(read(remote, commands).summaries) == found


def test_the_oldest_leave_the_branch_but_not_its_past(
    remote: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    other = summary(BEGAN - HOUR, environment="production")
    found = [summary(BEGAN + n * HOUR) for n in range(4)]
    add(remote, commands, other, *found)
    assert read(remote, commands).summaries == (other, *found[2:])
    listed = subprocess.run(
        ["git", "log", "--format=%s", BRANCH], cwd=remote, check=True, capture_output=True
    )
    assert len(listed.stdout.splitlines()) == 5


def test_what_is_no_record_is_named_and_keeps_nothing_else_from_being_read(
    repo: Repo, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = summary(BEGAN, figure())
    lying = path_of(summary(BEGAN + HOUR, environment="staging"), "a" * 64)
    huge = path_of(summary(BEGAN + 2 * HOUR), "b" * 64)
    monkeypatch.setattr(module, "MAX_BYTES", 2000)
    repo.git("checkout", "-q", "--orphan", BRANCH)
    repo.commit(
        {
            path_of(good, "c" * 64): good.model_dump_json(),
            lying: good.model_dump_json(),
            huge: " " * 2001,
            "history/main/loans/2026-01-05T090000Z-cccccccccccc.json.bak": "{}",
            path_of(good, "d" * 64): '{"project": 3}',
        }
    )
    kept = read(repo.path, commands)
    assert kept.summaries == (good,)
    assert len(kept.unreadable) == 4
    told = "\n".join(kept.unreadable)
    for words in ("says that it is of 'main'", "larger than 2000", "no record of a run", "project"):
        assert words in told


def test_a_remote_that_is_gone_is_said(tmp_path: Path, commands: Commands) -> None:
    with pytest.raises(OutsideError, match="branch of records at .* cannot be reached"):
        read(tmp_path / "gone.git", commands)


@pytest.mark.parametrize(
    ("event", "inside"), [("pull_request", ""), ("", "pull_request_target"), ("merge_group", "")]
)
def test_what_is_proposed_is_not_recorded(event: str, inside: str) -> None:
    workflow = Workflow(inside=bool(inside), event=inside)
    with pytest.raises(ConfigError, match="somebody proposes"):
        require_recordable(run(event=event), workflow, place="here")


def test_what_is_on_main_may_be_recorded() -> None:
    require_recordable(run(event="push"), Workflow(inside=True, event="push"), place="here")
    require_recordable(run(), Workflow(inside=False), place="here")

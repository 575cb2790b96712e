"""The ledger on real git remotes: on disk, over the git protocol, raced for, and damaged."""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.command import MAX_OUTPUT_BYTES, Commands, Completed
from ci_mlops.errors import EvidenceError, OutsideError
from ci_mlops.release import branch
from ci_mlops.release.entry import Entry, State, Written
from ci_mlops.release.ledger import BRANCH, Ledger, ledger_at
from tests import histories
from tests.disks import filled, small_disk
from tests.unit.release.git_daemon import GitDaemon
from tests.unit.release.test_entry import entry


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    return path


def git(remote: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=remote, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def state(remote: Path, commands: Commands) -> State:
    with ledger_at(str(remote), commands) as ledger:
        return ledger.state()


def append(remote: Path, commands: Commands, *entries: Entry) -> list[Written]:
    with ledger_at(str(remote), commands) as ledger:
        return [ledger.append(one) for one in entries]


def promotion(number: int, environment: str = "production") -> tuple[Entry, Entry]:
    when = f"2026-11-23T10:{number:02d}:00Z"
    given = {"name": f"p{number}", "to": f"{number % 10}", "when": when, "environment": environment}
    return entry("intent", **given), entry("promoted", **given)


def test_an_empty_remote_has_an_empty_ledger(remote: Path, commands: Commands) -> None:
    assert state(remote, commands) == State()
    with ledger_at(str(remote), commands) as ledger:
        assert list(ledger.entries()) == []
        assert ledger.live_at("production", datetime(2030, 1, 1, tzinfo=UTC)) is None


def test_entries_stand_in_order_and_say_what_was_live_when(
    remote: Path, commands: Commands
) -> None:
    for number in range(3):
        append(remote, commands, *promotion(number))
    with ledger_at(str(remote), commands) as ledger:
        ledger.append(entry("intent", "r1", "1", when="2026-11-23T11:00:00Z"))
        ledger.append(entry("rolled_back", "r1", "1", when="2026-11-23T11:00:05Z"))
        assert [one.sequence for one in ledger.entries()] == list(range(8, 0, -1))
        before = ledger.live_at("production", datetime(2026, 11, 23, 10, 1, 30, tzinfo=UTC))
        now = ledger.live_at("production", datetime(2026, 11, 23, 12, tzinfo=UTC))
        assert ledger.live_at("staging", datetime(2026, 11, 23, 12, tzinfo=UTC)) is None
    assert before is not None
    assert before.entry.id == "p1"
    assert now is not None
    assert (now.entry.id, now.previous) == ("r1", f"sha256:{'2' * 64}")
    assert state(remote, commands).environment("production").live == f"sha256:{'1' * 64}"


def test_the_branch_holds_the_state_alone_and_readable_subjects(
    remote: Path, commands: Commands
) -> None:
    append(remote, commands, *promotion(7))
    assert git(remote, "ls-tree", "--name-only", BRANCH) == "state.json"
    subjects = git(remote, "log", "--format=%s", BRANCH).splitlines()
    assert subjects[0] == "2 production promoted sha256:777777777777"
    assert git(remote, "log", "--format=%an", "-1", BRANCH) == "ci-mlops"


def test_a_long_ledger_is_read_whole(remote: Path, commands: Commands) -> None:
    histories.fill(remote, histories.promotions(5000, every=timedelta(hours=2)))
    with ledger_at(str(remote), commands) as ledger:
        found = list(ledger.entries())
        assert sum(len(one.model_dump_json()) for one in found) > MAX_OUTPUT_BYTES
    assert [one.sequence for one in found] == list(range(5000, 0, -1))


def test_asking_again_writes_nothing_new(remote: Path, commands: Commands) -> None:
    intent, end = promotion(1)
    first = append(remote, commands, intent, intent, end, end, intent)
    assert [one.sequence for one in first] == [1, 1, 2, 2, 2]
    assert len(git(remote, "rev-list", BRANCH).splitlines()) == 2


def _promote(remote: Path, number: int) -> int:
    commands = Commands(environ=dict(os.environ))
    intent, end = promotion(number, f"environment{number % 2}")
    with ledger_at(str(remote), commands) as ledger:
        while True:
            try:
                ledger.append(intent)
                return ledger.append(end).sequence
            except OutsideError as fault:
                assert "has not ended" in str(fault)
                time.sleep(0.05)


def test_writers_that_race_lose_nothing_and_double_nothing(
    remote: Path, commands: Commands
) -> None:
    with ThreadPoolExecutor(6) as pool:
        ends = list(pool.map(_promote, [remote] * 6, range(6)))
    assert len(set(ends)) == 6
    with ledger_at(str(remote), commands) as ledger:
        found = list(ledger.entries())[::-1]
    assert [one.sequence for one in found] == list(range(1, 13))
    live: dict[str, str] = {}
    for one in found:  # each entry was decided on what really stood before it
        assert one.previous == live.get(one.entry.environment)
        if one.entry.kind == "promoted":
            live[one.entry.environment] = one.entry.to


def test_a_push_without_the_lease_would_lose_entries(
    remote: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with a plain --force a late writer overwrites."""
    original = Ledger._git

    def forced(self: Ledger, *arguments: str, check: bool = True) -> Completed:
        swapped = ["--force" if a.startswith("--force-with") else a for a in arguments]
        return original(self, *swapped, check=check)

    with ledger_at(str(remote), commands) as late:
        tip = late._fetch()
        append(remote, commands, *promotion(1))
        monkeypatch.setattr(Ledger, "_git", forced)
        monkeypatch.setattr(late, "_fetch", lambda: tip)
        late.append(promotion(2)[0])
    assert state(remote, commands).sequence == 1


def test_a_writer_that_comes_late_decides_again(
    remote: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ledger_at(str(remote), commands) as late:
        stale = [late._fetch()]
        append(remote, commands, *promotion(1))
        fetch = late._fetch
        monkeypatch.setattr(late, "_fetch", lambda: stale.pop() if stale else fetch())
        monkeypatch.setattr(late, "sleep", lambda _: None)
        assert late.append(promotion(2)[0]).sequence == 3


@pytest.mark.parametrize("age_s", [0, 3600])
def test_only_a_lock_that_is_old_is_removed(
    remote: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch, age_s: float
) -> None:
    append(remote, commands, *promotion(1))
    lock = remote / "refs" / "heads" / f"{BRANCH}.lock"
    lock.touch()
    os.utime(lock, (time.time() - age_s, time.time() - age_s))
    monkeypatch.setattr(branch, "TRIES", 3)
    with ledger_at(str(remote), commands) as ledger:
        ledger.sleep = lambda _: None
        if age_s:
            assert ledger.append(promotion(2)[0]).sequence == 3
        else:
            with pytest.raises(OutsideError, match="moved 3 times"):
                ledger.append(promotion(2)[0])
    assert lock.exists() == (not age_s)


def test_a_remote_that_is_not_there_is_one_line(tmp_path: Path, commands: Commands) -> None:
    with pytest.raises(OutsideError, match=r"gone\.git cannot be reached: ") as caught:
        state(tmp_path / "gone.git", commands)
    assert "\n" not in str(caught.value)


def test_a_remote_that_refuses_is_one_line(remote: Path, commands: Commands) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho the ledger is closed >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    with pytest.raises(OutsideError, match="cannot be written: .*pre-receive hook declined"):
        append(remote, commands, promotion(1)[0])


@pytest.mark.parametrize("text", ["{", '{"schema_version": 1, "sequence": NaN}', '{"x": 1}'])
def test_a_damaged_ledger_is_never_believed(
    remote: Path, tmp_path: Path, commands: Commands, text: str
) -> None:
    append(remote, commands, *promotion(1))
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "-b", BRANCH, str(remote), str(clone))
    (clone / "state.json").write_text(text, encoding="utf-8")
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    git(clone, *who, "commit", "-qam", "mischief")
    git(clone, "push", "-q")
    with pytest.raises(EvidenceError, match="state.json of ci-mlops-ledger"):
        append(remote, commands, promotion(2)[0])
    with (
        ledger_at(str(remote), commands) as ledger,
        pytest.raises(EvidenceError, match="ledger entry"),
    ):
        list(ledger.entries())


def test_over_the_git_protocol(remote: Path, commands: Commands) -> None:
    with GitDaemon(remote) as server, ledger_at(server.url, commands) as ledger:
        assert [ledger.append(one).sequence for one in promotion(1)] == [1, 2]
        assert len(list(ledger.entries())) == 2


def test_what_was_fetched_is_not_fetched_again_until_somebody_writes(
    remote: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = Ledger._git

    def heard(self: Ledger, *arguments: str, **more: Any) -> Completed:
        asked.append(arguments[0])
        return original(self, *arguments, **more)

    with ledger_at(str(remote), commands) as ledger:
        monkeypatch.setattr(Ledger, "_git", heard)
        append(remote, commands, *promotion(1))
        del asked[:]
        ledger.state()
        ledger.append(promotion(2)[0])
        assert ledger.state().sequence == 3
        assert asked.count("fetch") == 1
        append(remote, commands, promotion(2)[1])
        assert ledger.state().sequence == 4
        assert len(list(ledger.entries())) == 4
        assert len(list(ledger.entries())) == 4


def test_a_remote_that_is_full_is_said_at_once_and_written_to_later(
    commands: Commands, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        remote = disk / "remote.git"
        subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
        append(remote, commands, *promotion(1))
        filled(disk)
        with pytest.raises(OutsideError, match="cannot be written: .*No space left") as caught:
            append(remote, commands, promotion(2)[0])
        assert "\n" not in str(caught.value)
        assert state(remote, commands).sequence == 2, "nothing stands there by half"
        (disk / "filler").unlink()
        assert [one.sequence for one in append(remote, commands, *promotion(2))] == [3, 4]

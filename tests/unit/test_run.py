"""Stages run side by side, alone where they ask, and leave whole records or none."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ci_mlops import cache, evidence
from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook, OutsideError
from ci_mlops.evidence import Artifact, Check, Record, Subject, file_sha256
from ci_mlops.plan import plan
from ci_mlops.run import run, timestamp
from ci_mlops.stage import Findings, Side, Stage, Workspace

SHA = "a" * 64
CALLS: list[str] = []
TOGETHER: list[int] = []
WORK: dict[str, Callable[[Workspace], Findings]] = {}
LOCK = threading.Lock()
RUNNING: set[str] = set()


class Toy(Stage):
    """A stage whose work the test gives."""

    def run(self, workspace: Workspace) -> Findings:
        with LOCK:
            CALLS.append(self.name)
            RUNNING.add(self.name)
            TOGETHER.append(len(RUNNING))
        try:
            return WORK.get(self.name, passes)(workspace)
        finally:
            with LOCK:
                RUNNING.discard(self.name)


class A(Toy):
    """One stage."""

    name: ClassVar[str] = "a"
    question: ClassVar[str] = "?"
    level: int = 1


class B(Toy):
    """Another."""

    name: ClassVar[str] = "b"
    question: ClassVar[str] = "?"


class C(Toy):
    """Waits for the first."""

    name: ClassVar[str] = "c"
    question: ClassVar[str] = "?"
    after: ClassVar[tuple[str, ...]] = ("a",)


class D(Toy):
    """Wants the machine."""

    name: ClassVar[str] = "d"
    question: ClassVar[str] = "?"
    alone: ClassVar[bool] = True


class Watch:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def started(self, stage: str) -> None:
        self.told.append(f"started {stage}")

    def ended(self, stage: str, record: Record) -> None:
        self.told.append(f"ended {stage} {record.outcome}")


@pytest.fixture(autouse=True)
def _forget() -> None:
    CALLS.clear()
    TOGETHER.clear()
    WORK.clear()


def passes(_: Workspace) -> Findings:
    time.sleep(0.05)
    return Findings(checks=(Check(name="x", outcome="passed", message="Fine."),))


def workspace(tmp_path: Path, commands: Commands, **changes: Any) -> Workspace:
    head = Side(
        name="head",
        root=tmp_path,
        commit="b" * 40,
        code=SHA,
        data=DataSettings(test="x.csv", label="y"),
        model=None,
        subjects=(Subject(name="code", sha256=changes.pop("code", SHA)),),
    )
    values: dict[str, Any] = {
        "head": head,
        "base": None,
        "base_missing": "first commit",
        "judge": head,
        "commands": commands,
        "folder": tmp_path / ".mlops",
        "cache": tmp_path / ".mlops" / "cache",
        "cores": 2,
    }
    return Workspace(**{**values, **changes})


def stages(*made: Stage) -> Mapping[str, Stage]:
    return {stage.name: stage for stage in made}


def test_records_are_written_and_observed(tmp_path: Path, commands: Commands) -> None:
    watch = Watch()
    ran = run(plan(stages(A(), C())), workspace(tmp_path, commands), watch)
    assert watch.told == ["started a", "ended a passed", "started c", "ended c passed"]
    assert evidence.read_record(tmp_path / ".mlops/evidence/a.json") == ran.records["a"]
    assert ran.reused == ()
    assert ran.records["a"].subjects == (Subject(name="head.code", sha256=SHA),)


def test_side_by_side_within_the_cores_and_alone(tmp_path: Path, commands: Commands) -> None:
    together: dict[str, int] = {}

    def look(name: str) -> Callable[[Workspace], Findings]:
        def work(space: Workspace) -> Findings:
            found = passes(space)
            together[name] = max(TOGETHER[CALLS.index(name) :])
            return found

        return work

    WORK.update({name: look(name) for name in "abcd"})
    run(plan(stages(A(), B(), C(), D())), workspace(tmp_path, commands), Watch())
    assert max(TOGETHER) == 2
    assert CALLS[-1] == "d"
    assert TOGETHER[-1] == 1


def test_one_core_runs_one_at_a_time(tmp_path: Path, commands: Commands) -> None:
    run(plan(stages(A(), B())), workspace(tmp_path, commands, cores=1), Watch())
    assert TOGETHER == [1, 1]


@pytest.mark.parametrize("fault", [CannotLook("no file", place="x.csv"), OutsideError("no file")])
def test_being_unable_to_look_is_an_error_record(
    tmp_path: Path, commands: Commands, fault: Exception
) -> None:
    def work(_: Workspace) -> Findings:
        raise fault

    WORK["a"] = work
    ran = run(plan(stages(A(), B())), workspace(tmp_path, commands), Watch())
    assert ran.records["a"].outcome == "error"
    assert "no file" in ran.records["a"].checks[0].message
    assert ran.records["b"].outcome == "passed"
    assert ran.bugs == ()


def test_a_bug_of_ours_is_kept_as_evidence_and_handed_up(
    tmp_path: Path, commands: Commands
) -> None:
    def work(_: Workspace) -> Findings:
        raise ZeroDivisionError("oops")

    WORK["a"] = work
    ran = run(plan(stages(A())), workspace(tmp_path, commands), Watch())
    assert ran.records["a"].outcome == "error"
    assert [type(bug) for bug in ran.bugs] == [ZeroDivisionError]


def test_a_blocked_run_looks_at_nothing(tmp_path: Path, commands: Commands) -> None:
    blocked = CannotLook("`make` failed", place="prepare")
    ran = run(plan(stages(A(), B())), workspace(tmp_path, commands), Watch(), blocked=blocked)
    assert CALLS == []
    assert {record.outcome for record in ran.records.values()} == {"error"}


def test_unchanged_inputs_reuse_the_record_and_say_so(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands)
    first = run(plan(stages(A())), space, Watch())
    second = run(plan(stages(A())), space, Watch())
    assert CALLS == ["a"]
    assert second.reused == ("a",)
    assert second.records["a"].reused_from == "b" * 40
    assert second.records["a"].checks == first.records["a"].checks


@pytest.mark.parametrize("change", ["settings", "code", "no_cache", "base"])
def test_any_change_measures_again(tmp_path: Path, commands: Commands, change: str) -> None:
    run(plan(stages(A())), workspace(tmp_path, commands), Watch())
    space = workspace(tmp_path, commands, code=("c" * 64 if change == "code" else SHA))
    if change == "base":
        space = workspace(tmp_path, commands, base=space.head, base_missing="")
    stage = A(level=2 if change == "settings" else 1)
    ran = run(plan(stages(stage)), space, Watch(), reuse=change != "no_cache")
    assert CALLS == ["a", "a"]
    assert ran.reused == ()


def test_what_could_not_look_is_not_reused(tmp_path: Path, commands: Commands) -> None:
    def work(_: Workspace) -> Findings:
        raise CannotLook("later perhaps")

    WORK["a"] = work
    run(plan(stages(A())), workspace(tmp_path, commands), Watch())
    WORK.clear()
    assert run(plan(stages(A())), workspace(tmp_path, commands), Watch()).reused == ()


def test_artifacts_come_back_with_the_record(tmp_path: Path, commands: Commands) -> None:
    def work(space: Workspace) -> Findings:
        file = space.artifacts("a") / "base.json"
        file.write_text("{}", encoding="utf-8")
        found = passes(space)
        kept = Artifact(path="a/base.json", sha256=file_sha256(file))
        return Findings(checks=found.checks, artifacts=(kept,))

    WORK["a"] = work
    space = workspace(tmp_path, commands)
    run(plan(stages(A())), space, Watch())
    file = tmp_path / ".mlops/evidence/a/base.json"
    file.unlink()
    assert run(plan(stages(A())), space, Watch()).reused == ("a",)
    assert file.read_text(encoding="utf-8") == "{}"


@pytest.mark.parametrize("damage", ["record.json", "a/base.json"])
def test_a_damaged_cache_is_not_used(tmp_path: Path, commands: Commands, damage: str) -> None:
    test_artifacts_come_back_with_the_record(tmp_path, commands)
    space = workspace(tmp_path, commands)
    key = cache.fingerprint(A(), space, {})
    (space.cache / "records" / key / damage).write_text("x", encoding="utf-8")
    assert run(plan(stages(A())), space, Watch()).reused == ()


def test_a_record_under_another_fingerprint_is_not_used(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands)
    run(plan(stages(A())), space, Watch())
    key = cache.fingerprint(A(), space, {})
    (space.cache / "records" / key).rename(space.cache / "records" / SHA)
    assert cache.find(space.cache, SHA, tmp_path) is None


def test_old_evidence_is_gone_when_a_run_begins(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands)
    run(plan(stages(A())), space, Watch())
    seen: list[bool] = []

    def work(_: Workspace) -> Findings:
        seen.append((tmp_path / ".mlops/evidence/a.json").exists())
        return passes(space)

    WORK["a"] = work
    run(plan(stages(A())), space, Watch(), reuse=False)
    assert seen == [False]


def test_timestamp_is_utc_in_whole_seconds() -> None:
    assert timestamp(datetime(2026, 11, 1, 10, 0, 0, 999, tzinfo=UTC)) == "2026-11-01T10:00:00Z"

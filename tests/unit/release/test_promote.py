"""A promotion has one intent and one end, whoever dies, races, refuses or misbehaves on the way."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check
from ci_mlops.release import history
from ci_mlops.release.entry import Entry, Written, moment
from ci_mlops.release.ledger import Ledger, ledger_at
from ci_mlops.release.promote import CANARY, STEPS, Ended, Release
from ci_mlops.release.target import Phase, Slot
from tests.conftest import clean_environ
from tests.unit.release.file_target import FileTarget, bad_if, good, intent, main, watched
from tests.unit.release.git_daemon import GitDaemon

HOUR_AGO = "2026-11-23T09:00:00Z"
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path, commands: Commands) -> Iterator[Ledger]:
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    with ledger_at(str(remote), commands) as made:
        yield made


@pytest.fixture
def target(tmp_path: Path) -> FileTarget:
    return FileTarget(tmp_path / "target.json")


def release(ledger: Ledger, target: FileTarget, **more: Any) -> Release:
    return Release(ledger=ledger, target=target, **{"verify": good, **more})


def promote(ledger: Ledger, target: FileTarget, name: str, digit: str, **more: Any) -> Ended:
    made = release(ledger, target, **more)
    return made.promote(intent(name, digit), is_older=lambda _: False)


def story(ledger: Ledger) -> list[str]:
    """Return what stands in the ledger, the oldest first."""
    return [
        f"{one.entry.kind} {one.entry.id} {one.entry.to[7]}" for one in [*ledger.entries()][::-1]
    ]


def test_the_plain_way(ledger: Ledger, target: FileTarget) -> None:
    steps: list[str] = []
    ended = promote(ledger, target, "p1", "a", told=steps.append)
    assert ended.kind == "promoted"
    assert [check.message for check in ended.checks] == [
        "before: idle answers",
        "after: front answers",
    ]
    assert steps == [step for step in STEPS if step not in {"drill", "hold"}]
    assert story(ledger) == ["intent p1 a", "promoted p1 a"]
    assert target.read()["done"] == ["start a", "switch a"]


def test_the_way_back_is_proven_with_each_promotion(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    drill = promote(ledger, target, "p2", "b").checks[-1]
    assert (drill.name, drill.outcome) == ("rollback-drill", "passed")
    target.refuses = ["start b"]
    ended = promote(ledger, target, "p3", "c")
    assert ended.kind == "promoted"
    assert ended.checks[-1].outcome == "warned"
    assert "no way back to sha256:bbbbbbbbbbbb: cannot start b" in ended.checks[-1].message


def test_a_version_that_fails_while_it_is_held_is_taken_back(
    ledger: Ledger, target: FileTarget
) -> None:
    promote(ledger, target, "p1", "a", holds=True)
    steps: list[str] = []
    verify = bad_if("b", ["hold"])
    ended = promote(ledger, target, "p2", "b", holds=True, verify=verify, told=steps.append)
    assert (ended.kind, ended.written.entry.to[7]) == ("rolled_back", "a")
    assert ended.written.entry.reason == "hold: 3 of 32 predictions differ"
    assert steps == list(STEPS)
    names = [check.name for check in ended.checks]
    assert names[-3:] == ["rollback-drill", "predictions", "way-back"], "the way back is known"
    assert (target.read()["live"][7], target.read()["idle"]) == ("a", None)


def test_the_version_before_stays_warm_during_the_hold(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    warm: list[str] = []

    def verify(slot: Slot, phase: Phase) -> list[Check]:
        if phase == "hold":
            assert slot.url == "front"
            warm.append(target.read()["idle"][7])
        return good(slot, phase)

    ended = promote(ledger, target, "p2", "b", holds=True, verify=verify)
    assert (ended.kind, warm) == ("promoted", ["a"])
    assert [one.message for one in ended.checks][-1] == "hold: front answers"


@pytest.mark.parametrize("outcomes", [[], ["skipped", "skipped"]])
def test_a_hold_that_saw_nothing_is_no_success(
    ledger: Ledger, target: FileTarget, outcomes: list[Any]
) -> None:
    promote(ledger, target, "p1", "a")

    def verify(slot: Slot, phase: Phase) -> list[Check]:
        if phase != "hold":
            return good(slot, phase)
        return [Check(name="memory", outcome=one, message="no metrics") for one in outcomes]

    ended = promote(ledger, target, "p2", "b", holds=True, verify=verify)
    assert (ended.kind, ended.written.entry.reason) == ("rolled_back", "nothing was seen of it")


def test_a_target_that_is_gone_during_the_hold(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")

    def verify(slot: Slot, phase: Phase) -> list[Check]:
        if phase == "hold":
            raise OutsideError("the recorded answers are gone")
        return good(slot, phase)

    ended = promote(ledger, target, "p2", "b", holds=True, verify=verify)
    assert ended.written.entry.reason == "the recorded answers are gone"
    assert (ended.kind, target.read()["live"][7]) == ("rolled_back", "a")


def test_a_rollback_during_the_hold_ends_it(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")

    def verify(slot: Slot, phase: Phase) -> list[Check]:
        if phase == "hold":
            with ledger_at(ledger.remote, ledger.commands) as theirs:
                release(theirs, target).roll_back(intent("r1", "a"))
        return good(slot, phase)

    ended = promote(ledger, target, "p2", "b", holds=True, verify=verify)
    assert (ended.kind, ended.written.entry.reason) == ("rolled_back", "rolled back by ann: merged")
    assert story(ledger)[2:] == ["intent p2 b", "rolled_back p2 a"]
    assert target.read()["live"][7] == "a"


def test_a_rollback_does_not_hold(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    promote(ledger, target, "p2", "b")
    held = release(ledger, target, holds=True, verify=bad_if("a", ["hold"]))
    assert held.roll_back(intent("r1", "a")).kind == "rolled_back"
    assert target.read()["live"][7] == "a"


def test_asking_twice_does_nothing_twice(ledger: Ledger, target: FileTarget) -> None:
    first = promote(ledger, target, "p1", "a")
    for name in ("p1", "p2"):
        again = promote(ledger, target, name, "a")
        assert (again.written, again.repeated) == (first.written, True)
    assert len(story(ledger)) == 2
    assert target.read()["done"] == ["start a", "switch a"]


@pytest.mark.parametrize("phase", ["before", "after"])
def test_wrong_predictions_are_taken_back(ledger: Ledger, target: FileTarget, phase: str) -> None:
    promote(ledger, target, "p1", "a")
    ended = promote(ledger, target, "p2", "b", verify=bad_if("b", [phase]))  # type: ignore[list-item]
    assert ended.kind == "rolled_back"
    assert ended.written.entry.to == f"sha256:{'a' * 64}"
    assert ended.written.entry.reason == f"{phase}: 3 of 32 predictions differ"
    state = target.read()
    assert (state["live"][7], state["idle"]) == ("a", None)
    assert ("switch b" in state["done"]) is (phase == "after")


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_first_promotion_that_fails_leaves_nothing(
    ledger: Ledger, target: FileTarget, phase: Any
) -> None:
    ended = promote(ledger, target, "p1", "b", verify=bad_if("b", [phase]))
    assert ended.kind == "blocked"
    assert ledger.state().environment("production").live is None
    assert (target.read()["live"], target.read()["idle"]) == (None, None)


def test_seeing_nothing_is_no_success(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    ended = promote(ledger, target, "p2", "b", verify=lambda *_: [])
    assert (ended.kind, ended.written.entry.reason) == ("rolled_back", "nothing was seen of it")


def test_what_another_process_brought_to_its_end_is_not_taken_back(
    ledger: Ledger, target: FileTarget
) -> None:
    def verify(_: Slot, phase: Phase) -> list[Check]:
        with ledger_at(ledger.remote, ledger.commands) as theirs:
            promote(theirs, target, "p1", "a")
        return [Check(name="predictions", outcome="failed", message=f"{phase}: no answer")]

    assert promote(ledger, target, "p1", "a", verify=verify).kind == "promoted"
    assert story(ledger) == ["intent p1 a", "promoted p1 a"]
    assert target.live() == Slot(digest=f"sha256:{'a' * 64}", url="front")


def test_the_way_back_does_not_wait_for_the_ledger(
    ledger: Ledger, target: FileTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(ledger, target, "p1", "a")

    def verify(slot: Slot, phase: Phase) -> list[Check]:
        if phase == "after":
            monkeypatch.setattr(ledger, "remote", f"{ledger.remote}.gone")
        return bad_if("b", ["after"])(slot, phase)  # type: ignore[no-any-return]

    with pytest.raises(OutsideError, match="gone"):
        promote(ledger, target, "p2", "b", verify=verify)
    assert target.read()["live"][7] == "a"


def test_a_servers_own_words_cannot_harm_the_ledger(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")

    def verify(slot: Slot, phase: Phase) -> list[Check]:
        words = "500,\n\x1b[31mno\x00\u202e " + "x" * 1000
        outcome = "failed" if slot.digest[7] == "b" else "passed"
        return [Check(name="predictions", outcome=outcome, message=words)]  # type: ignore[arg-type]

    ended = promote(ledger, target, "p2", "b", verify=verify)
    assert ended.written.entry.reason.startswith("500, [31mno xxx")
    assert ledger.state().environment("production").pending is None
    assert [one.entry.id for one in ledger.entries()] == ["p2", "p2", "p1", "p1"]


@pytest.mark.parametrize("refused", ["start b", "switch b"])
def test_a_target_that_refuses(ledger: Ledger, target: FileTarget, refused: str) -> None:
    promote(ledger, target, "p1", "a")
    target.refuses = [refused]
    ended = promote(ledger, target, "p2", "b")
    assert ended.kind == "rolled_back"
    assert ended.written.entry.reason == f"cannot {refused}"
    assert target.read()["live"][7] == "a"


def test_a_target_that_refuses_the_way_back_is_left_to_the_same_command(
    ledger: Ledger, target: FileTarget
) -> None:
    promote(ledger, target, "p1", "a")
    target.refuses = ["stop b"]
    with pytest.raises(OutsideError, match="cannot stop b"):
        promote(ledger, target, "p2", "b", verify=bad_if("b"))
    assert story(ledger)[-1] == "intent p2 b"
    target.refuses = []
    assert promote(ledger, target, "p2", "b", verify=bad_if("b")).kind == "rolled_back"
    assert target.read()["live"][7] == "a"


def test_an_older_commit_is_superseded(ledger: Ledger, target: FileTarget) -> None:
    made = release(ledger, target)
    made.promote(intent("p2", "b", commit="2"), is_older=lambda _: False)
    older = made.promote(intent("p1", "a", commit="1"), is_older=lambda live: live == "2" * 40)
    assert older.kind == "superseded"
    assert older.written.entry.reason == "2222222 is live, which comes after 1111111"
    assert target.read()["live"][7] == "b"
    assert "start a" not in target.read()["done"]


def test_what_is_refused_beforehand_is_written_down(ledger: Ledger, target: FileTarget) -> None:
    made = release(ledger, target)
    ended = made.block(intent("p1", "a"), "the verdict is failed")
    assert (ended.kind, ended.written.entry.reason) == ("blocked", "the verdict is failed")
    assert made.block(intent("p1", "a"), "the verdict is failed").repeated
    assert story(ledger) == ["intent p1 a", "blocked p1 a"]


# --- in steps -----------------------------------------------------------------------------------


def test_the_traffic_is_moved_in_steps(ledger: Ledger, target: FileTarget) -> None:
    steps: list[str] = []
    more = {"canary": watched(target), "told": steps.append}
    assert promote(ledger, target, "p1", "a", **more).kind == "promoted"
    assert not any("canary" in step for step in steps), "there is nothing beside the first"
    steps.clear()
    ended = promote(ledger, target, "p2", "b", **more)
    assert ended.kind == "promoted"
    after = [step for step in STEPS[3:] if step != "hold"]
    assert steps == [*STEPS[:3], "canary 10 %", "canary 50 %", *after]
    assert [check.message for check in ended.checks[1:3]] == ["10 %", "50 %"]
    assert target.read()["done"][-5:] == ["start b", "share b", "share b", "switch b", "start a"]
    steps.clear()
    back = release(ledger, target, **more).roll_back(intent("r1", "a"))
    assert back.kind == "rolled_back"
    assert not any("canary" in step for step in steps), "a rollback does not wait"


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ("failed", "3 of 32 differ"),
        ("error", "3 of 32 differ"),
        ("inconclusive", "3 of 32 differ Ask more"),
        ("skipped", "nothing was seen of it"),
    ],
)
@pytest.mark.parametrize("at", [10, 50])
def test_a_step_that_does_not_hold_is_taken_back(
    ledger: Ledger, target: FileTarget, outcome: Any, reason: str, at: int
) -> None:
    promote(ledger, target, "p1", "a")

    def sees(percent: int) -> list[Check]:
        found: Any = outcome if percent == at else "passed"
        return [Check(name="x", outcome=found, message="3 of 32 differ", remedy="Ask more")]

    ended = promote(ledger, target, "p2", "b", canary=watched(target, sees))
    assert (ended.kind, ended.written.entry.reason) == ("rolled_back", reason)
    assert (target.read()["live"][7], target.read()["share"]) == ("a", 0)
    assert target.read()["done"][-4:] == ["share b", "start a", "switch a", "stop b"]


def test_a_step_that_saw_nothing_does_not_hold(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    ended = promote(ledger, target, "p2", "b", canary=watched(target, lambda _: []))
    assert (ended.kind, ended.written.entry.reason) == ("rolled_back", "nothing was seen of it")


def test_a_target_that_refuses_a_share(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    target.refuses = ["share b"]
    ended = promote(ledger, target, "p2", "b", canary=watched(target))
    assert (ended.kind, ended.written.entry.reason) == ("rolled_back", "cannot share b")


def test_a_share_that_was_left_after_the_end_is_mended(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    sequence = ledger.state().sequence
    target.start(f"sha256:{'b' * 64}", sequence)
    target.share(f"sha256:{'b' * 64}", 50, sequence)
    assert promote(ledger, target, "p2", "a", canary=watched(target)).repeated
    assert (target.read()["live"][7], target.read()["share"]) == ("a", 0)


# --- rolling back -------------------------------------------------------------------------------


def test_a_rollback_is_verified_before_anything_moves(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    promote(ledger, target, "p2", "b")
    failed = release(ledger, target, verify=bad_if("a")).roll_back(intent("r1", "a"))
    assert failed.kind == "blocked"
    assert target.read()["live"][7] == "b"
    ended = release(ledger, target).roll_back(intent("r2", "a"))
    assert (ended.kind, ended.written.entry.to[7]) == ("rolled_back", "a")
    assert (target.read()["live"][7], target.read()["idle"]) == ("a", None)
    assert release(ledger, target).roll_back(intent("r2", "a")).repeated
    assert release(ledger, target).roll_back(intent("r3", "a")).repeated, "it is live already"
    assert story(ledger)[-1] == "rolled_back r2 a"


def test_what_was_rolled_back_is_not_promoted_by_itself(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    promote(ledger, target, "p2", "b")
    release(ledger, target).roll_back(intent("r1", "a"))
    refused = promote(ledger, target, "p3", "b")
    assert refused.kind == "blocked"
    assert refused.written.entry.reason == "ann rolled it back: merged; --again insists"
    insisted = release(ledger, target).promote(
        intent("p4", "b"), is_older=lambda _: False, again=True
    )
    assert insisted.kind == "promoted"
    promote(ledger, target, "p5", "c")
    assert promote(ledger, target, "p6", "b").kind == "promoted", "it was promoted since"


def test_what_did_not_hold_may_be_tried_again(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    assert promote(ledger, target, "p2", "b", verify=bad_if("b")).kind == "rolled_back"
    assert promote(ledger, target, "p3", "b").kind == "promoted"


def test_a_rollback_takes_back_what_has_not_ended(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    ledger.append(intent("p2", "b"))
    fence = ledger.state().sequence
    target.start(f"sha256:{'b' * 64}", fence)
    target.switch(f"sha256:{'b' * 64}", fence)
    ended = release(ledger, target).roll_back(intent("r1", "a"))
    assert (ended.kind, ended.written.entry.id) == ("rolled_back", "p2")
    assert ended.written.entry.reason == "rolled back by ann: merged"
    assert target.read()["live"][7] == "a"
    assert target.read()["fence"] > fence


# --- others -------------------------------------------------------------------------------------


class Waiting:
    """Time that passes while somebody waits, and a clock on the wall that may be wrong."""

    def __init__(self, wall: datetime = NOW) -> None:
        self.wall = wall
        self.waited = 0.0

    def options(self) -> dict[str, Any]:
        times: dict[str, Any] = {"sleep": self.sleep, "clock": lambda: self.waited}
        return {**times, "now": self.now, "abandoned_after_s": 20.0}

    def sleep(self, seconds: float) -> None:
        self.waited += seconds

    def now(self) -> datetime:
        return self.wall + timedelta(seconds=self.waited)


@pytest.mark.parametrize("off", [timedelta(days=-1), timedelta(), timedelta(days=1)])
def test_a_wrong_clock_takes_nothing_from_who_is_at_work(
    ledger: Ledger, target: FileTarget, off: timedelta
) -> None:
    promote(ledger, target, "p1", "a")
    ledger.append(intent("p2", "b", when=moment(NOW)))
    time = Waiting(NOW + off)

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if time.waited == 2:
            ledger.append(intent("p2", "b").model_copy(update={"kind": "promoted"}))

    assert promote(ledger, target, "p3", "c", **{**time.options(), "sleep": sleep}).kind
    assert story(ledger)[2:4] == ["intent p2 b", "promoted p2 b"]


@pytest.mark.parametrize(
    ("off", "waited"), [(timedelta(days=-1), 22), (timedelta(), 22), (timedelta(days=1), 4)]
)
def test_who_died_is_not_waited_for_for_ever_whatever_the_clock_says(
    ledger: Ledger, target: FileTarget, off: timedelta, waited: int
) -> None:
    promote(ledger, target, "p1", "a")
    ledger.append(intent("p2", "b", when=moment(NOW)))
    time = Waiting(NOW + off)
    promote(ledger, target, "p3", "c", **time.options())
    assert time.waited == waited
    assert story(ledger)[3] == "rolled_back p2 a"


def test_each_promotion_that_is_waited_for_has_its_own_time(
    ledger: Ledger, target: FileTarget
) -> None:
    promote(ledger, target, "p1", "a")
    ledger.append(intent("p2", "b", when=moment(NOW)))
    time = Waiting(NOW - timedelta(days=1))

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if time.waited == 16:  # another one was faster than us
            ledger.append(intent("p2", "b").model_copy(update={"kind": "promoted"}))
            ledger.append(intent("p4", "d", when=moment(NOW)))
        if time.waited == 30:
            ledger.append(intent("p4", "d").model_copy(update={"kind": "promoted"}))

    promote(ledger, target, "p3", "c", **{**time.options(), "sleep": sleep})
    assert story(ledger)[2:6] == ["intent p2 b", "promoted p2 b", "intent p4 d", "promoted p4 d"]


def test_what_is_live_is_told_by_numbers_and_not_by_clocks(
    ledger: Ledger, target: FileTarget
) -> None:
    tomorrow = Waiting(datetime.now(UTC) + timedelta(days=1))
    promote(ledger, target, "p1", "a")
    promote(ledger, target, "p2", "b", now=tomorrow.now)
    again = promote(ledger, target, "p3", "b")
    assert (again.repeated, again.written.entry.id) == (True, "p2")
    now = history.live(ledger, "production", None)
    assert (now.entry.id, now.entry.to[7]) == ("p2", "b")


def test_an_abandoned_promotion_is_taken_back_and_fenced_off(
    ledger: Ledger, target: FileTarget
) -> None:
    promote(ledger, target, "p1", "a")
    abandoned = ledger.append(intent("p2", "b", when=HOUR_AGO))
    target.start(f"sha256:{'b' * 64}", abandoned.sequence)
    ended = promote(ledger, target, "p3", "c", **Waiting().options())
    assert ended.kind == "promoted"
    assert story(ledger)[2:] == [
        "intent p2 b",
        "rolled_back p2 a",
        "intent p3 c",
        "promoted p3 c",
    ]
    with pytest.raises(OutsideError, match="comes before"):
        target.switch(f"sha256:{'b' * 64}", abandoned.sequence)


def test_a_promoter_that_slept_too_long_does_no_harm(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")

    def overtaken(step: str) -> None:
        if step == "switch":
            with ledger_at(ledger.remote, ledger.commands) as theirs:
                later = release(theirs, target, **Waiting(datetime.now(UTC)).options())
                later.promote(intent("p3", "c"), is_older=lambda _: False)

    ended = promote(ledger, target, "p2", "b", told=overtaken)
    assert (ended.kind, ended.written.entry.reason) == ("rolled_back", "ann abandoned it")
    assert target.read()["live"][7] == "c"
    assert story(ledger)[-1] == "promoted p3 c"


def test_another_promotion_is_waited_for(ledger: Ledger, target: FileTarget) -> None:
    promote(ledger, target, "p1", "a")
    ledger.append(intent("p2", "b"))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            ledger.append(intent("p2", "b").model_copy(update={"kind": "promoted"}))

    assert promote(ledger, target, "p3", "c", sleep=sleep).kind == "promoted"
    assert len(waited) == 2
    assert target.read()["done"][2:4] == ["start b", "switch b"], "the ledger says b is live"


def test_the_target_is_mended_where_it_differs_from_the_ledger(
    ledger: Ledger, target: FileTarget
) -> None:
    promote(ledger, target, "p1", "a")
    target.path.unlink()
    assert promote(ledger, target, "p2", "a").repeated
    assert target.live() == Slot(digest=f"sha256:{'a' * 64}", url="front")


# --- killed -------------------------------------------------------------------------------------


def killed(folder: Path, step: str, verb: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "tests.unit.release.file_target", verb, str(folder)]
    top = Path(__file__).parents[3]
    done = subprocess.run([*command, *arguments, step], check=False, cwd=top, env=clean_environ())
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("verb", "step"),
    [
        *(("promote", step) for step in STEPS),
        *(("promote in steps", CANARY.format(percent)) for percent in (10, 50)),
        *(("promote in steps", step) for step in STEPS),
        *(("roll back", step) for step in STEPS if step not in {"drill", "hold"}),
    ],
)
def test_killed_at_every_step_and_resumed(
    ledger: Ledger, target: FileTarget, step: str, verb: str
) -> None:
    folder = target.path.parent
    promote(ledger, target, "p1", "a")
    promote(ledger, target, "p2", "b")
    goes_on = verb.startswith("promote")
    name, digit, end = ("p3", "c", "promoted") if goes_on else ("r1", "a", "rolled_back")
    killed(folder, step, verb, name, digit)
    resumed = main(verb, str(folder), name, digit)
    assert resumed.kind == end
    assert story(ledger)[4:] == [f"intent {name} {digit}", f"{end} {name} {digit}"]
    assert (target.read()["live"][7], target.read()["share"]) == (digit, 0)
    assert ledger.state().environment("production").pending is None


@pytest.mark.parametrize(
    "step", ["canary 10 %", "canary 50 %", "switch", "verify after", "hold", "end"]
)
def test_killed_and_never_resumed(ledger: Ledger, target: FileTarget, step: str) -> None:
    promote(ledger, target, "p1", "a")
    killed(target.path.parent, step, "promote in steps", "p2", "b")
    assert target.read()["share"] == {"canary 50 %": 10, "switch": 50}.get(step, 0)
    late = Waiting(datetime.now(UTC) + timedelta(hours=1))
    assert promote(ledger, target, "p3", "c", **late.options()).kind == "promoted"
    assert story(ledger)[2:4] == ["intent p2 b", "rolled_back p2 a"]
    assert target.read()["live"][7] == "c"


WRITES_NOTHING = {"drill", "hold"}
"""Steps between which and the end nothing is written."""


@pytest.mark.parametrize("step", [step for step in STEPS if step not in WRITES_NOTHING])
def test_a_git_server_that_is_gone_is_one_line_and_the_same_command_goes_on(
    ledger: Ledger, target: FileTarget, commands: Commands, step: str
) -> None:
    server = GitDaemon(Path(ledger.remote))

    def told(reached: str) -> None:
        if reached == step:
            server.stop()

    with server, ledger_at(server.url, commands) as served:
        promote(served, target, "p1", "a")
        with pytest.raises(OutsideError, match="git://127") as caught:
            promote(served, target, "p2", "b", told=told)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 4
        server.start()
        assert promote(served, target, "p2", "b").kind == "promoted"
        assert story(served)[2:] == ["intent p2 b", "promoted p2 b"]
        live = target.live()
        assert live is not None
        assert live.digest == served.state().environment("production").live


def test_promoters_that_race_take_their_turns(ledger: Ledger, target: FileTarget) -> None:
    ended: list[Written] = []

    def one(number: int) -> None:
        with ledger_at(ledger.remote, ledger.commands) as mine:
            made = release(mine, target, sleep=lambda _: None)
            wanted: Entry = intent(f"p{number}", "abcdef"[number])
            ended.append(made.promote(wanted, is_older=lambda _: False).written)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = story(ledger)
    assert len(told) == 12
    for first, second in zip(told[::2], told[1::2], strict=True):
        assert second == first.replace("intent", "promoted")
    state = ledger.state().environment("production")
    live = target.live()
    assert live is not None
    assert live.digest == state.live
    assert len(ended) == 6

"""Candidates that were judged well and misbehave in place: none of them is promoted."""

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.command import Commands
from ci_mlops.evidence import Check
from ci_mlops.release import verify
from ci_mlops.release.ledger import Ledger, ledger_at
from ci_mlops.release.promote import Release
from ci_mlops.release.settings import VerifySettings
from ci_mlops.release.target import Slot
from ci_mlops.release.verify import Verifier
from ci_mlops.serving.client import Client
from tests.unit.release.file_target import FileTarget, good, intent
from tests.unit.serving.faulty_server import KINDS, RECORDED, Faulty, serving

SETTINGS = VerifySettings(ready_within_s=0.5)


@pytest.fixture
def ledger(tmp_path: Path, commands: Commands) -> Iterator[Ledger]:
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    with ledger_at(str(remote), commands) as made:
        yield made


class ServerTarget(FileTarget):
    """Two slots whose servers answer for real; `a` is the one that is live."""

    def __init__(self, path: Path, a: str, b: str) -> None:
        super().__init__(path)
        self.urls = {"a": a, "b": b}

    def live(self) -> Slot | None:
        found = super().live()
        return found and self._at(found)

    def start(self, digest: str, fence: int) -> Slot:
        return self._at(super().start(digest, fence))

    def switch(self, digest: str, fence: int) -> Slot:
        return self._at(super().switch(digest, fence))

    def _at(self, slot: Slot) -> Slot:
        return Slot(digest=slot.digest, url=self.urls[slot.digest[7]])


def verifier(live: Callable[[], Slot | None]) -> Verifier:
    return Verifier(settings=SETTINGS, model="m", recorded=lambda _: RECORDED, live=live)


def live(ledger: Ledger, target: ServerTarget) -> None:
    """Make `a` live."""
    release = Release(ledger=ledger, target=target, verify=good)
    assert release.promote(intent("p1", "a"), is_older=lambda _: False).kind == "promoted"


@pytest.mark.parametrize("kind", KINDS)
def test_a_faulty_candidate_is_rolled_back(ledger: Ledger, tmp_path: Path, kind: str) -> None:
    work_s = 0.004 if kind == "slower by half" else 0
    with serving("good", work_s=work_s) as sound, serving(kind, work_s=work_s) as faulty:
        target = ServerTarget(tmp_path / "target.json", sound.url, faulty.url)
        live(ledger, target)
        release = Release(ledger=ledger, target=target, verify=verifier(target.live))
        ended = release.promote(intent("p2", "b"), is_older=lambda _: False)
        assert ended.kind == "rolled_back"
        assert ended.written.entry.reason
        assert [check.outcome for check in ended.checks if check.outcome == "failed"]
        assert target.read()["live"][7] == "a"
        assert "switch b" not in target.read()["done"], "it is noticed before any client sees it"


def test_a_sound_candidate_is_promoted_with_what_was_seen(ledger: Ledger, tmp_path: Path) -> None:
    with serving("good") as one, serving("good") as other:
        target = ServerTarget(tmp_path / "target.json", one.url, other.url)
        live(ledger, target)
        release = Release(ledger=ledger, target=target, verify=verifier(target.live))
        ended = release.promote(intent("p2", "b"), is_older=lambda _: False)
    assert ended.kind == "promoted"
    assert [(check.name, check.slice) for check in ended.checks] == [
        ("ready", "before the switch"),
        ("signature", "before the switch"),
        ("predictions", "before the switch"),
        ("errors", "before the switch"),
        ("stays-ready", "before the switch"),
        ("version", "before the switch"),
        ("memory", "before the switch"),
        ("answer-time", "before the switch"),
        ("ready", "after the switch"),
        ("predictions", "after the switch"),
        ("errors", "after the switch"),
        ("stays-ready", "after the switch"),
        ("version", "after the switch"),
        ("rollback-drill", ""),
    ]
    assert {check.outcome for check in ended.checks} == {"passed"}


def test_who_goes_back_waits_for_the_judged_answers_alone(ledger: Ledger, tmp_path: Path) -> None:
    with serving("good") as one, serving("good") as other:
        target = ServerTarget(tmp_path / "target.json", one.url, other.url)
        live(ledger, target)
        release = Release(ledger=ledger, target=target, verify=verifier(target.live))
        ended = release.roll_back(intent("r1", "b"))
    assert ended.kind == "rolled_back"
    assert {check.outcome for check in ended.checks} == {"passed"}
    assert [(check.name, check.slice) for check in ended.checks] == [
        ("ready", "before the switch"),
        ("predictions", "before the switch"),
        ("version", "before the switch"),
        ("ready", "after the switch"),
        ("predictions", "after the switch"),
        ("errors", "after the switch"),
        ("stays-ready", "after the switch"),
        ("version", "after the switch"),
    ]


# --- held ---------------------------------------------------------------------------------------


def held(server: Faulty, hold_s: float = 0.5) -> list[Check]:
    """Look at a server for a while, at once and often."""
    watched = Verifier(
        settings=SETTINGS, model="m", recorded=lambda _: RECORDED, live=lambda: None, hold_s=hold_s
    )
    return [*watched(Slot(digest="sha256:b", url=server.url), "hold")]


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "HELD_PER_S", 1000.0)


@pytest.mark.usefixtures("_often")
def test_a_sound_version_holds_with_figures_of_each_kind() -> None:
    with serving("good", work_s=0) as server:
        checks = held(server, 5.0)
    assert {check.name: check.outcome for check in checks} == {
        "errors": "passed",
        "stays-ready": "passed",
        "version": "passed",
        "traffic": "passed",
        "memory": "passed",
    }
    assert {check.slice for check in checks} == {"during the hold"}
    assert (checks[0].rows or 0) >= 10


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("fails always", "errors"),
        ("hangs up", "errors"),
        ("drifts after a while", "errors"),
        ("ready now and then", "stays-ready"),
        ("two versions", "version"),
        ("leaks", "memory"),
    ],
)
def test_the_first_thing_that_does_not_hold_ends_it(kind: str, name: str) -> None:
    with serving(kind, work_s=0) as server:
        (check,) = held(server, 60)
        assert server.asked < 3000, "it ended at once"
    assert (check.name, check.outcome) == (name, "failed")
    assert " It was live for " in check.message


@pytest.mark.usefixtures("_often")
def test_what_only_its_clients_meet_is_found_in_its_own_count() -> None:
    over = threading.Event()
    inputs = [{"name": "x", "shape": [3], "datatype": "FP64", "data": [0.1, 0.2, 0.3]}]

    def clients(url: str) -> None:
        with contextlib.closing(Client(url)) as client:
            while not over.wait(0.001):
                client.infer("m", inputs)

    with serving("hides until it is live", work_s=0) as server:
        thread = threading.Thread(target=clients, args=(server.url,))
        thread.start()
        (check,) = held(server, 60)
        over.set()
        thread.join()
    assert (check.name, check.outcome) == ("traffic", "failed")


@pytest.mark.usefixtures("_often")
def test_a_server_without_metrics_is_held_by_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Faulty, "metrics", lambda _: "# nothing")
    with serving("good", work_s=0) as server:
        found = {check.name: check for check in held(server)}
    assert (found["memory"].outcome, found["traffic"].outcome) == ("skipped", "skipped")
    assert found["errors"].outcome == "passed"
    assert "do not count requests" in found["traffic"].message


# --- what a candidate that is asked alone says ----------------------------------------------------


def before(kind: str, **more: Any) -> dict[str, Check]:
    """Look at a candidate where nothing is live."""
    looks = Verifier(
        settings=SETTINGS, model="m", recorded=lambda _: RECORDED, live=lambda: None, **more
    )
    with serving(kind, work_s=0) as server:
        return {one.name: one for one in looks(Slot(digest="sha256:b", url=server.url), "before")}


def test_the_first_version_has_nothing_to_be_compared_with() -> None:
    found = before("good")
    assert "answer-time" not in found
    assert {one.outcome for one in found.values()} == {"passed"}


def test_a_server_that_says_little_is_judged_by_its_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Faulty, "metrics", lambda _: "# nothing")
    monkeypatch.setattr("tests.unit.serving.faulty_server.DESCRIBED", {"name": "m"})
    monkeypatch.setattr(Faulty, "VERSION", "")
    found = before("good")
    assert {one.name for one in found.values() if one.outcome == "skipped"} == {
        "signature",
        "version",
        "memory",
    }


def test_what_is_live_and_does_not_answer_is_no_reason_to_keep_it() -> None:
    with serving("good", work_s=0) as gone:
        url = gone.url
    dead = Slot(digest="sha256:a", url=url)
    with serving("good", work_s=0) as server:
        last = verifier(lambda: dead)(Slot(digest="sha256:b", url=server.url), "before")[-1]
    assert (last.name, last.outcome) == ("answer-time", "skipped")
    assert last.message == "What is live did not answer, to be compared with."


def test_another_version_behind_the_clients_address_is_no_switch() -> None:
    looks = verifier(lambda: None)
    with serving("good", work_s=0) as server, serving("good", work_s=0) as former:
        former.version = "0"
        slot = Slot(digest="sha256:b", url=server.url)
        assert looks(slot, "before")[-1].outcome == "passed"
        last = looks(Slot(digest="sha256:b", url=former.url), "after")[-1]
    assert (last.name, last.outcome) == ("version", "failed")
    assert last.message == "Version 0 answers where 1 was verified."


def test_nothing_that_was_judged_is_nothing_to_go_by() -> None:
    empty = RECORDED.model_copy(update={"outputs": {}})
    looks = Verifier(settings=SETTINGS, model="m", recorded=lambda _: empty, live=lambda: None)
    with serving("good", work_s=0) as server:
        last = looks(Slot(digest="sha256:b", url=server.url), "before")[-1]
    assert (last.name, last.outcome) == ("predictions", "failed")

"""Candidates that were judged well and misbehave in place: none of them is promoted."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_mlops.command import Commands
from ci_mlops.release.ledger import Ledger, ledger_at
from ci_mlops.release.promote import Release
from ci_mlops.release.settings import VerifySettings
from ci_mlops.release.target import Slot
from ci_mlops.release.verify import Verifier
from tests.unit.release.file_target import FileTarget, good, intent
from tests.unit.serving.faulty_server import KINDS, RECORDED, serving

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

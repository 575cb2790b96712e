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
from tests.unit.release.file_target import FileTarget, intent
from tests.unit.serving.faulty_server import KINDS, RECORDED, serving

SETTINGS = VerifySettings(ready_within_s=0.5, requests=100)


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_faulty_candidate_is_rolled_back(ledger: Ledger, tmp_path: Path, kind: str) -> None:
    with serving("good") as good, serving(kind) as faulty:
        target = ServerTarget(tmp_path / "target.json", good.url, faulty.url)
        release = Release(ledger=ledger, target=target, verify=verifier(target.live))
        assert release.promote(intent("p1", "a"), is_older=lambda _: False).kind == "promoted"
        ended = release.promote(intent("p2", "b"), is_older=lambda _: False)
        assert ended.kind == "rolled_back"
        assert ended.written.entry.reason
        assert ended.checks[-1].outcome == "failed"
        assert target.read()["live"][7] == "a"
        assert "switch b" not in target.read()["done"], "it is noticed before any client sees it"


def test_a_sound_candidate_is_promoted_with_what_was_seen(ledger: Ledger, tmp_path: Path) -> None:
    with serving("good") as one, serving("good") as other:
        target = ServerTarget(tmp_path / "target.json", one.url, other.url)
        release = Release(ledger=ledger, target=target, verify=verifier(target.live))
        release.promote(intent("p1", "a"), is_older=lambda _: False)
        ended = release.promote(intent("p2", "b"), is_older=lambda _: False)
    assert ended.kind == "promoted"
    assert [(check.name, check.slice) for check in ended.checks] == [
        ("ready", "before the switch"),
        ("predictions", "before the switch"),
        ("errors", "before the switch"),
        ("answer-time", "before the switch"),
        ("ready", "after the switch"),
        ("predictions", "after the switch"),
        ("errors", "after the switch"),
        ("rollback-drill", ""),
    ]
    assert {check.outcome for check in ended.checks} == {"passed"}

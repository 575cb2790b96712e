"""What the entries of an environment say: which promotions there were, and which one is live."""

from collections.abc import Sequence

import pytest

from ci_mlops.release.entry import Entry
from ci_mlops.release.mirrors.mirror import history
from tests.unit.release.mirrors.told import (
    BLOCKED,
    DID_NOT_HOLD,
    ONE,
    PENDING,
    PROMOTED,
    PROMOTED_TWO,
    ROLLED_BACK,
    SUPERSEDED,
    TWO,
    ended,
    told,
    written,
)


@pytest.mark.parametrize(
    ("entries", "live"),
    [
        ([], None),
        ([PENDING], None),
        ([BLOCKED], None),
        ([PROMOTED], "run-1"),
        ([PROMOTED, PROMOTED_TWO], "run-2"),
        ([PROMOTED, PROMOTED_TWO, DID_NOT_HOLD], "run-2"),
        ([PROMOTED, PROMOTED_TWO, DID_NOT_HOLD, ROLLED_BACK], "run-4"),
        ([PROMOTED, PROMOTED_TWO, BLOCKED, SUPERSEDED, PENDING], "run-2"),
    ],
)
def test_what_is_live_is_what_held_last(entries: Sequence[list[Entry]], live: str | None) -> None:
    found = told(*entries)
    assert (found.live.intent.id if found.live else None) == live
    by_ledger = next(
        (w.entry.to for w in written(*entries) if w.entry.kind in {"promoted", "rolled_back"}), None
    )
    assert (found.live.intent.to if found.live else None) == by_ledger


def test_promotions_stand_in_the_ledgers_order_and_only_those_of_the_environment() -> None:
    staging = ended("run-9", TWO, "promoted", environment="staging")
    entries = written(PROMOTED, staging, PENDING)
    found = history(entries, "production")
    assert [one.intent.id for one in found.promotions] == ["run-1", "run-7"]
    assert [one.sequence for one in found.promotions] == [2, 5]
    assert found.live
    assert found.live.intent.to == ONE

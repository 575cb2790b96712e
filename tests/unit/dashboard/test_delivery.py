"""DORA's figures from a ledger whose answers are known by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from ci_mlops.dashboard.delivery import Delivery, Event, delivery, events
from ci_mlops.release.entry import Entry, Kind, moment
from tests import histories

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WEEK = timedelta(weeks=1)


def pair(number: int, kind: Kind, *, to: int, live: int, after: timedelta) -> list[Entry]:
    """Return an intent, and how it ended two minutes later with `live`."""
    when = NOON + after
    end = when + timedelta(minutes=2)
    return [
        histories.entry("intent", number, when, to=to),
        histories.entry(kind, number, end, to=live),
    ]


HAND: list[Entry] = [
    *pair(1, "promoted", to=1, live=1, after=timedelta(days=1)),
    *pair(2, "promoted", to=2, live=2, after=timedelta(days=2)),
    *pair(3, "rolled_back", to=3, live=2, after=timedelta(days=3)),  # did not hold
    *pair(4, "rolled_back", to=1, live=1, after=timedelta(days=2, hours=30)),  # 2 was undone
    *pair(5, "superseded", to=2, live=2, after=timedelta(days=5)),
    *pair(6, "blocked", to=5, live=5, after=timedelta(days=6)),
]


def happened(entries: list[Entry]) -> list[Event]:
    _, found = histories.written(entries)
    return events(found)["production"]


def test_what_ended_is_named() -> None:
    assert [one.what for one in happened(HAND)] == [
        "promoted",
        "promoted",
        "did not hold",
        "rolled back",
        "superseded",
        "blocked",
    ]


def test_the_four_figures() -> None:
    made = {
        one.entry.commit: NOON + timedelta(hours=hours)
        for one, hours in zip(happened(HAND), (20, 42), strict=False)
    }
    found = delivery(happened(HAND), since=NOON, now=NOON + 2 * WEEK, committed=made)
    assert found.per_week == pytest.approx(2 / 2)
    # Live 24 h 2 min and 48 h 2 min after noon; committed 20 h and 42 h after it.
    assert found.lead_time_s == pytest.approx((4 * 3600 + 120 + 6 * 3600 + 120) / 2)
    assert found.lead_times == 2
    assert found.failure_rate == pytest.approx((1 + 1) / 3)
    # One did not hold for 2 minutes; the other was live from 48 h 2 min to 78 h 2 min.
    assert found.restore_s == pytest.approx((120 + 30 * 3600) / 2)


def test_what_began_before_the_time_does_not_count() -> None:
    found = delivery(happened(HAND), since=NOON + 2.5 * WEEK, now=NOON + 3 * WEEK, committed={})
    assert (found.deployments, found.started, found.rolled_back) == (0, 0, 0)
    assert (found.failure_rate, found.lead_time_s, found.restore_s) == (None, None, None)


def test_no_time_has_no_rate() -> None:
    found = delivery([], since=NOON, now=NOON, committed={})
    assert isinstance(found, Delivery)
    assert found.per_week is None


def test_an_end_without_its_intent_is_an_event_still() -> None:
    _, found = histories.written(HAND[:2])
    (only,) = events(found[1:])["production"]
    assert only.what == "promoted"
    assert moment(only.begun) == moment(only.ended)

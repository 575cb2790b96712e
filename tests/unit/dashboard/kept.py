"""Runs and releases over months, for tests of the dashboard."""

import math
from datetime import UTC, datetime, timedelta

from ci_mlops.dashboard.content import Content, content
from ci_mlops.dashboard.records import Kept
from ci_mlops.dashboard.summary import Figure, Summary
from ci_mlops.evidence import Outcome
from ci_mlops.release.entry import Entry, moment
from tests import histories

BEGAN = datetime(2026, 1, 5, 9, tzinfo=UTC)
HOSTILE = "</td><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def figure(**changes: object) -> Figure:
    values: dict[str, object] = {"stage": "model", "name": "auc", "outcome": "passed", "value": 0.8}
    return Figure(**{**values, **changes})  # type: ignore[arg-type]


def summary(when: datetime = BEGAN, *figures: Figure, **changes: object) -> Summary:
    values: dict[str, object] = {
        "project": "loans",
        "verdict": "passed",
        "when": moment(when),
        "seconds": 12.5,
        "commit": "c" * 40,
        "run": "https://github.com/acme/loans/actions/runs/7",
        "figures": figures,
    }
    return Summary(**{**values, **changes})  # type: ignore[arg-type]


def watched(count: int, *, every: timedelta, environment: str = "production") -> list[Summary]:
    """Return runs in a row with a limited figure, its interval, two quantiles and 20 groups."""
    found = []
    for number in range(count):
        value = 0.8 + 0.03 * math.sin(number / 9)
        outcome: Outcome = "failed" if value < 0.78 else "passed"
        groups = [
            figure(stage="policy", name="rate", slice=f"group = {one}", value=0.5 + one / 100)
            for one in range(20)
        ]
        quantiles = [
            figure(stage="latency", name=name, unit="ms", value=number % 7 + high, at_most=30.0)
            for name, high in (("answer p50", 2.0), ("answer p95", 9.0))
        ]
        auc = figure(
            outcome=outcome, value=value, low=value - 0.02, high=value + 0.02, at_least=0.78
        )
        reasons = (f"auc fell to {value:.3f}, below 0.78",) if outcome == "failed" else ()
        when = BEGAN + number * every
        found.append(
            summary(
                when,
                auc,
                *quantiles,
                *groups,
                environment=environment,
                verdict=outcome,
                reasons=reasons,
            )
        )
    return found


def shown(
    entries: list[Entry],
    summaries: list[Summary],
    *,
    environment: str | None = None,
    since: datetime | None = None,
    now: datetime = BEGAN + timedelta(days=90),
) -> Content:
    state, found = histories.written(entries)
    return content(
        state,
        found,
        Kept(summaries=tuple(sorted(summaries, key=lambda one: one.when))),
        environment=environment,
        since=since,
        now=now,
        committed={},
    )

"""What is looked at in place: ready, the judged answers, errors, and times beside what is live."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_mlops.evidence import Check, Limit
from ci_mlops.release.settings import VerifySettings
from ci_mlops.release.target import Phase, Slot
from ci_mlops.serving import client
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import Client, Unanswered

BLOCK = 10
"""Requests in a turn of one side."""


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """Looks at slots of one environment."""

    settings: VerifySettings
    model: str
    """The model's name in requests."""
    recorded: Callable[[str], Recorded]
    """The rows and answers that were judged, by digest. Raises OutsideError without any."""
    live: Callable[[], Slot | None]

    def __call__(self, slot: Slot, phase: Phase) -> Sequence[Check]:
        """Return what was seen at a slot; the first check that fails is the last."""
        checks: list[Check] = []
        for check in self._checks(slot, phase):
            checks.append(check)
            if check.outcome != "passed":
                break
        return checks

    def _checks(self, slot: Slot, phase: Phase) -> Iterator[Check]:
        settings = self.settings
        asked = Client(url=slot.url, model=self.model)
        recorded = self.recorded(slot.digest)
        where = "drill" if phase == "drill" else f"{phase} the switch"
        try:
            yield client.ready(asked, settings.ready_within_s, slice_=where)
            yield client.same_predictions(asked, recorded, settings.tolerance, slice_=where)
            if phase == "drill":
                return
            live = self.live() if phase == "before" else None
            other = None
            if live is not None and live.digest != slot.digest:
                other = Client(url=live.url, model=self.model)
            errors, ours, theirs = _replayed(asked, other, recorded, settings.requests)
            yield _error_rate(errors, settings, where)
            if other is not None and theirs and settings.max_slowdown_percent is not None:
                yield _slowdown(ours, theirs, settings.max_slowdown_percent, where)
        finally:
            asked.close()


def _replayed(
    asked: Client, other: Client | None, recorded: Recorded, requests: int
) -> tuple[int, list[float], list[float]]:
    """Replay rows in turns; return errors, and milliseconds of the candidate and the live one."""
    errors, ours, theirs = 0, list[float](), list[float]()
    rows = [_row(recorded, n) for n in range(len(recorded.predicted))]
    for start in range(0, requests, BLOCK):
        block = [rows[n % len(rows)] for n in range(start, min(start + BLOCK, requests))]
        for inputs, expected in block:
            milliseconds = _timed(asked, inputs, expected)
            errors += milliseconds is None
            ours += [] if milliseconds is None else [milliseconds]
        if other is not None:
            found = [_timed(other, inputs, None) for inputs, _ in block]
            theirs += [one for one in found if one is not None]
    return errors, ours, theirs


def _row(recorded: Recorded, n: int) -> tuple[list[Mapping[str, Any]], Any]:
    inputs: list[Mapping[str, Any]] = [
        {**one, "shape": [1], "data": [one["data"][n]]} for one in recorded.inputs
    ]
    return inputs, recorded.predicted[n]


def _timed(asked: Client, inputs: list[Mapping[str, Any]], expected: Any) -> float | None:
    """Return the milliseconds of an answer; None where there was none, or another than expected."""
    begun = time.perf_counter()
    try:
        found = asked.infer(inputs)["predicted"]["data"]
    except (Unanswered, KeyError, TypeError):
        return None
    taken = 1000 * (time.perf_counter() - begun)
    right = expected is None or isinstance(expected, float) or found == [expected]
    return taken if right else None


def _error_rate(errors: int, settings: VerifySettings, where: str) -> Check:
    percent = 100 * errors / settings.requests
    limit = Limit(at_most=settings.max_errors_percent)
    return Check(
        name="errors",
        outcome="passed" if limit.allows(percent) else "failed",
        slice=where,
        observed=percent,
        limit=limit,
        unit="%",
        rows=settings.requests,
        message=f"{errors} of {settings.requests} replayed requests got no right answer.",
    )


def _slowdown(ours: list[float], theirs: list[float], allowed: float, where: str) -> Check:
    one, other = statistics.median(ours), statistics.median(theirs)
    percent = 100 * (one / other - 1)
    limit = Limit(at_most=allowed)
    return Check(
        name="answer-time",
        outcome="passed" if limit.allows(percent) else "failed",
        slice=where,
        observed=percent,
        limit=limit,
        unit="%",
        rows=len(ours),
        message=f"The median answer took {one:.2f} ms, beside {other:.2f} ms of what is live.",
    )

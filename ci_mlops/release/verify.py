"""What is looked at in place: ready, the judged answers, errors, and times beside what is live."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_mlops.evidence import Check, Limit
from ci_mlops.release.settings import VerifySettings
from ci_mlops.release.target import Phase, Slot
from ci_mlops.serving import conformance
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import Client, Unanswered, until_ready
from ci_mlops.serving.rows import PREDICTIONS

TIMEOUT_S = 10.0
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
        recorded = self.recorded(slot.digest)
        where = "drill" if phase == "drill" else f"{phase} the switch"
        within_s = settings.ready_within_s
        seconds = until_ready(slot.url, within_s=within_s, runs=lambda: True)
        yield conformance.ready(seconds, within_s, slice_=where)
        with contextlib.ExitStack() as stack:
            asked = self._asked(slot, stack)
            yield conformance.predictions(
                asked.client,
                model=self.model,
                recorded=recorded,
                tolerance=settings.tolerance,
                slice_=where,
            )
            if phase == "drill":
                return
            live = self.live() if phase == "before" else None
            apart = live is not None and live.digest != slot.digest
            other = self._asked(live, stack) if live and apart else None
            errors, ours, theirs = _replayed(asked, other, recorded, settings.requests)
            yield _error_rate(errors, settings, where)
            if other is not None and theirs and settings.max_slowdown_percent is not None:
                yield _slowdown(ours, theirs, settings.max_slowdown_percent, where)

    def _asked(self, slot: Slot, stack: contextlib.ExitStack) -> "_Asked":
        made = stack.enter_context(contextlib.closing(Client(slot.url, timeout_s=TIMEOUT_S)))
        return _Asked(client=made, model=self.model)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    client: Client
    model: str


def _replayed(
    asked: _Asked, other: _Asked | None, recorded: Recorded, requests: int
) -> tuple[int, list[float], list[float]]:
    """Replay rows in turns; return errors, and milliseconds of the candidate and the live one."""
    errors, ours, theirs = 0, list[float](), list[float]()
    rows = [(recorded.row(n), _expected(recorded, n)) for n in range(recorded.rows)]
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


def _expected(recorded: Recorded, n: int) -> Any:
    """Return the class that was judged for a row; None of numbers, which are compared elsewhere."""
    predicted = recorded.outputs.get(PREDICTIONS)
    one = predicted[n] if predicted and len(predicted) == recorded.rows else None
    return None if isinstance(one, float) else one


def _timed(asked: _Asked, inputs: Sequence[Mapping[str, Any]], expected: Any) -> float | None:
    """Return the milliseconds of an answer; None where there was none, or another than expected."""
    begun = time.perf_counter()
    try:
        found = asked.client.predictions(asked.model, inputs)
    except Unanswered:
        return None
    taken = 1000 * (time.perf_counter() - begun)
    return taken if expected is None or list(found.get(PREDICTIONS, ())) == [expected] else None


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

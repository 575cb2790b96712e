"""What was seen of a candidate in place, held against its limits: pure, one check for each."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_mlops.evidence import Check, Interval, Limit
from ci_mlops.release.replay import Seen
from ci_mlops.release.settings import VerifySettings
from ci_mlops.serving.scrape import REQUESTS, Growth, Scrape, growth

LEVEL = 0.99
"""Of each interval here, on both sides."""
MIN_BLOCKS = 8
"""Fewer pairs of blocks have no interval at the level, so that they decide nothing."""
ENOUGH_IN_A_ROW = 3
"""Requests without a right answer, one after the other, that end a hold whatever its limits."""


def errors(seen: Seen, settings: VerifySettings, where: str) -> Check:
    """Whether replayed requests got the judged answers."""
    percent = 100 * seen.errors / seen.asked if seen.asked else math.inf
    return _errors(seen, settings, where, fails=not percent <= settings.max_errors_percent)


def errors_so_far(seen: Seen, settings: VerifySettings, where: str, *, ended: bool) -> Check:
    """Whether they do during a hold, where each that comes may end it."""
    limit = settings.max_errors_percent
    fails = seen.in_a_row >= ENOUGH_IN_A_ROW or _too_many(seen.errors, seen.asked, limit)
    return errors(seen, settings, where) if ended else _errors(seen, settings, where, fails=fails)


def stays_ready(seen: Seen, settings: VerifySettings, where: str, *, ended: bool = True) -> Check:
    """Whether it was ready whenever it was asked in between."""
    limit = settings.max_errors_percent
    percent = 100 * seen.not_ready / seen.looks if seen.looks else math.inf
    fails = not percent <= limit if ended else _too_many(seen.not_ready, seen.looks, limit)
    return Check(
        name="stays-ready",
        outcome="failed" if fails else "passed",
        slice=where,
        observed=percent if seen.looks else None,
        limit=Limit(at_most=limit),
        unit="%",
        message=f"It was not ready {seen.not_ready} of {seen.looks} times between requests.",
        remedy="Say that it is ready once the model can be asked, and from then on" * fails,
    )


def version(seen: Seen, before: str, where: str) -> Check:
    """Whether one version answered, and after the switch the one that was verified before."""
    found = sorted(seen.versions - {""})
    told = ", ".join(found)
    if not found and not before:
        return _skipped("version", where, "Its answers do not say which version they are of.")
    if before and found != [before]:
        fault = f"Version {told or 'unknown'} answers where {before} was verified."
    else:
        fault = f"Versions {told} answer in turn at one address." if len(found) > 1 else ""
    return Check(
        name="version",
        outcome="failed" if fault else "passed",
        slice=where,
        observed=told,
        message=fault or f"Each answer was of version {told}.",
        remedy="Let the address reach nothing else than what was started" if fault else "",
    )


# --- times --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """How much longer answers took than those of what is live, in percent, with its interval."""

    percent: float
    low: float
    high: float
    pairs: int

    def is_decided(self, limit: float) -> bool:
        """Whether more requests would say nothing else."""
        return self.pairs >= MIN_BLOCKS and (self.high <= limit or self.low > limit)


def slowdown(seen: Seen) -> Slowdown | None:
    """Compare the blocks that took turns; the first pair warms both up.

    The larger of two: the median is what clients see, and the lower quartile what is left of an
    answer where a busy machine adds its own waiting to both sides and hides what differs.
    """
    pairs = list(zip(seen.ours[1:], seen.theirs[1:], strict=False))
    found = [_slowdown([one[n] / other[n] for one, other in pairs]) for n in range(2) if pairs]
    return max(found, key=lambda one: one.percent, default=None)


def _slowdown(ratios: Sequence[float]) -> Slowdown:
    import numpy as np

    from ci_mlops.stats.paired import sign_interval

    logs = np.log(ratios)
    low, high = sign_interval(logs, LEVEL)
    percents = [100 * math.expm1(one) for one in (float(np.median(logs)), low, high)]
    return Slowdown(percent=percents[0], low=percents[1], high=percents[2], pairs=len(logs))


def answer_time(seen: Seen, found: Slowdown | None, allowed: float, where: str) -> Check:
    """Whether answers took about as long: the median over all pairs of blocks within the limit."""
    if found is None:
        return _skipped("answer-time", where, "What is live did not answer, to be compared with.")
    limit = Limit(at_most=allowed)
    ours, theirs = (
        statistics.median(block[1] for block in one) for one in (seen.ours, seen.theirs)
    )
    unsure = "" if found.is_decided(allowed) else " The machine was too busy to be surer."
    return Check(
        name="answer-time",
        outcome="passed" if limit.allows(found.percent) else "failed",
        slice=where,
        observed=found.percent,
        limit=limit,
        interval=Interval(low=found.low, high=found.high, level=LEVEL),
        unit="%",
        rows=seen.asked,
        message=f"The median answer took {ours:.2f} ms, beside {theirs:.2f} ms of what is live, "
        f"asked in turn {found.pairs} times.{unsure}",
    )


# --- metrics ------------------------------------------------------------------------------------


def memory(seen: Seen, limit_kb: float, where: str, *, alone: bool) -> Check:
    """Whether requests leave memory behind.

    `alone` says that nobody else asks, so that a server which does not count its requests was
    asked as often as we did.
    """
    found = list(_growths(seen, alone=alone))
    if not found:
        reason = "Its /metrics do not say often enough what memory it holds."
        if any(one.memory_bytes is not None for _, one in seen.scrapes) and not alone:
            reason = f"Its /metrics do not count what clients ask ({REQUESTS})."
        return _skipped("memory", where, reason)
    worst = max(found, key=lambda one: one.kb_a_request)
    limit = Limit(at_most=limit_kb)
    fails = not limit.allows(worst.kb_a_request)
    return Check(
        name="memory",
        outcome="failed" if fails else "passed",
        slice=where,
        observed=worst.kb_a_request,
        limit=limit,
        unit="KB",
        rows=round(worst.requests),
        message=f"It held {worst.from_mb:.1f} MB and, {worst.requests:.0f} requests later, "
        f"{worst.to_mb:.1f} MB.",
        remedy="Find what each request leaves behind; `max_leak_kb: null` where memory is only "
        "returned late, as a Java heap is"
        if fails
        else "",
    )


def _growths(seen: Seen, *, alone: bool) -> Iterator[Growth]:
    for scrapes in _by_process(seen).values():
        counted = all(one.requests is not None for _, one in scrapes)
        samples = [
            (one.requests if counted and one.requests is not None else asked, one.memory_bytes)
            for asked, one in scrapes
            if one.memory_bytes is not None
        ]
        found = growth(samples) if counted or alone else None
        if found is not None:
            yield found


def traffic(seen: Seen, limit_percent: float, where: str, *, ended: bool) -> Check:
    """Whether the server itself counts errors among what its clients ask."""
    asked = failed = 0.0
    for scrapes in _by_process(seen).values():
        counts = [(one.requests, one.failed) for _, one in scrapes]
        known = [(a, f) for a, f in counts if a is not None and f is not None]
        if known:
            asked += known[-1][0] - known[0][0]
            failed += known[-1][1] - known[0][1]
    if not asked:
        if not ended:
            return _skipped("traffic", where, "It has counted no request yet.")
        return _skipped("traffic", where, f"Its /metrics do not count requests ({REQUESTS}).")
    fails = _too_many(failed, asked, limit_percent)
    return Check(
        name="traffic",
        outcome="failed" if fails else "passed",
        slice=where,
        observed=100 * failed / asked,
        limit=Limit(at_most=limit_percent),
        unit="%",
        rows=round(asked),
        message=f"It answered {failed:.0f} of {asked:.0f} requests of its clients, ours among "
        "them, with 5xx.",
    )


def _by_process(seen: Seen) -> Mapping[float, Sequence[tuple[int, Scrape]]]:
    """Return what was scraped of each process behind the address."""
    found: dict[float, list[tuple[int, Scrape]]] = {}
    for asked, one in seen.scrapes:
        found.setdefault(one.started, []).append((asked, one))
    return found


def _too_many(bad: float, of: float, limit_percent: float) -> bool:
    """Whether the share is above a limit for sure: its exact lower bound is (Clopper, Pearson)."""
    from scipy.stats import beta

    return bool(bad and 100 * beta.ppf(1 - LEVEL, bad, of - bad + 1) > limit_percent)


def _errors(seen: Seen, settings: VerifySettings, where: str, *, fails: bool) -> Check:
    common: dict[str, Any] = {"name": "errors", "slice": where, "unit": "%", "rows": seen.asked}
    first = f", first: {seen.first}" if seen.first else ""
    return Check(
        outcome="failed" if fails else "passed",
        observed=100 * seen.errors / seen.asked if seen.asked else None,
        limit=Limit(at_most=settings.max_errors_percent),
        message=f"{seen.errors} of {seen.asked} replayed requests got no right answer{first}."[
            :2000
        ],
        **common,
    )


def _skipped(name: str, where: str, reason: str) -> Check:
    return Check(name=name, outcome="skipped", slice=where, message=reason)

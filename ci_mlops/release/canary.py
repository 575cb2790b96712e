"""Whether a candidate with a share of the traffic does worse than what is live beside it.

Both count their own requests, and recorded rows are replayed to both, so something is seen even
where nobody asks. What was not seen is never a success: it is inconclusive, or an error.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check, Limit, Outcome
from ci_mlops.release.settings import CanaryRules
from ci_mlops.release.target import Sharing, Slot
from ci_mlops.release.traffic import (
    REQUESTS,
    Answers,
    Counted,
    Meter,
    Replay,
    Replayed,
    Side,
    asked,
)
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import Unanswered
from ci_mlops.stats import beside

CHANCE = 0.01
"""Of blaming a version that is no worse, for each figure at the end of a step."""
EARLY_CHANCE = 0.00001
"""The same while the step goes on, where it is looked at again and again."""
LOOK_S = 1.0
MIN_RATE, MAX_RATE = 1.0, 50.0
"""Replayed requests a second, at the least and at the most."""
AT_ONCE = "Set `canary_percent: [100]` for this release"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of two versions while each had its share of the traffic."""

    asked: int
    """The percentage that the candidate was to get."""
    percent: int
    """The one that the target can do."""
    candidate: Side
    live: Side
    replayed: Replayed

    @property
    def where(self) -> str:
        """How checks name the step."""
        return f"canary {self.asked} %"


# --- judged -------------------------------------------------------------------------------------


def judge(seen: Seen, rules: CanaryRules, *, early: bool = False) -> list[Check]:
    """Judge a step at its end; `early` says that it goes on, so that only what is plain counts."""
    requests = _requests(seen, rules)
    found = [_predictions(seen, rules, early=early)]
    ours, theirs = seen.candidate.counted, seen.live.counted
    if ours is not None and theirs is not None:
        enough = requests.outcome == "passed"
        chance = EARLY_CHANCE if early else CHANCE
        errors = _errors(ours, theirs, rules.verify.max_errors_percent, chance)
        found += [errors] if enough or errors.outcome == "failed" else []
        if enough and rules.verify.max_slowdown_percent is not None:
            found += [_answer_time(ours, theirs, rules.verify.max_slowdown_percent, chance)]
    # What failed comes first: it is the reason, whatever else was not seen.
    every = [one.model_copy(update={"slice": seen.where}) for one in (*found, requests)]
    return sorted(every, key=lambda check: check.outcome != "failed")


def _requests(seen: Seen, rules: CanaryRules) -> Check:
    """Whether each side was seen often enough, by its own count."""
    for who, side in (("The candidate", seen.candidate), ("What is live", seen.live)):
        if side.counted is None:
            return Check(
                name="requests",
                outcome="error" if side.unreachable else "inconclusive",
                message=f"{who} cannot be watched: {side.why_not}.",
                remedy="Look at what it printed"
                if side.unreachable
                else f"Serve {REQUESTS} at /metrics. {AT_ONCE}",
            )
    ours, theirs = (side.counted.requests if side.counted else 0 for side in _sides(seen))
    enough = min(ours, theirs) >= rules.canary_requests
    can = "" if seen.asked == seen.percent else f", of which the target can do {seen.percent} %"
    return Check(
        name="requests",
        outcome="passed" if enough else "inconclusive",
        observed=float(min(ours, theirs)),
        limit=Limit(at_least=rules.canary_requests),
        unit="requests",
        rows=ours,
        message=f"The candidate answered {ours} requests and what is live {theirs}, for a share of "
        f"{seen.asked} %{can}; {seen.replayed.requests} were replayed.",
        remedy="" if enough else "Raise `canary_step_minutes`, or lower `canary_requests`",
    )


def _predictions(seen: Seen, rules: CanaryRules, *, early: bool) -> Check:
    """Whether replayed rows that the candidate answered got the answers that were judged."""
    replayed, live = seen.replayed, seen.live.counted
    # A request without a prediction is the candidate's, unless what is live counted it as its own.
    faults = max(0, replayed.faults - (live.faults if live else 0))
    wrong = replayed.wrong + faults
    rows = max(wrong, replayed.ours + round(replayed.either * seen.percent / 100) + faults)
    common: dict[str, Any] = {"name": "predictions", "rows": rows}
    if not rows:
        message = "No recorded row that was replayed reached the candidate."
        remedy = f"Raise `canary_step_minutes`. {AT_ONCE}"
        return Check(outcome="inconclusive", message=message, remedy=remedy, **common)
    limit = Limit(at_most=rules.verify.max_errors_percent)
    percent = 100 * wrong / rows
    # Of a few rows one is a large share, so with errors allowed it is waited for more.
    waits = early and limit.at_most != 0 and rows < rules.canary_requests
    first = f" The first: {replayed.first}." if wrong else ""
    return Check(
        outcome="passed" if limit.allows(percent) or waits else "failed",
        observed=percent,
        limit=limit,
        unit="%",
        message=f"{wrong} of {rows} rows that were replayed to the candidate got no right answer."
        f"{first}",
        **common,
    )


def _errors(ours: Counted, theirs: Counted, allowed: float, chance: float) -> Check:
    """Whether the candidate answers with more errors than what is live, by their own counts."""
    both = (ours.errors, ours.requests), (theirs.errors, theirs.requests)
    worse = beside.more_errors(*both, allowed / 100) < chance
    rates = [100 * errors / requests if requests else 0.0 for errors, requests in both]
    limit = Limit(at_most=allowed)
    by_chance = not worse and not limit.allows(rates[0] - rates[1])
    return Check(
        name="errors",
        outcome=_outcome(worse=worse, by_chance=by_chance),
        observed=rates[0] - rates[1],
        limit=limit,
        unit="%",
        rows=ours.requests,
        message=f"{ours.errors} of {ours.requests} requests to the candidate ended with an error, "
        f"{theirs.errors} of {theirs.requests} to what is live"
        f"{'; that may be chance' if by_chance else ''}.",
    )


def _answer_time(candidate: Counted, live: Counted, allowed: float, chance: float) -> Check:
    """Whether the candidate takes longer than what is live, by their own clocks."""
    ours, theirs = candidate.times, live.times
    common: dict[str, Any] = {"name": "answer-time"}
    if not ours.count or not theirs.count or not theirs.mean:
        message = "Nobody counted how long the answers took."
        remedy = "Serve the histogram that docs/stages/serving.md names, or set no limit"
        return Check(outcome="inconclusive", message=message, remedy=remedy, **common)
    limit = Limit(at_most=allowed)
    percent = 100 * (ours.mean / theirs.mean - 1)
    worse = beside.slower(ours, theirs, allowed / 100) < chance
    by_chance = not worse and not limit.allows(percent)
    return Check(
        outcome=_outcome(worse=worse, by_chance=by_chance),
        observed=percent,
        limit=limit,
        unit="%",
        rows=ours.count,
        message=f"The mean answer took {1000 * ours.mean:.2f} ms in {ours.count} requests, beside "
        f"{1000 * theirs.mean:.2f} ms in {theirs.count} of what is live"
        f"{'; that may be chance' if by_chance else ''}.",
        **common,
    )


def _sides(seen: Seen) -> tuple[Side, Side]:
    return seen.candidate, seen.live


def _outcome(*, worse: bool, by_chance: bool) -> Outcome:
    if worse:
        return "failed"
    return "warned" if by_chance else "passed"


# --- watched ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Canary:
    """Gives a candidate one share of an environment's traffic after the other, and watches it."""

    target: Sharing
    rules: CanaryRules
    model: str
    """The model's name in requests."""
    recorded: Callable[[str], Recorded]
    """The rows and answers that were judged, by digest. Raises OutsideError without any."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @property
    def percents(self) -> Sequence[int]:
        """The shares before the switch."""
        return self.rules.canary_percent[:-1]

    def step(self, slot: Slot, former: str, percent: int, fence: int) -> list[Check]:
        """Give the candidate a share, and return what was seen while it had it.

        `former` is the digest that is live. The share stays. Raises OutsideError where the target
        refuses.
        """
        front, own = self.target.live(), self.target.own(former)
        if front is None or front.digest != former or not own:
            raise OutsideError(f"{former[:19]}, which is live, has no address of its own")
        replay = self._replay(slot, own, front.url)
        if isinstance(replay, str):
            return [_inconclusive(percent, replay)]
        meters = [Meter(url=url, model=self.model) for url in (slot.url, own)]
        watch = _Watch(self, meters, replay, percent, percent)
        seen = watch.look()
        if seen.candidate.counted is None or seen.live.counted is None:
            # Nobody could tell, so no client is sent there.
            return judge(seen, self.rules)[-1:]
        watch.percent = self.target.share(slot.digest, percent, fence)
        if not 0 < watch.percent < 100:
            raise OutsideError(f"the target can send {watch.percent} % there, and not {percent} %")
        return watch.through()

    def _replay(self, slot: Slot, own: str, front: str) -> Replay | str:
        """Return what replays rows, or why there is nothing to compare answers with."""
        rows = self.recorded(slot.digest)
        if not rows.outputs:
            return "No answers to recorded rows were judged."
        answers = []
        for who, url in (("The candidate", slot.url), ("What is live", own)):
            try:
                answers.append(asked(url, self.model, rows))
            except Unanswered as fault:
                return f"{who} does not answer the candidate's recorded rows: {fault}."
        return Replay(
            url=front,
            model=self.model,
            ours=Answers(version=answers[0].version, recorded=rows),
            theirs=answers[1],
            tolerance=self.rules.verify.tolerance,
        )


@dataclass
class _Watch:
    """One step, looked at again and again."""

    canary: Canary
    meters: Sequence[Meter]
    replay: Replay
    asked: int
    percent: int

    def look(self) -> Seen:
        """Read what both have counted, and return it with what was replayed."""
        for meter in self.meters:
            meter.read()
        candidate, live = (meter.side() for meter in self.meters)
        return Seen(
            asked=self.asked,
            percent=self.percent,
            candidate=candidate,
            live=live,
            replayed=self.replay.seen,
        )

    def through(self) -> list[Check]:
        """Watch for the step's time, and once more where that did not tell; end what is plain."""
        rules = self.canary.rules
        for meter in self.meters:
            meter.begin()
        for _ in range(2):
            plain = self._part(60 * rules.canary_step_minutes)
            checks = plain or judge(self.look(), rules)
            outcomes = {check.outcome for check in checks}
            if outcomes & {"failed", "error"} or "inconclusive" not in outcomes:
                break
        return checks

    def _part(self, seconds: float) -> list[Check]:
        """Replay rows for so long; return checks only where something is plainly wrong."""
        clock, rules = self.canary.clock, self.canary.rules
        pause = 1 / _rate(seconds, self.percent, rules.canary_requests)
        begun = due = clock()
        looked = begun
        while (now := clock()) < begun + seconds:
            self.replay.ask()
            if now - looked >= LOOK_S:
                looked = now
                checks = judge(self.look(), rules, early=True)
                if any(check.outcome == "failed" for check in checks):
                    return checks
            due = max(due + pause, clock())
            self.canary.sleep(max(0.0, min(due, begun + seconds) - clock()))
        return []


def _rate(seconds: float, percent: int, wanted: int) -> float:
    """Return the requests a second that show each side twice as often as is wanted, if they may."""
    smaller = min(percent, 100 - percent) / 100
    return min(MAX_RATE, max(MIN_RATE, 2 * wanted / smaller / seconds))


def _inconclusive(percent: int, message: str) -> Check:
    where = f"canary {percent} %"
    remedy = f"Versions that take different requests cannot share the traffic. {AT_ONCE}"
    return Check(
        name="predictions", outcome="inconclusive", slice=where, message=message, remedy=remedy
    )

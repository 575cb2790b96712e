"""Promote what was judged, verify it in place, and undo it when it does not hold.

A promotion is an intent in the ledger, a start beside what is live, a verification, a canary where
one is wished, a switch, a second verification, a hold where one is wished, and an end in the
ledger. Whoever dies on the way leaves a pending intent: the same command goes on with it, and
others take it back after a while. What the ledger says is live is what the target must run; where
they differ, the next command mends the target first.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check
from ci_mlops.release.canary import Canary
from ci_mlops.release.entry import Entry, Kind, State, Written, line, moment, time_of
from ci_mlops.release.ledger import Ledger, Moved
from ci_mlops.release.target import Overtaken, Phase, Slot, Target, Verify

POLL_S = 2.0
STEPS = ("intent", "start", "verify before", "switch", "verify after", "drill", "hold", "end")
"""Where a promotion stands, as `told` hears it."""
STEP_OF: Mapping[Phase, str] = {
    "before": "verify before",
    "back": "verify before",
    "after": "verify after",
    "hold": "hold",
}
CANARY = "canary {} %"
"""What it hears between `verify before` and `switch`, once for each share of the traffic."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a promotion or a rollback ended, and what was seen on the way."""

    written: Written
    checks: tuple[Check, ...] = ()
    repeated: bool = False
    """Whether it had ended before, so that nothing was done."""

    @property
    def kind(self) -> Kind:
        """One of promoted, rolled_back, superseded and blocked."""
        return self.written.entry.kind


@dataclass(kw_only=True)
class Release:
    """One environment: its ledger, its target, and how what runs there is verified."""

    ledger: Ledger
    target: Target
    verify: Verify
    canary: Canary | None = None
    """What moves the traffic in steps; None where it is moved at once."""
    stage: str = "serving"
    """The stage whose evidence names what is released."""
    told: Callable[[str], None] = lambda _: None
    """Hears each of STEPS, and of CANARY, before it is taken."""
    holds: bool = False
    """Whether `verify` watches for a while what was promoted, in the phase `hold`."""
    abandoned_after_s: float = 1800.0
    """A promotion that has not ended for so long is taken back by the next one.

    Its age alone, by two clocks of which one may be wrong, is not enough: it must also have been
    seen to stand still for a tenth of that time.
    """
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def promote(
        self, intent: Entry, *, is_older: Callable[[str], bool], again: bool = False
    ) -> Ended:
        """Bring a promotion to its end; one that has ended is only told again.

        `is_older` says whether the intent's commit comes before the one that is live. What was
        rolled back once is refused unless it is asked for `again`. Raises OutsideError where the
        ledger or the target cannot be reached; the same command goes on.
        """
        while True:
            intent, state = self._turn(intent)
            known = self._known(intent, state)
            if known is not None:
                return known
            live = _commit_that_is_live(state, intent.environment)
            with contextlib.suppress(Moved):
                if live and live != intent.commit and is_older(live):
                    reason = f"{live[:7]} is live, which comes after {intent.commit[:7]}"
                    return self._refuse(intent, state, "superseded", reason)
                undone = _undone(state, intent)
                if undone is not None and not again:
                    reason = f"{undone.who} rolled it back: {undone.reason}; --again insists"
                    return self._refuse(intent, state, "blocked", reason)
                return self._carry_out(intent, state, "promoted")

    def roll_back(self, intent: Entry) -> Ended:
        """Make something live again that was live before, in the same verified way.

        Where it does not hold, what is live stays and the end is `blocked`. A promotion that has
        not ended is taken back, and that is all. Raises OutsideError as `promote` does.
        """
        while True:
            state = self.ledger.state()
            pending = state.environment(intent.environment).pending
            if pending is not None and pending.entry.id != intent.id:
                return self._take_back(pending, f"rolled back by {intent.who}: {intent.reason}")
            if pending is None:
                self._mend(intent.environment, state)
            with contextlib.suppress(Moved):
                known = self._known(intent, state)
                return known or self._carry_out(intent, state, "rolled_back")

    def block(self, intent: Entry, reason: str) -> Ended:
        """Write down that something was refused before anything was started."""
        while True:
            intent, state = self._turn(intent)
            known = state.end_of(intent.id)
            if known is not None:
                return Ended(written=known, repeated=True)
            with contextlib.suppress(Moved):
                return self._refuse(intent, state, "blocked", reason)

    def _known(self, intent: Entry, state: State) -> Ended | None:
        """Return the end of what has ended, and of what is live already."""
        known = state.end_of(intent.id)
        current = state.environment(intent.environment)
        if known is None and current.pending is None and current.live == intent.to:
            known = self.ledger.live(intent.environment)
        return Ended(written=known, repeated=True) if known else None

    def _refuse(self, intent: Entry, state: State, kind: Kind, reason: str) -> Ended:
        self.ledger.append(intent, decided_on=state)
        return Ended(written=self._end(intent, kind, reason))

    def _carry_out(self, intent: Entry, state: State, done: Kind) -> Ended:
        self.told("intent")
        written = self.ledger.append(intent, decided_on=state)
        if written.entry.kind != "intent":
            return Ended(written=written, repeated=True)
        fence, seen = written.sequence, list[Check]()
        try:
            # A rollback does not wait, and goes to what has been live before.
            beside = written.previous if done == "promoted" else None
            phase: Phase = "before" if done == "promoted" else "back"
            moved = self._moved(intent, fence, seen, beside, phase)
            if moved and self._stays(written, fence, seen, done):
                self.told("end")
                ended = self._end(intent, done, intent.reason)
                if done == "rolled_back" and written.previous not in {None, intent.to}:
                    self.target.stop(str(written.previous), fence)
                return Ended(written=ended, checks=tuple(seen))
            return self._withdraw(written, fence, tuple(seen), done)
        except Overtaken as fault:
            # Whoever overtook us has written our end, and this returns it.
            return Ended(written=self._end(intent, "superseded", str(fault)), checks=tuple(seen))

    def _moved(
        self, intent: Entry, fence: int, seen: list[Check], beside: str | None, phase: Phase
    ) -> bool:
        """Start, verify, switch, verify; add what was seen. False where anything did not hold.

        The candidate has to stand a canary first where something is live beside it.
        """
        try:
            self.told("start")
            slot = self.target.start(intent.to, fence)
            if not self._look(slot, phase, seen):
                return False
            if beside not in {None, intent.to} and not self._shared(slot, str(beside), fence, seen):
                return False
            self.told("switch")
            return self._look(self.target.switch(intent.to, fence), "after", seen)
        except Overtaken:
            raise
        except OutsideError as fault:
            seen.append(Check(name="target", outcome="error", message=str(fault)))
            return False

    def _stays(self, intent: Written, fence: int, seen: list[Check], done: Kind) -> bool:
        """Prove the way back, then watch what was promoted; False where it does not stay well.

        The drill comes first, so that the way back is known, and warm, before it may be needed.
        """
        former, to = intent.previous, intent.entry.to
        if done != "promoted":
            return True
        if former not in {None, to}:
            seen.append(self._drill(str(former), fence))
        if not self.holds:
            return True
        try:
            slot = self.target.switch(to, fence)  # it is there: this tells the clients' address
            return self._look(slot, "hold", seen)
        except Overtaken:
            raise
        except OutsideError as fault:
            seen.append(Check(name="target", outcome="error", message=str(fault)))
            return False

    def _look(self, slot: Slot, phase: Phase, seen: list[Check]) -> bool:
        self.told(STEP_OF[phase])
        checks = self.verify(slot, phase)
        seen += checks
        return _all_hold(checks)

    def _shared(self, slot: Slot, former: str, fence: int, seen: list[Check]) -> bool:
        """Give the candidate one share of the traffic after the other; False where it fails."""
        live = self.target.live()
        if self.canary is None or (live is not None and live.digest == slot.digest):
            return True  # Somebody died after the switch, which goes before a canary.
        for percent in self.canary.percents:
            self.told(CANARY.format(percent))
            checks = self.canary.step(slot, former, percent, fence)
            seen += checks
            if not _all_hold(checks):
                return False
        return True

    def _drill(self, former: str, fence: int) -> Check:
        """Prove that what was live before can be gone back to, and how fast."""
        self.told("drill")
        begun = time.monotonic()
        try:
            checks = self.verify(self.target.start(former, fence), "drill")
        except Overtaken:
            raise
        except OutsideError as fault:
            checks = [Check(name="target", outcome="error", message=str(fault))]
        seconds = time.monotonic() - begun
        common: dict[str, Any] = {"name": "rollback-drill", "observed": seconds, "unit": "s"}
        wrong = next((check.message for check in checks if not _holds(check)), "")
        if wrong or not checks:
            text = f"There is no way back to {former[:19]}: {wrong or 'nothing was seen of it'}"
            return Check(outcome="warned", message=text, **common)
        text = (
            f"The former version, {former[:19]}, answered as it was judged after {seconds:.1f} s."
        )
        return Check(outcome="passed", message=text, **common)

    def _withdraw(self, intent: Written, fence: int, seen: tuple[Check, ...], done: Kind) -> Ended:
        """Let what was live before answer again, end the candidate, and write down why."""
        entry, before = intent.entry, intent.previous
        reason = next((_why(c) for c in seen if not _holds(c)), "nothing was seen of it")
        begun = time.monotonic()
        with contextlib.suppress(OutsideError):  # the way back does not wait for the ledger
            known = self.ledger.state().end_of(entry.id)
            if known is not None:  # the same promotion, by another process, to which it did hold
                return Ended(written=known, checks=seen)
        self._restore(before, entry.to, fence)
        seen = (*seen, _back(before, time.monotonic() - begun)) if before else seen
        self.told("end")
        undone: Kind = "rolled_back" if done == "promoted" and before else "blocked"
        to = before if undone == "rolled_back" else None
        return Ended(written=self._end(entry, undone, reason, to=to), checks=seen)

    def _restore(self, before: str | None, candidate: str, fence: int) -> None:
        if before is not None:
            self.target.start(before, fence)
            self.target.switch(before, fence)
        if before != candidate:
            self.target.stop(candidate, fence)

    # --- others ---------------------------------------------------------------------------------

    def _turn(self, intent: Entry) -> tuple[Entry, State]:
        """Wait for other promotions to end; go on with one of the same digest as one's own."""
        seen, since = 0, self.clock()
        while True:
            state = self.ledger.state()
            pending = state.environment(intent.environment).pending
            if pending is None:
                self._mend(intent.environment, state)
                return intent, state
            entry = pending.entry
            if entry.id == intent.id or entry.to == intent.to:
                return entry, state
            if pending.sequence != seen:
                seen, since = pending.sequence, self.clock()
            if self._is_abandoned(entry, self.clock() - since):
                self._take_back(pending, f"{entry.who} abandoned it")
            else:
                self.sleep(POLL_S)

    def _is_abandoned(self, entry: Entry, seen_s: float) -> bool:
        """Whether nobody is behind a promotion that was seen to stand still for so long."""
        age = (self.now() - time_of(entry.when)).total_seconds()
        limit = self.abandoned_after_s
        return seen_s > limit or (age > limit and seen_s > limit / 10)

    def _take_back(self, pending: Written, reason: str) -> Ended:
        """End somebody's promotion: first in the ledger, whose number then fences that one off."""
        entry, before = pending.entry, pending.previous
        kind: Kind = "rolled_back" if before is not None else "blocked"
        ended = self._end(entry, kind, reason, to=before)
        if (ended.entry.kind, ended.entry.to) == (kind, before or entry.to):
            self._restore(before, entry.to, ended.sequence)
        return Ended(written=ended)

    def _mend(self, environment: str, state: State) -> None:
        """Make the target run what the ledger says is live, if anything is."""
        wanted = state.environment(environment).live
        live = self.target.live()
        if wanted is not None and (live is None or live.digest != wanted):
            with contextlib.suppress(Overtaken):  # by a promotion that began in the meantime
                self._restore(wanted, wanted, state.sequence)
        elif wanted is not None and self.canary is not None:
            # Whoever died while taking a canary back may have left a share of the traffic there.
            with contextlib.suppress(OutsideError):
                self.target.switch(wanted, state.sequence)

    def _end(self, intent: Entry, kind: Kind, reason: str, *, to: str | None = None) -> Written:
        """Write the one end of a promotion; an end that somebody else wrote before counts."""
        # The reason may be a server's own words, and the ledger is read strictly.
        changed = {"kind": kind, "to": to or intent.to, "reason": line(reason)}
        end = intent.model_copy(update={**changed, "when": moment(self.now())})
        return self.ledger.append(end)


def _holds(check: Check) -> bool:
    return check.outcome in {"passed", "warned", "skipped"}


def _all_hold(checks: Sequence[Check]) -> bool:
    """Whether everything held, and something was seen."""
    seen = any(check.outcome != "skipped" for check in checks)
    return seen and all(_holds(check) for check in checks)


def _back(before: str, seconds: float) -> Check:
    """Say how long it took from the decision until what was live answered all clients again."""
    return Check(
        name="way-back",
        outcome="passed",
        observed=seconds,
        unit="s",
        message=f"{before[:19]} answered all clients again after {seconds:.1f} s.",
    )


def _why(check: Check) -> str:
    """Return what did not hold and, where too little was seen, what would let it be seen."""
    more = f" {check.remedy}" if check.outcome == "inconclusive" else ""
    return f"{check.message}{more}"


def _undone(state: State, intent: Entry) -> Entry | None:
    """Return the entry that rolled the digest back, unless it was promoted since."""
    for one in reversed(state.recent):
        entry = one.entry
        if entry.environment == intent.environment:
            if entry.kind == "promoted" and entry.to == intent.to:
                return None
            if entry.kind == "rolled_back" and one.previous == intent.to != entry.to:
                return entry
    return None


def _commit_that_is_live(state: State, environment: str) -> str:
    by = state.environment(environment).by
    made = state.end_of(by) if by else None
    return made.entry.commit if made else ""

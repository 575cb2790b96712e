"""What is looked at in place: ready, the judged answers, errors, memory, and times beside the live.

Before the switch a candidate is asked where no traffic goes, after it and while it is held at the
clients' address. The first thing that does not hold ends it. Who goes back waits for the judged
answers alone, and has errors, readiness and version looked at after the switch.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ci_mlops.evidence import Check
from ci_mlops.release import judging
from ci_mlops.release.replay import BLOCK, BURST, Asked, Seen, asking
from ci_mlops.release.settings import VerifySettings
from ci_mlops.release.target import Phase, Slot
from ci_mlops.serving import conformance
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import FAULTS, until_ready

ROUNDS, ROUNDS_S = 8, 60.0
"""How often, and begun within how long, `requests` are asked again while times or memory are
undecided: a busy machine needs more of them to tell."""
HELD_PER_S = 10.0
"""Requests a second of ours during a hold."""
SAID = {
    "before": "before the switch",
    "back": "before the switch",
    "after": "after the switch",
    "drill": "drill",
    "hold": "during the hold",
}


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """Looks at slots of one environment."""

    settings: VerifySettings
    model: str
    """The model's name in requests."""
    recorded: Callable[[str], Recorded]
    """The rows and answers that were judged, by digest. Raises OutsideError without any."""
    live: Callable[[], Slot | None]
    hold_s: float = 0.0
    """How long a version is watched in the phase `hold`."""
    restarts: Callable[[str], int] = lambda _: 0
    """How often what runs a digest has started it again, after it had ended by itself."""
    _versions: dict[str, str] = field(default_factory=dict)
    """What each digest called itself before the switch."""

    def __call__(self, slot: Slot, phase: Phase) -> Sequence[Check]:
        """Return what was seen at a slot; the first check that fails is the last."""
        checks: list[Check] = []
        for check in self._checks(slot, phase):
            checks.append(check)
            if check.outcome not in {"passed", "skipped"}:
                break
        return checks

    def _checks(self, slot: Slot, phase: Phase) -> Iterator[Check]:
        settings, where = self.settings, SAID[phase]
        recorded = self.recorded(slot.digest)
        seen = Seen.of(recorded, settings.requests)
        if phase == "hold":
            yield from self._held(slot, seen, where)
            return
        within_s = settings.ready_within_s
        seconds = until_ready(slot.url, within_s=within_s, runs=lambda: True)
        yield conformance.ready(seconds, within_s, slice_=where)
        with contextlib.ExitStack() as stack:
            asked = stack.enter_context(self._asking(slot))
            if phase == "before":
                yield _signature(asked, recorded, where)
            yield _predictions(asked, recorded, where)
            if phase == "back":
                seen.ask(asked, seen.rows[0])
                yield judging.version(seen, "", where)
                self._versions[slot.digest] = "".join(seen.versions)
            if phase in {"drill", "back"}:
                return
            live = self.live() if phase == "before" else None
            apart = live is not None and live.digest != slot.digest
            other = stack.enter_context(self._asking(live)) if live and apart else None
            # Whoever goes on with a promotion may find it live already, asked by its clients.
            alone = phase == "before" and (live is None or apart)
            yield from self._replayed(slot, seen, (asked, other), phase, alone=alone)

    def _replayed(
        self,
        slot: Slot,
        seen: Seen,
        sides: tuple[Asked, Asked | None],
        phase: Phase,
        *,
        alone: bool,
    ) -> Iterator[Check]:
        """Ask, and ask again while more requests could tell more."""
        settings, where = self.settings, SAID[phase]
        asked, other = sides
        allowed = settings.requests * settings.max_errors_percent / 100
        slower, slowest, leak = None, settings.max_slowdown_percent, settings.max_leak_kb
        # First at once over several connections: what is wrong then needs no patience.
        seen.burst(asked, min(BURST, settings.requests))
        begun = time.monotonic()
        for number in range(ROUNDS if seen.errors <= allowed else 0):
            seen.replay(asked, other, settings.requests, allowed)
            slower = judging.slowdown(seen) if other is not None and slowest is not None else None
            unsure = slower is not None and slowest is not None and not slower.is_decided(slowest)
            # What grew is asked for once more: then the quarters that count are all new requests.
            grows = leak is not None and phase == "before" and number == 0
            grows = grows and _fails(judging.memory(seen, leak or 0.0, where, alone=alone))
            late = time.monotonic() - begun > ROUNDS_S
            if seen.errors > allowed or late or not (unsure or grows):
                break
        if not seen.looks:
            seen.look(asked)
        yield judging.errors(seen, settings, where)
        yield judging.stays_ready(seen, settings, where)
        yield judging.version(seen, self._versions.get(slot.digest, ""), where)
        if phase == "before":
            self._versions[slot.digest] = "".join(seen.versions)
            if leak is not None:
                yield judging.memory(seen, leak, where, alone=alone)
        if other is not None and slowest is not None:
            yield judging.answer_time(seen, slower, slowest, where)

    def _held(self, slot: Slot, seen: Seen, where: str) -> Iterator[Check]:
        """Ask at a bounded rate until the time is over, or something does not hold."""
        begun, before = time.monotonic(), self.restarts(slot.digest)
        rows = itertools.cycle(seen.rows)
        with self._asking(slot) as asked:
            seen.look(asked)
            while True:
                for row in itertools.islice(rows, BLOCK):
                    seen.ask(asked, row)
                    if seen.in_a_row >= judging.ENOUGH_IN_A_ROW:
                        break
                    time.sleep(1 / HELD_PER_S)
                seen.look(asked)
                held_s = time.monotonic() - begun
                checks = list(self._seen_so_far(slot, seen, where, ended=held_s >= self.hold_s))
                if self.restarts(slot.digest) > before:
                    # A proxy that tries again may hide it from clients.
                    message = "It ended by itself, and was started again."
                    checks = [
                        Check(name="stays-up", outcome="failed", slice=where, message=message)
                    ]
                fault = next((one for one in checks if _fails(one)), None)
                if fault is not None:
                    said = f"{fault.message} It was live for {held_s:.0f} s."
                    yield fault.model_copy(update={"message": said[:2000]})
                    return
                if held_s >= self.hold_s:
                    yield from checks
                    return

    def _seen_so_far(self, slot: Slot, seen: Seen, where: str, *, ended: bool) -> Iterator[Check]:
        settings = self.settings
        yield judging.errors_so_far(seen, settings, where, ended=ended)
        yield judging.stays_ready(seen, settings, where, ended=ended)
        yield judging.version(seen, self._versions.get(slot.digest, ""), where)
        yield judging.traffic(seen, settings.max_server_errors_percent, where, ended=ended)
        looks = seen.looks
        # Each time with twice as much to go by: growth is told by quarters of what was seen.
        if settings.max_leak_kb is not None and (ended or looks & (looks - 1) == 0):
            yield judging.memory(seen, settings.max_leak_kb, where, alone=False)

    def _asking(self, slot: Slot) -> contextlib.AbstractContextManager[Asked]:
        return asking(slot.url, model=self.model, tolerance=self.settings.tolerance)


def _signature(asked: Asked, recorded: Recorded, where: str) -> Check:
    try:
        return conformance.signature(
            asked.client, model=asked.model, recorded=recorded, slice_=where
        )
    except FAULTS as fault:
        message = f"It does not say what the model takes: {type(fault).__name__}."
        return Check(name="signature", outcome="failed", slice=where, message=message)


def _predictions(asked: Asked, recorded: Recorded, where: str) -> Check:
    if not recorded.outputs:
        message = "No answers were judged, so that none can be compared."
        return Check(name="predictions", outcome="failed", slice=where, message=message)
    return conformance.predictions(
        asked.client,
        model=asked.model,
        recorded=recorded,
        tolerance=asked.tolerance,
        slice_=where,
    )


def _fails(check: Check) -> bool:
    return check.outcome not in {"passed", "skipped"}

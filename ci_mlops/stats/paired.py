"""Did it get slower? Paired times of two programs, measured in turn in several launches of both.

Source of the design: duet benchmarking (Bulej et al., ICPE 2020) and randomised
multiple interleaved trials (Abedi and Brecht, ICPE 2017); the constants are
judgement so far, and benchmarks/latency_gate.py is there to measure them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LEVEL = 0.998
"""Level of each look: up to 8 looks then alarm falsely in less than 2 % even without the margin."""
PROCESS_NOISE = 0.01
"""How far identical programs lie apart, at least, for the whole life of a process (layout)."""
APART = 0.15
"""A launch this far from the others is named, and left out where it is alone."""
MIN_LAUNCHES = 3
CPU_BOUND = 1.05
"""Wall over CPU time below which a program hardly waits for anything."""

Answer = Literal["slower", "not slower", "cannot tell"]
Clock = Literal["wall", "cpu"]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Blocks of one launch of both programs: log(head / base) on either clock, shape (blocks,)."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    waiting: float
    """Median of wall time over CPU time, of the program that waits more."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A relative change, such as 0.05 for 5 % slower, with its interval."""

    change: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the launches so far say."""

    answer: Answer
    clock: Clock
    """The clock that found it slower; the wall clock otherwise."""
    wall: Estimate
    cpu: Estimate
    launches: int
    apart: tuple[int, ...]
    """Numbers of the launches that lie apart from the others."""


def sign_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return an interval of the median of n values that assumes nothing about their shape.

    Binomial order statistics (Conover 1999, section 3.2); the whole range where n is too small.
    """
    from scipy.stats import binom

    ordered = np.sort(values)
    rank = int(binom.ppf((1 - level) / 2, len(ordered), 0.5))
    rank = max(rank - 1, 0)
    return float(ordered[rank]), float(ordered[len(ordered) - 1 - rank])


def estimate(launches: Sequence[Sequence[float]], level: float = LEVEL) -> Estimate:
    """Return the relative change over launches of block log ratios, each of shape (blocks,).

    The median over launches of their medians, inside the sign interval of all blocks widened by
    what processes differ by: z * noise / sqrt(launches), where the noise is the standard deviation
    of the launches' medians, and 1 % at least.
    """
    from scipy.stats import norm

    blocks = np.concatenate([np.asarray(one, dtype=float) for one in launches])
    medians = [float(np.median(one)) for one in launches]
    middle = float(np.median(medians))
    low, high = sign_interval(blocks, level)
    noise = max(PROCESS_NOISE, float(np.std(medians, ddof=1)) if len(medians) > 1 else 0.0)
    wider = float(norm.ppf((1 + level) / 2)) * noise / math.sqrt(len(launches))
    low, high = min(low, middle) - wider, max(high, middle) + wider
    return Estimate(change=math.expm1(middle), low=math.expm1(low), high=math.expm1(high))


def lying_apart(launches: Sequence[Launch]) -> tuple[int, ...]:
    """Return the numbers of launches whose median lies over 15 % from that of the others."""
    medians = [float(np.median(one.wall)) for one in launches]
    middle = float(np.median(medians))
    return tuple(n for n, one in enumerate(medians) if abs(one - middle) > math.log1p(APART))


def decide(launches: Sequence[Launch], limit: float) -> Decision:
    """Decide about a slowdown of `limit` (0.05 for 5 %) from the launches so far, at least one.

    "slower" where the change on either clock lies above the limit and its lower bound above the
    limit less a slack. "not slower" where the change on the wall clock lies within the limit and
    its upper bound below the limit plus the slack; the CPU clock's bound serves as well where
    neither program waits. Nothing is decided before the third launch.
    """
    apart = lying_apart(launches)
    # One launch of many that lies apart is a slow process, several are a fact.
    kept = [
        one
        for n, one in enumerate(launches)
        if not (len(apart) == 1 and n in apart and len(launches) > MIN_LAUNCHES)
    ]
    wall, cpu = (estimate([getattr(one, clock) for one in kept]) for clock in ("wall", "cpu"))
    slack = max(0.02, limit / 10)
    busy = max(one.waiting for one in kept) <= CPU_BOUND
    answer: Answer = "cannot tell"
    clock: Clock = "wall"
    if len(launches) >= MIN_LAUNCHES:
        guilty = [one for one in (wall, cpu) if one.change > limit and one.low > limit - slack]
        acquitting = [one.high for one in ((wall, cpu) if busy else (wall,))]
        if guilty:
            answer = "slower"
            clock = "wall" if guilty[0] is wall else "cpu"
        # The wall clock's own change must hold too: the CPU clock is blind to sleep and locks.
        elif wall.change <= limit and min(acquitting) < limit + slack:
            answer = "not slower"
    return Decision(
        answer=answer, clock=clock, wall=wall, cpu=cpu, launches=len(launches), apart=apart
    )

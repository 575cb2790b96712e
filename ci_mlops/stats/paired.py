"""Did it get slower? Paired times of two programs, measured in turn in several launches of both.

Source of the design: duet benchmarking (Bulej et al., ICPE 2020) and randomised
multiple interleaved trials (Abedi and Brecht, ICPE 2017). A process can be a fifth slower than its
twin for its whole life, so a launch of both counts as one observation, however long it lasts, and
nothing is assumed about how launches spread. The constants are what benchmarks/latency_gate.py
measured best.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LEVEL = 0.95
"""Level of the interval that is shown, and whose upper end acquits."""
BLAMING_LEVEL = 0.98
"""Level of the interval whose lower end blames: seven launches at least."""
SLACK = 0.02
"""How far an interval may reach over the limit; a tenth of the limit where that is more."""
APART = 0.15
"""A launch this far from the others is named."""
MIN_LAUNCHES = 6
"""Fewer have no interval at the level above."""
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

    The median over launches of their medians, and its sign interval.
    """
    medians = np.array([np.median(one) for one in launches])
    low, high = sign_interval(medians, level)
    return Estimate(
        change=math.expm1(float(np.median(medians))), low=math.expm1(low), high=math.expm1(high)
    )


def lying_apart(launches: Sequence[Launch]) -> tuple[int, ...]:
    """Return the numbers of launches whose median lies over 15 % from that of the others."""
    medians = [float(np.median(one.wall)) for one in launches]
    middle = float(np.median(medians))
    return tuple(n for n, one in enumerate(medians) if abs(one - middle) > math.log1p(APART))


def decide(launches: Sequence[Launch], limit: float) -> Decision:
    """Decide about a slowdown of `limit` (0.05 for 5 %) from the launches so far, at least one.

    "slower" where the change on either clock lies above the limit, and the lower end of its
    interval at 98 % above the limit less the slack. "not slower" where the change on the wall clock
    lies within the limit, and the upper end of its interval at 95 % below the limit plus the slack;
    the CPU clock's upper end serves as well where neither program waits. Nothing is decided before
    there are enough launches for such an interval.
    """
    clocks: tuple[Clock, ...] = ("wall", "cpu")
    blocks = {clock: [getattr(one, clock) for one in launches] for clock in clocks}
    shown = {clock: estimate(ones) for clock, ones in blocks.items()}
    wall, cpu = shown["wall"], shown["cpu"]
    slack = max(SLACK, limit / 10)
    answer: Answer = "cannot tell"
    clock: Clock = "wall"
    guilty = [
        one
        for one, ones in blocks.items()
        if 2 * 0.5 ** len(launches) <= 1 - BLAMING_LEVEL
        and shown[one].change > limit
        and estimate(ones, BLAMING_LEVEL).low > limit - slack
    ]
    busy = float(np.median([one.waiting for one in launches])) <= CPU_BOUND
    acquitting = min(wall.high, cpu.high) if busy else wall.high
    if guilty:
        answer, clock = "slower", guilty[0]
    # The wall clock's own change must hold too: the CPU clock is blind to sleep and locks.
    elif len(launches) >= MIN_LAUNCHES and wall.change <= limit and acquitting < limit + slack:
        answer = "not slower"
    return Decision(
        answer=answer,
        clock=clock,
        wall=wall,
        cpu=cpu,
        launches=len(launches),
        apart=lying_apart(launches),
    )

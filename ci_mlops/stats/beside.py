"""Whether one of two versions that answer side by side does worse than chance explains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Times:
    """What a histogram tells of n durations."""

    count: int
    total: float
    buckets: Mapping[float, int]
    """How many lie above the edge before and not above this one, by edge; the last is infinite."""

    @property
    def mean(self) -> float:
        """The mean duration; `count` must not be 0."""
        return self.total / self.count

    @property
    def variance(self) -> float:
        """The variance, as if durations were spread evenly within each bucket.

        The last bucket has no end, and is taken to reach to twice its beginning.
        """
        below, first, second, count = 0.0, 0.0, 0.0, 0
        for edge, held in sorted(self.buckets.items()):
            above = edge if math.isfinite(edge) else 2 * below
            first += held * (below + above) / 2
            second += held * (below**2 + below * above + above**2) / 3
            count += held
            below = above
        return second / count - (first / count) ** 2 if count else 0.0


def more_errors(ours: tuple[int, int], theirs: tuple[int, int], allowed: float) -> float:
    """Return the chance of so many errors among ours if we are no worse; each (errors, requests).

    `allowed` is the share of our requests whose errors do not count. The test is Fisher's exact
    one, one-sided: it holds for any number of requests.
    """
    errors = max(0, ours[0] - math.floor(allowed * ours[1]))
    every, total = ours[1] + theirs[1], errors + theirs[0]
    # Drawing our requests from all of them: the chance of so many errors, or more. By hand, since
    # this runs while requests wait, and the usual library takes a second to be imported.
    return min(
        1.0,
        sum(
            math.exp(
                _log_ways(total, found)
                + _log_ways(every - total, ours[1] - found)
                - _log_ways(every, ours[1])
            )
            for found in range(errors, min(total, ours[1]) + 1)
        ),
    )


def _log_ways(things: int, chosen: int) -> float:
    """Return the logarithm of the binomial coefficient; minus infinity where there is no way."""
    if not 0 <= chosen <= things:
        return -math.inf
    return math.lgamma(things + 1) - math.lgamma(chosen + 1) - math.lgamma(things - chosen + 1)


def slower(ours: Times, theirs: Times, allowed: float) -> float:
    """Return the chance of such a mean of ours if it is at most `1 + allowed` times theirs.

    Means are compared and not medians, since a median within a wide bucket is not known. Each has
    at least one duration. One-sided, by the normal distribution of means.
    """
    ratio = 1 + allowed
    apart = ours.mean - ratio * theirs.mean
    error = math.sqrt(ours.variance / ours.count + ratio**2 * theirs.variance / theirs.count)
    if error == 0:
        return float(apart <= 0)
    return 0.5 * math.erfc(apart / error / math.sqrt(2))

"""Paired bootstrap by row: how sure we are of a metric, and of its change between two models.

Percentile intervals (Efron & Tibshirani 1993, ch. 13): rows are drawn with replacement, the same
rows for both models. From 20,000 rows on, 200 resamples give the standard error (ibid., ch. 6) and
the interval is normal: the metrics are smooth functions of sums, and the difference is not visible.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ci_mlops.stats.scoring import Answers, Floats, Undefined, scorer_of

RESAMPLES = 1_000
MANY_ROWS = 20_000
RESAMPLES_OF_MANY = 200
CHUNK = 2_000_000
"""Weights held at once: 16 MB."""
DEFINED_SHARE = 0.95
"""Where a metric is undefined on more resamples than this leaves, there is no interval."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """An interval `[low, high]`, in the unit of the metric."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Intervals of one metric: for each of the two models, and for head minus base."""

    head: Spread | None
    base: Spread | None
    change: Spread | None


def resample(
    head: Answers,
    base: Answers | None,
    names: Sequence[str],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int | None = None,
) -> Mapping[str, Resampled]:
    """Intervals of several metrics from the same resamples; None where one cannot be told."""
    rows = len(head.truth)
    many = rows >= MANY_ROWS
    times = resamples or (RESAMPLES_OF_MANY if many else RESAMPLES)
    models = (head,) if base is None else (head, base)
    scorers = {name: [scorer_of(model, name) for model in models] for name in names}
    found: dict[str, list[list[Floats]]] = {name: [[], []] for name in names}
    for weights in draws(rows, times, seed=seed):
        for name, sides in scorers.items():
            for number, scorer in enumerate(sides):
                if not isinstance(scorer, Undefined):
                    found[name][number].append(scorer(weights))
    made: dict[str, Resampled] = {}
    for name, (heads, bases) in found.items():
        h = np.concatenate(heads) if heads else None
        b = np.concatenate(bases) if bases else None
        change = h - b if h is not None and b is not None else None
        made[name] = Resampled(
            head=spread(h, level=level, normal=many),
            base=spread(b, level=level, normal=many),
            change=spread(change, level=level, normal=many),
        )
    return made


def draws(rows: int, times: int, *, seed: int) -> Iterator[Floats]:
    """How often each row is drawn, shape (some, rows) at a time; each sums to `rows`."""
    generator = np.random.default_rng(seed)
    at_once = max(1, CHUNK // max(rows, 1))
    for first in range(0, times if rows else 0, at_once):
        block = np.empty((min(at_once, times - first), rows))
        for weights in block:
            weights[:] = np.bincount(generator.integers(0, rows, rows), minlength=rows)
        yield block


def spread(
    values: NDArray[np.float64] | None, *, level: float = 0.95, normal: bool = False
) -> Spread | None:
    """The middle `level` of the resampled values; None where too many are undefined."""
    if values is None:
        return None
    known = values[np.isfinite(values)]
    if not len(values) or len(known) < DEFINED_SHARE * len(values):
        return None
    tail = (1 - level) / 2
    if normal:
        reach = NormalDist().inv_cdf(1 - tail) * float(known.std(ddof=1))
        return Spread(low=float(known.mean()) - reach, high=float(known.mean()) + reach)
    low, high = np.quantile(known, [tail, 1 - tail])
    return Spread(low=float(low), high=float(high))

"""Group metrics: how a model's decisions and errors fall on the groups of a sensitive feature."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

RateName = Literal[
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "false_negative_rate",
    "precision",
    "accuracy",
]
Comparison = Literal["ratio", "difference"]

MISSING = "(missing)"
TOLERANCE = 1e-9
"""Exactly 80 % passes a limit of 80 %: 0.48 / 0.60 is 0.7999999999999999 in floating point."""


@dataclass(frozen=True, kw_only=True)
class GroupCounts:
    """What happened to the rows of one group."""

    group: str
    rows: int
    positives: int
    """Rows whose true label is the favourable one."""
    selected: int
    """Rows that the model decides favourably."""
    true_positives: int
    """Rows that are both."""

    def events(self, rate: RateName) -> tuple[int, int]:
        """Return (events, trials) of a rate, so that the rate is events / trials."""
        negatives = self.rows - self.positives
        false_positives = self.selected - self.true_positives
        true_negatives = negatives - false_positives
        return {
            "selection_rate": (self.selected, self.rows),
            "true_positive_rate": (self.true_positives, self.positives),
            "false_positive_rate": (false_positives, negatives),
            "false_negative_rate": (self.positives - self.true_positives, self.positives),
            "precision": (self.true_positives, self.selected),
            "accuracy": (self.true_positives + true_negatives, self.rows),
        }[rate]

    def rate(self, name: RateName) -> float | None:
        """Return a rate; None where it rests on no row."""
        events, trials = self.events(name)
        return events / trials if trials else None


@dataclass(frozen=True, kw_only=True)
class Disparity:
    """How far the worst group of a feature lies from its reference, with an interval."""

    value: float
    low: float
    high: float
    worst: str
    reference: str


def group_names(columns: pd.DataFrame) -> pd.Series:
    """Name each row's group: the values of its sensitive columns, joined where there are several.

    `columns` has shape (n, features). A missing value is the group "(missing)", never dropped.
    """
    texts = columns.astype(object).where(columns.notna(), MISSING).map(_written)
    return texts.agg(" & ".join, axis=1) if texts.shape[1] > 1 else texts.iloc[:, 0]


def _written(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def count(
    truth: Sequence[bool] | np.ndarray, decided: Sequence[bool] | np.ndarray, groups: pd.Series
) -> tuple[GroupCounts, ...]:
    """Count each group's rows by truth and decision; all three have shape (n,), True = favourable.

    The figures are fairlearn's: its `MetricFrame` over `selection_rate` and the confusion-matrix
    rates gives the same numbers.
    """
    frame = pd.DataFrame(
        {
            "group": np.asarray(groups, dtype=object),
            "truth": np.asarray(truth, dtype=bool),
            "decided": np.asarray(decided, dtype=bool),
        }
    )
    frame["both"] = frame["truth"] & frame["decided"]
    sums = frame.groupby("group", sort=True)[["truth", "decided", "both"]].agg(["sum"])
    sizes = frame.groupby("group", sort=True).size()
    return tuple(
        GroupCounts(
            group=str(name),
            rows=int(sizes[name]),
            positives=int(sums.loc[name, ("truth", "sum")]),
            selected=int(sums.loc[name, ("decided", "sum")]),
            true_positives=int(sums.loc[name, ("both", "sum")]),
        )
        for name in sizes.index
    )


def rates_by_group(
    truth: np.ndarray, decided: np.ndarray, groups: pd.Series
) -> dict[str, dict[str, float]]:
    """Return every rate by group as fairlearn computes it; arrays of shape (n,), True = favourable.

    Source: fairlearn, `fairlearn.metrics.MetricFrame` (user guide, "Assessment").
    """
    from fairlearn.metrics import (
        MetricFrame,
        false_negative_rate,
        false_positive_rate,
        selection_rate,
        true_positive_rate,
    )
    from sklearn.metrics import accuracy_score

    frame = MetricFrame(
        metrics={
            "selection_rate": selection_rate,
            "true_positive_rate": true_positive_rate,
            "false_positive_rate": false_positive_rate,
            "false_negative_rate": false_negative_rate,
            "accuracy": accuracy_score,
        },
        y_true=np.asarray(truth, dtype=int),
        y_pred=np.asarray(decided, dtype=int),
        sensitive_features=pd.Series(np.asarray(groups, dtype=object), name="group"),
    )
    found: dict[str, dict[str, float]] = frame.by_group.to_dict(orient="index")
    return found


def disparity(
    groups: Sequence[GroupCounts],
    rate: RateName,
    comparison: Comparison,
    *,
    reference: str | None = None,
    level: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> Disparity | None:
    """Compare each group's rate with the best one, or `reference`'s; return the worst comparison.

    A ratio is rate / highest rate (EEOC Uniform Guidelines, 29 CFR 1607.4 D), a difference is
    highest rate - rate (fairlearn's demographic parity difference). The interval is a parametric
    bootstrap: each group's events drawn anew from its own binomial, worst and reference group held.
    None where fewer than two groups, or not the one that `reference` names, have the rate.
    """
    known = [group for group in groups if group.rate(rate) is not None]
    if len(known) < 2:
        return None
    named = [group for group in known if reference in {None, group.group}]
    if not named:
        return None
    best = max(named, key=lambda group: group.rate(rate) or 0.0)
    others = [group for group in known if group is not best]
    worst = min(others, key=lambda group: group.rate(rate) or 0.0)
    value = _compare(worst.rate(rate) or 0.0, best.rate(rate) or 0.0, comparison)
    rng = np.random.default_rng(seed)
    low_rates, high_rates = (_drawn(group, rate, rng, draws) for group in (worst, best))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (
            np.where(high_rates > 0, low_rates / high_rates, 1.0)
            if comparison == "ratio"
            else high_rates - low_rates
        )
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Disparity(
        value=value, low=float(low), high=float(high), worst=worst.group, reference=best.group
    )


def _compare(rate: float, reference: float, comparison: Comparison) -> float:
    if comparison == "difference":
        return reference - rate
    # No group is ever selected: nobody is treated worse than anybody else.
    return rate / reference if reference > 0 else 1.0


def _drawn(group: GroupCounts, rate: RateName, rng: np.random.Generator, draws: int) -> np.ndarray:
    events, trials = group.events(rate)
    found: np.ndarray = rng.binomial(trials, events / trials, size=draws) / trials
    return found


def change_of_disparity(
    truth: np.ndarray,
    base: np.ndarray,
    head: np.ndarray,
    groups: pd.Series,
    *,
    rate: RateName,
    comparison: Comparison,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float, float] | None:
    """Return (base's disparity, change to head's, low, high) with a paired bootstrap interval.

    All arrays have shape (n,), True = favourable. Rows are drawn anew within each group, the same
    rows for both models (Efron and Tibshirani 1993, chapter 8), worst and reference groups being
    found again in every draw. None where fewer than two groups have the rate.
    """
    cells = _cells(truth, base, head, groups)
    found = [_disparity_of(cells, side, rate, comparison) for side in (0, 1)]
    if any(math.isnan(float(one[0])) for one in found):
        return None
    rng = np.random.default_rng(seed)
    drawn = {
        name: rng.multinomial(int(c.sum()), c / c.sum(), size=draws) for name, c in cells.items()
    }
    changes = _disparity_of(drawn, 1, rate, comparison) - _disparity_of(drawn, 0, rate, comparison)
    tail = (1 - level) / 2
    low, high = np.nanquantile(changes, [tail, 1 - tail])
    before, after = (float(one[0]) for one in found)
    return before, after - before, float(low), float(high)


def _cells(
    truth: np.ndarray, base: np.ndarray, head: np.ndarray, groups: pd.Series
) -> Mapping[str, np.ndarray]:
    """Return each group's row counts by (truth, base, head), as 8 cells."""
    code = 4 * np.asarray(truth, int) + 2 * np.asarray(base, int) + np.asarray(head, int)
    names = np.asarray(groups, dtype=object)
    return {str(n): np.bincount(code[names == n], minlength=8) for n in sorted(set(names))}


def _disparity_of(
    cells: Mapping[str, np.ndarray], side: int, rate: RateName, comparison: Comparison
) -> np.ndarray:
    """Return the disparity for each draw; NaN where fewer than two groups have the rate."""
    index = np.arange(8)
    truth = index >= 4
    decided = (index & (1 if side else 2)) > 0
    numerator, denominator = {
        "selection_rate": (decided, np.ones(8, bool)),
        "true_positive_rate": (decided & truth, truth),
        "false_positive_rate": (decided & ~truth, ~truth),
        "false_negative_rate": (~decided & truth, truth),
        "precision": (decided & truth, decided),
        "accuracy": (decided == truth, np.ones(8, bool)),
    }[rate]
    table = np.stack([np.atleast_2d(c) for c in cells.values()])
    events, trials = table[..., numerator].sum(axis=-1), table[..., denominator].sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(trials > 0, events / trials, np.nan)
    enough = (~np.isnan(rates)).sum(axis=0) >= 2
    filled_low = np.where(np.isnan(rates), np.inf, rates).min(axis=0)
    filled_high = np.where(np.isnan(rates), -np.inf, rates).max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (
            np.where(filled_high > 0, filled_low / filled_high, 1.0)
            if comparison == "ratio"
            else filled_high - filled_low
        )
    return np.where(enough, value, np.nan)


@dataclass(frozen=True, kw_only=True)
class MeanGap:
    """The largest gap between groups' mean errors of a regression, with an interval."""

    gap: float
    low: float
    high: float
    lowest: str
    highest: str
    means: Mapping[str, float]


def mean_error_gap(
    errors: np.ndarray, groups: pd.Series, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> MeanGap | None:
    """Return the gap between the highest and the lowest group mean of prediction - truth.

    `errors` has shape (n,). The interval is a bootstrap within the two groups. None for one group.
    """
    names = np.asarray(groups, dtype=object)
    parts = {str(name): errors[names == name] for name in sorted(set(names))}
    means = {name: float(part.mean()) for name, part in parts.items()}
    if len(means) < 2:
        return None
    highest, lowest = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    rng = np.random.default_rng(seed)
    gaps = np.array(
        [
            rng.choice(parts[highest], len(parts[highest])).mean()
            - rng.choice(parts[lowest], len(parts[lowest])).mean()
            for _ in range(draws)
        ]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(gaps, [tail, 1 - tail])
    return MeanGap(
        gap=means[highest] - means[lowest],
        low=float(low),
        high=float(high),
        lowest=lowest,
        highest=highest,
        means=means,
    )

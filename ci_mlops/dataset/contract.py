"""The data contract: what the columns of a reference look like, and which rows break it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ci_mlops.dataset.columns import Kind, counts, kinds, numbers
from ci_mlops.stats import shift

if TYPE_CHECKING:
    from ci_mlops.dataset.settings import Contract, DataSettings

ALPHA = 1e-6
"""Chance that a clean sample breaks one rule, before the number of columns is counted in."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One rule that a table breaks."""

    rule: str
    column: str
    observed: float
    limit: float
    rows: int
    message: str
    of: int = 0
    """Values among which `rows` were counted; 0 where the fault is a fact and no share."""


def examine(
    frame: pd.DataFrame,
    reference: pd.DataFrame | None,
    given: "Contract",
    settings: "DataSettings",
    *,
    null_rate_slack: float,
    out_of_range_share: float,
    new_category_share: float,
) -> list[Violation]:
    """Return the rules that `frame`, n rows, breaks: those given, then those learned.

    Without a reference only the given rules are judged, and that numbers are finite. Shares are of
    the rows that are there.
    """
    found = [*_given(frame, given), *_not_finite(frame, settings)]
    if reference is None:
        return found
    label = settings.label
    if label in reference.columns and label in frame.columns and label not in given.null_rate:
        found += _nulls(label, reference[label], frame[label], null_rate_slack)
    for name, kind in kinds(reference, settings).items():
        if name not in frame.columns:
            message = f"Column {name} is missing; the reference has it."
            found.append(_broken("columns", name, (1, 0, len(frame)), message))
            continue
        found += _types(name, kind, reference[name], frame[name])
        if name not in given.null_rate:
            found += _nulls(name, reference[name], frame[name], null_rate_slack)
        if kind == "number" and name not in given.range:
            found += _range(name, reference[name], frame[name], out_of_range_share)
        if kind == "category" and name not in given.categories:
            found += _categories(name, reference[name], frame[name], new_category_share)
        if _became_constant(reference[name], frame[name]):
            message = f"Column {name} has become constant; the reference has more values."
            found.append(_broken("constant", name, (1, 2, len(frame)), message))
    return found


def _became_constant(reference: "pd.Series[Any]", values: "pd.Series[Any]") -> bool:
    """Whether n values are all alike though that many of the reference, by chance, would not be."""
    if not values.nunique() <= 1 < reference.nunique():
        return False
    commonest = float(reference.value_counts(normalize=True).iloc[0])
    return bool(commonest ** int(values.notna().sum()) < ALPHA)


def _broken(
    rule: str, column: str, seen: tuple[float, float, int], message: str, *, of: int = 0
) -> Violation:
    """Return a violation; `seen` are what was observed, its limit, and the rows it rests on."""
    observed, limit, rows = seen
    return Violation(
        rule=rule, column=column, observed=observed, limit=limit, rows=rows, message=message, of=of
    )


def _given(frame: pd.DataFrame, given: "Contract") -> "list[Violation]":
    found = []
    named = {*given.null_rate, *given.range, *given.categories, *given.required, *given.unique}
    for name in sorted(named - set(frame.columns)):
        message = f"Column {name} is missing; the contract in mlops.yml names it."
        found.append(_broken("columns", name, (1, 0, len(frame)), message))
    present = frame.columns
    for name, limit in given.null_rate.items():
        rate = float(frame[name].isna().mean()) if name in present else 0.0
        if not rate <= limit:
            message = f"{100 * rate:.1f} % of column {name} is missing."
            rows = int(frame[name].isna().sum())
            seen = (rate, limit, rows)
            found.append(_broken("null-rate", name, seen, message, of=len(frame)))
    for name, (low, high) in given.range.items():
        values = numbers(frame[name]) if name in present else np.array([])
        outside = int(((values < low) | (values > high)).sum())
        if outside:
            message = f"{outside} values of column {name} lie outside {low:g} to {high:g}."
            seen = (outside, 0, outside)
            found.append(_broken("range", name, seen, message, of=len(values)))
    for name, allowed in given.categories.items():
        held = frame[name].dropna() if name in present else pd.Series(dtype=object)
        other = held[~held.astype(str).isin({str(one) for one in allowed})]
        if len(other):
            message = f"Column {name} holds {_quoted(other)}, which the contract does not allow."
            seen = (len(other), 0, len(other))
            found.append(_broken("categories", name, seen, message, of=len(held)))
    for name in given.unique:
        twice = int(frame[name].duplicated().sum()) if name in present else 0
        if twice:
            message = f"{twice} values of column {name} stand more than once."
            found.append(_broken("unique", name, (twice, 0, twice), message))
    return found


def _not_finite(frame: pd.DataFrame, settings: "DataSettings") -> list[Violation]:
    found = []
    for name in frame.columns:
        column = frame[name]
        if name == settings.key or not pd.api.types.is_float_dtype(column.dtype):
            continue
        rows = int(np.isinf(column.to_numpy(dtype=float, na_value=np.nan)).sum())
        if rows:
            message = f"{rows} values of column {name} are infinite."
            seen = (rows / len(frame), 0, rows)
            found.append(_broken("not-finite", str(name), seen, message, of=len(frame)))
    return found


def _types(
    name: str, kind: Kind, reference: "pd.Series[Any]", column: "pd.Series[Any]"
) -> list[Violation]:
    if kind == "number" and not pd.api.types.is_numeric_dtype(column.dtype):
        words = column.dropna()
        words = words[pd.to_numeric(words, errors="coerce").isna()]
        if len(words):
            message = f"Column {name} should hold numbers, but holds {_quoted(words)}."
            share = len(words) / max(1, len(column))
            return [_broken("types", name, (share, 0, len(words)), message, of=len(column))]
    texts = column.dropna().map(lambda one: isinstance(one, str))
    before = reference.dropna().map(lambda one: isinstance(one, str))
    if kind in {"category", "text"} and before.all() and len(texts) and not texts.all():
        other = int((~texts).sum())
        message = f"Column {name} mixes texts with {other} values of another type."
        return [_broken("types", name, (other / len(texts), 0, other), message, of=len(texts))]
    return []


def _nulls(
    name: str, reference: "pd.Series[Any]", column: "pd.Series[Any]", slack: float
) -> list[Violation]:
    before, after = float(reference.isna().mean()), float(column.isna().mean())
    limit = before + max(slack, shift.share_noise(before, len(reference), len(column)))
    if after <= limit:
        return []
    message = f"{100 * after:.0f} % of column {name} is missing; {100 * before:.0f} % were before."
    seen = (after, limit, int(column.isna().sum()))
    return [_broken("null-rate", name, seen, message, of=len(column))]


def _range(
    name: str, reference: "pd.Series[Any]", column: "pd.Series[Any]", share: float
) -> list[Violation]:
    known, values = numbers(reference), numbers(column)
    if len(known) < 2 or not len(values):
        return []
    low, high = float(known.min()), float(known.max())
    outside = values[(values < low) | (values > high)]
    # Of one distribution, 2 in n + 1 values lie beyond the extremes of n others.
    chance = shift.excess_rows_allowed(2 * len(values) / (len(known) + 1), ALPHA)
    allowed = max(share, chance / len(values))
    if len(outside) / len(values) <= allowed:
        return []
    message = (
        f"{len(outside)} values of column {name} lie outside {low:g} to {high:g}, the range of the "
        f"reference (for example {float(outside[0]):g})."
    )
    observed = len(outside) / len(values)
    return [_broken("range", name, (observed, allowed, len(outside)), message, of=len(values))]


def _categories(
    name: str, reference: "pd.Series[Any]", column: "pd.Series[Any]", share: float
) -> list[Violation]:
    known = counts(reference)
    new = column[column.notna() & ~column.isin(list(known))]
    total = int(column.notna().sum())
    if not len(new) or not total:
        return []
    # Good and Turing: the share of values seen once estimates that of values never seen.
    unseen = sum(1 for n in known.values() if n == 1) / max(1, sum(known.values()))
    allowed = max(share, shift.excess_rows_allowed(unseen * total, ALPHA) / total)
    if len(new) / total <= allowed:
        return []
    message = f"Column {name} holds {_quoted(new)}, which the reference does not know."
    return [_broken("categories", name, (len(new) / total, allowed, len(new)), message, of=total)]


def _quoted(values: "pd.Series[Any]") -> str:
    shown = [repr(str(one)) for one in values.astype(object).unique()[:3]]
    more = values.nunique() - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") + f" ({len(values)} rows)"

"""Columns and labels whose distribution moved from one table to another."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.dataset.columns import Kind, counts, kind, kinds, numbers
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.stages.data import DataLimits
from ci_mlops.stages.data.faults import (
    ALPHA,
    FEWEST_ROWS,
    Fault,
    Look,
    too_few,
)
from ci_mlops.stages.data.rows import features
from ci_mlops.stats import shift


def shifts(
    what: str,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    settings: DataSettings,
    limits: DataLimits,
) -> Iterable[Fault | Look]:
    """Yield the columns whose distribution moved; a change of unit and a swap are named as such."""
    known = [str(c) for c in features(reference, settings) if c in current.columns]
    found = kinds(reference[[*known]], settings)
    yield _looked_at_shift(what, reference, current, found)
    alpha = ALPHA / max(1, len(known))
    moved = {
        name: _moved(reference[name], current[name], alpha)
        for name in known
        if found[name] == "number"
    }
    swapped = _swapped(reference, current, {n: m for n, m in moved.items() if m is not None})
    for name in known:
        if name in swapped:
            other = swapped[name]
            yield _shift(
                what,
                name,
                moved[name] or 0.0,
                limits.shift,
                f"Columns {name} and {other} look swapped",
            )
        elif found[name] == "number":
            yield from _number_shift(
                what, name, reference[name], current[name], moved=moved[name], limits=limits
            )
        elif found[name] == "category":
            yield from _category_shift(what, name, reference[name], current[name], limits.shift)
    yield from _label_shift(what, reference, current, settings, limits)


def _looked_at_shift(
    what: str, reference: pd.DataFrame, current: pd.DataFrame, found: dict[str, Kind]
) -> Look:
    """Return whether each number and category has enough values on both sides to be compared."""
    known = [name for name, kind in found.items() if kind in {"number", "category"}]
    few = [name for name in known if _has_few(reference[name], current[name], found[name])]
    if not known:
        why = "The two have no column of numbers or categories in common."
        return Look(check="shift", slice=what, outcome="inconclusive", why=why)
    if not few:
        return Look(check="shift", slice=what)
    named = ", ".join(few[:3]) + (f" and {len(few) - 3} more" if len(few) > 3 else "")
    why = f"Fewer than {FEWEST_ROWS} values to compare in {named}."
    return Look(check="shift", slice=what, outcome="inconclusive", why=why)


def _has_few(reference: "pd.Series[Any]", current: "pd.Series[Any]", kind: Kind) -> bool:
    if kind == "number":
        return min(len(numbers(reference)), len(numbers(current))) < FEWEST_ROWS
    return min(int(reference.notna().sum()), int(current.notna().sum())) < FEWEST_ROWS


def _moved(reference: "pd.Series[Any]", current: "pd.Series[Any]", alpha: float) -> float | None:
    """Return the distance of two numeric samples where chance cannot explain it."""
    one, two = numbers(reference), numbers(current)
    if min(len(one), len(two)) < FEWEST_ROWS:
        return None
    apart = shift.kolmogorov_smirnov(one, two)
    return apart if apart > shift.ks_critical(len(one), len(two), alpha) else None


def _swapped(
    reference: pd.DataFrame, current: pd.DataFrame, moved: dict[str, float]
) -> dict[str, str]:
    """Return pairs of moved columns each of which looks like the other one did."""
    found: dict[str, str] = {}
    names = list(moved)[:60]
    for number, one in enumerate(names):
        for two in names[number + 1 :]:
            crossed = [
                shift.kolmogorov_smirnov(numbers(reference[a]), numbers(current[b]))
                for a, b in ((one, two), (two, one))
            ]
            allowed = shift.ks_critical(len(reference), len(current), 0.01)
            if max(crossed) <= allowed and min(moved[one], moved[two]) > 1.5 * max(crossed):
                found |= {one: two, two: one}
    return found


def _number_shift(
    what: str,
    name: str,
    reference: "pd.Series[Any]",
    current: "pd.Series[Any]",
    *,
    moved: float | None,
    limits: DataLimits,
) -> Iterable[Fault]:
    if moved is None:
        return
    one, two = numbers(reference), numbers(current)
    scaled = shift.rescaling(one, two)
    if scaled is not None:
        said = f"Column {name} looks multiplied by {scaled.factor:.3g}, as by a change of unit"
        yield _shift(what, name, moved, limits.shift, said)
    elif not moved <= limits.shift:
        medians = f"median {np.median(one):.4g} → {np.median(two):.4g}"
        yield _shift(what, name, moved, limits.shift, f"Column {name} has moved: {medians}")


def _category_shift(
    what: str, name: str, reference: "pd.Series[Any]", current: "pd.Series[Any]", limit: float
) -> Iterable[Fault]:
    one, two = counts(reference), counts(current)
    n, m = sum(one.values()), sum(two.values())
    if min(n, m) < FEWEST_ROWS:
        return
    apart = shift.total_variation(one, two)
    chance = shift.total_variation_critical(len({*one, *two}), n, m, ALPHA)
    if not apart <= max(limit, chance):
        biggest = max({*one, *two}, key=lambda key: abs(one.get(key, 0) / n - two.get(key, 0) / m))
        before, after = 100 * one.get(biggest, 0) / n, 100 * two.get(biggest, 0) / m
        said = f"Column {name} has moved: {biggest!r} {before:.0f} % → {after:.0f} %"
        yield _shift(what, name, apart, limit, said)


def _shift(what: str, name: str, observed: float, limit: float, said: str) -> Fault:
    return Fault(
        check="shift",
        slice=f"{what}: {name}",
        observed=observed,
        limit=limit,
        message=f"{said} ({what}).",
        remedy="Check where the data comes from; if the change is right, retrain on data like it",
    )


def _label_shift(
    what: str,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    settings: DataSettings,
    limits: DataLimits,
) -> Iterable[Fault | Look]:
    label = settings.label
    if label not in reference.columns:
        why = f"The label {label} is new: the other data has no such column."
        yield Look(check="label-shift", slice=what, outcome="skipped", why=why)
        return
    one, two = reference[label].dropna(), current[label].dropna()
    many = kind(one) == "number" and one.nunique() > 20
    few = min(len(numbers(one)), len(numbers(two))) if many else min(len(one), len(two))
    if few < FEWEST_ROWS:
        why = too_few(few, "labels of its kind")
        yield Look(check="label-shift", slice=what, outcome="inconclusive", why=why)
        return
    yield Look(check="label-shift", slice=what)
    if many:
        first_n, second_n = numbers(one), numbers(two)
        apart = shift.kolmogorov_smirnov(first_n, second_n)
        chance = shift.ks_critical(len(first_n), len(second_n), ALPHA)
        moved = f"median {np.median(first_n):.4g} → {np.median(second_n):.4g}"
    else:
        first, second = counts(one), counts(two)
        apart = shift.total_variation(first, second)
        size = len({*first, *second})
        chance = shift.total_variation_critical(size, len(one), len(two), ALPHA)
        key = max(
            {*first, *second},
            key=lambda k: abs(first.get(k, 0) / len(one) - second.get(k, 0) / len(two)),
        )
        moved = (
            f"{key!r} {100 * first.get(key, 0) / len(one):.1f} % → "
            f"{100 * second.get(key, 0) / len(two):.1f} %"
        )
    if not apart <= max(limits.label_shift, chance):
        yield Fault(
            check="label-shift",
            slice=what,
            observed=apart,
            limit=limits.label_shift,
            message=f"The label {settings.label} has moved: {moved} ({what}).",
            remedy="Check how the label was taken; metrics of the two are not comparable",
        )

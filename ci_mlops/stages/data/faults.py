"""Faults of one side's data: found the same way at base and head, so that they can be compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.dataset import contract as contracts
from ci_mlops.dataset.columns import codes, counts, kind, kinds, numbers
from ci_mlops.dataset.settings import Contract, DataSettings
from ci_mlops.stages.data import DataLimits
from ci_mlops.stats import power, shift

ALPHA = 1e-6


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong with the data."""

    check: str
    slice: str
    observed: float
    limit: float
    message: str
    remedy: str
    rows: int | None = None
    grave: bool = True
    """Whether a pull request that brings it is blocked; others only warn."""


EXPECTED = (
    "contract",
    "shift",
    "label-shift",
    "shared-rows",
    "near-shared-rows",
    "duplicate-rows",
    "conflicting-labels",
    "leak",
    "mostly-missing",
    "category-variants",
    "mixed-types",
    "constant-column",
    "time-overlap",
)
NEEDS_TRAIN = ("shift", "label-shift", "shared-rows", "near-shared-rows", "time-overlap")


def within_one_part(
    part: str, frame: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault]:
    """Yield the faults that show in one part, n rows, alone."""
    features = _features(frame, settings)
    yield from _duplicates(part, features, frame, settings, limits)
    yield from _mostly_missing(part, features, limits)
    yield from _variants(part, features, limits)
    yield from _mixed(part, features)
    for name in features:
        if len(features[name].unique()) <= 1 and len(features) > 1:
            yield Fault(
                check="constant-column",
                slice=f"{part}: {name}",
                observed=1,
                limit=2,
                message=f"Column {name} holds one value only in the {part} data.",
                remedy="Drop it, or put it into `data.ignore`: it tells a model nothing",
                grave=False,
            )


def leaks(frame: pd.DataFrame, settings: DataSettings, limits: DataLimits) -> Iterable[Fault]:
    """Yield the columns, the key included, that alone tell the label too well."""
    for name, value in powers(frame, settings).items():
        if not value <= limits.leak_power:
            yield Fault(
                check="leak",
                slice=name,
                observed=value,
                limit=limits.leak_power,
                message=f"Column {name} alone tells the label with a power of {value:.2f} "
                "(0 is chance, 1 is certainty).",
                remedy="Check whether it is known before the decision; if not, drop it",
            )


def powers(frame: pd.DataFrame, settings: DataSettings) -> dict[str, float]:
    """Return how well each column alone tells the label."""
    rows = frame[frame[settings.label].notna()]
    rows = rows.sample(min(len(rows), 50_000), random_state=0)
    label = codes(rows[settings.label])
    numeric = kind(rows[settings.label]) == "number" and len(np.unique(label)) > 20
    names = [*_features(rows, settings)]
    names += [settings.key] if settings.key and settings.key in rows.columns else []
    return {
        name: power.power_of_one(codes(rows[name]), label, numeric_label=numeric)
        for name in dict.fromkeys(names)
    }


def between_parts(
    train: pd.DataFrame, test: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault]:
    """Yield the faults that show when train and test are held against each other."""
    yield from shifts("test against train", train, test, settings, limits)
    yield from _shared(train, test, settings, limits)
    yield from _time_overlap(train, test, settings)


def shifts(
    what: str,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    settings: DataSettings,
    limits: DataLimits,
) -> Iterable[Fault]:
    """Yield the columns whose distribution moved; a change of unit and a swap are named as such."""
    known = [str(c) for c in _features(reference, settings) if c in current.columns]
    found = kinds(reference[[*known]], settings)
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


def broken_rules(
    part: str,
    frame: pd.DataFrame,
    reference: pd.DataFrame | None,
    *,
    given: Contract,
    settings: DataSettings,
    limits: DataLimits,
) -> Iterable[Fault]:
    """Yield the rules of the contract that a part breaks."""
    for one in contracts.examine(
        frame,
        reference,
        given,
        settings,
        null_rate_slack=limits.null_rate_slack,
        out_of_range_share=limits.out_of_range_share,
        new_category_share=limits.new_category_share,
    ):
        yield Fault(
            check=f"contract-{one.rule}",
            slice=f"{part}: {one.column}",
            observed=one.observed,
            limit=one.limit,
            message=one.message,
            remedy="Mend the data, or if it is right, say so in `stages.data.contract`",
            rows=one.rows,
        )


# --- one part -----------------------------------------------------------------------------------


def _features(frame: pd.DataFrame, settings: DataSettings) -> pd.DataFrame:
    others = {settings.key, settings.label, settings.time}
    return frame[[name for name in frame.columns if name not in others]]


def _row_digests(frame: pd.DataFrame) -> np.ndarray:
    digests: np.ndarray = pd.util.hash_pandas_object(_comparable(frame), index=False).to_numpy()
    return digests


def _comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose equal values have equal digests, whatever type a file gave them."""
    made: pd.DataFrame = frame.apply(
        lambda one: (
            one.astype(float)
            if pd.api.types.is_numeric_dtype(one.dtype) or pd.api.types.is_bool_dtype(one.dtype)
            else one.astype(object).where(one.notna(), None).map(str)
        )
    )
    return made


def _duplicates(
    part: str,
    features: pd.DataFrame,
    frame: pd.DataFrame,
    settings: DataSettings,
    limits: DataLimits,
) -> Iterable[Fault]:
    digests = pd.Series(_row_digests(features))
    labels = pd.Series(codes(frame[settings.label]))
    both = pd.DataFrame({"row": digests, "label": labels})
    repeated = int(both.duplicated().sum())
    share = repeated / len(both)
    if not share <= limits.duplicate_rows_share:
        yield Fault(
            check="duplicate-rows",
            slice=part,
            observed=share,
            limit=limits.duplicate_rows_share,
            rows=repeated,
            message=f"{100 * share:.1f} % of the {part} rows repeat another row.",
            remedy="Drop the repeated rows, or name what tells them apart in `data.key`",
            grave=False,
        )
    different = both.groupby("row")["label"].nunique()
    in_conflict = int(both["row"].isin(different[different > 1].index).sum())
    share = in_conflict / len(both)
    if not share <= limits.conflicting_labels_share:
        yield Fault(
            check="conflicting-labels",
            slice=part,
            observed=share,
            limit=limits.conflicting_labels_share,
            rows=in_conflict,
            message=f"{100 * share:.1f} % of the {part} rows have the features of another row but "
            "another label.",
            remedy="Find out which label is right; no model can learn both",
        )


def _mostly_missing(part: str, features: pd.DataFrame, limits: DataLimits) -> Iterable[Fault]:
    for name, rate in features.isna().mean().items():
        if not rate <= limits.mostly_missing_share:
            yield Fault(
                check="mostly-missing",
                slice=f"{part}: {name}",
                observed=float(rate),
                limit=limits.mostly_missing_share,
                rows=int(features[name].isna().sum()),
                message=f"{100 * rate:.0f} % of column {name} is missing in the {part} data.",
                remedy="Find out why nothing is recorded, or drop the column",
            )


def _texts(features: pd.DataFrame) -> dict[str, "pd.Series[Any]"]:
    return {
        str(name): features[name].dropna()
        for name in features
        if not pd.api.types.is_numeric_dtype(features[name].dtype)
        and not pd.api.types.is_bool_dtype(features[name].dtype)
        and not pd.api.types.is_datetime64_any_dtype(features[name].dtype)
    }


def _variants(part: str, features: pd.DataFrame, limits: DataLimits) -> Iterable[Fault]:
    for name, values in _texts(features).items():
        found = values[values.map(lambda one: isinstance(one, str))].value_counts()
        plain = pd.Series([" ".join(str(one).split()).casefold() for one in found.index])
        table = pd.DataFrame({"plain": plain, "n": found.to_numpy(), "value": list(found.index)})
        rare = table[table.duplicated("plain")]
        share = float(rare["n"].sum()) / max(1, len(values))
        if not share <= limits.variant_share:
            example = str(rare["value"].iloc[0])
            usual = str(table.loc[table["plain"] == rare["plain"].iloc[0], "value"].iloc[0])
            yield Fault(
                check="category-variants",
                slice=f"{part}: {name}",
                observed=share,
                limit=limits.variant_share,
                rows=int(rare["n"].sum()),
                message=f"Column {name} writes a value in several ways: {example!r}, {usual!r}.",
                remedy="Write each value in one way: trim spaces and choose one spelling",
            )


def _mixed(part: str, features: pd.DataFrame) -> Iterable[Fault]:
    for name, values in _texts(features).items():
        if not len(values):
            continue
        numeric = pd.to_numeric(values.astype(str), errors="coerce").notna()
        minority = min(float(numeric.mean()), 1 - float(numeric.mean()))
        if minority > 0 and values.nunique() > 2:
            yield Fault(
                check="mixed-types",
                slice=f"{part}: {name}",
                observed=minority,
                limit=0,
                rows=round(minority * len(values)),
                message=f"Column {name} mixes numbers and words: {100 * minority:.1f} % are of the "
                "rarer kind.",
                remedy="Mend the values of the rarer kind, or make them missing",
            )


# --- two parts ----------------------------------------------------------------------------------


def _moved(reference: "pd.Series[Any]", current: "pd.Series[Any]", alpha: float) -> float | None:
    """Return the distance of two numeric samples where chance cannot explain it."""
    if not pd.api.types.is_numeric_dtype(current.dtype):
        return None
    one, two = numbers(reference), numbers(current)
    if min(len(one), len(two)) < 50:
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
    if min(n, m) < 50:
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
) -> Iterable[Fault]:
    one, two = reference[settings.label].dropna(), current[settings.label].dropna()
    if min(len(one), len(two)) < 50:
        return
    if kind(one) == "number" and one.nunique() > 20:
        apart = shift.kolmogorov_smirnov(numbers(one), numbers(two))
        chance = shift.ks_critical(len(one), len(two), ALPHA)
        moved = f"median {one.median():.4g} → {two.median():.4g}"
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


def _shared(
    train: pd.DataFrame, test: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault]:
    common = [str(c) for c in _features(train, settings) if c in test.columns]
    if not common:
        return
    exact = _share_of_test(_row_digests(train[common]), _row_digests(test[common]))
    if not exact[0] <= limits.shared_rows_share + exact[1]:
        yield Fault(
            check="shared-rows",
            slice="test in train",
            observed=exact[0],
            limit=limits.shared_rows_share + exact[1],
            rows=round(exact[0] * len(test)),
            message=f"{100 * exact[0]:.1f} % of the test rows stand in the training data too.",
            remedy="Take them out of one side: a model is not tested on what it was trained on",
        )
    fine = [
        c
        for c in common
        if pd.api.types.is_float_dtype(train[c].dtype) and train[c].nunique() > 100
    ]
    if len(fine) < 2:
        return
    near = _share_of_test(
        _row_digests(_rounded(train, common)), _row_digests(_rounded(test, common))
    )
    share = near[0] - exact[0]
    if not share <= limits.near_shared_rows_share + max(0.0, near[1] - exact[1]):
        yield Fault(
            check="near-shared-rows",
            slice="test in train",
            observed=share,
            limit=limits.near_shared_rows_share,
            rows=round(share * len(test)),
            message=f"{100 * share:.1f} % of the test rows are training rows but for noise.",
            remedy="Take them out of one side: a copied row with noise is a copied row",
        )


def _rounded(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    def rounded(one: "pd.Series[Any]") -> "pd.Series[Any]":
        if not pd.api.types.is_float_dtype(one.dtype):
            return one
        values = one.to_numpy(dtype=float, na_value=np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 10.0 ** (3 - np.floor(np.log10(np.abs(values))))
            short = np.where(values == 0, 0.0, np.round(values * scale) / scale)
        return pd.Series(np.where(np.isfinite(short), short, values), index=one.index)

    return frame[columns].apply(rounded)


def _share_of_test(train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Return the share of test rows that train has, and how much train repeats in itself."""
    shared = float(np.isin(test, train).mean())
    _, times = np.unique(train, return_counts=True)
    repeated = float(times[times > 1].sum()) / len(train)
    return shared, repeated


def _time_overlap(
    train: pd.DataFrame, test: pd.DataFrame, settings: DataSettings
) -> Iterable[Fault]:
    if settings.time is None:
        return
    end, moments = train[settings.time].max(), test[settings.time].dropna()
    early = float((moments <= end).mean()) if len(moments) else 0.0
    if early > 0:
        yield Fault(
            check="time-overlap",
            slice="test against train",
            observed=early,
            limit=0,
            rows=round(early * len(moments)),
            message=f"{100 * early:.0f} % of the test rows are not later than the training data "
            f"({end}).",
            remedy="Split by time, or leave `data.time` out where time does not matter",
        )

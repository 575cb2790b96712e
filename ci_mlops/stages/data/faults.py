"""Faults of one side's data: found the same way at base and head, so that they can be compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ci_mlops.dataset import contract as contracts
from ci_mlops.dataset.columns import Kind, codes, counts, kind, kinds, moments, numbers
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


@dataclass(frozen=True, kw_only=True)
class Look:
    """A place where a fault was looked for, or why it was not; no fault passes without one."""

    check: str
    slice: str = ""
    outcome: Literal["passed", "skipped", "inconclusive"] = "passed"
    why: str = ""


AGAINST_TRAIN = "test against train"
IN_ONE_PART = (
    "duplicate-rows",
    "conflicting-labels",
    "mostly-missing",
    "category-variants",
    "mixed-types",
    "constant-column",
)
BETWEEN_PARTS = (
    ("shift", AGAINST_TRAIN),
    ("label-shift", AGAINST_TRAIN),
    ("shared-rows", ""),
    ("near-shared-rows", ""),
    ("time-overlap", ""),
)
FEWEST_ROWS = 50
"""Below this many values a distribution says too little to be judged."""


def within_one_part(
    part: str, frame: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault | Look]:
    """Yield the faults that show in one part, n rows, alone."""
    yield from (Look(check=name) for name in IN_ONE_PART)
    features = _features(frame, settings)
    yield from _duplicates(part, frame, settings, limits)
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


def leaks(
    frame: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault | Look]:
    """Yield the columns, the key included, that alone tell the label too well."""
    labelled = int(frame[settings.label].notna().sum())
    if labelled < FEWEST_ROWS:
        yield Look(check="leak", outcome="inconclusive", why=_too_few(labelled, "labelled rows"))
        return
    yield Look(check="leak")
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
    rows = rows[~np.isinf(codes(rows[settings.label]))]
    label = codes(rows[settings.label])
    numeric = kind(rows[settings.label]) == "number" and len(np.unique(label)) > 20
    names = [*_features(rows, settings)]
    names += [settings.key] if settings.key and settings.key in rows.columns else []
    return {
        name: power.power_of_one(codes(rows[name]), label, numeric_label=numeric)
        for name in dict.fromkeys(names)
    }


def between_parts(
    train: pd.DataFrame,
    test: pd.DataFrame,
    settings: DataSettings,
    limits: DataLimits,
    *,
    base_train: pd.DataFrame | None,
) -> Iterable[Fault | Look]:
    """Yield the faults that show when train and test are held against each other.

    How often rows coincide by chance is learned from `base_train`, which no pull request can
    change, where there is one.
    """
    yield from shifts(AGAINST_TRAIN, train, test, settings, limits)
    yield from _shared(train, test, settings, limits, base_train)
    yield from _time_overlap(train, test, settings)


def shifts(
    what: str,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    settings: DataSettings,
    limits: DataLimits,
) -> Iterable[Fault | Look]:
    """Yield the columns whose distribution moved; a change of unit and a swap are named as such."""
    known = [str(c) for c in _features(reference, settings) if c in current.columns]
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


def _too_few(rows: int, what: str) -> str:
    return f"There are {rows} {what}; fewer than {FEWEST_ROWS} cannot tell."


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


def broken_rules(
    part: str,
    frame: pd.DataFrame,
    reference: pd.DataFrame | None,
    *,
    given: Contract,
    settings: DataSettings,
    limits: DataLimits,
) -> Iterable[Fault | Look]:
    """Yield the rules of the contract that a part breaks."""
    if reference is not None:
        yield Look(check="contract")
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


def _content(frame: pd.DataFrame, settings: DataSettings) -> pd.DataFrame:
    """Return the features by which rows are the same: without those that name rows.

    A column other than of decimals whose values are nearly all distinct names rows, as an id or a
    time does, and would make a copied row look new. Where fewer than two columns of decimals tell
    rows apart, it stays: it may be all there is, as texts are.
    """
    features = _features(frame, settings)
    if sum(_is_fine(features[name]) for name in features) < 2:
        return features
    return features.drop(columns=[name for name in features if _names_rows(features[name])])


def _names_rows(column: "pd.Series[Any]") -> bool:
    if pd.api.types.is_float_dtype(column.dtype):
        return False
    return column.nunique() > 0.99 * max(FEWEST_ROWS, len(column))


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
    part: str, frame: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault]:
    digests = pd.Series(_row_digests(_content(frame, settings)))
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
        why = _too_few(few, "labels of its kind")
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


def _shared(
    train: pd.DataFrame,
    test: pd.DataFrame,
    settings: DataSettings,
    limits: DataLimits,
    base_train: pd.DataFrame | None,
) -> Iterable[Fault | Look]:
    # Rows repeated in one part must not hide that a column names rows, so each part may say it.
    parts = [train, test] if base_train is None else [train, test, base_train]
    naming = {
        name for one in parts for name in set(one.columns) - set(_content(one, settings).columns)
    }
    common = [str(c) for c in train.columns if c in test.columns and c not in naming]
    if not common:
        why = "Train and test have no features in common."
        yield Look(check="shared-rows", outcome="skipped", why=why)
        yield Look(check="near-shared-rows", outcome="skipped", why=why)
        return
    fine = [c for c in common if _is_fine(train[c])]
    by_chance = _expected_repeats(train, base_train, common, is_fine=len(fine) >= 2)
    exact = _share_known(_row_digests(train[common]), _row_digests(test[common]))
    limit = limits.shared_rows_share + by_chance
    yield Look(check="shared-rows")
    if not exact <= limit:
        yield Fault(
            check="shared-rows",
            slice=AGAINST_TRAIN,
            observed=exact,
            limit=limit,
            rows=round(exact * len(test)),
            message=f"{100 * exact:.1f} % of the test rows stand in the training data too.",
            remedy="Take them out of one side: a model is not tested on what it was trained on",
        )
    if len(fine) < 2:
        why = "Rows alike but for noise show only where two columns have over 100 decimal values."
        yield Look(check="near-shared-rows", outcome="skipped", why=why)
        return
    yield Look(check="near-shared-rows")
    rounded = _row_digests(_rounded(test, common))
    near = _share_known(_row_digests(_rounded(train, common)), rounded) - exact
    if not near <= limits.near_shared_rows_share:
        yield Fault(
            check="near-shared-rows",
            slice=AGAINST_TRAIN,
            observed=near,
            limit=limits.near_shared_rows_share,
            rows=round(near * len(test)),
            message=f"{100 * near:.1f} % of the test rows are training rows but for noise.",
            remedy="Take them out of one side: a copied row with noise is a copied row",
        )


def _is_fine(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_float_dtype(column.dtype) and column.nunique() > 100


def _expected_repeats(
    train: pd.DataFrame, base_train: pd.DataFrame | None, columns: list[str], *, is_fine: bool
) -> float:
    """Return the share of test rows that training data holds by chance, 0 to 1.

    It is the share of rows that stand more than once in the base's training data. Without a base,
    rows of two fine columns are taken never to meet by chance: head's own repetition would let a
    pull request raise its own limit.
    """
    known = [name for name in columns if base_train is not None and name in base_train.columns]
    if base_train is None or not known:
        return 0.0 if is_fine else _repeated(_row_digests(train[columns]))
    return _repeated(_row_digests(base_train[known])) if len(known) == len(columns) else 0.0


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


def _share_known(train: np.ndarray, test: np.ndarray) -> float:
    return float(np.isin(test, train).mean())


def _repeated(rows: np.ndarray) -> float:
    _, times = np.unique(rows, return_counts=True)
    return float(times[times > 1].sum()) / len(rows)


def _time_overlap(
    train: pd.DataFrame, test: pd.DataFrame, settings: DataSettings
) -> Iterable[Fault | Look]:
    name = settings.time
    if name is None:
        why = "No column is named as the time of a row in `data.time`."
        yield Look(check="time-overlap", outcome="skipped", why=why)
        return
    yield Look(check="time-overlap")
    numeric = [pd.api.types.is_numeric_dtype(part[name].dtype) for part in (train, test)]
    if numeric[0] != numeric[1]:
        yield _bad_time(name, 1.0, f"Column {name} holds numbers in one part and times in another.")
        return
    times = {"train": moments(train[name]), "test": moments(test[name])}
    bad = False
    for part, (found, unread) in times.items():
        if unread:
            bad = True
            said = f"{unread} values of column {name} in the {part} data are not times."
            yield _bad_time(f"{part}: {name}", unread / (unread + len(found)), said)
        elif not len(found):
            bad = True
            yield _bad_time(f"{part}: {name}", 1.0, f"Every {name} is missing in the {part} data.")
    if bad:
        return
    end, late = times["train"][0].max(), times["test"][0]
    early = float((late <= end).mean())
    if early > 0:
        yield Fault(
            check="time-overlap",
            slice=AGAINST_TRAIN,
            observed=early,
            limit=0,
            rows=round(early * len(late)),
            message=f"{100 * early:.0f} % of the test rows are not later than the training data "
            f"({end}).",
            remedy="Split by time, or leave `data.time` out where time does not matter",
        )


def _bad_time(where: str, share: float, said: str) -> Fault:
    return Fault(
        check="time-overlap",
        slice=where,
        observed=share,
        limit=0,
        message=said,
        remedy="Write every time as in 2026-11-23T12:00:00, or leave `data.time` out",
    )

"""Faults that show when train and test are held against each other."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.dataset.columns import moments
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.stages.data import DataLimits
from ci_mlops.stages.data.faults import (
    AGAINST_TRAIN,
    Fault,
    Look,
)
from ci_mlops.stages.data.rows import content, is_fine, row_digests
from ci_mlops.stages.data.shifts import shifts


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
        name for one in parts for name in set(one.columns) - set(content(one, settings).columns)
    }
    common = [str(c) for c in train.columns if c in test.columns and c not in naming]
    if not common:
        why = "Train and test have no features in common."
        yield Look(check="shared-rows", outcome="skipped", why=why)
        yield Look(check="near-shared-rows", outcome="skipped", why=why)
        return
    fine = [c for c in common if is_fine(train[c])]
    by_chance = _expected_repeats(train, base_train, common, is_fine=len(fine) >= 2)
    exact = _share_known(row_digests(train[common]), row_digests(test[common]))
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
    rounded = row_digests(_rounded(test, common))
    near = _share_known(row_digests(_rounded(train, common)), rounded) - exact
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
        return 0.0 if is_fine else _repeated(row_digests(train[columns]))
    return _repeated(row_digests(base_train[known])) if len(known) == len(columns) else 0.0


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
    until = "" if name in settings.hidden else f" ({end})"
    if early > 0:
        yield Fault(
            check="time-overlap",
            slice=AGAINST_TRAIN,
            observed=early,
            limit=0,
            rows=round(early * len(late)),
            message=f"{100 * early:.0f} % of the test rows are not later than the training data"
            f"{until}.",
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

"""Faults that show in one part of the data alone."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ci_mlops.dataset import contract as contracts
from ci_mlops.dataset.columns import codes
from ci_mlops.dataset.settings import Contract, DataSettings
from ci_mlops.stages.data import DataLimits
from ci_mlops.stages.data.faults import (
    IN_ONE_PART,
    Fault,
    Look,
)
from ci_mlops.stages.data.rows import content, features, row_digests


def within_one_part(
    part: str, frame: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault | Look]:
    """Yield the faults that show in one part, n rows, alone."""
    yield from (Look(check=name) for name in IN_ONE_PART)
    columns = features(frame, settings)
    yield from _duplicates(part, frame, settings, limits)
    yield from _mostly_missing(part, columns, limits)
    yield from _variants(part, columns, limits)
    yield from _mixed(part, columns)
    for name in columns:
        if len(columns[name].unique()) <= 1 and len(columns) > 1:
            yield Fault(
                check="constant-column",
                slice=f"{part}: {name}",
                observed=1,
                limit=2,
                message=f"Column {name} holds one value only in the {part} data.",
                remedy="Drop it, or put it into `data.ignore`: it tells a model nothing",
                grave=False,
            )


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


def _duplicates(
    part: str, frame: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault]:
    digests = pd.Series(row_digests(content(frame, settings)))
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


def _mostly_missing(part: str, columns: pd.DataFrame, limits: DataLimits) -> Iterable[Fault]:
    for name, rate in columns.isna().mean().items():
        if not rate <= limits.mostly_missing_share:
            yield Fault(
                check="mostly-missing",
                slice=f"{part}: {name}",
                observed=float(rate),
                limit=limits.mostly_missing_share,
                rows=int(columns[name].isna().sum()),
                message=f"{100 * rate:.0f} % of column {name} is missing in the {part} data.",
                remedy="Find out why nothing is recorded, or drop the column",
            )


def _texts(columns: pd.DataFrame) -> dict[str, "pd.Series[Any]"]:
    return {
        str(name): columns[name].dropna()
        for name in columns
        if not pd.api.types.is_numeric_dtype(columns[name].dtype)
        and not pd.api.types.is_bool_dtype(columns[name].dtype)
        and not pd.api.types.is_datetime64_any_dtype(columns[name].dtype)
    }


def _variants(part: str, columns: pd.DataFrame, limits: DataLimits) -> Iterable[Fault]:
    for name, values in _texts(columns).items():
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


def _mixed(part: str, columns: pd.DataFrame) -> Iterable[Fault]:
    for name, values in _texts(columns).items():
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

"""What kind of values a column holds, and its values as numbers."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from ci_mlops.dataset.settings import DataSettings

Kind = Literal["number", "category", "time", "text"]
MAX_CATEGORIES = 50


def kind(column: "pd.Series[Any]", *, categorical: bool | None = None) -> Kind:
    """Return the kind of a column.

    Times are times; numbers are numbers unless said to be categorical; whatever else has at most 50
    distinct values is a category, and text otherwise.
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "time"
    if categorical:
        return "category"
    if pd.api.types.is_bool_dtype(column.dtype):
        return "category"
    if pd.api.types.is_numeric_dtype(column.dtype):
        return "number"
    distinct = column.nunique()
    return "category" if distinct <= MAX_CATEGORIES else "text"


def kinds(frame: pd.DataFrame, settings: "DataSettings") -> dict[str, Kind]:
    """Return the kind of every column that is a feature."""
    named = settings.categorical
    return {
        str(name): kind(frame[name], categorical=None if named is None else name in named)
        for name in frame.columns
        if name not in {settings.key, settings.label, settings.time}
    }


def numbers(column: "pd.Series[Any]") -> np.ndarray:
    """Return the finite values of a numeric column, shape (m,), m at most n."""
    values: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(
        dtype=float, na_value=np.nan
    )
    finite: np.ndarray = values[np.isfinite(values)]
    return finite


def moments(column: "pd.Series[Any]") -> "tuple[pd.Series[Any], int]":
    """Return the times of a column, missing ones left out, and how many values are not times.

    Numbers stay as they are; texts are read as ISO 8601, or else as pandas reads them, in UTC.
    """
    held = column.dropna()
    if pd.api.types.is_numeric_dtype(held.dtype):
        finite = held[np.isfinite(held.astype(float))]
        return finite, len(held) - len(finite)
    if pd.api.types.is_datetime64_any_dtype(held.dtype):
        return pd.to_datetime(held, utc=True), 0
    made = pd.to_datetime(held.astype(str), format="ISO8601", utc=True, errors="coerce")
    if made.isna().any():
        made = pd.to_datetime(held.astype(str), format="mixed", utc=True, errors="coerce")
    return made.dropna(), int(made.isna().sum())


def codes(column: "pd.Series[Any]") -> np.ndarray:
    """Return a column as floats, shape (n,): numbers, or codes of values; NaN for missing."""
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        plain: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(
            dtype=float, na_value=np.nan
        )
        return plain
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        moments = column.astype("int64").to_numpy(dtype=float)
        return np.where(column.isna().to_numpy(), np.nan, moments)
    found = pd.factorize(column.astype(object))[0].astype(float)
    return np.where(found < 0, np.nan, found)


def counts(column: "pd.Series[Any]") -> dict[object, int]:
    """Return how often each value stands in a column, missing ones left out."""
    return {key: int(n) for key, n in column.astype(object).value_counts().items()}

"""What of a table makes a row the same as another."""

from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.dataset.settings import DataSettings
from ci_mlops.stages.data.faults import FEWEST_ROWS


def features(frame: pd.DataFrame, settings: DataSettings) -> pd.DataFrame:
    """Return the columns that are neither key, label nor time."""
    others = {settings.key, settings.label, settings.time}
    return frame[[name for name in frame.columns if name not in others]]


def content(frame: pd.DataFrame, settings: DataSettings) -> pd.DataFrame:
    """Return the features by which rows are the same: without those that name rows.

    A column other than of decimals whose values are nearly all distinct names rows, as an id or a
    time does, and would make a copied row look new. Where fewer than two columns of decimals tell
    rows apart, it stays: it may be all there is, as texts are.
    """
    found = features(frame, settings)
    if sum(is_fine(found[name]) for name in found) < 2:
        return found
    return found.drop(columns=[name for name in found if _names_rows(found[name])])


def _names_rows(column: "pd.Series[Any]") -> bool:
    if pd.api.types.is_float_dtype(column.dtype):
        return False
    return column.nunique() > 0.99 * max(FEWEST_ROWS, len(column))


def row_digests(frame: pd.DataFrame) -> np.ndarray:
    """Return a number for each of n rows, shape (n,); equal rows have equal ones."""
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


def is_fine(column: "pd.Series[Any]") -> bool:
    """Whether a column is of decimals, many of them distinct."""
    return pd.api.types.is_float_dtype(column.dtype) and column.nunique() > 100

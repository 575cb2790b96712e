"""The prediction log in the terms of the data that was judged: types, classes, probabilities."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ci_mlops.monitors.sources.prediction_log import Log

if TYPE_CHECKING:
    from ci_mlops.monitors.production import Watched


def answered(log: Log, watched: "Watched") -> pd.DataFrame:
    """Return the answers of what is live; all, where nobody says what is or none names itself."""
    if watched.live is None or log.answers.empty or not (log.answers["version"] != "").any():
        return log.answers
    return log.answers[log.answers["version"] == watched.live.version]


def as_reference(inputs: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return logged inputs with the types that the reference has, as far as JSON lost them."""
    return pd.DataFrame(
        {name: _column(inputs[name], reference[name]) for name in inputs.columns},
        index=inputs.index,
    )


def _column(values: "pd.Series[Any]", like: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_datetime64_any_dtype(like.dtype):
        made = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
        return made if getattr(like.dtype, "tz", None) is not None else made.dt.tz_localize(None)
    if isinstance(like.dtype, pd.CategoricalDtype):
        return values.astype(object)
    if pd.api.types.is_bool_dtype(like.dtype):
        return values.astype(object).map(lambda one: plain(one) == "1", na_action="ignore")
    if pd.api.types.is_numeric_dtype(like.dtype):
        made = pd.to_numeric(values, errors="coerce")
        spoiled = int(made.isna().sum() - values.isna().sum())
        return values if spoiled else made.astype(float)
    return values.astype(object)


def scores(answers: pd.DataFrame, classes: int) -> np.ndarray | None:
    """Return the logged probabilities, shape (n, classes); None where they are not there."""
    if "predict_proba" not in answers.columns or answers.empty:
        return None
    found = answers["predict_proba"].to_numpy()
    if any(one is None or np.ndim(one) != 1 or len(one) != classes for one in found):
        return None
    made: np.ndarray = np.array([*found], dtype=float)
    return made if np.isfinite(made).all() else None


def members(
    values: "Sequence[Any] | pd.Series[Any]", classes: Sequence[object]
) -> "pd.Series[Any]":
    """Return values as positions of classes, so that 1, 1.0, "1" and True are one; NaN for others.

    `values` has shape (n,), and so has the result.
    """
    by_text = {plain(one): position for position, one in enumerate(classes)}
    found: Mapping[str, int] = by_text
    index = values.index if isinstance(values, pd.Series) else None
    return pd.Series([found.get(plain(one), np.nan) for one in values], index=index, dtype=float)


def plain(value: Any) -> str:
    """Return a class as text, the same for 1, 1.0, True and what CSV makes of it."""
    if isinstance(value, bool | np.bool_) or str(value).lower() in {"true", "false"}:
        return "1" if str(value).lower() == "true" else "0"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def window_words(days: float) -> str:
    """Return how long a window is, in words."""
    if days == 1:
        return "the last day"
    return f"the last {days:g} days" if days > 1 else f"the last {24 * days:g} hours"

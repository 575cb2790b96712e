"""Predictions from a file in place of a model, held to the same keys as the data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ci_mlops.errors import CannotLook
from ci_mlops.model.settings import ModelSettings

if TYPE_CHECKING:
    import pandas as pd


def from_files(
    settings: ModelSettings,
    *,
    root: Path,
    part: Literal["train", "test"],
    keys: "pd.Index",
) -> dict[str, Any]:
    """Return raw answers for the rows named by `keys`, in their order.

    The first column is the key; then `prediction`, `score`, or one `score_<class>` for each class.
    Raises CannotLook when the file is missing or its keys are not those of the data.
    """
    files = settings.predictions
    location = getattr(files, part, None)
    if location is None:
        raise CannotLook(
            f"there are no predictions for the {part} data",
            place="model.predictions",
            remedy=f"Name a file in `model.predictions.{part}`",
        )
    frame = _read(root / location, location)
    frame = frame.set_index(frame.columns[0])
    frame = _by_key(frame, keys, location)
    raw: dict[str, Any] = {"inputs": [], "versions": {}, "seconds": 0.0, "classes": None}
    named = [str(column) for column in frame.columns if str(column).startswith("score_")]
    if named:
        scores = _numbers(frame[named], location)
        classes = [name.removeprefix("score_") for name in named]
        return {**raw, "scores": scores, "predicted": None, "classes": classes}
    if "score" in frame.columns:
        return {**raw, "scores": _numbers(frame[["score"]], location), "predicted": None}
    if "prediction" not in frame.columns:
        raise CannotLook(
            "has neither a column `prediction` nor `score` nor `score_<class>`", place=location
        )
    column = frame["prediction"]
    if column.isna().any():
        raise CannotLook(
            f"has {int(column.isna().sum())} rows without a prediction", place=location
        )
    values = column.to_numpy()
    kept = values if values.dtype.kind == "f" else np.array(column.tolist(), dtype=object)
    return {**raw, "scores": None, "predicted": kept}


def _read(path: Path, location: str) -> "pd.DataFrame":
    import pandas as pd

    readers: dict[str, Any] = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": lambda file: pd.read_json(file, lines=True),
    }
    if not path.is_file():
        raise CannotLook(f"{location} is missing", remedy="Commit it, or build it in `prepare:`")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise CannotLook("is not a .csv, .parquet or .jsonl file", place=location)
    try:
        frame: pd.DataFrame = reader(path)
    except (OSError, ValueError) as fault:
        raise CannotLook(f"cannot be read: {str(fault).splitlines()[0]}", place=location) from fault
    if frame.shape[1] < 2:
        raise CannotLook("needs a key column and a prediction column", place=location)
    return frame


def _by_key(frame: "pd.DataFrame", keys: "pd.Index", location: str) -> "pd.DataFrame":
    if not frame.index.is_unique:
        again = frame.index[frame.index.duplicated()][0]
        raise CannotLook(f"has the key {again!r} more than once", place=location)
    missing, extra = keys.difference(frame.index), frame.index.difference(keys)
    if len(missing) or len(extra):
        example = f"{missing[0]!r} has none" if len(missing) else f"{extra[0]!r} is not in the data"
        raise CannotLook(
            f"has {len(frame)} predictions for {len(keys)} rows: {len(missing)} rows without one, "
            f"{len(extra)} without a row (for example {example})",
            place=location,
            remedy="Predict exactly the rows of the data, named by the same key",
        )
    return frame.loc[keys]


def _numbers(frame: "pd.DataFrame", location: str) -> Any:
    try:
        numbers = frame.to_numpy(dtype=float)
    except (TypeError, ValueError) as fault:
        raise CannotLook("has a score that is not a number", place=location) from fault
    if not np.isfinite(numbers).all():
        raise CannotLook("has a score that is missing or not finite", place=location)
    return numbers

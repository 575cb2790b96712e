"""Rows from files: CSV, Parquet, JSON Lines, one file or a folder of partitions, named by key."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.errors import CannotLook

if TYPE_CHECKING:
    import pandas as pd

CSV = (".csv", ".csv.gz", ".csv.bz2")
LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet",)
SUFFIXES = (*PARQUET, *CSV, *LINES)


def read_table(root: Path, location: str, settings: DataSettings) -> Table:
    """Read the rows at `location` below `root`, indexed by their key.

    Raises CannotLook, naming the file and the remedy, when there is nothing readable there, a
    configured column is missing, or the key is not one.
    """
    frame = read_frame(root, location)
    if frame.empty:
        raise CannotLook("holds no rows", place=location)
    _require_columns(frame, location, settings)
    frame = frame.drop(columns=[c for c in settings.ignore if c in frame.columns])
    return Table(frame=_keyed(frame, location, settings.key), settings=settings, place=location)


def read_frame(root: Path, location: str) -> "pd.DataFrame":
    """Read the rows at `location` as they stand. Raises CannotLook."""
    path = inside(root, location)
    if path.is_dir():
        return _read_folder(path, location)
    return _read_file(path, location)


def inside(root: Path, location: str) -> Path:
    """Return the path of a location that exists below `root`. Raises CannotLook."""
    path = root / location
    if not path.resolve().is_relative_to(root.resolve()):
        raise CannotLook(
            "lies outside of the project", place=location, remedy="Use a path below it"
        )
    if not path.exists():
        raise CannotLook(
            f"{location} is missing", remedy="Commit it, or fetch or build it in `prepare:`"
        )
    return path


def _read_file(path: Path, location: str) -> "pd.DataFrame":
    import pandas as pd

    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        known = ", ".join(SUFFIXES)
        raise CannotLook("has a suffix that is not known", place=location, remedy=f"Use {known}")
    try:
        if name.endswith(PARQUET):
            return pd.read_parquet(path)
        if name.endswith(LINES):
            made: pd.DataFrame = pd.read_json(path, lines=True)
            return made
        return pd.read_csv(path, low_memory=False)
    except pd.errors.EmptyDataError as fault:
        raise CannotLook("is empty", place=location) from fault
    except (OSError, ValueError, ImportError) as fault:
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise CannotLook(f"cannot be read: {reason}", place=location) from fault


def _read_folder(path: Path, location: str) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

    files = sorted(f for f in path.rglob("*") if f.is_file() and f.name.lower().endswith(SUFFIXES))
    if not files:
        raise CannotLook("is a folder without data files", place=location)
    suffixes = {next(s for s in SUFFIXES if f.name.lower().endswith(s)) for f in files}
    if suffixes != set(PARQUET):
        parts = [_read_file(file, f"{location}/{file.relative_to(path)}") for file in files]
        return pd.concat(parts, ignore_index=True)
    try:
        found = ds.dataset(
            [str(f) for f in files], partition_base_dir=str(path), partitioning="hive"
        )
        made: pd.DataFrame = found.to_table().to_pandas()
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise CannotLook(f"cannot be read: {str(fault).splitlines()[0]}", place=location) from fault
    return made


def _require_columns(frame: "pd.DataFrame", location: str, settings: DataSettings) -> None:
    wanted = [settings.label, settings.key, settings.time, *settings.sensitive]
    for column in [*wanted, *(settings.categorical or ())]:
        if column is not None and column not in frame.columns:
            near = difflib.get_close_matches(column, [str(c) for c in frame.columns], n=1)
            hint = f', did you mean "{near[0]}"?' if near else ""
            raise CannotLook(f"has no column {column!r}{hint}", place=location)


def _keyed(frame: "pd.DataFrame", location: str, key: str | None) -> "pd.DataFrame":
    if key is None:
        return _keyed_by_content(frame)
    column = frame[key]
    if column.isna().any():
        raise CannotLook(
            f"has {int(column.isna().sum())} rows without a key ({key!r})", place=location
        )
    repeated = column[column.duplicated()]
    if len(repeated):
        raise CannotLook(
            f"has the key {key!r} = {repeated.iloc[0]!r} more than once",
            place=location,
            remedy="Choose a column that names each row once, or leave `data.key` out",
        )
    return frame.set_index(key, drop=False).rename_axis(None)


def _keyed_by_content(frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    digest = pd.util.hash_pandas_object(frame, index=False).map("{:016x}".format)
    number = digest.groupby(digest).cumcount()
    return frame.set_index(digest.where(number == 0, digest + "#" + (number + 1).astype(str)))

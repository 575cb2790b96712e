"""Rows from files: CSV, Parquet, JSON Lines, one file or a folder of partitions, named by key."""

import difflib
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.errors import CannotLook

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

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
    used = {settings.label, settings.key, settings.time, *settings.sensitive}
    unused = [c for c in settings.ignore if c in frame.columns and c not in used]
    frame = frame.drop(columns=unused)
    _refuse_nested(frame, location)
    return Table(frame=_keyed(frame, location, settings), settings=settings, place=location)


def read_frame(root: Path, location: str) -> "pd.DataFrame":
    """Read the rows at `location` as they stand. Raises CannotLook."""
    path = inside(root, location)
    frame = _read_folder(path, location) if path.is_dir() else _read_file(path, location)
    stored = any(name is not None and name not in frame.columns for name in frame.index.names)
    frame = frame.reset_index(drop=not stored)
    frame.columns = frame.columns.map(str)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise CannotLook(f"has the column {twice[0]!r} more than once", place=location)
    return frame


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
    import pyarrow.parquet as pq

    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        known = ", ".join(SUFFIXES)
        raise CannotLook("has a suffix that is not known", place=location, remedy=f"Use {known}")
    try:
        if name.endswith(PARQUET):
            return _framed(pq.ParquetFile(path).read())
        if name.endswith(LINES):
            made: pd.DataFrame = pd.read_json(path, lines=True)
            return made
        return pd.read_csv(path, low_memory=False)
    except pd.errors.EmptyDataError as fault:
        raise CannotLook("is empty", place=location) from fault
    except Exception as fault:  # parsers raise anything on bytes they do not know
        raise _unreadable(fault, location) from fault


def _unreadable(fault: Exception, location: str) -> CannotLook:
    reason = next(iter(str(fault).splitlines()), "") or type(fault).__name__
    return CannotLook(f"cannot be read: {reason}", place=location)


def _read_folder(path: Path, location: str) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow.dataset as ds
    from pyarrow import fs

    files = sorted(f for f in path.rglob("*") if f.is_file() and f.name.lower().endswith(SUFFIXES))
    if not files:
        raise CannotLook("is a folder without data files", place=location)
    suffixes = {next(s for s in SUFFIXES if f.name.lower().endswith(s)) for f in files}
    if suffixes != set(PARQUET):
        return _numbered(pd.concat([_read_part(f, path, location) for f in files]), path, files)
    try:
        parts = ds.FileSystemDatasetFactory(
            fs.LocalFileSystem(),
            [str(f) for f in files],
            ds.ParquetFileFormat(),
            ds.FileSystemFactoryOptions(
                partition_base_dir=str(path), partitioning=ds.HivePartitioning.discover()
            ),
        )
        # Every file's columns, not only the first one's.
        schema = parts.inspect(promote_options="permissive", fragments=None)
        made = _framed(parts.finish(schema).to_table())
    except Exception as fault:  # parsers raise anything on bytes they do not know
        raise _unreadable(fault, location) from fault
    return made


def _framed(table: "pa.Table") -> "pd.DataFrame":
    table.validate(full=True)  # what is not UTF-8 would fail far from here
    made: pd.DataFrame = table.to_pandas()
    return made


def _read_part(file: Path, folder: Path, location: str) -> "pd.DataFrame":
    frame = _read_file(file, f"{location}/{file.relative_to(folder)}")
    for name, value in partition(file.relative_to(folder)).items():
        if name not in frame.columns:
            frame[name] = value
    return frame


def partition(file: Path) -> dict[str, str | None]:
    """Return the columns that a path names as Hive does: `year=2026/region=north/part.csv`."""
    found: dict[str, str | None] = {}
    for part in file.parts[:-1]:
        name, sign, value = part.partition("=")
        if sign:
            empty = value == "__HIVE_DEFAULT_PARTITION__"
            found[urllib.parse.unquote(name)] = None if empty else urllib.parse.unquote(value)
    return found


def _numbered(frame: "pd.DataFrame", folder: Path, files: list[Path]) -> "pd.DataFrame":
    """Return a frame whose partition columns are numbers where all of their values are."""
    import pandas as pd

    for name in {name for file in files for name in partition(file.relative_to(folder))}:
        if not pd.api.types.is_numeric_dtype(frame[name].dtype):
            made = pd.to_numeric(frame[name], errors="coerce")
            if made.isna().equals(frame[name].isna()):
                frame[name] = made
    return frame.reset_index(drop=True)


def _refuse_nested(frame: "pd.DataFrame", location: str) -> None:
    import pandas as pd

    for name in frame.columns[[pd.api.types.is_object_dtype(one) for one in frame.dtypes]]:
        values = frame[name]
        nested = values.map(
            lambda one: hasattr(one, "__iter__") and not isinstance(one, str | bytes)
        )
        if nested.any():
            raise CannotLook(
                f"holds a list or object in column {name!r}, row {int(nested.argmax()) + 1}",
                place=location,
                remedy="Write their parts as columns of their own, or name it in `data.ignore`",
            )


def _require_columns(frame: "pd.DataFrame", location: str, settings: DataSettings) -> None:
    wanted = [settings.label, settings.key, settings.time, *settings.sensitive]
    for column in [*wanted, *(settings.categorical or ())]:
        if column is not None and column not in frame.columns:
            near = difflib.get_close_matches(column, [str(c) for c in frame.columns], n=1)
            hint = f', did you mean "{near[0]}"?' if near else ""
            raise CannotLook(f"has no column {column!r}{hint}", place=location)


def _keyed(frame: "pd.DataFrame", location: str, settings: DataSettings) -> "pd.DataFrame":
    key = settings.key
    if key is None:
        return _keyed_by_content(frame)
    column = frame[key]
    if column.isna().any():
        raise CannotLook(
            f"has {int(column.isna().sum())} rows without a key ({key!r})", place=location
        )
    repeated = column[column.duplicated()]
    if len(repeated):
        which = "" if key in settings.hidden else f" = {repeated.iloc[0]!r}"
        raise CannotLook(
            f"has the key {key!r}{which} more than once",
            place=location,
            remedy="Choose a column that names each row once, or leave `data.key` out",
        )
    return frame.set_index(key, drop=False).rename_axis(None)


def _keyed_by_content(frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    digest = pd.util.hash_pandas_object(frame, index=False).map("{:016x}".format)
    number = digest.groupby(digest).cumcount()
    return frame.set_index(digest.where(number == 0, digest + "#" + (number + 1).astype(str)))

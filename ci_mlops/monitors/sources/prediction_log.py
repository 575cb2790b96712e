"""The prediction log and its labels as frames, read by DuckDB from files or an object store's."""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ci_mlops.errors import CannotLook
from ci_mlops.monitors.sources import object_store
from ci_mlops.values import Value

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

DAY = re.compile(r"(\d{4}-\d\d-\d\d)")
OURS = ("time", "id", "row", "model", "version", "predict", "predict_proba")
"""Columns of a log beside its inputs."""
READERS: Mapping[str, str] = {
    ".parquet": "read_parquet(?, union_by_name=true)",
    ".jsonl": "read_json(?, format='newline_delimited', union_by_name=true, ignore_errors=true, "
    "sample_size=-1, map_inference_threshold=-1)",
    # Yes and no stay what they are: groups may be called so.
    ".csv": "read_csv(?, union_by_name=true, sample_size=-1, "
    "auto_type_candidates=['BIGINT', 'DOUBLE', 'TIMESTAMP', 'VARCHAR'])",
}
ALIASES: Mapping[str, str] = {
    ".ndjson": ".jsonl",
    ".jsonl.gz": ".jsonl",
    ".ndjson.gz": ".jsonl",
    ".csv.gz": ".csv",
}
SPOILED_SHARE = 0.01
"""Lines that cannot be read, of all, beyond which a log is not believed."""


class LabelSettings(Value):
    """What turned out to be right, joined to the prediction log by the request's id."""

    path: Annotated[str, Field(min_length=1)]
    """A CSV, Parquet or JSON Lines file, a folder of such files, or `s3://bucket/path/*.parquet`."""
    id: Annotated[str, Field(min_length=1)] = "id"
    """The column with the request's id."""
    row: Annotated[str, Field(min_length=1)] = "row"
    """The column with the row's number in the request; where there is none, it is the first."""
    label: Annotated[str, Field(min_length=1)] | None = None
    """The column with the label; default: `data.label`."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """Rows of the prediction log in one window."""

    answers: "pd.DataFrame"
    """Columns `time` (UTC), `id`, `row`, `version`, `predict`, and `predict_proba` where there is
    one, in the order of time; the index is the request's id and row, unique."""
    inputs: "pd.DataFrame"
    """What was asked, a column an input, by the same index."""
    rows: int
    """Rows in the window; the frames may hold a random sample of them."""
    spoiled: int
    """Lines that could not be read."""


def read_log(
    root: Path, location: str, *, since: datetime, until: datetime, max_rows: int, seed: int = 0
) -> Log:
    """Read the rows of `location` (relative to `root`) whose time lies in [since, until).

    More than `max_rows` rows are sampled at random. A request that stands twice counts once.
    Raises CannotLook where nothing can be read, or too much of it is spoiled.
    """
    with (
        _at_hand(root, location, since=since, until=until) as (files, suffix),
        _connection() as database,
        _told(location),
    ):
        if not files:
            return Log(answers=_empty(), inputs=_empty()[[]], rows=0, spoiled=0)
        database.execute(f"CREATE VIEW log AS SELECT * FROM {_reader(suffix, files)}")  # noqa: S608
        columns = {str(row[0]): str(row[1]) for row in _rows(database, "DESCRIBE log")}
        _require(columns, ("time", "id", "predict", "inputs"), location)
        lines, spoiled = _rows(database, "SELECT count(*), count(*) - count(time) FROM log")[0]
        if spoiled > SPOILED_SHARE * lines:
            raise CannotLook(
                f"{spoiled} of {lines} lines cannot be read",
                place=location,
                remedy="Mend or remove the files",
            )
        window = _window(columns, since, until)
        total = int(_rows(database, f"SELECT count(*) FROM ({window})")[0][0])  # noqa: S608
        # By a digest of what names a row, so that any number of threads draws the same ones.
        row = "row" if "row" in columns else "0"
        sample = f"ORDER BY md5(concat_ws('#', '{seed}', id, {row})) LIMIT {max_rows}"
        found = _table(database, f"SELECT * FROM ({window}) {sample}")  # noqa: S608
    answers, inputs = _framed(found)
    return Log(answers=answers, inputs=inputs, rows=total, spoiled=int(spoiled))


def read_labels(root: Path, settings: LabelSettings, label: str) -> "pd.DataFrame":
    """Read labels, indexed as the log is; further columns, such as sensitive ones, come along.

    Of several labels of one row the last one counts. Raises CannotLook.
    """
    import pandas as pd

    name = settings.label or label
    with (
        _at_hand(root, settings.path) as (files, suffix),
        _connection() as database,
        _told(settings.path),
    ):
        if not files:
            return pd.DataFrame({label: pd.Series(dtype=object)}, index=pd.Index([], dtype=object))
        found = _table(database, f"SELECT * FROM {_reader(suffix, files)}")  # noqa: S608
    frame: pd.DataFrame = found.to_pandas()
    _require({str(one): "" for one in frame.columns}, (settings.id, name), settings.path)
    frame = frame.dropna(subset=[settings.id, name])
    rows = frame[settings.row].fillna(0) if settings.row in frame.columns else 0
    frame.index = _index(frame[settings.id], rows)
    frame = frame.drop(columns=[settings.id, settings.row], errors="ignore")
    frame = frame.rename(columns={name: label})
    kept: pd.DataFrame = frame[~frame.index.duplicated(keep="last")]
    return kept


@contextlib.contextmanager
def _at_hand(
    root: Path, location: str, *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[tuple[list[str], str]]:
    """Yield the files of a location and their suffix; of dated ones those that can matter.

    Those of an object store are fetched, and gone when the block ends.
    """
    if "://" not in location:
        yield _files(root, location, since, until)
        return
    with tempfile.TemporaryDirectory(prefix="ci-mlops-") as folder:
        _suffix(location.partition("?")[0], location)
        object_store.fetched(location, Path(folder), lambda name: _matters(name, since, until))
        yield _files(Path(folder), ".", None, None)


def _files(
    root: Path, location: str, since: datetime | None, until: datetime | None
) -> tuple[list[str], str]:
    path = root / location
    if not path.exists():
        raise CannotLook(
            "is not there",
            place=location,
            remedy="Name the folder of the prediction log or the labels, relative to mlops.yml",
        )
    every = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    known = [one for one in every if _known(one.name)]
    if not known:
        if path.is_dir():
            return [], ""
        raise _unknown(location)
    suffixes = {_suffix(one.name, location) for one in known}
    if len(suffixes) > 1:
        raise CannotLook(f"mixes {' and '.join(sorted(suffixes))} files", place=location)
    return [str(one) for one in known if _matters(one.name, since, until)], suffixes.pop()


def _matters(name: str, since: datetime | None, until: datetime | None) -> bool:
    """Whether a file named by a day, as our own log's are, can hold rows of a window."""
    day = DAY.search(name)
    if day is None or since is None or until is None:
        return True
    try:
        begin = datetime.fromisoformat(day[1]).replace(tzinfo=UTC)
    except ValueError:
        return True
    return begin < until and begin + timedelta(days=1) > since


def _known(name: str) -> str:
    lower = name.lower()
    for suffix in (*ALIASES, *READERS):
        if lower.endswith(suffix):
            return ALIASES.get(suffix, suffix)
    return ""


def _suffix(name: str, location: str) -> str:
    found = _known(name)
    if not found:
        raise _unknown(location)
    return found


def _unknown(location: str) -> CannotLook:
    return CannotLook(
        "has a suffix that is not known",
        place=location,
        remedy=f"Use {', '.join(READERS)}; in an object store, a pattern such as *.parquet",
    )


def _reader(suffix: str, files: list[str]) -> str:
    # A view takes no parameters, so the names are quoted as SQL does.
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return READERS[suffix].replace("?", f"[{listed}]")


@contextlib.contextmanager
def _connection() -> "Iterator[duckdb.DuckDBPyConnection]":
    import duckdb

    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        yield database


@contextlib.contextmanager
def _told(location: str) -> Iterator[None]:
    """Turn DuckDB's faults into ours."""
    import duckdb

    try:
        yield
    except duckdb.Error as fault:
        reason = next(iter(str(fault).splitlines()), type(fault).__name__)
        raise CannotLook(f"cannot be read: {reason}", place=location) from fault


def _table(database: "duckdb.DuckDBPyConnection", query: str) -> "pa.Table":
    made: pa.Table = database.sql(query).to_arrow_table()
    return made


def _rows(database: "duckdb.DuckDBPyConnection", query: str) -> list[tuple[Any, ...]]:
    return database.execute(query).fetchall()


def _require(columns: Mapping[str, str], wanted: tuple[str, ...], location: str) -> None:
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise CannotLook(f"has no column {missing[0]!r}", place=location)


def _window(columns: Mapping[str, str], since: datetime, until: datetime) -> str:
    """Return the query of the window's rows."""
    own = [name for name in OURS if name in columns]
    key = "id, row" if "row" in columns else "id"
    return (  # every part is ours: names of OURS and moments
        f"SELECT DISTINCT ON ({key}) {', '.join(own)}, inputs FROM log "  # noqa: S608
        f"WHERE time::TIMESTAMPTZ >= '{since.isoformat()}' "
        f"AND time::TIMESTAMPTZ < '{until.isoformat()}' ORDER BY {key}, time"
    )


def _framed(found: "pa.Table") -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Return answers and inputs, both in the order of time."""
    import pandas as pd

    answers = found.drop_columns(["inputs"]).to_pandas()
    answers["time"] = pd.to_datetime(answers["time"], utc=True)
    for name, value in (("row", 0), ("version", "")):
        if name not in answers.columns:
            answers[name] = value
    answers.index = _index(answers["id"], answers["row"])
    asked = found.column("inputs").combine_chunks()
    names = [one.name for one in asked.type]
    inputs = pd.DataFrame(
        {name: part.to_pandas() for name, part in zip(names, asked.flatten(), strict=True)}
    ).set_axis(answers.index)
    answers = answers.sort_values(["time", "row"], kind="stable")
    return answers, inputs.loc[answers.index]


def _index(ids: "pd.Series[Any]", rows: "pd.Series[Any] | int") -> "pd.Index[Any]":
    import pandas as pd

    numbers = pd.Series(rows, index=ids.index).astype("int64").astype(str)
    return pd.Index(ids.astype(str) + "#" + numbers, dtype=object)


def _empty() -> "pd.DataFrame":
    import pandas as pd

    columns = ["time", "id", "row", "version", "predict"]
    return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})

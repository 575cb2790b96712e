"""Data files as batches of typed columns, read again and again without ever holding them whole."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ci_mlops.dataset.reading import CSV, LINES, PARQUET, SUFFIXES, partition
from ci_mlops.errors import CannotLook

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Cells = Literal["empty", "bool", "int", "float", "time", "text"]
"""What the cells of a column are; `empty` where every one is missing."""
BATCH_ROWS = 65_536
BLOCK_BYTES = 1 << 22
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A", "<NA>")
"""Texts of a CSV file that stand for a missing value, as pandas reads them."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One file of a table: its name, which says the format, and where its bytes are."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The rows of a table and what the cells of each column are."""

    rows: int
    columns: dict[str, Cells]


class Rows(Protocol):
    """A table that can be read several times, in batches."""

    @property
    def place(self) -> str:
        """What names it in messages."""

    @property
    def shape(self) -> Shape:
        """Its rows and columns. Raises CannotLook."""

    def batches(self, wanted: dict[str, Cells]) -> Iterator[dict[str, "pa.Array"]]:
        """Yield columns by name, at most 65,536 rows at a time. Raises CannotLook."""


@dataclass(frozen=True)
class InMemory:
    """A table that is held already."""

    place: str
    frame: "pd.DataFrame"

    @cached_property
    def shape(self) -> Shape:
        """The rows and columns."""
        columns = {name: _cells_of(column.type) for name, column in self._columns.items()}
        return Shape(rows=len(self.frame), columns=columns)

    def batches(self, wanted: dict[str, Cells]) -> Iterator[dict[str, "pa.Array"]]:
        """Yield columns by name, cast to what they should be."""
        for start in range(0, len(self.frame), BATCH_ROWS):
            yield {
                name: _cast(self._columns[name].slice(start, BATCH_ROWS), cells)
                for name, cells in wanted.items()
            }

    @cached_property
    def _columns(self) -> dict[str, "pa.Array"]:
        return {str(name): _array(self.frame[name]) for name in self.frame.columns}


@dataclass(frozen=True)
class Source:
    """A table in one file or in the files of a folder; `place` names it in messages."""

    place: str
    pieces: tuple[Piece, ...]

    @classmethod
    def at(cls, path: Path, place: str) -> "Source":
        """Return the table at a path, a file or a folder. Raises CannotLook."""
        if not path.is_dir():
            return cls(place, (Piece(name=path.name, path=path),))
        files = sorted(file for file in path.rglob("*") if file.is_file())
        named = [Piece(name=file.relative_to(path).as_posix(), path=file) for file in files]
        return cls.of(named, place)

    @classmethod
    def of(cls, pieces: Sequence[Piece], place: str) -> "Source":
        """Return the table that the data files among `pieces` make. Raises CannotLook."""
        kept = tuple(one for one in pieces if one.name.lower().endswith(SUFFIXES))
        if not kept:
            raise CannotLook("is a folder without data files", place=place)
        return cls(place, kept)

    @cached_property
    def shape(self) -> Shape:
        """The rows and columns; costs one reading, for Parquet of the footer. Raises CannotLook."""
        rows, columns = 0, dict[str, Cells]()
        with self._readable():
            for piece in self.pieces:
                count, found = _shape_of(piece)
                rows += count
                for name, cells in found.items():
                    columns[name] = joined(columns.get(name, "empty"), cells)
        return Shape(rows=rows, columns=columns)

    def batches(self, wanted: dict[str, Cells]) -> Iterator[dict[str, "pa.Array"]]:
        """Yield columns by name, at most 65,536 rows at a time, cast to what they should be.

        A column that a file lacks is missing in all of its rows. Raises CannotLook.
        """
        with self._readable():
            for piece in self.pieces:
                for batch in _batches(piece, list(wanted)):
                    yield {
                        name: _cast(_column(batch, name), cells) for name, cells in wanted.items()
                    }

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except CannotLook:
            raise
        except OSError as fault:
            reason = fault.strerror or "its bytes are not of this format"
            raise CannotLook(f"cannot be read: {reason}", place=self.place) from fault
        except Exception as fault:  # parsers raise anything, and may quote the cell they met
            raise CannotLook(
                f"cannot be read: {type(fault).__name__}",
                place=self.place,
                remedy="Check that each file is whole and of the format that its name says",
            ) from fault


def joined(one: Cells, two: Cells) -> Cells:
    """Return what cells are that may be either: whole numbers are numbers, the rest are texts."""
    if two in {one, "empty"}:
        return one
    if one == "empty":
        return two
    return "float" if {one, two} == {"int", "float"} else "text"


def _shape_of(piece: Piece) -> tuple[int, dict[str, Cells]]:
    import pyarrow.parquet as pq

    named = _partitions(piece)
    if _format(piece) == PARQUET:
        footer = pq.ParquetFile(piece.path)
        found = {field.name: _cells_of(field.type) for field in footer.schema_arrow}
        return footer.metadata.num_rows, found | named
    rows, found = 0, dict[str, Cells]()
    for batch in _batches(piece, None):
        rows += batch.num_rows
        for name, column in zip(batch.column_names, batch.columns, strict=True):
            found[name] = _narrowed(found.get(name), column)
    return rows, found | named


def _partitions(piece: Piece) -> dict[str, Cells]:
    found = dict[str, Cells]()
    for name, value in partition(Path(piece.name)).items():
        is_whole = value is not None and value.lstrip("-").isdigit()
        found[name] = "empty" if value is None else "int" if is_whole else "text"
    return found


def _narrowed(known: Cells | None, column: "pa.Array") -> Cells:
    """Return the narrowest kind that holds what was known of a column and a batch more of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return joined(known or "empty", _cells_of(column.type))
    if known == "text" or column.null_count == len(column):
        return known or "empty"
    guesses: tuple[tuple[Cells, Any], ...] = (
        ("int", pa.int64()),
        ("float", pa.float64()),
        ("bool", pa.bool_()),
        ("time", pa.timestamp("us")),
    )
    sample = column.drop_null()
    first = str(sample[0].as_py()).strip().lower()
    for cells, kind in guesses:
        if (cells == "bool") != (first in {"true", "false"}):
            continue
        if known not in {None, "empty", cells} and joined(known or "empty", cells) == "text":
            continue
        with contextlib.suppress(pa.ArrowInvalid):
            pc.cast(sample, kind)
            return joined(known or "empty", cells)
    return "text"


def _cells_of(kind: Any) -> Cells:
    import pyarrow as pa

    is_ = pa.types
    if is_.is_dictionary(kind):
        return _cells_of(kind.value_type)
    if is_.is_null(kind):
        return "empty"
    if is_.is_boolean(kind):
        return "bool"
    if is_.is_integer(kind) and kind != pa.uint64():
        return "int"
    if is_.is_floating(kind) or is_.is_decimal(kind) or is_.is_integer(kind):
        return "float"
    return "time" if is_.is_timestamp(kind) or is_.is_date(kind) else "text"


def _batches(piece: Piece, names: list[str] | None) -> Iterator["pa.RecordBatch"]:
    kind = _format(piece)
    found = (
        _parquet_batches(piece.path, names)
        if kind == PARQUET
        else _line_batches(piece.path)
        if kind == LINES
        else _csv_batches(piece, names)
    )
    constant = partition(Path(piece.name))
    for batch in found:
        yield _with_constants(batch, constant)


def _format(piece: Piece) -> tuple[str, ...]:
    name = piece.name.lower()
    for kind in (PARQUET, LINES, CSV):
        if name.endswith(kind):
            return kind
    raise CannotLook(
        "has a suffix that is not known", place=piece.name, remedy=f"Use {', '.join(SUFFIXES)}"
    )


def _parquet_batches(path: Path, names: list[str] | None) -> Iterator["pa.RecordBatch"]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    held = file.schema_arrow.names
    wanted = held if names is None else [name for name in held if name in set(names)]
    yield from file.iter_batches(batch_size=BATCH_ROWS, columns=wanted)


def _csv_batches(piece: Piece, names: list[str] | None) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa
    from pyarrow import csv

    packed = {".gz": "gzip", ".bz2": "bz2"}.get(Path(piece.name).suffix.lower())
    # The type that the first block suggests may be wrong for later ones, so all are texts first.
    with pa.input_stream(str(piece.path), compression=packed) as stream:
        header = csv.open_csv(stream, parse_options=_parsing()).schema.names
    wanted = None if names is None else [name for name in header if name in set(names)]
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()),
        include_columns=wanted,
        null_values=list(MISSING),
        strings_can_be_null=True,
    )
    if wanted == []:
        options.include_columns = header[:1]
    reading = csv.ReadOptions(block_size=BLOCK_BYTES)
    with pa.input_stream(str(piece.path), compression=packed) as stream:
        yield from csv.open_csv(
            stream, read_options=reading, convert_options=options, parse_options=_parsing()
        )


def _parsing() -> Any:
    from pyarrow import csv

    return csv.ParseOptions(newlines_in_values=True)


def _line_batches(path: Path) -> Iterator["pa.RecordBatch"]:
    import pandas as pd
    import pyarrow as pa

    with pd.read_json(path, lines=True, chunksize=BATCH_ROWS, dtype=False) as chunks:
        for frame in chunks:
            columns = {str(name): _array(frame[name]) for name in frame.columns}
            yield pa.RecordBatch.from_pydict(columns)


def _array(values: Any) -> "pa.Array":
    import pyarrow as pa

    try:
        made = pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        made = pa.Array.from_pandas(values.map(str, na_action="ignore"))
    return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made


def _with_constants(batch: "pa.RecordBatch", constant: dict[str, str | None]) -> "pa.RecordBatch":
    import pyarrow as pa

    for name, value in constant.items():
        if name not in batch.schema.names:
            column = pa.repeat(pa.scalar(value, pa.string()), batch.num_rows)
            batch = batch.append_column(name, column)
    return batch


def _column(batch: "pa.RecordBatch", name: str) -> "pa.Array":
    import pyarrow as pa

    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows)
    return batch.column(name)


def _cast(column: "pa.Array", cells: Cells) -> "pa.Array":
    """Return a column as what its table says that it is; NaN is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if cells == "empty":
        return pa.nulls(len(column))
    if pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    kinds = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    if cells == "time":
        return pc.cast(column, pa.timestamp("us"), safe=False)
    if cells == "text" and not _is_written_plainly(column.type):
        return pa.array(
            [None if one is None else repr(one) for one in column.to_pylist()], pa.string()
        )
    kinds = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    return pc.cast(column, kinds[cells], safe=False)


def _is_written_plainly(kind: Any) -> bool:
    """Whether a text of a cell says all that it holds; lists, bytes and durations have none."""
    import pyarrow as pa

    is_ = pa.types
    return bool(
        is_.is_string(kind)
        or is_.is_large_string(kind)
        or is_.is_null(kind)
        or _cells_of(kind) in {"bool", "int", "float", "time"}
    )

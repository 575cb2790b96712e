"""The `data` section of mlops.yml: where the data is and what its columns mean."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ci_mlops.values import Many, Share, Value

ColumnName = Annotated[str, Field(min_length=1, max_length=200)]


class DataSettings(Value):
    """The data that is judged."""

    test: Annotated[str, Field(min_length=1)]
    """Held-out data: a CSV, Parquet or JSON Lines file, or a folder of such files (partitions)."""
    train: Annotated[str, Field(min_length=1)] | None = None
    """The data the model was trained on; needed for every comparison of train with test."""
    label: ColumnName
    """The column that the model predicts."""
    key: ColumnName | None = None
    """The column that names a row; without it rows are named by a digest of their content."""
    positive: str | int | float | bool | None = None
    """Binary tasks: the favourable label; the larger of the two where it is not given."""
    sensitive: Many[ColumnName] = ()
    """Columns by which fairness is judged, such as race or sex."""
    hidden: Many[ColumnName] = ()
    """Columns of which counts alone are shown, no value, no category and no end of a range: in
    `ci-mlops diff`, in stage `data`, in slices and examples that were not asked for by name.
    Those of `sensitive` and `key` are so in `diff` whether named or not."""
    categorical: Many[ColumnName] | None = None
    """Columns with categories; found from types and distinct values where not given."""
    ignore: Many[ColumnName] = ()
    """Columns that are neither features nor otherwise looked at."""
    time: ColumnName | None = None
    """The column with the time of a row, where the data has one."""


class Contract(Value):
    """Rules for columns, given in mlops.yml; what is not given is learned from the reference."""

    null_rate: Mapping[str, Share] = {}
    """The share of missing values that a column may have, by column."""
    range: Mapping[str, Annotated[Many[float], Field(min_length=2, max_length=2)]] = {}
    """The lowest and highest value of a column, by column; not a single row may lie outside."""
    categories: Mapping[str, Many[str | int | float | bool]] = {}
    """The values that a column may hold, by column; not a single row may hold another."""
    required: Many[str] = ()
    """Columns that must be there."""
    unique: Many[str] = ()
    """Columns in which no value may stand twice."""

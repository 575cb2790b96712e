"""What a served model takes and answers: the columns as they were judged, classes, threshold."""

import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from ci_mlops.values import Many, Share, Value

Datatype = Literal[
    "BOOL",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "FP32",
    "FP64",
    "BYTES",
]
"""Of the Open Inference Protocol, section "Tensor Data Types"."""
WIRE: dict[str, Datatype] = {
    "<b1": "BOOL",
    "|b1": "BOOL",
    "<i1": "INT8",
    "<i2": "INT16",
    "<i4": "INT32",
    "<i8": "INT64",
    "<u1": "UINT8",
    "<u2": "UINT16",
    "<u4": "UINT32",
    "<u8": "UINT64",
    "<f4": "FP32",
    "<f8": "FP64",
}
Class = str | int | float | bool


class Column(Value):
    """One input: how it stands in a request, and how the model is given it."""

    name: str
    datatype: Datatype
    nulls: bool = False
    """Whether a value was missing in the data that was judged, so that null is right here too."""
    kind: Literal["array", "masked", "category", "datetime", "json"]
    """The form on the way to the model, as `ci_mlops.model.wire` describes it."""
    dtype: str = ""
    pandas: str = ""
    categories: Many[Class] = ()
    ordered: bool = False
    unit: str = ""
    texts: bool = False
    """Whether every value in the data that was judged was a text."""
    sensitive: bool = False
    """Whether its values are kept out of the prediction log."""
    hidden: bool = False
    """Whether nobody is told which values are allowed."""
    range: tuple[int | float, int | float] | None = None
    """The lowest and the highest number that the data contract allows."""
    known: Many[str] | None = None
    """The values that it allows, as texts of the column's own type; None where any may come."""

    @property
    def has_rule(self) -> bool:
        """Whether the data contract says anything about its values."""
        return self.range is not None or self.known is not None

    def outside(self, data: Sequence[Any]) -> list[Any]:
        """Return those of n values that the data contract does not allow.

        The values can be encoded; a missing one is another rule's.
        """
        return [one for one in data if one is not None and not self._allows(one)]

    def _allows(self, value: Any) -> bool:
        if self.range is not None and not _is_between(*self.range, value, self.datatype):
            return False
        return self.known is None or self._as_text(value) in self._known

    def _as_text(self, value: Any) -> str:
        """Return a value as the data contract reads the column: 1 is 1.0 among floats."""
        if self.kind in {"array", "masked"} and not isinstance(value, bool):
            value = float(value) if self.dtype[1] == "f" else int(value)
        return str(value)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.known or ())

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """Return what describes the column on the way to the model."""
        told: dict[str, Any] = {"name": self.name, "kind": self.kind, "dtype": self.dtype}
        if self.kind == "category":
            told |= {"categories": list(self.categories), "ordered": self.ordered}
        if self.kind == "masked":
            told["pandas"] = self.pandas
        if self.kind == "datetime":
            told["unit"] = self.unit
        return told


class Signature(Value):
    """A model's name, what it takes, and how its answers become decisions."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    task: Literal["binary", "multiclass", "regression"]
    columns: Annotated[Many[Column], Field(min_length=1)]
    classes: Many[Class] = ()
    """The sorted classes, the columns of `predict_proba`; empty for regressions."""
    positive: int | None = None
    """Position of the positive class, of binary tasks."""
    threshold: Share = 0.5
    scores: bool = True
    """Whether the model answers probabilities, and not labels alone."""
    out_of_contract: Literal["count", "refuse"] = "count"
    """What happens to values that the data contract does not allow."""

    @cached_property
    def ruled(self) -> tuple[Column, ...]:
        """The columns that the data contract says anything about."""
        return tuple(column for column in self.columns if column.has_rule)


def _is_between(low: float, high: float, value: Any, datatype: Datatype) -> bool:
    """Whether a number lies in a range, as it was sent or as the column holds it.

    What is no number is no matter of a range.
    """
    try:
        number = value if isinstance(value, int | float) else float(value)
    except ValueError:
        return True
    if datatype == "FP32" and not low <= number <= high:
        (number,) = struct.unpack("<f", struct.pack("<f", number))
    return bool(low <= number <= high)


def column_of(described: dict[str, Any], **seen: Any) -> Column:
    """Return the column that a header of the wire describes; `seen` are its other fields."""
    kind = described["kind"]
    datatype: Datatype = "BYTES"
    if kind in {"array", "masked"}:
        datatype = WIRE[described["dtype"]]
    return Column(
        name=described["name"],
        datatype=datatype,
        kind=kind,
        dtype=described.get("dtype", ""),
        pandas=described.get("pandas", ""),
        categories=tuple(described.get("categories", ())),
        ordered=described.get("ordered", False),
        unit=described.get("unit", ""),
        **seen,
    )

"""The signature of a model from the rows it was judged on, and requests from such rows."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ci_mlops.model import wire
from ci_mlops.serving.served import Column, Datatype

if TYPE_CHECKING:
    import pandas as pd


def columns(
    frame: "pd.DataFrame", inputs: Sequence[str], reference: "pd.DataFrame | None" = None
) -> tuple[Column, ...]:
    """Describe the inputs of a model by the rows that the gate asked it about.

    The types are those of `frame`. Values may be missing where they are in it, or in `reference`,
    the rows that the model was trained on. Raises CannotLook for values that have no form.
    """
    described, _ = wire.encode(frame[list(inputs)])
    found = []
    for one in described["columns"]:
        name, values = one["name"], frame[one["name"]]
        misses = bool(values.isna().any())
        if reference is not None and name in reference.columns:
            misses = misses or bool(reference[name].isna().any())
        kept = {key: one[key] for key in one if key not in {"name", "bytes", "mask"}}
        texts = all(isinstance(value, str) for value in values.dropna())
        found.append(
            Column(
                name=name,
                datatype=_datatype(kept, texts=texts),
                nullable=misses,
                texts=texts,
                wire=kept,
            )
        )
    return tuple(found)


def request(frame: "pd.DataFrame", signature: Sequence[Column]) -> dict[str, Any]:
    """Return the Open Inference request for the rows of a frame, one tensor for each column."""
    return {
        "inputs": [
            {
                "name": one.name,
                "shape": [len(frame)],
                "datatype": one.datatype,
                "data": [_json(value) for value in frame[one.name].tolist()],
            }
            for one in signature
        ]
    }


def _datatype(described: dict[str, Any], *, texts: bool) -> Datatype:
    kind = described["kind"]
    if kind in {"array", "masked"}:
        named: dict[str, Datatype] = {"f": "FP64", "i": "INT64", "u": "UINT64", "b": "BOOL"}
        return named[described["dtype"][1]]
    if kind == "category" and not texts and all(type(c) is int for c in described["categories"]):
        return "INT64"
    return "BYTES"


def _json(value: Any) -> Any:
    import pandas as pd

    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | bool | int):
        return value
    return None if pd.isna(value) else value.isoformat()

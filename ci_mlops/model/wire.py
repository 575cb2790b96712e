"""Columns of a DataFrame as bytes for the model's interpreter, whatever its library versions."""

import json
from typing import TYPE_CHECKING, Any

from ci_mlops.errors import CannotLook

if TYPE_CHECKING:
    import pandas as pd


def encode(frame: "pd.DataFrame") -> tuple[dict[str, Any], bytes]:
    """Return the header and the body that carry a frame of n rows; its index stays here.

    Raises CannotLook for a column whose values have no form on the wire.
    """
    described, parts = [], []
    for name, values in frame.items():
        column, data, mask = _column(str(name), values)
        described.append({**column, "name": str(name), "bytes": len(data), "mask": len(mask)})
        parts += [data, mask]
    return {"rows": len(frame), "columns": described}, b"".join(parts)


def _column(name: str, values: "pd.Series[Any]") -> tuple[dict[str, Any], bytes, bytes]:
    import numpy as np
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = values.cat.codes.to_numpy().astype("<i4")
        categories = _plain(name, pd.Series(values.cat.categories))
        described = {"dtype": "<i4", "categories": categories, "ordered": bool(values.cat.ordered)}
        return {"kind": "category", **described}, codes.tobytes(), b""
    if isinstance(dtype, np.dtype) and dtype.kind == "M":
        moments = values.astype("datetime64[ns]").to_numpy().astype("<i8")
        return {"kind": "datetime", "dtype": "<i8", "unit": "ns"}, moments.tobytes(), b""
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = values.dt.tz_convert("UTC").dt.tz_localize(None)
        return _column(name, moments)
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        little = values.to_numpy().astype(dtype.newbyteorder("<"))
        return {"kind": "array", "dtype": _code(little.dtype)}, little.tobytes(), b""
    if pd.api.types.is_extension_array_dtype(dtype) and getattr(dtype, "kind", "O") in "iufb":
        gone = values.isna().to_numpy()
        numpy_dtype = np.dtype(str(dtype.numpy_dtype))  # type: ignore[union-attr]  # nullable dtypes have one
        plain = values.to_numpy(dtype=numpy_dtype, na_value=0)
        described = {"dtype": _code(plain.dtype), "pandas": str(dtype)}
        return {"kind": "masked", **described}, plain.tobytes(), gone.tobytes()
    return {"kind": "json"}, json.dumps(_plain(name, values)).encode(), b""


def _code(dtype: Any) -> str:
    return f"<{dtype.kind}{dtype.itemsize}"


def _plain(name: str, values: "pd.Series[Any]") -> list[Any]:
    import pandas as pd

    found: list[Any] = []
    for value in values.tolist():
        if isinstance(value, str | bool | int) or (isinstance(value, float) and value == value):  # noqa: PLR0124 - NaN differs from itself
            found.append(value)
        elif not isinstance(value, list | dict | tuple | set) and pd.isna(value):
            found.append(None)
        else:
            found.append(_text(name, value))
    return found


def _text(name: str, value: object) -> str:
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise CannotLook(
        f"column {name!r} holds a {type(value).__name__}, which no model can be given",
        remedy="Store plain numbers, texts or dates, or add the column to `data.ignore`",
    )

"""Requests of the Open Inference Protocol as rows for a model, and its answers as responses.

Source: Open Inference Protocol, version 2, REST: https://github.com/kserve/open-inference-protocol
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from ci_mlops.serving.signature import Class, Column, Signature

Body = tuple[dict[str, Any], bytes]
CODES = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I"}
CODES |= {"u8": "Q", "f4": "f", "f8": "d"}
NOT_A_TIME = -(2**63)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WrongInput(Exception):  # noqa: N818 - the requester's, and an answer of its own
    """A request that no answer can be right for; its text is for whoever asked."""


def encode(signature: Signature, request: Any, *, max_rows: int) -> Body:
    """Return the rows of a request as header and body for the model. Raises WrongInput."""
    given = _by_name(request, signature)
    count = _count(given, signature, max_rows)
    described, parts = [], []
    for column in signature.columns:
        data, mask = FORMS[column.kind](column, given[column.name]["data"])
        described.append({**column.header(), "bytes": len(data), "mask": len(mask)})
        parts += [data, mask]
    return {"rows": count, "columns": described}, b"".join(parts)


def _by_name(request: Any, signature: Signature) -> dict[str, dict[str, Any]]:
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise WrongInput('the body has no list "inputs"')
    given: dict[str, dict[str, Any]] = {}
    for one in request["inputs"]:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise WrongInput('each of "inputs" needs a "name"')
        if one["name"] in given:
            raise WrongInput(f"input {one['name']!r} stands twice")
        if not isinstance(one.get("data"), list):
            raise WrongInput(f'input {one["name"]!r} has no list "data"')
        given[one["name"]] = one
    wanted = [column.name for column in signature.columns]
    for name in wanted:
        if name not in given:
            raise WrongInput(f"input {name!r} is missing; the model takes {', '.join(wanted)}")
    for name in given:
        if name not in wanted:
            raise WrongInput(f"input {name!r} is unknown; the model takes {', '.join(wanted)}")
    return given


def _count(given: dict[str, dict[str, Any]], signature: Signature, max_rows: int) -> int:
    first = signature.columns[0].name
    count = len(given[first]["data"])
    if not 1 <= count <= max_rows:
        raise WrongInput(f"{count} rows were given; 1 to {max_rows} are allowed")
    for column in signature.columns:
        one = given[column.name]
        if len(one["data"]) != count:
            raise WrongInput(
                f"input {column.name!r} has {len(one['data'])} values, and {first!r} has {count}"
            )
        if one.get("shape") not in ([count], [count, 1]):
            raise WrongInput(f"input {column.name!r} needs the shape [{count}] or [{count}, 1]")
        if one.get("datatype") != column.datatype:
            raise WrongInput(f"input {column.name!r} needs the datatype {column.datatype}")
    return count


# --- columns ------------------------------------------------------------------------------------


def _array(column: Column, data: Sequence[Any]) -> tuple[bytes, bytes]:
    gone = math.nan if column.dtype[1] == "f" else None
    return _packed(column, [_number(column, one, gone) for one in data]), b""


def _masked(column: Column, data: Sequence[Any]) -> tuple[bytes, bytes]:
    values = [0 if one is None else _number(column, one, None) for one in data]
    if not column.nulls and None in data:
        raise _null(column)
    return _packed(column, values), bytes(one is None for one in data)


def _category(column: Column, data: Sequence[Any]) -> tuple[bytes, bytes]:
    codes = {_key(one): n for n, one in enumerate(column.categories)}
    found = []
    for one in data:
        if one is None and not column.nulls:
            raise _null(column)
        code = -1 if one is None else codes.get(_key(one))
        if code is None:
            raise WrongInput(
                f"input {column.name!r} holds a value that is none of its "
                f"{len(column.categories)} categories"
            )
        found.append(code)
    return struct.pack(f"<{len(found)}i", *found), b""


def _datetime(column: Column, data: Sequence[Any]) -> tuple[bytes, bytes]:
    return struct.pack(f"<{len(data)}q", *(_nanoseconds(column, one) for one in data)), b""


def _json(column: Column, data: Sequence[Any]) -> tuple[bytes, bytes]:
    for one in data:
        if one is None and not column.nulls:
            raise _null(column)
        if isinstance(one, list | dict):
            raise WrongInput(f"input {column.name!r} holds a list or an object")
    return json.dumps(data).encode(), b""


FORMS: dict[str, Callable[[Column, Sequence[Any]], tuple[bytes, bytes]]] = {
    "array": _array,
    "masked": _masked,
    "category": _category,
    "datetime": _datetime,
    "json": _json,
}


def _number(column: Column, value: Any, gone: float | None) -> Any:
    kind = column.dtype[1]
    if value is None:
        if gone is None or not column.nulls:
            raise _null(column)
        return gone
    if kind == "b":
        if not isinstance(value, bool):
            raise WrongInput(f"input {column.name!r} needs true or false")
        return value
    right = int if kind in "iu" else (int, float)
    if isinstance(value, bool) or not isinstance(value, right):
        what = "whole numbers" if kind in "iu" else "numbers"
        raise WrongInput(f"input {column.name!r} needs {what}")
    return value


def _packed(column: Column, values: Sequence[Any]) -> bytes:
    try:
        return struct.pack(f"<{len(values)}{CODES[column.dtype[1:]]}", *values)
    except (struct.error, OverflowError) as fault:
        raise WrongInput(
            f"input {column.name!r} holds a number that {column.datatype} cannot"
        ) from fault


def _nanoseconds(column: Column, value: Any) -> int:
    if value is None:
        if not column.nulls:
            raise _null(column)
        return NOT_A_TIME
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError) as fault:
        raise WrongInput(
            f"input {column.name!r} needs times such as 2026-11-23T10:30:00"
        ) from fault
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _null(column: Column) -> WrongInput:
    return WrongInput(f"input {column.name!r} may not be null")


def _key(value: Any) -> tuple[bool, Any]:
    return isinstance(value, bool), value


# --- answers ------------------------------------------------------------------------------------


def outputs(signature: Signature, header: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    """Return the outputs of a response: `probabilities` (n, k), and what is `predicted` (n,).

    `header` and `body` are the model's answer. Raises ValueError where it is none for this
    signature, such as a probability that is not a number.
    """
    if header["kind"] == "labels":
        return [_output("predicted", signature, json.loads(body))]
    numbers = struct.unpack(f"<{len(body) // 8}d", body)
    if not all(map(math.isfinite, numbers)):
        raise ValueError("the model answered NaN or infinity")
    if signature.task == "regression":
        return [_output("predicted", signature, list(numbers))]
    if header["kind"] == "vector" and not signature.scores:
        return [_output("predicted", signature, list(numbers))]
    width = header.get("width", 1)
    rows = [list(numbers[start : start + width]) for start in range(0, len(numbers), width)]
    scores = _sorted(signature, rows, header.get("classes"))
    shape = [len(scores), len(signature.classes)]
    flat = [value for row in scores for value in row]
    found: dict[str, Any] = {
        "name": "probabilities",
        "shape": shape,
        "datatype": "FP64",
        "data": flat,
    }
    found["parameters"] = {"classes": json.dumps(list(signature.classes))}
    return [found, _output("predicted", signature, [_decided(signature, row) for row in scores])]


def _sorted(
    signature: Signature, rows: list[list[float]], told: Sequence[Any] | None
) -> list[list[float]]:
    """Return scores in the order of the signature's classes."""
    classes = signature.classes
    if rows and len(rows[0]) == 1 and len(classes) == 2:
        rows, told = [[1 - row[0], row[0]] for row in rows], None
    if rows and len(rows[0]) != len(classes):
        raise ValueError(f"the model answered {len(rows[0])} scores for {len(classes)} classes")
    if not told:
        return rows
    texts = [_text(one) for one in told]
    order = [texts.index(_text(one)) for one in classes]
    return rows if order == sorted(order) else [[row[n] for n in order] for row in rows]


def _decided(signature: Signature, row: Sequence[float]) -> Class:
    if signature.task == "binary" and signature.positive is not None:
        reached = row[signature.positive] >= signature.threshold
        return signature.classes[signature.positive if reached else 1 - signature.positive]
    return signature.classes[max(range(len(row)), key=row.__getitem__)]


def _output(name: str, signature: Signature, values: list[Any]) -> dict[str, Any]:
    if signature.task != "regression":
        own = {_text(one): one for one in signature.classes}
        values = [own.get(_text(one), one) for one in values]
    return {"name": name, "shape": [len(values)], "datatype": datatype(values), "data": values}


def datatype(values: Sequence[Any]) -> str:
    """Return the protocol's name for the kind of some classes or values."""
    if all(isinstance(one, bool) for one in values):
        return "BOOL"
    if all(isinstance(one, int) for one in values):
        return "INT64"
    return "FP64" if all(isinstance(one, int | float) for one in values) else "BYTES"


def _text(value: Any) -> str:
    """A class as text, the same for 1, 1.0 and True."""
    if isinstance(value, bool):
        value = int(value)
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)

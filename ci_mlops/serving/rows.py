"""Requests of the Open Inference Protocol as rows for a model, and its answers as responses.

Source: Open Inference Protocol, version 2, REST: https://github.com/kserve/open-inference-protocol
"""

import json
import math
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from ci_mlops.serving.signature import Class, Column, Datatype, Signature

REPLAYED = "x-ci-mlops-replayed"
"""The header of a request that asks what was judged already, for nobody."""

Body = tuple[dict[str, Any], bytes]
CODES = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I"}
CODES |= {"u8": "Q", "f4": "f", "f8": "d"}
DATATYPES = frozenset(get_args(Datatype)) | {"FP16"}
"""What an input may say that it is; whether its values are right is looked at by the column."""
JSON = (str, int, float, bool)
PLAIN: dict[str, set[type]] = {"f": {float, int}, "i": {int}, "u": {int}, "b": {bool}}
"""By the kind of a column: what needs no second look at each value."""
PREDICTIONS, PROBABILITIES = "predict", "predict_proba"
"""Names of the outputs, as servers of scikit-learn models have them."""
NOT_A_TIME = -(2**63)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WrongInput(Exception):  # noqa: N818 - the requester's, and an answer of its own
    """A request that no answer can be right for; its text is for whoever asked."""


def encode(signature: Signature, given: Mapping[str, list[Any]], *, max_rows: int) -> Body:
    """Return the values of a request as header and body for the model. Raises WrongInput."""
    count = _count(given, signature, max_rows)
    described, parts = [], []
    for column in signature.columns:
        data, mask = FORMS[column.kind](column, given[column.name])
        described.append({**column.header, "bytes": len(data), "mask": len(mask)})
        parts += [data, mask]
    return {"rows": count, "columns": described}, b"".join(parts)


def asked(request: Any, names: Collection[str]) -> frozenset[str]:
    """Return the outputs that a request asks for; all of `names` where it asks for none.

    Raises WrongInput for one that the model does not answer.
    """
    listed = request.get("outputs") or []
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise WrongInput('"outputs" is no list of objects with a "name"')
    wanted = frozenset(str(one.get("name")) for one in listed)
    unknown = sorted(wanted - set(names))
    if unknown:
        raise WrongInput(f"output {unknown[0]!r} is unknown; the model answers {_listed(names)}")
    return wanted or frozenset(names)


def values(signature: Signature, request: Any) -> dict[str, list[Any]]:
    """Return the n values of each column as they were sent. Raises WrongInput."""
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise WrongInput('the body has no list "inputs"')
    wanted = [column.name for column in signature.columns]
    given: dict[str, list[Any]] = {}
    for one in request["inputs"]:
        name, shape, data = _tensor(one)
        if len(request["inputs"]) == 1 and len(wanted) > 1 and shape[1:] == [len(wanted)]:
            return {column: data[n :: len(wanted)] for n, column in enumerate(wanted)}
        if name in given:
            raise WrongInput(f"input {name!r} stands twice")
        if shape[1:] not in ([], [1]):
            raise WrongInput(f"input {name!r} needs the shape [{shape[0]}] or [{shape[0]}, 1]")
        given[name] = data
    for name in wanted:
        if name not in given:
            raise WrongInput(f"input {name!r} is missing; the model takes {_listed(wanted)}")
    for name in given:
        if name not in wanted:
            raise WrongInput(f"input {name[:100]!r} is unknown; the model takes {_listed(wanted)}")
    return given


def outside(signature: Signature, given: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the values that the data contract does not allow, by column; they can be encoded."""
    by_column = {column.name: column.outside(given[column.name]) for column in signature.ruled}
    return {name: values for name, values in by_column.items() if values}


def refusal(signature: Signature, found: Mapping[str, list[Any]]) -> WrongInput:
    """Return what is said of the first of the values that the data contract does not allow."""
    column = next(one for one in signature.ruled if one.name in found)
    shown = json.dumps(found[column.name][0])[:100]
    if column.hidden:
        return WrongInput(f"input {column.name!r} is {shown}; the data contract does not allow it")
    allowed = []
    if column.range is not None:
        allowed.append(" to ".join(_figure(one) for one in column.range))
    if column.known is not None:
        allowed.append(_listed(column.known) if column.known else "nothing")
    text = " of ".join(allowed)
    return WrongInput(f"input {column.name!r} is {shown}; the data contract allows {text}")


def _figure(number: float) -> str:
    return str(int(number) if number == int(number) else number)


def _tensor(one: Any) -> tuple[str, list[int], list[Any]]:
    """Return name, shape and flat values of an input, of any datatype that the protocol has."""
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        raise WrongInput('each of "inputs" needs a "name"')
    name, shape, data = one["name"], one.get("shape"), one.get("data")
    if not isinstance(data, list):
        raise WrongInput(f'input {name[:100]!r} has no list "data"')
    if data and isinstance(data[0], list):
        if not all(isinstance(row, list) for row in data):
            raise WrongInput(f"input {name[:100]!r} mixes lists and values")
        data = [value for row in data for value in row]
    if one.get("datatype") not in DATATYPES:
        raise WrongInput(f"input {name[:100]!r} needs a datatype, such as FP64")
    if not isinstance(shape, list) or not shape or any(type(n) is not int or n < 0 for n in shape):
        raise WrongInput(f"input {name[:100]!r} needs a shape of whole numbers, such as [1]")
    if len(data) != math.prod(shape):
        raise WrongInput(f"input {name[:100]!r} has {len(data)} values for the shape {shape}")
    return name, shape, data


def _count(given: Mapping[str, list[Any]], signature: Signature, max_rows: int) -> int:
    first = signature.columns[0].name
    count = len(given[first])
    if not 1 <= count <= max_rows:
        raise WrongInput(f"{count} rows were given; 1 to {max_rows} are allowed")
    for name, data in given.items():
        if len(data) != count:
            raise WrongInput(f"input {name!r} has {len(data)} values, and {first!r} has {count}")
    return count


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


# --- columns ------------------------------------------------------------------------------------


def _array(column: Column, data: Sequence[Any]) -> tuple[bytes, bytes]:
    gone = math.nan if column.dtype[1] == "f" else None
    if set(map(type, data)) <= PLAIN[column.dtype[1]]:
        return _packed(column, data), b""
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
        code = -1 if one is None else codes.get(_key(one)) if isinstance(one, JSON) else None
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
        if one is not None and not isinstance(one, str if column.texts else JSON):
            what = "texts" if column.texts else "texts or numbers"
            raise WrongInput(f"input {column.name!r} needs {what}")
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
    if kind in "iu" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, right):
        what = "whole numbers" if kind in "iu" else "numbers"
        raise WrongInput(f"input {column.name!r} needs {what}")
    return value


def _packed(column: Column, values: Sequence[Any]) -> bytes:
    try:
        if any(map(math.isinf, values)):  # 1e999 is JSON
            raise OverflowError
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
    """Return the outputs of a response: `predict_proba` (n, k), and `predict` (n,).

    `header` and `body` are the model's answer. Raises ValueError where it is none for this
    signature, such as a probability that is not a number.
    """
    if header["kind"] == "labels":
        return [_output(PREDICTIONS, signature, json.loads(body))]
    numbers = struct.unpack(f"<{len(body) // 8}d", body)
    if not all(map(math.isfinite, numbers)):
        raise ValueError("the model answered NaN or infinity")
    if signature.task == "regression":
        return [_output(PREDICTIONS, signature, list(numbers))]
    if header["kind"] == "vector" and not signature.scores:
        return [_output(PREDICTIONS, signature, list(numbers))]
    width = header.get("width", 1)
    rows = [list(numbers[start : start + width]) for start in range(0, len(numbers), width)]
    scores = _sorted(signature, rows, header.get("classes"))
    shape = [len(scores), len(signature.classes)]
    flat = [value for row in scores for value in row]
    found: dict[str, Any] = {
        "name": PROBABILITIES,
        "shape": shape,
        "datatype": "FP64",
        "data": flat,
    }
    found["parameters"] = {"classes": json.dumps(list(signature.classes))}
    return [found, _output(PREDICTIONS, signature, [_decided(signature, row) for row in scores])]


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


def described(signature: Signature) -> list[dict[str, Any]]:
    """Describe the outputs, as metadata does; -1 stands for the number of rows."""
    labels = datatype(signature.classes) if signature.classes else "FP64"
    found: list[dict[str, Any]] = [{"name": PREDICTIONS, "datatype": labels, "shape": [-1]}]
    if signature.classes and signature.scores:
        shape = [-1, len(signature.classes)]
        found.insert(0, {"name": PROBABILITIES, "datatype": "FP64", "shape": shape})
    return found


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

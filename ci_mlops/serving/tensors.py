"""An Open Inference request checked against the signature, and made into rows for the model."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import chain
from typing import Any

from ci_mlops.model import host
from ci_mlops.serving.served import Column, Served

WHOLE = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
DATATYPES = WHOLE | {"BOOL", "BYTES", "FP16", "FP32", "FP64"}
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what pandas counts from, without a zone
NOT_A_TIME = -(2**63)
NUMBER = frozenset((int, float))


class Refused(Exception):  # noqa: N818 - the request is at fault, the server is not
    """A request that cannot be answered: its status and one line with fault and remedy."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for n rows, checked."""

    id: str | None
    rows: host.Rows
    values: Mapping[str, Sequence[Any]]
    """The n values of each column as they were sent."""
    outputs: frozenset[str] | None
    """The outputs that are asked for; None for all."""


def parse(body: bytes, served: Served, outputs: frozenset[str]) -> Request:
    """Check a request's body. Raises Refused, naming the column and the remedy."""
    document = _document(body)
    tensors = _tensors(document)
    by_name = _by_column(tensors, served)
    count = _count(by_name, served)
    columns = _floats(served, by_name) or [
        (one.name, _column(one, by_name[one.name])) for one in served.columns
    ]
    given = document.get("id")
    return Request(
        id=given if isinstance(given, str) else None,
        rows=host.Rows(columns, count),
        values=by_name,
        outputs=_asked(document, outputs),
    )


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as fault:
        said = str(fault)[:200]
        raise Refused(f"the body is not JSON ({said}); send an Open Inference request") from fault
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise Refused('the body has no list "inputs"; send one tensor for each column')
    return document


def _refuse_constant(token: str) -> float:
    raise ValueError(f"{token} is not JSON, write null for a missing value")


def _tensors(document: Mapping[str, Any]) -> list[tuple[str, list[int], list[Any]]]:
    found = []
    for number, tensor in enumerate(document["inputs"]):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise Refused(f'input {number} has no "name"')
        name, shape, data = tensor["name"], tensor.get("shape"), tensor.get("data")
        if tensor.get("datatype") not in DATATYPES:
            shown = str(tensor.get("datatype"))[:40]
            raise Refused(f'input {name[:100]!r} has the datatype "{shown}"; name one, like FP64')
        if not isinstance(shape, list) or any(type(one) is not int or one < 0 for one in shape):
            raise Refused(f"input {name[:100]!r} has no shape of whole numbers, such as [1]")
        if not isinstance(data, list):
            raise Refused(f'input {name[:100]!r} has no list "data"')
        if data and type(data[0]) is list:
            data = _flat(name, data)
        if len(data) != math.prod(shape):
            raise Refused(f"input {name[:100]!r} has {len(data)} values for the shape {shape}")
        found.append((name, shape, data))
    return found


def _flat(name: str, data: list[Any]) -> list[Any]:
    if any(type(row) is not list for row in data):
        raise Refused(f"input {name[:100]!r} mixes lists and values")
    return [value for row in data for value in row]


def _by_column(
    tensors: list[tuple[str, list[int], list[Any]]], served: Served
) -> dict[str, list[Any]]:
    """Return the values of each column: one tensor each, or one matrix of them all in order."""
    width = len(served.columns)
    if len(tensors) == 1 and len(tensors[0][1]) == 2 and tensors[0][1][1] == width:
        data = tensors[0][2]
        return {one.name: data[n::width] for n, one in enumerate(served.columns)}
    found: dict[str, list[Any]] = {}
    for name, shape, data in tensors:
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1) or not shape:
            raise Refused(
                f"input {name[:100]!r} has the shape {shape}; send [rows] for each column, "
                f"or one matrix of [rows, {width}]"
            )
        if name in found:
            raise Refused(f"column {name[:100]!r} stands twice")
        found[name] = data
    known = [one.name for one in served.columns]
    missing = [name for name in known if name not in found]
    unknown = [name for name in found if name not in known]
    if unknown:
        close = get_close_matches(unknown[0], missing or known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"the model takes {_listed(known)}"
        raise Refused(f"column {unknown[0][:100]!r} is not known; {remedy}")
    if missing:
        raise Refused(f"column {missing[0]!r} is missing; the model takes {_listed(known)}")
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _count(by_name: Mapping[str, list[Any]], served: Served) -> int:
    first = served.columns[0].name
    count = len(by_name[first])
    for name, values in by_name.items():
        if len(values) != count:
            raise Refused(
                f"column {name!r} has {len(values)} rows, but {first!r} has {count}; "
                "send as many values for each column"
            )
    if count == 0:
        raise Refused("the request has no rows; send at least one")
    if count > served.limits.rows:
        limit = served.limits.rows
        raise Refused(f"{count} rows are more than {limit}; send them in several requests", 413)
    return count


def _asked(document: Mapping[str, Any], outputs: frozenset[str]) -> frozenset[str] | None:
    asked = document.get("outputs")
    if not asked:
        return None
    if not isinstance(asked, list) or any(not isinstance(one, dict) for one in asked):
        raise Refused('"outputs" is not a list of names')
    names = frozenset(str(one.get("name")) for one in asked)
    unknown = sorted(names - outputs)
    if unknown:
        known = ", ".join(sorted(outputs))
        raise Refused(f"output {unknown[0][:100]!r} is not known; the model answers {known}")
    return names


# --- columns ------------------------------------------------------------------------------------


def _floats(served: Served, by_name: Mapping[str, list[Any]]) -> list[tuple[str, Any]] | None:
    """Return all columns at once where they are sound floats; None where each needs a look."""
    numpy = host._optional("numpy")  # noqa: SLF001 - the host's own question
    dtypes = {
        one.wire.get("dtype") if one.wire["kind"] == "array" else None for one in served.columns
    }
    if numpy is None or not dtypes <= {"<f8"}:
        return None
    values = [by_name[one.name] for one in served.columns]
    if not set(map(type, chain.from_iterable(values))) <= NUMBER:
        return None
    try:
        block = numpy.array(values, dtype="<f8")
    except OverflowError:
        return None
    if not numpy.isfinite(block).all():
        return None
    return [(one.name, row) for one, row in zip(served.columns, block, strict=True)]


def _column(column: Column, values: list[Any]) -> Any:
    """Return the values in the form in which the gate's own run gave them to the model."""
    kinds = set(map(type, values))
    if type(None) in kinds and not column.nullable:
        row = next(n for n, value in enumerate(values) if value is None)
        raise Refused(
            f"column {column.name!r} misses its value in row {row}, which the recorded data "
            "never does; send a value"
        )
    kind = column.wire["kind"]
    made = {
        "array": _numbers,
        "masked": _masked,
        "category": _category,
        "datetime": _moments,
        "json": _texts,
    }[kind]
    return made(column, values, kinds - {type(None)})


def _numbers(column: Column, values: list[Any], kinds: set[type]) -> Any:
    dtype = column.wire["dtype"]
    if dtype[1] == "f":
        _only(column, values, kinds, NUMBER, "numbers")
        values = _finite(column, values)
    elif dtype[1] == "b":
        _only(column, values, kinds, {bool}, "true or false")
    else:
        values = _whole(column, values, kinds)
    return _array(column, values)


def _array(column: Column, values: list[Any]) -> Any:
    """Return values as an array where the model's environment has numpy, else as they are."""
    numpy = host._optional("numpy")  # noqa: SLF001 - the host's own question
    if numpy is None:
        return values
    dtype: str = column.wire["dtype"]
    try:
        return numpy.array(values, dtype=dtype)
    except OverflowError as fault:
        bits = 8 * int(dtype[2:])
        raise Refused(f"column {column.name!r} has a number beyond {bits} bits") from fault


def _finite(column: Column, values: list[Any]) -> list[Any]:
    held = [one for one in values if one is not None]
    try:
        fine = math.isfinite(math.fsum(held))
    except OverflowError:
        fine = False
    if not fine and any(abs(one) > 1.7976931348623157e308 for one in held):
        raise Refused(f"column {column.name!r} has a number that is not finite; send null")
    return values if len(held) == len(values) else [_or_nan(one) for one in values]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _whole(column: Column, values: list[Any], kinds: set[type]) -> list[Any]:
    _only(column, values, kinds, NUMBER, "whole numbers")
    if float not in kinds:
        return values
    odd = next((one for one in values if type(one) is float and not one.is_integer()), None)
    if odd is not None:
        raise Refused(f"column {column.name!r} takes whole numbers ({column.datatype}), not {odd}")
    return [None if one is None else int(one) for one in values]


def _masked(column: Column, values: list[Any], kinds: set[type]) -> Any:
    gone = [one is None for one in values]
    plain = column.model_copy(update={"wire": {"kind": "array", "dtype": column.wire["dtype"]}})
    filled = _numbers(plain, [0 if one is None else one for one in values], kinds)
    return ("masked", column.wire["pandas"], filled, gone)


def _category(column: Column, values: list[Any], kinds: set[type]) -> Any:
    del kinds
    categories = column.wire["categories"]
    codes = {(type(one), one): code for code, one in enumerate(categories)}
    found = [-1 if one is None else codes.get((type(one), one)) for one in values]
    if None in found:
        odd = values[found.index(None)]
        known = _listed([str(one) for one in categories])
        raise Refused(f"column {column.name!r} holds {_shown(odd)}; it may be one of {known}")
    return ("category", _array(column, found), categories, column.wire["ordered"])


def _moments(column: Column, values: list[Any], kinds: set[type]) -> Any:
    _only(column, values, kinds, {str}, "ISO 8601 times")
    found = []
    for value in values:
        try:
            found.append(NOT_A_TIME if value is None else _nanoseconds(value))
        except ValueError as fault:
            raise Refused(
                f"column {column.name!r} takes ISO 8601 times, not {_shown(value)}"
            ) from fault
    return ("datetime", _array(column, found), column.wire["unit"])


def _nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return 1000 * ((moment - EPOCH) // timedelta(microseconds=1))


def _texts(column: Column, values: list[Any], kinds: set[type]) -> Any:
    allowed = (str,) if column.texts else (str, int, float, bool)
    _only(column, values, kinds, allowed, "texts" if column.texts else "texts or numbers")
    return values


def _only(
    column: Column,
    values: list[Any],
    kinds: set[type],
    allowed: Collection[type],
    what: str,
) -> None:
    if kinds.issubset(allowed):
        return
    row, odd = next(
        (n, one) for n, one in enumerate(values) if one is not None and type(one) not in allowed
    )
    raise Refused(
        f"column {column.name!r} takes {what} ({column.datatype}), not {_shown(odd)} in row {row}"
    )


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""A model's answer as Open Inference outputs: predictions, and probabilities where it has them."""

import math
from collections.abc import Sequence
from typing import Any

from ci_mlops.model import host
from ci_mlops.serving.served import Label, Served

PREDICTIONS, PROBABILITIES = "predict", "predict_proba"


class Unsound(Exception):  # noqa: N818 - the model is at fault, the server is not
    """The model answered something that cannot be passed on."""


def names(served: Served) -> frozenset[str]:
    """The names of the outputs."""
    return frozenset((PREDICTIONS, PROBABILITIES) if served.scores else (PREDICTIONS,))


def metadata(served: Served) -> list[dict[str, Any]]:
    """Describe the outputs; -1 stands for the number of rows."""
    found: list[dict[str, Any]] = [
        {"name": PREDICTIONS, "datatype": served.label_datatype(), "shape": [-1]}
    ]
    if served.scores:
        shape = [-1, len(served.classes)]
        parameters = {"classes": list(served.classes)}
        found.append(
            {"name": PROBABILITIES, "datatype": "FP64", "shape": shape, "parameters": parameters}
        )
    return found


def outputs(
    answer: Any, count: int, served: Served, told: Sequence[object] | None
) -> list[dict[str, Any]]:
    """Return the outputs for n rows; `told` are the classes in the order of the model's scores.

    Raises Unsound when the answer is not of the kind that the gate saw.
    """
    kind, found = host.listed(answer, count)
    if not served.scores:
        flat = [row[0] for row in found] if kind == "matrix" and len(found[0]) == 1 else found
        labels = flat if served.classes == () else [_known(one, served) for one in flat]
        return [_labels(_checked(labels, served), served)]
    if kind == "vector":
        found, told = [[1 - one, one] for one in found], None
    elif kind == "matrix" and len(found[0]) == 1:
        found, told = [[1 - row[0], row[0]] for row in found], None
    if kind == "labels" or len(found[0]) != len(served.classes):
        raise Unsound("the model answered no probability for each class")
    order = _order(served.classes, told)
    rows = found if order is None else [[row[n] for n in order] for row in found]
    flat = [value for row in rows for value in row]
    if not all(math.isfinite(one) for one in flat):
        raise Unsound("the model answered NaN or infinity")
    shape = [count, len(served.classes)]
    return [
        _labels(_decided(rows, served), served),
        {"name": PROBABILITIES, "datatype": "FP64", "shape": shape, "data": flat},
    ]


def _checked(labels: list[Any], served: Served) -> list[Any]:
    if served.classes:
        return labels
    if any(type(one) not in {int, float} or not math.isfinite(one) for one in labels):
        raise Unsound("the model answered something else than one finite number a row")
    return [float(one) for one in labels]


def _labels(labels: list[Any], served: Served) -> dict[str, Any]:
    datatype = served.label_datatype()
    return {"name": PREDICTIONS, "datatype": datatype, "shape": [len(labels)], "data": labels}


def _decided(rows: list[list[float]], served: Served) -> list[Label]:
    classes = served.classes
    if served.task == "binary":
        column = classes.index(served.positive) if served.positive in classes else len(classes) - 1
        yes, no, limit = classes[column], classes[1 - column], served.threshold
        return [yes if row[column] >= limit else no for row in rows]
    return [classes[max(range(len(row)), key=row.__getitem__)] for row in rows]


def _order(classes: Sequence[Label], told: Sequence[object] | None) -> list[int] | None:
    if not told or list(told) == list(classes):
        return None
    spoken = [str(_plain(one)) for one in told]
    try:
        return [spoken.index(str(one)) for one in classes]
    except ValueError as fault:
        raise Unsound(f"the model's classes are {list(told)}, not {list(classes)}") from fault


def _known(value: object, served: Served) -> Label:
    plain = _plain(value)
    for one in served.classes:
        if plain == one or str(plain) == str(one):
            return one
    raise Unsound(f"the model answered the class {plain!r}, which is none of its classes")


def _plain(value: Any) -> Any:
    """Return a class as it is written: 1 for 1.0 and for True."""
    if isinstance(value, bool):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value

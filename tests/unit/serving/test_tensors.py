"""Requests that all columns of floats, or a matrix, make cheap; and what they must not let pass."""

import json

import pandas as pd
import pytest

from ci_mlops.serving import signature, tensors
from ci_mlops.serving.tensors import Refused
from tests.unit.serving.serving_models import served

FRAME = pd.DataFrame({"a": [1.5, 2.5], "b": [-1.0, 0.0]})
SERVED = served(columns=signature.columns(FRAME, ["a", "b"]))
NULLS = served(columns=signature.columns(FRAME, ["a", "b"], FRAME.assign(a=[float("nan"), 1.0])))
OUTPUTS = frozenset({"predict"})


def matrix(data: object, shape: tuple[int, ...] = (2, 2)) -> bytes:
    tensor = {"name": "rows", "datatype": "FP64", "shape": shape, "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.mark.parametrize("data", [[1.5, -1, 2.5, 0], [[1.5, -1], [2.5, 0]]])
def test_a_matrix_holds_the_columns_in_order(data: object) -> None:
    request = tensors.parse(matrix(data), SERVED, OUTPUTS)
    pd.testing.assert_frame_equal(request.rows.frame(), FRAME)
    assert request.values == {"a": [1.5, 2.5], "b": [-1, 0]}


def test_the_frame_is_that_of_the_gate() -> None:
    """One block of floats, laid in memory as pandas lays it: sums come out to the same bit."""
    body = json.dumps(signature.request(FRAME, SERVED.columns)).encode()
    found = tensors.parse(body, SERVED, OUTPUTS).rows.frame()
    assert found.to_numpy().flags.f_contiguous == FRAME.to_numpy().flags.f_contiguous


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([1.5, True, 2.5, 0], "column 'b' takes numbers (FP64), not true in row 0"),
        ([1.5, "1", 2.5, 0], "column 'b' takes numbers (FP64), not \"1\" in row 0"),
        ([1.5, None, 2.5, 0], "column 'b' misses its value in row 0"),
        ([1.5, 10**400, 2.5, 0], "column 'b' has a number that is not finite"),
    ],
)
def test_no_value_slips_through_where_all_are_taken_at_once(data: object, said: str) -> None:
    with pytest.raises(Refused) as told:
        tensors.parse(matrix(data), SERVED, OUTPUTS)
    assert said in str(told.value)


def test_an_infinity_in_disguise_is_refused() -> None:
    body = matrix([1.5, -1, 2.5, 0]).replace(b"2.5", b"1e999")
    with pytest.raises(Refused, match="column 'a' has a number that is not finite"):
        tensors.parse(body, SERVED, OUTPUTS)


def test_null_is_not_a_number_where_the_data_misses_some() -> None:
    frame = tensors.parse(matrix([None, -1, 2.5, 0]), NULLS, OUTPUTS).rows.frame()
    assert frame["a"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("shape", "data", "said"),
    [
        ((1, 3), [1, 2, 3], r"send \[rows\] for each column, or one matrix of \[rows, 2\]"),
        ((0, 2), [], "the request has no rows"),
        ((), [1], "has the shape"),
    ],
)
def test_another_shape_is_refused(shape: tuple[int, ...], data: object, said: str) -> None:
    with pytest.raises(Refused, match=said):
        tensors.parse(matrix(data, shape), SERVED, OUTPUTS)


def column(name: str, data: list[object]) -> dict[str, object]:
    return {"name": name, "datatype": "FP64", "shape": [len(data)], "data": data}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([column("a", [1]), column("b", [1, 2])], "column 'b' has 2 rows, but 'a' has 1"),
        ([column("a", [1]), column("a", [1])], "column 'a' stands twice"),
        ([column("a", [1])], "column 'b' is missing; the model takes a, b"),
        ([column("a", [1]), column("b", [1]), column("z", [1])], "column 'z' is not known"),
    ],
)
def test_columns_must_be_all_once_and_equally_long(inputs: object, said: str) -> None:
    with pytest.raises(Refused) as told:
        tensors.parse(json.dumps({"inputs": inputs}).encode(), SERVED, OUTPUTS)
    assert said in str(told.value)


def test_outputs_that_are_no_list_of_names_are_refused() -> None:
    body = json.loads(matrix([1.5, -1, 2.5, 0]))
    with pytest.raises(Refused, match="not a list of names"):
        tensors.parse(json.dumps({**body, "outputs": ["predict"]}).encode(), SERVED, OUTPUTS)

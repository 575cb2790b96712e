"""Requests become the very bytes that the gate gave the model; answers become its decisions."""

import json
import math
import struct
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops.bundling import as_json
from ci_mlops.model import wire
from ci_mlops.serving import rows
from ci_mlops.serving.rows import WrongInput
from ci_mlops.serving.signature import Column, Signature, column_of

WHOLE, BROKEN = (
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False) | st.just(math.nan),
)
MOMENTS = st.datetimes(
    min_value=pd.Timestamp("1700-01-01").to_pydatetime(),
    max_value=pd.Timestamp("2200-01-01").to_pydatetime(),
)


def frame_of(values: list[tuple[Any, ...]]) -> pd.DataFrame:
    whole, broken, yes, text, moment, maybe = zip(*values, strict=True)
    return pd.DataFrame(
        {
            "whole": pd.Series(whole, dtype="int64"),
            "broken": pd.Series(broken, dtype="float64"),
            "yes": pd.Series(yes, dtype="bool"),
            "text": pd.Series(text, dtype="object"),
            "kind": pd.Categorical(text, categories=["a", "b", "ü"]),
            "moment": pd.Series(moment, dtype="datetime64[ns]"),
            "maybe": pd.Series(maybe, dtype="Int64"),
        }
    )


def signature_of(frame: pd.DataFrame, *, nulls: bool = True) -> Signature:
    header, _ = wire.encode(frame)
    columns = tuple(
        column_of(one, nulls=nulls, texts=one["name"] == "text") for one in header["columns"]
    )
    return Signature(name="m", task="regression", columns=columns)


def request_of(frame: pd.DataFrame, signature: Signature) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": column.name,
                "shape": [len(frame)],
                "datatype": column.datatype,
                "data": [as_json(one) for one in frame[column.name].tolist()],
            }
            for column in signature.columns
        ]
    }


def encode(signature: Signature, request: Any, *, max_rows: int) -> rows.Body:
    return rows.encode(signature, rows.values(signature, request), max_rows=max_rows)


@given(
    st.lists(
        st.tuples(
            WHOLE,
            BROKEN,
            st.booleans(),
            st.sampled_from(["a", "b", "ü", None]),
            st.none() | MOMENTS,
            st.none() | st.integers(-(2**31), 2**31),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_request_is_what_the_gate_gave_the_model(values: list[tuple[Any, ...]]) -> None:
    frame = frame_of(values)
    signature = signature_of(frame)
    sent = json.loads(json.dumps(request_of(frame, signature)))
    header, body = encode(signature, sent, max_rows=10)
    told, expected = wire.encode(frame)
    assert header["rows"] == told["rows"]
    for one, other in zip(header["columns"], told["columns"], strict=True):
        assert {**one, "mask": one["mask"]} == {**one, **other}
    assert body == expected


ONE = Column(name="x", datatype="FP64", kind="array", dtype="<f8")
GIVEN = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.5]}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ([], 'no list "inputs"'),
        ({"inputs": [3]}, 'each of "inputs" needs a "name"'),
        ({"inputs": [GIVEN, GIVEN]}, "input 'x' stands twice"),
        ({"inputs": [{**GIVEN, "data": 1.5}]}, "input 'x' has no list \"data\""),
        ({"inputs": []}, "input 'x' is missing; the model takes x"),
        ({"inputs": [GIVEN, {**GIVEN, "name": "y"}]}, "input 'y' is unknown"),
        (
            {"inputs": [{**GIVEN, "shape": [0], "data": []}]},
            "0 rows were given; 1 to 2 are allowed",
        ),
        ({"inputs": [{**GIVEN, "shape": [3], "data": [1.0] * 3}]}, "3 rows were given"),
        ({"inputs": [{**GIVEN, "shape": [2]}]}, "input 'x' has 1 values for the shape [2]"),
        ({"inputs": [{**GIVEN, "shape": [1, 1, 1]}]}, "needs the shape [1] or [1, 1]"),
        ({"inputs": [{**GIVEN, "shape": [True]}]}, "needs a shape of whole numbers"),
        ({"inputs": [{**GIVEN, "shape": []}]}, "needs a shape of whole numbers"),
        ({"inputs": [{**GIVEN, "datatype": "FP65"}]}, "needs a datatype, such as FP64"),
        ({"inputs": [{**GIVEN, "shape": [2], "data": [[1.5], 2]}]}, "mixes lists and values"),
        ({"inputs": [{**GIVEN, "data": [1e999]}]}, "holds a number that FP64 cannot"),
        ({"inputs": [{**GIVEN, "data": [None]}]}, "input 'x' may not be null"),
        ({"inputs": [{**GIVEN, "data": ["1.5"]}]}, "input 'x' needs numbers"),
        ({"inputs": [{**GIVEN, "data": [True]}]}, "input 'x' needs numbers"),
        ({"inputs": [{**GIVEN, "data": [10**400]}]}, "holds a number that FP64 cannot"),
    ],
)
def test_what_is_wrong_is_said(request_: Any, words: str) -> None:
    signature = Signature(name="m", task="regression", columns=(ONE,))
    with pytest.raises(WrongInput) as caught:
        encode(signature, request_, max_rows=2)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("whole", 1.5, "needs whole numbers"),
        ("whole", 2**63, "INT64 cannot"),
        ("yes", 1, "needs true or false"),
        ("yes", None, "may not be null"),
        ("text", {"a": 1}, "needs texts"),
        ("text", 7, "needs texts"),
        ("text", None, "may not be null"),
        ("kind", "z", "none of its 3 categories"),
        ("kind", None, "may not be null"),
        ("moment", "noon", "needs times such as"),
        ("moment", None, "may not be null"),
        ("maybe", None, "may not be null"),
        ("maybe", "1", "needs whole numbers"),
    ],
)
def test_each_kind_of_column_refuses_what_is_none_of_its_own(
    column: str, value: Any, words: str
) -> None:
    frame = frame_of([(1, 1.5, True, "a", pd.Timestamp("2026-11-23"), 3)])
    signature = signature_of(frame, nulls=False)
    request_ = request_of(frame, signature)
    (one,) = [given for given in request_["inputs"] if given["name"] == column]
    one["data"] = [value]
    with pytest.raises(WrongInput, match=words) as caught:
        encode(signature, request_, max_rows=10)
    assert repr(column) in str(caught.value)


def test_clients_may_send_other_numbers_lists_in_lists_or_one_matrix() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    signature = signature_of(frame)
    expected = encode(signature, request_of(frame, signature), max_rows=2)
    matrix_ = {"name": "rows", "shape": [2, 2], "datatype": "FP32", "data": [[1.0, 3.0], [2.0, 4]]}
    assert encode(signature, {"inputs": [matrix_]}, max_rows=2) == expected
    nested = [
        {**one, "shape": [2, 1], "data": [[v] for v in one["data"]]}
        for one in request_of(frame, signature)["inputs"]
    ]
    assert encode(signature, {"inputs": nested}, max_rows=2) == expected


def test_columns_of_different_lengths_are_refused() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    request_ = request_of(frame, signature_of(frame))
    request_["inputs"][1] |= {"shape": [1], "data": [3]}
    with pytest.raises(WrongInput, match="input 'b' has 1 values, and 'a' has 2"):
        encode(signature_of(frame), request_, max_rows=9)


def test_some_outputs_may_be_asked_for() -> None:
    names = ["predict_proba", "predict"]
    assert rows.asked({}, names) == set(names)
    assert rows.asked({"outputs": [{"name": "predict"}]}, names) == {"predict"}
    with pytest.raises(
        WrongInput, match="output 'logits' is unknown; the model answers predict_proba"
    ):
        rows.asked({"outputs": [{"name": "logits"}]}, names)
    with pytest.raises(WrongInput, match="no list of objects"):
        rows.asked({"outputs": "predict"}, names)


# --- answers ------------------------------------------------------------------------------------

BINARY = Signature(
    name="m", task="binary", columns=(ONE,), classes=("no", "yes"), positive=1, threshold=0.8
)


def matrix(*values: float, width: int, classes: Any = None) -> tuple[dict[str, Any], bytes]:
    body = struct.pack(f"<{len(values)}d", *values)
    return {"kind": "matrix", "width": width, "classes": classes}, body


def data(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["name"]: one["data"] for one in outputs}


def test_the_threshold_decides() -> None:
    found = rows.outputs(BINARY, *matrix(0.3, 0.7, 0.2, 0.8, width=2, classes=["no", "yes"]))
    assert data(found) == {"predict_proba": [0.3, 0.7, 0.2, 0.8], "predict": ["no", "yes"]}
    assert found[0]["shape"] == [2, 2]
    assert found[0]["parameters"] == {"classes": '["no", "yes"]'}


def test_scores_come_in_the_order_of_the_sorted_classes() -> None:
    found = rows.outputs(BINARY, *matrix(0.9, 0.1, width=2, classes=["yes", "no"]))
    assert data(found) == {"predict_proba": [0.1, 0.9], "predict": ["yes"]}


def test_one_score_is_that_of_the_positive_class() -> None:
    body = struct.pack("<2d", 0.75, 0.9)
    found = rows.outputs(BINARY, {"kind": "vector"}, body)
    assert data(found) == {"predict_proba": [0.25, 0.75, 1 - 0.9, 0.9], "predict": ["no", "yes"]}


def test_several_classes_and_numbers_for_them() -> None:
    many = Signature(name="m", task="multiclass", columns=(ONE,), classes=(1, 2, 3))
    found = rows.outputs(many, *matrix(0.2, 0.5, 0.3, width=3, classes=[1.0, 2.0, 3.0]))
    assert data(found)["predict"] == [2]
    assert found[1]["datatype"] == "INT64"
    labels = many.model_copy(update={"scores": False})
    assert data(rows.outputs(labels, {"kind": "labels"}, b'["3", 1]')) == {"predict": [3, 1]}
    assert data(rows.outputs(labels, {"kind": "vector"}, struct.pack("<d", 2.0))) == {
        "predict": [2]
    }


def test_a_regression_answers_values() -> None:
    value = Signature(name="m", task="regression", columns=(ONE,))
    (found,) = rows.outputs(value, {"kind": "vector"}, struct.pack("<2d", 1.5, -2.0))
    assert (found["data"], found["datatype"], found["shape"]) == ([1.5, -2.0], "FP64", [2])


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_no_number_is_no_answer(odd: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        rows.outputs(BINARY, *matrix(odd, 0.5, width=2))


def test_scores_for_other_classes_are_no_answer() -> None:
    with pytest.raises(ValueError, match="3 scores for 2 classes"):
        rows.outputs(BINARY, *matrix(0.2, 0.5, 0.3, width=3))
    with pytest.raises(ValueError, match="'no' is not in list"):
        rows.outputs(BINARY, *matrix(0.5, 0.5, width=2, classes=["a", "b"]))


def refused(column: Column, value: Any) -> str:
    signature = Signature(name="m", task="regression", columns=(column,), out_of_contract="refuse")
    return str(rows.refusal(signature, rows.outside(signature, {"x": [value]})))


def test_a_refusal_says_what_is_allowed_in_figures_that_can_be_told_apart() -> None:
    ranged = ONE.model_copy(update={"range": (0.0, 1_234_567.0)})
    assert refused(ranged, 1_234_568) == (
        "input 'x' is 1234568; the data contract allows 0 to 1234567"
    )
    both = ONE.model_copy(update={"range": (0, 9.5), "known": ("1.0", "2.0", "12.0")})
    assert refused(both, 12).endswith("is 12; the data contract allows 0 to 9.5 of 1.0, 2.0, 12.0")
    assert refused(ONE.model_copy(update={"known": ()}), 1).endswith("allows nothing")
    hidden = ONE.model_copy(update={"range": (0, 1), "hidden": True})
    assert refused(hidden, 7) == "input 'x' is 7; the data contract does not allow it"


def test_a_list_is_no_category() -> None:
    column = Column(name="x", datatype="BYTES", kind="category", categories=("a",))
    signature = Signature(name="m", task="regression", columns=(column,))
    request = {"inputs": [{**GIVEN, "shape": [1, 1], "data": [[["a"]]]}]}
    with pytest.raises(WrongInput, match="none of its 1 categories"):
        encode(signature, request, max_rows=2)

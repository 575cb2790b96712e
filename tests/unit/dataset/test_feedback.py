"""Files of corrections: read strictly, each fault with its line."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from ci_mlops.dataset import feedback
from ci_mlops.dataset.domain import Domain, learn
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook

FRAME = pd.DataFrame(
    {
        "income": [1, 2, 3],
        "debt": [0.5, None, 2.0],
        "state": ["NY", "TX", "NY"],
        "rooms": pd.Categorical([1, 2, 1]),
        "owner": [True, False, True],
        "seen": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]),
        "told": [f"text {n}" for n in range(3)],
    }
)
HEADER = "income,debt,state,rooms,owner,seen,told,expected,tolerance,issue,reason\n"
GOOD = "1,,NY,1,true,2026-01-02,hello,yes,,12,a slip\n"


def domain() -> Domain:
    settings = DataSettings(test="t", label="y", categorical=("state", "rooms", "owner"))
    return learn([FRAME], FRAME.columns, settings, ranges={}, categories={})


def rows(text: str) -> list[dict[str, Any]]:
    return feedback.rows(feedback.parse(text.encode(), "f.csv"), domain())


def fault(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(CannotLook) as caught:
        feedback.rows(feedback.parse(data, "f.csv"), domain())
    return str(caught.value)


def test_cells_are_of_their_columns_kinds() -> None:
    (cells,) = rows(HEADER + GOOD)
    assert cells == {
        "income": 1,
        "debt": None,
        "state": "NY",
        "rooms": 1,
        "owner": True,
        "seen": pd.Timestamp("2026-01-02"),
        "told": "hello",
    }
    assert list(domain().frame({k: [v] for k, v in cells.items()}).dtypes.astype(str))[:2] == [
        "int64",
        "float64",
    ]


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("income", "3.0", 3),
        ("income", "2.5", 2.5),
        ("debt", "1e3", 1000.0),
        ("state", "ZZ", "ZZ"),
        ("rooms", "2.0", 2),
        ("rooms", "7", 7),
        ("owner", "False", False),
        ("seen", "2026-01-02T10:00:00+01:00", pd.Timestamp("2026-01-02T09:00:00")),
    ],
)
def test_a_value_may_be_written_in_several_ways(column: str, text: str, value: object) -> None:
    assert feedback.cell(domain().columns[column], text, "") == value


def test_times_with_a_zone_stay_in_it() -> None:
    frame = pd.DataFrame({"seen": pd.to_datetime(["2026-01-01"]).tz_localize("UTC")})
    (column,) = learn(
        [frame], ["seen"], DataSettings(test="t", label="y"), ranges={}, categories={}
    ).columns.values()
    for text in ("2026-01-02T09:00:00", "2026-01-02T10:00:00+01:00"):
        assert feedback.cell(column, text, "") == pd.Timestamp("2026-01-02T09:00:00Z")


def test_what_stands_beside_a_row_is_read_too() -> None:
    text = HEADER + "\n" + GOOD.replace("a slip", '"a\nslip"') + GOOD.replace("12", "#7")
    first, second = feedback.parse(f"\ufeff{text}".encode(), "f.csv").cases
    assert (first.issue, first.expected, first.reason, first.line) == (12, "yes", "a\nslip", 3)
    assert (second.issue, second.line, second.tolerance) == (7, 5, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.csv: is empty"),
        (b"income\n\xff", "f.csv:2: is not UTF-8"),
        (b"income\n\n\0", "f.csv:3: holds a NUL"),
        (HEADER + '"open', "f.csv:2: is no CSV"),
        ("a,a,expected,issue\n", "f.csv:1: has the column 'a' twice"),
        ("a,,expected,issue\n", "f.csv:1: has a column without a name"),
        ("a,expected\n", "f.csv:1: has no column 'issue'"),
        ("a,issue\n", "f.csv:1: has no column 'expected'"),
        (HEADER + "1,2\n", "f.csv:2: has 2 cells, and there are 11 columns"),
        (HEADER + GOOD.replace("hello", "x" * 20_001), "f.csv:2: has a cell of over 20000"),
        (HEADER + GOOD.replace("yes", " "), "f.csv:2: has no `expected`"),
        (HEADER + GOOD.replace(",12,", ",twelve,"), "f.csv:2: has no number of an issue"),
        (HEADER + GOOD.replace(",12,", ",0,"), "f.csv:2: has no number of an issue"),
        (HEADER + GOOD.replace("yes,,", "yes,-1,"), "f.csv:2: has a tolerance that is no number"),
        (HEADER + GOOD.replace("yes,,", "yes,nan,"), "f.csv:2: has a tolerance that is no number"),
        (HEADER.replace("debt,", ""), "f.csv:1: has no column 'debt', which the model takes"),
        (HEADER.replace("reason", "Reason"), 'does not take, did you mean "reason"?'),
        (HEADER.replace("reason", "age"), "f.csv:1: has the column 'age', which the model does"),
        (HEADER + GOOD.replace("1,,NY", "x,,NY"), "f.csv:2: column 'income' holds numbers"),
        (HEADER + GOOD.replace("1,,NY", "inf,,NY"), "column 'income' holds numbers"),
        (HEADER + GOOD.replace("1,,NY", "1e999,,NY"), "column 'income' holds numbers"),
        (HEADER + GOOD.replace("1,,NY", "1_0,,NY"), "column 'income' holds numbers"),
        (HEADER + GOOD.replace("NY,1,", "NY,two,"), "column 'rooms' holds values of another type"),
        (HEADER + GOOD.replace("true", "maybe"), "column 'owner' holds values of another type"),
        (HEADER + GOOD.replace("2026-01-02", "now"), "column 'seen' holds times such as"),
        (HEADER + GOOD + GOOD, "f.csv:3: repeats line 2. Keep one of them"),
        (HEADER + GOOD + GOOD.replace("yes", "no"), "f.csv:3: contradicts line 2. Keep one"),
    ],
)
def test_every_fault_has_its_line(text: str | bytes, said: str) -> None:
    assert said in fault(text)


def test_the_same_row_may_be_written_otherwise() -> None:
    other = GOOD.replace("1,,NY,1,true", "1.0,,NY,1.0,TRUE")
    assert "f.csv:3: repeats line 2" in fault(HEADER + GOOD + other)


def test_a_large_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "MAX_BYTES", 10)
    assert "f.csv: is larger than 10 bytes" in fault(HEADER)


@pytest.mark.parametrize(
    ("text", "value", "same"),
    [
        ("1", 1.0, True),
        ("1.0", 1, True),
        ("true", True, True),
        ("1", True, False),
        ("a", "b", False),
    ],
)
def test_classes_by_their_names(text: str, value: object, same: bool) -> None:
    assert feedback.is_class(text, value) is same


def case(**told: Any) -> feedback.Case:
    plain: Mapping[str, Any] = {"cells": {}, "expected": "yes", "issue": 1}
    return feedback.Case(**{**plain, **told})


def test_answers_are_of_the_models_kind() -> None:
    feedback.require_form(case(), "f.csv:2", regression=False)
    feedback.require_form(case(expected="1.5", tolerance=0.1), "f.csv:2", regression=True)
    with pytest.raises(CannotLook, match="f.csv:2: has a tolerance, and the model"):
        feedback.require_form(case(tolerance=0.1), "f.csv:2", regression=False)
    with pytest.raises(CannotLook, match="f.csv:2: expects something else than a number"):
        feedback.require_form(case(), "f.csv:2", regression=True)

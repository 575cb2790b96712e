"""Domains learned from references, and rows made of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ci_mlops.dataset.domain import MAX_VALUES, Domain, learn, plain
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook

SETTINGS = DataSettings(test="t", label="y")


def learned(frame: pd.DataFrame, **given: Any) -> Domain:
    return learn(
        [frame],
        [str(name) for name in frame],
        given.pop("settings", SETTINGS),
        ranges=given.get("ranges", {}),
        categories=given.get("categories", {}),
    )


def test_numbers_have_a_range_a_typical_value_and_nulls_where_seen() -> None:
    frame = pd.DataFrame({"whole": [1.0, 3.0, np.nan], "half": [0.5, 1.23456, 2.0]})
    whole, half = learned(frame).columns.values()
    assert (whole.low, whole.high, whole.whole, whole.nulls) == (1, 3, True, True)
    assert (half.whole, half.nulls, half.typical) == (False, False, 1.23)


def test_given_ranges_and_categories_stand_in_place_of_what_was_seen() -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "c": ["a", "a", "b"]})
    domain = learned(frame, ranges={"n": (1.5, 9.5)}, categories={"c": ("b", "z")})
    number, category = domain.columns.values()
    assert (number.low, number.high, number.values, number.typical) == (2, 9, (2, 3), 2)
    assert (category.values, category.typical) == (("b", "z"), "b")


def test_a_range_without_a_whole_number_is_one_of_any_numbers() -> None:
    column = learned(pd.DataFrame({"n": [1.0, 2.0]}), ranges={"n": (0.2, 0.8)}).columns["n"]
    assert (column.whole, column.low, column.high, column.typical) == (False, 0.2, 0.8, 0.8)


def test_a_column_is_learned_from_the_first_frame_that_holds_a_value_of_it() -> None:
    first = pd.DataFrame({"a": [np.nan], "b": [1]})
    second = pd.DataFrame({"a": [5.0], "b": [9]})
    domain = learn([first, second], ["a", "b"], SETTINGS, ranges={}, categories={})
    assert (domain.columns["a"].high, domain.columns["b"].high) == (5, 1)
    with pytest.raises(CannotLook, match=r"column 'aa' is not in the data.*did you mean \"a\""):
        learn([first, second], ["aa"], SETTINGS, ranges={}, categories={})
    with pytest.raises(CannotLook, match="has no value there"):
        learn([first], ["a"], SETTINGS, ranges={}, categories={})


def test_of_many_values_an_even_sample_is_remembered() -> None:
    column = learned(pd.DataFrame({"s": [f"{n:04}" for n in range(1000)]})).columns["s"]
    assert column.kind == "text"
    assert len(column.values) == MAX_VALUES
    assert (column.values[0], column.values[-1]) == ("0000", "0999")


def test_infinite_numbers_alone_have_no_range() -> None:
    column = learned(pd.DataFrame({"n": [np.inf, np.inf]})).columns["n"]
    assert (column.kind, column.values) == ("category", (np.inf,))


def test_what_lies_in_the_domain_is_told_from_what_does_not() -> None:
    frame = pd.DataFrame({"n": [1, 5], "c": ["a", "b"], "s": pd.to_datetime(["2020", "2021"])})
    domain = learned(frame)
    other = pd.DataFrame(
        {
            "n": [3, 6, 3, 3, None],
            "c": ["a", "a", "z", "b", "a"],
            "s": pd.to_datetime(["2030", "2020", "2020", "NaT", "2020"]),
        }
    )
    assert domain.inside(other).index.tolist() == [0]


KINDS = pd.DataFrame(
    {
        "int": [1, 2],
        "masked": pd.array([1, None], dtype="Int64"),
        "bool": [True, False],
        "category": pd.Categorical(["u", "v"], ordered=True),
        "time": pd.to_datetime(["2020-01-01", "2020-01-03"]),
        "zone": pd.to_datetime(["2020-01-01", "2020-01-03"], utc=True),
        "text": ["p", "q"],
    }
)


def test_cells_make_the_frame_that_they_came_from() -> None:
    domain = learned(KINDS)
    pd.testing.assert_frame_equal(domain.frame(domain.cells(KINDS)), KINDS)
    assert domain.columns["time"].typical == pd.Timestamp("2020-01-03")


def test_types_give_way_where_they_cannot_hold_a_cell() -> None:
    columns = learned(KINDS).columns
    assert columns["int"].series([1, None]).dtype == float
    assert columns["int"].series([1.5]).tolist() == [1.5]
    assert columns["bool"].series([True, None]).tolist() == [True, None]
    assert columns["category"].series(["new", "u", None]).astype(object).tolist()[:2] == [
        "new",
        "u",
    ]
    assert plain(columns["masked"].series([None, 3])) == [None, 3]

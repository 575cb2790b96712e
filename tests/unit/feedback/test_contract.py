"""A correction held to what the model takes and its data holds."""

from typing import Any

import pytest

from ci_mlops.errors import ConfigError
from tests.unit.feedback.situations import contract, given


def fault(*, regression: bool = False, **told: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        contract(regression=regression).case(given(**told), "issue 12")
    return str(caught.value)


def test_a_row_that_the_model_takes() -> None:
    case = contract().case(given(reason="the loan\nwas repaid", expected="yes"), "issue 12")
    assert list(case.cells) == ["income", "debt", "state", "race", "told"]
    assert (case.expected, case.issue, case.reason) == ("yes", 12, "the loan was repaid")
    assert contract().kept_back == ("income", "race")


def test_values_of_json_are_texts_of_a_file() -> None:
    features = {"income": 2000, "debt": None}
    case = contract().case(given(features=features), "issue 12")
    assert (case.cells["income"], case.cells["debt"]) == ("2000", "")


def test_a_value_of_a_regression() -> None:
    case = contract(regression=True).case(given(expected=1.5, tolerance=0.5), "issue 12")
    assert (case.expected, case.tolerance) == ("1.5", 0.5)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"features": {"sex": "female"}}, "column 'sex' is sensitive, and the model does not take"),
        ({"features": {"incme": "1"}}, "no column 'incme', did you mean \"income\"?"),
        ({"features": {"id": "7"}}, "the model takes no column 'id'"),
        ({"issue": None}, "--issue: there is no issue to credit"),
        ({"expected": ""}, "--expected: there is no right answer"),
        ({"expected": "maybe"}, "what is right is none of the model's answers (no, yes)"),
        ({"tolerance": 0.5}, "has a tolerance, and the model answers classes"),
        ({"features": {"debt": "much"}}, "column 'debt' holds numbers, and this is none"),
        ({"features": {"debt": "61"}}, "'debt' lies outside of the data's range of 0 to 60. If"),
        ({"features": {"income": "5001"}}, "'income' lies outside of the data's range. If that"),
        ({"features": {"state": "ZZ"}}, "'state' holds none of the data's categories (NY, TX)."),
        ({"features": {"race": "green"}}, "'race' holds none of the data's categories. If that"),
        ({"features": {"state": ""}}, "column 'state' is empty, and it never is in the data"),
        ({"features": {"told": "ask ann@mail.org"}}, "'told' seems to hold an e-mail address"),
        ({"features": {"told": "+49 30 901820"}}, "'told' seems to hold a phone number"),
        ({"reason": "ann@mail.org says so"}, "the reason seems to hold an e-mail address"),
        ({"reason": "=HYPERLINK(1)"}, "the reason is no plain words"),
        ({"reason": "a\u202eb"}, "the reason is no plain words"),
        ({"reason": "x" * 301}, "the reason is longer than 300 characters"),
    ],
)
def test_what_the_model_is_never_given_is_refused(told: dict[str, Any], said: str) -> None:
    assert said in fault(**told)


def test_a_value_of_a_sensitive_column_is_in_no_message() -> None:
    assert "green-71" not in fault(features={"race": "green-71"})
    assert "987654" not in fault(features={"income": "987654"})


def test_a_column_that_is_missing() -> None:
    told = given()
    features = {name: value for name, value in told.features.items() if name != "debt"}
    with pytest.raises(ConfigError, match="no value for column 'debt', which the model takes"):
        contract().case(told.model_copy(update={"features": features}), "x")


def test_a_regression_expects_a_number() -> None:
    assert "expects something else than a number" in fault(regression=True, expected="many")


def test_an_example_may_stand_for_a_person() -> None:
    told = {"told": "ask someone@example.org or 555-0123"}
    assert contract().case(given(features=told), "x").cells["told"] == told["told"]

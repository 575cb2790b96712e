"""The body of an issue: read strictly, whoever wrote it."""

import pytest

from ci_mlops.errors import ConfigError
from ci_mlops.feedback import form
from tests.unit.feedback.situations import body


def fault(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        form.parse(text, "issue 12")
    return str(caught.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_form_that_was_filled_in(ending: str) -> None:
    told = form.parse(body().replace("\n", ending), "issue 12")
    assert told.features == {"income": "5000", "debt": "", "state": "NY", "race": "white"}
    assert (told.expected, told.tolerance, told.prediction) == ("no", None, "")
    assert told.reason == "the loan was never repaid"


def test_fields_that_may_be_left_out() -> None:
    text = body(features=form.EMPTY, prediction="3f2a", tolerance="0.5", expected="40")
    told = form.parse(text, "issue 12")
    assert (told.features, told.prediction, told.tolerance) == ({}, "3f2a", 0.5)
    short = f"### {form.EXPECTED}\n\nno\n\n### {form.PERSONAL}\n\n- [x] yes\n"
    assert form.parse(short, "issue 12").expected == "no"


def test_features_need_no_fence_and_may_hold_signs() -> None:
    told = form.parse(body(features="told = a=b `c` $(id)\nincome=1"), "issue 12")
    assert told.features == {"told": "a=b `c` $(id)", "income": "1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not confirm the rules on personal data"),
        ("hello\n" + body(), "issue 12:1: does not begin with the form"),
        (body() + "### Free\n\nwords\n", "issue 12:31: has a heading that the form does not have"),
        (body() + f"### {form.EXPECTED}\n\nyes\n", "has the heading 'The right answer' twice"),
        (body(features=f"```text\n### {form.EXPECTED}\n\nyes\n```"), "in another order"),
        (body(reason=f"x\n### {form.EXPECTED}\n\nyes"), "'The right answer' twice"),
        (body(expected=form.EMPTY), "does not say what is right"),
        (body(tolerance="much"), "has a tolerance that is no number"),
        (body(tolerance="-1"), "has a tolerance below 0"),
        (body(personal="- [ ] Nothing names anybody."), "does not confirm"),
        (body(personal="- [x] Yes.\n- [ ] No."), "does not confirm"),
        (body(personal="[x]"), "does not confirm"),
        (
            body(features="income: 5000"),
            "line 1 of 'What the model was given' is no `name = value`",
        ),
        (body(features="= 5"), "is no `name = value`"),
        (body(features="a=1\na=2"), "gives 'a' twice"),
        (body(features="```text\na=1\n```\nb=2"), "is no `name = value`"),
        (body(features="\n".join(f"a{n}=1" for n in range(1001))), "more than 1000 features"),
        (body(reason="x" * 65_536), "is longer than 65536 characters"),
    ],
)
def test_anything_else_is_refused(text: str, said: str) -> None:
    assert said in fault(text)
    assert "@" not in fault(text)


def test_a_long_fence_takes_no_long_time() -> None:
    assert "is no `name = value`" in fault(body(features="`" * 30_000 + "\n" + "`" * 20_000))

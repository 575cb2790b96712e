"""The rules of risk: each one alone, and the worst of several."""

from dataclasses import replace

import pytest

from ci_mlops.dataset.change import Change, Column, Counts, Means, Moved
from ci_mlops.dataset.risk import LEVELS, Level, risk, worst

ROWS = Counts(base=1000, head=1000, added=0, removed=0, changed=0, key="id")
AGE = Column(name="age", cells_base="int", cells_head="int", hidden=False)
LABEL = Column(name="label", cells_base="int", cells_head="int", hidden=False)
MOVED = Moved(
    distance=0.0,
    chance=0.02,
    groups_base=2,
    groups_head=2,
    new=0,
    gone=0,
    most="1",
    share_base=0.5,
    share_head=0.5,
)
MEANS = Means(base=1.0, head=1.0, deviations=0.0, chance=0.1)


def change(rows: Counts = ROWS, *columns: Column, **more: object) -> Change:
    made = Change(
        name="train", state="changed", rows=rows, columns=columns or (AGE, LABEL), label="label"
    )
    return replace(made, **more)  # type: ignore[arg-type]  # fields of a Change


@pytest.mark.parametrize(
    ("given", "level", "said"),
    [
        (change(), "low", "changed little"),
        (change(replace(ROWS, added=500, head=1500)), "low", "changed little"),
        (change(ROWS, replace(AGE, cells_head="")), "high", "age is gone"),
        (change(ROWS, replace(AGE, cells_base="")), "medium", "age is new"),
        (change(ROWS, replace(AGE, cells_head="text")), "high", "held int and holds text"),
        (change(ROWS, replace(AGE, cells_head="float")), "low", "little"),
        (change(ROWS, replace(AGE, cells_head="empty")), "low", "little"),
        (change(ROWS, replace(AGE, missing_head=0.2)), "high", "20.0 % of column age is missing"),
        (change(ROWS, replace(AGE, missing_head=0.04)), "low", "little"),
        (change(ROWS, replace(AGE, widened=True)), "medium", "beyond its former range"),
        (change(ROWS, replace(AGE, moved=replace(MOVED, new=1))), "medium", "1 value that"),
        (change(ROWS, replace(AGE, moved=replace(MOVED, new=2))), "medium", "2 values that"),
        (change(replace(ROWS, removed=101)), "high", "101 of 1,000 rows are gone"),
        (change(replace(ROWS, removed=1)), "medium", "1 of 1,000 rows"),
        (change(replace(ROWS, changed=11)), "medium", "11 rows that stayed changed"),
        (change(replace(ROWS, changed=10)), "low", "little"),
        (change(replace(ROWS, repeated_head=3)), "high", "3 rows that it already named"),
        (change(replace(ROWS, repeated_base=3, repeated_head=3)), "low", "little"),
        (change(replace(ROWS, changed=None, head=800)), "high", "800 rows; 1,000 were before"),
        (change(replace(ROWS, changed=None, removed=20)), "medium", "gone or changed"),
        (change(replace(ROWS, changed=None, removed=5)), "low", "little"),
        (change(ROWS, replace(LABEL, changed=11)), "high", "11 rows that stayed have another"),
        (change(ROWS, replace(LABEL, changed=1)), "medium", "1 rows that stayed have another"),
        (change(ROWS, replace(LABEL, moved=replace(MOVED, distance=0.06))), "high", "6.0 points"),
        (change(ROWS, replace(LABEL, moved=replace(MOVED, distance=0.03))), "medium", "3.0 points"),
        (change(ROWS, replace(LABEL, moved=replace(MOVED, distance=0.01))), "low", "little"),
        (change(ROWS, replace(LABEL, means=replace(MEANS, deviations=-0.3))), "high", "-0.30"),
        (change(ROWS, replace(LABEL, means=replace(MEANS, deviations=0.2))), "medium", "+0.20"),
        (change(ROWS, replace(LABEL, means=replace(MEANS, deviations=0.05))), "low", "little"),
    ],
)
def test_each_rule(given: Change, level: Level, said: str) -> None:
    found = risk(given)
    assert found.level == level, found
    assert said in found.reasons[0]


@pytest.mark.parametrize(
    ("moved", "level", "said"),
    [
        (replace(MOVED, gone=1), "high", "A group of column sex left"),
        (replace(MOVED, gone=2), "high", "2 groups of column sex left"),
        (replace(MOVED, distance=0.03), "medium", "moved by 3.0 points"),
        (replace(MOVED, distance=0.015), "low", "little"),
    ],
)
def test_parts_of_the_data(moved: Moved, level: Level, said: str) -> None:
    sex = Column(name="sex", cells_base="text", cells_head="text", hidden=True, moved=moved)
    found = risk(change(ROWS, sex, LABEL, slices=("sex", "race")))
    assert found.level == level
    assert said in found.reasons[0]


@pytest.mark.parametrize(
    ("state", "level"),
    [("unchanged", "none"), ("unseen", "high"), ("gone", "high"), ("new", "medium")],
)
def test_what_was_not_compared(state: str, level: Level) -> None:
    found = risk(change(ROWS, state=state))
    assert found.level == level
    assert found.reasons


def test_the_worst_reason_stands_first() -> None:
    gone = replace(AGE, name="debt", cells_head="")
    found = risk(change(replace(ROWS, removed=1), replace(AGE, widened=True), gone))
    assert found.level == "high"
    assert len(found.reasons) == 3
    assert "debt is gone" in found.reasons[0]


def test_the_worst_of_several() -> None:
    assert worst([]) == "none"
    found = [risk(change()), risk(change(ROWS, state="unseen"))]
    assert worst(found) == "high"
    assert LEVELS.index("none") < LEVELS.index("low")

"""A change in words: one line, a table, and nothing of what is hidden."""

from dataclasses import replace

from ci_mlops.dataset.change import Change, Column, Counts, Means, Moved, Span
from ci_mlops.dataset.risk import Risk, risk
from ci_mlops.dataset.telling import headline, lines, plain, table

ROWS = Counts(base=1000, head=1200, added=300, removed=100, changed=7, key="id")
LABEL = Column(name="y", cells_base="float", cells_head="float", hidden=False)
CHANGE = Change(name="train", state="changed", rows=ROWS, columns=(LABEL,), label="y")


def said(change: Change) -> str:
    return "\n".join(lines(change, risk(change)))


def test_the_headline_of_each_state() -> None:
    same = replace(CHANGE, state="unchanged")
    assert headline(same, risk(same)) == "train: unchanged"
    assert (
        headline(replace(same, why="equal digests"), risk(same))
        == "train: unchanged (equal digests)"
    )
    gone = replace(CHANGE, state="gone", rows=None, columns=())
    assert headline(gone, risk(gone)) == "train: The data is gone."
    assert table(gone) is None
    away = replace(gone, state="unseen", why="fetch it")
    assert headline(away, risk(away)) == "train: fetch it"
    keyless = replace(CHANGE, rows=replace(ROWS, changed=None, key=None))
    assert "+300 −100 rows (no key: a changed row is one of each)" in headline(
        keyless, risk(keyless)
    )


def test_columns_that_came_went_and_changed_their_type() -> None:
    change = replace(
        CHANGE,
        columns=(
            replace(LABEL, name="new", cells_base=""),
            replace(LABEL, name="old", cells_head=""),
            replace(LABEL, name="typed", cells_head="text"),
        ),
        left_out=2,
    )
    text = said(change)
    assert "columns: 1 added, 1 removed, 1 of another type" in text
    assert "not looked at: 2 columns of `data.ignore`" in text
    assert "column typed: type" in text


def test_a_mean_and_a_range_are_told_and_hidden() -> None:
    means = Means(base=424242.0, head=434343.0, deviations=0.4, chance=0.1)
    span = Span(low="0", high="989898")
    shown = replace(LABEL, means=means, span_base=span, span_head=span, widened=True)
    text = said(replace(CHANGE, columns=(shown,)))
    assert "label y: mean   424242       434343       +0.40 standard deviations" in text
    assert "0 to 989898" in text
    hidden = replace(shown, hidden=True, span_base=None, span_head=None)
    text = said(replace(CHANGE, columns=(hidden,)))
    assert "+0.40 standard deviations" in text
    assert "wider (its values are hidden)" in text
    assert "4242" not in text
    assert "9898" not in text


def test_missing_values_groups_and_repeated_keys() -> None:
    moved = Moved(
        distance=0.1,
        chance=0.02,
        groups_base=2,
        groups_head=2,
        new=1,
        gone=1,
        most="north",
        share_base=0.5,
        share_head=0.6,
    )
    column = replace(LABEL, name="region", missing_head=0.25, moved=moved, changed=3)
    rows = replace(ROWS, repeated_head=4)
    text = said(replace(CHANGE, rows=rows, columns=(column, LABEL)))
    for words in (
        "rows that repeat a key",
        "3 rows that stayed have another",
        "+25.00 points",
        "1 new, 1 gone",
        "share of 'north'",
        "10.00 points in all, chance explains 2.00",
    ):
        assert words in text
    assert "label y" not in text, "it did not change"
    found = plain(replace(CHANGE, columns=(column, LABEL)), Risk(level="low", reasons=("Why.",)))
    assert [one["name"] for one in found["columns"]] == ["region"]
    assert found["risk"] == {"level": "low", "reasons": ["Why."]}


def test_many_reasons_and_many_columns_are_counted() -> None:
    columns = tuple(replace(LABEL, name=f"c{n}", cells_head="") for n in range(90))
    change = replace(CHANGE, columns=columns)
    assert "and 81 reasons more" in said(change)
    made = table(change)
    assert made is not None
    assert len(made.rows) == 60
    assert made.left_out == 31
    assert "column c58" in said(change)
    assert "and 31 lines more" in said(change)

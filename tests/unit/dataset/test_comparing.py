"""Comparing two versions of a table: every format, with and without a key, in bounded memory."""

import datetime as dt
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_mlops.dataset.change import Change, Column, Counts
from ci_mlops.dataset.comparing import Meaning, compare, meaning_of
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.streaming import InMemory, Source, joined
from ci_mlops.errors import CannotLook

KEYED = Meaning(key="id", label="label", slices=("sex",), hidden=frozenset({"sex"}))


def table(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "age": rng.integers(18, 80, rows),
            "income": rng.normal(50, 10, rows).round(3),
            "member": rng.random(rows) < 0.5,
            "sex": rng.choice(["f", "m"], rows),
            "since": pd.date_range("2025-01-01", periods=rows, freq="h"),
            "note": [f"note {n}" for n in range(rows)],
            "label": rng.integers(0, 2, rows),
        }
    )


def write(frame: pd.DataFrame, path: Path) -> Source:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, date_format="iso")
    else:
        frame.to_csv(path, index=False)
    return Source.at(path, path.name)


def compared(base: pd.DataFrame, head: pd.DataFrame, meaning: Meaning = KEYED) -> Change:
    return compare("train", InMemory("base", base), InMemory("head", head), meaning)


def counts(change: Change) -> Counts:
    assert change.rows is not None
    return change.rows


def column(change: Change, name: str) -> Column:
    found = change.column(name)
    assert found is not None
    return found


@pytest.mark.parametrize("one", ["a.csv", "a.csv.gz", "a.parquet", "a.jsonl"])
@pytest.mark.parametrize("two", ["b.csv", "b.csv.bz2", "b.parquet"])
def test_the_same_rows_in_another_format_and_order_are_unchanged(
    tmp_path: Path, one: str, two: str
) -> None:
    frame = table()
    frame.loc[5, "income"] = np.nan
    frame.loc[6, "note"] = None
    if "jsonl" in one:
        frame = frame.drop(columns=["since"])
    before, after = write(frame, tmp_path / one), write(frame[::-1], tmp_path / two)
    found = compare("train", before, after, KEYED)
    assert found.state == "unchanged", [c for c in found.columns if c.changed]
    assert compare("train", before, after, Meaning()).state == "unchanged"


def test_rows_and_values_are_counted_by_key(tmp_path: Path) -> None:
    base = table()
    head = pd.concat([base.iloc[10:], table(305).iloc[300:]])
    head.loc[head["id"] == 20, "age"] += 1
    head.loc[head["id"].isin([20, 21]), "income"] += 1
    head = head.sample(frac=1, random_state=1)
    found = compare(
        "train", write(base, tmp_path / "a.csv"), write(head, tmp_path / "b.parquet"), KEYED
    )
    assert counts(found) == Counts(base=300, head=295, added=5, removed=10, changed=2, key="id")
    assert column(found, "age").changed == 1
    assert column(found, "income").changed == 2
    assert column(found, "note").changed == 0


def test_memory_is_bounded_by_reading_again(tmp_path: Path) -> None:
    base, head = table(), table(seed=0).iloc[7:]
    head.loc[50:60, "age"] = 0
    sources = write(base, tmp_path / "a.csv"), write(head, tmp_path / "b.csv")
    once = compare("train", *sources, KEYED)
    often = compare("train", *sources, KEYED, memory=5000)
    assert often == once
    assert counts(once).changed == 11
    assert compare("t", *sources, Meaning(), memory=500) == compare("t", *sources, Meaning())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["x", "y", None])), min_size=1),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["x", "y", None])), min_size=1),
)
def test_without_a_key_rows_are_a_multiset(
    base: list[tuple[int, str]], head: list[tuple[int, str]]
) -> None:
    before, after = (
        pd.DataFrame(rows, columns=["n", "c"]).astype({"c": object}) for rows in (base, head)
    )
    found = counts(compared(before, after, Meaning()))
    one, two = Counter(base), Counter(head)
    assert (found.added, found.removed) == ((two - one).total(), (one - two).total())
    assert found.changed is None


def test_a_repeated_key_is_said_and_its_first_row_compared() -> None:
    base = table(50)
    head = pd.concat([base, base.tail(3).assign(age=0)])
    found = counts(compared(base, head))
    assert (found.repeated_base, found.repeated_head) == (0, 3)
    assert (found.added, found.removed, found.changed) == (0, 0, 0)
    assert compared(base, head).state == "changed"


def test_the_schema() -> None:
    base = table()
    head = base.drop(columns="note").assign(more=1, age=base["age"].astype(str) + " years")
    found = compared(base, head)
    assert column(found, "note").cells_head == ""
    assert column(found, "more").cells_base == ""
    assert column(found, "age").is_retyped
    assert column(found, "age").changed == 300
    grown = compared(base, base.assign(age=base["age"] + 0.5))
    assert not column(grown, "age").is_retyped


def test_ranges_missing_values_and_means() -> None:
    base = table()
    head = base.copy()
    head.loc[3, "age"] = 999
    head.loc[4:33, "income"] = np.nan
    head.loc[5, "since"] = pd.Timestamp("2030-01-01")
    found = compared(base, head, Meaning(key="id", label="income"))
    assert column(found, "age").widened
    assert column(found, "since").widened
    spans = [column(found, name).span_head for name in ("age", "since")]
    assert [span.high for span in spans if span] == ["999", "2030-01-01T00:00:00"]
    income = column(found, "income")
    assert income.missing_head == pytest.approx(0.1)
    assert income.means is not None
    assert abs(income.means.deviations) < income.means.chance
    assert income.means.base == pytest.approx(base["income"].mean())
    moved = column(
        compared(base, base.assign(income=base["income"] + 5), Meaning(label="income")), "income"
    )
    assert moved.means is not None
    assert moved.means.deviations == pytest.approx(5 / base["income"].std(ddof=0))


def test_infinite_and_constant_numbers_are_no_crash() -> None:
    base = table().assign(income=1.0)
    found = compared(base, base.assign(income=np.inf), Meaning(label="income"))
    assert column(found, "income").moved is not None
    many = base.assign(income=np.arange(300.0))
    assert column(compared(base, many, Meaning(label="income")), "income").means is None
    endless = base.assign(income=np.where(np.arange(300) % 2, np.inf, np.arange(300.0)))
    assert column(compared(many, endless, Meaning(label="income")), "income").means is not None


def test_shares_of_label_slices_and_categories() -> None:
    base = table(2000)
    head = base.assign(label=1, sex=base["sex"].where(base["id"] > 100, "x"))
    found = compared(base, head)
    label, sex = column(found, "label").moved, column(found, "sex").moved
    assert label is not None
    assert (label.groups_base, label.groups_head, label.gone) == (2, 1, 1)
    assert label.distance == pytest.approx((base["label"] == 0).mean())
    assert label.most in {"0", "1"}
    assert sex is not None
    assert (sex.new, sex.most) == (1, ""), "no value of a hidden column"
    assert column(found, "note").moved is None, "too many to be categories"
    assert column(found, "age").moved is None, "a number is none"
    asked = Meaning(key="id", categorical=frozenset({"member", "label"}))
    assert column(compared(base, head, asked), "label").moved is not None


def test_a_key_that_is_not_there_is_one_line() -> None:
    with pytest.raises(CannotLook, match="head: has no column 'id', the key"):
        compared(table(), table().drop(columns="id"))


def test_folders_with_partitions_and_columns_that_came_later(tmp_path: Path) -> None:
    frame = table(100)
    for number, (year, part) in enumerate(frame.groupby(frame["id"] % 2)):
        folder = tmp_path / "base" / f"year={year}"
        folder.mkdir(parents=True)
        part.drop(columns=[] if number else ["note"]).to_parquet(folder / "part.parquet")
    (tmp_path / "base" / "README.md").write_text("no data")
    write(frame.assign(year=frame["id"] % 2), tmp_path / "head.csv")
    found = compare(
        "train",
        Source.at(tmp_path / "base", "base"),
        Source.at(tmp_path / "head.csv", "head.csv"),
        KEYED,
    )
    assert counts(found).changed == 50
    assert column(found, "year").changed == 0
    assert column(found, "note").missing_base == 0.5


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1 no", "cannot be read"),
        ("a.csv", b"", "cannot be read"),
        ("a.txt", b"x", "suffix that is not known"),
        ("a.csv", b"a,b\n1,2\nSECRETCANARY\n", "cannot be read"),
        ("a.jsonl", b"SECRETCANARY\n", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_line_without_its_content(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CannotLook, match=said) as fault:
        _ = Source.at(tmp_path / name, name).shape
    assert "SECRETCANARY" not in str(fault.value)


def test_a_missing_file_and_an_empty_folder_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CannotLook, match="cannot be read: "):
        _ = Source.at(tmp_path / "a.parquet", "a.parquet").shape
    with pytest.raises(CannotLook, match="without data files"):
        Source.at(tmp_path, "folder")


def test_cells_of_any_type_are_compared() -> None:
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "list": [[1], [2, 3], None],
            "bytes": [b"a", b"b", b"c"],
            "category": pd.Categorical(["x", "y", "x"]),
            "mixed": [1, "one", 2.5],
            "nothing": [None, None, None],
            "took": pd.to_timedelta([1, 2, 2], unit="s"),
            "at": [dt.time(1), dt.time(2), dt.time(3)],
            "price": [Decimal("1.5"), Decimal("2.5"), None],
            "zoned": pd.to_datetime(["2025-01-01", "2025-01-02", "2025-01-02"], utc=True),
            "turned": [1, 2, 3],
            "label": [0.0, -0.0, 1.0],
        }
    )
    other = frame.assign(
        list=pd.Series([[1], [2, 4], None]),
        took=pd.to_timedelta([1, 3, 2], unit="s"),
        at=pd.Series([dt.time(1), dt.time(2), dt.time(4)], dtype=object),
        price=pd.Series([Decimal("1.5"), Decimal("2.25"), None], dtype=object),
        zoned=pd.to_datetime(["2025-01-01", "2025-01-03", "2025-01-02"], utc=True),
        turned=[True, False, True],
        bytes=[b"a", b"x", b"c"],
        mixed=[1, "two", 2.5],
        label=[-0.0, 0, 1],
    )
    found = compared(frame, other, Meaning(key="id"))
    changed = {one.name: one.changed for one in found.columns}
    assert changed["took"] == changed["at"] == changed["price"] == changed["zoned"] == 1
    assert changed["turned"] == 3
    assert changed["list"] == changed["bytes"] == changed["mixed"] == 1
    assert changed["category"] == changed["nothing"] == changed["label"] == 0


def test_types_of_a_csv_are_those_of_all_its_rows(tmp_path: Path) -> None:
    rows = "\n".join(f"{n},{n % 2 == 0},{n},2025-01-01 00:00:00," for n in range(70_000))
    (tmp_path / "a.csv").write_text(
        f"int,bool,late,time,none\n{rows}\n1.5,maybe,x,2025-01-02 00:00:00,\n"
    )
    found = Source.at(tmp_path / "a.csv", "a.csv").shape
    assert found.rows == 70_001
    assert found.columns == {
        "int": "float",
        "bool": "text",
        "late": "text",
        "time": "time",
        "none": "empty",
    }
    assert joined("empty", "int") == joined("int", "empty") == "int"


def test_what_either_side_hides_stays_hidden() -> None:
    def data(**given: object) -> DataSettings:
        return DataSettings.model_validate({"test": "t.csv", "label": "y", **given})

    found = meaning_of(
        [
            data(hidden=["name"], key="id", ignore=["a", "b"]),
            data(sensitive=["sex"], ignore=["b", "c", "y"]),
        ]
    )
    assert {"name", "id", "sex"} <= found.hidden
    assert found.ignore == {"b"}, "what one side alone ignores is looked at"
    assert found.key is None

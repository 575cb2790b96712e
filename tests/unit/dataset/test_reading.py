"""Reading rows from files: what is there is a table, and anything else is one clear line."""

import bz2
import gzip
import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ci_mlops.dataset.digest import digest
from ci_mlops.dataset.reading import read_table
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.errors import CannotLook

ROWS = "id,age,label\n1,30,0\n2,40,1\n"


def settings(**given: object) -> DataSettings:
    return DataSettings.model_validate({"test": "test.csv", "label": "label", **given})


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.bz2", "a.parquet", "a.jsonl"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"id": [1, 2], "age": [30, 40], "label": [0, 1]})
    if name.endswith("parquet"):
        frame.to_parquet(tmp_path / name)
    elif name.endswith("jsonl"):
        frame.to_json(tmp_path / name, orient="records", lines=True)
    else:
        content = ROWS.encode()
        packed = {"csv": content, "gz": gzip.compress(content), "bz2": bz2.compress(content)}
        write(tmp_path / name, packed[name.rpartition(".")[2]])
    found = read_table(tmp_path, name, settings(key="id")).frame
    assert found.index.tolist() == [1, 2]
    assert found["age"].tolist() == [30, 40]
    assert found["label"].tolist() == [0, 1]


def test_without_a_key_rows_are_named_by_content(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "age,label\n1,0\n1,0\n2,1\n")
    found = read_table(tmp_path, "a.csv", settings()).frame
    assert found.index.is_unique
    assert found.index[1] == f"{found.index[0]}#2"
    write(tmp_path / "b.csv", "age,label\n2,1\n1,0\n1,0\n")
    other = read_table(tmp_path, "b.csv", settings()).frame
    assert sorted(other.index) == sorted(found.index)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "id,label\n", "no rows"),
        ("a.txt", ROWS, "suffix that is not known"),
        ("a.csv.gz", gzip.compress(ROWS.encode() * 500, mtime=0)[:40], "cannot be read"),
        ("a.csv.gz", b"not gzip", "cannot be read"),
        ("a.csv.bz2", bz2.compress(ROWS.encode())[:20], "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.jsonl", "{", "cannot be read"),
        (
            "a.jsonl",
            '{"id": 1, "label": 0, "x": {"y": 1}}\n',
            "list or object in column 'x', row 1",
        ),
        ("a.jsonl", '{"id": 1, "label": 0, "x": [1, 2]}\n', "list or object in column 'x'"),
        ("a.csv", "id,lable\n1,0\n", 'did you mean "lable"'),
        ("a.csv", "id,label\n1,0\n1,1\n", "more than once"),
        ("a.csv", "id,label\n1,0\n,1\n", "without a key"),
        ("../a.csv", ROWS, "outside of the project"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write(root / name, content)
    with pytest.raises(CannotLook, match="a\\.") as fault:
        read_table(root, name, settings(key="id"))
    assert said in str(fault.value)


def test_missing_files_and_folders_without_data_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CannotLook, match=r"none\.csv is missing"):
        read_table(tmp_path, "none.csv", settings())
    (tmp_path / "folder").mkdir()
    with pytest.raises(CannotLook, match="folder without data files"):
        read_table(tmp_path, "folder", settings())


def test_a_nested_column_that_is_ignored_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"label": 0, "x": {"y": 1}}\n')
    found = read_table(tmp_path, "a.jsonl", settings(ignore=["x", "label"])).frame
    assert list(found.columns) == ["label"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_folder_keeps_its_partition_columns(tmp_path: Path, suffix: str) -> None:
    for year, region in ((2025, "north east"), (2026, "south")):
        folder = tmp_path / "data" / f"year={year}" / f"region={region.replace(' ', '%20')}"
        folder.mkdir(parents=True)
        part = pd.DataFrame({"age": [1.5], "label": [year % 2]})
        write_part = part.to_csv if suffix == "csv" else part.to_parquet
        write_part(folder / f"part.{suffix}", index=False)
    found = read_table(tmp_path, "data", settings()).frame
    assert found["year"].tolist() == [2025, 2026]
    assert pd.api.types.is_numeric_dtype(found["year"].dtype)
    assert found["region"].astype(str).tolist() == ["north east", "south"]


def test_a_folder_has_the_columns_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pd.DataFrame({"age": [1], "label": [0]}).to_parquet(tmp_path / "data" / "a.parquet")
    later = pd.DataFrame({"age": [1.5], "label": [1], "word": ["x"]})
    later.to_parquet(tmp_path / "data" / "b.parquet")
    found = read_table(tmp_path, "data", settings()).frame
    assert found["age"].tolist() == [1.0, 1.5]
    assert found["word"].isna().tolist() == [True, False]


def test_a_text_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    whole = pd.DataFrame({"word": ["abcdef"], "label": [1]}).to_parquet(compression=None)
    write(tmp_path / "a.parquet", whole.replace(b"abcdef", b"abc\xffef"))
    with pytest.raises(CannotLook, match="cannot be read: .*UTF8"):
        read_table(tmp_path, "a.parquet", settings())


def test_the_default_partition_is_a_missing_value(tmp_path: Path) -> None:
    write(tmp_path / "data" / "year=2025" / "a.csv", ROWS)
    write(tmp_path / "data" / "year=__HIVE_DEFAULT_PARTITION__" / "a.csv", ROWS)
    found = read_table(tmp_path, "data", settings()).frame
    assert int(found["year"].isna().sum()) == 2


def test_a_stored_index_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [7, 8], "label": [0, 1]}).set_index("id")
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path, "a.parquet", settings(key="id")).frame.index.tolist() == [7, 8]


def test_the_digest_is_that_of_names_and_bytes(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", ROWS)
    write(tmp_path / "train" / "a.csv", ROWS)
    given_settings = settings(train="train")
    before = digest(given_settings, tmp_path)
    assert set(before) == {"data.test", "data.train"}
    (tmp_path / "train" / "a.csv").rename(tmp_path / "train" / "b.csv")
    after = digest(given_settings, tmp_path)
    assert after["data.test"] == before["data.test"]
    assert after["data.train"] != before["data.train"]


FORMATS = st.sampled_from([".csv", ".csv.gz", ".csv.bz2", ".jsonl", ".parquet"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def gives_a_table_or_cannot_look(folder: Path, suffix: str, content: bytes) -> None:
    name = f"a{suffix}"
    write(folder / name, content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = read_table(folder, name, settings())
        except CannotLook as fault:
            assert "\n" not in str(fault)
        else:
            assert isinstance(found, Table)
            assert found.frame.index.is_unique
            assert len(found.frame) > 0


@given(suffix=FORMATS, content=st.binary(max_size=200))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_bytes_do_anything_else(tmp_path: Path, suffix: str, content: bytes) -> None:
    gives_a_table_or_cannot_look(tmp_path, suffix, content)


@given(rows=st.text(alphabet='0123456789,."\n\r\t einfNa-\x00é', max_size=120))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_almost_csv_does_anything_else(tmp_path: Path, rows: str) -> None:
    gives_a_table_or_cannot_look(tmp_path, ".csv", f"age,label\n{rows}".encode())


@given(rows=st.lists(st.dictionaries(st.sampled_from(["label", "date", "x"]), JSON), max_size=4))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_json_lines_do_anything_else(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    import json

    content = "\n".join(json.dumps(row) for row in rows)
    gives_a_table_or_cannot_look(tmp_path, ".jsonl", content.encode())


@given(cut=st.integers(0, 2000), flipped=st.integers(0, 255))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_damaged_parquet_does_anything_else(tmp_path: Path, cut: int, flipped: int) -> None:
    frame = pd.DataFrame({"age": [1.0, None], "word": ["a", "b"], "label": [0, 1]})
    whole = bytearray(frame.to_parquet())
    whole[cut % len(whole)] ^= flipped
    gives_a_table_or_cannot_look(tmp_path, ".parquet", bytes(whole))


def test_a_repeated_key_that_is_hidden_is_not_told(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", "id,label\nSECRETCANARY,0\nSECRETCANARY,1\n")
    with pytest.raises(CannotLook, match="'id' more than once"):
        read_table(tmp_path, "test.csv", settings(key="id", hidden=["id"]))
    with pytest.raises(CannotLook, match="'id' = 'SECRETCANARY' more than once"):
        read_table(tmp_path, "test.csv", settings(key="id"))

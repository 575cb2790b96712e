"""The prediction log from every place and in every form that settings may name."""

import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from ci_mlops.errors import CannotLook
from ci_mlops.monitors.sources.prediction_log import LabelSettings, Log, read_labels, read_log
from tests import bucket, production
from tests.bucket import KEY, Bucket

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROWS = 40


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return a folder with ten days of the log, a file a day."""
    inputs: dict[str, Any] = {"income": np.arange(ROWS) + 0.5, "sex": ["f", "m"] * (ROWS // 2)}
    production.log(tmp_path / "log", inputs, np.arange(ROWS) % 2, until=NOW, days=10)
    return tmp_path


def read(root: Path, location: str = "log", days: float = 20, max_rows: int = 1000) -> Log:
    since = NOW - timedelta(days=days)
    return read_log(root, location, since=since, until=NOW, max_rows=max_rows)


def as_it_is(folder: Path) -> None:
    del folder


def as_parquet(folder: Path) -> None:
    for file in folder.glob("*.jsonl"):
        made = file.with_suffix(".parquet")
        duckdb.execute(f"COPY (FROM read_json('{file}')) TO '{made}' (FORMAT parquet)")
        file.unlink()


def packed(folder: Path) -> None:
    for file in folder.glob("*.jsonl"):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()


def nested(folder: Path) -> None:
    for file in list(folder.glob("*.jsonl")):
        day = folder / "2026" / file.stem
        day.mkdir(parents=True)
        file.rename(day / "part.jsonl")


@pytest.mark.parametrize("form", [as_it_is, as_parquet, packed, nested])
def test_every_form_gives_the_same_rows(written: Path, form: Callable[[Path], None]) -> None:
    form(written / "log")
    found = read(written)
    assert (found.rows, found.spoiled) == (ROWS, 0)
    assert found.answers["time"].is_monotonic_increasing
    assert found.answers["predict"].tolist() == [n % 2 for n in range(ROWS)]
    assert found.inputs["income"].tolist() == [n + 0.5 for n in range(ROWS)]
    assert found.inputs["sex"].tolist() == ["f", "m"] * (ROWS // 2)


def test_a_window_holds_its_own_rows_and_reads_no_file_of_other_days(written: Path) -> None:
    other = written / "log" / "predictions-2026-11-01.jsonl"
    other.write_text("spoiled\n" * 500, encoding="utf-8")
    found = read(written, days=5)
    assert (found.rows, found.spoiled) == (ROWS // 2, 0)


def test_a_request_that_stands_twice_counts_once(written: Path) -> None:
    file = next((written / "log").glob("*.jsonl"))
    (written / "log" / "again.jsonl").write_bytes(file.read_bytes())
    assert read(written).rows == ROWS


def test_of_many_rows_a_sample_is_read_that_is_the_same_each_time(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    connect = duckdb.connect
    for threads in (1, 4):

        def connected(*given: Any, **more: Any) -> duckdb.DuckDBPyConnection:
            return connect(*given, **more).execute(f"SET threads = {threads}")  # noqa: B023

        monkeypatch.setattr(duckdb, "connect", connected)
        found = read(written, max_rows=10)
        assert (found.rows, len(found.answers)) == (ROWS, 10)
        drawn.append(found.answers.index.tolist())
    assert drawn[0] == drawn[1]
    since = NOW - timedelta(days=20)
    other = read_log(written, "log", since=since, until=NOW, max_rows=10, seed=1)
    assert other.answers.index.tolist() != drawn[0]


def test_what_is_no_log_is_one_line(written: Path) -> None:
    with pytest.raises(CannotLook, match="is not there"):
        read(written, "elsewhere")
    (written / "log" / "a.csv").write_text("time,id\n", encoding="utf-8")
    with pytest.raises(CannotLook, match=r"mixes \.csv and \.jsonl files"):
        read(written)


# --- an object store ----------------------------------------------------------------------------


@pytest.fixture
def store(written: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Return a bucket with the log as Parquet, and others beside it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test only")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    as_parquet(written / "log")
    files = {one.name: one.read_bytes() for one in (written / "log").iterdir()}
    held = {f"a/log/{name}": data for name, data in files.items()}
    held |= {"a/log/readme.txt": b"no log", "a/logs/other.parquet": b"no log"}
    held |= {"labels/one.csv": b"id,y\nx,1\n", "labels/deep/two.csv": b"id,y\nz,0\n"}
    with bucket.serving(Bucket(name="loans", objects=held)) as served:
        yield served


def at(store: Bucket, path: str) -> str:
    return f"s3://{store.name}/{path}?scheme=http&endpoint_override={store.address}&region=x"


def test_an_object_store_gives_what_a_folder_gives(written: Path, store: Bucket) -> None:
    found, folder = read(written, at(store, "a/log/*.parquet")), read(written)
    pd.testing.assert_frame_equal(found.inputs, folder.inputs)
    pd.testing.assert_frame_equal(found.answers, folder.answers)


def test_of_an_object_store_only_the_days_that_matter_are_fetched(
    written: Path, store: Bucket
) -> None:
    assert read(written, at(store, "a/log/*.parquet"), days=2).rows == ROWS // 5
    days = {key.rpartition("predictions-")[2] for key in store.got}
    assert days == {f"2026-11-{day}.parquet" for day in (18, 19, 20)}


@pytest.mark.parametrize(("pattern", "rows"), [("labels/*.csv", 1), ("labels/**/*.csv", 2)])
def test_a_star_is_part_of_a_name_and_two_are_folders(
    written: Path, store: Bucket, pattern: str, rows: int
) -> None:
    found = read_labels(written, LabelSettings(path=at(store, pattern)), "y")
    assert len(found) == rows


def test_an_object_store_that_holds_nothing_yet_is_an_empty_log(
    written: Path, store: Bucket
) -> None:
    assert read(written, at(store, "a/log/later-*.parquet")).rows == 0


def test_a_store_that_refuses_is_one_line(
    written: Path, store: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotLook, match="suffix that is not known"):
        read(written, at(store, "a/log/*"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    with pytest.raises(CannotLook, match=r"cannot be read: .*ACCESS_DENIED"):
        read(written, at(store, "a/log/*.parquet"))

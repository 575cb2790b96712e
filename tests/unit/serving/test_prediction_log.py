import io
import json
import threading
from pathlib import Path

import pytest

from ci_mlops.errors import ConfigError
from ci_mlops.serving import served as description
from ci_mlops.serving.prediction_log import MAX_ROWS, ROOM, PredictionLog
from ci_mlops.serving.served import LogSettings
from tests.unit.serving.serving_models import served


def log(settings: LogSettings, dropped: list[int], draw: float = 0.5) -> PredictionLog:
    return PredictionLog(
        served(log=settings),
        random=lambda: draw,
        dropped=lambda: dropped.append(1),
        standard_output=io.BytesIO(),
    )


def add(to: PredictionLog, rows: int = 1) -> None:
    outputs = [{"name": "predict", "data": ["yes"] * rows}]
    to.add(id=None, values={"income": [1.0] * rows}, outputs=outputs, rows=rows, seconds=0.001)


@pytest.mark.parametrize(("sample", "lines"), [(1, 1), (0.6, 1), (0.4, 0), (0, 0)])
def test_a_share_is_sampled(tmp_path: Path, sample: float, lines: int) -> None:
    path = tmp_path / "log.jsonl"
    found = log(LogSettings(path=str(path), sample=sample), [])
    found.start()
    add(found)
    found.close()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    assert text.count("\n") == lines


def test_no_path_writes_nothing() -> None:
    dropped: list[int] = []
    found = log(LogSettings(), dropped)
    found.start()
    add(found)
    found.close()
    assert dropped == []


def test_a_file_that_is_full_becomes_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    found = log(LogSettings(path=str(path), max_bytes=1024), [])
    found.start()
    for _ in range(30):
        add(found)
    found.close()
    assert 1024 <= (tmp_path / "log.jsonl.1").stat().st_size < 1024 + 500
    assert path.stat().st_size < 1024
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log.jsonl", "log.jsonl.1"]


def test_a_slow_disk_drops_lines_and_never_waits() -> None:
    class Stuck(io.BytesIO):
        go = threading.Event()

        def flush(self) -> None:
            self.go.wait(30)

    dropped: list[int] = []
    stuck = Stuck()
    found = PredictionLog(
        served(log=LogSettings(path="-")),
        random=lambda: 0.0,
        dropped=lambda: dropped.append(1),
        standard_output=stuck,
    )
    found.start()
    for _ in range(ROOM + 50):
        add(found)
    assert 48 <= len(dropped) <= 50  # the writer holds one or two
    stuck.go.set()
    found.close()


def test_a_full_disk_is_counted_and_survived() -> None:
    dropped: list[int] = []
    found = log(LogSettings(path="/dev/full"), dropped)
    found.start()
    add(found)
    add(found)
    found.close()
    assert len(dropped) == 2


def test_a_great_request_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    found = log(LogSettings(path=str(path)), [])
    found.start()
    add(found, MAX_ROWS + 1)
    found.close()
    entry = json.loads(path.read_text(encoding="utf-8"))
    assert entry["rows"] == MAX_ROWS + 1
    assert len(entry["inputs"]["income"]) == len(entry["outputs"]["predict"]) == MAX_ROWS


def test_a_description_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        description.read(path)
    path.write_text('{"name": "x"}', encoding="utf-8")
    with pytest.raises(ConfigError, match="version: Field required"):
        description.read(path)

"""What was handed in, from flags, files, standard input, issues and logs of predictions."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.errors import ConfigError
from ci_mlops.feedback import add, given, logged
from ci_mlops.feedback.add import Asked
from ci_mlops.feedback.given import Given
from tests.unit.feedback.situations import body


def gathered(asked: Asked, data: bytes = b"", issue: str = "") -> Given:
    return add.gathered(asked, read=lambda _: data, body=lambda _: issue)


def test_from_flags_alone() -> None:
    flags = Asked(features=["income = 1", "debt="], expected="no", issue=3, reason="so")
    found = gathered(flags)
    assert found == Given(features={"income": "1", "debt": ""}, expected="no", issue=3, reason="so")


def test_from_json_which_flags_complete() -> None:
    data = json.dumps({"features": {"a": 1, "b": None, "c": True}, "expected": 2.5}).encode()
    found = gathered(Asked(source="x.json", features=["a=7"], issue=3, tolerance=0.5), data)
    assert found.texts() == {"a": "7", "b": "", "c": "true"}
    assert (found.expected, found.issue, found.tolerance) == (2.5, 3, 0.5)


def test_from_an_issue_which_is_credited() -> None:
    found = gathered(Asked(from_issue=12), issue=body())
    assert (found.issue, found.expected, found.texts()["income"]) == (12, "no", "5000")
    found = gathered(Asked(source="issue.md", issue=7), body().encode())
    assert (found.issue, found.reason) == (7, "the loan was never repaid")


@pytest.mark.parametrize(
    ("asked", "data", "said"),
    [
        (Asked(features=["income"]), b"", "--features: 'income' is no NAME=VALUE"),
        (Asked(features=["=1"]), b"", "is no NAME=VALUE"),
        (Asked(features=["a=1", "a=2"]), b"", "--features: names 'a' twice"),
        (Asked(source="x", from_issue=1), b"", "--from: stands beside --from-issue"),
        (Asked(source="-"), b"{", "standard input: is not valid JSON"),
        (Asked(source="x"), b'{"a": 1}', "x: a: Extra inputs are not permitted"),
        (Asked(source="x"), b'{"features": {"a": [1]}}', "x: features.a"),
        (Asked(source="x"), b'{"issue": 1, "issue": 2}', "key 'issue' stands twice"),
        (Asked(source="x"), b'{"expected": 1e999}', "is not a finite number"),
        (Asked(source="x"), b"\xff", "x: is neither JSON nor text in UTF-8"),
        (Asked(source="x"), b" " * (given.MAX_BYTES + 1), "x: is larger than 1048576 bytes"),
        (Asked(source="x"), b"hello", "x:1: does not begin with the form"),
        (Asked(issue=-1), b"", "--features: issue: Input should be greater"),
        (Asked(prediction="3f"), b"", "--prediction-id: names a prediction, and no log"),
    ],
)
def test_what_cannot_be_read(asked: Asked, data: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gathered(asked, data)
    assert said in str(caught.value)


def test_a_file_or_standard_input(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    assert add.source(str(tmp_path / "x"), io.BytesIO()) == b"1"
    assert add.source("-", io.BytesIO(b"2")) == b"2"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        add.source(str(tmp_path / "y"), io.BytesIO())


# --- the log of predictions ---------------------------------------------------------------------


def log(folder: Path, day: str, *rows: Any) -> None:
    folder.mkdir(exist_ok=True)
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows)
    (folder / f"predictions-{day}.jsonl").write_text(text, encoding="utf-8")


def row(name: str, number: int = 0, **inputs: Any) -> dict[str, Any]:
    return {"id": name, "row": number, "inputs": inputs, "predict": "yes"}


def test_a_prediction_is_found_in_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log(folder, "2026-11-01", row("3f", income=1), row("4a", income=2))
    log(folder, "2026-11-02", row("5b", 0, income=3), row("5b", 1, income=4), '{"id": "6c"')
    assert logged.inputs(folder, "3f", None) == {"income": 1}
    assert logged.inputs(folder, "5b", 1) == {"income": 4}
    found = gathered(Asked(prediction="3f", log=folder, features=["race=white"]))
    assert found.texts() == {"income": "1", "race": "white"}


def test_a_prediction_that_the_issue_names(tmp_path: Path) -> None:
    log(tmp_path, "2026-11-01", row("3f", income=1, debt=None))
    text = body(features="_No response_", prediction="3f")
    found = gathered(Asked(from_issue=12, log=tmp_path), issue=text)
    assert found.texts() == {"income": "1", "debt": ""}


def test_a_prediction_that_is_not_one_row(tmp_path: Path) -> None:
    log(tmp_path, "2026-11-01", row("5b", 0), row("5b", 1), row("7d", 0, a=[1]), '"8e"', "8e")
    for name, number, said in (
        ("5b", None, "prediction '5b' has 2 rows there. Name one with --row"),
        ("5b", 2, "there is no prediction '5b' with row 2"),
        ("9f", None, "there is no prediction '9f'. It may be older"),
        ("8e", None, "there is no prediction '8e'"),
        ("7d", None, "has a row without plain inputs"),
    ):
        with pytest.raises(ConfigError) as caught:
            logged.inputs(tmp_path, name, number)
        assert said in str(caught.value)


def test_a_log_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no predictions-\*.jsonl"):
        logged.inputs(tmp_path, "3f", None)
    (tmp_path / "predictions-2026-11-01.jsonl").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        logged.inputs(tmp_path, "3f", None)

"""Evidence is written whole and read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops import evidence
from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Check, Limit, Subject
from tests.records import SHA, record, run


def test_round_trip(tmp_path: Path) -> None:
    written = record(
        checks=[Check(name="x", outcome="failed", message="é", limit=Limit(at_least=1))],
        outcome="failed",
    )
    evidence.write(tmp_path / "a" / "data.json", written)
    assert evidence.read_record(tmp_path / "a" / "data.json") == written


def test_read_folder_keeps_a_fault_with_its_stage(tmp_path: Path) -> None:
    evidence.write(tmp_path / "run.json", run(stages=["data", "model", "policy"]))
    evidence.write(tmp_path / "data.json", record("passed"))
    (tmp_path / "model.json").write_text("{", encoding="utf-8")
    folder = evidence.read_folder(tmp_path)
    assert folder.records["data"] == record("passed")
    assert isinstance(folder.records["model"], EvidenceError)
    assert "policy" not in folder.records


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"seconds": NaN}', "NaN is not a finite number"),
        ('{"seconds": Infinity}', "Infinity is not a finite number"),
        ('{"seconds": 1e999}', "1e999 is not a finite number"),
        ('{"a": 1, "a": 2}', "key 'a' stands twice"),
        ("[" * 100_000, "nested deeper"),
        ('{"a": ' * 30 + "1" + "}" * 30, "nested deeper"),
        ("9" * 5000, "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "Input should be"),
        ("null", "Input should be"),
    ],
)
def test_hostile_json_is_refused_in_one_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvidenceError, match=fault) as caught:
        evidence.read_record(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_brackets_inside_texts_are_not_nesting() -> None:
    assert evidence.parse_json(json.dumps({"a": "[" * 99 + '\\"'}).encode(), "x")["a"].endswith('"')


def test_over_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(b" " * (evidence.MAX_BYTES + 1))
    with pytest.raises(EvidenceError, match="larger than"):
        evidence.read_record(path)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "passed", "checks": [{"name": "x", "outcome": "failed", "message": "m"}]},
        {"extra": 1},
        {"stage": "../data"},
        {"fingerprint": "short"},
        {"seconds": "1"},
        {"artifacts": [{"path": "../x", "sha256": SHA}]},
        {"artifacts": [{"path": "/x", "sha256": SHA}]},
        {"tables": [{"title": "t", "columns": ["a"], "rows": [[1, 2]]}]},
        {"charts": [{"title": "t", "labels": ["a"], "lines": [{"name": "n", "values": [1, 2]}]}]},
    ],
)
def test_a_forged_record_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    document = json.loads(record("passed").model_dump_json())
    path = tmp_path / "data.json"
    path.write_text(json.dumps({**document, **change}), encoding="utf-8")
    with pytest.raises(EvidenceError):
        evidence.read_record(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="cannot be read: No such file"):
        evidence.read_run(tmp_path / "run.json")


@given(st.binary(max_size=300))
def test_no_bytes_give_anything_but_a_record_or_an_evidence_error(data: bytes) -> None:
    try:
        evidence.parse_json(data, "x.json")
    except EvidenceError as fault:
        assert "\n" not in str(fault)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_no_document_gives_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, document: Any
) -> None:
    path = tmp_path_factory.mktemp("evidence") / "data.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(EvidenceError):
        evidence.read_record(path)


def test_atomic_write_keeps_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        evidence.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_limit_never_allows_nan() -> None:
    assert not Limit(at_least=0).allows(float("nan"))
    assert not Limit(at_most=0).allows(float("nan"))
    assert Limit(at_least=0, at_most=1).allows(0.5)
    assert not Limit(at_least=0, at_most=1).allows(1.5)


def test_worst_outcome() -> None:
    assert evidence.worst_outcome([]) == "skipped"
    assert evidence.worst_outcome(["passed", "skipped"]) == "passed"
    assert evidence.worst_outcome(["passed", "inconclusive", "warned"]) == "warned"
    assert evidence.worst_outcome(["failed", "error"]) == "error"


def test_changed_subjects() -> None:
    made = run(
        subjects=[
            Subject(name="head.model", sha256=SHA),
            Subject(name="head.data.test", sha256=SHA),
            Subject(name="base.model", sha256="b" * 64),
            Subject(name="base.data.test", sha256=SHA),
        ]
    )
    assert made.changed() == ("model",)


def test_place_names_file_and_line() -> None:
    assert str(evidence.Place(file="mlops.yml", line=3)) == "mlops.yml:3"
    assert str(evidence.Place(file="mlops.yml")) == "mlops.yml"


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert evidence.file_sha256(tmp_path / "x") == evidence.text_sha256("abc")


@pytest.mark.parametrize("name", ["loans --> @org/team", "a b", "", "-x", "x" * 65, "loans\n"])
def test_a_projects_name_can_hold_no_markup(name: str) -> None:
    with pytest.raises(ValueError, match="project"):
        run(project=name)

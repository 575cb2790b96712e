"""The verdict's truth table: what is missing never passes."""

from typing import Any

import pytest

from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Outcome, Record, Run, Subject
from ci_mlops.verdict import Gate, Verdict, decide
from tests import records
from tests.records import SHA

OTHER = "b" * 64


def run(**changes: Any) -> Run:
    return records.run(**{"subjects": [Subject(name="head.model", sha256=SHA)], **changes})


def record(*outcomes: Outcome, stage: str = "data", sha256: str = SHA) -> Record:
    subjects = (Subject(name="head.model", sha256=sha256),)
    return records.record(*outcomes, stage=stage, subjects=subjects)


def judge(
    found: dict[str, Record | EvidenceError], *, gate: Gate | None = None, **changes: Any
) -> Verdict:
    return decide(gate or Gate(), run(**changes), found)


@pytest.mark.parametrize(
    ("outcome", "expected", "code"),
    [
        ("passed", "passed", 0),
        ("warned", "warned", 0),
        ("inconclusive", "warned", 0),
        ("failed", "failed", 1),
        ("error", "error", 1),
        ("skipped", "failed", 1),
    ],
)
def test_one_required_stage(outcome: Outcome, expected: str, code: int) -> None:
    verdict = judge({"data": record(outcome)})
    assert (verdict.outcome, verdict.exit_code) == (expected, code)


def test_a_skipped_check_beside_a_passed_one_is_no_reason() -> None:
    verdict = judge({"data": record("passed", "skipped")})
    assert verdict.outcome == "passed"
    assert verdict.reasons == ()
    assert verdict.counts == {"passed": 1, "skipped": 1}


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({}, "stage data left no evidence"),
        (
            {"data": EvidenceError("is torn", place="data.json")},
            "cannot be read: data.json: is torn",
        ),
        ({"data": record()}, "without a single check"),
        ({"data": record("passed", stage="model")}, "belongs to stage model"),
        ({"data": record("passed", sha256=OTHER)}, "for another head.model"),
    ],
)
def test_missing_evidence_never_passes(evidence: dict[str, Any], words: str) -> None:
    verdict = judge(evidence)
    assert verdict.outcome == "error"
    assert verdict.exit_code == 1
    assert words in verdict.reasons[0].text


def test_a_stage_that_was_left_out_fails_the_whole_gate() -> None:
    verdict = judge({"data": record("passed")}, left_out=["model"])
    assert verdict.outcome == "error"
    assert "left out" in verdict.reasons[0].text


def test_a_partial_run_judges_what_ran_and_says_so() -> None:
    verdict = decide(Gate(), run(left_out=["model"]), {"data": record("passed")}, partial=True)
    assert verdict.outcome == "warned"
    assert "no verdict on the whole gate" in verdict.reasons[0].text


def test_a_gate_that_requires_nothing_passes_nothing() -> None:
    assert judge({"data": record("passed")}, gate=Gate(require=())).outcome == "error"


def test_what_is_not_required_may_only_warn() -> None:
    gate = Gate(require=("data",))
    found: dict[str, Record | EvidenceError] = {
        "data": record("passed"),
        "model": record("failed", stage="model"),
    }
    verdict = decide(gate, run(stages=["data", "model"]), found)
    assert verdict.outcome == "warned"
    assert "not required" in verdict.reasons[0].text


def test_inconclusive_fails_where_the_gate_says_so() -> None:
    gate = Gate(on_inconclusive="fail")
    assert judge({"data": record("inconclusive")}, gate=gate).outcome == "failed"


@pytest.mark.parametrize(("on_no_base", "expected"), [("warn", "warned"), ("fail", "failed")])
def test_no_base_is_said_aloud(on_no_base: Any, expected: str) -> None:
    gate = Gate(on_no_base=on_no_base)
    verdict = judge({"data": record("passed")}, gate=gate, base="", base_missing="first commit")
    assert verdict.outcome == expected
    assert "first commit" in verdict.reasons[0].text


def test_the_worst_reason_stands_first() -> None:
    verdict = judge({"data": record("warned", "error", "failed")})
    assert [reason.outcome for reason in verdict.reasons] == ["error", "failed", "warned"]

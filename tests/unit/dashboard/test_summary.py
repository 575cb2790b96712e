"""What is kept of a run: its figures, bounded, without rows and words."""

import pytest

from ci_mlops.dashboard.summary import MAX_FIGURES, MAX_NAME, Summary, summary
from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Check, Interval, Limit, Metric, Record, worst_outcome
from ci_mlops.verdict import Gate, decide
from tests.records import record, run


def kept(*checks: Check, metrics: tuple[Metric, ...] = ()) -> Summary:
    outcome = worst_outcome(check.outcome for check in checks)
    found = {"data": record(checks=checks, metrics=metrics, outcome=outcome)}
    circumstances = run(environment="production", workflow="https://example.org/1")
    return summary(circumstances, found, decide(Gate(), circumstances, found))


def test_a_change_is_laid_on_the_base() -> None:
    check = Check(
        name="auc",
        outcome="failed",
        message="It fell.",
        observed=0.7,
        base=0.8,
        limit=Limit(at_least=-0.02, of="change"),
        interval=Interval(low=-0.15, high=-0.05, of="change"),
    )
    (found,) = kept(check).figures
    assert [found.value, found.at_least] == pytest.approx([0.7, 0.78])
    assert found.at_most is None
    assert [found.low, found.high] == pytest.approx([0.65, 0.75])
    (baseless,) = kept(check.model_copy(update={"base": None})).figures
    assert (baseless.at_least, baseless.low) == (None, None)


def test_metrics_and_words_are_kept_by_name_alone() -> None:
    word = Check(name="digest", outcome="passed", message="m", observed="sha256:1")
    plain = Check(
        name="rate", outcome="passed", message="m", observed=0.5, limit=Limit(at_most=0.6)
    )
    found = kept(word, plain, metrics=(Metric(name="auc", value=0.9, unit="x"),))
    named = {one.name: one for one in found.figures}
    assert named["digest"].value is None
    assert (named["rate"].at_most, named["rate"].low) == (0.6, None)
    assert (named["auc"].value, named["auc"].outcome, named["auc"].unit) == (0.9, None, "x")
    assert (found.environment, found.run) == ("production", "https://example.org/1")


def test_what_does_not_fit_is_counted_and_what_is_wrong_stays() -> None:
    many = [Check(name=f"c{n}", outcome="passed", message="m", observed=n) for n in range(400)]
    wrong = Check(name="wrong", outcome="failed", message="m", observed=1)
    found = kept(*many, wrong)
    assert len(found.figures) == MAX_FIGURES
    assert found.left_out == 401 - MAX_FIGURES
    assert found.figures[0].name == "wrong"
    assert len(found.model_dump_json()) < 100_000


def test_two_long_names_stay_two() -> None:
    checks = [
        Check(name="n" * 120 + end, outcome="passed", message="m", observed=1) for end in "ab"
    ]
    names = {one.name for one in kept(*checks).figures}
    assert len(names) == 2
    assert all(len(name) <= MAX_NAME for name in names)


def test_a_stage_without_a_record_could_not_look() -> None:
    circumstances = run(stages=["data", "model"])
    found: dict[str, Record | EvidenceError] = {
        "data": record("passed"),
        "model": EvidenceError("gone"),
    }
    made = summary(circumstances, found, decide(Gate(), circumstances, found))
    assert made.stages == {"data": "passed", "model": "error"}
    assert made.verdict == "error"

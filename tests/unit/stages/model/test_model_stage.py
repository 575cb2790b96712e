"""Stage model on models whose fault is known."""

import dataclasses
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import worst_outcome
from ci_mlops.model.predictions import Predictions
from ci_mlops.model.settings import ModelSettings, PredictionFiles
from ci_mlops.stage import Findings, Workspace
from ci_mlops.stages.model import MetricRule, ModelStage, Tolerance
from tests.unit.stages.model import model_spaces as make

TASKS = ("binary", "multiclass", "regression")


def _run(workspace: Workspace, **settings: Any) -> Findings:
    return ModelStage(**{"deepchecks": False, **settings}).run(workspace)


def _outcomes(findings: Findings) -> dict[str, str]:
    return {check.name: check.outcome for check in findings.checks}


@pytest.mark.parametrize("task", TASKS)
def test_a_healthy_model_passes(task: str) -> None:
    data = make.data(task)
    train = make.data(task, seed=1)
    workspace = make.space(
        data, data.predictions(), data.predictions(), train=(train, train.predictions())
    )
    found = _run(workspace)
    bad = {n: o for n, o in _outcomes(found).items() if o not in {"passed", "skipped"}}
    assert set(bad.values()) <= {"inconclusive"}
    assert all(figure.base is not None for figure in found.metrics if figure.unit != "%")
    assert found.tables
    assert make.check(found, "over-fit").outcome == "passed"


@pytest.mark.parametrize("task", TASKS)
def test_a_worse_model_fails_against_base(task: str) -> None:
    data = make.data(task)
    found = _run(make.space(data, data.predictions(4.0), data.predictions(0.1)))
    assert worst_outcome(c.outcome for c in found.checks) == "failed"
    failed = [c for c in found.checks if c.outcome == "failed"]
    assert any(c.name.endswith("-against-base") for c in failed)
    assert all(c.remedy and c.message.endswith(".") for c in failed)


def test_a_small_drop_on_few_rows_cannot_be_decided() -> None:
    data = make.data(rows=150)
    rules = {"roc_auc": MetricRule(max_drop=0.0)}
    base, head = data.predictions(1.0), data.predictions(1.2)
    found = [
        make.check(_run(make.space(data, *pair), metrics=rules), "roc-auc-against-base")
        for pair in ((head, base), (base, head))
    ]
    assert {check.outcome for check in found} == {"inconclusive", "passed"}
    (undecided,) = [check for check in found if check.outcome == "inconclusive"]
    assert "chance alone could explain it" in undecided.message


def test_too_few_rows_never_pass() -> None:
    data = make.data(rows=60)
    found = _run(make.space(data, data.predictions(), data.predictions()))
    assert make.check(found, "roc-auc-against-base").outcome == "inconclusive"


def test_identical_predictions_are_said_to_be() -> None:
    data = make.data()
    same = data.predictions()
    found = _run(make.space(data, same, same))
    assert "predictions are identical" in make.check(found, "roc-auc-against-base").message
    assert make.check(found, "worst-slice-against-base").outcome == "passed"
    assert found.notes == ("Predictions are identical at base and head.",)


def test_without_base_comparisons_are_skipped_and_limits_judged() -> None:
    data = make.data()
    rules = {
        "roc_auc": {"at_least": 0.99, "max_drop": 0.01},
        "log_loss": {"at_most": 5.0},
    }
    found = _run(make.space(data, data.predictions()), metrics=rules)
    compared = make.check(found, "roc-auc-against-base")
    assert compared.outcome == "skipped"
    assert "this is the first commit" in compared.message
    assert make.check(found, "worst-slice-against-base").outcome == "skipped"
    assert make.check(found, "roc-auc-limit").outcome == "failed"
    assert make.check(found, "log-loss-limit").outcome == "passed"
    assert make.check(found, "better-than-trivial").outcome == "passed"


@pytest.mark.parametrize("task", TASKS)
def test_a_useless_model_fails(task: str) -> None:
    data = make.data(task)
    guess = dataclasses.replace(data, signal=np.zeros_like(data.signal)).predictions(1.0)
    check = make.check(_run(make.space(data, guess)), "better-than-trivial")
    assert check.outcome == "failed"
    assert "no better than a model that ignores its input" in check.message


def test_a_few_rows_cannot_tell_a_useful_model() -> None:
    data = make.data(rows=24, strength=0.6)
    check = make.check(_run(make.space(data, data.predictions(0.1))), "better-than-trivial")
    assert check.outcome == "inconclusive"


@pytest.mark.parametrize("scores", [True, False])
def test_a_constant_model_fails_by_name(scores: bool) -> None:
    data = make.data()
    rows = len(data.frame)
    constant = Predictions(
        keys=data.frame.index,
        predicted=np.array(["no"] * rows, dtype=object),
        scores=np.tile([0.6, 0.4], (rows, 1)) if scores else None,
        classes=("no", "yes"),
    )
    found = _run(make.space(data, constant), metrics={"accuracy": {"at_least": 0.1}})
    assert make.check(found, "constant-predictions").outcome == "failed"
    assert make.check(found, "better-than-trivial").outcome == "failed"


@pytest.mark.parametrize("with_base", [True, False])
def test_predictions_inverted_for_one_region(with_base: bool) -> None:
    data = make.data()
    good = data.predictions()
    assert good.scores is not None
    inside = (data.frame["region"] == "north").to_numpy()
    scores = np.where(inside[:, None], good.scores[:, ::-1], good.scores)
    names = np.array(good.classes, dtype=object)
    bad = dataclasses.replace(good, scores=scores, predicted=names[scores.argmax(axis=1)])
    found = _run(make.space(data, bad, good if with_base else None))
    floor = make.check(found, "slice-better-than-trivial")
    assert (floor.outcome, floor.slice) == ("failed", "region = north")
    if with_base:
        change = make.check(found, "worst-slice-against-base")
        assert (change.outcome, change.slice) == ("failed", "region = north")
        moved = [note for note in found.notes if "decisions changed" in note]
        assert re.search(
            rf"{inside.sum()} of 2000 decisions changed: \d+ from (no|yes) to ", moved[0]
        )


def test_an_over_fit_model_warns_alone_and_fails_when_it_is_new() -> None:
    data, train = make.data(), make.data(seed=1, strength=9)
    head, on_train = data.predictions(2.0), train.predictions(0.01)
    alone = make.check(_run(make.space(data, head, train=(train, on_train))), "over-fit")
    assert alone.outcome == "warned"
    assert "there is no base" in alone.message
    same = _run(make.space(data, head, data.predictions(2.0), train=(train, on_train)))
    assert make.check(same, "over-fit").outcome == "warned"
    loose = train.predictions(25.0)
    new = make.space(data, head, head, train=(train, on_train), base_train=loose)
    assert make.check(_run(new), "over-fit").outcome == "failed"
    few = make.data(rows=60, seed=5)
    small = make.space(few, few.predictions(9.0), train=(train, on_train))
    assert make.check(_run(small), "over-fit").outcome == "inconclusive"


def test_training_rows_that_cannot_be_read_are_an_error() -> None:
    data = make.data()
    workspace = make.space(data, data.predictions(), train=(data, data.predictions()))
    workspace._made["predictions", "head", "head", "train"] = CannotLook("it broke")
    found = _run(workspace, deepchecks={})
    assert make.check(found, "over-fit").outcome == "error"
    assert make.check(found, "deepchecks-model-evaluation").outcome == "error"


def test_without_training_rows_the_suite_is_skipped_with_its_reason() -> None:
    data = make.data()
    found = _run(make.space(data, data.predictions()), deepchecks={})
    check = make.check(found, "deepchecks-model-evaluation")
    assert check.outcome == "skipped"
    assert "`data.train` is not given" in check.message


def test_prediction_files_without_training_rows() -> None:
    data = make.data()
    workspace = make.space(data, data.predictions(), train=(data, data.predictions()))
    vendor = ModelSettings(task="binary", predictions=PredictionFiles(test="p.csv"))
    head = dataclasses.replace(workspace.head, model=vendor)
    check = make.check(_run(dataclasses.replace(workspace, head=head)), "over-fit")
    assert check.outcome == "skipped"
    assert "model.predictions.train" in check.message


def test_a_base_that_cannot_take_heads_rows_answers_its_own() -> None:
    data = make.data()
    half = data.frame.index[:1000]
    full = data.predictions()
    assert full.scores is not None
    noisy = data.predictions(1.0)
    assert noisy.scores is not None
    own = dataclasses.replace(
        noisy, keys=half, predicted=noisy.predicted[:1000], scores=noisy.scores[:1000]
    )
    found = _run(make.space(data, full, CannotLook("no column z"), base_own=own))
    assert make.check(found, "roc-auc-against-base").rows == 1000
    assert any("no column z" in note for note in found.notes)


def test_a_base_that_answers_nothing_is_an_error() -> None:
    data = make.data()
    workspace = make.space(data, data.predictions(), CannotLook("no column z"))
    workspace._made["predictions", "base", "base", "test"] = CannotLook("it does not load")
    check = make.check(_run(workspace), "roc-auc-against-base")
    assert check.outcome == "error"
    assert "it does not load" in check.message


def test_no_shared_row_is_an_error() -> None:
    data = make.data()
    others = dataclasses.replace(data.predictions(), keys=pd.Index(range(2000)))
    workspace = make.space(data, data.predictions(), others)
    assert make.check(_run(workspace), "worst-slice-against-base").outcome == "error"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "no `model` section"),
        ({"model": ModelSettings(task="multiclass", path="m")}, "the base's model is multiclass"),
        ({"data": make.side("base", "binary", label="z").data}, "predicts another column, z"),
    ],
)
def test_a_base_that_cannot_be_compared(changes: dict[str, Any], said: str) -> None:
    data = make.data()
    workspace = make.space(data, data.predictions(), data.predictions())
    assert workspace.base is not None
    other = dataclasses.replace(workspace.base, **changes)
    check = make.check(_run(dataclasses.replace(workspace, base=other)), "roc-auc-against-base")
    assert check.outcome == "skipped"
    assert said in check.message


def test_rows_without_label_are_counted_and_left_out() -> None:
    data = make.data()
    data.frame.loc[data.frame.index[:5], "y"] = None
    found = _run(make.space(data, data.predictions(), data.predictions()))
    assert "5 of 2000 test rows have no label and were left out." in found.notes
    data.frame["y"] = None
    with pytest.raises(CannotLook, match="no test row has a label"):
        _run(make.space(data, data.predictions()))


def test_no_label_column_and_no_model() -> None:
    data = make.data()
    workspace = make.space(data, data.predictions())
    del data.frame["y"]
    with pytest.raises(CannotLook, match="no column 'y'"):
        _run(workspace)
    with pytest.raises(CannotLook, match="no `model` section"):
        _run(dataclasses.replace(workspace, head=dataclasses.replace(workspace.head, model=None)))


def test_a_label_with_one_class_cannot_be_judged() -> None:
    data = make.data()
    data.frame["y"] = "no"
    found = _run(make.space(data, data.predictions(), data.predictions()))
    assert make.check(found, "roc-auc-against-base").outcome == "error"
    assert make.check(found, "better-than-trivial").outcome == "error"


def test_labels_that_are_no_numbers() -> None:
    data = make.data("regression")
    data.frame["y"] = "much"
    with pytest.raises(CannotLook, match="not finite numbers"):
        _run(make.space(data, data.predictions()))


def test_slices_that_are_asked_for() -> None:
    data = make.data()
    found = _run(
        make.space(data, data.predictions(), data.predictions(3)),
        slices=["region", {"a": [-float("inf"), 0, float("inf")]}],
        automatic_slices=False,
        floor=None,
    )
    (table,) = [one for one in found.tables if one.title.startswith("Worst slices: gain")]
    names = {row[0] for row in table.rows}
    assert {"a < 0", "0 ≤ a", "region = south"} <= names
    assert len(names) == 6
    assert "better-than-trivial" not in _outcomes(found)


def test_small_slices_are_counted_not_judged() -> None:
    data = make.data()
    found = _run(make.space(data, data.predictions()), min_slice_rows=500)
    assert "smaller slices not judged" in make.check(found, "slice-better-than-trivial").message
    none = _run(make.space(data, data.predictions()), min_slice_rows=1999)
    assert make.check(none, "slice-better-than-trivial").outcome == "skipped"


def test_an_unknown_column_to_slice_by() -> None:
    data = make.data()
    with pytest.raises(CannotLook, match="no column 'city' to slice by"):
        _run(make.space(data, data.predictions()), slices=["city"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metrics": {"roc_acu": {}}}, "did you mean 'roc_auc'"),
        ({"metrics": {"mae": {"max_drop": 1}}}, "write `max_rise`, not `max_drop`"),
        ({"metrics": {"roc_auc": {"at_most": 1}}}, "write `at_least`, not `at_most`"),
        ({"metrics": {"zzzz": {}}}, "unknown metric 'zzzz'"),
        ({"slices": [{"a": [2, 1]}]}, "edges must rise"),
        ({"slices": [{"a": [1, float("nan")]}]}, "edges must rise"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        ModelStage(**settings)


def test_a_metric_of_another_task() -> None:
    data = make.data()
    with pytest.raises(CannotLook, match="mae is no metric of binary models"):
        _run(make.space(data, data.predictions()), metrics={"mae": {"max_rise": 1.0}})


def test_both_parts_of_a_tolerance_must_be_exceeded() -> None:
    assert Tolerance(absolute=0.02, relative_percent=5).of(0.8) == pytest.approx(0.04)
    assert Tolerance(absolute=0.02, relative_percent=5).of(0.1) == pytest.approx(0.02)


def test_a_model_that_stopped_giving_probabilities() -> None:
    data = make.data()
    base = data.predictions()
    head = dataclasses.replace(base, scores=None)
    found = _run(
        make.space(data, head, base),
        metrics={"roc_auc": {"at_least": 0.5, "max_drop": 0.01}, "accuracy": {"max_drop": 0.02}},
    )
    assert make.check(found, "roc-auc-limit").outcome == "error"
    gone = make.check(found, "roc-auc-against-base")
    assert gone.outcome == "error"
    assert "no value at head: the model gives no probabilities" in gone.message
    assert make.check(found, "accuracy-against-base").outcome == "passed"
    assert make.check(found, "better-than-trivial").message.startswith("The model's skill is")
    assert "0 of 2000 decisions changed." in found.notes
    assert [line.name for chart in found.charts for line in chart.lines] == ["base"]


def test_decisions_of_many_classes_are_counted() -> None:
    data = make.data("multiclass")
    found = _run(make.space(data, data.predictions(), data.predictions()))
    (note,) = [one for one in found.notes if "decisions changed" in one]
    assert note.count(" from ") == 4
    assert note.endswith(" others.")


def test_a_class_that_only_the_labels_have() -> None:
    data = make.data("multiclass")
    data.frame.loc[data.frame.index[:100], "y"] = "withdrawn"
    found = _run(make.space(data, data.predictions()))
    (table,) = [one for one in found.tables if one.title == "Confusion at head"]
    assert table.columns[-1] == "predicted withdrawn"
    assert sum(row[-1] for row in table.rows if isinstance(row[-1], int)) == 0


def test_missing_values_and_configured_categories_make_slices() -> None:
    data = make.data()
    data.frame["grade"] = np.arange(2000) % 5
    data.frame.loc[data.frame.index[:300], "b"] = np.nan
    data.frame["empty"] = np.nan
    workspace = make.space(data, data.predictions())
    head = make.side("head", "binary", categorical=["grade"], positive="yes")
    found = _run(dataclasses.replace(workspace, head=head), min_slice_rows=10)
    (table,) = [one for one in found.tables if one.title.startswith("Worst slices: gain")]
    assert len(table.rows) + table.left_out == 4 + 5 + 5 + 2 * 4


def test_a_positive_label_that_is_no_class() -> None:
    data = make.data()
    workspace = make.space(data, data.predictions())
    head = make.side("head", "binary", positive="perhaps")
    with pytest.raises(CannotLook, match="perhaps is not among the classes"):
        _run(dataclasses.replace(workspace, head=head))


def test_rows_without_an_answer() -> None:
    data = make.data()
    answers = data.predictions()
    assert answers.scores is not None
    short = dataclasses.replace(
        answers,
        keys=answers.keys[:-3],
        predicted=answers.predicted[:-3],
        scores=answers.scores[:-3],
    )
    with pytest.raises(CannotLook, match="3 labelled rows have no prediction"):
        _run(make.space(data, short))


def test_a_floor_above_the_trivial_model() -> None:
    data = make.data()
    check = make.check(
        _run(make.space(data, data.predictions()), floor=0.95), "better-than-trivial"
    )
    assert check.outcome == "failed"
    assert "no better than the floor 0.95" in check.message

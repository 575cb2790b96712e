"""Figures and tests of other tools: read from real files of both sides, held to their rules."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.model import ModelStage, imported, metric_files

REPORT = {  # as sklearn.metrics.classification_report(output_dict=True) writes it
    "no": {"precision": 0.8, "recall": 0.9, "f1-score": 0.847, "support": 100.0},
    "accuracy": 0.85,
    "macro avg": {"f1-score": 0.84},
    "note": "not a number",
    "flag": True,
}
JUNIT = """<?xml version="1.0"?>
<testsuites><testsuite name="s" tests="3">
<testcase classname="t.test_a" name="test_one"/>
<testcase classname="t.test_a" name="test_two"><failure message="no">trace</failure></testcase>
<testcase name="test_three"><skipped/></testcase>
</testsuite></testsuites>
"""


def workspace(tmp_path: Path, head: dict[str, str], base: dict[str, str] | None) -> Workspace:
    sides = []
    for name, files in (("head", head), ("base", base)):
        for file, text in (files or {}).items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        sides.append(
            Side(
                name=name,  # type: ignore[arg-type]
                root=tmp_path / name,
                commit="a" * 40,
                code="",
                data=DataSettings(test="t.csv", label="y"),
                model=None,
                subjects=(),
            )
        )
    return Workspace(
        head=sides[0],
        base=sides[1] if base is not None else None,
        base_missing="" if base is not None else "this is the first commit",
        judge=sides[0],
        commands=Commands(environ={}),
        folder=tmp_path,
        cache=tmp_path,
        cores=1,
    )


def judged(
    tmp_path: Path,
    head: dict[str, str],
    base: dict[str, str] | None,
    **one: Any,
) -> imported.Imported:
    stage = ModelStage.model_validate({"imports": [one]})
    return imported.imported(stage, workspace(tmp_path, head, base))


def seen(found: imported.Imported) -> list[tuple[str, str]]:
    return [(check.name, check.outcome) for check in found.checks]


def only(found: imported.Imported) -> Check:
    (check,) = found.checks
    return check


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        (
            "report.json",
            json.dumps(REPORT),
            {"no.precision": 0.8, "accuracy": 0.85, "macro avg.f1-score": 0.84},
        ),
        ("metrics.yaml", "train: {loss: 0.25}\nsteps: 10\n", {"train.loss": 0.25, "steps": 10.0}),
        ("metrics.toml", "[eval]\nauc = 0.9\n", {"eval.auc": 0.9}),
        ("one.json", "0.5", {"value": 0.5}),
    ],
)
def test_figures_by_dotted_name(
    tmp_path: Path, name: str, text: str, found: dict[str, float]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    read = metric_files.figures(tmp_path / name, tmp_path)
    assert {key: read[key] for key in found} == found
    assert not {"note", "flag"} & set(read)


def test_the_metrics_that_dvc_yaml_names(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  train:\n    cmd: x\n    metrics: [{m.json: {cache: false}}]\n"
        "metrics: [eval/e.yaml, m.json]\n",
        encoding="utf-8",
    )
    (tmp_path / "m.json").write_text('{"auc": 0.9}', encoding="utf-8")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/e.yaml").write_text("loss: 0.1\n", encoding="utf-8")
    found = metric_files.figures(tmp_path / "dvc.yaml", tmp_path)
    assert found == {"m.json:auc": 0.9, "eval/e.yaml:loss": 0.1}


def test_the_last_value_that_mlflow_logged(tmp_path: Path) -> None:
    folder = tmp_path / "mlruns/0/abc/metrics"
    folder.mkdir(parents=True)
    (folder / "auc").write_text("1700000000000 0.7 0\n1700000000001 0.8 1\n", encoding="utf-8")
    assert metric_files.figures(folder, tmp_path) == {"auc": 0.8}
    (folder / "auc").write_text("auc\n", encoding="utf-8")
    with pytest.raises(CannotLook, match="is no metric of MLflow"):
        metric_files.figures(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.json", '{"a": NaN}', "NaN is not a finite number"),
        ("m.json", '{"a": 1, "a": 2}', "'a' stands twice"),
        ("m.json", '{"a": "0.5"}', "holds no number"),
        ("m.json", "{", "is not valid JSON"),
        ("m.yaml", "a: [", "is not valid YAML"),
        ("m.toml", "a = ", "cannot be read"),
        ("m.json", json.dumps({str(n): n for n in range(501)}), "501 numbers, more than 500"),
        ("dvc.yaml", "metrics: [../secret.json]\n", "lies outside of the project"),
        ("dvc.yaml", "metrics: [gone.json]\n", "gone.json: cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "secret.json").write_text('{"a": 1}', encoding="utf-8")
    (root / name).write_text(text, encoding="utf-8")
    with pytest.raises(CannotLook) as caught:
        metric_files.figures(root / name, root)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html/>", "begins with <html>"),
        ("<testsuite>", "is no JUnit file"),
        ('<!DOCTYPE x [<!ENTITY a "a">]><testsuite/>', "declares entities"),
    ],
)
def test_what_is_no_junit_file(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.xml").write_text(text, encoding="utf-8")
    with pytest.raises(CannotLook, match="JUnit|entities") as caught:
        metric_files.tests(tmp_path / "t.xml", tmp_path)
    assert words in str(caught.value)


# --- judging ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "rule", "outcome"),
    [
        (0.90, 0.895, {"max_drop": 0.01}, "passed"),
        (0.90, 0.85, {"max_drop": 0.01}, "failed"),
        (0.90, 0.99, {"max_drop": 0.01}, "passed"),
        (0.10, 0.13, {"max_rise": 0.02}, "failed"),
        (0.10, 0.05, {"max_rise": 0.02}, "passed"),
        (0.80, 0.70, {"max_drop": {"absolute": 0.02, "relative_percent": 20}}, "passed"),
    ],
)
def test_a_change_is_held_to_its_tolerance(
    tmp_path: Path, before: float, after: float, rule: dict[str, Any], outcome: str
) -> None:
    files = [{"m.json": json.dumps({"x": value})} for value in (after, before)]
    found = judged(tmp_path, files[0], files[1], file="m.json", metrics={"x": rule})
    check = only(found)
    assert (check.name, check.outcome) == ("imported-against-base", outcome)
    assert (check.base, check.observed) == (before, after)
    assert check.slice == "m.json · x"
    assert [(m.name, m.value, m.base) for m in found.metrics] == [("x", after, before)]


def test_limits_hold_without_a_base_and_the_change_says_that_there_is_none(tmp_path: Path) -> None:
    rule = {"x": {"at_least": 0.8, "at_most": 0.95, "max_drop": 0.01}}
    found = judged(tmp_path, {"m.json": '{"x": 0.7}'}, None, file="m.json", metrics=rule)
    assert seen(found) == [("imported-limit", "failed"), ("imported-against-base", "skipped")]
    assert "this is the first commit" in found.checks[1].message


def test_a_figure_that_is_gone_is_an_error_and_not_a_pass(tmp_path: Path) -> None:
    rule = {"x": {"max_drop": 0.01}}
    files = {"m.json": '{"y": 0.7}'}
    found = judged(tmp_path, files, {"m.json": '{"x": 0.7}'}, file="m.json", metrics=rule)
    assert only(found).outcome == "error"
    assert "has no figure 'x'; it has y" in only(found).message
    gone = judged(tmp_path / "b", {}, files, file="m.json", metrics=rule)
    assert only(gone).outcome == "error"
    assert only(gone).message == "m.json: cannot be read: No such file or directory."


def test_failed_tests_are_named(tmp_path: Path) -> None:
    check = only(judged(tmp_path, {"t.xml": JUNIT}, None, file="t.xml"))
    assert (check.outcome, check.observed, check.rows) == ("failed", 1, 2)
    assert check.message == "1 of 2 tests failed: t.test_a.test_two."
    good = JUNIT.replace('<failure message="no">trace</failure>', "")
    assert only(judged(tmp_path, {"t.xml": good}, None, file="t.xml")).outcome == "passed"
    empty = only(judged(tmp_path, {"t.xml": "<testsuite/>"}, None, file="t.xml"))
    assert (empty.outcome, empty.message) == ("error", "t.xml holds no test that ran.")


def test_what_is_imported_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    stage = ModelStage.model_validate({"imports": [{"file": "m.json"}]})
    space = workspace(tmp_path, {"m.json": "{}"}, {"m.json": "{}"})
    before = stage.inputs(space)
    assert before["head.m.json"] == before["base.m.json"]
    (tmp_path / "head" / "m.json").write_text('{"a": 1}', encoding="utf-8")
    assert stage.inputs(space)["head.m.json"] != before["head.m.json"]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        ({"file": "t.xml", "metrics": {"x": {"at_least": 1}}}, "a JUnit file holds tests"),
        ({"file": "m.json", "metrics": {"x": {"max_drop": 1, "max_rise": 1}}}, "not both"),
        ({"file": "m.json", "metrics": {"x": {}}}, "give a limit"),
    ],
)
def test_rules_that_make_no_sense(one: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModelStage.model_validate({"imports": [one]})

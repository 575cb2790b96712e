"""Stage behaviour on models with one planted fault each, in real processes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ci_mlops import config
from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import Check
from ci_mlops.model.process import ONE_THREAD, ModelProcess
from ci_mlops.model.settings import ModelSettings, PredictionFiles
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.behaviour import BehaviourStage, CaseFile, asking, judging
from ci_mlops.stages.behaviour.asking import Door, Refusal, Reply, Spent
from tests.conftest import clean_environ
from tests.unit.stages.behaviour import behaviour_spaces as make
from tests.unit.stages.behaviour import planted

FRAME: pd.DataFrame = planted.data(150)  # type: ignore[no-untyped-call]
FEW = 120
"""Rows for each property: fewer than by default, for speed."""


@pytest.fixture(name="parent", scope="module")
def _parent() -> Iterator[ModelProcess]:
    """A process that has imported pandas once, which is most of what a model's start takes."""
    settings = ModelSettings(task="binary", path="model.txt")
    commands = Commands(environ=clean_environ())
    with ModelProcess(settings, root=make.HERE, commands=commands, env=ONE_THREAD) as process:
        assert process.preload(["numpy", "pandas"])
        yield process


@pytest.fixture(autouse=True)
def _forked(parent: ModelProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each model be in a process of its own that is forked off that one."""

    def fork(settings: ModelSettings, *, root: Path, commands: Commands) -> ModelProcess:
        assert commands
        return parent.fork(settings, root=root)

    monkeypatch.setattr(asking, "ModelProcess", fork)


def run(
    root: Path,
    commands: Commands,
    model: str | ModelSettings,
    base: str | ModelSettings | None = None,
    *,
    frame: pd.DataFrame = FRAME,
    data: dict[str, Any] | None = None,
    **settings: Any,
) -> Findings:
    return BehaviourStage(**{"examples": FEW, **settings}).run(
        workspace(root, commands, model, base, frame=frame, data=data)
    )


def workspace(
    root: Path,
    commands: Commands,
    model: str | ModelSettings,
    base: str | ModelSettings | None = None,
    *,
    frame: pd.DataFrame = FRAME,
    data: dict[str, Any] | None = None,
) -> Workspace:
    head = make.side(root, "head", model, **(data or {}))
    other = make.side(root, "base", base, **(data or {})) if base else None
    return make.space(root, commands, frame, head, other)


def check(findings: Findings, name: str, where: str = "") -> Check:
    (found,) = [one for one in findings.checks if (one.name, one.slice) == (name, where)]
    return found


def failed(findings: Findings) -> list[str]:
    return [one.name for one in findings.checks if one.outcome not in {"passed", "skipped"}]


def example(findings: Findings, start: str) -> dict[str, tuple[Any, ...]]:
    (table,) = [one for one in findings.tables if one.title.startswith(f"{start}: ")]
    return {str(row[0]): row[1:] for row in table.rows}


def test_a_sound_model_has_every_property(tmp_path: Path, commands: Commands) -> None:
    found = run(
        tmp_path,
        commands,
        "sound",
        invariant={"to": ["race"]},
        monotone={"income": "increasing", "debt": {"direction": "decreasing", "tolerance": 0.0}},
    )
    assert failed(found) == []
    assert {one.outcome for one in found.checks} == {"passed"}
    names = [(one.name, one.slice) for one in found.checks]
    assert names[: len(judging.BUILT_IN)] == [(one, "") for one in judging.BUILT_IN]
    assert names[len(judging.BUILT_IN) :] == [
        ("invariant", "race"),
        ("monotone", "income"),
        ("monotone", "debt"),
    ]
    assert check(found, "never-raises").rows == FEW
    assert {one.slice: one.value for one in found.metrics}["invariant · race"] == FEW
    assert found.tables[0].title.startswith("Rows tried: domain of head's test data, seed 0, ")
    assert {"hypothesis", "pandas", "python"} <= set(found.tools)
    assert len(found.tables) == 1
    assert not (tmp_path / "head" / ".hypothesis").exists()


@pytest.mark.parametrize(
    ("model", "name", "cells"),
    [
        ("nan_on_unseen", "unseen-category", {"state": ("a category never seen",)}),
        ("overflow", "finite", {"income": ("4437",)}),
        ("mutates", "leaves-input-unchanged", {"debt": ("(missing)",)}),
        ("crashes", "never-raises", {"term": ("480",)}),
        ("overshoots", "probabilities", {"answer": ("[0, 1.0000001]",)}),
        ("state", "stateless", {}),
        ("random", "deterministic", {}),
        ("short", "right-shape", {"debt": ("(missing)",)}),
        ("batch", "independent-of-batch", {}),
        ("order", "independent-of-row-order", {}),
    ],
)
def test_each_planted_bug_is_found_and_shown_small(
    tmp_path: Path, commands: Commands, model: str, name: str, cells: dict[str, tuple[str, ...]]
) -> None:
    found = run(tmp_path, commands, model)
    one = check(found, name)
    assert one.outcome == "failed", one.message
    assert one.observed is not None
    assert float(one.observed) > 0
    assert one.message.endswith("Seed 0.")
    assert "Smallest example" in one.message
    shown = example(found, name)
    assert {key: shown[key] for key in cells} == cells
    others = [key for key in shown if key.endswith("other columns")]
    assert others, "most of a small example is typical"
    assert found.tables[-1].title.startswith("The typical row")


def test_what_cannot_be_compared_is_undecided(tmp_path: Path, commands: Commands) -> None:
    found = run(tmp_path, commands, "random")
    for name in ("stateless", "independent-of-batch", "independent-of-row-order"):
        assert check(found, name).outcome == "inconclusive"
        assert "differ from themselves" in check(found, name).message
    found = run(tmp_path, commands, "state")
    assert check(found, "deterministic").outcome == "passed"
    assert "depend on what it was asked before" in check(found, "independent-of-batch").message


def test_a_model_that_ends_its_process_is_found(tmp_path: Path, commands: Commands) -> None:
    found = run(tmp_path, commands, "exits", examples=20)
    one = check(found, "never-raises")
    assert one.outcome == "failed"
    assert "ended its process" in one.message
    assert "Smallest example (income = 49" in one.message


def test_a_model_that_answers_nothing_leaves_the_rest_unlooked_at(
    tmp_path: Path, commands: Commands
) -> None:
    found = run(tmp_path, commands, "refuses", monotone={"income": "increasing"})
    assert check(found, "never-raises").outcome == "failed"
    assert check(found, "finite").message == "The model answered no row."
    assert check(found, "finite").outcome == check(found, "deterministic").outcome == "error"
    assert check(found, "monotone", "income").outcome == "error"


def test_what_is_only_refused_together_is_found(tmp_path: Path, commands: Commands) -> None:
    found = run(tmp_path, commands, "crowded")
    one = check(found, "never-raises")
    assert one.outcome == "failed"
    assert "too many" in one.message


def test_properties_can_be_left_out_and_the_report_says_so(
    tmp_path: Path, commands: Commands
) -> None:
    found = run(tmp_path, commands, "random", without=["deterministic", "never-raises"])
    assert check(found, "deterministic").outcome == "skipped"
    assert "`without`" in check(found, "deterministic").message
    assert check(found, "never-raises").outcome == "skipped"


# --- declared -----------------------------------------------------------------------------------


def test_a_feature_that_matters_is_found_and_stays_hidden(
    tmp_path: Path, commands: Commands
) -> None:
    found = run(tmp_path, commands, "biased", invariant={"to": ["race"]})
    one = check(found, "invariant", "race")
    assert one.outcome == "failed"
    shown = example(found, "invariant · race")
    assert shown["race"] == ("(sensitive)", "(sensitive)")
    share = float(one.observed or 0)
    again = run(
        tmp_path, commands, "biased", invariant=[{"to": ["race"], "max_flips_percent": share}]
    )
    assert check(again, "invariant", "race").outcome == "passed"


def test_scores_may_be_held_to_a_tolerance(tmp_path: Path, commands: Commands) -> None:
    for tolerance, outcome in ((0.0, "failed"), (0.3, "passed")):
        rule = {"to": ["race"], "tolerance": tolerance}
        found = run(tmp_path, commands, "biased", invariant=rule)
        assert check(found, "invariant", "race").outcome == outcome


def test_a_category_is_shown_where_it_was_configured(tmp_path: Path, commands: Commands) -> None:
    data = {"categorical": ("race", "state")}
    found = run(tmp_path, commands, "biased", invariant={"to": ["race"]}, data=data)
    assert set(example(found, "invariant · race")["race"]) <= {"black", "white", "other"}
    given = {"categories": {"race": ["black", "white"]}}
    found = run(tmp_path, commands, "biased", invariant={"to": ["race"]}, domain=given)
    assert set(example(found, "invariant · race")["race"]) == {"black", "white"}


def test_a_wrong_direction_is_found_with_the_pair_that_shows_it(
    tmp_path: Path, commands: Commands
) -> None:
    found = run(tmp_path, commands, "negative", monotone={"income": "increasing"})
    one = check(found, "monotone", "income")
    assert one.outcome == "failed"
    assert "as income rose" in one.message
    assert example(found, "monotone · income")["state"] == ("TX", "TX")
    lenient = {"income": {"direction": "increasing", "max_violations_percent": 100}}
    found = run(tmp_path, commands, "negative", monotone=lenient)
    assert check(found, "monotone", "income").outcome == "passed"


def test_decreasing_is_the_other_way(tmp_path: Path, commands: Commands) -> None:
    found = run(tmp_path, commands, "sound", monotone={"income": "decreasing"})
    assert "it rose from" in check(found, "monotone", "income").message


@pytest.mark.parametrize(
    ("model", "task", "invariant", "outcomes"),
    [
        ("labels", "binary", "term", ("passed", "passed", "skipped")),
        ("value", "regression", "debt", ("failed", "passed", "skipped")),
        ("three", "multiclass", "income", ("failed", "error", "passed")),
    ],
)
def test_every_task_and_form_of_answer(
    tmp_path: Path,
    commands: Commands,
    *,
    model: str,
    task: Any,
    invariant: str,
    outcomes: tuple[str, ...],
) -> None:
    settings = ModelSettings(task=task, path="model.txt", loader=f"planted:{model}")
    frame = (
        FRAME.assign(approved=np.resize([1.5, 2.5], len(FRAME))) if task == "regression" else FRAME
    )
    if task == "multiclass":
        frame = FRAME.assign(approved=np.resize(["a", "b", "c"], len(FRAME)))
    found = run(
        tmp_path,
        commands,
        settings,
        frame=frame,
        invariant={"to": [invariant]},
        monotone={"income": "increasing"},
    )
    assert (
        check(found, "invariant", invariant).outcome,
        check(found, "monotone", "income").outcome,
        check(found, "probabilities").outcome,
    ) == outcomes


def test_classes_by_their_scores_and_labels_by_their_number(
    tmp_path: Path, commands: Commands
) -> None:
    many = FRAME.assign(approved=np.resize(["a", "b", "c"], len(FRAME)))
    for model in ("three", "three_labels"):
        settings = ModelSettings(task="multiclass", path="model.txt", loader=f"planted:{model}")
        rule = {"to": ["income"], "tolerance": 0.05}
        found = run(tmp_path, commands, settings, frame=many, invariant=rule)
        assert check(found, "invariant", "income").outcome == "failed"


def test_a_column_that_the_model_is_not_given_cannot_matter(
    tmp_path: Path, commands: Commands
) -> None:
    rules: dict[str, Any] = {"invariant": {"to": ["race"]}, "monotone": {"term": "increasing"}}
    found = run(tmp_path, commands, "narrow", **rules)
    for key in (("invariant", "race"), ("monotone", "term")):
        assert check(found, *key).outcome == "passed"
        assert "is not given" in check(found, *key).message
    assert check(found, "unseen-category").outcome == "skipped"


def test_only_numbers_rise(tmp_path: Path, commands: Commands) -> None:
    found = run(tmp_path, commands, "sound", monotone={"state": "increasing"})
    assert check(found, "monotone", "state").outcome == "error"
    assert "holds no numbers" in check(found, "monotone", "state").message


# --- cases --------------------------------------------------------------------------------------

CASES = "name,income,debt,term,state,race,expected,tolerance\n"
HELD = CASES + "middle,1000,20,360,NY,other,yes,\nscore,1000,20,360,NY,other,0.5,0.01\n"


def with_cases(root: Path, commands: Commands, text: str, model: str = "sound") -> Check:
    space = workspace(root, commands, model)
    (space.head.root / "cases.csv").write_text(text, encoding="utf-8")
    found = BehaviourStage(examples=20, cases=("cases.csv",)).run(space)
    return check(found, "cases", "cases.csv")


def test_cases_that_hold_and_cases_that_do_not(tmp_path: Path, commands: Commands) -> None:
    assert with_cases(tmp_path, commands, HELD).outcome == "passed"
    wrong = HELD.replace("yes", "no").replace("0.5", "0.9")
    one = with_cases(tmp_path, commands, wrong)
    assert (one.outcome, one.observed) == ("failed", 100)
    assert "middle expects no, and it answered yes (0.5)" in one.message


def test_a_model_that_refuses_a_case_or_answers_nan_fails_it(
    tmp_path: Path, commands: Commands
) -> None:
    crash = (
        "income,debt,term,state,race,expected\n1000,20,480,NY,other,yes\n1000,20,360,NY,other,yes\n"
    )
    one = with_cases(tmp_path, commands, crash, "crashes")
    assert one.observed == 50
    assert "line 2 expects yes, and it answered ZeroDivisionError" in one.message
    nan = "income,debt,term,state,race,expected\n5000,20,480,NY,other,yes\n"
    assert "answered NaN" in with_cases(tmp_path, commands, nan, "overflow").message


def test_values_are_cases_of_regressions(tmp_path: Path, commands: Commands) -> None:
    settings = ModelSettings(task="regression", path="model.txt", loader="planted:value")
    frame = FRAME.assign(approved=np.resize([1.5, 2.5], len(FRAME)))
    space = workspace(tmp_path, commands, settings, frame=frame)
    text = (
        CASES + "a,100,10,360,NY,other,40,\nb,100,10,360,NY,other,41,2\nc,100,10,360,NY,other,41,\n"
    )
    (space.head.root / "cases.csv").write_text(text, encoding="utf-8")
    rule = CaseFile(file="cases.csv", max_wrong_percent=50)
    one = check(BehaviourStage(examples=20, cases=(rule,)).run(space), "cases", "cases.csv")
    assert one.outcome == "passed"
    assert "c expects 41, and it answered 40" in one.message[0].lower() + one.message[1:]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("income,expected\n1,yes\n", "has no column 'debt'"),
        ("income,debt,term,state,race\n1,1,1,NY,x\n", "has no column 'expected'"),
        (CASES, "holds no"),
        (CASES + "a,1,1,1,NY,x,,\n", "without `expected`"),
        (HELD.replace("name", "title"), "column 'title', which the model does not take"),
        (CASES + "a,many,1,1,NY,x,yes,\n", "something else than numbers in column 'income'"),
        (CASES + "a,1,1,1,NY,x,yes,some\n", "a tolerance that is no number"),
        (CASES + "a,1,1,1,NY,x,yes,0.1\n", "which needs a number"),
    ],
)
def test_a_file_that_is_none_of_cases_is_an_error(
    tmp_path: Path, commands: Commands, text: str, fault: str
) -> None:
    one = with_cases(tmp_path, commands, text)
    assert one.outcome == "error"
    assert fault in one.message


def test_cases_come_from_the_base(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands, "sound", "sound")
    stage = BehaviourStage(examples=20, cases=("a.csv", "b.csv", "no.csv", "data.txt"))
    (space.head.root / "a.csv").write_text(HELD, encoding="utf-8")
    own = stage.inputs(space)
    assert set(own) == {"a.csv"}
    assert space.base is not None
    (space.base.root / "a.csv").write_text(HELD.replace("yes", "no"), encoding="utf-8")
    (space.head.root / "b.csv").write_text(HELD, encoding="utf-8")
    assert stage.inputs(space)["a.csv"] != own["a.csv"]
    found = stage.run(space)
    assert check(found, "cases", "a.csv").outcome == "failed"
    assert check(found, "cases", "b.csv").outcome == "passed"
    assert "is missing" in check(found, "cases", "no.csv").message
    assert "is no .csv file" in check(found, "cases", "data.txt").message
    assert any("changes the cases a.csv" in note for note in found.notes)
    assert any("b.csv are head's own" in note for note in found.notes)


# --- feedback -----------------------------------------------------------------------------------

FEEDBACK = "income,debt,term,state,race,expected,issue,reason\n"
RIGHT = FEEDBACK + "5000,0,360,NY,other,yes,12,she paid\n100,60,360,TX,other,no,15,\n"
WRONG = RIGHT + "5000,0,360,TX,other,no,19,\n"


def with_feedback(
    space: Workspace, text: str, side: str = "judge", **settings: Any
) -> tuple[Check, Findings]:
    root = {"judge": space.judge, "head": space.head}[side].root
    (root / "feedback.csv").write_text(text, encoding="utf-8")
    given = {"examples": 20, "feedback": "feedback.csv", **settings}
    found = BehaviourStage(**given).run(space)
    return check(found, "feedback"), found


def test_corrections_that_hold_and_corrections_that_do_not(
    tmp_path: Path, commands: Commands
) -> None:
    space = workspace(tmp_path, commands, "sound")
    one, found = with_feedback(space, RIGHT)
    assert (one.outcome, one.message, one.rows) == ("passed", "All 2 corrections hold.", 2)
    (table,) = [t for t in found.tables if t.title.startswith("feedback: the corrections")]
    assert table.rows[0][:4] == ("feedback.csv", "head", 2, 2)
    digests = BehaviourStage(feedback="feedback.csv").inputs(space)
    assert digests == {"head feedback.csv": table.rows[0][4]}
    one, found = with_feedback(space, WRONG)
    assert one.outcome == "failed"
    assert one.message.startswith("The model answers 1 of 3 corrections otherwise.")
    assert "issue 19 (line 4) expects no, and it answered yes (1)" in one.message
    (missed,) = [t for t in found.tables if t.title == "feedback: what was missed"]
    assert missed.rows == (("issue 19 (line 4)", "no", "yes (1)"),)
    assert BehaviourStage(feedback="feedback.csv").inputs(space) != digests


def test_a_share_of_corrections_may_be_allowed(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands, "sound")
    rule = {"file": "feedback.csv", "max_wrong_percent": 34}
    one, _ = with_feedback(space, WRONG, feedback=rule)
    assert (one.outcome, one.limit and one.limit.at_most) == ("passed", 34)
    assert one.message.startswith("Issue 19 (line 4) expects no")


def test_a_model_that_refuses_a_correction_fails_it(tmp_path: Path, commands: Commands) -> None:
    text = RIGHT + "1000,20,480,NY,other,yes,20,\n"
    one, _ = with_feedback(workspace(tmp_path, commands, "crashes"), text)
    assert one.outcome == "failed"
    assert "issue 20 (line 4) expects yes, and it answered ZeroDivisionError" in one.message


def test_corrections_of_a_regression_have_a_tolerance(tmp_path: Path, commands: Commands) -> None:
    settings = ModelSettings(task="regression", path="model.txt", loader="planted:value")
    frame = FRAME.assign(approved=np.resize([1.5, 2.5], len(FRAME)))
    space = workspace(tmp_path, commands, settings, frame=frame)
    head = FEEDBACK.replace("reason", "tolerance")
    text = head + "100,10,360,NY,other,40,1,\n120,10,360,NY,other,51,2,2\n"
    assert with_feedback(space, text)[0].outcome == "passed"
    one, _ = with_feedback(space, text.replace("51,2,2", "51,2,0.5"))
    assert "issue 2 (line 3) expects 51, and it answered 50" in one.message
    one, _ = with_feedback(space, text.replace(",51,", ",much,"))
    assert one.outcome == "error"
    assert one.message.startswith("feedback.csv:3: expects something else than a number")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RIGHT.replace(",race", ",age"), "feedback.csv:1: has no column 'race', which the model"),
        (RIGHT.replace("reason", "name"), "feedback.csv:1: has the column 'name', which the model"),
        (RIGHT.replace("100,60", "many,60"), "feedback.csv:3: column 'income' holds numbers"),
        (RIGHT.replace(",15,", ",,"), "feedback.csv:3: has no number of an issue"),
        (RIGHT + "5000,0,360,NY,other,no,16,\n", "feedback.csv:4: contradicts line 2"),
    ],
)
def test_a_file_that_is_none_of_corrections_is_an_error(
    tmp_path: Path, commands: Commands, text: str, said: str
) -> None:
    one, _ = with_feedback(workspace(tmp_path, commands, "sound"), text)
    assert one.outcome == "error"
    assert one.message.startswith(said)


def test_a_path_that_is_no_csv_file_is_an_error(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands, "sound")
    (space.head.root / "folder.csv").mkdir()
    one, _ = with_feedback(space, RIGHT, feedback="folder.csv")
    assert (one.outcome, "folder.csv: is no .csv file" in one.message) == ("error", True)


def test_without_corrections_nothing_is_held_and_that_is_said(
    tmp_path: Path, commands: Commands
) -> None:
    space = workspace(tmp_path, commands, "sound")
    one, _ = with_feedback(space, FEEDBACK)
    assert one.outcome == "skipped"
    assert "feedback.csv holds no correction yet" in one.message
    one, found = with_feedback(space, FEEDBACK, feedback="other.csv")
    assert "head has no corrections yet" in one.message
    assert found.notes == ()


def test_a_correction_judges_what_comes_after_it(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands, "sound", "sound")
    one, found = with_feedback(space, WRONG, "head")
    assert (one.outcome, "base has no corrections yet" in one.message) == ("skipped", True)
    assert any("they judge what comes after it" in note for note in found.notes)
    one, found = with_feedback(space, WRONG)
    assert (one.outcome, one.base) == ("failed", one.observed)
    assert found.notes == ()
    assert set(BehaviourStage(feedback="feedback.csv").inputs(space)) == {
        "base feedback.csv",
        "head feedback.csv",
    }


def test_the_base_is_asked_for_each_and_only_what_it_held_is_new(
    tmp_path: Path, commands: Commands
) -> None:
    space = workspace(tmp_path, commands, "sound", "negative")
    one, _ = with_feedback(space, RIGHT)
    assert (one.outcome, one.observed, one.base) == ("passed", 0, 0)
    one, _ = with_feedback(space, WRONG, on_new_only=True)
    assert (one.outcome, one.base) == ("failed", 0)
    assert "The base's model answers 1 of them as expected." in one.message
    space = workspace(tmp_path, commands, "sound", "sound")
    one, _ = with_feedback(space, WRONG, on_new_only=True)
    assert (one.outcome, "It is the same at the base." in one.message) == ("warned", True)


# --- base ---------------------------------------------------------------------------------------


def test_old_faults_warn_and_new_ones_block(tmp_path: Path, commands: Commands) -> None:
    found = run(tmp_path, commands, "crashes", "crashes", on_new_only=True)
    one = check(found, "never-raises")
    assert (one.outcome, one.base) == ("warned", one.observed)
    assert "It is the same at the base." in one.message
    assert check(run(tmp_path, commands, "crashes", "crashes"), "never-raises").outcome == "failed"
    found = run(tmp_path, commands, "crashes", "sound", on_new_only=True)
    assert check(found, "never-raises").outcome == "failed"
    assert "It was less at the base." in check(found, "never-raises").message


def test_without_a_base_every_fault_is_new_and_that_is_said(
    tmp_path: Path, commands: Commands
) -> None:
    found = run(tmp_path, commands, "crashes", on_new_only=True)
    assert check(found, "never-raises").outcome == "failed"
    assert "this is the first commit" in found.notes[0]


@pytest.mark.parametrize(
    ("base", "why"),
    [
        (ModelSettings(task="binary", predictions=PredictionFiles(test="p.csv")), "nothing to ask"),
        (ModelSettings(task="binary", path="model.txt", loader="planted:none"), "no function none"),
        (
            ModelSettings(task="binary", path="model.txt", loader="planted:other"),
            "takes the column",
        ),
    ],
)
def test_a_base_that_cannot_be_asked_is_no_excuse(
    tmp_path: Path, commands: Commands, base: ModelSettings, why: str
) -> None:
    found = run(tmp_path, commands, "crashes", base, on_new_only=True)
    assert check(found, "never-raises").outcome == "failed"
    assert why in found.notes[0]


def test_what_base_does_may_stay_unknown(tmp_path: Path, commands: Commands) -> None:
    found = run(tmp_path, commands, "overflow", "refuses", on_new_only=True)
    one = check(found, "finite")
    assert one.outcome == "failed"
    assert "What base's model does is not known: The model answered no row." in one.message


def test_the_domain_is_learned_from_the_base_s_training_data(
    tmp_path: Path, commands: Commands
) -> None:
    data = {"train": "train.csv"}
    space = workspace(tmp_path, commands, "crashes", "crashes", data=data)
    base = space.base
    assert base is not None
    small = FRAME[FRAME["term"] < 480].drop(columns="race")
    make.lay(space, base, small, "train")
    found = BehaviourStage(examples=FEW).run(space)
    assert "domain of base's train data" in found.tables[0].title
    assert check(found, "never-raises").outcome == "passed"


def test_data_that_cannot_be_read_is_no_domain(tmp_path: Path, commands: Commands) -> None:
    head = make.side(tmp_path, "head", "sound")
    space = make.space(tmp_path, commands, FRAME, head)
    space._made["table", "head", "test"] = CannotLook("is missing")
    with pytest.raises(CannotLook, match="is missing"):
        BehaviourStage().run(space)
    with pytest.raises(CannotLook, match=r"head's test data cannot be read"):
        judging._reference(space)


# --- time ---------------------------------------------------------------------------------------


def test_a_slow_model_is_tried_on_less_and_does_not_pass(
    tmp_path: Path, commands: Commands
) -> None:
    found = run(tmp_path, commands, "slow", examples=1000, max_seconds=4)
    one = check(found, "never-raises")
    assert one.outcome == "inconclusive"
    assert one.rows is not None
    assert one.rows < 1000
    assert "instead of 1000" in one.message


def test_no_time_at_all_is_an_error(tmp_path: Path, commands: Commands) -> None:
    with pytest.raises(CannotLook, match=r"20 rows took all of the time\. Raise it"):
        run(tmp_path, commands, "slow", max_seconds=0.001)


def test_what_the_time_did_not_allow_is_an_error(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spend(settings: object, space: judging.Space, door: Door) -> judging.Space:
        door.deadline = door.now()
        return space

    monkeypatch.setattr(judging, "_affordable", spend)
    rules: dict[str, Any] = {"monotone": {"income": "increasing"}, "invariant": {"to": ["race"]}}
    found = run(tmp_path, commands, "sound", **rules)
    assert {one.outcome for one in found.checks} == {"error"}
    assert "no time left" in check(found, "finite").message
    assert "no time left" in check(found, "monotone", "income").message


# --- the door -----------------------------------------------------------------------------------


def test_the_door_gives_up_on_a_model_that_keeps_ending(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_STARTS", 1)
    monkeypatch.setattr(asking, "ModelProcess", ModelProcess)  # a fork's exit code is not seen
    side = make.side(tmp_path, "head", "exits")
    rich = FRAME.assign(income=5000)
    with Door(side, commands, deadline=time.monotonic() + 60) as door:
        door.hide = lambda said, _: said
        refusal = door.ask(rich)
        assert isinstance(refusal, Refusal)
        assert "ended its process (exit code 3)" in refusal.said
        with pytest.raises(Spent, match="ended its process 1 times"):
            door.ask(rich)


def test_the_door_ends_a_model_that_takes_all_of_the_time(
    tmp_path: Path, commands: Commands
) -> None:
    side = make.side(tmp_path, "head", "slow")
    with Door(side, commands, deadline=0) as door:
        door.deadline = door.now() + 0.1
        with pytest.raises(Spent, match="no time left"):
            door.ask(FRAME)


def test_a_model_that_does_not_load_cannot_be_looked_at(tmp_path: Path, commands: Commands) -> None:
    settings = ModelSettings(task="binary", path="model.txt", loader="planted:missing")
    with pytest.raises(CannotLook, match="no function missing"):
        run(tmp_path, commands, settings)


def test_without_a_model_there_is_nothing_to_ask(tmp_path: Path, commands: Commands) -> None:
    side = make.side(tmp_path, "head", "sound")
    bare = Side(**{**side.__dict__, "model": None})
    with pytest.raises(CannotLook, match="no `model` section, so there is nothing to ask"):
        Door(bare, commands, deadline=0)


def test_answers_of_another_form_differ() -> None:
    raw: dict[str, Any] = {"scores": None, "predicted": None}
    one = Reply(values=np.array([[0.5], [np.nan]]), raw=raw)
    assert one.differs(
        Reply(values=np.array([[0.5 + 1e-9], [np.nan]]), raw=raw), 1e-6
    ).tolist() == [
        False,
        False,
    ]
    assert one.differs(Reply(values=np.array([["a"], ["b"]], dtype=object), raw=raw), 1).all()


# --- what is never shown ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("race", "model"), [("canary-71", "names"), ("canary-71", "biased_canary"), (71_717, "names")]
)
def test_no_sensitive_value_is_shown(
    tmp_path: Path, commands: Commands, race: object, model: str
) -> None:
    frame = FRAME.assign(race=FRAME["race"].map({"black": race, "white": 5, "other": 6}))
    if isinstance(race, str):
        frame["race"] = frame["race"].astype(str)
    found = run(tmp_path, commands, model, frame=frame, invariant={"to": ["race"]}, examples=200)
    assert failed(found)
    parts = [one.model_dump(mode="json") for one in (*found.checks, *found.tables, *found.metrics)]
    assert str(race) not in json.dumps(parts)
    assert "(sensitive)" in json.dumps(parts)


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"invariant": [{"to": ["a"]}, {"to": ["a"]}]}, "invariant: 'a' stands twice"),
        ({"cases": ["a.csv", {"file": "a.csv"}]}, "cases: 'a.csv' stands twice"),
        ({"without": ["finite", "finite"]}, "without: 'finite' stands twice"),
        ({"domain": {"range": {"a": [2, 1]}}}, "range.a: the first number must be below"),
        ({"monotone": {"a": "up"}}, "increasing"),
        ({"max_seconds": 0}, "greater than 0"),
        ({"invariant": {"to": []}}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        BehaviourStage(**given)


def test_wrong_settings_are_one_line() -> None:
    text = (
        "version: 1\nproject: p\ndata: {test: t.csv, label: y}\nmodel: {path: m, task: binary}\n"
        "stages:\n  behaviour:\n    monotone: {income: up}\n"
    )
    with pytest.raises(
        ConfigError, match=r"mlops.yml:7: stages.behaviour.monotone.income: "
    ) as told:
        config.parse(text, "mlops.yml")
    assert "\n" not in str(told.value)
    with pytest.raises(ConfigError, match=r'unknown setting, did you mean "monotone"\?'):
        config.parse(text.replace("monotone", "monoton"), "mlops.yml")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (
            {"invariant": {"to": ["rac"]}},
            'invariant.to: there is no column .rac., did you mean "race"',
        ),
        ({"monotone": {"zzz": "increasing"}}, "monotone: there is no column .zzz."),
        ({"domain": {"range": {"incom": [1, 2]}}}, "domain: there is no column .incom."),
    ],
)
def test_a_column_that_is_not_there_is_named(
    tmp_path: Path, commands: Commands, given: dict[str, Any], place: str
) -> None:
    with pytest.raises(CannotLook, match=place):
        run(tmp_path, commands, "sound", **given)

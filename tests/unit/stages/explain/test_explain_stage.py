"""Stage explain on models whose weights are known."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Subject, text_sha256
from ci_mlops.model.settings import ModelSettings, PredictionFiles
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.explain import ExplainStage
from ci_mlops.stages.explain.asking import Door
from tests.unit.stages.behaviour.behaviour_spaces import lay, space

HERE = Path(__file__).parent
RNG = np.random.default_rng(3)
FRAME = pd.DataFrame(
    {name: RNG.normal(size=600) for name in ("a", "b", "c", "noise")},
    index=pd.Index([f"r{n}" for n in range(600)]),
)
FRAME["race"] = np.where(FRAME["c"] + RNG.normal(scale=0.3, size=600) > 0, "x", "y")
FRAME["approved"] = (2 * FRAME["a"] + FRAME["b"] + RNG.logistic(scale=0.7, size=600) > 0).astype(
    int
)
GOOD = {"a": 2.0, "b": 1.0, "noise": 0.0}


def side(root: Path, name: Any, model: dict[str, Any], **changes: Any) -> Side:
    folder = root / name
    folder.mkdir()
    shutil.copy(HERE / "weighed.py", folder / "weighed.py")
    (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")
    data = {"test": "test.csv", "label": "approved", "sensitive": ["race"]}
    settings = {"task": "binary", "path": "model.json", "loader": "weighed:load"}
    return Side(
        name=name,
        root=folder,
        commit=("a" if name == "base" else "b") * 40,
        code="",
        data=DataSettings(**{**data, **changes.pop("data", {})}),
        model=ModelSettings(**{**settings, **changes}),
        subjects=(Subject(name="model", sha256=text_sha256(json.dumps(model))),),
    )


def made(
    root: Path,
    commands: Commands,
    head: dict[str, Any],
    base: dict[str, Any] | None = None,
    frame: pd.DataFrame = FRAME,
    **changes: Any,
) -> Workspace:
    ours = side(root, "head", head, **changes)
    theirs = side(root, "base", base, **changes) if base else None
    # The columns that the model takes are those that it has weights for, and race beside them.
    kept = [*head["weights"], "race", "approved"]
    workspace = space(root, commands, frame[list(dict.fromkeys(kept))], ours, theirs)
    if theirs is not None:
        lay(workspace, theirs, frame[list(dict.fromkeys(kept))])
    return workspace


def check(findings: Findings, name: str, slice_: str | None = None) -> Check:
    (found,) = [one for one in findings.checks if one.name == name and slice_ in {None, one.slice}]
    return found


def run(workspace: Workspace, **settings: Any) -> Findings:
    chosen = {"rows": 600, "dependence": 1, "flips": 1, **settings}
    return ExplainStage(**chosen).run(workspace)


def test_what_a_model_relies_on_is_found_in_its_order(tmp_path: Path, commands: Commands) -> None:
    workspace = made(tmp_path, commands, {"weights": GOOD})
    found = run(
        workspace,
        must_matter=("a", "noise"),
        must_not_matter=("b",),
    )
    table = found.tables[0]
    assert [row[0] for row in table.rows[:2]] == ["a", "b"]
    assert check(found, "single-feature").slice == "a"
    assert check(found, "must-matter", "a").outcome == "passed"
    assert check(found, "must-matter", "noise").outcome == "failed"
    unused = run(workspace, must_not_matter=("noise",))
    assert check(unused, "must-not-matter", "noise").outcome == "passed"
    assert check(found, "must-not-matter", "b").outcome == "failed"
    assert "Nothing was compared with a base" in found.notes[0]
    assert [chart.title for chart in found.charts] == [
        "What the model relies on",
        "Mean answer by a",
    ]
    values = found.charts[1].lines[0].values
    assert np.all(np.diff(np.array(values, dtype=float)) > 0), "the answer rises with a"


def test_a_feature_that_is_the_label_is_a_leak(tmp_path: Path, commands: Commands) -> None:
    frame = FRAME.assign(leak=FRAME["approved"] + RNG.normal(scale=0.01, size=600))
    space_ = made(
        tmp_path, commands, {"weights": {"a": 0.1, "leak": 9.0}, "bias": -4.5}, frame=frame
    )
    warned = check(run(space_), "single-feature")
    assert (warned.slice, warned.outcome) == ("leak", "warned")
    failed = check(run(space_, max_share=0.5), "single-feature")
    assert (failed.outcome, failed.limit and failed.limit.at_most) == ("failed", 0.5)
    assert failed.remedy
    near = check(run(space_, max_share=warned.observed), "single-feature")
    assert near.outcome == "inconclusive"
    assert "more rows would tell" in near.message


def test_a_proxy_of_a_sensitive_feature_is_named(tmp_path: Path, commands: Commands) -> None:
    weights = {"a": 2.0, "b": 1.0, "c": 0.6}
    space_ = made(tmp_path, commands, {"weights": weights})
    found = check(run(space_), "proxy", "race")
    assert (found.outcome, "relies on c," in found.message) == ("warned", True)
    assert check(run(space_, on_sensitive="fail"), "proxy", "race").outcome == "failed"
    assert not [one for one in run(space_, on_sensitive="ignore").checks if one.name == "proxy"]


def test_a_proxy_that_does_not_matter_is_none(tmp_path: Path, commands: Commands) -> None:
    weights = {"a": 2.0, "b": 1.0, "c": 0.0}
    found = check(run(made(tmp_path, commands, {"weights": weights})), "proxy", "race")
    assert (found.outcome, "c does it best" in found.message) == ("passed", True)


def test_a_sensitive_input_that_matters_is_told(tmp_path: Path, commands: Commands) -> None:
    sensitive = {"sensitive": ["b"]}
    found = run(made(tmp_path, commands, {"weights": GOOD}, data=sensitive), dependence=3)
    assert check(found, "sensitive-feature", "b").outcome == "warned"
    titles = [chart.title for chart in found.charts]
    assert "Mean answer by a" in titles
    assert "Mean answer by b" not in titles, "its values would be shown"


def test_flipped_decisions_are_counted_by_group_and_explained(
    tmp_path: Path, commands: Commands
) -> None:
    workspace = made(
        tmp_path,
        commands,
        {"weights": {"a": 2.0, "b": -1.0, "noise": 0.0}},
        {"weights": GOOD},
    )
    found = run(workspace, max_flipped_percent=5, flips=2)
    one = check(found, "flipped-decisions")
    assert one.outcome == "failed"
    assert isinstance(one.observed, float)
    assert one.observed > 10
    groups = next(t for t in found.tables if t.title == "Flipped decisions by race")
    assert sum(int(str(row[2])) for row in groups.rows) == round(6 * one.observed)
    assert all(int(str(r[2])) == int(str(r[4])) + int(str(r[5])) for r in groups.rows)
    largest = next(t for t in found.tables if t.title.startswith("Largest flips"))
    assert len(largest.rows) == 2
    assert str(largest.rows[0][2]).startswith("b "), "it is b whose weight changed"
    assert not any(str(cell)[:1] == "r" and str(cell)[1:].isdigit() for cell in largest.rows[0])
    assert (
        check(run(workspace, max_flipped_percent=5, on_flipped="warn"), "flipped-decisions").outcome
        == "warned"
    )
    assert check(run(workspace, max_flipped_percent=90), "flipped-decisions").outcome == "passed"
    (agreement,) = [m for m in found.metrics if m.name == "rank-agreement"]
    assert -1 <= agreement.value <= 1


def test_a_threshold_that_flips_has_no_feature_to_blame(tmp_path: Path, commands: Commands) -> None:
    workspace = made(tmp_path, commands, {"weights": GOOD}, {"weights": GOOD}, threshold=0.5)
    head = workspace.head.model
    assert head is not None
    object.__setattr__(workspace.head, "model", head.model_copy(update={"threshold": 0.8}))
    found = run(workspace)
    assert float(str(check(found, "flipped-decisions").observed)) > 0
    assert not [t for t in found.tables if t.title.startswith("Largest flips")]
    assert any("have the score that they had" in note for note in found.notes)


def test_values_and_labels_without_scores_are_judged_too(
    tmp_path: Path, commands: Commands
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "l").mkdir()
    frame = FRAME.assign(approved=2 * FRAME["a"] + FRAME["b"])
    value = {"kind": "Value", "weights": GOOD}
    found = run(made(tmp_path / "v", commands, value, value, frame=frame, task="regression"))
    assert check(found, "single-feature").slice == "a"
    assert not [one for one in found.checks if one.name == "flipped-decisions"]
    frame = FRAME.assign(approved=np.where(FRAME["approved"] == 1, "yes", "no"))
    labels = {"kind": "Labels", "weights": GOOD}
    found = run(made(tmp_path / "l", commands, labels, frame=frame, data={"positive": "yes"}))
    assert check(found, "single-feature").slice == "a"


def test_columns_that_hang_together_are_exchanged_together(
    tmp_path: Path, commands: Commands
) -> None:
    workspace = made(tmp_path, commands, {"kind": "Refuses", "weights": {"a": 2.0, "b": 1.0}})
    frame = FRAME[FRAME["a"] * FRAME["b"] >= -2]
    lay(workspace, workspace.head, frame[["a", "b", "race", "approved"]])
    alone = [one for one in run(workspace).checks if one.name == "importance"]
    assert {one.outcome for one in alone} == {"inconclusive"}
    assert "Name columns that hang together" in alone[0].remedy
    found = run(workspace, together={"both": ("a", "b")})
    assert check(found, "single-feature").slice == "both"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"must_matter": ("gone",)}, "'gone' is neither an input"),
        ({"together": {"x": ("a", "gone")}}, "'gone' is no input of the model"),
    ],
)
def test_a_feature_that_is_none_is_named(
    tmp_path: Path, commands: Commands, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(CannotLook, match=said):
        run(made(tmp_path, commands, {"weights": GOOD}), **settings)


def test_too_few_rows_or_no_model_cannot_be_looked_at(tmp_path: Path, commands: Commands) -> None:
    with pytest.raises(CannotLook, match="40 rows are too few"):
        run(made(tmp_path, commands, {"weights": GOOD}, frame=FRAME.head(40)))
    (tmp_path / "f").mkdir()
    workspace = made(tmp_path / "f", commands, {"weights": GOOD})
    files = ModelSettings(task="binary", predictions=PredictionFiles(test="p.csv"))
    object.__setattr__(workspace.head, "model", files)
    with pytest.raises(CannotLook):
        run(workspace)


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' stands twice"):
        ExplainStage(must_matter=("a",), must_not_matter=("a",))


def test_shap_values_stand_beside_the_shares_and_decide_nothing(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = made(tmp_path, commands, {"weights": GOOD})
    without = run(workspace)
    assert without.tables[0].columns[-1] == "ranks gained"
    values = {"a": 1.5, "b": 0.25, "noise": 0.0}
    monkeypatch.setattr(Door, "shap", lambda *_: (values, "1.2.3"))
    found = run(workspace)
    shown = {row[0]: row[-1] for row in found.tables[0].rows if row[0] in values}
    assert (found.tables[0].columns[-1], shown) == ("mean |SHAP|", values)
    assert any(note.startswith("SHAP 1.2.3") for note in found.notes)
    (agreement,) = [one for one in found.metrics if one.slice == "with SHAP"]
    assert agreement.value == 1
    assert found.checks == without.checks

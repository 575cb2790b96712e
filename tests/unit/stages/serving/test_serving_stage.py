"""Stage serving on planted models, with real servers."""

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ci_mlops import bundling
from ci_mlops.command import Commands
from ci_mlops.dataset.settings import Contract
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.model.settings import ModelSettings, PredictionFiles
from ci_mlops.serving import bundle
from ci_mlops.serving.signature import Column
from ci_mlops.stage import Findings, Workspace
from ci_mlops.stages.serving import ServingStage
from tests.unit.stages.behaviour import behaviour_spaces as make
from tests.unit.stages.behaviour import planted

FRAME: pd.DataFrame = planted.data(60)  # type: ignore[no-untyped-call]


def workspace(
    root: Path, commands: Commands, model: str | ModelSettings, frame: pd.DataFrame = FRAME
) -> Workspace:
    head = make.side(root, "head", model)
    (root / ".mlops").mkdir()
    subprocess.run(["git", "init", "-q", str(head.root)], check=True)
    return make.space(root, commands, frame, head)


def check(findings: Findings, name: str) -> Check:
    (found,) = [one for one in findings.checks if one.name == name]
    return found


def settings(model: str, task: Any) -> ModelSettings:
    return ModelSettings(task=task, path="model.txt", loader=f"planted:{model}")


@pytest.mark.parametrize(
    ("model", "task", "labels"),
    [
        ("sound", "binary", None),
        ("labels", "binary", None),
        ("three", "multiclass", ["a", "b", "c"]),
        ("value", "regression", [1.5, 2.5]),
    ],
)
def test_what_was_judged_is_what_is_served(
    tmp_path: Path, commands: Commands, model: str, task: Any, labels: list[Any] | None
) -> None:
    frame = FRAME.assign(seen=pd.Timestamp("2026-11-23 10:30:00.25"))
    if labels is not None:
        frame = frame.assign(approved=np.resize(labels, len(frame)))
    space = workspace(tmp_path, commands, settings(model, task), frame)
    found = ServingStage().run(space)
    assert [(one.name, one.outcome) for one in found.checks] == [
        ("bundle", "passed"),
        ("ready", "passed"),
        ("server-metadata", "passed"),
        ("model-metadata", "passed"),
        ("live", "passed"),
        ("model-ready", "passed"),
        ("answers", "passed"),
        ("predictions", "passed"),
        ("wrong-input", "passed"),
        ("ends-gracefully", "passed"),
    ]
    assert check(found, "predictions").rows == 32
    assert {one.name for one in found.metrics} == {"bundle-size", "answer-p50", "answer-p95"}
    digest = str(check(found, "bundle").observed)
    folder = space.cache / "bundles" / digest.removeprefix("sha256:")
    assert bundle.digest(folder) == digest
    assert (folder / "code" / "planted.py").is_file()


def test_the_same_input_is_the_same_bundle_and_another_is_not(
    tmp_path: Path, commands: Commands
) -> None:
    space = workspace(tmp_path, commands, "sound")
    digests = list[str]()
    for change in ("", "", "another"):
        (space.head.root / "code.py").write_text(change, encoding="utf-8")
        digests.append(bundling._made(space, space.head)[1])
    assert digests[0] == digests[1] != digests[2]


def ruled(space: Workspace) -> dict[str, Column]:
    """Return the columns of a new bundle by name."""
    space._made.pop(("bundle", "head"), None)
    columns = bundle.read_serve(bundling.make(space, space.head)[0]).signature.columns
    return {one.name: one for one in columns}


SEEN: dict[str, tuple[Any, str, tuple[Any, Any]]] = {
    "whole": ([1, 2, 3], "int64", ((1, 3), None)),
    "large": ([2**53 + 1, 0, 5], "int64", ((0, 2**53 + 1), None)),
    "broken": ([1.0, 7.5, np.nan], "float64", ((1.0, 7.5), None)),
    "endless": ([1.0, 2.0, np.nan], "float64", ((1.0, 2.0), None)),
    "single": ([0.5, 0.7, 0.6], "float32", ((0.5, float(np.float32(0.7))), None)),
    "maybe": ([4, None, 9], "Int64", ((4, 9), None)),
    "member": ([True, False, True], "bool", (None, ("False", "True"))),
    "city": (["A", "B", None], "object", (None, ("A", "B"))),
    "kind": (["a", "b", "a"], "category", (None, None)),
    "since": (["2026-11-23"] * 3, "datetime64[ns]", (None, None)),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_was_seen_of_a_column_is_what_is_allowed(
    tmp_path: Path, commands: Commands, name: str
) -> None:
    values, dtype, rules = SEEN[name]
    column = pd.Series(list(values) * (len(FRAME) // 3), dtype=dtype)
    space = workspace(tmp_path, commands, "sound", FRAME.assign(**{name: column}))
    found = ruled(space)[name]
    assert (found.range, found.known) == rules
    sent = [None if pd.isna(one) else one for one in column.astype(object)]
    assert found.kind == "datetime" or found.outside(sent) == [], "what was judged is allowed"
    if name == "single":
        assert found.outside([0.7, 0.70001]) == [0.70001], "as the column holds it"
    if name == "large":
        assert found.outside([2**53 + 2, 2**53]) == [2**53 + 2]


def test_where_any_value_may_come_there_is_no_rule(tmp_path: Path, commands: Commands) -> None:
    day = datetime(2026, 11, 23, tzinfo=UTC).date()
    frame = FRAME.assign(
        note=[f"note {n}" for n in range(len(FRAME))],
        day=pd.Series([day] * len(FRAME), dtype=object),
    )
    head = make.side(tmp_path, "head", "sound")
    kept = frame.drop(columns="day")
    described = {"name": "day", "kind": "json"}
    assert bundling._allowed(described, [frame["day"]], head) == {}, "an object of another type"
    (tmp_path / "again").mkdir()
    assert ruled(workspace(tmp_path / "again", commands, "sound", kept))["note"].known is None


def test_a_column_that_the_training_data_lack_stays_as_it_was_judged(
    tmp_path: Path, commands: Commands
) -> None:
    head = make.side(tmp_path, "head", "sound")
    held = [pd.Series([1, 2]), pd.Series([None, None], dtype=object)]
    described = {"name": "age", "kind": "array", "dtype": "<i8"}
    assert bundling._allowed(described, held, head) == {"range": (1, 2)}


def test_the_rules_of_the_data_contract_are_those_of_the_bundle(
    tmp_path: Path, commands: Commands
) -> None:
    frame = FRAME.assign(
        grade=np.resize([1, 2], len(FRAME)),
        size=np.resize([1.0, 7.5, np.nan], len(FRAME)),
        zip=np.resize(["1", "2"], len(FRAME)),
        since=pd.Timestamp("2026-11-23"),
    )
    asked = settings("sound", "binary").model_copy(update={"out_of_contract": "refuse"})
    space = workspace(tmp_path, commands, asked, frame)
    assert bundle.read_serve(bundling.make(space, space.head)[0]).signature.out_of_contract
    before = ServingStage().inputs(space)
    contract = Contract(
        range={"size": (0, 9), "since": (0, 1), "zip": (1, 5)},
        categories={"grade": ("1", "2", "3"), "zip": (1, 2, 3)},
    )
    space = replace(space, head=replace(space.head, contract=contract))
    assert ServingStage().inputs(space) != before, "no evidence of other rules stands for it"
    found = ruled(space)
    assert found["since"].has_rule is False
    assert found["size"].outside([0, 9.0, 9.5, None]) == [9.5]
    assert found["grade"].outside([3, 3.0, 4]) == [4], "3 is allowed, though nobody has seen it"
    assert found["zip"].outside(["3", "4", "6", "x"]) == ["4", "6", "x"]
    assert all(one.outcome == "passed" for one in ServingStage().run(space).checks)


def test_old_bundles_are_removed(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "KEPT", 2)
    space = workspace(tmp_path, commands, "sound")
    digests: list[str] = []
    for change in ("1", "2", "1", "3"):
        (space.head.root / "code.py").write_text(change, encoding="utf-8")
        folder, digest = bundling._made(space, space.head)
        os.utime(folder, (len(digests), len(digests)))
        digests.append(digest)
    kept = {f"sha256:{one.name}" for one in (space.cache / "bundles").iterdir()}
    assert kept == {digests[0], digests[3]}, "the second was used longest ago"


def test_a_damaged_bundle_is_made_anew(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands, "sound")
    first = check(ServingStage().run(space), "bundle").observed
    folder = space.cache / "bundles" / str(first).removeprefix("sha256:")
    (folder / "recorded.json").write_text("{}", encoding="utf-8")
    del space._made["bundle", "head"]
    again = ServingStage().run(space)
    assert check(again, "bundle").observed == first
    assert check(again, "predictions").outcome == "passed"


def test_a_model_that_is_another_one_in_the_server_is_found(
    tmp_path: Path, commands: Commands
) -> None:
    found = ServingStage().run(workspace(tmp_path, commands, "random"))
    assert check(found, "predictions").outcome == "failed"
    assert "another answer than was judged" in check(found, "predictions").message


def test_a_server_that_cannot_load_the_model_says_why(tmp_path: Path, commands: Commands) -> None:
    space = workspace(tmp_path, commands, "sound")
    space.predictions(model=space.head, data=space.head, part="test")
    (space.head.root / "planted.py").write_text("import no_such_package", encoding="utf-8")
    found = ServingStage().run(space)
    one = check(found, "ready")
    assert one.outcome == "failed"
    assert one.message.startswith("The server was not ready within 30 s. It printed: error: ")
    assert "needs the package no_such_package" in one.message
    assert len(found.checks) == 2


def test_there_must_be_a_model(tmp_path: Path, commands: Commands) -> None:
    files = ModelSettings(task="binary", predictions=PredictionFiles(test="p.csv"))
    with pytest.raises(CannotLook, match="head has no model file, so there is nothing to serve"):
        ServingStage().run(workspace(tmp_path, commands, files))

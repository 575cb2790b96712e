"""Stage serving on planted models, with real servers."""

import os
import subprocess
from dataclasses import replace
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
from ci_mlops.serving.signature import Signature
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


def test_the_data_contract_stands_in_the_bundle(tmp_path: Path, commands: Commands) -> None:
    frame = FRAME.assign(
        grade=np.resize([1, 2, 3], len(FRAME)),
        size=np.resize([1.0, 7.5, np.nan], len(FRAME)),
        city=np.resize(["A", "B", None], len(FRAME)),
        note=[f"note {n}" for n in range(len(FRAME))],
        since=pd.Timestamp("2026-11-23"),
        member=np.resize([True, False], len(FRAME)),
    )
    asked = settings("sound", "binary").model_copy(update={"out_of_contract": "refuse"})
    space = workspace(tmp_path, commands, asked, frame)
    learned = bundle.read_serve(bundling.make(space, space.head)[0]).signature
    assert learned.out_of_contract == "refuse"

    def rules(signature: Signature) -> dict[str, Any]:
        return {one.name: one.range or one.known for one in signature.ruled}

    found = rules(learned)
    assert {name: found.get(name) for name in frame.columns[-6:]} == {
        "grade": (1, 3),
        "size": (1, 7.5),
        "city": ("A", "B"),
        "note": None,
        "since": None,
        "member": (False, True),
    }
    before = ServingStage().inputs(space)
    contract = Contract(
        range={"size": (0, 9), "note": (0, 1)},
        categories={"grade": ("1", "2", "3"), "since": ("2026",)},
    )
    space = replace(space, head=replace(space.head, contract=contract))
    assert ServingStage().inputs(space) != before, "no evidence of other rules stands for it"
    del space._made["bundle", "head"]
    found |= {"size": (0, 9), "grade": ("1", "2", "3", 1, 2, 3)}
    assert rules(bundle.read_serve(bundling.make(space, space.head)[0]).signature) == found
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

"""Deepchecks' suites in their own environment: every expected check leaves a result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ci_mlops.command import Commands
from ci_mlops.deepchecks import conditions, environment, suites
from ci_mlops.deepchecks.suites import Inspection, inspect_data, inspect_model
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.stages.data import DataStage
from ci_mlops.stages.model import ModelStage


@dataclass(frozen=True)
class Answers:
    predicted: np.ndarray
    scores: np.ndarray | None
    classes: tuple[object, ...]


def table(rows: int, task: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{n}": rng.normal(size=rows) for n in range(3)})
    frame["color"] = rng.choice(["red", "green", "blue"], rows)
    value = frame["x0"] + rng.normal(size=rows)
    if task == "binary":
        frame["y"] = (value > 0).astype(int)
    elif task == "multiclass":
        frame["y"] = np.digitize(value, [-0.7, 0.7])
    else:
        frame["y"] = value
    return frame


def answers(frame: pd.DataFrame, task: str) -> Answers:
    if task == "regression":
        return Answers(frame["x0"].to_numpy(), None, ())
    classes = (0, 1) if task == "binary" else (0, 1, 2)
    middle = np.array([-1.0, 1.0]) if task == "binary" else np.array([-1.4, 0.0, 1.4])
    weight = np.exp(-((frame[["x0"]].to_numpy() - middle) ** 2))
    scores = weight / weight.sum(axis=1, keepdims=True)
    return Answers(np.array(classes)[scores.argmax(axis=1)], scores, classes)


def look(commands: Commands, tmp_path: Path, **changes: Any) -> Inspection:
    values: dict[str, Any] = {
        "train": table(600, "binary", 1),
        "test": table(300, "binary", 2),
        "label": "y",
        "task": "binary",
        "categorical": ("color",),
        "time": None,
        "overrides": {},
        "commands": commands,
        "cache": tmp_path,
        "cores": 2,
    }
    return inspect_data(**{**values, **changes})


def named(found: Inspection) -> Mapping[str, Check]:
    return {check.name: check for check in found.checks}


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_clean_data_and_every_expected_check(commands: Commands, tmp_path: Path, task: str) -> None:
    train, test = table(600, task, 1), table(300, task, 2)
    found = named(look(commands, tmp_path, train=train, test=test, task=task))
    assert set(found) == {one.title for one in conditions.chosen("data", task)}
    assert {check.outcome for check in found.values()} <= {"passed", "skipped"}
    assert sum(check.outcome == "passed" for check in found.values()) >= 7


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_model_evaluation_from_predictions_alone(
    commands: Commands, tmp_path: Path, task: str
) -> None:
    train, test = table(600, task, 1), table(300, task, 2)
    found = inspect_model(
        train=train,
        test=test,
        label="y",
        task=task,
        train_predictions=answers(train, task),
        test_predictions=answers(test, task),
        categorical=("color",),
        overrides={},
        commands=commands,
        cache=tmp_path,
        cores=2,
    )
    assert set(named(found)) == {one.title for one in conditions.chosen("model", task)}
    assert {check.outcome for check in found.checks} == {"passed"}
    assert found.tools["deepchecks"] == "0.19.1"
    assert found.seconds > 0


def test_faults_are_found_and_said(commands: Commands, tmp_path: Path) -> None:
    train, test = table(600, "binary", 1), table(300, "binary", 2)
    leak = {"leak": lambda one: one["y"].map({0: "no", 1: "yes"})}
    test.loc[test.index[:30], "y"] = 7
    found = named(
        look(
            commands,
            tmp_path,
            train=train.assign(**leak),
            test=test.assign(leak="no"),
            task="multiclass",
        )
    )
    assert found["deepchecks-new-label-train-test"].outcome == "failed"
    correlation = found["deepchecks-feature-label-correlation"]
    assert correlation.outcome == "failed"
    assert "leak" in correlation.message
    assert correlation.message.count("In the train data")


def test_tables_of_other_columns_are_an_error_and_never_skipped(
    commands: Commands, tmp_path: Path
) -> None:
    found = look(commands, tmp_path, test=table(300, "binary", 2).drop(columns="x1"))
    compared = {one.title for one in conditions.chosen("data", "binary") if one.needs_train}
    assert {check.outcome for check in found.checks if check.name in compared} == {"error"}


def test_limits_can_be_set(commands: Commands, tmp_path: Path) -> None:
    found = named(look(commands, tmp_path, overrides={"datasets_size_comparison": {"ratio": 0.9}}))
    assert found["deepchecks-datasets-size-comparison"].outcome == "failed"


def test_without_training_data_its_checks_are_skipped_with_the_reason(
    commands: Commands, tmp_path: Path
) -> None:
    found = named(look(commands, tmp_path, train=None, task=None))
    drift = found["deepchecks-multivariate-drift"]
    assert drift.outcome == "skipped"
    assert "no training data" in drift.message
    assert found["deepchecks-feature-label-correlation"].outcome == "passed"


def test_a_check_that_crashes_is_an_error(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = conditions.Condition(
        check="NoSuchCheck",
        suite="data",
        condition="x",
        limits={},
        why="",
        page="",
        broken="",
        remedy="",
    )
    monkeypatch.setattr(conditions, "CONDITIONS", (broken,))
    (check,) = look(commands, tmp_path).checks
    assert check.outcome == "error"
    assert "NoSuchCheck" in check.message


def test_a_check_that_leaves_no_result_is_an_error() -> None:
    (one, *_) = conditions.CONDITIONS
    assert suites._check(one, {}, None).outcome == "error"


def test_a_suite_that_ends_early_cannot_look(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = tmp_path / "host.py"
    host.write_text("raise SystemExit('out of order')\n", encoding="utf-8")
    monkeypatch.setattr(suites, "HOST", host)
    with pytest.raises(CannotLook, match="ended early: out of order"):
        look(commands, tmp_path)


def test_a_suite_that_hangs_cannot_look(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = tmp_path / "host.py"
    host.write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
    monkeypatch.setattr(suites, "HOST", host)
    monkeypatch.setattr(suites, "TIMEOUT_S", 0.5)
    with pytest.raises(CannotLook, match="took longer than"):
        look(commands, tmp_path)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"multivarate_drift": {}}, 'did you mean "multivariate_drift"'),
        ({"multivariate_drift": {"max_drift": 1}}, 'did you mean "max_drift_value"'),
    ],
)
def test_unknown_names_are_refused_when_mlops_yml_is_read(overrides: Any, words: str) -> None:
    assert words in conditions.unknown("data", overrides)
    with pytest.raises(ValueError, match=words):
        DataStage(deepchecks=overrides)
    with pytest.raises(ValueError, match="unknown check"):
        ModelStage(deepchecks=overrides)
    assert conditions.unknown("data", {"multivariate_drift": {"max_drift_value": 1}}) == ""


def test_too_few_rows_for_a_check_are_said(commands: Commands, tmp_path: Path) -> None:
    found = named(look(commands, tmp_path, test=table(100, "binary", 2)))
    check = found["deepchecks-feature-label-correlation-change"]
    assert (check.outcome, check.message) == (
        "skipped",
        "Fewer than 200 rows: chance alone would break it.",
    )


def test_every_condition_says_why() -> None:
    for one in conditions.CONDITIONS:
        assert one.why, one.name
        assert one.page.startswith("https://"), one.name


# --- the environment ----------------------------------------------------------------------------


def test_an_environment_that_cannot_be_installed_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("no-such-package==1 --hash=sha256:" + "0" * 64 + "\n", encoding="utf-8")
    monkeypatch.setattr(environment, "lock_file", lambda: lock)
    import os

    commands = Commands(environ={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "UV_OFFLINE": "1"})
    with pytest.raises(CannotLook, match="could not be installed.*set `deepchecks: false`"):
        environment.interpreter(commands)
    assert not list(tmp_path.glob("ci-mlops/*/complete"))


def test_an_environment_whose_interpreter_is_gone_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    commands = Commands(environ={**os.environ, "XDG_CACHE_HOME": str(tmp_path)})
    made = []

    def install(_: Commands, folder: Path, __: Path) -> None:
        made.append(folder)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(tmp_path / "python")

    monkeypatch.setattr(environment, "_install", install)
    (tmp_path / "python").touch()
    environment.interpreter(commands)
    environment.interpreter(commands)
    assert len(made) == 1
    (tmp_path / "python").unlink()
    environment.interpreter(commands)
    assert len(made) == 2


def test_the_lock_file_is_found_with_its_hashes() -> None:
    text = environment.lock_file().read_text(encoding="utf-8")
    assert "deepchecks==0.19.1" in text
    assert "--hash=sha256:" in text


def test_old_types_keep_texts_and_drop_mixtures() -> None:
    frame = pd.DataFrame({"m": ["a", 1, None], "c": pd.Categorical(["u", "v", "u"])})
    made = suites._old_types(frame)
    assert made["m"].tolist()[:2] == ["a", "1"]
    assert json.dumps(made["c"].tolist()) == '["u", "v", "u"]'

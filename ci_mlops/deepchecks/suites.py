"""Deepchecks' suites as checks of ours: an explicit list, in its own environment, no silence."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.deepchecks import conditions
from ci_mlops.deepchecks.conditions import Condition, Suite
from ci_mlops.deepchecks.environment import interpreter
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Limit, Outcome

HOST = Path(__file__).with_name("host.py")
TIMEOUT_S = 1800
CHECK_LIMIT_S = 900
LARGE = 500_000
"""Rows above which model checks run one after the other: each takes a gigabyte per million."""
OUTCOMES: Mapping[str, Outcome] = {"passed": "passed", "skipped": "skipped", "error": "error"}


class Predicted(Protocol):
    """Predictions of n rows, as far as Deepchecks needs them."""

    @property
    def predicted(self) -> np.ndarray:
        """Predicted classes or values, shape (n,)."""

    @property
    def scores(self) -> np.ndarray | None:
        """Class probabilities, shape (n, k), or None."""

    @property
    def classes(self) -> tuple[object, ...]:
        """Sorted classes."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a suite found."""

    checks: tuple[Check, ...]
    tools: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def inspect_data(
    *,
    train: pd.DataFrame | None,
    test: pd.DataFrame,
    label: str,
    task: str | None,
    categorical: tuple[str, ...],
    time: str | None,
    overrides: Mapping[str, Mapping[str, float | bool]],
    commands: Commands,
    cache: Path,
    cores: int,
) -> Inspection:
    """Run the integrity and train-test checks. Raises CannotLook without an environment."""
    del cache
    if label not in test.columns:
        raise CannotLook(f"has no column {label!r}", place="the test data")
    known = task or _task_of(test[label])
    wanted = conditions.with_overrides(conditions.chosen("data", known), overrides)
    request = {"task": known, "label": label, "categorical": list(categorical), "time": time}
    return _inspect(
        "data",
        wanted,
        request,
        tables={"train": train, "test": test},
        predictions={},
        commands=commands,
        cores=cores,
    )


def inspect_model(
    *,
    train: pd.DataFrame,
    test: pd.DataFrame,
    label: str,
    task: str,
    train_predictions: Predicted,
    test_predictions: Predicted,
    categorical: tuple[str, ...],
    overrides: Mapping[str, Mapping[str, float | bool]],
    commands: Commands,
    cache: Path,
    cores: int,
) -> Inspection:
    """Run the model-evaluation checks from predictions. Raises CannotLook."""
    del cache
    wanted = conditions.with_overrides(conditions.chosen("model", task), overrides)
    classes = [_scalar(one) for one in test_predictions.classes]
    request = {
        "task": task,
        "label": label,
        "categorical": list(categorical),
        "time": None,
        "classes": classes,
    }
    predictions = {"train": train_predictions, "test": test_predictions}
    tables = {"train": train, "test": test}
    return _inspect(
        "model",
        wanted,
        request,
        tables=tables,
        predictions=predictions,
        commands=commands,
        cores=cores if len(train) + len(test) <= LARGE else 1,
    )


def inspect_drift(
    *,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    before: np.ndarray,
    after: np.ndarray,
    task: str,
    categorical: tuple[str, ...],
    commands: Commands,
    cores: int,
) -> Inspection:
    """Compare n rows and answers with m later ones. Raises CannotLook."""
    label = "answers" if "answers" not in reference.columns else "the model's answers"
    request = {
        "task": task,
        "label": label,
        "categorical": list(categorical),
        "time": None,
        "classes": [] if task == "regression" else sorted({*before.tolist(), *after.tolist()}),
    }
    return _inspect(
        "drift",
        [(one, one.limits) for one in conditions.chosen("drift", task)],
        request,
        tables={
            "train": reference.assign(**{label: before}),
            "test": current.assign(**{label: after}),
        },
        predictions={"train": _Answers(predicted=before), "test": _Answers(predicted=after)},
        commands=commands,
        cores=cores,
    )


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """Answers without probabilities."""

    predicted: np.ndarray
    scores: None = None
    classes: tuple[object, ...] = ()


def _inspect(
    suite: Suite,
    wanted: Sequence[tuple[Condition, Mapping[str, float]]],
    request: dict[str, Any],
    *,
    tables: Mapping[str, pd.DataFrame | None],
    predictions: Mapping[str, Predicted],
    commands: Commands,
    cores: int,
) -> Inspection:
    has_train = tables["train"] is not None
    least = min(len(frame) for frame in tables.values() if frame is not None)
    reasons = {one.title: _why_not(one, least, has_train=has_train) for one, _ in wanted}
    asked = [(one, limits) for one, limits in wanted if not reasons[one.title]]
    skipped = [
        Check(name=one.title, outcome="skipped", message=reasons[one.title], source=one.page)
        for one, _ in wanted
        if reasons[one.title]
    ]
    python = interpreter(commands)
    with tempfile.TemporaryDirectory(prefix="ci-mlops-") as name:
        folder = Path(name)
        _write(folder, request, asked, tables=tables, predictions=predictions, cores=cores)
        done = commands.run(
            [str(python), "-I", str(HOST), str(folder)], cwd=folder, timeout_s=TIMEOUT_S
        )
        result = folder / "result.json"
        if done.timed_out:
            raise CannotLook(f"Deepchecks' {suite} suite took longer than {TIMEOUT_S} s")
        if not result.is_file():
            raise CannotLook(f"Deepchecks' {suite} suite ended early: {done.last_line()}")
        told = json.loads(result.read_text(encoding="utf-8"))
    found = {one["name"]: one for one in told["results"]}
    checks = [_check(one, limits, found.get(one.name)) for one, limits in asked]
    return Inspection(
        checks=(*checks, *skipped), tools=dict(told["versions"]), seconds=done.seconds
    )


def _why_not(one: Condition, rows: int, *, has_train: bool) -> str:
    """Return why a check is not asked; empty when it is."""
    if one.needs_train and not has_train:
        return "There is no training data to compare with: `data.train` is not set."
    if rows < one.min_rows:
        return f"Fewer than {one.min_rows} rows: chance alone would break it."
    return ""


def _write(
    folder: Path,
    request: dict[str, Any],
    asked: Sequence[tuple[Condition, Mapping[str, float]]],
    *,
    tables: Mapping[str, pd.DataFrame | None],
    predictions: Mapping[str, Predicted],
    cores: int,
) -> None:
    checks = [
        {"name": one.name, "check": one.check, "condition": one.condition, "limits": _whole(limits)}
        for one, limits in asked
    ]
    text = json.dumps({**request, "checks": checks, "cores": cores, "limit_s": CHECK_LIMIT_S})
    (folder / "request.json").write_text(text, encoding="utf-8")
    for part, frame in tables.items():
        if frame is not None:
            _old_types(frame).to_parquet(folder / f"{part}.parquet", index=False)
    for part, made in predictions.items():
        arrays = {"predicted": np.array(made.predicted.tolist())}
        if made.scores is not None:
            arrays["scores"] = made.scores
        np.savez(folder / f"predictions-{part}.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub


def _old_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with types that pandas 2 reads back as it would from a CSV file."""
    made = frame.reset_index(drop=True)
    for name in made.columns:
        column = made[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            made[name] = column.astype(object)
        elif column.dtype == object:
            words = column.dropna().map(lambda one: isinstance(one, str))
            if not words.all():
                made[name] = column.where(column.isna(), column.astype(str))
    return made


def _check(one: Condition, limits: Mapping[str, float], told: Mapping[str, Any] | None) -> Check:
    if told is None:
        message = f"Deepchecks' {one.check} was expected and left no result."
        return Check(name=one.title, outcome="error", message=message, source=one.page)
    state = str(told["state"])
    outcome: Outcome = OUTCOMES.get(state, "failed" if one.grave else "warned")
    said = " ".join(str(told.get("message") or "").split())
    message = said if said.endswith(".") else f"{said}."
    if outcome == "error":
        message = f"Deepchecks' {one.check} could not look: {message}"
    elif outcome == "skipped":
        message = f"Deepchecks' {one.check} does not apply: {message}"
    elif outcome != "passed":
        message = f"{one.broken} Deepchecks: {message}"
    observed = told.get("observed")
    return Check(
        name=one.title,
        outcome=outcome,
        observed=float(observed) if observed is not None else None,
        limit=_limit(one, limits) if observed is not None else None,
        message=message[:2000],
        remedy="" if outcome in {"passed", "skipped"} else one.remedy,
        source=one.page,
    )


def _limit(one: Condition, limits: Mapping[str, float]) -> Limit | None:
    if len(limits) != 1:
        return None
    (value,) = limits.values()
    least = "greater" in one.condition
    return Limit(at_least=value) if least else Limit(at_most=value)


def _whole(limits: Mapping[str, float]) -> dict[str, float | int]:
    return {k: int(v) if float(v).is_integer() and v >= 0 else v for k, v in limits.items()}


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _task_of(label: "pd.Series[Any]") -> str:
    distinct = label.nunique()
    if distinct <= 2:
        return "binary"
    return (
        "regression" if pd.api.types.is_float_dtype(label.dtype) or distinct > 20 else "multiclass"
    )

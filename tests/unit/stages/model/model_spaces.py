"""Workspaces of stage model with tables and predictions laid in by hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.model.predictions import Predictions
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Findings, Side, Workspace


@dataclass
class Data:
    """Rows with a known probability, so that a model's quality can be chosen."""

    frame: pd.DataFrame
    signal: np.ndarray
    task: str
    rng: np.random.Generator = field(repr=False)

    def predictions(self, noise: float = 0.5, *, frame: pd.DataFrame | None = None) -> Predictions:
        """Return a model's answers: the signal with noise."""
        keys = self.frame.index if frame is None else frame.index
        seen = self.signal + self.rng.normal(0, noise, self.signal.shape)
        if self.task == "regression":
            return Predictions(keys=keys, predicted=seen, scores=None)
        names = ("denied", "approved", "referred") if self.task == "multiclass" else ("no", "yes")
        classes = tuple(sorted(names))
        if self.task == "binary":
            seen = np.column_stack([np.zeros(len(seen)), seen])
        scores = np.exp(seen) / np.exp(seen).sum(axis=1, keepdims=True)
        picks = np.array(classes, dtype=object)[scores.argmax(axis=1)]
        return Predictions(keys=keys, predicted=picks, scores=scores, classes=classes)


def data(task: str = "binary", rows: int = 2000, seed: int = 0, strength: float = 1.5) -> Data:
    """Return rows whose label follows a signal of three features."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    region = rng.choice(["north", "south", "east", "west"], rows)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "region": region})
    frame.index = pd.Index([f"r{n}" for n in range(rows)])
    signal = strength * (x[:, 0] + 0.5 * x[:, 1])
    label: Any
    if task == "regression":
        label = signal + rng.normal(0, 1, rows)
    elif task == "binary":
        label = np.where(rng.random(rows) < 1 / (1 + np.exp(-signal)), "yes", "no")
    else:
        signal = strength * x
        gumbel = signal + rng.gumbel(size=(rows, 3))
        label = np.array(["approved", "denied", "referred"])[gumbel.argmax(axis=1)]
    frame["y"] = label
    return Data(frame=frame, signal=signal, task=task, rng=rng)


def side(name: Any, task: Any, **changes: Any) -> Side:
    """Return one side of a pull request."""
    settings: dict[str, Any] = {"test": "test.csv", "label": "y", "sensitive": ["region"]}
    return Side(
        name=name,
        root=Path(),
        commit=("b" if name == "head" else "c") * 40,
        code="",
        data=DataSettings(**{**settings, **changes}),
        model=ModelSettings(task=task, path="m"),
        subjects=(),
    )


def space(
    made: Data,
    head: Predictions,
    base: Predictions | CannotLook | None = None,
    *,
    train: tuple[Data, Predictions] | None = None,
    base_train: Predictions | None = None,
    base_own: Predictions | None = None,
) -> Workspace:
    """Return a workspace in which these answers are already known."""
    changes = {"train": "train.csv"} if train else {}
    head_side = side("head", made.task, **changes)
    workspace = Workspace(
        head=head_side,
        base=side("base", made.task, **changes) if base is not None else None,
        base_missing="this is the first commit" if base is None else "",
        judge=head_side,
        commands=Commands(environ={}),
        folder=Path(),
        cache=Path(),
        cores=2,
    )

    def table(frame: pd.DataFrame) -> Table:
        return Table(frame=frame, settings=head_side.data, place="test.csv")

    known: dict[tuple[object, ...], Any] = {
        ("table", "head", "test"): table(made.frame),
        ("table", "base", "test"): table(made.frame),
        ("predictions", "head", "head", "test"): head,
        ("predictions", "base", "head", "test"): base,
    }
    if train:
        known["table", "head", "train"] = known["table", "base", "train"] = table(train[0].frame)
        known["predictions", "head", "head", "train"] = train[1]
        known["predictions", "base", "base", "train"] = base_train or train[1]
    if base_own is not None:
        known["predictions", "base", "base", "test"] = base_own
    for key, value in known.items():
        workspace._made[key] = value
    return workspace


def check(findings: Findings, name: str) -> Check:
    """Return the one check of a name."""
    (found,) = [one for one in findings.checks if one.name == name]
    return found

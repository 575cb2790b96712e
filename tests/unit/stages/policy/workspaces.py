"""Workspaces whose rows and answers are chosen freely."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.model.predictions import Predictions
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Side, Workspace

HEAD = ("predictions", "head", "head", "test")


def chosen(
    root: Path,
    frame: pd.DataFrame,
    predicted: np.ndarray,
    *,
    sensitive: tuple[str, ...] = ("race",),
    classes: tuple[object, ...] = (0, 1),
    scores: np.ndarray | None = None,
    inputs: tuple[str, ...] = (),
    card: str | None = None,
    judge: Path | None = None,
) -> Workspace:
    """Return a workspace on `frame`, whose label is column `y`; `judge` is the base's folder."""
    task: Any = "binary" if classes else "regression"

    def side(name: Any, folder: Path) -> Side:
        data = DataSettings(
            test="t.csv", label="y", sensitive=sensitive, positive=1 if classes else None
        )
        model = ModelSettings(task=task, path="m", card=card)
        return Side(
            name=name, root=folder, commit="b" * 40, code="", data=data, model=model, subjects=()
        )

    head = side("head", root)
    base = None if judge is None else side("base", judge)
    made = Workspace(
        head=head,
        base=base,
        base_missing="" if base else "this is the first commit",
        judge=base or head,
        commands=Commands(environ={}),
        folder=root,
        cache=root,
        cores=2,
    )
    answers = Predictions(
        keys=frame.index, predicted=predicted, scores=scores, classes=classes, inputs=inputs
    )
    made.once(("table", "head", "test"), lambda: Table(frame=frame, settings=head.data, place="t"))
    made.once(HEAD, lambda: answers)
    made.once(("predictions", "base", "head", "test"), lambda: answers)
    return made

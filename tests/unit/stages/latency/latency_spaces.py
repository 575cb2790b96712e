"""Workspaces of stage latency: two checkouts of a model whose work per prediction is known."""

from pathlib import Path

import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.evidence import Subject
from ci_mlops.model.settings import ModelSettings, PredictionFiles
from ci_mlops.stage import Side, Workspace

MODEL_PY = """
class Loop:
    classes_ = (0, 1)

    def __init__(self, turns):
        self.turns = turns

    def predict_proba(self, rows):
        total = 0
        for turn in range(self.turns):
            total += turn
        return [[0.25, 0.75] for _ in range(len(rows))]


def load(path):
    with open(path) as file:
        return Loop(int(file.read()))
"""


def side(
    root: Path,
    name: str,
    turns: int,
    *,
    model: ModelSettings | None = None,
) -> Side:
    """Return a checkout whose model turns a loop that often for each prediction."""
    folder = root / name
    folder.mkdir()
    (folder / "loops.py").write_text(MODEL_PY, encoding="utf-8")
    (folder / "model.txt").write_text(str(turns), encoding="utf-8")
    return Side(
        name="base" if name == "base" else "head",
        root=folder,
        commit=("a" if name == "base" else "b") * 40,
        code="",
        data=DataSettings(test="test.csv", label="y"),
        model=model or ModelSettings(task="binary", path="model.txt", loader="loops:load"),
        subjects=tuple(
            Subject(name=one, sha256=("a" if name == "base" else "b") * 64)
            for one in ("model", "data.test")
        ),
    )


def from_files() -> ModelSettings:
    """Return a model section that has predictions in place of a model."""
    return ModelSettings(task="binary", predictions=PredictionFiles(test="p.csv"))


def space(root: Path, commands: Commands, head: Side, base: Side | None = None) -> Workspace:
    """Return a workspace over 30 rows of two features and a label."""
    workspace = Workspace(
        head=head,
        base=base,
        base_missing="" if base else "this is the first commit",
        judge=base or head,
        commands=commands,
        folder=root / ".mlops",
        cache=root / "cache",
        cores=2,
    )
    for one in workspace.sides():
        lay(workspace, one, rows())
    return workspace


def rows(*columns: str) -> pd.DataFrame:
    """Return 30 rows of numbers in the columns, a and b by default, and a label."""
    numbers = {name: [n / 7 for n in range(30)] for name in columns or ("a", "b")}
    return pd.DataFrame({**numbers, "y": [0, 1] * 15})


def lay(workspace: Workspace, side: Side, frame: pd.DataFrame) -> None:
    """Lay in a side's test rows, before anybody reads them."""
    made = Table(frame=frame, settings=side.data, place="test.csv")
    workspace._made["table", side.name, "test"] = made

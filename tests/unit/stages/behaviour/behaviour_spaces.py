"""Workspaces of stage behaviour: checkouts with a planted model each, and rows of loans."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Side, Workspace

HERE = Path(__file__).parent


def side(root: Path, name: Any, model: str | ModelSettings, **data: Any) -> Side:
    """Return a checkout whose model is one of `planted.py`, by the name of its loader."""
    folder = root / name
    folder.mkdir(exist_ok=True)
    shutil.copy(HERE / "planted.py", folder / "planted.py")
    (folder / "model.txt").write_text("nothing", encoding="utf-8")
    if isinstance(model, str):
        model = ModelSettings(task="binary", path="model.txt", loader=f"planted:{model}")
    settings: dict[str, Any] = {"test": "test.csv", "label": "approved", "sensitive": ["race"]}
    return Side(
        name=name,
        root=folder,
        commit=("a" if name == "base" else "b") * 40,
        code="",
        data=DataSettings(**{**settings, **data}),
        model=model,
        subjects=(),
    )


def space(
    root: Path,
    commands: Commands,
    frame: pd.DataFrame,
    head: Side,
    base: Side | None = None,
) -> Workspace:
    """Return a workspace in which both sides have the same test rows, and no other data."""
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
        lay(workspace, one, frame)
    return workspace


def lay(workspace: Workspace, side: Side, frame: pd.DataFrame, part: str = "test") -> None:
    """Lay in a side's rows, before anybody reads them."""
    made = Table(frame=frame, settings=side.data, place=f"{part}.csv")
    workspace._made["table", side.name, part] = made

"""Workspaces of stage data: loan applications with a fault put in, against a base without it."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.evidence import Check
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.data import DataStage

Parts = dict[str, pd.DataFrame]


def clean(rows: int = 1500, test_rows: int = 600, seed: int = 1) -> Parts:
    """Return train and test of one distribution, the test rows later."""
    rng = np.random.default_rng(seed)
    total = rows + test_rows
    income, debt = rng.gamma(4, 12, total), rng.normal(20, 6, total)
    frame = pd.DataFrame(
        {
            "id": np.arange(total),
            "when": pd.date_range("2025-01-01", periods=total, freq="h").astype(str),
            "income": income,
            "debt": debt,
            "distance": rng.exponential(30, total) + 1,
            "region": rng.choice(["north", "south", "east"], total, p=[0.5, 0.3, 0.2]),
            "label": (income - debt + rng.normal(0, 25, total) > 25).astype(int),
        }
    )
    return {"train": frame.iloc[:rows].copy(), "test": frame.iloc[rows:].copy()}


def judged(
    root: Path,
    head: Parts,
    base: Parts | None = None,
    *,
    base_data: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **stage: Any,
) -> Findings:
    """Return what the stage finds, without Deepchecks; `data` are settings of both sides."""

    def side(name: Literal["base", "head"], parts: Parts, extra: dict[str, Any]) -> Side:
        train = "train.csv" if "train" in parts else None
        given = {"test": "test.csv", "train": train, "label": "label", "key": "id", **extra}
        settings = DataSettings.model_validate(given)
        return Side(
            name=name, root=root, commit="a" * 40, code="", data=settings, model=None, subjects=()
        )

    one = side("head", head, data or {})
    two = None if base is None else side("base", base, base_data or data or {})
    workspace = Workspace(
        head=one,
        base=two,
        base_missing="" if two else "this is the first commit",
        judge=two or one,
        commands=Commands(environ={}),
        folder=root,
        cache=root,
        cores=1,
    )
    for here, parts in ((one, head), (two, base)):
        for part, frame in (parts or {}).items():
            if here is not None:
                made = Table(frame=frame, settings=here.data, place=f"{part}.csv")
                workspace._made["table", here.name, part] = made
    return DataStage.model_validate({"deepchecks": False, **stage}).run(workspace)


def of(found: Findings, outcome: str) -> set[str]:
    """Return the names of checks of one outcome."""
    return {check.name for check in found.checks if check.outcome == outcome}


def one(found: Findings, name: str, where: str = "") -> Check:
    """Return the worst check of a name whose slice contains `where`."""
    order = ["passed", "skipped", "inconclusive", "warned", "failed", "error"]
    named = [c for c in found.checks if c.name == name and where in c.slice]
    return max(named, key=lambda check: order.index(check.outcome))

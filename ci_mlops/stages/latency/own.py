"""The project's own pytest-benchmark tests, run in turn by both sides' interpreters, unmodified."""

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ci_mlops.errors import CannotLook
from ci_mlops.model.process import ONE_THREAD, interpreter
from ci_mlops.stage import Side, Workspace

TIMEOUT_S = 900
LAUNCHES = 5


@dataclass(frozen=True, kw_only=True)
class Own:
    """One benchmark of the project: the median seconds of each launch, by side."""

    name: str
    seconds: dict[str, list[float]]
    rounds: dict[str, list[float]]

    def log_ratios(self) -> list[float]:
        """Return log(head / base) of each launch; empty where one side lacks the benchmark."""
        both = zip(self.seconds.get("base", ()), self.seconds.get("head", ()), strict=False)
        return [math.log(head / base) for base, head in both]


def run(folder: str, sides: tuple[Side, ...], workspace: Workspace) -> list[Own]:
    """Run the tests below `folder` in both checkouts, in turn. Raises CannotLook."""
    found: dict[str, Own] = {}
    for number in range(LAUNCHES if len(sides) > 1 else 1):
        for side in sides if number % 2 else tuple(reversed(sides)):
            for one in _once(folder, side, workspace):
                name = str(one["fullname"])
                own = found.setdefault(name, Own(name=name, seconds={}, rounds={}))
                own.seconds.setdefault(side.name, []).append(float(one["stats"]["median"]))
                own.rounds.setdefault(side.name, []).extend(one["stats"]["data"])
    return [found[name] for name in sorted(found)]


def _once(folder: str, side: Side, workspace: Workspace) -> list[dict[str, Any]]:
    if side.model is None or not (side.root / folder).exists():
        return []
    python = interpreter(side.model, side.root)
    with tempfile.TemporaryDirectory(prefix="ci-mlops-") as name:
        result = Path(name) / "result.json"
        arguments = [
            *(str(python), "-m", "pytest", folder, "-q", "-p", "no:cacheprovider"),
            *("--benchmark-only", f"--benchmark-json={result}", "--benchmark-warmup=on"),
            *("--benchmark-max-time=0.5", "--benchmark-min-rounds=20"),
        ]
        done = workspace.commands.run(arguments, cwd=side.root, env=ONE_THREAD, timeout_s=TIMEOUT_S)
        if "No module named pytest" in done.errors or "--benchmark" in done.errors:
            raise CannotLook(
                f"{side.name}'s interpreter lacks pytest or pytest-benchmark",
                place="stages.latency.benchmarks",
                remedy=f"Install them there: `{python} -m pip install pytest pytest-benchmark`",
            )
        if done.code == 5:
            return []
        if done.code or not result.is_file():
            raise CannotLook(
                f"{side.name}'s benchmarks failed: {done.last_line()}",
                place=folder,
                remedy="Run them with pytest on that commit",
            )
        told = json.loads(result.read_text(encoding="utf-8"))
    return [one for one in told["benchmarks"] if np.isfinite(one["stats"]["median"])]

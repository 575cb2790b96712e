"""How often stage latency alarms falsely, and how surely it finds a slower model.

Run `python -m benchmarks.latency_gate --minutes 10`; it prints a table and writes
results/latency_gate.json. Three scikit-learn models, unchanged, really changed (more trees, more
iterations) or with a wait put in (processor, sleep). Beside each decision stand what two rules in
use would say of two stored runs of the same machine, made within the same seconds: the median
5 % higher (pytest-benchmark's `--benchmark-compare-fail=median:5%`) and the mean 10 % higher
(github-action-benchmark with `alert-threshold: 110%`). `--burners` disturbs the machine.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.latency.measuring import Measured, SizedRows, launch
from ci_mlops.stats import paired

LIMIT = 0.05
LAUNCHES = 8
BLOCKS = 24
FEATURES = 20
STUDY_PY = """
import time
import joblib


class Waits:
    def __init__(self, model, kind, seconds):
        self.model, self.kind, self.seconds = model, kind, seconds
        self.classes_, self.feature_names_in_ = model.classes_, model.feature_names_in_

    def predict_proba(self, rows):
        answer = self.model.predict_proba(rows)
        if self.kind == "sleep":
            time.sleep(self.seconds)
        end = time.perf_counter() + self.seconds
        while self.kind == "processor" and time.perf_counter() < end:
            pass
        return answer


def load(path):
    return Waits(*joblib.load(path))
"""
SIDES = ("base", "head")
MODELS = ("logistic", "forest", "boosting")
CHANGES = ("none", "+5 % work", "+10 % work", "+10 % processor", "+10 % sleep")


def main() -> None:
    """Decide until the time is over, print the table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--decisions", type=int, default=10_000, help="at most")
    parser.add_argument("--burners", type=int, default=0, help="processes that disturb")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    commands = Commands(environ=dict(os.environ))
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, _burning(options.burners):
        root = Path(name)
        (root / "study.py").write_text(STUDY_PY, encoding="utf-8")
        study = _Study(root, commands)
        cases = [(m, c) for c in CHANGES for m in MODELS if _possible(m, c)]
        while time.monotonic() < end and len(found) < options.decisions:
            found.append(study.decide(*cases[len(found) % len(cases)]))
    table = _table(found)
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}",
        "burners": options.burners,
        "limit": LIMIT,
        "summary": table,
        "decisions": found,
    }
    options.output.mkdir(exist_ok=True)
    kind = "disturbed" if options.burners else "undisturbed"
    path = options.output / f"latency_gate_{kind}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(pd.DataFrame(table).to_string(index=False))


def _possible(model: str, change: str) -> bool:
    return not (model == "logistic" and change.endswith("work"))


class _Study:
    """Trained models, and workspaces over them."""

    def __init__(self, root: Path, commands: Commands) -> None:
        self.root = root
        self.commands = commands
        self.random = random.Random(0)
        x, self.y = make_classification(4000, FEATURES, n_informative=8, random_state=0)
        self.frame = pd.DataFrame(x, columns=[f"x{n}" for n in range(FEATURES)])
        self.plain_s: dict[str, float] = {}

    def decide(self, model: str, change: str) -> dict[str, Any]:
        """Return one decision, and what two stored runs say."""
        if change.rsplit(maxsplit=1)[-1] in {"processor", "sleep"} and model not in self.plain_s:
            alone = self._alone(self._side("base", model, "none"))
            self.plain_s[model] = float(np.median(alone))
        base, head = self._side("base", model, "none"), self._side("head", model, change)
        measured, started = Measured(), time.monotonic()
        decision = None
        workspace = self._workspace(base, head)
        rows: SizedRows = {1: dict.fromkeys(SIDES, self.frame.iloc[:1])}
        while decision is None or (
            decision.answer == "cannot tell" and decision.launches < LAUNCHES
        ):
            launch(measured, (base, head), workspace, rows, blocks=BLOCKS, random_=self.random)
            decision = paired.decide(measured.launches[1], LIMIT)
        seconds = time.monotonic() - started
        before, after = self._alone(base), self._alone(head)
        return {
            "model": model,
            "change": change,
            "answer": decision.answer,
            "wall": round(decision.wall.change, 5),
            "cpu": round(decision.cpu.change, 5),
            "launches": decision.launches,
            "seconds": round(seconds, 2),
            "median_rule": bool(np.median(after) > 1.05 * np.median(before)),
            "mean_rule": bool(np.mean(after) > 1.10 * np.mean(before)),
        }

    def _alone(self, side: Side) -> list[float]:
        measured = Measured()
        rows: SizedRows = {1: {side.name: self.frame.iloc[:1]}}
        space = self._workspace(side, side)
        launch(measured, (side,), space, rows, blocks=BLOCKS, random_=self.random)
        return measured.samples[side.name, 1].wall

    def _side(self, name: str, model: str, change: str) -> Side:
        path = f"{model}-{change.replace(' ', '')}.joblib"
        if not (self.root / path).exists():
            share = float(change[1:].split(maxsplit=1)[0]) / 100 if change != "none" else 0.0
            kind = change.rsplit(maxsplit=1)[-1]
            work = share if kind == "work" else 0.0
            wait = 0.0 if kind in {"none", "work"} else share * self.plain_s[model]
            trained = _model(model, work).fit(self.frame, self.y)
            joblib.dump((trained, kind, wait), self.root / path)
        return Side(
            name="base" if name == "base" else "head",
            root=self.root,
            commit="0" * 40,
            code="",
            data=DataSettings(test="test.csv", label="y"),
            model=ModelSettings(task="binary", path=path, loader="study:load"),
            subjects=(),
        )

    def _workspace(self, base: Side, head: Side) -> Workspace:
        workspace = Workspace(
            head=head,
            base=base,
            base_missing="",
            judge=base,
            commands=self.commands,
            folder=self.root / ".mlops",
            cache=self.root / "cache",
            cores=os.cpu_count() or 1,
        )
        table = Table(frame=self.frame, settings=head.data, place="memory")
        workspace.once(("table", "head", "test"), lambda: table)
        return workspace


def _model(name: str, more: float) -> Any:
    if name == "logistic":
        return LogisticRegression()
    if name == "forest":
        return RandomForestClassifier(round(100 * (1 + more)), random_state=0)
    return HistGradientBoostingClassifier(max_iter=round(60 * (1 + more)), random_state=0)


@contextlib.contextmanager
def _burning(count: int) -> Iterator[None]:
    burners = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(count)]
    for one in burners:
        one.start()
    try:
        yield
    finally:
        for one in burners:
            one.terminate()
            one.join()


def _burn() -> None:
    drawn = random.Random()
    while True:
        end = time.perf_counter() + drawn.uniform(0.1, 2)
        while time.perf_counter() < end:
            pass
        time.sleep(drawn.uniform(0.1, 2))


def _table(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_change: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in found:
        by_change[one["change"]].append(one)
    return [
        {
            "change": change,
            "decisions": len(ones),
            **{
                answer: sum(one["answer"] == answer for one in ones)
                for answer in ("slower", "not slower", "cannot tell")
            },
            "median rule alarms": sum(one["median_rule"] for one in ones),
            "mean rule alarms": sum(one["mean_rule"] for one in ones),
            "median seconds": float(np.median([one["seconds"] for one in ones])),
        }
        for change, ones in by_change.items()
    ]


if __name__ == "__main__":
    main()

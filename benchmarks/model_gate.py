"""How often stage model blocks a healthy model, and how surely it finds a worse one.

Run `python -m benchmarks.model_gate`; it prints two tables and writes results/model_gate.json.
With `--deepchecks` healthy models are judged by Deepchecks' suite too, and nothing else is done.
Healthy models are gradient boosted trees, base and head each trained on its own 80 % of the rows.
Worse models are the true signal with more noise. The limits were set by judgement before any run,
and were not changed after one.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from ci_mlops.evidence import Outcome, worst_outcome
from ci_mlops.model.predictions import Predictions
from ci_mlops.stages.model import ModelStage
from ci_mlops.stats.bootstrap import resample
from ci_mlops.stats.scoring import Answers
from tests.unit.stages.model import model_spaces as make

TASKS = ("binary", "multiclass", "regression")
FIRST_SEED = 1000
NOISE = 0.3
"""Noise of a healthy model's answers; base and head differ by it, as after another seed."""
WORSE = (0.6, 1.0, 1.5, 2.5)


def outcomes(task: str, rows: int, seed: int, noise: float) -> tuple[dict[str, Outcome], float]:
    """Outcome per check for a head with `noise`, and how far the first metric really fell."""
    data, train = make.data(task, rows, seed), make.data(task, rows, seed + 500_000)
    workspace = make.space(
        data,
        data.predictions(noise),
        data.predictions(NOISE),
        train=(train, train.predictions(noise)),
        base_train=train.predictions(NOISE),
    )
    found = ModelStage(deepchecks=False).run(workspace)
    first = found.metrics[0]
    return {c.name: c.outcome for c in found.checks}, first.value - (first.base or 0.0)


def healthy(task: str, rows: int, seed: int, *, deepchecks: bool = False) -> dict[str, Outcome]:
    """Outcome per check where base and head are the same recipe, trained on other rows."""
    data, train = make.data(task, rows, seed), make.data(task, rows, seed + 500_000)
    rng = np.random.default_rng(seed)
    heads, bases = (_trained(task, train, data, rng) for _ in range(2))
    workspace = make.space(data, heads[1], bases[1], train=(train, heads[0]), base_train=bases[0])
    found = ModelStage(deepchecks={} if deepchecks else False).run(workspace)
    return {c.name: c.outcome for c in found.checks}


def _trained(
    task: str, train: make.Data, test: make.Data, rng: np.random.Generator
) -> tuple[Predictions, Predictions]:
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    rows = rng.random(len(train.frame)) < 0.8
    features = ["a", "b", "c"]
    model = kind(max_iter=40, max_depth=3).fit(
        train.frame.loc[rows, features], train.frame.loc[rows, "y"]
    )
    found = []
    for part in (train, test):
        x = part.frame[features]
        proba = None if task == "regression" else model.predict_proba(x)
        found.append(
            Predictions(
                keys=part.frame.index,
                predicted=model.predict(x),
                scores=proba,
                classes=() if proba is None else tuple(str(one) for one in model.classes_),
            )
        )
    return found[0], found[1]


def clean(first_seed: int = FIRST_SEED, *, deepchecks: bool = False) -> list[dict[str, Any]]:
    """Healthy models: 3 tasks, 2 sizes, 10 seeds."""
    found = []
    for task in TASKS:
        for rows in (2_000, 10_000):
            runs = [healthy(task, rows, first_seed + n, deepchecks=deepchecks) for n in range(10)]
            worst = Counter(worst_outcome(run.values()) for run in runs)
            named = Counter(
                f"{name}: {o}"
                for run in runs
                for name, o in run.items()
                if o in {"failed", "warned", "inconclusive", "error"}
            )
            found.append({"task": task, "rows": rows, "worst": dict(worst), "checks": dict(named)})
    return found


def power() -> list[dict[str, Any]]:
    """Worse models: how many of 10 runs fail, by the size of the true drop and of the data."""
    found = []
    for task in TASKS:
        for noise in WORSE:
            for rows in (500, 2_000, 10_000):
                runs = [outcomes(task, rows, FIRST_SEED + n, noise) for n in range(10)]
                worst = Counter(worst_outcome(run.values()) for run, _ in runs)
                change = float(np.mean([change for _, change in runs]))
                found.append({"task": task, "change": change, "rows": rows, "worst": dict(worst)})
    return found


def coverage(runs: int = 300, rows: int = 300) -> float:
    """Share of 95 % intervals of a change in ROC AUC that hold the true change, 0."""
    held = 0
    for seed in range(FIRST_SEED, FIRST_SEED + runs):
        head, base = _answers(rows, seed)
        change = resample(head, base, ["roc_auc"], seed=seed, resamples=300)["roc_auc"].change
        held += change is not None and change.low <= 0 <= change.high
    return held / runs


def cost(rows: int = 100_000) -> float:
    """CPU seconds for intervals of all binary metrics of two models."""
    head, base = _answers(rows, FIRST_SEED)
    names = ["roc_auc", "average_precision", "log_loss", "brier", "accuracy"]
    names += ["balanced_accuracy", "precision", "recall", "f1"]
    before = time.process_time()
    resample(head, base, names, seed=0)
    return time.process_time() - before


def _answers(rows: int, seed: int) -> tuple[Answers, Answers]:
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=rows)
    truth = (rng.random(rows) < 1 / (1 + np.exp(-2 * signal))).astype(int)
    made = []
    for _ in range(2):
        p = 1 / (1 + np.exp(-2 * signal - rng.normal(0, 0.5, rows)))
        scores, picks = np.column_stack([1 - p, p]), (p >= 0.5).astype(int)
        made.append(
            Answers(
                task="binary", truth=truth, predicted=picks, scores=scores, classes=("no", "yes")
            )
        )
    return made[0], made[1]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deepchecks", action="store_true")
    deepchecks = parser.parse_args().deepchecks
    well = clean(deepchecks=deepchecks)
    failed = sum(row["worst"].get("failed", 0) + row["worst"].get("error", 0) for row in well)
    print(f"healthy models that failed: {failed} of {len(well) * 10}")
    for row in well:
        print(f"  {row['task']:11} {row['rows']:6} rows: {row['worst']} {row['checks'] or ''}")
    result: dict[str, Any] = {
        "healthy_failed": failed,
        "healthy_runs": len(well) * 10,
        "healthy": well,
    }
    if not deepchecks:
        result |= worse()
    name = "model_gate_deepchecks.json" if deepchecks else "model_gate.json"
    path = Path(__file__).parent / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def worse() -> dict[str, Any]:
    """Measure and print what is not about healthy models."""
    table = power()
    print("worse models, of 10 runs each:")
    for row in table:
        said = f"{row['change']:+.3f}"
        print(f"  {row['task']:11} {row['rows']:6} rows, first metric {said}: {row['worst']}")
    held, seconds = coverage(), cost()
    print(f"95 % intervals that hold the true change: {held:.1%} of 300")
    print(f"intervals of 9 metrics, 2 models, 100,000 rows: {seconds:.1f} CPU s")
    return {"power": table, "coverage": held, "cpu_seconds_100k_rows": round(seconds, 2)}


if __name__ == "__main__":
    main()

"""Our Deepchecks run against its three plain suites: time, and the same verdicts.

Runs `suite.run()` of data_integrity, train_test_validation and model_evaluation as users do, and
our explicit list with Deepchecks' own limits, on the same tables in turn; compares every condition
that both evaluate, on clean tables and on tables that break most of them. With --rows 1000000
--ours-only it shows time and peak memory alone.

    python -m benchmarks.deepchecks_speed [--rows 100000] [--ours-only] [--quick]
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from ci_mlops.command import Commands
from ci_mlops.deepchecks.conditions import CONDITIONS
from ci_mlops.deepchecks.environment import interpreter
from ci_mlops.deepchecks.suites import inspect_data, inspect_model

RESULTS = Path(__file__).parent / "results" / "deepchecks_speed.json"
DEFAULTS: dict[str, dict[str, float]] = {
    "special_characters": {"max_ratio": 0.001},
    "string_length_out_of_bounds": {"max_ratio": 0},
    "feature_feature_correlation": {"threshold": 0.9, "n_pairs": 0},
    "feature_label_correlation_change": {"threshold": 0.2},
    "prediction_drift": {"max_allowed_drift_score": 0.15},
    "train_test_performance": {"threshold": 0.1},
    "simple_model_comparison": {"min_allowed_gain": 0.1},
}
# Judged by the plain suite for every class, by ours on the average: not the same condition.
AVERAGED = {"TrainTestPerformance", "SimpleModelComparison"}
PLAIN = """
import json, logging, os, sys, time, warnings
os.environ["DISABLE_LATEST_VERSION_CHECK"] = "1"
warnings.filterwarnings("ignore")
import numpy, pandas, deepchecks
deepchecks.set_verbosity(logging.ERROR)
from deepchecks.tabular import Dataset
from deepchecks.tabular.suites import data_integrity, model_evaluation, train_test_validation
folder = sys.argv[1]
tables = {}
for start, part in ((0, "train"), (10_000_000, "test")):
    frame = pandas.read_parquet(os.path.join(folder, part + ".parquet"))
    frame.index = range(start, start + len(frame))
    categorical = [c for c in frame.columns if c.startswith("c")]
    tables[part] = Dataset(frame, label="y", cat_features=categorical, label_type="binary")
arguments = {"model_classes": [0, 1]}
for part in ("train", "test"):
    arrays = numpy.load(os.path.join(folder, part + ".npz"))
    arguments["y_pred_" + part] = arrays["predicted"]
    arguments["y_proba_" + part] = arrays["scores"]
found, started = [], time.time()
for suite, train, test, more in (
    (data_integrity(), None, tables["test"], {}),
    (train_test_validation(), tables["train"], tables["test"], {}),
    (model_evaluation(), tables["train"], tables["test"], arguments),
):
    result = suite.run(test) if train is None else suite.run(train, test, **more)
    for one in result.results:
        for condition in getattr(one, "conditions_results", None) or []:
            state = condition.category.name
            if str(condition.details).startswith("No relevant columns"):
                state = "skipped"
            found.append([type(one.check).__name__, state])
with open(os.path.join(folder, "plain.json"), "w") as file:
    json.dump({"found": found, "seconds": time.time() - started}, file)
"""


class Answers:
    """Predictions as Deepchecks needs them."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores: np.ndarray | None = np.column_stack([1 - scores, scores])
        self.predicted = (scores >= 0.5).astype(int)
        self.classes: tuple[object, ...] = (0, 1)


def tables(rows: int, seed: int, kind: str) -> tuple[pd.DataFrame, Answers]:
    """Return a table with 13 numeric and 9 categorical features and a model's answers.

    Of kind `broken`, the second table (seed 2) breaks what Deepchecks' conditions look at.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"n{n}": rng.normal(size=rows) for n in range(13)})
    for n in range(9):
        frame[f"c{n}"] = rng.choice([f"v{k}" for k in range(3 + n)], rows)
    z = frame["n0"] + 0.5 * frame["n1"] + (frame["c0"] == "v0") * 0.7
    frame["y"] = (z + rng.logistic(size=rows) > 0.2).astype(int)
    scores = (1 / (1 + np.exp(-(z - 0.2)))).to_numpy()
    if kind == "broken":
        frame["n12"] = frame["n11"] + rng.normal(0, 0.01, rows)
        if seed == 2:
            frame["n10"] = frame["y"] + rng.normal(0, 0.05, rows)
            frame["n2"] += 1.5
            frame.loc[rng.random(rows) < 0.02, "c1"] = "!!!"
            frame.loc[rng.random(rows) < 0.02, "c2"] = "null"
            frame.loc[rng.random(rows) < 0.02, "c2"] = "NaN"
            frame.loc[rng.random(rows) < 0.02, "c3"] = "V1"
            frame.loc[rng.random(rows) < 0.0005, "c4"] = "v" * 200
            scores = rng.permutation(scores) ** 3
    return frame, Answers(scores)


def ours(rows: int, kind: str, folder: Path, commands: Commands, cores: int) -> dict[str, Any]:
    """Run our list with Deepchecks' own limits; return states by check, seconds and memory."""
    train, train_answers = tables(rows * 3 // 4, 1, kind)
    test, test_answers = tables(rows // 4, 2, kind)
    categorical = tuple(c for c in train.columns if c.startswith("c"))
    by_suite = {
        suite: {
            one.name: DEFAULTS[one.name]
            for one in CONDITIONS
            if one.suite == suite and one.name in DEFAULTS
        }
        for suite in ("data", "model")
    }
    peak = Peak()
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with peak:
        common: dict[str, Any] = {"commands": commands, "cache": folder, "cores": cores}
        data = inspect_data(
            train=train,
            test=test,
            label="y",
            task="binary",
            categorical=categorical,
            time=None,
            overrides=by_suite["data"],
            **common,
        )
        model = inspect_model(
            train=train,
            test=test,
            label="y",
            task="binary",
            train_predictions=train_answers,
            test_predictions=test_answers,
            categorical=categorical,
            overrides=by_suite["model"],
            **common,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    checks = (*data.checks, *model.checks)
    return {
        "wall_s": time.monotonic() - started,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_gb": peak.bytes / 1e9,
        "states": {one.check: state(checks, one.title) for one in CONDITIONS},
    }


def state(checks: tuple[Any, ...], title: str) -> str:
    """Return `PASS` or `FAIL` as Deepchecks would call it, else the outcome as it is."""
    outcome = next(check.outcome for check in checks if check.name == title)
    return {"failed": "FAIL", "warned": "FAIL", "passed": "PASS"}.get(outcome, str(outcome))


class Peak:
    """Watches the memory of this process and its children while it is entered."""

    def __init__(self) -> None:
        self.bytes = 0
        self.ended = threading.Event()

    def __enter__(self) -> None:
        """Start watching."""
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self.ended.set()
        self.thread.join()

    def watch(self) -> None:
        """Sum the unshared and shared memory of every child, several times a second."""
        while not self.ended.wait(0.2):
            total = 0
            own = psutil.Process()
            for one in (own, *own.children(recursive=True)):
                try:
                    total += one.memory_full_info().pss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)


def plain(rows: int, kind: str, folder: Path, commands: Commands) -> dict[str, Any]:
    """Run the three suites as a user would; return states by check and the time."""
    for part, seed, size in (("train", 1, rows * 3 // 4), ("test", 2, rows // 4)):
        frame, answers = tables(size, seed, kind)
        for name in frame.columns:
            if name.startswith("c"):
                frame[name] = frame[name].astype(object)
        frame.to_parquet(folder / f"{part}.parquet", index=False)
        assert answers.scores is not None
        np.savez(folder / f"{part}.npz", predicted=answers.predicted, scores=answers.scores)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = commands.run(
        [str(interpreter(commands)), "-c", PLAIN, str(folder)], cwd=folder, timeout_s=3000
    )
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.code:
        raise SystemExit(done.errors[-2000:])
    told = json.loads((folder / "plain.json").read_text(encoding="utf-8"))
    states: dict[str, str] = {}
    rank = ("skipped", "PASS", "FAIL")
    for check, category in told["found"]:
        one = category if category in rank else "FAIL"  # a warning is ours' failure
        states[check] = max(one, states.get(check, "skipped"), key=rank.index)
    return {
        "wall_s": wall,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "states": states,
        "conditions": len(told["found"]),
    }


def main() -> int:
    """Measure, print, write the JSON; exit 1 where a verdict differs."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--rows", type=int, default=100_000)
    flags.add_argument("--cores", type=int, default=2)
    flags.add_argument("--ours-only", action="store_true")
    flags.add_argument("--quick", action="store_true", help="5,000 rows")
    chosen = flags.parse_args()
    rows = 5_000 if chosen.quick else chosen.rows
    commands = Commands(environ=os.environ)
    interpreter(commands)
    kinds = ("clean",) if chosen.ours_only else ("clean", "broken")
    found = {
        kind: compare(rows, kind, chosen.cores, commands, ours_only=chosen.ours_only)
        for kind in kinds
    }
    if not chosen.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept[f"{rows} rows"] = {"cores": chosen.cores, **found}
        RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return 1 if any(one.get("differ") for one in found.values()) else 0


def compare(
    rows: int, kind: str, cores: int, commands: Commands, *, ours_only: bool
) -> dict[str, Any]:
    """Run both on the same tables, print the times, and name the checks that differ."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        found["ours"] = ours(rows, kind, Path(name), commands, cores)
        if not ours_only:
            found["plain"] = plain(rows, kind, Path(name), commands)
    line = "{:7} {:6} {:7.1f} s wall {:7.1f} s CPU"
    print(line.format(kind, "ours", found["ours"]["wall_s"], found["ours"]["cpu_s"]), end="")
    print(f"   peak {found['ours']['peak_gb']:.2f} GB")
    if ours_only:
        return found
    mine, theirs = found["ours"]["states"], found["plain"]["states"]
    print(line.format(kind, "plain", found["plain"]["wall_s"], found["plain"]["cpu_s"]))
    both = sorted((set(mine) & set(theirs)) - AVERAGED)
    differ = [name for name in both if mine[name] != theirs[name]]
    found |= {
        "faster": found["plain"]["wall_s"] / found["ours"]["wall_s"],
        "compared": {name: [mine[name], theirs[name]] for name in both},
        "differ": differ,
    }
    broken = sum(mine[name] == "FAIL" for name in both)
    print(
        f"{kind:7} faster by {found['faster']:.1f} (wall); of {len(both)} checks that both judge,"
    )
    print(f"        {len(both) - len(differ)} have the same verdict, {broken} of them FAIL")
    for name in differ:
        print(f"        {name}: ours {mine[name]}, plain {theirs[name]}")
    return found


if __name__ == "__main__":
    sys.exit(main())

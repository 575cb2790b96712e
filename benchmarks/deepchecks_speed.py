"""Our Deepchecks run against its three plain suites: time, and the same verdicts.

Runs `suite.run()` of data_integrity, train_test_validation and model_evaluation as users do, and
our explicit list with Deepchecks' own limits, on the same tables in turn; compares every condition
that both evaluate. With --rows 1000000 --ours-only it shows time and peak memory alone.

    python benchmarks/deepchecks_speed.py [--rows 100000] [--ours-only] [--quick]
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
            found.append([type(one.check).__name__, condition.category.name])
with open(os.path.join(folder, "plain.json"), "w") as file:
    json.dump({"found": found, "seconds": time.time() - started}, file)
"""


class Answers:
    """Predictions as Deepchecks needs them."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores: np.ndarray | None = np.column_stack([1 - scores, scores])
        self.predicted = (scores >= 0.5).astype(int)
        self.classes: tuple[object, ...] = (0, 1)


def tables(rows: int, seed: int) -> tuple[pd.DataFrame, Answers]:
    """Return a table with 13 numeric and 9 categorical features and a model's answers."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"n{n}": rng.normal(size=rows) for n in range(13)})
    for n in range(9):
        frame[f"c{n}"] = rng.choice([f"v{k}" for k in range(3 + n)], rows)
    z = frame["n0"] + 0.5 * frame["n1"] + (frame["c0"] == "v0") * 0.7
    frame["y"] = (z + rng.logistic(size=rows) > 0.2).astype(int)
    return frame, Answers((1 / (1 + np.exp(-(z - 0.2)))).to_numpy())


def ours(rows: int, folder: Path, commands: Commands, cores: int) -> dict[str, Any]:
    """Run our list with Deepchecks' own limits; return states by check, seconds and memory."""
    train, train_answers = tables(rows * 3 // 4, 1)
    test, test_answers = tables(rows // 4, 2)
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
    """Return `PASS` or `FAIL` as Deepchecks would call it."""
    outcome = next(check.outcome for check in checks if check.name == title)
    return "FAIL" if outcome in {"failed", "warned"} else "PASS"


class Peak:
    """Watches the memory of our children while it is entered."""

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
            for child in psutil.Process().children(recursive=True):
                try:
                    total += child.memory_full_info().pss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)


def plain(rows: int, folder: Path, commands: Commands) -> dict[str, Any]:
    """Run the three suites as a user would; return states by check and the time."""
    for part, seed, size in (("train", 1, rows * 3 // 4), ("test", 2, rows // 4)):
        frame, answers = tables(size, seed)
        for name in frame.columns:
            if name.startswith("c"):
                frame[name] = frame[name].astype(object)
        frame.to_parquet(folder / f"{part}.parquet", index=False)
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
    for check, category in told["found"]:
        worst = "PASS" if category == "PASS" and states.get(check, "PASS") == "PASS" else "FAIL"
        states[check] = worst
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
    found: dict[str, Any] = {"rows": rows, "cores": chosen.cores}
    with tempfile.TemporaryDirectory() as name:
        found["ours"] = ours(rows, Path(name), commands, chosen.cores)
        if not chosen.ours_only:
            found["plain"] = plain(rows, Path(name), commands)
    line = "{:8} {:7.1f} s wall {:7.1f} s CPU"
    print(line.format("ours", found["ours"]["wall_s"], found["ours"]["cpu_s"]), end="")
    print(f"   peak {found['ours']['peak_gb']:.2f} GB")
    differ: list[str] = []
    if "plain" in found:
        theirs = found["plain"]
        print(line.format("plain", theirs["wall_s"], theirs["cpu_s"]))
        mine = found["ours"]["states"]
        both = sorted((set(mine) & set(theirs["states"])) - AVERAGED)
        differ = [name for name in both if mine[name] != theirs["states"][name]]
        found["faster"] = theirs["wall_s"] / found["ours"]["wall_s"]
        found["differ"] = differ
        print(f"faster by {found['faster']:.1f} (wall); {len(both) - len(differ)} of {len(both)}")
        print(f"checks with the same verdict; differing: {', '.join(differ) or 'none'}")
    if not chosen.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept[f"{rows} rows"] = found
        RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())

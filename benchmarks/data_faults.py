"""Which faults stage data names, one at a time, and how often it blocks clean data.

`python benchmarks/data_faults.py [--deepchecks] [--seeds 10]` prints each fault with the checks
that named it, then counts clean runs that fail; it writes `results/data_faults.json`. Faults and
limits are tried out on seeds below 1000, which are never reported.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.evidence import Check
from ci_mlops.model.settings import ModelSettings, PredictionFiles, Task
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.data import DataStage

Parts = dict[str, pd.DataFrame]
RESULTS = Path(__file__).parent / "results" / "data_faults.json"
FIRST_SEED = 1000


def clean(task: Task, rows: int, seed: int) -> Parts:
    """Return train (three quarters) and test of 13 numbers, 9 categories, a flag, id and time."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "id": rng.permutation(rows) + 10_000,
        "ts": pd.date_range("2024-01-01", periods=rows, freq="37min"),
        "age": rng.normal(42, 11, rows).clip(18, 90).round(),
        "income": rng.lognormal(10.5, 0.5, rows),
        "km": rng.lognormal(3.0, 0.6, rows),
    }
    columns |= {f"n{i}": rng.normal(i, 1 + i / 5, rows) for i in range(10)}
    shapes = np.random.default_rng(0)
    for i in range(9):
        shares = shapes.dirichlet(np.full(3 + i, 5.0))
        columns[f"c{i}"] = rng.choice([f"v{k}" for k in range(3 + i)], rows, p=shares)
    columns["flag"] = rng.random(rows) < 0.3
    frame = pd.DataFrame(columns)
    score = 0.8 * frame["n0"] - 0.25 * frame["n3"] + 0.03 * (frame["age"] - 42)
    score = score + 0.7 * np.log(frame["income"] / 36_000) + (frame["c0"] == "v1") - 0.2
    noisy = score + rng.logistic(0, 1, rows)
    if task == "regression":
        frame["label"] = noisy
    elif task == "multiclass":
        frame["label"] = pd.cut(noisy, [-np.inf, -0.8, 0.8, np.inf], labels=False)
    else:
        frame["label"] = (noisy > 0).astype(int)
    cut = rows * 3 // 4
    return {"train": frame.iloc[:cut].copy(), "test": frame.iloc[cut:].copy()}


def copied(parts: Parts, share: float, jitter: float = 0.0) -> None:
    """Replace the first rows of test by rows of train, but for their id and time."""
    test, train = parts["test"], parts["train"]
    count, names = int(share * len(test)), [c for c in test if c not in {"id", "ts"}]
    rows = train[names].iloc[:count].copy()
    for name in rows.select_dtypes("float"):
        rows[name] *= 1 + jitter
    rows[["id", "ts"]] = test[["id", "ts"]].iloc[:count].to_numpy()
    rows.index = test.index[:count]
    parts["test"] = pd.concat([rows.astype(test.dtypes), test.iloc[count:]])[list(test)]


def leak(parts: Parts, noise: float) -> None:
    """Add a column that is the label and noise."""
    rng = np.random.default_rng(7)
    for name, frame in parts.items():
        parts[name] = frame.assign(hint=frame["label"] + rng.normal(0, noise, len(frame)))


def some(frame: pd.DataFrame, share: float) -> np.ndarray:
    """Return a mask of a share of the rows."""
    return np.random.default_rng(8).random(len(frame)) < share


def put(frame: pd.DataFrame, column: str, value: object, share: float) -> None:
    """Write a value into a share of a column."""
    held = frame[column].astype(object)
    frame[column] = held.where(~some(frame, share), value).infer_objects()


def both_null(parts: Parts) -> None:
    """Empty most of a column in both parts."""
    for frame in parts.values():
        put(frame, "n1", np.nan, 0.6)


def label_shift(parts: Parts) -> None:
    """Drop rows of label 1 until their share is 0.14 lower, as from .44 to .30."""
    test = parts["test"]
    ones = test.index[test["label"] == 1]
    rate = len(ones) / len(test) - 0.14
    keep = round((len(test) - len(ones)) * rate / (1 - rate))
    parts["test"] = test.drop(ones[keep:])


def swapped(parts: Parts) -> None:
    """Swap two columns of numbers in test."""
    test = parts["test"]
    test[["n4", "n5"]] = test[["n5", "n4"]].to_numpy()


def conflicting(parts: Parts) -> None:
    """Repeat a twentieth of train with the other label."""
    train = parts["train"]
    again = train.iloc[: len(train) // 20].copy()
    again["label"] = 1 - again["label"]
    again["id"] += 1_000_000
    parts["train"] = pd.concat([train, again])


def duplicated(parts: Parts) -> None:
    """Repeat a tenth of train."""
    train = parts["train"]
    again = train.iloc[: len(train) // 10].copy()
    again["id"] += 1_000_000
    parts["train"] = pd.concat([train, again])


def hundredth(parts: Parts) -> None:
    """Write some incomes in another unit, and make everyone older."""
    test = parts["test"]
    test.loc[some(test, 0.08), "income"] /= 100
    test["age"] += 6


def early(parts: Parts) -> None:
    """Take test rows from the time of the training rows."""
    test = parts["test"]
    test["ts"] = test["ts"] - pd.Timedelta(days=100)


def ids_leak(parts: Parts) -> None:
    """Number rows so that the id tells the label of a part of them."""
    for frame in parts.values():
        order = frame["label"] + np.random.default_rng(9).normal(0, 0.35, len(frame))
        frame["id"] = np.argsort(np.argsort(order.to_numpy())) + int(frame["id"].min()) * 7


FAULTS: dict[str, tuple[Callable[[Parts], Any], str]] = {
    "strong leak (label + N(0, .05))": (lambda p: leak(p, 0.05), "leak"),
    "soft leak (label + N(0, .7))": (lambda p: leak(p, 0.7), "leak"),
    "10 % of test rows copied from train": (lambda p: copied(p, 0.10), "shared-rows"),
    "4 % of test rows copied from train": (lambda p: copied(p, 0.04), "shared-rows"),
    "4 % copied with a jitter of 1e-6": (lambda p: copied(p, 0.04, 1e-6), "near-shared-rows"),
    "km to m": (lambda p: p["test"].update(p["test"][["km"]] * 1000), "shift"),
    "km to miles": (lambda p: p["test"].update(p["test"][["km"]] / 1.609), "shift"),
    "two columns swapped": (swapped, "shift"),
    "new category in 3 %": (lambda p: put(p["test"], "c2", "new", 0.03), "contract-categories"),
    "nulls in 60 % of test": (lambda p: put(p["test"], "n1", np.nan, 0.6), "contract-null-rate"),
    "nulls in 60 % of both": (both_null, "null-rate|mostly-missing"),
    "income / 100 in 8 %, age + 6": (hundredth, "shift|contract-range"),
    "label shift by .14": (label_shift, "label-shift"),
    "conflicting labels": (conflicting, "conflicting-labels"),
    "the id tells the label": (ids_leak, "leak"),
    "time overlap": (early, "time-overlap"),
    "constant column": (lambda p: p["test"].__setitem__("n2", 1.0), "constant"),
    "words in 2 % of a number": (lambda p: put(p["test"], "n3", "none", 0.02), "contract-types"),
    "infinite in 0.1 %": (lambda p: put(p["test"], "n3", np.inf, 0.001), "contract-not-finite"),
    "category variants in 3 %": (lambda p: put(p["test"], "c1", "V1 ", 0.03), "category-variants"),
    "9 % duplicates in train": (duplicated, "duplicate-rows"),
}


def judge(
    head: Parts, base: Parts | None, task: Task, *, deepchecks: bool
) -> tuple[tuple[Check, ...], float]:
    """Return the checks of the stage, and its seconds."""

    def side(name: Literal["base", "head"]) -> Side:
        data = DataSettings(train="train", test="test", label="label", key="id", time="ts")
        model = ModelSettings(task=task, predictions=PredictionFiles(test="none"))
        return Side(name=name, root=Path(), commit="", code="", data=data, model=model, subjects=())

    with tempfile.TemporaryDirectory() as folder:
        one, two = side("head"), side("base") if base is not None else None
        space = Workspace(
            head=one,
            base=two,
            base_missing="" if two else "this is the first commit",
            judge=two or one,
            commands=Commands(environ=dict(os.environ)),
            folder=Path(folder),
            cache=Path(folder),
            cores=1,
        )
        for name, parts in (("head", head), ("base", base or {})):
            for part, frame in parts.items():
                rows = frame.set_index("id", drop=False).rename_axis(None)
                table = Table(frame=rows, settings=one.data, place=part)
                space.once(("table", name, part), lambda table=table: table)  # type: ignore[misc]
        start = time.perf_counter()
        found = DataStage(deepchecks=deepchecks).run(space)
        return found.checks, time.perf_counter() - start


def named(checks: Iterable[Check], wanted: str) -> str:
    """Return the worst outcome of the checks that ought to name a fault; `missed` for none."""
    bad = [c for c in checks if any(one in c.name for one in wanted.split("|"))]
    return next((o for o in ("failed", "warned") if any(c.outcome == o for c in bad)), "missed")


def main() -> int:
    """Print and write what was named, and how many clean runs failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deepchecks", action="store_true")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    results: dict[str, Any] = {"deepchecks": given.deepchecks, "faults": {}, "clean": []}
    for fault, (change, wanted) in FAULTS.items():
        head = clean("binary", 12_000, given.first_seed)
        base = {name: frame.copy() for name, frame in head.items()}
        change(head)
        rows = {}
        for kind, known in (("against base", base), ("no base", None)):
            checks, _ = judge(head, known, "binary", deepchecks=False)
            rows[kind] = {
                "outcome": named(checks, wanted),
                "failed": sorted({c.name for c in checks if c.outcome == "failed"}),
            }
        results["faults"][fault] = rows
        print(fault, "|", rows, flush=True)
    for task in ("binary", "multiclass", "regression"):
        for size in (2_000, 10_000):
            for seed in range(given.first_seed, given.first_seed + given.seeds):
                head = clean(task, size, seed)
                for kind in ("no base",) if given.deepchecks else ("no base", "new data"):
                    known = clean(task, size, seed + 5000) if kind == "new data" else None
                    checks, seconds = judge(head, known, task, deepchecks=given.deepchecks)
                    bad = sorted(
                        f"{c.name} {c.slice}" for c in checks if c.outcome in {"failed", "error"}
                    )
                    results["clean"].append(
                        {
                            "task": task,
                            "rows": size,
                            "seed": seed,
                            "kind": kind,
                            "failed": bad,
                            "seconds": round(seconds, 2),
                        }
                    )
                    if bad:
                        print("clean", task, size, seed, kind, bad, flush=True)
    failed = sum(bool(one["failed"]) for one in results["clean"])
    results["clean_runs"], results["clean_runs_failed"] = len(results["clean"]), failed
    print(f"{failed} of {len(results['clean'])} clean runs failed")
    given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

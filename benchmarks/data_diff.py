"""How long `ci-mlops diff` takes on two versions of a large table, and how much memory.

`python -m benchmarks.data_diff [--rows 1000000] [--output FILE]` writes tables of 20 columns as
Parquet and as CSV, changes known rows, and runs the command on them in a process of its own. It
checks that the answer is the planted one, and that no cell of the hidden columns comes out.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results" / "data_diff.json"
GOALS = {"seconds": 60.0, "memory_mb": 2000.0}
CANARY = "SECRETCANARY"
HIDDEN = ("name", "region", "salary")


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What was changed, and what the command must say."""

    added: int
    removed: int
    changed: int


def table(rows: int, seed: int) -> pd.DataFrame:
    """Return a key, 10 numbers, 5 categories, a name, a region, a salary, a time and a label."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"id": np.arange(rows)}
    columns |= {f"n{i}": rng.normal(i, 1 + i, rows) for i in range(10)}
    columns |= {f"c{i}": rng.choice([f"v{k}" for k in range(4 + i)], rows) for i in range(4)}
    columns["name"] = [f"{CANARY} {n}" for n in range(rows)]
    columns["region"] = rng.choice([f"{CANARY}{k}" for k in range(8)], rows)
    columns["salary"] = rng.uniform(0, 1, rows) + 424_200
    columns["since"] = pd.date_range("2020-01-01", periods=rows, freq="s")
    columns["label"] = (rng.random(rows) < 0.3).astype(int)
    return pd.DataFrame(columns)


def changed(base: pd.DataFrame) -> tuple[pd.DataFrame, Planted]:
    """Return the table with rows gone, come and changed, in another order."""
    rows = len(base)
    gone, come, other = rows // 100, rows // 200, rows // 50
    head = base.iloc[gone:].copy()
    head.iloc[:other, head.columns.get_loc("n3")] += 1.0  # type: ignore[assignment, index, operator]
    head.iloc[: other // 2, head.columns.get_loc("salary")] += 500_000  # type: ignore[assignment, index, operator]
    head = pd.concat([head, base.iloc[:come].assign(id=np.arange(rows, rows + come))])
    shuffled = head.sample(frac=1, random_state=1).reset_index(drop=True)
    return shuffled, Planted(added=come, removed=gone, changed=other)


def made(folder: Path, rows: int) -> tuple[int, Planted]:
    """Write both tables in both formats; return the number of columns and what was planted."""
    base = table(rows, seed=1)
    head, planted = changed(base)
    for side, frame in (("base", base), ("head", head)):
        frame.to_parquet(folder / f"{side}.parquet", index=False)
        frame.to_csv(folder / f"{side}.csv", index=False)
    return len(base.columns), planted


def measured(base: Path, head: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """Run the command; return seconds and the most memory of the process, and what it printed."""
    command = [sys.executable, "-m", "ci_mlops", "diff", str(base), str(head), "--json", *flags]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    assert process.returncode == 0, text
    to_mb = 1024 if platform.system() == "Linux" else 1024 * 1024
    seconds = round(time.monotonic() - started, 2)
    return {"seconds": seconds, "memory_mb": round(used.ru_maxrss / to_mb)}, text


def right(text: str, planted: Planted, *, keyed: bool) -> bool:
    """Whether the answer is what was planted."""
    (change,) = json.loads(text)["changes"]
    rows = change["rows"]
    if keyed:
        return (rows["added"], rows["removed"], rows["changed"]) == (
            planted.added,
            planted.removed,
            planted.changed,
        )
    both = planted.added + planted.changed, planted.removed + planted.changed
    return (rows["added"], rows["removed"]) == both


def secret(text: str) -> bool:
    """Whether a cell of a hidden column stands in a text."""
    return CANARY in text or "4242" in text or "9242" in text


def main() -> int:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    hide = ("--hide", ",".join(HIDDEN))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: a child's peak of memory starts at its parent's.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            columns, planted = pool.submit(made, folder, given.rows).result()
        cases = {
            "parquet by key": ("base.parquet", "head.parquet", ("--key", "id")),
            "parquet without a key": ("base.parquet", "head.parquet", ()),
            "csv by key": ("base.csv", "head.csv", ("--key", "id")),
            "csv against parquet by key": ("base.csv", "head.parquet", ("--key", "id")),
        }
        for case, (one, two, key) in cases.items():
            figures, text = measured(folder / one, folder / two, *key, *hide)
            figures["right"] = right(text, planted, keyed=bool(key))
            figures["secret_cells"] = secret(text)
            found[case] = figures
            print(f"{case:28} {figures}", flush=True)
    document = {"rows": given.rows, "columns": columns, "cores": os.cpu_count(), "cases": found}
    given.output.parent.mkdir(exist_ok=True, parents=True)
    given.output.write_text(json.dumps(document, indent=1) + "\n")
    missed = [
        case
        for case, one in found.items()
        if not one["right"] or one["secret_cells"] or any(one[k] > GOALS[k] for k in GOALS)
    ]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Whether stage behaviour finds planted bugs, and whether it leaves healthy models in peace.

Run `python -m benchmarks.behaviour_bugs`; it prints two tables and writes
results/behaviour_bugs.json. Each of ten bugs is in a model that is sound otherwise, and the sound
one is tried beside them. Healthy models are of scikit-learn, XGBoost and ONNX, in the environment
of the tests; each is trained anew for each seed, which makes other rows too.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.evidence import Check
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Findings
from ci_mlops.stages.behaviour import BehaviourStage
from tests.conftest import clean_environ
from tests.unit.stages.behaviour import behaviour_spaces as make
from tests.unit.stages.behaviour import planted

BUGS: dict[str, tuple[str, str]] = {
    "NaN on an unseen category": ("nan_on_unseen", "unseen-category"),
    "depends on the batch": ("batch", "independent-of-batch"),
    "depends on the order of rows": ("order", "independent-of-row-order"),
    "state between calls": ("state", "stateless"),
    "overflow of float32": ("overflow", "finite"),
    "threshold off by one": ("off_by_one", "cases"),
    "changes its input": ("mutates", "leaves-input-unchanged"),
    "crashes on one extreme value": ("crashes", "never-raises"),
    "probability 1.0000001": ("overshoots", "probabilities"),
    "goes down where it must go up": ("negative", "monotone"),
}
"""The loader in `planted.py`, and the check that must fail."""
BORDER = "income,debt,term,state,race,expected\n2500,20,360,NY,white,no\n2500,20,359,NY,white,yes\n"
"""Must-hold cases on both sides of a threshold, for the one bug that breaks no property."""
RESULTS = Path(__file__).parent / "results" / "behaviour_bugs.json"
TRAIN = Path(__file__).with_name("healthy_models.py")
KINDS = ("logistic", "forest", "boosting", "xgboost", "onnx")


def found(loader: str, *, cases: bool = False, seed: int = 0) -> tuple[Findings, float]:
    """Run the stage on a planted model; return also the seconds it took, loading included."""
    commands = Commands(environ=clean_environ())
    with tempfile.TemporaryDirectory() as folder:
        head = make.side(Path(folder), "head", loader)
        (head.root / "cases.csv").write_text(BORDER, encoding="utf-8")
        workspace = make.space(Path(folder), commands, planted.data(), head)  # type: ignore[no-untyped-call]
        settings = BehaviourStage(
            monotone={"income": "increasing"}, cases=("cases.csv",) if cases else (), seed=seed
        )
        started = time.monotonic()
        return settings.run(workspace), time.monotonic() - started


def bug(name: str) -> dict[str, Any]:
    """Try one planted bug."""
    loader, expected = BUGS[name]
    findings, seconds = found(loader, cases=expected == "cases")
    broken = [check for check in findings.checks if check.outcome == "failed"]
    check = next((one for one in broken if one.name == expected), None)
    return {
        "bug": name,
        "check": expected,
        "found": check is not None,
        "seconds": round(seconds, 1),
        "others": sorted({one.name for one in broken} - {expected}),
        "example": _example(findings, check),
    }


def _example(findings: Findings, check: Check | None) -> dict[str, list[str]]:
    if check is None:
        return {}
    start = " · ".join(part for part in (check.name, check.slice) if part)
    table = next(one for one in findings.tables if one.title.startswith(f"{start}: "))
    return {str(row[0]): [str(cell) for cell in row[1:]] for row in table.rows}


def healthy(seeds: int, first: int, python: str) -> list[dict[str, Any]]:
    """Try healthy models, each kind with each seed."""
    results = []
    for kind in KINDS:
        alarms: Counter[str] = Counter()
        outcomes: Counter[str] = Counter()
        seconds = 0.0
        for seed in range(first, first + seeds):
            findings, took = _healthy(kind, seed, python)
            seconds += took
            for check in findings.checks:
                outcomes[check.outcome] += 1
                if check.outcome not in {"passed", "skipped"}:
                    alarms[f"{check.name}: {check.message}"] += 1
        results.append(
            {
                "model": kind,
                "seeds": seeds,
                "alarms": dict(alarms),
                "checks": dict(outcomes),
                "seconds_each": round(seconds / seeds, 1),
            }
        )
    return results


def _healthy(kind: str, seed: int, python: str) -> tuple[Findings, float]:
    commands = Commands(environ=clean_environ())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        frame = planted.data(600, seed)  # type: ignore[no-untyped-call]
        frame["approved"] = (frame["approved"] == "yes").astype(int)
        if kind in {"xgboost", "onnx"}:  # their matrices hold numbers only
            for column in ("state", "race"):
                frame[column] = pd.Series(pd.factorize(frame[column], sort=True)[0])
        frame.to_csv(root / "train.csv", index=False)
        done = subprocess.run(
            [python, str(TRAIN), kind, str(root / "train.csv"), str(root), str(seed)],
            check=True,
            capture_output=True,
            text=True,
        )
        path = str(root / done.stdout.strip())
        model = ModelSettings(task="binary", path=path, python=python)
        head = make.side(root, "head", model)
        started = time.monotonic()
        workspace = make.space(root, commands, frame, head)
        return BehaviourStage(seed=seed).run(workspace), time.monotonic() - started


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="seeds of each healthy model")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    bugs = [bug(name) for name in BUGS]
    print("planted bug · found · seconds · smallest example")
    for row in bugs:
        odd = {k: v for k, v in row["example"].items() if "other column" not in k}
        print(f"  {row['bug']:31} {row['found']!s:6} {row['seconds']:5} s  {odd}")
    pythons = sorted((Path.cwd() / ".cache").glob("loaders-*/bin/python"))
    if not pythons:
        raise SystemExit("there is no .cache/loaders-*: run the tests of the loaders once")
    sound = found("sound", cases=False)
    well = healthy(arguments.seeds, arguments.first_seed, str(pythons[-1]))
    print("healthy model · seeds · alarms · seconds each")
    for row in well:
        print(
            f"  {row['model']:10} {row['seeds']:3} {row['alarms'] or 0} {row['seconds_each']:5} s"
        )
    result = {
        "bugs": bugs,
        "sound_model": {
            "failed": sum(check.outcome == "failed" for check in sound[0].checks),
            "seconds": round(sound[1], 1),
        },
        "healthy": well,
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

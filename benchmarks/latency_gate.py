"""How often stage latency alarms falsely, and how surely it finds a slower model.

`python -m benchmarks.latency_gate --minutes 60` makes decisions, one after the other, and appends
each to a file of raw times (`--raw`); then, and with `--analyse` alone, it prints the table and
writes results/latency_gate.json. Three scikit-learn models and one ONNX model (where `make test`
has made its environment), unchanged, really changed (as many more trees, iterations or neurons as
cost that much), or with a wait put in (processor, sleep, lock); every other decision with burners
that take the processors away at random. Each goes on until it is decided for all of three limits
and keeps its launches, so the rule is replayed on them, and by drawing launches anew.

Beside each decision stands what the rules in use would say of two stored runs of the same machine,
made within the same seconds: github-action-benchmark (mean over 110, 120 or 200 % of the former)
and pytest-benchmark's `--benchmark-compare-fail` (mean, median or min over 5 % more).
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import random
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
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
from ci_mlops.stages.latency.measuring import Launcher, Measured, Samples, SizedRows
from ci_mlops.stats import paired

TOP = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "latency_gate.json"
LIMITS = (0.03, 0.05, 0.10)
LAUNCHES = 24
BLOCKS = 8
FEATURES = 20
FRESH_EVERY = 12
"""One decision of so many starts every launch from fresh interpreters."""
STUDY_PY = """
import threading
import time

import joblib


class Waits:
    def __init__(self, model, kind, seconds):
        self.model, self.kind, self.seconds = model, kind, seconds
        self.lock = threading.Lock()
        self.lock.acquire()
        for name in ("classes_", "feature_names_in_"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def predict_proba(self, rows):
        answer = self.model.predict_proba(rows)
        if self.kind == "sleep":
            time.sleep(self.seconds)
        if self.kind == "lock":
            self.lock.acquire(timeout=self.seconds)
        end = time.perf_counter() + self.seconds
        while self.kind == "processor" and time.perf_counter() < end:
            pass
        return answer


class Graph:
    def __init__(self, path):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def predict_proba(self, rows):
        found = self.session.run(None, {self.name: rows.to_numpy("float32")})[1]
        return [[row[key] for key in sorted(row)] for row in found]


def load(path):
    model, kind, seconds = joblib.load(path)
    return Waits(Graph(model) if isinstance(model, str) else model, kind, seconds)
"""
TO_ONNX = """
import sys

import numpy
from skl2onnx import to_onnx
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier

x, y = make_classification(4000, 20, n_informative=8, random_state=0)
model = MLPClassifier((1000, int(sys.argv[2])), max_iter=2, random_state=0).fit(x, y)
with open(sys.argv[1], "wb") as file:
    file.write(to_onnx(model, numpy.zeros((1, 20), dtype="float32")).SerializeToString())
"""
SIDES = ("base", "head")
PLAIN_SIZE = {"forest": 100, "boosting": 300, "onnx": 1000}
"""Trees, iterations or neurons of the models whose work can be changed."""
CHANGES = ("none", "+5 % work", "+10 % work", "+10 % processor", "+10 % sleep", "+10 % lock")
RULES: dict[str, Callable[[list[float], list[float]], Any]] = {
    "mean over 110 %": lambda base, head: np.mean(head) > 1.10 * np.mean(base),
    "mean over 120 %": lambda base, head: np.mean(head) > 1.20 * np.mean(base),
    "mean over 200 %": lambda base, head: np.mean(head) > 2.00 * np.mean(base),
    "mean:5%": lambda base, head: np.mean(head) > 1.05 * np.mean(base),
    "median:5%": lambda base, head: np.median(head) > 1.05 * np.median(base),
    "min:5%": lambda base, head: np.min(head) > 1.05 * np.min(base),
}


def main() -> None:
    """Decide until the time is over, then replay, print the table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--raw", type=Path, default=TOP / "build" / "latency_gate.jsonl")
    parser.add_argument(
        "--only", choices=["unchanged", "changed"], help="these alone, and without the other rules"
    )
    parser.add_argument("--analyse", action="store_true", help="only what stands in --raw")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not options.analyse:
        options.raw.parent.mkdir(exist_ok=True)
        collect(options.raw, 60 * options.minutes, options.only)
    with options.raw.open(encoding="utf-8") as file:
        decisions = [json.loads(line) for line in file]
    found = analyse(decisions)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for limit, rows in found["decisions"].items():
        print(f"\nlimit {limit}\n{pd.DataFrame(rows).to_string(index=False)}")
    for name in ("rules in use", "seconds for a decision, limit 5 %", "drawn anew, limit 5 %"):
        print(f"\n{name}\n{pd.DataFrame(found[name]).to_string(index=False)}")


# --- making decisions ---------------------------------------------------------------------------


def collect(raw: Path, seconds: float, only: str | None) -> None:
    """Append decisions to a file until the time is over."""
    # Mostly without any change: what matters most is rare.
    changes = {"unchanged": CHANGES[:1], "changed": CHANGES[1:]}.get(
        only or "", CHANGES[:1] * 7 + CHANGES
    )
    end = time.monotonic() + seconds
    commands = Commands(environ=dict(os.environ))
    with tempfile.TemporaryDirectory() as name, raw.open("a", encoding="utf-8") as file:
        root = Path(name)
        (root / "study.py").write_text(STUDY_PY, encoding="utf-8")
        study = _Study(root, commands)
        models = [one for one in ("logistic", "forest", "boosting", "onnx") if study.has(one)]
        cases = [(m, c) for c in changes for m in models if _possible(m, c)]
        number = 0
        while time.monotonic() < end:
            if number % len(cases) == 0:
                study.random.shuffle(cases)
            with _burning(2 if study.random.random() < 0.5 else 0) as burners:
                model, change = cases[number % len(cases)]
                fresh = number % FRESH_EVERY == 0
                found = study.decide(model, change, fresh=fresh, rules=not only)
            found["burners"] = burners
            file.write(json.dumps(found) + "\n")
            file.flush()
            number += 1


def _possible(model: str, change: str) -> bool:
    if change.endswith(("sleep", "lock")):  # no system sleeps for 10 % of the others' time
        return model in {"forest", "boosting"}
    return model != "logistic" or not change.endswith("work")


class _Study:
    """Trained models, and workspaces over them."""

    def __init__(self, root: Path, commands: Commands) -> None:
        self.root = root
        self.commands = commands
        self.random = random.Random()
        x, self.y = make_classification(4000, FEATURES, n_informative=8, random_state=0)
        self.frame = pd.DataFrame(x, columns=[f"x{n}" for n in range(FEATURES)])
        self.onnx_python = next(TOP.glob(".cache/loaders-*/bin/python"), None)
        self.files: dict[tuple[str, str], str] = {}

    def has(self, model: str) -> bool:
        """Whether a model can be made here."""
        return model != "onnx" or self.onnx_python is not None

    def decide(self, model: str, change: str, *, fresh: bool, rules: bool) -> dict[str, Any]:
        """Return the launches of one decision, and with `rules` what two stored runs say."""
        base, head = (self._side(name, model, change) for name in SIDES)
        measured, seconds = Measured(), list[float]()
        rows: SizedRows = {1: dict.fromkeys(SIDES, self.frame.iloc[:1])}
        before = self._alone(base) if rules else []
        started = time.monotonic()
        with Launcher((base, head), self._workspace(base, head), fork=not fresh) as launcher:
            decided = False
            while not decided and len(seconds) < LAUNCHES:
                launcher.launch(measured, rows, blocks=BLOCKS, random_=self.random)
                seconds.append(round(time.monotonic() - started, 2))
                answers = [paired.decide(measured.launches[1], limit).answer for limit in LIMITS]
                decided = "cannot tell" not in answers
        after = self._alone(head) if rules else []
        return {
            "model": model,
            "change": change,
            "launches": [
                {
                    "wall": [round(x, 5) for x in one.wall],
                    "cpu": [round(x, 5) for x in one.cpu],
                    "waiting": round(one.waiting, 3),
                }
                for one in measured.launches[1]
            ],
            "seconds": seconds,
            "fresh": measured.forked == 0,
            "base_ms": 1000 * float(np.median(measured.samples["base", 1].wall)),
            "rules": {name: bool(rule(before, after)) for name, rule in RULES.items() if rules},
        }

    def _alone(self, side: Side) -> list[float]:
        return self._samples(side).wall

    def _samples(self, side: Side) -> Samples:
        measured = Measured()
        rows: SizedRows = {1: {side.name: self.frame.iloc[:1]}}
        with Launcher((side,), self._workspace(side, side), fork=False) as launcher:
            launcher.launch(measured, rows, blocks=3 * BLOCKS, random_=self.random)
        return measured.samples[side.name, 1]

    def _seconds(self, path: str, model: str) -> float:
        """Return the CPU seconds of one prediction, the median of three launches."""
        side = self._made("base", path, model)
        return float(np.median([np.median(self._samples(side).cpu) for _ in range(3)]))

    def _side(self, name: str, model: str, change: str) -> Side:
        if name == "base" or change == "none":
            change = "none"
        if (model, change) not in self.files:
            self.files[model, change] = self._file(model, change)
        return self._made(name, self.files[model, change], model)

    def _file(self, model: str, change: str) -> str:
        plain = PLAIN_SIZE.get(model, 0)
        if change == "none":
            return self._trained(model, plain, "none", 0.0)
        share = float(change[1:].split(maxsplit=1)[0]) / 100
        kind = change.rsplit(maxsplit=1)[-1]
        unchanged = self._side("base", model, "none").model
        assert unchanged is not None
        assert unchanged.path is not None
        seconds = self._seconds(unchanged.path, model)
        if kind != "work":
            return self._trained(model, plain, kind, _asked_for(kind, share * seconds))
        # What a tree costs is measured: a part of a prediction's time is the same for any number.
        twice = self._seconds(self._trained(model, 2 * plain, "none", 0.0), model)
        more = round(plain * share * seconds / max(twice - seconds, 0.1 * seconds))
        return self._trained(model, plain + more, "work", 0.0)

    def _trained(self, name: str, size: int, kind: str, wait: float) -> str:
        path = f"{name}-{size}-{kind}-{wait}.joblib"
        model: Any
        if name == "onnx":
            graph = self.root / f"{size}.onnx"
            arguments = [str(self.onnx_python), "-c", TO_ONNX, str(graph), str(size)]
            done = self.commands.run(arguments, cwd=self.root)
            if done.code:
                raise SystemExit(done.errors)
            model = str(graph)
        elif name == "logistic":
            model = LogisticRegression().fit(self.frame, self.y)
        elif name == "forest":
            model = RandomForestClassifier(size, random_state=0).fit(self.frame, self.y)
        else:
            boosting = HistGradientBoostingClassifier(max_iter=size, random_state=0)
            model = boosting.fit(self.frame, self.y)
        joblib.dump((model, kind, wait), self.root / path)
        return path

    def _made(self, name: str, path: str, model: str) -> Side:
        python = str(self.onnx_python) if model == "onnx" else None
        return Side(
            name="base" if name == "base" else "head",
            root=self.root,
            commit="0" * 40,
            code="",
            data=DataSettings(test="test.csv", label="y"),
            model=ModelSettings(task="binary", path=path, loader="study:load", python=python),
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


def _asked_for(kind: str, seconds: float) -> float:
    """Return the sleep to ask for, so that it takes so many seconds: systems sleep too long."""
    if kind == "processor":
        return seconds
    asked = seconds
    for _ in range(5):
        taken = []
        for _ in range(200):
            start = time.perf_counter()
            time.sleep(asked)
            taken.append(time.perf_counter() - start)
        asked = max(1e-6, asked + seconds - float(np.median(taken)))
    return asked


@contextlib.contextmanager
def _burning(count: int) -> Iterator[int]:
    burners = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(count)]
    for one in burners:
        one.start()
    try:
        yield count
    finally:
        for one in burners:
            one.terminate()
            one.join()


def _burn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    drawn = random.Random()
    while True:
        end = time.perf_counter() + drawn.uniform(0.1, 2)
        while time.perf_counter() < end:
            pass
        time.sleep(drawn.uniform(0.1, 2))


# --- replaying them -----------------------------------------------------------------------------


def analyse(decisions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Replay the rule on the launches of every decision, for every limit."""
    unchanged = [one for one in decisions if one["change"] == "none"]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}",
        "launches": LAUNCHES,
        "blocks": BLOCKS,
        "decisions": {f"{100 * limit:.0f} %": _table(decisions, limit) for limit in LIMITS},
        "rules in use": _rules_table(decisions),
        "seconds for a decision, limit 5 %": _seconds_table(decisions),
        "drawn anew, limit 5 %": _drawn_table(unchanged),
        "changes measured": _changes_table(decisions),
    }


def replay(launches: Sequence[paired.Launch], limit: float) -> paired.Decision:
    """Decide as the stage does: after each launch, until it can tell."""
    for count in range(1, len(launches) + 1):
        decision = paired.decide(launches[:count], limit)
        if decision.answer != "cannot tell":
            break
    return decision


def _launches(one: dict[str, Any]) -> list[paired.Launch]:
    return [
        paired.Launch(wall=tuple(x["wall"]), cpu=tuple(x["cpu"]), waiting=x["waiting"])
        for x in one["launches"]
    ]


def _table(decisions: Sequence[dict[str, Any]], limit: float) -> list[dict[str, Any]]:
    by_kind: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in decisions:
        answer = replay(_launches(one), limit).answer
        by_kind[one["change"], "burners" if one["burners"] else "-"].append(answer)
    return [
        {
            "change": change,
            "disturbed by": by,
            "decisions": len(answers),
            **{answer: answers.count(answer) for answer in ("slower", "not slower", "cannot tell")},
        }
        for (change, by), answers in sorted(by_kind.items())
    ]


def _rules_table(decisions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_change: dict[str, list[dict[str, bool]]] = defaultdict(list)
    for one in decisions:
        if one["rules"]:
            by_change[one["change"]].append(one["rules"])
    return [
        {
            "change": change,
            "decisions": len(ones),
            **{f"{name}, %": round(100 * np.mean([one[name] for one in ones])) for name in RULES},
        }
        for change, ones in sorted(by_change.items())
    ]


def _seconds_table(decisions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_start: dict[str, list[float]] = defaultdict(list)
    for one in decisions:
        used = replay(_launches(one), 0.05).launches
        by_start["fresh" if one["fresh"] else "forked"].append(one["seconds"][used - 1])
    return [
        {"start": start, "decisions": len(ones), "median seconds": round(float(np.median(ones)), 1)}
        for start, ones in sorted(by_start.items())
    ]


def _drawn_table(unchanged: Sequence[dict[str, Any]], draws: int = 2000) -> list[dict[str, Any]]:
    """Draw launches at random from all of an unchanged model's, and decide on them."""
    rng = np.random.default_rng(0)
    pools: dict[str, list[paired.Launch]] = defaultdict(list)
    for one in unchanged:
        pools[one["model"]].extend(_launches(one))
    found = []
    for model, pool in sorted(pools.items()):
        answers = [
            replay([pool[n] for n in rng.integers(0, len(pool), LAUNCHES)], 0.05).answer
            for _ in range(draws)
        ]
        found.append(
            {
                "model": model,
                "launches": len(pool),
                "drawn": draws,
                "slower": answers.count("slower"),
                "cannot tell": answers.count("cannot tell"),
            }
        )
    return found


def _changes_table(decisions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The change that all launches show, by model: what was put in is not what comes out."""
    by_case: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in decisions:
        launches = _launches(one)
        wall, cpu = (
            paired.estimate([getattr(x, clock) for x in launches]).change
            for clock in ("wall", "cpu")
        )
        by_case[one["model"], one["change"]].append((wall, cpu))
    return [
        {
            "model": model,
            "change": change,
            "decisions": len(ones),
            "wall %": [round(100 * float(q), 2) for q in np.percentile([w for w, _ in ones], QS)],
            "CPU %": [round(100 * float(q), 2) for q in np.percentile([c for _, c in ones], QS)],
        }
        for (model, change), ones in sorted(by_case.items())
    ]


QS = (5, 50, 95)
"""Percentiles of the measured changes."""


if __name__ == "__main__":
    main()

"""How often the monitors alarm where all is well, and how soon where something is not.

`python -m benchmarks.monitors [--weeks 1000] [--years 2000]` lets the monitors themselves look at
simulated production. A healthy week has a reference of its own (2,000 judged rows), four weeks of
past, 200 predictions a day with 20 inputs of several kinds, labels that arrive days later, latency
and memory with a daily wave, correlated noise, one burst of half an hour with slow and failing
requests, and a restart. Drift and accuracy look each day, latency and resources every two hours; a
week counts as falsely alarmed if any check of any look fails. Then each of four faults begins at a
random moment of such a week: hours to the first alarm. About half of the labels are yes, where a
share is hardest to tell; what is not seen in time counts as seen last.

Last, labels alone: 100 a day, looked at each day for 2,000 years, beside rules in use, a binomial
test of each day's labels (level 0.01) and a seven-day mean held to the judged share less two, or
three, points.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.evidence import Subject
from ci_mlops.model.predictions import Predictions
from ci_mlops.monitors.accuracy import AccuracyMonitor
from ci_mlops.monitors.drift import DriftMonitor
from ci_mlops.monitors.latency import LatencyMonitor
from ci_mlops.monitors.production import Limits, Live, Monitor, Watched
from ci_mlops.monitors.resources import ResourcesMonitor
from ci_mlops.monitors.sources.prediction_log import LabelSettings, Log
from ci_mlops.monitors.sources.prometheus import Prometheus, PrometheusSettings, Series
from ci_mlops.stage import Side
from ci_mlops.stages.policy import PolicyStage
from ci_mlops.stats import sequential

RESULTS = Path(__file__).parent / "results" / "monitors.json"
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
PAST_DAYS, WEEK_DAYS = 28, 7
ROWS_A_DAY = 200
INPUTS = 20
REFERENCE_ROWS = 2000
STEP_S = 600
LABELS_A_DAY, YEAR = 100, 365
ACCURACY = 0.9
FAULTS = ("shift", "label shift", "p95", "leak")
LATE = {"shift": 14, "label shift": 42, "p95": 1, "leak": 4}
"""Days that a fault is watched for."""
MONITORS: Mapping[str, tuple[Monitor, int]] = {
    "drift": (DriftMonitor(deepchecks=False), 24),
    "accuracy": (AccuracyMonitor(), 24),
    "latency": (LatencyMonitor(), 2),
    "resources": (ResourcesMonitor(), 2),
}
"""Each monitor with its defaults, and the hours between two looks."""
SEES = {"shift": "drift", "label shift": "accuracy", "p95": "latency", "leak": "resources"}


# --- production, simulated ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class World:
    """What one simulated project sees."""

    reference: pd.DataFrame
    judged: Predictions
    log: pd.DataFrame
    """Inputs, `time`, `predict`, the label `y` and the moment `told` at which it arrives."""
    metrics: "Scraped"


@dataclass(frozen=True, kw_only=True)
class Scraped(Prometheus):
    """A Prometheus whose answers are simulated, one figure each ten minutes."""

    begin: float
    figures: Mapping[str, np.ndarray] = field(default_factory=dict)

    def range(
        self, query: str, *, since: datetime, until: datetime, step: timedelta
    ) -> list[Series]:
        """Return the figures that a query of the monitors asks for."""
        times = np.arange(since.timestamp(), until.timestamp() + 1e-3, step.total_seconds())
        places = np.clip(np.rint((times - self.begin) / STEP_S).astype(int), 0, None)
        found = self.figures[_named(query)]
        places = places[places < len(found)]
        kept = tuple(float(one) for one in times[: len(places)])
        figures = tuple(float(one) for one in found[places])
        return [Series(labels={"instance": "one"}, times=kept, figures=figures)]


def _named(query: str) -> str:
    for part, name in (
        ("memory", "memory"),
        ("cpu", "cpu"),
        ("code=~", "errors"),
        ("0.95", "p95"),
        ("0.5", "p50"),
    ):
        if part in query:
            return name
    return "requests"


@dataclass(frozen=True, kw_only=True)
class Simulated(Watched):
    """An environment that monitors look at as if it were real."""

    world: World

    def predictions_of(self, window: timedelta) -> Log:
        """Return the rows of the window."""
        now = pd.Timestamp(self.now)
        log = self.world.log
        rows = log[(log["time"] >= now - window) & (log["time"] < now)]
        answers = pd.DataFrame(
            {"time": rows["time"], "id": rows.index, "row": 0, "version": "", "predict": rows["p"]},
            index=rows.index,
        )
        return Log(answers=answers, inputs=rows[_names()], rows=len(rows), spoiled=0)

    def arrived_labels(self) -> pd.DataFrame:
        """Return the labels that have arrived by now."""
        log = self.world.log
        return log[log["told"] <= pd.Timestamp(self.now)][["y"]]

    def judged(self) -> tuple[pd.DataFrame, Predictions]:
        """Return the reference."""
        return self.world.reference, self.world.judged


def _names() -> list[str]:
    return [f"x{n}" for n in range(INPUTS)]


def made(seed: int, days: int, fault: str = "", fault_h: float = 0.0) -> World:
    """Return a world of some days with a fault that begins `fault_h` hours after its beginning."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, INPUTS)
    law = rng.normal(0, 1, INPUTS)
    reference = _rows(rng, kinds, REFERENCE_ROWS)
    _decide(rng, reference, law)
    count = days * ROWS_A_DAY
    log = _rows(rng, kinds, count)
    hours = np.sort(rng.uniform(0, 24 * days, count))
    log["time"] = pd.Timestamp(BEGIN) + pd.to_timedelta(hours, unit="h")
    late = hours >= fault_h
    if fault == "shift":
        name = f"x{int(np.flatnonzero(kinds == 0)[0]) if (kinds == 0).any() else 0}"
        log.loc[late, name] += 0.5 * reference[name].std()
    _decide(rng, log, law, lifted=late if fault == "label shift" else None)
    log["told"] = log["time"] + pd.to_timedelta(rng.exponential(5, count), unit="D")
    log.index = pd.Index([f"r{n}#0" for n in range(count)], dtype=object)
    judged = Predictions(
        keys=reference.index,
        predicted=reference["p"].to_numpy(),
        scores=None,
        classes=(0, 1),
        inputs=tuple(_names()),
    )
    scraped = Scraped(
        settings=PrometheusSettings(url="http://simulated"),
        environ={},
        begin=BEGIN.timestamp(),
        figures=_figures(rng, days, fault, fault_h),
    )
    return World(reference=reference[[*_names(), "y"]], judged=judged, log=log, metrics=scraped)


def _rows(rng: np.random.Generator, kinds: np.ndarray, count: int) -> pd.DataFrame:
    made: dict[str, Any] = {}
    for n, kind in enumerate(kinds):
        values = rng.normal(0, 1, count)
        if kind == 1:
            values = np.exp(values)
        if kind == 2:
            values = rng.poisson(3, count).astype(float)
        if kind == 3:
            values = rng.choice(list("abcde"), count, p=[0.5, 0.25, 0.15, 0.07, 0.03])
        made[f"x{n}"] = values
    return pd.DataFrame(made)


def _decide(
    rng: np.random.Generator, rows: pd.DataFrame, law: np.ndarray, lifted: np.ndarray | None = None
) -> None:
    """Add the label `y` and a prediction `p` that is right in nine cases of ten."""
    numbers = rows[_names()].select_dtypes("number")
    score = (numbers - numbers.mean()).to_numpy() @ law[: numbers.shape[1]]
    chance = 1 / (1 + np.exp(-score / (np.std(score) or 1)))
    y = rng.random(len(rows)) < chance
    if lifted is not None:
        # Five points of all labels turn from no to yes, and the model goes along.
        share = 0.05 / max(float((~y).mean()), 0.05)
        y = y | (lifted & (rng.random(len(rows)) < share))
    rows["y"] = y.astype(int)
    rows["p"] = np.where(rng.random(len(rows)) < ACCURACY, rows["y"], 1 - rows["y"])


def _figures(
    rng: np.random.Generator, days: int, fault: str, fault_h: float
) -> Mapping[str, np.ndarray]:
    steps = days * 24 * 3600 // STEP_S + 2
    hours = np.arange(steps) * STEP_S / 3600
    daily = np.sin(2 * np.pi * hours / 24)
    noise = np.zeros(steps)
    for n in range(1, steps):
        noise[n] = 0.8 * noise[n - 1] + rng.normal(0, 0.03)
    p95 = 10 * np.exp(0.1 * daily + noise)
    errors = rng.poisson(0.3, steps).astype(float)
    memory = 400 + 30 * daily + rng.normal(0, 5, steps)
    for week in range(days // 7):
        begin = int((week * 7 + rng.uniform(0, 7)) * 24 * 6)
        p95[begin : begin + 3] *= 3
        errors[begin : begin + 3] += 20
        restart = int((week * 7 + rng.uniform(0, 7)) * 24 * 6)
        memory[restart : restart + 6] *= np.linspace(0.8, 1, len(memory[restart : restart + 6]))
    late = hours >= fault_h
    if fault == "p95":
        p95[late] *= 2
    if fault == "leak":
        memory += np.where(late, 10 * (hours - fault_h), 0)
    return {
        "p50": p95 / 2,
        "p95": p95,
        "errors": errors,
        "requests": rng.poisson(600 + 200 * daily).astype(float),
        "memory": memory * 1_000_000,
        "cpu": 0.3 + 0.1 * daily + rng.normal(0, 0.02, steps),
    }


# --- looks --------------------------------------------------------------------------------------


def looked(world: World, now: datetime) -> Simulated:
    """Return the world as it is seen at a moment."""
    side = Side(
        name="head",
        root=Path(),
        commit="a" * 40,
        code="a" * 64,
        data=DataSettings(test="x.csv", label="y"),
        model=None,
        subjects=(Subject(name="code", sha256="a" * 64),),
    )
    return Simulated(
        head=side,
        base=None,
        base_missing="production",
        judge=side,
        commands=Commands(environ={}),
        folder=Path(),
        cache=Path(),
        cores=1,
        project="simulated",
        environment="production",
        live=Live(digest="sha256:0", since=BEGIN, commit="a" * 40, promoted=True),
        reference=side,
        now=now,
        log="log",
        max_rows=10**9,
        policy=PolicyStage(packs=("four-fifths",)),
        limits=Limits(memory_mb=1024, cpus=1),
        labels=LabelSettings(path="labels"),
        prometheus=world.metrics,
        world=world,
    )


def alarms(world: World, name: str, begin_h: float, end_h: float) -> Iterator[tuple[float, str]]:
    """Yield the hour and the check of each alarm of a monitor between two hours."""
    monitor, every_h = MONITORS[name]
    hour = begin_h
    while hour <= end_h:
        found = monitor.look(looked(world, BEGIN + timedelta(hours=hour)))
        for check in found.checks:
            if check.outcome == "failed":
                yield hour, f"{name}: {check.name} {check.slice.partition(': ')[2]}".strip()
        hour += every_h


def healthy(seed: int) -> list[str]:
    """Return the false alarms of one week."""
    world = made(seed, PAST_DAYS + WEEK_DAYS)
    span = (24 * PAST_DAYS + 24, 24 * (PAST_DAYS + WEEK_DAYS))
    return sorted({check for name in MONITORS for _, check in alarms(world, name, *span)})


def delay(fault: str, seed: int) -> float | None:
    """Return the hours from a fault to the first alarm of the monitor that has to see it."""
    begin_h = 24 * PAST_DAYS + float(np.random.default_rng(seed).uniform(0, 24))
    world = made(10**6 + seed, PAST_DAYS + LATE[fault] + 2, fault, begin_h)
    monitor = SEES[fault]
    first_look = math.ceil(begin_h / MONITORS[monitor][1]) * MONITORS[monitor][1]
    span = (first_look, begin_h + 24 * LATE[fault])
    return next((hour - begin_h for hour, _ in alarms(world, monitor, *span)), None)


# --- labels alone -------------------------------------------------------------------------------


def label_year(seed: int, *, drop: float = 0.0) -> dict[str, int | None]:
    """Return for each rule the day of its first alarm in a year; None where there is none.

    With a drop, days are counted from it; it is there from the first day on, after 90 good ones.
    """
    rng = np.random.default_rng(seed)
    days = 90 + YEAR
    chance = np.full(days, ACCURACY)
    chance[90:] -= drop
    right = rng.random((days, LABELS_A_DAY)) < chance[:, None]
    counts = right.sum(axis=1)
    found: dict[str, int | None] = {}
    low = _binomial_limit(LABELS_A_DAY, ACCURACY, 0.01)
    found["binomial test of each day"] = _first(counts[90:] <= low)
    week = np.convolve(counts, np.ones(7), "valid")[90 - 6 :] / (7 * LABELS_A_DAY)
    for points in (2, 3):
        found[f"seven-day mean, {points} points"] = _first(week < ACCURACY - points / 100)
    found["ci-mlops"] = None
    for day in range(90, days):
        seen = right[day - 89 : day + 1].reshape(-1)
        if sequential.drop(seen, ACCURACY, 0.02).alarm:
            found["ci-mlops"] = day - 90
            break
    return found


def _binomial_limit(n: int, p: float, level: float) -> int:
    from scipy.stats import binom

    return int(binom.ppf(level, n, p)) - 1


def _first(alarmed: np.ndarray) -> int | None:
    return int(np.argmax(alarmed)) if alarmed.any() else None


# --- all of it ----------------------------------------------------------------------------------


def main() -> int:
    """Print the table; 1 where more than one healthy week in a hundred is falsely alarmed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--years", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    begun = time.monotonic()
    with multiprocessing.Pool(2) as pool:
        weeks = pool.map(healthy, range(arguments.weeks), chunksize=5)
        delays = {
            fault: pool.map(partial(delay, fault), range(arguments.faults), chunksize=1)
            for fault in FAULTS
        }
        years = pool.map(label_year, range(arguments.years), chunksize=10)
        falls = {
            drop: pool.map(partial(label_year, drop=drop), range(min(200, arguments.years)))
            for drop in (0.05, 0.10)
        }
    wrong = [week for week in weeks if week]
    result = {
        "healthy weeks": len(weeks),
        "falsely alarmed weeks": len(wrong),
        "by check": dict(Counter(check for week in wrong for check in week)),
        "hours to alarm": {fault: _told(found) for fault, found in delays.items()},
        "delayed labels": {
            rule: {
                "years": len(years),
                "years with a false alarm": sum(year[rule] is not None for year in years),
                **{
                    f"median days at -{100 * drop:.0f} points": statistics.median(
                        math.inf if one[rule] is None else 1.0 + float(one[rule] or 0)
                        for one in found
                    )
                    for drop, found in falls.items()
                },
            }
            for rule in years[0]
        },
        "seconds": round(time.monotonic() - begun),
    }
    text = json.dumps(result, indent=1)
    print(text)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text + "\n", encoding="utf-8")
    return int(len(wrong) > 0.01 * len(weeks))


def _told(found: list[float | None]) -> dict[str, float | None]:
    """Return the median over all runs; null where it is not seen in half of them."""
    every = sorted(math.inf if one is None else one for one in found)
    middle, worst = statistics.median(every), every[-1]
    return {
        "runs": len(found),
        "not seen": found.count(None),
        "median": round(middle, 1) if math.isfinite(middle) else None,
        "worst": round(worst, 1) if math.isfinite(worst) else None,
    }


if __name__ == "__main__":
    sys.exit(main())

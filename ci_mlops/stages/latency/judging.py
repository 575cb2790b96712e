"""Latency decided: slower, not slower, or cannot tell; and the budgets of this machine."""

import os
import platform
import random
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import (
    Artifact,
    Chart,
    Check,
    Interval,
    Limit,
    Line2D,
    Metric,
    Outcome,
    Scalar,
    Table,
    file_sha256,
)
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.latency import LatencyStage, benchmark_files, own
from ci_mlops.stages.latency.measuring import Measured, SizedRows, launch, processors
from ci_mlops.stats import paired

if TYPE_CHECKING:
    import pandas as pd

SINGLE_LAUNCHES = 3
"""Launches where there is no base to compare with: enough for a median."""


def judge(settings: LatencyStage, workspace: Workspace) -> Findings:
    """Measure base and head in turn until it can be told. Raises CannotLook."""
    head = workspace.head.model
    if head is None or head.path is None:
        check = Check(
            name="predict",
            outcome="skipped",
            message="There is no model to time: the predictions come from files, "
            "so neither budgets nor benchmarks were looked at.",
        )
        return Findings(checks=(check,))
    sides, missing = _sides(workspace)
    rows, differ = _rows(settings, sides, workspace)
    limit = settings.max_slowdown_percent / 100
    measured, decisions = _measure(settings, sides, workspace, rows, limit)
    checks = [_speed(settings, size, decisions.get(size), measured, missing) for size in rows]
    checks += _budgets(settings, measured, workspace.head)
    own_found = own.run(settings.benchmarks, sides, workspace) if settings.benchmarks else []
    checks += [_own_check(settings, one, sides) for one in own_found]
    if settings.benchmarks and not own_found:
        raise CannotLook(f"{settings.benchmarks} holds no benchmark", place="stages.latency")
    return Findings(
        checks=tuple(checks),
        metrics=tuple(_metrics(measured)),
        tables=(_table(measured), *_surroundings()),
        charts=tuple(_charts(measured, min(rows))),
        artifacts=_artifacts(measured, own_found, sides, workspace),
        notes=(*([differ] if differ else []), *_notes(decisions)),
        tools={f"model's {n}": v for n, v in measured.versions.items()}
        | {"pytest-benchmark": _version("pytest-benchmark")},
    )


def _sides(workspace: Workspace) -> tuple[tuple[Side, ...], str]:
    base = workspace.base
    if base is None:
        return (workspace.head,), workspace.base_missing
    if base.model is None or base.model.path is None or not base.digest("model"):
        return (workspace.head,), "the base has no model"
    return (base, workspace.head), ""


def _rows(
    settings: LatencyStage, sides: tuple[Side, ...], workspace: Workspace
) -> tuple[SizedRows, str]:
    """Return each side's rows by batch size, and what a reader must know where they differ."""
    frame = _features(workspace.head, workspace)
    rows = {
        size: frame.sample(size, replace=size > len(frame), random_state=workspace.seed)
        for size in settings.batch_sizes
    }
    sized: SizedRows = {size: {side.name: one for side in sides} for size, one in rows.items()}
    base = sides[0]
    if base.name == "head" or base.digest("data.test") in {"", workspace.head.digest("data.test")}:
        return sized, ""
    own_rows = _features(base, workspace)
    if set(own_rows.columns) <= set(frame.columns):
        # A model that does not say its inputs takes all that it gets, new columns too.
        columns = list(own_rows.columns)
        return {size: {**one, "base": one["base"][columns]} for size, one in sized.items()}, ""
    for size, one in sized.items():
        shared = one["head"].index.isin(own_rows.index).all()
        one["base"] = (
            own_rows.loc[one["head"].index]
            if shared
            else own_rows.sample(size, replace=size > len(own_rows), random_state=workspace.seed)
        )
    gone = ", ".join(sorted(set(map(str, own_rows.columns)) - set(map(str, frame.columns))))
    return sized, f"The base's model was timed on the base's own rows: head's lack {gone[:500]}."


def _features(side: Side, workspace: Workspace) -> "pd.DataFrame":
    frame = workspace.table(side, "test").frame
    return frame.drop(columns=[c for c in (side.data.label, side.data.key) if c in frame.columns])


def _measure(
    settings: LatencyStage,
    sides: tuple[Side, ...],
    workspace: Workspace,
    rows: SizedRows,
    limit: float,
) -> tuple[Measured, dict[int, paired.Decision]]:
    measured = Measured()
    random_ = random.Random()  # noqa: S311 - it chooses processors and turns, not secrets
    decisions: dict[int, paired.Decision] = {}
    for number in range(settings.launches):
        launch(measured, sides, workspace, rows, blocks=settings.blocks, random_=random_)
        if len(sides) == 1 and number + 1 >= SINGLE_LAUNCHES:
            break
        decisions = {
            size: paired.decide(launches, limit) for size, launches in measured.launches.items()
        }
        if decisions and all(one.answer != "cannot tell" for one in decisions.values()):
            break
    return measured, decisions


def _speed(
    settings: LatencyStage,
    size: int,
    decision: paired.Decision | None,
    measured: Measured,
    missing: str,
) -> Check:
    name = "predict-one-row" if size == 1 else f"predict-{size}-rows"
    head = 1000 * float(np.median(measured.samples["head", size].wall))
    if decision is None:
        message = (
            f"A prediction of {_rows_said(size)} takes {head:.3g} ms; nothing to compare with: "
        )
        return Check(
            name=name, outcome="skipped", observed=head, unit="ms", message=f"{message}{missing}."
        )
    base, head = (
        1000 * float(np.median(getattr(measured.samples[name, size], decision.clock)))
        for name in ("base", "head")
    )
    outcome: Outcome = {"slower": "failed", "not slower": "passed"}.get(
        decision.answer,
        "failed" if settings.on_inconclusive == "fail" else "inconclusive",
    )  # type: ignore[assignment]  # the words are outcomes
    shown: paired.Estimate = getattr(decision, decision.clock)
    clock = "CPU" if decision.clock == "cpu" else "wall"
    percent = 100 * shown.change
    words = {
        "slower": f"Predicting {_rows_said(size)} became {percent:.1f} % slower",
        "not slower": f"Predicting {_rows_said(size)} did not become slower ({percent:+.1f} %)",
        "cannot tell": f"Could not tell whether predicting {_rows_said(size)} became slower "
        f"({percent:+.1f} %)",
    }[decision.answer]
    return Check(
        name=name,
        outcome=outcome,
        observed=percent,
        limit=Limit(at_most=settings.max_slowdown_percent),
        interval=Interval(low=100 * shown.low, high=100 * shown.high, level=paired.LEVEL),
        unit="%",
        message=f"{words}: {base:.3g} → {head:.3g} ms on the {clock} clock, in "
        f"{decision.launches} launches of both.",
        remedy="" if outcome == "passed" else _remedy(decision.answer),
    )


def _remedy(answer: paired.Answer) -> str:
    if answer == "slower":
        return "Profile the prediction; if the price is right, raise `max_slowdown_percent`"
    return "Run it again on a quieter runner, or allow more `launches`"


def _rows_said(size: int) -> str:
    return "one row" if size == 1 else f"{size} rows"


# --- budgets ------------------------------------------------------------------------------------


def _budgets(settings: LatencyStage, measured: Measured, head: Side) -> Iterable[Check]:
    budgets = settings.budgets
    sizes = sorted({size for _, size in measured.samples})
    one, many = sizes[0], sizes[-1]
    median = float(np.median(measured.samples["head", one].wall))
    largest = float(np.median(measured.samples["head", many].wall))
    memory = max(measured.memory_bytes["head"]) / 1e6
    figures = (
        ("p50", budgets.p50_ms, 1000 * median, "ms", "most"),
        ("throughput", budgets.rows_per_s, many / largest, "rows/s", "least"),
        ("peak-memory", budgets.peak_memory_mb, memory, "MB", "most"),
        ("file-size", budgets.file_size_mb, _size(head) / 1e6, "MB", "most"),
        ("load-time", budgets.load_s, float(np.median(measured.load_s["head"])), "s", "most"),
    )  # fmt: skip
    for name, budget, value, unit, word in figures:
        if budget is None:
            continue
        limit = Limit(at_most=budget) if word == "most" else Limit(at_least=budget)
        holds = limit.allows(value)
        yield Check(
            name=f"budget-{name}",
            outcome="passed" if holds else "failed",
            observed=value,
            limit=limit,
            unit=unit,
            message=f"The {name.replace('-', ' ')} is {value:.3g} {unit} on this machine.",
            remedy="" if holds else "Make it leaner, or set the budget for this kind of machine",
        )


def _size(side: Side) -> int:
    path = side.root / (side.model.path if side.model and side.model.path else "")
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


# --- the project's own benchmarks ---------------------------------------------------------------


def _own_check(settings: LatencyStage, one: own.Own, sides: tuple[Side, ...]) -> Check:
    if len(sides) == 1:
        median = 1000 * float(np.median(one.seconds["head"]))
        return Check(
            name="own-benchmark",
            slice=one.name,
            outcome="skipped",
            observed=median,
            unit="ms",
            message=f"It takes {median:.3g} ms; there is no base to compare with.",
        )
    if "head" not in one.seconds or "base" not in one.seconds:
        only = "base" if "base" in one.seconds else "head"
        gone = only == "base"
        return Check(
            name="own-benchmark",
            slice=one.name,
            outcome="warned" if gone else "skipped",
            message=f"This benchmark is only at {only}, so nothing was compared.",
            remedy="Keep its name, or say in the pull request why it is gone" if gone else "",
        )
    ratios = one.log_ratios()
    percents = sorted(100 * float(np.expm1(ratio)) for ratio in ratios)
    limit = settings.max_slowdown_percent
    outcome: Outcome = "inconclusive"
    if percents[0] > limit:
        outcome = "failed"
    elif percents[-1] <= limit:
        outcome = "passed"
    if outcome == "inconclusive" and settings.on_inconclusive == "fail":
        outcome = "failed"
    middle = float(np.median(percents))
    return Check(
        name="own-benchmark",
        slice=one.name,
        outcome=outcome,
        observed=middle,
        limit=Limit(at_most=limit),
        interval=Interval(low=percents[0], high=percents[-1], level=1 - 2 * 0.5 ** len(percents)),
        unit="%",
        message=f"It changed by {middle:+.1f} % in the median of {len(percents)} launches in turn, "
        f"which lie between {percents[0]:+.1f} % and {percents[-1]:+.1f} %.",
        remedy="" if outcome == "passed" else "Profile it; every launch must agree to decide",
    )


# --- the report ---------------------------------------------------------------------------------


def _metrics(measured: Measured) -> Iterable[Metric]:
    for (name, size), samples in measured.samples.items():
        if name != "head":
            continue
        base = measured.samples.get(("base", size))
        yield Metric(
            name="median prediction",
            slice=_rows_said(size),
            unit="ms",
            value=1000 * float(np.median(samples.wall)),
            base=1000 * float(np.median(base.wall)) if base else None,
        )


def _table(measured: Measured) -> Table:
    rows: list[tuple[Scalar, ...]] = [
        (
            name,
            size,
            *(round(1000 * float(np.percentile(samples.wall, q)), 4) for q in (50, 95, 99)),
            round(1000 * float(np.median(samples.cpu)), 4),
            round(float(np.median(measured.load_s[name])), 2),
            round(max(measured.memory_bytes[name]) / 1e6, 1),
        )
        for (name, size), samples in sorted(measured.samples.items())
    ]
    columns = ("side", "rows", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "load s", "memory MB")
    return Table(title="Prediction times on this machine", columns=columns, rows=tuple(rows))


def _charts(measured: Measured, size: int) -> Iterable[Chart]:
    both = {name: measured.samples.get((name, size)) for name in ("base", "head")}
    seen = {name: np.asarray(one.wall) * 1000 for name, one in both.items() if one is not None}
    everything = np.concatenate(list(seen.values()))
    low, high = np.percentile(everything, [1, 97])
    if not high > low:
        return
    edges = np.linspace(low, high, 13)
    yield Chart(
        title=f"Times of a prediction of {_rows_said(size)}",
        x_title="ms, from",
        y_title="share of slices, %",
        labels=tuple(f"{edge:.3g}" for edge in edges[:-1]),
        lines=tuple(
            Line2D(
                name=name,
                values=tuple(
                    round(100 * float(n) / len(values), 2) for n in np.histogram(values, edges)[0]
                ),
            )
            for name, values in seen.items()
        ),
    )


def _surroundings() -> Iterable[Table]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    rows: list[tuple[str, str]] = [
        ("system", f"{platform.system()} {platform.machine()}"),
        ("processors", str(len(processors()))),
        ("load average (1 min)", f"{load:.1f}"),
        ("pinning", "yes" if hasattr(os, "sched_setaffinity") else "not on this system"),
    ]
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    quota = Path("/sys/fs/cgroup/cpu.max")
    for name, path in (("governor", governor), ("container's CPU limit", quota)):
        if path.is_file():
            rows.append((name, path.read_text(encoding="utf-8").strip()))
    yield Table(title="The machine", columns=("what", "value"), rows=tuple(rows))


def _notes(decisions: dict[int, paired.Decision]) -> Iterable[str]:
    for size, decision in decisions.items():
        if decision.apart:
            listed = ", ".join(str(n + 1) for n in decision.apart)
            yield (
                f"Launch {listed} of {decision.launches} lay over 15 % from the others for "
                f"{_rows_said(size)}: a process can be slow for its whole life."
            )


def _artifacts(
    measured: Measured, found: list[own.Own], sides: tuple[Side, ...], workspace: Workspace
) -> tuple[Artifact, ...]:
    folder = workspace.artifacts("latency")
    made = []
    for side in sides:
        entries = [
            benchmark_files.entry(
                "predict_one_row" if size == 1 else f"predict_{size}_rows",
                samples.wall,
                {"cpu_seconds": samples.cpu},
            )
            for (name, size), samples in measured.samples.items()
            if name == side.name
        ]
        entries += [
            benchmark_files.entry(one.name, one.rounds[side.name], {})
            for one in found
            if side.name in one.rounds
        ]
        path = folder / f"{side.name}.json"
        benchmark_files.write(path, entries, side.commit)
        made.append(Artifact(path=f"latency/{path.name}", sha256=file_sha256(path)))
    return tuple(made)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)

"""Latency decided: slower, not slower, or cannot tell; and the budgets of this machine."""

import os
import platform
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
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
from ci_mlops.stages.latency.measuring import Launcher, Measured, Samples, SizedRows, processors
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
    own_found = _own(settings, sides, workspace)
    checks += [_own_check(settings, one, sides) for one in own_found]
    floor = _floor(settings, sides, workspace, rows) if settings.calibrate else {}
    return Findings(
        checks=tuple(checks),
        metrics=(*_metrics(measured), *_floor_metrics(floor)),
        tables=(_table(measured), *_surroundings(measured)),
        charts=tuple(_charts(measured, min(rows))),
        artifacts=_artifacts(measured, own_found, sides, workspace),
        notes=(
            *([differ] if differ else []),
            *_notes(decisions),
            *(_floor_said(size, one) for size, one in floor.items()),
        ),
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
    with Launcher(sides, workspace) as launcher:
        for number in range(settings.launches):
            launcher.launch(measured, rows, blocks=settings.blocks, random_=random_)
            if len(sides) == 1 and number + 1 >= SINGLE_LAUNCHES:
                break
            decisions = {
                size: paired.decide(launches, limit) for size, launches in measured.launches.items()
            }
            if decisions and all(one.answer != "cannot tell" for one in decisions.values()):
                break
    return measured, decisions


def _floor(
    settings: LatencyStage, sides: tuple[Side, ...], workspace: Workspace, rows: SizedRows
) -> dict[int, paired.Estimate]:
    """Compare two copies of the first side: what differs then is the runner's noise."""
    first = sides[0]
    twins = (replace(first, name="base"), replace(first, name="head"))
    same = {size: dict.fromkeys(("base", "head"), one[first.name]) for size, one in rows.items()}
    measured, _ = _measure(settings, twins, workspace, same, settings.max_slowdown_percent / 100)
    return {
        size: paired.estimate([one.wall for one in launches])
        for size, launches in measured.launches.items()
    }


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
    both = {side: measured.samples[side, size] for side in ("base", "head")}
    return _decided(settings, decision, both, name=name, subject=f"predicting {_rows_said(size)}")


def _decided(
    settings: LatencyStage,
    decision: paired.Decision,
    samples: Mapping[str, Samples],
    *,
    name: str,
    part: str = "",
    subject: str = "it",
) -> Check:
    base, head = (
        1000 * float(np.median(getattr(samples[side], decision.clock))) for side in ("base", "head")
    )
    told: dict[paired.Answer, Outcome] = {"slower": "failed", "not slower": "passed"}
    undecided: Outcome = "failed" if settings.on_inconclusive == "fail" else "inconclusive"
    outcome = told.get(decision.answer, undecided)
    shown: paired.Estimate = getattr(decision, decision.clock)
    clock = "CPU" if decision.clock == "cpu" else "wall"
    percent = 100 * shown.change
    words = {
        "slower": f"{subject} became {percent:.1f} % slower",
        "not slower": f"{subject} did not become slower ({percent:+.1f} %)",
        "cannot tell": f"could not tell whether {subject} became slower ({percent:+.1f} %)",
    }[decision.answer]
    return Check(
        name=name,
        slice=part,
        outcome=outcome,
        observed=percent,
        limit=Limit(at_most=settings.max_slowdown_percent),
        interval=Interval(low=100 * shown.low, high=100 * shown.high, level=paired.LEVEL),
        unit="%",
        message=f"{words[0].upper()}{words[1:]}: {base:.3g} → {head:.3g} ms on the {clock} clock, "
        f"in {decision.launches} launches of both.",
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
    # Of each launch, and of those the median: a single bad moment is not the model's.
    p95 = float(np.median([found[1] for found in measured.samples["head", one].percentiles]))
    largest = float(np.median(measured.samples["head", many].wall))
    memory = max(measured.memory_bytes["head"]) / 1e6
    figures = (
        ("p50", budgets.p50_ms, 1000 * median, "ms", "most"),
        ("p95", budgets.p95_ms, 1000 * p95, "ms", "most"),
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


def _own(settings: LatencyStage, sides: tuple[Side, ...], workspace: Workspace) -> list[own.Own]:
    if settings.benchmarks is None:
        return []
    limit = settings.max_slowdown_percent / 100
    found = own.run(
        settings.benchmarks,
        sides,
        workspace,
        blocks=settings.blocks,
        launches=settings.launches,
        told=lambda one: paired.decide(one.launches, limit).answer != "cannot tell",
    )
    if not found:
        raise CannotLook(f"{settings.benchmarks} holds no benchmark", place="stages.latency")
    return found


def _own_check(settings: LatencyStage, one: own.Own, sides: tuple[Side, ...]) -> Check:
    if one.launches and not one.faults:
        decision = paired.decide(one.launches, settings.max_slowdown_percent / 100)
        return _decided(settings, decision, one.samples, name="own-benchmark", part=one.name)
    outcome, message, remedy = _without_pair(one, {side.name for side in sides})
    return Check(
        name="own-benchmark", slice=one.name, outcome=outcome, message=message, remedy=remedy
    )


def _without_pair(one: own.Own, sides: set[str]) -> tuple[Outcome, str, str]:
    """Say why a benchmark has nothing to be compared with: outcome, message, remedy."""
    if "head" in one.faults:
        failed = one.faults["head"].startswith("failed")
        said = f"At head it did not run: {one.faults['head']}."
        return ("error" if failed else "warned"), said, "Mend it, or remove it from the folder"
    takes = (
        f"It takes {1000 * float(np.median(one.samples['head'].wall)):.3g} ms"
        if ("head" in one.samples)
        else ""
    )
    if "base" in one.faults:
        said = f"{takes or 'It runs'} at head, and did not run at base: {one.faults['base']}."
        return "warned", said, "Nothing was compared; the next pull request will have a base"
    if "base" not in sides:
        return "skipped", f"{takes}; there is no base to compare with.", ""
    if "head" not in one.samples:
        said = "This benchmark is only at base, so nothing was compared."
        return "warned", said, "Keep its name, or say in the pull request why it is gone"
    return "skipped", f"{takes}; it is only at head, so nothing was compared.", ""


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
            *(round(1000 * float(one), 4) for one in np.median(samples.percentiles, axis=0)),
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


def _surroundings(measured: Measured) -> Iterable[Table]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    rows: list[tuple[str, str]] = [
        ("system", f"{platform.system()} {platform.machine()}"),
        ("processors", str(len(processors()))),
        ("load average (1 min)", f"{load:.1f}"),
        ("launches", f"{len(measured.memory_bytes['head'])}, {measured.forked} of them forks"),
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


def _floor_said(size: int, one: paired.Estimate) -> str:
    low, high = 100 * one.low, 100 * one.high
    return (
        f"Noise floor: two copies of the same model lay {100 * one.change:+.1f} % apart "
        f"({low:+.1f} to {high:+.1f} %) when predicting {_rows_said(size)} on this runner."
    )


def _floor_metrics(floor: Mapping[int, paired.Estimate]) -> Iterable[Metric]:
    for size, one in floor.items():
        yield Metric(
            name="noise floor",
            slice=_rows_said(size),
            unit="%",
            value=100 * max(abs(one.low), abs(one.high)),
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
            benchmark_files.entry(one.name, samples.wall, {"cpu_seconds": samples.cpu})
            for one in found
            if (samples := one.samples.get(side.name)) is not None
        ]
        path = folder / f"{side.name}.json"
        benchmark_files.write(path, entries, side.commit)
        made.append(Artifact(path=f"latency/{path.name}", sha256=file_sha256(path)))
    return tuple(made)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)

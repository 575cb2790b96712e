"""Times of predictions: fresh workers of base and head, pinned to one processor, in turn."""

import contextlib
import math
import os
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ci_mlops.model.process import ONE_THREAD, Handshake, ModelProcess, Times
from ci_mlops.stage import Side, Workspace
from ci_mlops.stats.paired import Launch

if TYPE_CHECKING:
    import pandas as pd

SizedRows = dict[int, dict[str, "pd.DataFrame"]]
"""Rows to ask about, by batch size and side."""
SLICE_S = 0.004
"""A slice is this long at least: enough calls that the hand-over does not matter."""
WARM_UP_CALLS = 6


@dataclass(kw_only=True)
class Samples:
    """Every slice of one side and batch: seconds of one prediction, on either clock."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(kw_only=True)
class Measured:
    """What one launch, or all of them, measured."""

    samples: dict[tuple[str, int], Samples] = field(default_factory=dict)
    launches: dict[int, list[Launch]] = field(default_factory=dict)
    load_s: dict[str, list[float]] = field(default_factory=dict)
    memory_bytes: dict[str, list[int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def launch(
    measured: Measured,
    sides: Sequence[Side],
    workspace: Workspace,
    rows: SizedRows,
    *,
    blocks: int,
    random_: random.Random,
) -> None:
    """Start a worker for each side, measure every batch in turn, and add it to `measured`.

    Raises CannotLook when a model does not load or answer.
    """
    order = random_.sample(list(sides), len(sides))
    cpu = random_.choice(sorted(processors()))
    with contextlib.ExitStack() as stack:
        workers: dict[str, ModelProcess] = {
            side.name: _worker(side, workspace, stack) for side in order
        }
        with ThreadPoolExecutor(len(workers)) as pool:
            loaded = dict(
                zip(workers, pool.map(lambda one: one.load(), workers.values()), strict=True)
            )
        for worker in workers.values():
            pin(worker.pid, cpu)
        for name, handshake in loaded.items():
            measured.load_s.setdefault(name, []).append(handshake.seconds)
            measured.versions |= handshake.versions
        for size, frames in rows.items():
            _batch(measured, workers, loaded, size=size, frames=frames, blocks=blocks)
        for name, worker in workers.items():
            measured.memory_bytes.setdefault(name, []).append(worker.peak_memory_bytes)


def processors() -> set[int]:
    """Return the processors that we may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def pin(pid: int, cpu: int) -> None:
    """Keep a process on one processor, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, {cpu})


def _worker(side: Side, workspace: Workspace, stack: contextlib.ExitStack) -> ModelProcess:
    if side.model is None:
        raise TypeError(side)
    process = ModelProcess(side.model, root=side.root, commands=workspace.commands, env=ONE_THREAD)
    return stack.enter_context(process)


def _batch(
    measured: Measured,
    workers: dict[str, ModelProcess],
    loaded: dict[str, Handshake],
    *,
    size: int,
    frames: Mapping[str, "pd.DataFrame"],
    blocks: int,
) -> None:
    calls: dict[str, int] = {}
    for name, worker in workers.items():
        inputs, frame = loaded[name].inputs, frames[name]
        worker.keep_rows(frame[[c for c in inputs if c in frame.columns]] if inputs else frame)
        worker.freeze()
        worker.time(WARM_UP_CALLS)
        first = worker.time(WARM_UP_CALLS)
        calls[name] = max(2, min(2000, math.ceil(SLICE_S * 1e9 / np.median(first.wall_ns))))
    wall: list[float] = []
    cpu: list[float] = []
    waiting: dict[str, list[float]] = {name: [] for name in workers}
    names = [name for name in ("base", "head") if name in workers]
    turns = [*names, *reversed(names)]
    for _ in range(blocks):
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for name in turns:
            one = _slice(workers[name].time(calls[name]))
            seen[name].append(one)
            samples = measured.samples.setdefault((name, size), Samples())
            samples.wall.append(one[0])
            samples.cpu.append(one[1])
            waiting[name].append(one[0] / max(one[1], 1e-9))
        if len(names) == 2:
            wall.append(_log_ratio(seen, 0))
            cpu.append(_log_ratio(seen, 1))
    if len(names) == 2:
        longest = max(float(np.median(ones)) for ones in waiting.values())
        made = Launch(wall=tuple(wall), cpu=tuple(cpu), waiting=longest)
        measured.launches.setdefault(size, []).append(made)


def _slice(times: Times) -> tuple[float, float]:
    """Return the median seconds of a call, on either clock; the first call after a turn is cold."""
    wall = np.asarray(times.wall_ns[1:], dtype=float)
    cpu = np.asarray(times.cpu_ns[1:], dtype=float)
    # The CPU clock of some kernels ticks coarsely: a mean over the slice keeps what it counted.
    return float(np.median(wall)) / 1e9, max(float(cpu.mean()), 1.0) / 1e9


def _log_ratio(seen: dict[str, list[tuple[float, float]]], clock: int) -> float:
    base, head = (
        np.mean([math.log(one[clock]) for one in seen[name]]) for name in ("base", "head")
    )
    return float(head - base)

"""Times of predictions: fresh workers of base and head, pinned to one processor, in turn."""

import contextlib
import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from ci_mlops.model.process import ONE_THREAD, Handshake, ModelProcess, Times, interpreter
from ci_mlops.stage import Side, Workspace
from ci_mlops.stats.paired import Launch

if TYPE_CHECKING:
    import pandas as pd

SizedRows = dict[int, dict[str, "pd.DataFrame"]]
"""Rows to ask about, by batch size and side."""
SLICE_S = 0.004
"""A slice is this long at least: enough calls that the hand-over does not matter."""
LAUNCH_S = 4.0
"""Blocks of one batch in one launch take no longer than this, but for the least number of them."""
WARM_UP_CALLS = 6


@dataclass(kw_only=True)
class Samples:
    """Every slice of one side and batch: seconds of one prediction, on either clock."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    percentiles: list[tuple[float, float, float]] = field(default_factory=list)
    """50th, 95th and 99th percentile of the calls of each launch, in seconds."""


@dataclass(kw_only=True)
class Measured:
    """What one launch, or all of them, measured."""

    samples: dict[tuple[str, int], Samples] = field(default_factory=dict)
    launches: dict[int, list[Launch]] = field(default_factory=dict)
    load_s: dict[str, list[float]] = field(default_factory=dict)
    memory_bytes: dict[str, list[int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    forked: int = 0
    """Launches whose processes were forks of one that had the libraries loaded."""


class Launcher:
    """Starts the workers of both sides, again and again; a context manager.

    The first launch is of fresh interpreters. Where base and head turn out to have the same
    interpreter and versions, later ones are forks of a process that has the libraries loaded and
    nothing of the project: its code and its model are loaded anew in each.
    """

    def __init__(self, sides: Sequence[Side], workspace: Workspace, *, fork: bool = True) -> None:
        """Prepare, but start nothing; without `fork` every launch is of fresh interpreters."""
        self.sides = sides
        self.workspace = workspace
        self._parent: ModelProcess | None = None
        self._may_fork = fork
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process that forks."""
        self._stack.close()

    def launch(
        self, measured: Measured, rows: SizedRows, *, blocks: int, random_: random.Random
    ) -> None:
        """Start a worker for each side, measure every batch in turn, and add it to `measured`.

        Raises CannotLook when a model does not load or answer.
        """
        order = random_.sample(list(self.sides), len(self.sides))
        cpu = random_.choice(sorted(processors()))
        measured.forked += self._parent is not None
        with contextlib.ExitStack() as stack:
            workers: dict[str, ModelProcess] = {
                side.name: stack.enter_context(self._worker(side)) for side in order
            }
            with ThreadPoolExecutor(len(workers)) as pool:
                handshakes = pool.map(lambda one: one.load(), workers.values())
                loaded = dict(zip(workers, handshakes, strict=True))
            for worker in workers.values():
                pin(worker.pid, cpu)
            for name, handshake in loaded.items():
                if self._parent is None:  # a fork's load has no imports in it
                    measured.load_s.setdefault(name, []).append(handshake.seconds)
                measured.versions |= handshake.versions
            for size, frames in rows.items():
                _batch(measured, workers, loaded, size=size, frames=frames, blocks=blocks)
            for name, worker in workers.items():
                measured.memory_bytes.setdefault(name, []).append(worker.peak_memory_bytes)
            shared = _shared(list(loaded.values()), list(workers.values()))
        if self._may_fork:
            self._may_fork = False
            self._prepare_forks(shared)

    def _worker(self, side: Side) -> ModelProcess:
        if side.model is None:
            raise TypeError(side)
        if self._parent is not None:
            return self._parent.fork(side.model, root=side.root)
        commands = self.workspace.commands
        return ModelProcess(side.model, root=side.root, commands=commands, env=ONE_THREAD)

    def _prepare_forks(self, modules: list[str] | None) -> None:
        models = [(side.model, side.root) for side in self.sides if side.model is not None]
        if modules is None or len({interpreter(model, root) for model, root in models}) != 1:
            return
        model, root = models[-1]
        commands = self.workspace.commands
        process = ModelProcess(model, root=root, commands=commands, env=ONE_THREAD)
        parent = self._stack.enter_context(process)
        if parent.preload(modules):
            self._parent = parent


def _shared(loaded: Sequence[Handshake], workers: Sequence[ModelProcess]) -> list[str] | None:
    """Return the library modules that both sides loaded; None where a version differs."""
    if any(one.versions != loaded[0].versions for one in loaded):
        return None
    found = [set(one.modules()) for one in workers]
    return sorted(set.intersection(*found))


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
    seconds = 0.0
    for name, worker in workers.items():
        inputs, frame = loaded[name].inputs, frames[name]
        worker.keep_rows(frame[[c for c in inputs if c in frame.columns]] if inputs else frame)
        worker.freeze()
        warm = min(WARM_UP_CALLS, calls_of(min(worker.time(1).wall_ns) / 1e9) + 1)
        worker.time(warm)
        once = float(np.median(worker.time(warm).wall_ns)) / 1e9
        # One more, since the first is dropped.
        calls[name] = calls_of(once) + (once < SLICE_S)
        seconds = max(seconds, once * calls[name])
    every: dict[str, list[int]] = {name: [] for name in workers}

    def turn(name: str) -> tuple[float, float]:
        times = workers[name].time(calls[name])
        every[name].extend(times.wall_ns[calls[name] > 1 :])
        return _slice(times)

    samples = {name: measured.samples.setdefault((name, size), Samples()) for name in workers}
    names = [name for name in ("base", "head") if name in workers]
    launch = paired_blocks(names, blocks_within(blocks, seconds), turn, samples)
    for name, ones in every.items():
        p50, p95, p99 = np.percentile(ones, [50, 95, 99]) / 1e9
        samples[name].percentiles.append((float(p50), float(p95), float(p99)))
    if launch is not None:
        measured.launches.setdefault(size, []).append(launch)


def calls_of(seconds: float) -> int:
    """Return how many calls of so many seconds make a slice."""
    return max(1, min(2000, math.ceil(SLICE_S / max(seconds, 1e-9))))


def blocks_within(blocks: int, seconds: float) -> int:
    """Return how many blocks of slices of so many seconds fit into a launch, 1 at least."""
    return max(1, min(blocks, int(LAUNCH_S / (4 * max(seconds, 1e-9)))))


def paired_blocks(
    names: Sequence[str],
    blocks: int,
    turn: Callable[[str], tuple[float, float]],
    samples: dict[str, Samples],
) -> Launch | None:
    """Take turns, base, head, head, base in each block; None where there is one side only.

    `turn` runs a slice of a side and returns the seconds of one call, on either clock.
    """
    wall: list[float] = []
    cpu: list[float] = []
    waiting: dict[str, list[float]] = {name: [] for name in names}
    turns = [*names, *reversed(names)]
    for _ in range(blocks):
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for name in turns:
            one = turn(name)
            seen[name].append(one)
            kept = samples.setdefault(name, Samples())
            kept.wall.append(one[0])
            kept.cpu.append(one[1])
            waiting[name].append(one[0] / max(one[1], 1e-9))
        if len(names) == 2:
            wall.append(_log_ratio(seen, 0))
            cpu.append(_log_ratio(seen, 1))
    if len(names) != 2:
        return None
    longest = max(float(np.median(ones)) for ones in waiting.values())
    return Launch(wall=tuple(wall), cpu=tuple(cpu), waiting=longest)


def _slice(times: Times) -> tuple[float, float]:
    """Return the median seconds of a call, on either clock; the first call after a turn is cold."""
    first = int(len(times.wall_ns) > 1)
    wall = np.asarray(times.wall_ns[first:], dtype=float)
    cpu = np.asarray(times.cpu_ns[first:], dtype=float)
    # The CPU clock of some kernels ticks coarsely: a mean over the slice keeps what it counted.
    return float(np.median(wall)) / 1e9, max(float(cpu.mean()), 1.0) / 1e9


def _log_ratio(seen: dict[str, list[tuple[float, float]]], clock: int) -> float:
    base, head = (
        np.mean([math.log(one[clock]) for one in seen[name]]) for name in ("base", "head")
    )
    return float(head - base)

"""The project's own pytest-benchmark tests, unmodified, in lock step: base and head by turns."""

import contextlib
import json
import os
import random
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from ci_mlops.errors import CannotLook
from ci_mlops.model.process import ONE_THREAD, interpreter
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.latency.measuring import (
    Samples,
    blocks_within,
    calls_of,
    paired_blocks,
    pin,
    processors,
)
from ci_mlops.stats.paired import Launch

PLUGIN = Path(__file__).with_name("plugin")
WAIT_S = 300
"""How long a single step of the project's own code may take."""
NO_TESTS = 5
"""pytest's exit code where nothing was collected."""


@dataclass(kw_only=True)
class Own:
    """One benchmark of the project, over all launches so far."""

    name: str
    launches: list[Launch] = field(default_factory=list)
    samples: dict[str, Samples] = field(default_factory=dict)
    """Slices by side."""
    faults: dict[str, str] = field(default_factory=dict)
    """By side, why it has none although it is there."""


def run(
    folder: str,
    sides: Sequence[Side],
    workspace: Workspace,
    *,
    blocks: int,
    launches: int,
    told: Callable[[Own], bool],
) -> list[Own]:
    """Run the tests below `folder` in both checkouts until `told` holds for each benchmark.

    Raises CannotLook where pytest itself does not get as far as running them.
    """
    present = [one for one in sides if one.model is not None and (one.root / folder).exists()]
    found: dict[str, Own] = {}
    random_ = random.Random()  # noqa: S311 - it chooses processors and turns, not secrets
    for number in range(launches if len(present) > 1 else 1):
        _launch(folder, present, workspace, found, blocks=blocks, random_=random_)
        both = [one for one in found.values() if one.launches]
        if all(len(one.launches) <= number or told(one) for one in both):
            break
    return [found[name] for name in sorted(found)]


def _launch(
    folder: str,
    sides: Sequence[Side],
    workspace: Workspace,
    found: dict[str, Own],
    *,
    blocks: int,
    random_: random.Random,
) -> None:
    cpu = random_.choice(sorted(processors()))
    with contextlib.ExitStack() as stack:
        running: dict[str, Pytest] = {
            side.name: stack.enter_context(Pytest(folder, side, workspace))
            for side in random_.sample(list(sides), len(sides))
        }
        tests = {name: process.collected() for name, process in running.items()}
        running = {name: running[name] for name in ("base", "head") if name in running}
        common = [
            one for one in next(iter(tests.values()), ()) if all(one in t for t in tests.values())
        ]
        alone = {name: [one for one in tests[name] if one not in common] for name in running}
        for name, process in running.items():
            process.say({"run": [*common, *alone[name]]})
            pin(process.pid, cpu)
        for one in common:
            own = found.setdefault(one, Own(name=one))
            _benchmark(own, running, blocks)
        for name, process in running.items():
            for one in alone[name]:
                own = found.setdefault(one, Own(name=one))
                _benchmark(own, {name: process}, blocks)


def _benchmark(own: Own, running: Mapping[str, "Pytest"], blocks: int) -> None:
    heard = {name: process.hear() for name, process in running.items()}
    for name, one in heard.items():
        if "ready" not in one:
            own.faults[name] = _why(one)
    if all("ready" in one for one in heard.values()):
        _measure(own, running, blocks)
    for name, one in heard.items():
        if "ready" in one:
            running[name].say({"done": True})
    for name, one in heard.items():
        last = one
        while "finished" not in last:
            last = running[name].hear()
            if "failed" in last:  # such as an assertion on the result
                own.faults[name] = _why(last)


def _why(heard: Mapping[str, Any]) -> str:
    if "finished" in heard:
        return "it never called `benchmark`"
    state = "skipped" if "skipped" in heard else "failed"
    return f"{state}: {heard.get('why', '')}"


def _measure(own: Own, running: Mapping[str, "Pytest"], blocks: int) -> None:
    calls = {}
    for name, process in running.items():
        first = process.slice(1, counts=False)[0]
        again = process.slice(min(1000, calls_of(first)), counts=False)[0]
        calls[name] = calls_of(again)
    both = max(calls.values())
    seconds = process.slice(both, counts=False)[0] * both
    launch = paired_blocks(
        list(running),
        blocks_within(blocks, seconds),
        lambda name: running[name].slice(both, counts=True),
        own.samples,
    )
    if launch is not None:
        own.launches.append(launch)


class Pytest:
    """A pytest process of one side that runs a slice whenever it is its turn; a context manager."""

    def __init__(self, folder: str, side: Side, workspace: Workspace) -> None:
        """Prepare, but start nothing."""
        self.folder = folder
        self.side = side
        self.commands = workspace.commands
        self._rest = b""

    def __enter__(self) -> Self:
        """Start pytest in the side's checkout, with the side's interpreter."""
        if self.side.model is None:
            raise TypeError(self.side)
        python = interpreter(self.side.model, self.side.root)
        theirs_to_read, self._write = os.pipe()
        self._read, theirs_to_write = os.pipe()
        self._output: IO[bytes] = tempfile.TemporaryFile()
        path = os.pathsep.join(
            filter(None, [str(PLUGIN), self.commands.environ.get("PYTHONPATH", "")])
        )
        turns = f"{theirs_to_read},{theirs_to_write}"
        try:
            self._process: subprocess.Popen[bytes] = self.commands.start(
                [
                    *(str(python), "-m", "pytest", self.folder, "-q", "-p", "ci_mlops_turns"),
                    # The project's own options, such as coverage or several processes, disturb.
                    *("-p", "no:cacheprovider", "-o", "addopts=", "--rootdir=."),
                ],
                cwd=self.side.root,
                env={**ONE_THREAD, "PYTHONPATH": path, "CI_MLOPS_TURNS": turns},
                stdout=self._output,
                stderr=self._output,
                pass_fds=(theirs_to_read, theirs_to_write),
            )
        finally:
            os.close(theirs_to_read)
            os.close(theirs_to_write)
        self.python = python
        return self

    def __exit__(self, *_: object) -> None:
        """End pytest and all that it started."""
        self.commands.end(self._process)
        os.close(self._read)
        os.close(self._write)
        self._output.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def collected(self) -> list[str]:
        """Return the names of the side's benchmarks."""
        heard = self.hear()
        if "broken" in heard:
            raise self._fault(f"{heard['broken']}: {heard['why']}")
        return [str(one) for one in heard["collected"]]

    def slice(self, calls: int, *, counts: bool) -> tuple[float, float]:
        """Run that many calls; return the wall and CPU seconds of one."""
        self.say({"calls": calls, "counts": counts})
        heard = self.hear()
        if "wall" not in heard:
            raise self._fault(_why(heard))
        return float(heard["wall"]), max(float(heard["cpu"]), 1e-9)

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises CannotLook when nobody hears it."""
        try:
            os.write(self._write, json.dumps(message).encode() + b"\n")
        except BrokenPipeError as fault:
            raise self._fault(self._last_line()) from fault

    def hear(self) -> dict[str, Any]:
        """Return the next message. Raises CannotLook when there is none, or it takes too long."""
        deadline = time.monotonic() + WAIT_S
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise self._fault(f"a step took longer than {WAIT_S} s")
            piece = os.read(self._read, 65536)
            if not piece:
                self._process.wait(WAIT_S)
                raise self._fault(self._last_line())
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        return told

    def _fault(self, why: str) -> CannotLook:
        text = self._said()
        if "No module named" in text and ("pytest" in text or "pytest_benchmark" in text):
            return CannotLook(
                f"{self.side.name}'s interpreter lacks pytest or pytest-benchmark",
                place="stages.latency.benchmarks",
                remedy=f"Install them: `{self.python} -m pip install pytest pytest-benchmark`",
            )
        return CannotLook(
            f"{self.side.name}'s benchmarks failed: {why}",
            place=self.folder,
            remedy="Run them with pytest on that commit",
        )

    def _said(self) -> str:
        self._output.seek(0)
        return self._output.read().decode("utf-8", "replace")

    def _last_line(self) -> str:
        lines = [line.strip() for line in self._said().splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E ", "ERROR"))]
        return (errors or lines or [f"exit code {self._process.returncode}"])[-1][:500]

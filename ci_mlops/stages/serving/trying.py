"""Head's server, started from its bundle and asked as clients do, until it is told to end."""

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ci_mlops import __version__, bundling
from ci_mlops.evidence import Check, Metric
from ci_mlops.serving import bundle, start
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import Client, Unanswered, until_ready
from ci_mlops.serving.conformance import end_under_load, examine, ready
from ci_mlops.stage import Findings, Workspace
from ci_mlops.stages.serving import ServingStage

TIMED = 100
"""Requests of one row whose time the report shows."""


def run(settings: ServingStage, workspace: Workspace) -> Findings:
    """Make the bundle and try it. Raises CannotLook."""
    folder, digest = bundling.make(workspace, workspace.head)
    recorded = bundle.read_recorded(folder)
    model = bundle.read_serve(folder).signature.name
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    checks = [_bundle(digest)]
    metrics = [Metric(name="bundle-size", value=size / 1e6, unit="MB")]
    begun = time.monotonic()
    with _started(folder, workspace) as (process, url, printed):
        seconds = None
        if url:
            left = settings.ready_within_s - (time.monotonic() - begun)
            waited = until_ready(url, within_s=left, runs=lambda: process.poll() is None)
            seconds = None if waited is None else time.monotonic() - begun
        checks.append(ready(seconds, settings.ready_within_s, printed=_last_line(printed)))
        if seconds is not None:
            with contextlib.closing(Client(url)) as asked:
                checks += examine(
                    asked, model=model, recorded=recorded, tolerance=settings.tolerance
                )
                metrics += _times(asked, model, recorded)
                checks.append(
                    end_under_load(_Process(process), asked, model=model, inputs=recorded.row(0))
                )
    return Findings(checks=tuple(checks), metrics=tuple(metrics), tools={"ci-mlops": __version__})


@dataclass(frozen=True)
class _Process:
    process: "subprocess.Popen[bytes]"

    def terminate(self) -> None:
        self.process.terminate()

    def wait(self, within_s: float) -> int | None:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None


def _bundle(digest: str) -> Check:
    return Check(
        name="bundle",
        outcome="passed",
        observed=digest,
        message=f"Model, code and recorded answers are one bundle: {digest[:19]}.",
    )


def _last_line(printed: Path) -> str:
    lines = printed.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


@contextmanager
def _started(
    folder: Path, workspace: Workspace
) -> Iterator[tuple["subprocess.Popen[bytes]", str, Path]]:
    """Start a bundle's server; yield its process, its address if one came, and its words."""
    head = workspace.head
    flags = start.flags(head.model, head.root)
    with tempfile.TemporaryDirectory() as name:
        printed = Path(name) / "printed"
        told, tells = os.pipe()
        try:
            with printed.open("wb") as errors:
                process = workspace.commands.start(
                    start.command(folder.resolve(), *flags),
                    cwd=workspace.folder,
                    stdout=tells,
                    stderr=errors,
                )
        finally:
            os.close(tells)
        try:
            with os.fdopen(told, encoding="utf-8") as output:
                url = output.readline().strip()
            yield process, url, printed
        finally:
            workspace.commands.end(process)


def _times(asked: Client, model: str, recorded: Recorded) -> Iterator[Metric]:
    row = recorded.row(0)
    taken = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        try:
            asked.predictions(model, row)
        except Unanswered:
            return
        taken.append(1000 * (time.perf_counter() - begun))
    cuts = statistics.quantiles(taken, n=100)
    yield Metric(name="answer-p50", value=cuts[49], unit="ms")
    yield Metric(name="answer-p95", value=cuts[94], unit="ms")

"""Head's server, started from its bundle and asked as clients do, until it is told to end."""

import http.client
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ci_mlops import __version__
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Limit, Metric
from ci_mlops.serving import bundle, client, start
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import Client, Unanswered
from ci_mlops.stage import Findings, Workspace
from ci_mlops.stages.serving import ServingStage, making

TIMED = 100
"""Requests of one row whose time the report shows."""
CLIENTS = 4
LOADED_S = 0.5
"""How long the server is under load before it is told to end."""
END_WITHIN_S = 40.0


def run(settings: ServingStage, workspace: Workspace) -> Findings:
    """Make the bundle and try it. Raises CannotLook."""
    folder, digest = making.make(settings, workspace, workspace.project)
    recorded = bundle.read_recorded(folder)
    signature = bundle.read_serve(folder).signature
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    checks = [_bundle(digest)]
    metrics = [Metric(name="bundle-size", value=size / 1e6, unit="MB")]
    begun = time.monotonic()
    with _started(folder, workspace) as (process, url, printed):
        asked = Client(url=url, model=signature.name)
        if url:
            since = time.monotonic() - begun
            checks.append(client.ready(asked, settings.ready_within_s, since=since))
        if not url or checks[-1].outcome == "failed":
            return Findings(checks=(*checks[:1], _never_ready(settings, printed, began=bool(url))))
        checks.append(client.same_predictions(asked, recorded, settings.tolerance))
        checks.append(client.refuses_wrong_input(asked, signature, recorded))
        metrics += _times(asked, recorded)
        asked.close()
        checks.append(_ends_gracefully(process, url, signature.name, recorded))
    return Findings(checks=tuple(checks), metrics=tuple(metrics), tools={"ci-mlops": __version__})


def _bundle(digest: str) -> Check:
    return Check(
        name="bundle",
        outcome="passed",
        observed=digest,
        message=f"Model, code and recorded answers are one bundle: {digest[:19]}.",
    )


def _never_ready(settings: ServingStage, printed: Path, *, began: bool) -> Check:
    lines = printed.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = f" It printed: {lines[-1][:300]}" if lines else ""
    what = f"was not ready within {settings.ready_within_s:g} s" if began else "did not start"
    return Check(
        name="ready",
        outcome="failed",
        limit=Limit(at_most=settings.ready_within_s),
        unit="s",
        message=f"The server {what}.{said}"[:2000],
        remedy="Mend what it says, or raise `ready_within_s`",
    )


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


def _times(asked: Client, recorded: Recorded) -> Iterator[Metric]:
    one = [{**i, "shape": [1], "data": i["data"][:1]} for i in recorded.inputs]
    taken = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        try:
            asked.infer(one)
        except Unanswered:
            return
        taken.append(1000 * (time.perf_counter() - begun))
    cuts = statistics.quantiles(taken, n=100)
    yield Metric(name="answer-p50", value=cuts[49], unit="ms")
    yield Metric(name="answer-p95", value=cuts[94], unit="ms")


# --- the end ------------------------------------------------------------------------------------


@dataclass
class _Load:
    """Clients that ask without a pause until an answer closes their connection."""

    url: str
    model: str
    body: bytes
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self) -> None:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        path = f"/v2/models/{self.model}/infer"
        headers = {"content-type": "application/json"}
        while True:
            try:
                connection.request("POST", path, self.body, headers)
                answer = connection.getresponse()
                answer.read()
                problem = "" if answer.status == 200 else f"status {answer.status}"
                over = answer.getheader("connection", "") == "close"
            except (OSError, http.client.HTTPException) as fault:
                problem, over = type(fault).__name__, True
            with self._lock:
                self.answered += not problem
                self.failed += [problem] if problem else []
            if over or problem:
                connection.close()
                return


def _ends_gracefully(
    process: "subprocess.Popen[Any]", url: str, model: str, recorded: Recorded
) -> Check:
    """Whether no request fails when the server is told to end, and it then does."""
    load = _Load(url, model, json.dumps({"inputs": list(recorded.inputs)}).encode())
    threads = [threading.Thread(target=load.client, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(LOADED_S)
    process.send_signal(signal.SIGTERM)
    try:
        code: int | None = process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        code = None
    for thread in threads:
        thread.join(timeout=END_WITHIN_S)
    common: dict[str, Any] = {
        "name": "ends-gracefully",
        "observed": float(len(load.failed)),
        "limit": Limit(at_most=0),
        "unit": "requests",
        "rows": load.answered,
    }
    if code is None:
        message = f"The server did not end within {END_WITHIN_S:g} s of SIGTERM."
        return Check(outcome="failed", message=message, **common)
    if load.failed or code:
        message = (
            f"Told to end under load, it left {len(load.failed)} requests without an answer "
            f"(first: {load.failed[0] if load.failed else 'none'}), with exit code {code}."
        )
        return Check(outcome="failed", message=message, **common)
    if not load.answered:
        raise CannotLook("the server answered nothing before it was told to end")
    message = f"Told to end under load, it answered all {load.answered} requests before it did."
    return Check(outcome="passed", message=message, **common)

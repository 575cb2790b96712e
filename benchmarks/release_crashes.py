"""Promotions and rollbacks that are killed with -9 and resumed, while clients ask without a pause.

`python -m benchmarks.release_crashes [--kills 200]` serves three bundles on loopback by the process
target. Each round promotes another one, or rolls back, in a process of its own that is killed at a
random moment (at a named step in the first rounds) and started again with the same id until it
ends. It exits with 1 where a request failed or came from a bundle whose answers are wrong, an id
has not exactly one intent and one end, or the ledger differs from what answers.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from ci_mlops.command import Commands
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.process_target import ProcessTarget
from ci_mlops.release.promote import STEPS, Release
from ci_mlops.release.settings import ProcessTargetSettings, VerifySettings
from ci_mlops.release.verify import Verifier
from ci_mlops.serving import bundle, worker
from ci_mlops.serving.bundle import Recorded, Serve
from ci_mlops.serving.signature import Column, Signature
from tests.conftest import clean_environ
from tests.unit.release.file_target import intent

RESULTS = Path(__file__).parent / "results" / "release_crashes.json"
SCORER = """\
class Scorer:
    classes_ = (0, 1)

    def __init__(self, weight):
        self.weight = weight

    def predict_proba(self, rows):
        return [[1 - self.weight * x, self.weight * x] for x in rows["x"]]


def load(path):
    return Scorer(float(open(path).read()))
"""
WEIGHTS = (0.25, 0.5, 1.0)
CLIENTS = 2
PAUSE_S = 0.01
INPUTS = [{"name": "x", "shape": [1], "datatype": "FP64", "data": [0.8]}]


def bundles(folder: Path) -> list[str]:
    """Make the bundles, and one that answers otherwise than it recorded; return their digests."""
    (folder / "scorer.py").write_text(SCORER, encoding="utf-8")
    signature = Signature(
        name="m",
        task="binary",
        columns=(Column(name="x", datatype="FP64", kind="array", dtype="<f8"),),
        classes=(0, 1),
        positive=1,
    )
    digests = []
    for weight in (*WEIGHTS, 0.9):
        (folder / "weight").write_text(str(weight), encoding="utf-8")
        p = 0.8 * (0.1 if weight == 0.9 else weight)
        made = folder / "made"
        digest = bundle.write(
            made,
            Serve(signature=signature, model="model/weight", loader="scorer:load"),
            Recorded(
                inputs=tuple(INPUTS),
                outputs={"predict_proba": (1 - p, p), "predict": (int(p >= 0.5),)},
            ),
            model=folder / "weight",
            root=folder,
            code=["scorer.py"],
        )
        made.rename(folder / "bundles" / digest.removeprefix("sha256:"))
        digests.append(digest)
    return digests


@contextmanager
def opened(folder: Path, port: int) -> Iterator[Release]:
    """Open the environment, as the verbs do."""
    commands = Commands(environ=clean_environ())
    settings = ProcessTargetSettings(target="process", port=port, log_predictions=False)
    target = ProcessTarget(
        settings=settings,
        folder=folder / "target",
        bundles=folder / "bundles",
        flags=(),
        commands=commands,
    )

    def recorded(digest: str) -> Recorded:
        return bundle.read_recorded(folder / "bundles" / digest.removeprefix("sha256:"))

    verify = Verifier(
        settings=VerifySettings(requests=20, max_slowdown_percent=None),
        model="m",
        recorded=recorded,
        live=target.live,
        hold_s=1.0,
    )
    with ledger_at(str(folder / "remote.git"), commands) as ledger:
        yield Release(ledger=ledger, target=target, verify=verify, holds=True)


def once(folder: Path, port: int, words: list[str]) -> None:
    """Promote or roll back, and die before a step."""
    verb, name, digest, kill_at = words

    def told(step: str) -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with opened(folder, port) as release:
        release.told = told
        wanted = intent(name, "0").model_copy(update={"to": digest})
        if verb == "promote":
            release.promote(wanted, is_older=lambda _: False)
        else:
            release.roll_back(wanted)


@dataclass
class Traffic:
    """Clients that ask without a pause."""

    port: int
    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def client(self) -> None:
        """Ask, count and go on, over one connection."""
        url = f"http://127.0.0.1:{self.port}/v2/models/m/infer"
        with requests.Session() as session:
            while not self.over.is_set():
                try:
                    found = session.post(url, json={"inputs": INPUTS}, timeout=30)
                    found.raise_for_status()
                    self.answered[found.json()["model_version"]] += 1
                except requests.RequestException as fault:
                    self.failed.append(f"{time.strftime('%X')} {fault}"[:300])
                time.sleep(PAUSE_S)


def rounds(folder: Path, port: int, digests: list[str], kills: int) -> dict[str, Any]:
    """Promote in turns, kill, resume; return what was seen."""
    *sound, wrong = digests
    command = [sys.executable, "-m", "benchmarks.release_crashes", "--once", str(folder), str(port)]
    subprocess.run([*command, "promote", "first", sound[0], ""], check=True)
    traffic = Traffic(port)
    clients = [threading.Thread(target=traffic.client) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    killed = number = 0
    named = [(verb, step) for verb in ("promote", "rollback") for step in STEPS]
    begun = time.monotonic()
    while killed < kills:
        number += 1
        name = f"r{number}"
        verb, step = named.pop() if named else (random.choice(("promote", "rollback")), "")
        digest = wrong if number % 7 == 0 else sound[number % len(sound)]
        words = (verb, name, digest)
        while True:
            process = subprocess.Popen([*command, *words, step])
            if not step and killed < kills:
                try:
                    process.wait(random.uniform(0, 4))
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()
            killed += process.returncode != 0
            if process.returncode == 0:
                break
            step = ""
    seconds = time.monotonic() - begun
    traffic.over.set()
    for one in clients:
        one.join()
    return {
        "killed": killed,
        "promotions and rollbacks": number,
        "seconds": round(seconds, 1),
        "requests": sum(traffic.answered.values()),
        "failed requests": len(traffic.failed),
        "first failure": next(iter(traffic.failed), ""),
        "answers of the wrong bundle": traffic.answered[wrong.removeprefix("sha256:")[:12]],
        **ledger_faults(folder, port),
    }


def ledger_faults(folder: Path, port: int) -> dict[str, Any]:
    """Return what in the ledger is not as it must be."""
    with opened(folder, port) as release:
        entries = list(release.ledger.entries())
        state = release.ledger.state().environment("production")
        live = release.target.live()
    kinds: dict[str, list[str]] = {}
    for one in entries:
        kinds.setdefault(one.entry.id, []).append(one.entry.kind)
    odd = [k for k, found in kinds.items() if len(found) != 2 or found.count("intent") != 1]
    ends = Counter(one.entry.kind for one in entries if one.entry.kind != "intent")
    return {
        "ends": dict(ends),
        "ids without one intent and one end": len(odd),
        "ledger is what answers": bool(live and live.digest == state.live),
    }


def main() -> int:
    """Run, print, write."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--kills", type=int, default=200)
    flags.add_argument("--output", type=Path, default=RESULTS)
    flags.add_argument("--once", nargs=6, help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.once:
        folder, port, *words = given.once
        once(Path(folder), int(port), words)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bundles").mkdir()
        subprocess.run(["git", "init", "-q", "--bare", f"{name}/remote.git"], check=True)
        with worker.listen("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        try:
            found = rounds(folder, port, bundles(folder), given.kills)
        finally:
            for control in folder.glob("target/run/*.sock"):
                try:
                    os.kill(worker.ask(control, "tell")[0]["pid"], signal.SIGKILL)
                except OSError:
                    continue
    print(json.dumps(found, indent=1))
    given.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    wrong = ("failed requests", "answers of the wrong bundle", "ids without one intent and one end")
    return int(any(found[one] for one in wrong) or not found["ledger is what answers"])


if __name__ == "__main__":
    sys.exit(main())

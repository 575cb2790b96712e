"""Promotions and rollbacks that are killed with -9 and resumed, while clients ask without a pause.

`python -m benchmarks.release_crashes [--target process|docker] [--kills 500]` serves three bundles
on loopback by the process target, or three images behind HAProxy by the Docker target. Each round
promotes another one, or rolls back, in a process of its own that is killed at a random moment (at
each named step in the first rounds) and started again with the same id until it ends. It exits with
1 where a request failed or came from what answers wrongly, an id has not exactly one intent and one
end, an entry was lost, or the ledger differs from what answers.

The Docker target needs a daemon and the images that `pytest tests/integration` makes.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from benchmarks import docker_release
from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.release.docker_target import DockerTarget
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.process_target import ProcessTarget
from ci_mlops.release.promote import STEPS, Release
from ci_mlops.release.settings import (
    DockerTargetSettings,
    ProcessTargetSettings,
    VerifySettings,
)
from ci_mlops.release.target import Target
from ci_mlops.release.verify import Verifier
from ci_mlops.serving import bundle, worker
from ci_mlops.serving.bundle import Recorded, Serve
from ci_mlops.serving.signature import Column, Signature
from tests.conftest import PROXY_IMAGE, clean_environ
from tests.integration.test_docker_target import host
from tests.unit.release.file_target import intent
from tests.unit.serving import test_conformance

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
WRONG = 0.9
CLIENTS = 2
STOPPED_AT_MOST = 20
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
    for weight in (*WEIGHTS, WRONG):
        (folder / "weight").write_text(str(weight), encoding="utf-8")
        p = 0.8 * (0.1 if weight == WRONG else weight)
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


@dataclass(frozen=True)
class Site:
    """Where the benchmark releases to."""

    kind: str
    folder: Path
    port: int
    daemon: str | None = None
    """The Docker daemon of the host; default: the one where the images are."""

    @property
    def name(self) -> str:
        """The environment's name on a Docker host."""
        return f"ci-mlops-crashes-{self.port}"

    @property
    def model(self) -> str:
        """The model's name in requests."""
        return "m" if self.kind == "process" else "twice"

    @property
    def inputs(self) -> list[Any]:
        """What clients ask."""
        return INPUTS if self.kind == "process" else list(test_conformance.INPUTS)

    def is_wrong(self, answer: dict[str, Any]) -> bool:
        """Whether an answer is the one of the candidate that answers otherwise than judged."""
        if self.kind == "docker":
            return list(answer["outputs"][0]["data"]) != docker_release.RIGHT
        data = {one["name"]: one["data"] for one in answer["outputs"]}
        return bool(abs(data["predict_proba"][-1] - 0.8 * WRONG) < 1e-9)

    @contextmanager
    def made(self) -> Iterator[list[str]]:
        """Yield digests to release, the wrong one last, and clear up afterwards."""
        if self.kind == "docker":
            with host(self.name) as docker:
                yield docker_release.built(docker, self.folder)
            return
        (self.folder / "bundles").mkdir()
        try:
            yield bundles(self.folder)
        finally:
            for control in self.folder.glob("target/run/*.sock"):
                try:
                    os.kill(worker.ask(control, "tell")[0]["pid"], signal.SIGKILL)
                except OSError:
                    continue


@contextmanager
def opened(site: Site) -> Iterator[Release]:
    """Open the environment, as the verbs do."""
    if site.kind == "process":
        settings = ProcessTargetSettings(target="process", port=site.port, log_predictions=False)
        kept = site.folder / "bundles"
        target = ProcessTarget(
            settings=settings,
            folder=site.folder / "target",
            bundles=kept,
            flags=(),
            commands=Commands(environ=clean_environ()),
        )
        with _released(
            site, target, lambda digest: bundle.read_recorded(kept / digest[7:])
        ) as made:
            yield made
        return
    with (
        Docker.connected(os.environ) as builder,
        Docker.connected(os.environ, site.daemon) as docker,
    ):
        on_host = DockerTarget(
            settings=DockerTargetSettings(
                target="docker", port=site.port, proxy=PROXY_IMAGE, container_port=9000
            ),
            name=site.name,
            docker=docker,
            builder=builder,
        )
        with _released(site, on_host, on_host.recorded) as made:
            yield made


@contextmanager
def _released(site: Site, target: Target, recorded: Callable[[str], Recorded]) -> Iterator[Release]:
    verify = Verifier(
        settings=VerifySettings(requests=20, max_slowdown_percent=None),
        model=site.model,
        recorded=recorded,
        live=target.live,
        hold_s=1.0,
    )
    commands = Commands(environ=clean_environ())
    with ledger_at(str(site.folder / "remote.git"), commands) as ledger:
        yield Release(ledger=ledger, target=target, verify=verify, holds=True)


def once(site: Site, words: list[str]) -> None:
    """Promote or roll back, and die before a step."""
    verb, name, digest, kill_at = words

    def told(step: str) -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with opened(site) as release:
        release.told = told
        wanted = intent(name, "0").model_copy(update={"to": digest})
        if verb == "promote":
            release.promote(wanted, is_older=lambda _: False, again=True)
        else:
            release.roll_back(wanted)


@dataclass
class Traffic:
    """Clients that ask without a pause."""

    site: Site
    answered: int = 0
    wrong: int = 0
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def client(self) -> None:
        """Ask, count and go on, over one connection."""
        url = f"http://127.0.0.1:{self.site.port}/v2/models/{self.site.model}/infer"
        with requests.Session() as session:
            while not self.over.is_set():
                try:
                    found = session.post(url, json={"inputs": self.site.inputs}, timeout=30)
                    found.raise_for_status()
                    self.answered += 1
                    self.wrong += self.site.is_wrong(found.json())
                except requests.RequestException as fault:
                    self.failed.append(f"{time.strftime('%X')} {fault}"[:300])
                time.sleep(PAUSE_S)


def rounds(site: Site, digests: list[str], kills: int, within_s: float) -> dict[str, Any]:
    """Promote in turns, kill, resume; return what was seen."""
    *sound, wrong = digests
    place = [site.kind, str(site.folder), str(site.port)]
    command = [sys.executable, "-m", "benchmarks.release_crashes", "--once", *place]
    begun = time.monotonic()
    subprocess.run([*command, "promote", "first", sound[0], ""], check=True)
    span = 1.2 * (time.monotonic() - begun)
    traffic = Traffic(site)
    clients = [threading.Thread(target=traffic.client) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    killed = number = stopped = 0
    named = [(verb, step) for verb in ("promote", "rollback") for step in STEPS]
    begun = time.monotonic()
    while killed < kills and time.monotonic() - begun < within_s:
        number += 1
        name = f"r{number}"
        verb, step = named.pop() if named else (random.choice(("promote", "rollback")), "")
        digest = wrong if number % 7 == 0 else sound[number % len(sound)]
        words = (verb, name, digest)
        at_random = not step
        while True:
            process = subprocess.Popen([*command, *words, step])
            if at_random and killed < kills:
                try:
                    process.wait(random.uniform(0, span))
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()
            killed += process.returncode == -signal.SIGKILL
            if process.returncode == 0:
                break
            stopped += process.returncode != -signal.SIGKILL
            if stopped > STOPPED_AT_MOST:
                raise SystemExit("a command stops each time")
            step = ""
    seconds = time.monotonic() - begun
    traffic.over.set()
    for one in clients:
        one.join()
    return {
        "killed": killed,
        "stopped by a refusal": stopped,
        "promotions and rollbacks": number,
        "seconds": round(seconds, 1),
        "requests": traffic.answered,
        "failed requests": len(traffic.failed),
        "first failure": next(iter(traffic.failed), ""),
        "wrong answers": traffic.wrong,
        **ledger_faults(site, number),
    }


def ledger_faults(site: Site, asked: int) -> dict[str, Any]:
    """Return what in the ledger is not as it must be, after so many were asked for."""
    with opened(site) as release:
        entries = list(release.ledger.entries())
        state = release.ledger.state().environment("production")
        live = release.target.live()
    kinds: dict[str, list[str]] = {}
    for one in entries:
        kinds.setdefault(one.entry.id, []).append(one.entry.kind)
    wanted = {"first", *(f"r{number}" for number in range(1, asked + 1))}
    # To promote what is live already, or to roll back to it, ends at once and is not written.
    told = len(wanted & set(kinds))
    odd = [k for k, found in kinds.items() if len(found) != 2 or found.count("intent") != 1]
    ends = Counter(one.entry.kind for one in entries if one.entry.kind != "intent")
    return {
        "ends": dict(ends),
        "asked for what was live already": len(wanted) - told,
        "entries without a number of their own": sum(
            one.sequence != n for n, one in enumerate(reversed(entries), 1)
        ),
        "ids without one intent and one end": len(odd),
        "ledger is what answers": bool(live and live.digest == state.live),
    }


def main() -> int:
    """Run, print, write."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--target", choices=("process", "docker"), default="process")
    flags.add_argument("--kills", type=int, default=500)
    flags.add_argument("--minutes", type=float, default=120, help="no new round after so many")
    flags.add_argument("--output", type=Path, default=RESULTS)
    flags.add_argument("--once", nargs=7, help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.once:
        kind, at, port, *words = given.once
        once(Site(kind, Path(at), int(port)), words)
        return 0
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["git", "init", "-q", "--bare", f"{name}/remote.git"], check=True)
        with worker.listen("127.0.0.1", 0) as free:
            site = Site(given.target, Path(name), free.getsockname()[1])
        with site.made() as digests:
            found = rounds(site, digests, given.kills, 60 * given.minutes)
    print(json.dumps(found, indent=1))
    known = json.loads(given.output.read_text(encoding="utf-8")) if given.output.exists() else {}
    kept = {**known, given.target: found}
    given.output.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    wrong = (
        "stopped by a refusal",
        "failed requests",
        "wrong answers",
        "ids without one intent and one end",
        "entries without a number of their own",
    )
    return int(any(found[one] for one in wrong) or not found["ledger is what answers"])


if __name__ == "__main__":
    sys.exit(main())

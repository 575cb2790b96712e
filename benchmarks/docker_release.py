"""Promotions and rollbacks on a Docker host behind HAProxy, under requests that never pause.

Two sound images take turns, and every fifth candidate predicts something else than it recorded.
Each is promoted by the same engine as `ci-mlops promote`, with its ledger in a git repository; then
rollbacks go back and forth. Goals: no failed request, no answer of a wrong candidate, rollback from
the decision to the old version's answers under 1 s at the median and at the worst.

    python -m benchmarks.docker_release [--promotions 50] [--rollbacks 20]

It needs a Docker daemon and the images that `pytest tests/integration/test_docker_target.py` makes.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.release.docker_target import DockerTarget
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.promote import Ended, Release
from ci_mlops.release.settings import DockerTargetSettings, VerifySettings
from ci_mlops.release.verify import Verifier
from ci_mlops.serving import client
from tests.conftest import BASE_IMAGE, PROXY_IMAGE, clean_environ
from tests.integration.test_docker_target import host
from tests.unit.release.file_target import intent
from tests.unit.serving.test_conformance import FOREIGN, INPUTS, RECORDED, free_port

RESULTS = Path(__file__).parent / "results" / "docker_release.json"
CLIENTS = 4
RATE = 200
"""Requests a second, of all clients together."""
RIGHT = list(RECORDED.outputs["twice"])
DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY foreign_server.py recorded.json /srv/bundle/
RUN sed -i s/127.0.0.1/0.0.0.0/ /srv/bundle/foreign_server.py
ENV VERSION=%s
USER 1000
ENTRYPOINT ["python3", "/srv/bundle/foreign_server.py", "9000"%s]
"""


@dataclass
class Traffic:
    """Clients, each on one connection, and what they got."""

    url: str
    rate: float = RATE
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: int = 0
    last: float = 0.0
    """When the newest answer came, by `time.monotonic`."""
    over: threading.Event = field(default_factory=threading.Event)

    def client(self) -> None:
        """Ask until told to end."""
        with contextlib.closing(client.Client(self.url)) as asked:
            due = time.monotonic()
            while not self.over.is_set():
                try:
                    found = list(asked.predictions("twice", INPUTS)["twice"])
                    self.answered += 1
                    self.wrong += found != RIGHT
                except client.Unanswered as fault:
                    self.failed.append(str(fault))
                due += CLIENTS / self.rate
                time.sleep(max(0.0, due - time.monotonic()))


def built(docker: Docker, folder: Path) -> list[str]:
    """Build two sound images and a wrong one; return their digests."""
    shutil.copyfile(FOREIGN, folder / "foreign_server.py")
    (folder / "recorded.json").write_text(RECORDED.model_dump_json(), encoding="utf-8")
    made = []
    for version, fault in (("1", ""), ("2", ""), ("3", ', "other predictions"')):
        (folder / "Dockerfile").write_text(DOCKERFILE % (version, fault), encoding="utf-8")
        given: dict[str, Any] = {"target": None, "labels": {}, "epoch": 0}
        arguments = {"BASE": BASE_IMAGE}
        image = docker.build(folder, dockerfile="Dockerfile", arguments=arguments, **given)
        made.append(image.digest)
    return made


def main() -> int:
    """Promote, roll back, print and write; 1 where a goal is missed."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--promotions", type=int, default=50)
    flags.add_argument("--rollbacks", type=int, default=20)
    flags.add_argument("--output", type=Path, default=RESULTS)
    chosen = flags.parse_args()
    name = "ci-mlops-benchmark"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        docker = stack.enter_context(host(name))
        one, other, wrong = built(docker, folder)
        settings = DockerTargetSettings(
            target="docker", port=free_port(), proxy=PROXY_IMAGE, container_port=9000
        )
        target = DockerTarget(settings=settings, name=name, docker=docker, builder=docker)
        remote = folder / "remote.git"
        subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
        commands = Commands(environ=clean_environ())
        ledger = stack.enter_context(ledger_at(str(remote), commands))
        verify = VerifySettings(requests=20, max_slowdown_percent=None)
        release = Release(
            ledger=ledger,
            target=target,
            verify=Verifier(
                settings=verify, model="twice", recorded=target.recorded, live=target.live
            ),
        )

        def promoted(number: int, digest: str) -> Ended:
            wanted = intent(f"p{number}", "0").model_copy(update={"to": digest})
            return release.promote(wanted, is_older=lambda _: False, again=True)

        ends = [promoted(0, one).kind]
        traffic = Traffic(f"http://127.0.0.1:{settings.port}")
        threads = [threading.Thread(target=traffic.client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        for number in range(1, chosen.promotions):
            live = ledger.state().environment("production").live
            sound = other if live == one else one
            ends.append(promoted(number, wrong if number % 5 == 0 else sound).kind)
        seconds = rolled_back(release, (one, other), chosen.rollbacks)
        took = time.monotonic() - begun
        traffic.over.set()
        for thread in threads:
            thread.join()
    figures = {
        "promotions": len(ends),
        "promoted": ends.count("promoted"),
        "wrong candidates rolled back": ends.count("rolled_back"),
        "rollbacks": len(seconds),
        "requests": traffic.answered,
        "requests a second": round(traffic.answered / took),
        "failed requests": len(traffic.failed),
        "answers of a wrong candidate": traffic.wrong,
        "rollback, median s": round(statistics.median(seconds), 2),
        "rollback, worst s": round(max(seconds), 2),
    }
    for what, value in figures.items():
        print(f"{what:30} {value}")
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(bool(traffic.failed or traffic.wrong) or not max(seconds) < 1)


def rolled_back(release: Release, both: tuple[str, str], count: int) -> list[float]:
    """Go back and forth; return the seconds from the decision until the old version answers."""
    seconds = []
    for number in range(count):
        live = release.ledger.state().environment("production").live
        to = both[1] if live == both[0] else both[0]
        # The slot is warm, as it is after a promotion.
        sequence = release.ledger.state().sequence
        release.target.start(to, sequence)
        steps: dict[str, float] = {}
        release.told = lambda step, steps=steps: steps.setdefault(step, time.monotonic())  # type: ignore[misc]
        begun = time.monotonic()
        wanted = intent(f"r{number}", "0").model_copy(update={"to": to})
        if release.roll_back(wanted).kind != "rolled_back":
            raise RuntimeError("a rollback did not hold")
        seconds.append(steps["verify after"] - begun)
    return seconds


if __name__ == "__main__":
    sys.exit(main())

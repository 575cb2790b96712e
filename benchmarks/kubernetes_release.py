"""Promotions and rollbacks in a real Kubernetes, under requests that never pause.

Two sound images take turns; one candidate predicts something else than it recorded, and one gets
a share of the requests, first a small one, then half, before it gets all. Each is promoted by the
same engine as `ci-mlops promote`; clients ask through the API server's proxy. Then rollbacks go
back and forth, in turns to a version whose pods still run and to one that has to be started. Goals:
no failed request, no answer of the wrong candidate, every rollback from the decision to the old
version's answers under 15 s.

    python -m benchmarks.kubernetes_release [--promotions 6] [--rollbacks 8]

It needs what `pytest tests/integration/test_kubernetes_target.py` needs, and a real kubelet.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.docker_release import CLIENTS, Traffic, built
from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.release import kubernetes_target
from ci_mlops.release.kubernetes_target import KubernetesTarget
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.promote import Ended, Release
from ci_mlops.release.settings import KubernetesTargetSettings, VerifySettings
from ci_mlops.release.target import Slot
from ci_mlops.release.verify import Verifier
from tests import cluster, registry
from tests.conftest import BASE_IMAGE, clean_environ
from tests.unit.release.file_target import intent

RESULTS = Path(__file__).parent / "results" / "kubernetes_release.json"
RATE = 30
"""Requests a second, of all clients together."""
REPLICAS = 2
SHARES = (10, 50)
SHARED_S = 5.0
"""How long each share lasts."""
WRONG, SHARED = 2, 4
"""The promotions of the wrong candidate, and of the one that gets shares."""
GOAL_S = 15


class Sharing(KubernetesTarget):
    """Gives what it is to switch to some of the requests first, where it is asked for."""

    shares: Sequence[int] = ()
    could: tuple[int, ...] = ()
    """The shares that were possible."""

    def switch(self, digest: str, fence: int) -> Slot:
        """Share, a while each, then switch."""
        for percent in self.shares:
            self.could += (self.share(digest, percent, fence),)
            time.sleep(SHARED_S)
        return super().switch(digest, fence)


def main() -> int:
    """Promote, roll back, print and write; 1 where a goal is missed."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--promotions", type=int, default=6)
    flags.add_argument("--rollbacks", type=int, default=8)
    flags.add_argument("--output", type=Path, default=RESULTS)
    chosen = flags.parse_args()
    os.environ["CI_MLOPS_TEST_KUBELET"] = "yes"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        release, (one, other, wrong) = environment(folder, stack)
        target = release.target
        assert isinstance(target, Sharing)

        def promoted(number: int) -> Ended:
            live = release.ledger.state().environment("production").live
            digest = wrong if number == WRONG else other if live == one else one
            target.shares = SHARES if number == SHARED else ()
            wanted = intent(f"p{number}", "0").model_copy(update={"to": digest})
            try:
                return release.promote(wanted, is_older=lambda _: False, again=True)
            finally:
                target.shares = ()

        ends = [promoted(0).kind]
        traffic = Traffic(f"{target.proxy}/{target.front}", rate=RATE)
        threads = [threading.Thread(target=traffic.client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            begun = time.monotonic()
            ends += [promoted(number).kind for number in range(1, chosen.promotions)]
            warm, cold = rolled_back(release, (one, other), chosen.rollbacks)
            took = time.monotonic() - begun
        finally:
            traffic.over.set()
            for thread in threads:
                thread.join()
    figures = {
        "promotions": len(ends),
        "promoted": ends.count("promoted"),
        "wrong candidates rolled back": ends.count("rolled_back"),
        "shares asked for, %": list(SHARES),
        "shares by pods, %": list(target.could),
        "rollbacks": len(warm) + len(cold),
        "requests": traffic.answered,
        "requests a second": round(traffic.answered / took),
        "failed requests": len(traffic.failed),
        "answers of a wrong candidate": traffic.wrong,
        "rollback to running pods, median s": round(statistics.median(warm), 2),
        "rollback to running pods, worst s": round(max(warm), 2),
        "rollback to pods that are started, median s": round(statistics.median(cold), 2),
        "rollback to pods that are started, worst s": round(max(cold), 2),
        "processors": os.cpu_count(),
        "processes that wanted one, mean of 15 minutes": round(os.getloadavg()[2], 1),
    }
    for what, value in figures.items():
        print(f"{what:45} {value}")
    for fault in traffic.failed[:5]:
        print(f"failed: {fault}")
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    ended = ends.count("rolled_back") == 1 and ends.count("promoted") == len(ends) - 1
    fast = max(warm + cold) < GOAL_S
    return int(bool(traffic.failed or traffic.wrong) or not (ended and fast))


def environment(folder: Path, stack: contextlib.ExitStack) -> tuple[Release, list[str]]:
    """Start a cluster and a registry; return an environment there, and the images."""
    for name in ("images", "registry", "cluster"):
        (folder / name).mkdir()
    docker = stack.enter_context(Docker.connected(os.environ))
    images = built(docker, folder / "images")
    repository = stack.enter_context(registry.serving(folder / "registry")).repository
    kubeconfig = stack.enter_context(cluster.running(folder / "cluster", BASE_IMAGE))
    verify = VerifySettings(requests=20, max_slowdown_percent=None, ready_within_s=90)
    settings = KubernetesTargetSettings(
        target="kubernetes",
        repository=repository,
        container_port=9000,
        replicas=REPLICAS,
        verify=verify,
    )
    dynamic, proxy = stack.enter_context(
        kubernetes_target.connected(settings, {"KUBECONFIG": str(kubeconfig)})
    )
    target = Sharing(
        settings=settings,
        front="twice-benchmark",
        dynamic=dynamic,
        proxy=proxy,
        builder=docker,
        memory_mb=lambda _: 20.0,
    )
    remote = folder / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    ledger = stack.enter_context(ledger_at(str(remote), Commands(environ=clean_environ())))
    return Release(
        ledger=ledger,
        target=target,
        verify=Verifier(settings=verify, model="twice", recorded=target.recorded, live=target.live),
    ), images


def rolled_back(
    release: Release, both: tuple[str, str], count: int
) -> tuple[list[float], list[float]]:
    """Go back and forth; return the seconds from each decision until the old version answers.

    First of those whose pods still ran, as they do after a promotion, then of the others.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(count):
        state = release.ledger.state()
        live = state.environment("production").live
        to = both[1] if live == both[0] else both[0]
        cold = number % 2
        prepare = release.target.stop if cold else release.target.start
        prepare(to, state.sequence)
        steps: dict[str, float] = {}
        release.told = lambda step, steps=steps: steps.setdefault(step, time.monotonic())  # type: ignore[misc]
        begun = time.monotonic()
        wanted = intent(f"r{number}", "0").model_copy(update={"to": to})
        if release.roll_back(wanted).kind != "rolled_back":
            raise RuntimeError("a rollback did not hold")
        seconds[cold].append(steps["verify after"] - begun)
    return seconds


if __name__ == "__main__":
    sys.exit(main())

"""A share of the traffic through a real HAProxy: how much, who is noticed, what a crash leaves."""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.errors import OutsideError
from ci_mlops.release.canary import Canary
from ci_mlops.release.docker_target import DockerTarget
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.promote import Ended, Release
from ci_mlops.release.settings import DockerTargetSettings, VerifySettings
from ci_mlops.release.target import Overtaken, Slot
from ci_mlops.release.verify import Verifier
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import until_ready
from tests.conftest import clean_environ
from tests.integration.test_docker_target import host
from tests.traffic import Traffic
from tests.unit.release import counting_server
from tests.unit.release.file_target import intent
from tests.unit.serving.test_conformance import free_port

NAME = "ci-mlops-test-canary"
# Whoever looks for growth asks again: what goes wrong after 100 requests would do so too early.
VERIFY = VerifySettings(requests=40, max_slowdown_percent=None, max_leak_kb=None)
ROWS = [0.5, 1.5, -2.0, 4.0]
INPUTS = ({"name": "x", "shape": [4], "datatype": "FP64", "data": ROWS},)
RECORDED = Recorded(inputs=INPUTS, outputs={"predict": tuple(2 * one for one in ROWS)})
DOCKERFILE = """\
ARG BASE
FROM ${{BASE}}
COPY counting_server.py recorded.json /srv/bundle/
USER 1000
ENTRYPOINT ["python3", "/srv/bundle/counting_server.py", "9000", "{version}", "{kind}", "100"]
"""
KINDS = {"1": "good", "2": "good", "3": "wrong", "4": "fails", "5": "no metrics"}


def built_in(folder: Path, daemon: Docker, base: str) -> dict[str, str]:
    """Build images, and return digests by version; what goes wrong does so after 100 requests."""
    shutil.copyfile(str(counting_server.__file__), folder / "counting_server.py")
    (folder / "recorded.json").write_text(RECORDED.model_dump_json(), encoding="utf-8")
    made = {}
    given: dict[str, Any] = {"target": None, "labels": {}, "epoch": 0}
    for version, kind in KINDS.items():
        text = DOCKERFILE.format(version=version, kind=kind)
        (folder / "Dockerfile").write_text(text, encoding="utf-8")
        arguments = {"BASE": base}
        image = daemon.build(folder, dockerfile="Dockerfile", arguments=arguments, **given)
        made[version] = image.digest
    return made


@pytest.fixture(scope="session", name="built")
def _built(serving_base: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with Docker.connected(os.environ) as daemon:
        return built_in(tmp_path_factory.mktemp("counting"), daemon, serving_base)


@contextlib.contextmanager
def targeted(proxy_image: str, port: int = 0, **changes: Any) -> Iterator[DockerTarget]:
    settings = DockerTargetSettings(
        target="docker",
        port=port or free_port(),
        proxy=proxy_image,
        container_port=9000,
        verify=VERIFY,
        **{
            "canary_percent": (10, 50, 100),
            "canary_step_minutes": 0.1,
            "canary_requests": 20,
            **changes,
        },
    )
    with host(NAME) as daemon:
        yield DockerTarget(settings=settings, name=NAME, docker=daemon, builder=daemon)


def asking(url: str) -> Traffic:
    return Traffic(url=url, model="m", inputs=RECORDED.inputs, clients=2, pause_s=0.01)


def started(target: DockerTarget, digest: str, fence: int) -> Slot:
    slot = target.start(digest, fence)
    assert until_ready(slot.url, within_s=20, runs=lambda: True) is not None
    return slot


def within(counted: int, requests: int, percent: int) -> bool:
    """Whether a count lies within what 99.99 % of binomial draws give."""
    share = percent / 100
    return abs(counted - requests * share) <= 3.9 * math.sqrt(requests * share * (1 - share))


def test_a_share_is_what_was_asked_for_and_outlives_haproxy(
    built: dict[str, str], proxy_image: str
) -> None:
    one, other = built["1"], built["2"]
    with targeted(proxy_image) as target:
        started(target, one, 1)
        front = target.switch(one, 1)
        with pytest.raises(OutsideError, match="does not run beside something that is live"):
            target.share(other, 10, 2)
        slot = started(target, other, 2)
        assert target.own(other) == slot.url
        assert target.own(one) != front.url
        with asking(front.url) as traffic:
            for percent in (10, 50):
                assert target.share(other, percent, 2) == percent
                assert target.live() == Slot(digest=one, url=front.url), "live is what it was"
                assert target.start(one, 2).url == target.own(one), "it ends nothing"
                assert within(traffic.shares(600)["2"], 600, percent)
            target.switch(one, 2)
            assert traffic.shares(200)["2"] <= 2, "but for what was on its way"
            target.share(other, 50, 2)
            target.switch(other, 2)
            assert traffic.shares(200)["1"] <= 2
            assert traffic.failed == []
        target.share(one, 10, 3)
        with pytest.raises(Overtaken):
            target.share(one, 50, 2)
        target.docker.client.containers.get(f"{target.name}-proxy").restart(timeout=1)
        assert until_ready(front.url, within_s=20, runs=lambda: True) is not None
        with asking(front.url) as traffic:
            assert within(traffic.shares(600)["1"], 600, 10), "its files say the same"
        assert traffic.failed == []


# --- promoted -----------------------------------------------------------------------------------


@contextlib.contextmanager
def released(target: DockerTarget, remote: Path) -> Iterator[Release]:
    recorded = target.recorded
    with ledger_at(str(remote), Commands(environ=clean_environ())) as ledger:
        yield Release(
            ledger=ledger,
            target=target,
            verify=Verifier(settings=VERIFY, model="m", recorded=recorded, live=target.live),
            canary=Canary(target=target, rules=target.settings, model="m", recorded=recorded),
        )


def promote(release: Release, name: str, digest: str) -> Ended:
    wanted = intent(name, "0").model_copy(update={"to": digest})
    return release.promote(wanted, is_older=lambda _: False)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    made = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(made)], check=True)
    return made


def test_candidates_under_traffic(built: dict[str, str], proxy_image: str, remote: Path) -> None:
    with targeted(proxy_image) as target, released(target, remote) as release:
        first = promote(release, "p1", built["1"])
        assert first.kind == "promoted", first.written.entry.reason
        with asking(f"http://127.0.0.1:{target.settings.port}") as traffic:
            ended = promote(release, "p2", built["2"])
            assert ended.kind == "promoted", ended.written.entry.reason
            assert traffic.failed == []
            seen = {(one.name, one.slice): one for one in ended.checks}
            for percent in (10, 50):
                where = f"canary {percent} %"
                assert seen["predictions", where].outcome == "passed"
                assert seen["errors", where].observed == 0
                assert seen["requests", where].outcome == "passed", seen["requests", where]
            blind = promote(release, "p3", built["5"])
            assert blind.kind == "rolled_back"
            assert blind.written.entry.reason.startswith(
                "The candidate cannot be watched: its /metrics answers 404. "
            )
            assert traffic.failed == []
            assert "5" not in traffic.versions, "no client was sent there"
            wrong = promote(release, "p4", built["3"])
            assert wrong.kind == "rolled_back"
            (fault,) = (check for check in wrong.checks if check.outcome == "failed")
            assert fault.slice == "canary 10 %"
            assert "predict of row" in wrong.written.entry.reason
            assert traffic.failed == [], "a wrong answer is no error that a client could see"
            failing = promote(release, "p5", built["4"])
            assert failing.kind == "rolled_back"
            assert traffic.versions[-1] == "2"
        assert 0 < len(traffic.failed) < len(traffic.versions) / 50
        assert "500" in traffic.failed[0]


PROMOTE = """\
import json, os, signal, sys
from pathlib import Path
from tests.integration import test_canary as tests

port, image, remote, name, digest, step = json.loads(sys.argv[1])

def told(said):
    if said == step:
        os.kill(os.getpid(), signal.SIGKILL)

with tests.Docker.connected(os.environ) as daemon:
    with tests.held(daemon, port, image) as target, tests.released(target, Path(remote)) as release:
        release.told = told
        tests.promote(release, name, digest)
"""


@contextlib.contextmanager
def held(daemon: Docker, port: int, image: str) -> Iterator[DockerTarget]:
    """Yield the target of the test that started this process, and leave everything there."""
    settings = DockerTargetSettings(
        target="docker",
        port=port,
        proxy=image,
        container_port=9000,
        canary_percent=(10, 50, 100),
        canary_step_minutes=0.05,
        canary_requests=10,
        verify=VERIFY,
    )
    yield DockerTarget(settings=settings, name=NAME, docker=daemon, builder=daemon)


@dataclass(frozen=True, kw_only=True)
class Promoter:
    """Another process that promotes, and is killed at a step if one is named."""

    command: list[str]
    cwd: Path = Path(__file__).parents[2]
    env: dict[str, str] = field(default_factory=clean_environ)


def promoter(target: DockerTarget, remote: str, name: str, digest: str, step: str = "") -> Promoter:
    given = [target.settings.port, target.settings.proxy, remote, name, digest, step]
    return Promoter(command=[sys.executable, "-c", PROMOTE, json.dumps(given)])


def killed(target: DockerTarget, remote: Path, name: str, digest: str, step: str) -> None:
    made = promoter(target, str(remote), name, digest, step)
    done = subprocess.run(made.command, check=False, cwd=made.cwd, env=made.env, timeout=120)
    assert done.returncode == -signal.SIGKILL


def test_a_promoter_that_dies_during_a_share(
    built: dict[str, str], proxy_image: str, remote: Path
) -> None:
    one, other = built["1"], built["2"]
    with targeted(proxy_image) as target, released(target, remote) as release:
        assert promote(release, "p1", one).kind == "promoted"
        with asking(f"http://127.0.0.1:{target.settings.port}") as traffic:
            killed(target, remote, "p2", other, "canary 50 %")
            assert within(traffic.shares(600)["2"], 600, 10), "the share was left there"
            back = release.roll_back(intent("r1", "0").model_copy(update={"to": one}))
            assert (back.kind, back.written.entry.id) == ("rolled_back", "p2")
            assert set(traffic.shares(200)) == {"1"}
            # What somebody leaves who dies while taking that back: the ledger has its end already.
            sequence = release.ledger.state().sequence
            started(target, other, sequence)
            target.share(other, 50, sequence)
            assert promote(release, "p3", one).repeated
            assert set(traffic.shares(200)) == {"1"}, "the next command mends it"
            killed(target, remote, "p4", other, "canary 50 %")
            resumed = promote(release, "p4", other)
            assert resumed.kind == "promoted", resumed.written.entry.reason
            assert set(traffic.shares(200)) == {"2"}
        assert traffic.failed == []

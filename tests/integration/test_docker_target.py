"""A judged image made live on a real Docker host behind a real HAProxy, and taken back."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.models.networks import NetworkCollection

from ci_mlops.containers import Docker
from ci_mlops.errors import OutsideError
from ci_mlops.release import docker_target
from ci_mlops.release.docker_target import DockerTarget
from ci_mlops.release.settings import DockerTargetSettings
from ci_mlops.release.target import Overtaken
from ci_mlops.serving import client
from tests.conftest import Repo
from tests.project import ci_mlops
from tests.traffic import Traffic
from tests.unit.serving.test_conformance import INPUTS as INPUTS_OF_IT
from tests.unit.serving.test_conformance import RECORDED, free_port

CASE = Path(__file__).parents[1] / "cases" / "image" / "passes" / "serves-what-was-judged"
RELEASE = """
release:
  production:
    target: docker
    port: PORT
    proxy: PROXY
    memory_mb: 256
    verify: {requests: 40}
    canary_percent: [25, 100]
    canary_step_minutes: 0.05
    canary_requests: 10
"""
INPUTS = [
    {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
    for name, value in (("income", 1.0), ("debt", 0.5))
]


@dataclass
class Site:
    """A project that is released to a port of this host."""

    repo: Repo
    port: int
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def judged(self, weight: str) -> None:
        self.repo.commit({"weight.txt": weight}, f"Weight {weight}")
        code, said, errors = ci_mlops(self.repo.path, "run")
        assert code == 0, said + errors

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, said, errors = ci_mlops(self.repo.path, *arguments, "--json", **self.environ)
        assert said, errors
        return code, json.loads(said)


@contextmanager
def host(name: str) -> Iterator[Docker]:
    """Yield the daemon without what an environment left there: now, or when a run was killed."""
    with Docker.connected(os.environ) as daemon:
        clear(daemon, name)
        try:
            yield daemon
        finally:
            clear(daemon, name)


def clear(daemon: Docker, name: str) -> None:
    for one in daemon.client.containers.list(all=True, filters={"name": f"^/?{name}"}):
        one.remove(force=True)
    for one in daemon.client.networks.list(names=[f"^{name}$"]):
        one.remove()


@pytest.fixture
def site(repo: Repo, proxy_image: str) -> Iterator[Site]:
    for file in CASE.glob("*.*"):
        shutil.copyfile(file, repo.path / file.name)
    made = Site(repo, free_port())
    release = RELEASE.replace("PORT", str(made.port)).replace("PROXY", proxy_image)
    text = (CASE / "mlops.yml").read_text(encoding="utf-8")
    repo.commit({"mlops.yml": text + release}, "Release it")
    with host("ci-mlops-served-production"):
        yield made


def test_promote_again_and_roll_back_under_traffic(site: Site) -> None:
    site.judged("0.5")
    code, first = site.run("promote", "production")
    assert (code, first["kind"]) == (0, "promoted"), first
    with Traffic(url=site.url, model="served", inputs=INPUTS) as traffic:
        site.judged("0.75")
        code, second = site.run("promote", "production")
        assert (code, second["kind"], second["previous"]) == (0, "promoted", first["to"]), second
        assert second["checks"][-1]["name"] == "rollback-drill"
        assert second["checks"][-1]["outcome"] == "passed", second["checks"][-1]
        canary = [one for one in second["checks"] if one["slice"] == "canary 25 %"]
        assert {one["name"] for one in canary} >= {"predictions", "errors", "requests"}
        time.sleep(0.5)
        code, back = site.run("rollback", "production", "--reason", "a complaint")
        assert (code, back["to"]) == (0, first["to"]), back
        time.sleep(0.5)
    assert traffic.failed == []
    assert len(set(traffic.versions)) == 2
    assert traffic.versions[-1] == traffic.versions[0]
    with Docker.connected(os.environ) as daemon:
        label = {"label": "io.ci-mlops.environment=ci-mlops-served-production"}
        names = {one.name for one in daemon.client.containers.list(filters=label)}
    short = first["to"].removeprefix("sha256:")[:12]
    assert names == {
        "ci-mlops-served-production-proxy",
        f"ci-mlops-served-production-{short}",
    }, "what was rolled back is ended"


# --- the target by itself, with a server that shares no line with ours ---------------------------


@contextmanager
def targeted(proxy_image: str, **changes: Any) -> Iterator[DockerTarget]:
    settings = DockerTargetSettings(
        target="docker", port=free_port(), proxy=proxy_image, container_port=9000, **changes
    )
    name = "ci-mlops-test-target"
    with host(name) as daemon:
        yield DockerTarget(settings=settings, name=name, docker=daemon, builder=daemon)


def test_many_switches_lose_no_request(images: list[str], proxy_image: str) -> None:
    with targeted(proxy_image) as target:
        assert target.live() is None
        one = target.start(images[0], 1)
        assert client.until_ready(one.url, within_s=20, runs=lambda: True) is not None
        front = target.switch(images[0], 1)
        assert target.start(images[0], 1) == one, "it runs already"
        other = target.start(images[1], 2)
        assert client.until_ready(other.url, within_s=20, runs=lambda: True) is not None
        load = client.Load(
            url=front.url, path="/v2/models/twice/infer", body=client.request_body(INPUTS_OF_IT)
        )
        load.start(8)
        for fence in range(2, 12):
            digest = images[fence % 2]
            assert target.switch(digest, fence).digest == digest
        load.stop()
        assert load.failures == []
        assert load.answered > 1000
        with pytest.raises(Overtaken, match="entry 11 of the ledger was obeyed before entry 3"):
            target.stop(images[0], 3)
        target.stop(images[0], 12)
        with pytest.raises(OutsideError, match="does not run"):
            target.switch(images[0], 12)
        assert target.recorded(images[1]) == RECORDED


def test_an_image_that_ends_at_once_or_is_nowhere_is_said(
    images: list[str], proxy_image: str, serving_base: str
) -> None:
    with targeted(proxy_image) as target:
        nothing = target.docker.image(serving_base).digest
        with pytest.raises(OutsideError, match=r"cannot be started|ended at once"):
            target.start(nothing, 1)
        with pytest.raises(OutsideError, match="neither on the host nor where it can be had"):
            target.start(f"sha256:{'0' * 64}", 1)
        with pytest.raises(OutsideError, match="has no recorded answers in /srv/bundle"):
            target.recorded(nothing)


def test_of_two_networks_made_at_once_one_is_left(
    proxy_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: list[str] = []
    create = NetworkCollection.create

    def both(self: Any, name: str, **given: Any) -> Any:
        given["check_duplicate"] = False  # as Docker does when two ask within the same moment
        theirs.append(create(self, name, **given).id)
        return create(self, name, **given)

    with targeted(proxy_image) as target:
        monkeypatch.setattr(NetworkCollection, "create", both)
        assert [target._network(), target._network()] == [theirs[0], theirs[0]]
        create(target.docker.client.networks, target.name, check_duplicate=False)
        monkeypatch.setattr(docker_target, "TRIES", 2)
        with pytest.raises(OutsideError, match=r"there are 2 networks ci-mlops-test-target, and"):
            target._network()


# --- through a registry --------------------------------------------------------------------------


def test_an_image_goes_through_a_registry_and_stays_the_same(
    images: list[str], proxy_image: str, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with targeted(proxy_image, repository=registry) as target:
        tag = images[0].removeprefix("sha256:")
        here = target.docker.has
        # The host has it only after a pull, although it is the builder's daemon too.
        pulled: list[str] = []
        monkeypatch.setattr(
            target, "docker", NotHere(target.docker.client, "127.0.0.1", pulled=pulled)
        )
        assert here(images[0])
        target.start(images[0], 1)
        assert pulled == [tag]
        found = requests.get(
            f"http://{registry.partition('/')[0]}/v2/team/twice/tags/list", timeout=9
        )
        assert tag in found.json()["tags"]


class NotHere(Docker):
    """A daemon that has nothing that it did not pull."""

    def __init__(self, inner: Any, host_: str, *, pulled: list[str]) -> None:
        super().__init__(inner, host_)
        self.pulled = pulled

    def has(self, digest: str) -> bool:
        return digest.removeprefix("sha256:") in self.pulled and super().has(digest)

    def pull(self, repository: str, tag: str) -> None:
        super().pull(repository, tag)
        self.pulled.append(tag)


def test_a_registry_that_refuses_is_said(images: list[str], proxy_image: str) -> None:
    nowhere = f"127.0.0.1:{free_port()}/team/twice"
    with targeted(proxy_image, repository=nowhere) as target:
        with pytest.raises(OutsideError, match="cannot be pushed: .*refused"):
            target.docker.push(images[0], nowhere, "tag")
        with pytest.raises(OutsideError, match="cannot be pulled"):
            target.docker.pull(nowhere, "tag")


def test_an_image_goes_from_daemon_to_daemon(images: list[str], proxy_image: str) -> None:
    with targeted(proxy_image) as target:
        target.docker.copy(images[0], target.builder)
        assert target.docker.has(images[0])
        with pytest.raises(OutsideError, match="cannot be brought to the host"):
            target.docker.copy(f"sha256:{'0' * 64}", target.builder)


def test_a_daemon_that_is_named_is_asked() -> None:
    with (
        pytest.raises(OutsideError, match="no Docker daemon answers"),
        Docker.connected(os.environ, "tcp://127.0.0.1:1"),
    ):
        pass

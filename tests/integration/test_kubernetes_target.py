"""Judged images made live in a real Kubernetes: API server, controllers, scheduler and kubelet."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.containers import Docker
from ci_mlops.errors import ConfigError, OutsideError
from ci_mlops.release import kubernetes_target, manifests
from ci_mlops.release.kubernetes_target import KubernetesTarget
from ci_mlops.release.settings import KubernetesTargetSettings, VerifySettings
from ci_mlops.release.target import Overtaken
from ci_mlops.serving import client
from tests import cluster
from tests.conftest import Repo
from tests.integration.test_docker_target import CASE, Site
from tests.integration.test_docker_target import INPUTS as INPUTS_OF_SERVED
from tests.project import ci_mlops
from tests.traffic import Traffic
from tests.unit.serving.test_conformance import INPUTS, RECORDED

RELEASE = """
release:
  production:
    target: kubernetes
    repository: REGISTRY
    replicas: 1
    max_replicas: 2
    verify: {requests: 40, max_slowdown_percent: null, ready_within_s: 60}
"""


@pytest.fixture(name="kubeconfig", scope="module")
def _kubeconfig(serving_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the kubeconfig of a cluster; skips where its programs were not built."""
    if not cluster.is_built():
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no Kubernetes: see .ci/kubernetes")
        cluster.TOLD.append("kubernetes: NONE, nothing of it was tested: run `sh .ci/kubernetes`")
        pytest.skip("run `sh .ci/kubernetes` once")
    with cluster.running(tmp_path_factory.mktemp("cluster"), serving_base) as found:
        yield found


@contextmanager
def targeted(kubeconfig: Path, registry: str, **changes: Any) -> Iterator[KubernetesTarget]:
    settings = KubernetesTargetSettings(
        **{
            "target": "kubernetes",
            "repository": registry,
            "container_port": 9000,
            "replicas": 1,
            "verify": VerifySettings(ready_within_s=30),
            **changes,
        }
    )
    with (
        Docker.connected(os.environ) as builder,
        kubernetes_target.connected(settings, {"KUBECONFIG": str(kubeconfig)}) as (dynamic, proxy),
    ):
        yield KubernetesTarget(
            settings=settings,
            front="twice-test",
            dynamic=dynamic,
            proxy=proxy,
            builder=builder,
            memory_mb=lambda _: 20.0,
        )


def test_versions_are_rolled_out_switched_and_ended(
    kubeconfig: Path, images: list[str], registry: str
) -> None:
    with targeted(kubeconfig, registry) as target:
        assert target.live() is None
        one = target.start(images[0], 1)
        assert client.until_ready(one.url, within_s=10, runs=lambda: True) is not None
        assert target.live() is None, "nothing is live before a switch"
        front = target.switch(images[0], 1)
        assert target.live() == front
        with closing(client.Client(front.url)) as asked:
            assert asked.predictions("twice", INPUTS) == {"twice": [3.0, -6.0]}
            assert asked.post("/v2/models/twice/infer", b"{").status == 400
        other = target.start(images[1], 2)
        load = client.Load(
            url=front.url, path="/v2/models/twice/infer", body=client.request_body(INPUTS)
        )
        load.start(2)
        for fence in range(2, 6):
            assert target.switch(images[fence % 2], fence).url == front.url
        deadline = time.monotonic() + 20
        while load.answered < 30 and not load.failures and time.monotonic() < deadline:
            time.sleep(0.1)
        load.stop()
        assert load.failures == []
        assert load.answered >= 30
        assert other.url != front.url
        with pytest.raises(Overtaken, match="entry 5 of the ledger was obeyed before entry 4"):
            target.switch(images[0], 4)
        target.stop(images[0], 6)
        target.stop(images[0], 6)
        with pytest.raises(OutsideError, match="there is no Deployment"):
            target.switch(images[0], 6)
        assert target.recorded(images[1]) == RECORDED
        pod = target._pods(target._version(images[1]))[0]
        container = pod["spec"]["containers"][0]
        assert container["resources"]["requests"]["memory"] == "30M"
        assert "@sha256:" in container["image"]
        target.stop(images[1], 7)
        assert target.live() is None


def share_of_the_other(traffic: Traffic, count: int = 200) -> float:
    """Return the share of the next answers that the version gave which predicts something else."""
    found = [list(one.outputs["twice"]) != [3.0, -6.0] for one in traffic.next(count)]
    return sum(found) / count


def pods_and_limits(target: KubernetesTarget, digest: str) -> tuple[int, int, int]:
    name = manifests.name_of(target.front, digest)
    scaler = target._namespace.read("autoscaling/v1", "HorizontalPodAutoscaler", name)
    assert scaler is not None
    spec = scaler["spec"]
    return target._replicas(target._named(digest)), spec["minReplicas"], spec["maxReplicas"]


def test_requests_are_shared_by_the_pods_of_two_versions(
    kubeconfig: Path, images: list[str], other_image: str, registry: str
) -> None:
    with targeted(kubeconfig, registry, replicas=2, max_replicas=3) as target:
        with pytest.raises(OutsideError, match="nothing is live that"):
            target.share(other_image, 10, 30)
        target.start(images[0], 30)
        front = target.switch(images[0], 30)
        with pytest.raises(OutsideError, match="there is no Deployment"):
            target.share(other_image, 10, 30)
        assert target.own(other_image) == ""
        assert target.start(other_image, 31).url == target.own(other_image)
        with Traffic(url=front.url, model="twice", inputs=INPUTS, pause_s=0.01) as traffic:
            assert target.share(other_image, 10, 31) == 33, "one pod beside two"
            assert target.live() == front, "the former version is live until the switch"
            assert pods_and_limits(target, other_image) == (1, 1, 1)
            assert 0.15 < share_of_the_other(traffic) < 0.55
            assert target.share(other_image, 50, 31) == 50
            assert 0.3 < share_of_the_other(traffic) < 0.7
            assert target.share(other_image, 90, 31) == 60, "three pods, of which there may be"
            assert target.share(other_image, 10, 31) == 33
            target.switch(other_image, 31)
            assert pods_and_limits(target, other_image) == (2, 2, 3)
            assert share_of_the_other(traffic) == 1
            assert target.share(other_image, 10, 31) == 100, "it is live already"
            target.start(images[0], 32)
            target.share(images[0], 50, 32)
            target.switch(other_image, 32)
            assert share_of_the_other(traffic) == 1, "a switch to what is live ends the share"
        assert traffic.failed == []
        target.stop(images[0], 33)
        target.stop(other_image, 33)


def test_a_share_that_somebody_left_is_ended_by_whoever_comes_next(
    kubeconfig: Path, images: list[str], other_image: str, registry: str
) -> None:
    with targeted(kubeconfig, registry, replicas=2) as target:
        target.start(images[0], 40)
        front = target.switch(images[0], 40)
        target.start(other_image, 41)
        with Traffic(url=front.url, model="twice", inputs=INPUTS, pause_s=0.01) as traffic:
            target.share(other_image, 50, 41)
            target.start(other_image, 42)
            assert share_of_the_other(traffic) == 0, "what was started again gets no traffic"
            assert pods_and_limits(target, other_image) == (2, 2, 4)
            with pytest.raises(Overtaken, match="entry 42 of the ledger was obeyed before"):
                target.share(other_image, 50, 41)
            with pytest.raises(Overtaken, match="entry 42 of the ledger was obeyed before"):
                target._scale(target._named(other_image), 41, exactly=1)
            with pytest.raises(Overtaken, match="entry 42 of the ledger was obeyed before"):
                target._delete(other_image, 41)
            target.share(other_image, 50, 42)
            target.start(images[1], 43)
            assert share_of_the_other(traffic) == 0, "nor does a third one, or what it displaces"
            assert target._deployment(target._named(other_image)) is None
            target.share(images[1], 50, 43)
            target.stop(images[1], 44)
        assert traffic.failed == []
        assert target.live() == front
        target.start(images[1], 45)
        target.share(images[1], 50, 45)

        def nobody(deployment: dict[str, Any]) -> None:
            deployment["spec"]["replicas"] = 0

        name = manifests.name_of(target.front, images[0])
        target._namespace.change("apps/v1", "Deployment", name, 45, nobody)
        target.start(images[1], 46)
        assert target._behind(target._named(images[0])) == (0,), "also where no live pod is ready"
        target.stop(images[1], 46)
        target.stop(images[0], 46)


def pods_of(target: KubernetesTarget, version: manifests.Version) -> list[dict[str, Any]]:
    """Return the pods that stay: those that an earlier test ended may be on their way out."""
    every = target._pods(version)
    return [pod for pod in every if "deletionTimestamp" not in pod["metadata"]]


def test_a_version_is_started_with_as_many_pods_as_it_relieves(
    kubeconfig: Path, images: list[str], registry: str
) -> None:
    with targeted(kubeconfig, registry, max_replicas=2) as target:
        target.start(images[0], 50)
        target.switch(images[0], 50)
        named = target._named(images[0])
        (pod,) = pods_of(target, named)
        target.memory_mb = lambda _: None  # the run that measured it is no longer at hand
        target.start(images[0], 50)
        (same,) = pods_of(target, named)
        assert same["metadata"]["uid"] == pod["metadata"]["uid"], "what runs is not started anew"

        def grown(deployment: dict[str, Any]) -> None:
            deployment["spec"]["replicas"] = 2  # as the autoscaler does under load

        name = manifests.name_of(target.front, images[0])
        target._namespace.change("apps/v1", "Deployment", name, 50, grown)
        target.start(images[0], 51)
        assert target._replicas(target._named(images[0])) == 2
        target.start(images[1], 51)
        assert target._replicas(target._named(images[1])) == 2
        target.stop(images[1], 52)
        target.stop(images[0], 52)


def test_one_that_never_gets_ready_says_why(
    kubeconfig: Path, images: list[str], registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = VerifySettings(ready_within_s=10)
    with targeted(kubeconfig, registry, container_port=9001, verify=soon) as target:
        with pytest.raises(OutsideError, match=r"timed out progressing.*A pod is not ready"):
            target.start(images[0], 60)
        target.stop(images[0], 60)
    with targeted(kubeconfig, registry, verify=soon) as target:
        nowhere = target._version(images[0])
        monkeypatch.setattr(
            target,
            "_version",
            lambda _: manifests.Version(
                front=nowhere.front,
                namespace="default",
                digest=nowhere.digest,
                image=f"{registry}@sha256:{'0' * 64}",
            ),
        )
        with pytest.raises(OutsideError, match=r"A pod says (ErrImagePull|ImagePullBackOff)"):
            target.start(images[0], 61)
        target.stop(images[0], 61)


def test_what_the_cluster_refuses_is_said(
    kubeconfig: Path, images: list[str], registry: str
) -> None:
    with (
        targeted(kubeconfig, registry, namespace="nowhere") as target,
        pytest.raises(OutsideError, match='cannot be applied: 404 namespaces "nowhere" not found'),
    ):
        target.start(images[0], 1)
    with (
        pytest.raises(ConfigError, match="KUBECONFIG: "),
        targeted(kubeconfig, registry, context="other"),
    ):
        pass
    text = kubeconfig.read_text(encoding="utf-8")
    dead = kubeconfig.with_name("dead")
    told = json.loads(text)
    told["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    dead.write_text(json.dumps(told), encoding="utf-8")
    with (
        pytest.raises(OutsideError, match="the cluster cannot be reached"),
        targeted(dead, registry),
    ):
        pass


def test_promote_again_and_roll_back_under_traffic(
    kubeconfig: Path, repo: Repo, registry: str
) -> None:
    for file in CASE.glob("*.*"):
        shutil.copyfile(file, repo.path / file.name)
    text = (CASE / "mlops.yml").read_text(encoding="utf-8")
    repo.commit({"mlops.yml": text + RELEASE.replace("REGISTRY", registry)}, "Release it")
    site = Site(repo, 0, {"KUBECONFIG": str(kubeconfig)})
    site.judged("0.5")
    code, first = site.run("promote", "production")
    assert (code, first["kind"]) == (0, "promoted"), first
    settings = KubernetesTargetSettings(target="kubernetes", repository=registry)
    with kubernetes_target.connected(settings, site.environ) as (_, proxy):
        url = f"{proxy}/served-production"
        with Traffic(url=url, model="served", inputs=INPUTS_OF_SERVED) as traffic:
            site.judged("0.75")
            code, second = site.run("promote", "production")
            assert (code, second["kind"], second["previous"]) == (0, "promoted", first["to"])
            assert second["checks"][-1]["outcome"] == "passed", second["checks"][-1]
            time.sleep(0.5)
            code, back = site.run("rollback", "production", "--reason", "a complaint")
            assert (code, back["to"]) == (0, first["to"]), back
            time.sleep(0.5)
    assert traffic.failed == []
    assert len(set(traffic.versions)) == 2
    assert traffic.versions[-1] == traffic.versions[0]
    code, said, errors = ci_mlops(repo.path, "render", "kubernetes", "production")
    assert code == 0, errors
    assert "kind: Deployment" in said

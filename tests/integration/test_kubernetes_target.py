"""Judged images made live in a real Kubernetes: API server, controllers, scheduler and kubelet."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import docker
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
from tests.integration.test_docker_target import CASE, Site, Traffic
from tests.project import ci_mlops
from tests.unit.serving.test_conformance import INPUTS, RECORDED

PAUSE_IMAGE = "ci-mlops-test-pause:bookworm"
PAUSE = """\
ARG BASE
FROM ${BASE}
ENTRYPOINT ["sh", "-c", "trap exit TERM; sleep infinity & wait"]
"""
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
        pytest.skip("run `sh .ci/kubernetes` once")
    folder = tmp_path_factory.mktemp("pause")
    (folder / "Dockerfile").write_text(PAUSE, encoding="utf-8")
    engine = docker.from_env()
    engine.images.build(
        path=str(folder), buildargs={"BASE": serving_base}, tag=PAUSE_IMAGE, rm=True
    )
    try:
        with cluster.running(tmp_path_factory.mktemp("cluster"), PAUSE_IMAGE) as found:
            yield found
    finally:
        for one in engine.containers.list(all=True, filters={"label": "io.kubernetes.pod.name"}):
            one.remove(force=True)
        engine.close()


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


def test_one_that_never_gets_ready_says_why(
    kubeconfig: Path, images: list[str], registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = VerifySettings(ready_within_s=10)
    with targeted(kubeconfig, registry, container_port=9001, verify=soon) as target:
        with pytest.raises(OutsideError, match=r"timed out progressing.*A pod is not ready"):
            target.start(images[0], 20)
        target.stop(images[0], 20)
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
            target.start(images[0], 21)
        target.stop(images[0], 21)


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
        url = f"{proxy}/served-production/v2/models/served/infer"
        with Traffic(url) as traffic:
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

"""Manifests as servers of several versions want them, and as nobody may weaken them."""

from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ci_mlops.release import manifests
from ci_mlops.release.manifests import Version
from ci_mlops.release.render import FLAVOURS, render
from ci_mlops.release.settings import KubernetesTargetSettings, VerifySettings
from ci_mlops.serving.worker import LINGER_S

DIGEST = f"sha256:{'ab' * 32}"
VERSION = Version(
    front="loans-production",
    namespace="models",
    digest=DIGEST,
    image=f"registry.example.org/team/loans@{DIGEST}",
    memory_mb=100.4,
)


def settings(**changes: Any) -> KubernetesTargetSettings:
    return KubernetesTargetSettings(
        **{
            "target": "kubernetes",
            "repository": "registry.example.org/team/loans",
            "namespace": "models",
            **changes,
        }
    )


@pytest.mark.parametrize("server", ["1.25", "1.31"])
def test_they_are_valid(server: str) -> None:
    documents = list(yaml.safe_load_all(render("kubernetes", VERSION, settings())))
    assert [one["kind"] for one in documents] == [
        "Service",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "Service",
        "NetworkPolicy",
    ]
    for one in documents:
        kubernetes_validate.validate(one, server, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**documents[1], "specs": {}}, server, strict=True)


def test_a_pod_is_confined_and_asks_for_what_was_measured() -> None:
    pod = manifests.pod(VERSION, settings(environment={"CI_MLOPS_LOG_SAMPLE": "0.1"}))
    (container,) = pod["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "151M"},
        "limits": {"memory": "302M"},
    }
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "CI_MLOPS_LOG": "-",
        "CI_MLOPS_LOG_SAMPLE": "0.1",
    }
    assert container["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert manifests.network_policy("f", settings())["spec"]["egress"] == []


def test_a_pod_has_time_to_start_and_to_end() -> None:
    slow = VerifySettings(ready_within_s=75)
    pod = manifests.pod(VERSION, settings(verify=slow))
    (container,) = pod["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 75
    lasts = manifests.ENDPOINTS_S + LINGER_S
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "3"]
    assert pod["terminationGracePeriodSeconds"] > lasts + 30, "what was asked is still answered"


def test_a_pod_that_is_only_busy_is_taken_out_long_before_it_is_killed() -> None:
    (container,) = manifests.pod(VERSION, settings())["containers"]
    out, killed = (
        one["periodSeconds"] * one["failureThreshold"]
        for one in (container["readinessProbe"], container["livenessProbe"])
    )
    assert (out, killed) == (4, 60)


def test_pods_of_a_version_are_spread_over_zones_and_nodes() -> None:
    spread = manifests.pod(VERSION, settings())["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    own = manifests.service("f", settings(), selected=VERSION)["spec"]["selector"]
    assert all(one["labelSelector"]["matchLabels"] == own for one in spread)


def test_everything_carries_the_labels_that_tools_look_for() -> None:
    for one in yaml.safe_load_all(render("kubernetes", VERSION, settings())):
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "model-server"
        assert labels["app.kubernetes.io/instance"] == "loans-production"
        assert labels["app.kubernetes.io/managed-by"] == "ci-mlops"
        if one["kind"] != "NetworkPolicy":
            assert labels["app.kubernetes.io/version"] == "abababababab"


@pytest.mark.parametrize(
    ("given", "measured", "wanted"),
    [(64, 100.0, "64M"), (None, 100.0, "150M"), (None, None, "512M")],
)
def test_memory_is_what_is_given_or_measured_or_a_default(
    given: int | None, measured: float | None, wanted: str
) -> None:
    version = Version(front="f", namespace="models", digest=DIGEST, image="i", memory_mb=measured)
    (container,) = manifests.pod(version, settings(memory_mb=given))["containers"]
    assert container["resources"]["requests"]["memory"] == wanted


@pytest.mark.parametrize("measured", [20.0, 100.4, 341.1, 1999.9])
def test_memory_that_was_measured_can_be_read_back(measured: float) -> None:
    (made,) = manifests.pod(replace(VERSION, memory_mb=measured), settings())["containers"]
    read = manifests.measured_mb(made)
    (again,) = manifests.pod(replace(VERSION, memory_mb=read), settings())["containers"]
    assert again == made
    made["resources"]["requests"]["memory"] = "1Gi"
    assert manifests.measured_mb(made) is None


def test_never_fewer_pods_than_were_asked_for() -> None:
    slow = VerifySettings(ready_within_s=75)
    spec = manifests.deployment(VERSION, settings(replicas=3, verify=slow))["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["progressDeadlineSeconds"] == 75
    scaler = manifests.autoscaler(VERSION, settings(replicas=6, max_replicas=4))["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (6, 6)


@pytest.mark.parametrize(
    ("percent", "beside", "most", "wanted"),
    [
        (10, 9, 20, 1),
        (10, 2, 4, 1),  # 33 %, which is as little as one pod can make
        (50, 2, 4, 2),
        (90, 2, 4, 4),  # 67 %, which is as much as there may be
        (60, 2, 4, 3),
        (42, 1, 2, 1),  # 50 % is nearer than 67 %
        (0, 3, 4, 1),
        (5, 0, 4, 1),
    ],
)
def test_as_many_pods_share_requests_as_come_nearest(
    percent: int, beside: int, most: int, wanted: int
) -> None:
    assert manifests.pods_for(percent, beside, most) == wanted


def test_a_service_that_shares_selects_all_versions_and_its_autoscaler_keeps_the_pods() -> None:
    other = replace(VERSION, digest=f"sha256:{'cd' * 32}")
    shared = manifests.service("f", settings(), selected=VERSION, beside=other)
    assert shared["spec"]["selector"] == {"app.kubernetes.io/instance": "loans-production"}
    assert shared["metadata"]["annotations"] == {
        manifests.DIGEST: DIGEST,
        manifests.SHARE: other.digest,
    }
    alone = manifests.service("f", settings(), selected=VERSION)
    assert alone["spec"]["selector"][manifests.VERSION] == "abababababab"
    assert manifests.SHARE not in alone["metadata"]["annotations"]
    scaler = manifests.autoscaler(VERSION, settings(), exactly=1)["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 1)


@pytest.mark.parametrize(("needed", "wanted"), [(0, 2), (1, 2), (3, 3), (9, 4)])
def test_a_deployment_begins_with_the_pods_that_are_needed(needed: int, wanted: int) -> None:
    spec = manifests.deployment(VERSION, settings(), needed=needed)["spec"]
    assert spec["replicas"] == wanted


def test_names_are_dns_labels() -> None:
    assert manifests.front_name("My_Loans.v2", "production") == "my-loans-v2-production"
    long = manifests.front_name("x" * 64, "production")
    assert len(manifests.name_of(long, DIGEST)) <= 63
    assert manifests.name_of("loans", DIGEST) == "loans-abababababab"


def test_kserve_gets_the_same_pod_as_a_plain_deployment() -> None:
    (service,) = yaml.safe_load_all(render("kserve", VERSION, settings()))
    predictor = service["spec"]["predictor"]
    assert service["kind"] == "InferenceService"
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    pod = manifests.pod(VERSION, settings())
    (container,) = pod.pop("containers")
    assert predictor["containers"] == [{**container, "name": "kserve-container"}]
    assert pod.items() <= predictor.items(), "confined as in a Deployment"


def test_argo_rollouts_gets_services_for_clients_and_for_each_version() -> None:
    documents = list(yaml.safe_load_all(render("rollouts", VERSION, settings())))
    (rollout,) = [one for one in documents if one["kind"] == "Rollout"]
    services = [one["metadata"]["name"] for one in documents if one["kind"] == "Service"]
    canary = rollout["spec"]["strategy"]["canary"]
    assert services == ["loans-production", canary["canaryService"], canary["stableService"]]
    selector = rollout["spec"]["selector"]["matchLabels"].items()
    assert selector <= rollout["spec"]["template"]["metadata"]["labels"].items()
    (scaler,) = [one for one in documents if one["kind"] == "HorizontalPodAutoscaler"]
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": rollout["apiVersion"],
        "kind": "Rollout",
        "name": rollout["metadata"]["name"],
    }
    for one in documents:
        if one is not rollout:
            kubernetes_validate.validate(one, "1.31", strict=True)
    assert set(FLAVOURS) == {"kubernetes", "kserve", "rollouts"}

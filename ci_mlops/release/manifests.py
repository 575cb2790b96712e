"""What a version of a model is in Kubernetes, as plain documents: pure functions of settings.

A version is a Deployment, a Service of its own for verification, a HorizontalPodAutoscaler and a
PodDisruptionBudget. In front stand a Service, which selects one version, and a NetworkPolicy.
Source of the fields: https://kubernetes.io/docs/reference/kubernetes-api/
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci_mlops.release.settings import KubernetesTargetSettings

Manifest = dict[str, Any]
DIGEST, FENCE = "ci-mlops.io/digest", "ci-mlops.io/fence"
SHARE = "ci-mlops.io/share"
"""On the Service in front, while requests are shared: the digest that gets some of them."""
VERSION = "ci-mlops.io/version"
MANAGER = "ci-mlops"
OURS = {
    "app.kubernetes.io/name": "model-server",
    "app.kubernetes.io/component": "model",
    "app.kubernetes.io/managed-by": MANAGER,
}
HOST = "kubernetes.io/hostname"
DEFAULT_MEMORY_MB = 512
HEADROOM = 1.5
"""Times the measured memory that is requested."""
ENDPOINTS_S = 3
"""How long a pod that is to end still answers, until every client knows."""
GRACE_S = 60


@dataclass(frozen=True, kw_only=True)
class Version:
    """One image of a model in an environment."""

    front: str
    """The name of the Service that clients use."""
    namespace: str
    digest: str
    """`sha256:…` of the image's configuration, as the ledger has it."""
    image: str
    """The reference that a cluster pulls."""
    memory_mb: float | None = None
    """Memory that its server held when it was judged."""

    @property
    def name(self) -> str:
        """The name of everything that is this version's own."""
        return name_of(self.front, self.digest)


def front_name(project: str, environment: str) -> str:
    """Return a DNS label for a project's environment (RFC 1123)."""
    return re.sub(r"[^a-z0-9]+", "-", f"{project}-{environment}".lower())[:48].strip("-")


def name_of(front: str, digest: str) -> str:
    """Return the name of a version's own objects."""
    return f"{front}-{digest.removeprefix('sha256:')[:12]}"


def version_manifests(
    version: Version, settings: KubernetesTargetSettings, *, needed: int = 0
) -> list[Manifest]:
    """Return everything that is a version's own, in the order in which it is applied."""
    return [
        service(version.name, settings, selected=version),
        deployment(version, settings, needed=needed),
        autoscaler(version, settings),
        budget(version, settings),
    ]


def front_manifests(
    front: str, settings: KubernetesTargetSettings, selected: Version | None
) -> list[Manifest]:
    """Return what stands in front of all versions of an environment."""
    return [service(front, settings, selected=selected), network_policy(front, settings)]


def deployment(
    version: Version, settings: KubernetesTargetSettings, *, needed: int = 0
) -> Manifest:
    """Return the Deployment: unprivileged, read-only, and never fewer pods than `replicas`.

    It begins with as many pods as are `needed`, as long as its autoscaler may keep them.
    """
    spec = {
        "replicas": max(settings.replicas, min(needed, at_most(settings))),
        "minReadySeconds": 2,
        "progressDeadlineSeconds": deadline_s(settings),
        "revisionHistoryLimit": 1,
        "selector": {"matchLabels": _own_labels(version)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "template": {
            "metadata": {"labels": _labels(version), "annotations": _scraped(version, settings)},
            "spec": pod(version, settings),
        },
    }
    return _manifest("apps/v1", "Deployment", version.name, version, spec)


def pod(version: Version, settings: KubernetesTargetSettings) -> Manifest:
    """Return what a pod of a version runs."""
    measured = version.memory_mb or DEFAULT_MEMORY_MB / HEADROOM
    memory = settings.memory_mb or round(HEADROOM * measured)
    environment = {"CI_MLOPS_LOG": "-"} if settings.log_predictions else {}
    container = {
        "name": "model",
        "image": version.image,
        "ports": [{"name": "http", "containerPort": settings.container_port, "protocol": "TCP"}],
        "env": [
            {"name": name, "value": value}
            for name, value in {**environment, **settings.environment}.items()
        ],
        # No limit of processors: it would only slow answers while processors are idle.
        "resources": {
            "requests": {"cpu": f"{round(1000 * settings.cpus)}m", "memory": f"{memory}M"},
            "limits": {"memory": f"{2 * memory}M"},
        },
        "startupProbe": {
            **_probe("/v2/health/live"),
            "periodSeconds": 1,
            "failureThreshold": deadline_s(settings),
        },
        "readinessProbe": {**_probe("/v2/health/ready"), "periodSeconds": 2, "failureThreshold": 2},
        # Patient: one that is only busy is better taken out for a while than killed.
        "livenessProbe": {
            **_probe("/v2/health/live"),
            "timeoutSeconds": 10,
            "periodSeconds": 10,
            "failureThreshold": 6,
        },
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(ENDPOINTS_S)]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the container
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "topologySpreadConstraints": [
            _spread(version, over) for over in ("topology.kubernetes.io/zone", HOST)
        ],
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def service(
    name: str,
    settings: KubernetesTargetSettings,
    *,
    selected: Version | None,
    beside: Version | None = None,
) -> Manifest:
    """Return a Service that selects a version; none at all where nothing is live yet.

    With another one `beside` it, it selects every pod of the environment.
    """
    port = {"name": "http", "port": settings.port, "targetPort": "http", "protocol": "TCP"}
    made: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": settings.namespace},
        "spec": {"ports": [port]},
    }
    if selected is not None:
        made["metadata"] |= {
            "labels": _labels(selected),
            "annotations": {DIGEST: selected.digest},
        }
        made["spec"]["selector"] = _own_labels(selected)
    if selected is not None and beside is not None:
        made["metadata"]["annotations"][SHARE] = beside.digest
        made["spec"]["selector"] = _common_labels(selected.front)
    return made


def autoscaler(
    version: Version, settings: KubernetesTargetSettings, *, exactly: int | None = None
) -> Manifest:
    """Return the HorizontalPodAutoscaler of a version, or one that keeps `exactly` so many pods."""
    spec = {
        "minReplicas": exactly or settings.replicas,
        "maxReplicas": exactly or at_most(settings),
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": version.name},
        "targetCPUUtilizationPercentage": settings.cpu_percent,
    }
    return _manifest("autoscaling/v1", "HorizontalPodAutoscaler", version.name, version, spec)


def budget(version: Version, settings: KubernetesTargetSettings) -> Manifest:
    """Return the PodDisruptionBudget: a node that is drained takes one pod at a time."""
    assert settings.replicas
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": _own_labels(version)}}
    return _manifest("policy/v1", "PodDisruptionBudget", version.name, version, spec)


def network_policy(front: str, settings: KubernetesTargetSettings) -> Manifest:
    """Return the NetworkPolicy: requests come in at one port, and a model calls nobody."""
    ingress = [{"ports": [{"protocol": "TCP", "port": settings.container_port}]}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": front,
            "namespace": settings.namespace,
            "labels": {**OURS, **_common_labels(front)},
        },
        "spec": {
            "podSelector": {"matchLabels": _common_labels(front)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [],
        },
    }


# --- other controllers --------------------------------------------------------------------------


def inference_service(version: Version, settings: KubernetesTargetSettings) -> list[Manifest]:
    """Return a KServe InferenceService, whose custom predictor is the image.

    As plain Deployments: Knative takes no lifecycle of a container, and no port of that name.
    Source: https://kserve.github.io/website/docs/model-serving/predictive-inference/frameworks/custom-predictor
    """
    inner = pod(version, settings)
    (container,) = inner["containers"]
    predictor = {
        "minReplicas": settings.replicas,
        "maxReplicas": at_most(settings),
        **inner,
        "containers": [{**container, "name": "kserve-container"}],
    }
    api = "serving.kserve.io/v1beta1"
    made = _manifest(api, "InferenceService", version.front, version, {"predictor": predictor})
    made["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "RawDeployment"
    return [made]


def rollout(version: Version, settings: KubernetesTargetSettings) -> list[Manifest]:
    """Return an Argo Rollout that shifts traffic in steps, and what stands around it.

    Clients use the Service in front, which reaches the pods of both versions; the controller lets
    the two others select one version each.
    Source: https://argo-rollouts.readthedocs.io/en/stable/features/specification/
    """
    api, front, labels = "argoproj.io/v1alpha1", version.front, _common_labels(version.front)
    made = deployment(version, settings)
    spec = {key: value for key, value in made["spec"].items() if key != "strategy"}
    spec["selector"] = {"matchLabels": labels}
    steps = [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]
    canary, stable = f"{front}-canary", f"{front}-stable"
    spec["strategy"] = {
        "canary": {"canaryService": canary, "stableService": stable, "steps": steps}
    }
    services = []
    for name in (front, canary, stable):
        one = service(name, settings, selected=version)
        one["spec"]["selector"] = labels
        services.append(one)
    scaler, budgeted = autoscaler(version, settings), budget(version, settings)
    scaler["spec"]["scaleTargetRef"] = {"apiVersion": api, "kind": "Rollout", "name": front}
    budgeted["spec"]["selector"] = {"matchLabels": labels}
    for one in (scaler, budgeted):
        one["metadata"]["name"] = front
    return [
        *services,
        _manifest(api, "Rollout", front, version, spec),
        scaler,
        budgeted,
        network_policy(front, settings),
    ]


# --- parts --------------------------------------------------------------------------------------


def deadline_s(settings: KubernetesTargetSettings) -> int:
    """Return how many seconds a version may take until its pods are ready."""
    return max(10, round(settings.verify.ready_within_s))


def at_most(settings: KubernetesTargetSettings) -> int:
    """Return how many pods a version may have."""
    return max(settings.replicas, settings.max_replicas)


def measured_mb(container: Manifest) -> float | None:
    """Return the memory that a container of ours was made for; None where somebody changed it."""
    requested = container["resources"]["requests"]["memory"]
    megabytes = requested.removesuffix("M")
    return int(megabytes) / HEADROOM if megabytes.isdecimal() and megabytes != requested else None


def pods_for(percent: int, beside: int, most: int) -> int:
    """Return how many pods beside others get the share of requests that is nearest to a percentage.

    Of two that are as near, the fewer.
    """
    return min(range(1, most + 1), key=lambda pods: abs(100 * pods / (pods + beside) - percent))


def short(version: Version) -> str:
    """Return what names and labels say of a digest."""
    return version.digest.removeprefix("sha256:")[:12]


def _manifest(
    api: str, kind: str, name: str, version: Version, spec: Mapping[str, Any]
) -> Manifest:
    metadata = {
        "name": name,
        "namespace": version.namespace,
        "labels": _labels(version),
        "annotations": {DIGEST: version.digest},
    }
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": dict(spec)}


def _common_labels(front: str) -> dict[str, str]:
    return {"app.kubernetes.io/instance": front}


def _own_labels(version: Version) -> dict[str, str]:
    return {**_common_labels(version.front), VERSION: short(version)}


def _labels(version: Version) -> dict[str, str]:
    return {**OURS, "app.kubernetes.io/version": short(version), **_own_labels(version)}


def _scraped(version: Version, settings: KubernetesTargetSettings) -> dict[str, str]:
    return {
        DIGEST: version.digest,
        "prometheus.io/scrape": "true",
        "prometheus.io/path": "/metrics",
        "prometheus.io/port": str(settings.container_port),
    }


def _spread(version: Version, over: str) -> Manifest:
    """Keep the pods of a version on different nodes, or in different zones, where possible."""
    return {
        "maxSkew": 1,
        "topologyKey": over,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _own_labels(version)},
    }


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 2}

"""Kubernetes: a Deployment for each version, and a Service whose selector says which is live.

All state is in the cluster. The Service carries the highest number of the ledger that was obeyed;
it is only ever replaced as it was read (`resourceVersion`), so of two promoters one loses. While
requests are shared it selects the pods of two versions, and how many there are of each decides.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ci_mlops.containers import Docker
from ci_mlops.errors import ConfigError, OutsideError
from ci_mlops.release import manifests, recorded
from ci_mlops.release.manifests import DIGEST, SHARE, VERSION, Manifest, Version
from ci_mlops.release.namespace import Namespace, annotations, refused
from ci_mlops.release.service_proxy import forwarding
from ci_mlops.release.settings import KubernetesTargetSettings
from ci_mlops.release.target import Slot
from ci_mlops.serving.bundle import Recorded

POLL_S = 0.2
SWITCH_WITHIN_S = 30.0
OWN = (
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("autoscaling/v1", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
)


@dataclass(kw_only=True)
class KubernetesTarget:
    """One environment in a namespace of a cluster."""

    settings: KubernetesTargetSettings
    front: str
    """The name of the Service that clients use."""
    dynamic: Any
    """The official client's DynamicClient."""
    proxy: str
    """The address below which services answer, each by its name."""
    builder: Docker
    """The daemon where images were built, which pushes them."""
    memory_mb: Callable[[str], float | None]
    """What stage image measured of a digest."""

    @property
    def _namespace(self) -> Namespace:
        return Namespace(dynamic=self.dynamic, name=self.settings.namespace)

    def live(self) -> Slot | None:
        """Return the version that the Service selects; see `target.Target`."""
        found = self._service()
        digest = annotations(found).get(DIGEST, "") if found is not None else ""
        return Slot(digest=digest, url=f"{self.proxy}/{self.front}") if digest else None

    def start(self, digest: str, fence: int) -> Slot:
        """Roll a version out where no traffic goes, and wait for it; see `target.Target`."""
        self._claim_unshared(fence)
        live = self.live()
        self._end_others({digest, live.digest if live else ""}, fence)
        version = self._version(digest)
        # What is to relieve the live version must bear what that one has grown to bear.
        needed = self._replicas(self._named(live.digest)) if live else 0
        for manifest in manifests.version_manifests(version, self.settings, needed=needed):
            self._namespace.apply(manifest, fence)
        self._namespace.apply(manifests.network_policy(self.front, self.settings))
        self._wait_until_rolled_out(version)
        return Slot(digest=digest, url=f"{self.proxy}/{version.name}")

    def share(self, digest: str, percent: int, fence: int) -> int:
        """Let the Service select pods of two versions, few of this one; see `target.Sharing`.

        How many there are of each decides, so the percentage is the nearest that pods can make.
        """
        version = self._named(digest)
        self._claim(fence)
        live = self.live()
        if live is None:
            raise OutsideError(f"nothing is live that {version.name} could share requests with")
        if live.digest == digest:
            return 100
        former = self._named(live.digest)
        for one in (version, former):
            self._require_deployed(one)
        # A third version would get requests too.
        self._end_others({digest, live.digest}, fence)
        pods = manifests.pods_for(percent, self._replicas(former), manifests.at_most(self.settings))
        self._scale(version, fence, exactly=pods)
        self._wait(lambda: not self._pods_beside(version, former), "a third version did not end")
        shared = manifests.service(self.front, self.settings, selected=former, beside=version)
        self._claim(fence, lambda service: _select(service, shared))
        counts: tuple[int, ...] = ()

        def are_split() -> bool:
            nonlocal counts
            counts = self._behind(version, former)
            return counts[:1] == (pods,) and counts[1] > 0

        self._wait(
            are_split, f"{pods} pods of it and what is live do not stand behind {self.front}"
        )
        return round(100 * counts[0] / sum(counts))

    def own(self, digest: str) -> str:
        """Return where a version's own Service answers; empty where there is none."""
        version = self._named(digest)
        return f"{self.proxy}/{version.name}" if self._deployment(version) else ""

    def switch(self, digest: str, fence: int) -> Slot:
        """Let the Service select a version, and it alone; see `target.Target`."""
        version = self._named(digest)
        self._claim(fence)
        self._require_deployed(version)
        if self._replicas(version) < self.settings.replicas:
            self._scale(version, fence, exactly=None)
        wanted = manifests.service(self.front, self.settings, selected=version)
        self._claim(fence, lambda service: _select(service, wanted))
        self._wait(lambda: self._is_alone(version), f"no pod of it stands behind {self.front}")
        return Slot(digest=digest, url=f"{self.proxy}/{self.front}")

    def stop(self, digest: str, fence: int) -> None:
        """Delete everything of a version; see `target.Target`."""
        self._claim_unshared(fence)

        def change(service: Manifest) -> None:
            # Its selector stays: without one, the addresses of pods that ended would stay too.
            if annotations(service).get(DIGEST) == digest:
                del service["metadata"]["annotations"][DIGEST]

        self._claim(fence, change)
        self._delete(digest, fence)

    def recorded(self, digest: str) -> Recorded:
        """Return the answers that were judged, which every image of ours carries.

        Raises OutsideError where the image cannot be had, or has none.
        """
        if not self.builder.has(digest):
            self.builder.pull(self.settings.repository, digest.removeprefix("sha256:"))
        return recorded.in_image(self.builder, digest)

    # --- versions -------------------------------------------------------------------------------

    def _version(self, digest: str) -> Version:
        """Return a version whose image is in the repository, named by the registry's digest.

        One whose pods run stays as it is: to go back to it must not depend on a registry, nor start
        its pods anew because its memory was measured in a run that is no longer at hand.
        """
        named = self._named(digest)
        found = self._deployment(named)
        if found is not None and (found.get("status") or {}).get("availableReplicas"):
            (container,) = found["spec"]["template"]["spec"]["containers"]
            memory_mb = manifests.measured_mb(container) or self.memory_mb(digest)
            return replace(named, image=container["image"], memory_mb=memory_mb)
        tag = digest.removeprefix("sha256:")
        repository = self.settings.repository
        if self.builder.has(digest):
            self.builder.push(digest, repository, tag)
        return replace(
            named,
            image=f"{repository}@{self.builder.manifest_digest(repository, tag)}",
            memory_mb=self.memory_mb(digest),
        )

    def _named(self, digest: str) -> Version:
        """Return a version of which only the names are asked for."""
        return Version(front=self.front, namespace=self.settings.namespace, digest=digest, image="")

    def _versions(self) -> list[str]:
        """Return the digests of all Deployments of the environment."""
        found = self._namespace.listed("apps/v1", "Deployment", self._selector())
        return [annotations(one).get(DIGEST, "") for one in found]

    def _selector(self) -> str:
        return f"app.kubernetes.io/instance={self.front},{VERSION}"

    def _end_others(self, kept: set[str], fence: int) -> None:
        for other in self._versions():
            if other not in kept:
                self._delete(other, fence)

    def _delete(self, digest: str, fence: int) -> None:
        for api, kind in OWN:
            self._namespace.delete(api, kind, manifests.name_of(self.front, digest), fence)

    def _require_deployed(self, version: Version) -> None:
        if self._deployment(version) is None:
            raise OutsideError(f"there is no Deployment {version.name} to send requests to")

    def _deployment(self, version: Version) -> Manifest | None:
        return self._namespace.read("apps/v1", "Deployment", version.name)

    def _replicas(self, version: Version) -> int:
        """Return how many pods a version is to have; 0 where it is not there."""
        found = self._deployment(version)
        return int(found["spec"]["replicas"]) if found else 0

    def _scale(self, version: Version, fence: int, *, exactly: int | None) -> None:
        """Give a version exactly so many pods, or again as many as it is to have; wait for them."""
        scaler = manifests.autoscaler(version, self.settings, exactly=exactly)
        pods = self.settings.replicas if exactly is None else exactly
        self._namespace.apply(scaler, fence)

        def change(deployment: Manifest) -> None:
            deployment["spec"]["replicas"] = pods

        self._namespace.change("apps/v1", "Deployment", version.name, fence, change)
        self._wait_until_rolled_out(version)

    def _wait_until_rolled_out(self, version: Version) -> None:
        try:
            self._wait(lambda: self._is_rolled_out(version), "it was not rolled out in time")
        except OutsideError as fault:
            why = self._why_not(version)
            raise OutsideError(f"{version.name}: {fault.fault}", remedy=why) from fault

    def _is_rolled_out(self, version: Version) -> bool:
        found = self._deployment(version)
        status = (found or {}).get("status") or {}
        if found is None:
            return False
        for one in status.get("conditions") or ():
            if one.get("reason") == "ProgressDeadlineExceeded":
                raise OutsideError(str(one.get("message")))
        wanted = found["spec"]["replicas"]
        seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        every, updated, available = (
            status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")
        )
        # A pod of the Deployment as it was before is available too, and is not what is asked for;
        # nor is one too many, which a share would count.
        return bool(seen and every == updated == available == wanted)

    def _why_not(self, version: Version) -> str:
        """Return what the pods that are not ready say."""
        with contextlib.suppress(OutsideError):
            for pod in self._pods(version):
                if "deletionTimestamp" not in pod["metadata"]:
                    for one in (pod.get("status") or {}).get("containerStatuses") or ():
                        if not one.get("ready"):
                            port = self.settings.container_port
                            return _trouble(one) or f"A pod is not ready at port {port}"
        return "See `kubectl describe` of its pods"

    def _pods(self, version: Version) -> list[Manifest]:
        selector = f"app.kubernetes.io/instance={self.front},{VERSION}={manifests.short(version)}"
        return self._namespace.listed("v1", "Pod", selector)

    def _pods_beside(self, *versions: Version) -> list[str]:
        """Return the pods of other versions that have not been told to end."""
        kept = {manifests.short(one) for one in versions}
        return [
            pod["metadata"]["name"]
            for pod in self._namespace.listed("v1", "Pod", self._selector())
            if pod["metadata"]["labels"][VERSION] not in kept
            and "deletionTimestamp" not in pod["metadata"]
        ]

    # --- the Service in front -------------------------------------------------------------------

    def _service(self) -> Manifest | None:
        return self._namespace.read("v1", "Service", self.front)

    def _claim(self, fence: int, change: Callable[[Manifest], None] = lambda _: None) -> None:
        """Write a number of the ledger, and a change, into the Service as it was read.

        Raises Overtaken where a higher number stands there.
        """
        if not self._namespace.change("v1", "Service", self.front, fence, change):
            self._namespace.apply(manifests.service(self.front, self.settings, selected=None))
            if not self._namespace.change("v1", "Service", self.front, fence, change):
                raise OutsideError(f"Service {self.front} was deleted by somebody")

    def _claim_unshared(self, fence: int) -> None:
        """Claim the Service, and let what is live have all requests again where they are shared."""
        alone: list[Version] = []

        def change(service: Manifest) -> None:
            if SHARE in annotations(service):
                alone.append(self._named(annotations(service)[DIGEST]))
                _select(service, manifests.service(self.front, self.settings, selected=alone[-1]))

        self._claim(fence, change)
        if alone:
            # Whether its own pods are ready is not asked: somebody may be about to mend just that.
            self._wait(
                lambda: self._behind(alone[-1]) != (), f"others than it stand behind {self.front}"
            )

    def _is_alone(self, version: Version) -> bool:
        """Whether the clients' Service reaches this version's pods, and no other's."""
        return any(self._behind(version))

    def _behind(self, *versions: Version) -> tuple[int, ...]:
        """Count each version's pods that the clients' Service reaches; empty if it has others."""
        found = self._namespace.read("v1", "Endpoints", self.front) or {}
        reached = {
            one["targetRef"]["name"]
            for subset in found.get("subsets") or ()
            for one in subset.get("addresses") or ()
            if one.get("targetRef")
        }
        counts = tuple(
            len(reached & {pod["metadata"]["name"] for pod in self._pods(one)}) for one in versions
        )
        return counts if sum(counts) == len(reached) else ()

    def _wait(self, is_so: Callable[[], bool], otherwise: str) -> None:
        # The server itself gives up after the deadline; this is for one that does not.
        deadline = time.monotonic() + manifests.deadline_s(self.settings) + SWITCH_WITHIN_S
        while not is_so():
            if time.monotonic() > deadline:
                raise OutsideError(otherwise)
            time.sleep(POLL_S)


@contextlib.contextmanager
def connected(
    settings: KubernetesTargetSettings, environ: Mapping[str, str]
) -> Iterator[tuple[Any, str]]:
    """Yield a DynamicClient and the address below which services answer.

    Raises ConfigError without a kubeconfig, OutsideError when the cluster does not answer.
    """
    from kubernetes import client, config
    from kubernetes.dynamic import DynamicClient

    made = client.Configuration()
    try:
        try:
            config.load_kube_config(
                config_file=environ.get("KUBECONFIG"),
                context=settings.context,
                client_configuration=made,
            )
        except config.ConfigException:
            if settings.context is not None:
                raise
            config.load_incluster_config(client_configuration=made)
    except config.ConfigException as fault:
        raise ConfigError(
            str(fault).splitlines()[0],
            place="KUBECONFIG",
            remedy="Name a kubeconfig, and its context in `context`",
        ) from fault
    with client.ApiClient(configuration=made) as api:
        with refused("the cluster cannot be reached"):
            dynamic = DynamicClient(api)
            client.VersionApi(api).get_code()  # what the one above knows may be from a cache
        with forwarding(api, settings.namespace) as proxy:
            yield dynamic, proxy


def _trouble(container: Manifest) -> str:
    """Return why a container does not run, as the kubelet says it; empty where it does."""
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        told = state.get("waiting") or state.get("terminated") or {}
        if told.get("reason") not in {None, "ContainerCreating", "Completed"}:
            return f"A pod says {told['reason']}: {told.get('message') or ''}".strip(": ")[:400]
    return ""


def _select(service: Manifest, wanted: Manifest) -> None:
    """Let a Service that was read select what another one would."""
    metadata = service["metadata"]
    metadata["labels"] = (metadata.get("labels") or {}) | wanted["metadata"]["labels"]
    metadata["annotations"].pop(SHARE, None)
    metadata["annotations"] |= wanted["metadata"]["annotations"]
    service["spec"]["selector"] = wanted["spec"]["selector"]

"""Kubernetes: a Deployment for each version, and a Service whose selector says which is live.

All state is in the cluster. The Service carries the highest number of the ledger that was obeyed;
it is only ever replaced as it was read (`resourceVersion`), so of two promoters one loses.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ci_mlops.containers import Docker
from ci_mlops.errors import ConfigError, OutsideError
from ci_mlops.release import manifests, recorded
from ci_mlops.release.manifests import DIGEST, FENCE, MANAGER, VERSION, Manifest, Version
from ci_mlops.release.service_proxy import forwarding
from ci_mlops.release.settings import KubernetesTargetSettings
from ci_mlops.release.target import Overtaken, Slot
from ci_mlops.serving.bundle import Recorded

POLL_S = 0.2
SWITCH_WITHIN_S = 30.0
OLDER = {"policy/v1": "policy/v1beta1"}
"""What servers before 1.21 call it."""
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

    def live(self) -> Slot | None:
        """Return the version that the Service selects; see `target.Target`."""
        found = self._service()
        digest = _annotations(found).get(DIGEST, "") if found is not None else ""
        return Slot(digest=digest, url=f"{self.proxy}/{self.front}") if digest else None

    def start(self, digest: str, fence: int) -> Slot:
        """Roll a version out where no traffic goes, and wait for it; see `target.Target`."""
        self._claim(fence)
        live = self.live()
        kept = {digest, live.digest if live else ""}
        for other in self._versions():
            if other not in kept:
                self._delete(other)
        version = self._version(digest)
        for manifest in manifests.version_manifests(version, self.settings):
            self._apply(manifest)
        self._apply(manifests.network_policy(self.front, self.settings))
        self._wait_until_rolled_out(version)
        return Slot(digest=digest, url=f"{self.proxy}/{version.name}")

    def share(self, digest: str, percent: int, fence: int) -> int:
        """Refuse to share requests; see `target.Sharing`."""
        raise OutsideError(
            f"entry {fence}: {percent} % of requests cannot be sent to {digest[:19]}"
        )

    def own(self, digest: str) -> str:
        """Return where a version's own Service answers; see `target.Sharing`."""
        return f"{self.proxy}/{manifests.name_of(self.front, digest)}"

    def switch(self, digest: str, fence: int) -> Slot:
        """Let the Service select a version; see `target.Target`."""
        version = Version(
            front=self.front, namespace=self.settings.namespace, digest=digest, image=""
        )
        if self._read("apps/v1", "Deployment", version.name) is None:
            raise OutsideError(f"there is no Deployment {version.name} to switch to")
        wanted = manifests.service(self.front, self.settings, selected=version)

        def change(service: Manifest) -> None:
            service["metadata"].setdefault("labels", {}).update(wanted["metadata"]["labels"])
            service["metadata"]["annotations"] |= wanted["metadata"]["annotations"]
            service["spec"]["selector"] = wanted["spec"]["selector"]

        self._claim(fence, change)
        self._wait(lambda: self._endpoints_are(version), f"no pod of it stands behind {self.front}")
        return Slot(digest=digest, url=f"{self.proxy}/{self.front}")

    def stop(self, digest: str, fence: int) -> None:
        """Delete everything of a version; see `target.Target`."""
        self._claim(fence)
        self._delete(digest)

    def recorded(self, digest: str) -> Recorded:
        """Return the answers that were judged, which every image of ours carries.

        Raises OutsideError where the image cannot be had, or has none.
        """
        if not self.builder.has(digest):
            self.builder.pull(self.settings.repository, digest.removeprefix("sha256:"))
        return recorded.in_image(self.builder, digest)

    # --- versions -------------------------------------------------------------------------------

    def _version(self, digest: str) -> Version:
        """Return a version whose image is in the repository, named by the registry's digest."""
        tag = digest.removeprefix("sha256:")
        repository = self.settings.repository
        if self.builder.has(digest):
            self.builder.push(digest, repository, tag)
        return Version(
            front=self.front,
            namespace=self.settings.namespace,
            digest=digest,
            image=f"{repository}@{self.builder.manifest_digest(repository, tag)}",
            memory_mb=self.memory_mb(digest),
        )

    def _versions(self) -> list[str]:
        """Return the digests of all Deployments of the environment."""
        with _refused("the Deployments cannot be listed"):
            found = self._kind("apps/v1", "Deployment").get(
                namespace=self.settings.namespace,
                label_selector=f"app.kubernetes.io/instance={self.front},{VERSION}",
            )
        return [_annotations(one.to_dict()).get(DIGEST, "") for one in found.items]

    def _delete(self, digest: str) -> None:
        from kubernetes.client.exceptions import ApiException

        name = manifests.name_of(self.front, digest)
        for api, kind in OWN:
            with _refused(f"{kind} {name} cannot be deleted"):
                try:
                    self._kind(api, kind).delete(name=name, namespace=self.settings.namespace)
                except ApiException as fault:
                    if fault.status != 404:
                        raise

    def _wait_until_rolled_out(self, version: Version) -> None:
        try:
            self._wait(lambda: self._is_rolled_out(version), "it was not rolled out in time")
        except OutsideError as fault:
            why = self._why_not(version)
            raise OutsideError(f"{version.name}: {fault.fault}", remedy=why) from fault

    def _is_rolled_out(self, version: Version) -> bool:
        found = self._read("apps/v1", "Deployment", version.name)
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
        # A pod of the Deployment as it was before is available too, and is not what is asked for.
        return bool(seen and every == updated >= wanted and available >= wanted)

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
        selector = f"app.kubernetes.io/instance={self.front},{VERSION}={version.digest[7:19]}"
        with _refused("the pods cannot be listed"):
            found = self._kind("v1", "Pod").get(
                namespace=self.settings.namespace, label_selector=selector
            )
        return [one.to_dict() for one in found.items]

    def _endpoints_are(self, version: Version) -> bool:
        """Whether the clients' Service reaches this version's pods, and no other's."""
        found = self._read("v1", "Endpoints", self.front) or {}
        reached = {
            one["targetRef"]["name"]
            for subset in found.get("subsets") or ()
            for one in subset.get("addresses") or ()
            if one.get("targetRef")
        }
        own = {one["metadata"]["name"] for one in self._pods(version)}
        return bool(reached) and reached <= own

    # --- the Service in front -------------------------------------------------------------------

    def _service(self) -> Manifest | None:
        return self._read("v1", "Service", self.front)

    def _claim(self, fence: int, change: Callable[[Manifest], None] | None = None) -> None:
        """Write a number of the ledger, and a change, into the Service as it was read.

        Raises Overtaken where a higher number stands there.
        """
        from kubernetes.client.exceptions import ApiException

        while True:
            service = self._service() or self._made_service()
            before = int(_annotations(service).get(FENCE, "0"))
            if fence < before:
                raise Overtaken(f"entry {before} of the ledger was obeyed before entry {fence}")
            if fence == before and change is None:
                return
            service["metadata"].setdefault("annotations", {})[FENCE] = str(fence)
            if change is not None:
                change(service)
            with _refused(f"Service {self.front} cannot be changed"):
                try:
                    self._kind("v1", "Service").replace(
                        body=service, namespace=self.settings.namespace
                    )
                except ApiException as fault:
                    if fault.status != 409:
                        raise
                else:
                    return

    def _made_service(self) -> Manifest:
        self._apply(manifests.service(self.front, self.settings, selected=None))
        found = self._service()
        if found is None:
            raise OutsideError(f"Service {self.front} was deleted by somebody")
        return found

    # --- the API --------------------------------------------------------------------------------

    def _kind(self, api: str, kind: str) -> Any:
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        with _refused("the cluster does not say what it knows"):
            try:
                return self.dynamic.resources.get(api_version=api, kind=kind)
            except ResourceNotFoundError:
                return self.dynamic.resources.get(api_version=OLDER.get(api, api), kind=kind)

    def _read(self, api: str, kind: str, name: str) -> Manifest | None:
        from kubernetes.client.exceptions import ApiException

        with _refused(f"{kind} {name} cannot be read"):
            try:
                found = self._kind(api, kind).get(name=name, namespace=self.settings.namespace)
            except ApiException as fault:
                if fault.status == 404:
                    return None
                raise
        read: Manifest = found.to_dict()
        return read

    def _apply(self, manifest: Manifest) -> None:
        """Apply a manifest on the server's side, as the one who manages its fields."""
        kind = self._kind(manifest["apiVersion"], manifest["kind"])
        name = manifest["metadata"]["name"]
        with _refused(f"{manifest['kind']} {name} cannot be applied"):
            self.dynamic.server_side_apply(
                kind,
                body={**manifest, "apiVersion": kind.group_version},
                name=name,
                namespace=self.settings.namespace,
                field_manager=MANAGER,
                force_conflicts=True,
            )

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
        with _refused("the cluster cannot be reached"):
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


def _annotations(manifest: Manifest) -> dict[str, str]:
    return manifest["metadata"].get("annotations") or {}


@contextlib.contextmanager
def _refused(what: str) -> Iterator[None]:
    import urllib3
    from kubernetes.client.exceptions import ApiException
    from kubernetes.dynamic.exceptions import ResourceNotFoundError, ResourceNotUniqueError

    try:
        yield
    except ApiException as fault:
        raise OutsideError(f"{what}: {fault.status} {_said(fault.body)}") from fault
    except (ResourceNotFoundError, ResourceNotUniqueError, urllib3.exceptions.HTTPError) as fault:
        raise OutsideError(f"{what}: {str(fault).splitlines()[0][:300]}") from fault


def _said(body: Any) -> str:
    """Return the message of the API's Status object."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return str(json.loads(body).get("message", ""))[:400]
    return ""

"""A stand-in for the kubelet, where none can run: what a node is told becomes containers of Docker.

Run as a program: `stand_in_kubelet.py KUBECONFIG NETWORK`. It says that the node is ready, starts the first
container of each pod that was bound to it, asks its readiness probe, and ends it with its preStop
and its grace. It knows nothing of restarts, liveness, shares of processors or networks of pods:
what holds beside it has yet to be seen beside a real kubelet.
"""

import contextlib
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import docker
import requests
from docker.errors import DockerException
from kubernetes import client, config

NODE = "node"
POLL_S = 0.2
HEARTBEAT_S = 5.0


def now() -> str:
    return datetime.now(UTC).isoformat()


class Node:
    """Announces itself, and has a thread for each pod that is bound to it."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.pods: dict[str, Any] = {}
        """Those that are there, by their uid."""

    def run(self) -> None:
        with contextlib.suppress(client.ApiException):  # it is there already
            self.core.create_node({"metadata": {"name": NODE}})
        beaten = 0.0
        while True:
            if time.monotonic() - beaten > HEARTBEAT_S:
                self.beat()
                beaten = time.monotonic()
            found = self.core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={NODE}")
            begun = [one for one in found.items if one.metadata.uid not in self.pods]
            self.pods = {one.metadata.uid: one for one in found.items}
            for one in begun:
                threading.Thread(target=Pod(self, one).run, daemon=True).start()
            time.sleep(POLL_S)

    def beat(self) -> None:
        room = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "64Gi"}
        ready = {"type": "Ready", "status": "True", "reason": "StandIn", "lastHeartbeatTime": now()}
        status = {
            "capacity": room,
            "allocatable": room,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "conditions": [ready],
        }
        self.core.patch_node_status(NODE, {"status": status})


class Pod:
    """One pod, from when it was bound until it is deleted."""

    def __init__(self, node: Node, found: Any) -> None:
        self.node, self.found = node, found
        self.name, self.namespace = found.metadata.name, found.metadata.namespace
        self.spec = found.spec.containers[0]
        self.told: object = None
        self.ready, self.since = False, now()

    def run(self) -> None:
        with contextlib.closing(docker.from_env()) as engine:
            container = None
            try:
                container = self.started(engine)
                while self.is_wanted():
                    self.look(container)
                    time.sleep(POLL_S)
            except DockerException as fault:
                self.tell({"waiting": {"reason": "ErrImagePull", "message": str(fault)[:400]}})
                while self.is_wanted():
                    time.sleep(POLL_S)
            if container is not None:
                self.end(container)
        with contextlib.suppress(client.ApiException):
            self.node.core.delete_namespaced_pod(self.name, self.namespace, grace_period_seconds=0)

    def is_wanted(self) -> bool:
        found = self.node.pods.get(self.found.metadata.uid)
        return found is not None and found.metadata.deletion_timestamp is None

    def started(self, engine: Any) -> Any:
        confined = self.spec.security_context
        limits = (self.spec.resources and self.spec.resources.limits) or {}
        return engine.containers.run(
            engine.images.pull(self.spec.image),
            self.spec.args,
            detach=True,
            labels={"io.ci-mlops.cluster": sys.argv[1]},
            network=sys.argv[2],
            environment={one.name: one.value for one in self.spec.env or ()},
            read_only=bool(confined and confined.read_only_root_filesystem),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            tmpfs={
                one.mount_path: "" for one in self.spec.volume_mounts or () if not one.read_only
            },
            mem_limit=str(limits["memory"]).lower().rstrip("i") if "memory" in limits else None,
        )

    def look(self, container: Any) -> None:
        container.reload()
        state = container.attrs["State"]
        if container.status == "running":
            address = container.attrs["NetworkSettings"]["Networks"][sys.argv[2]]["IPAddress"]
            self.tell(
                {"running": {"startedAt": state["StartedAt"]}},
                address=address,
                ready=self.is_ready(address),
            )
        else:
            ended = {"exitCode": state["ExitCode"], "reason": "Error"}
            self.tell({"terminated": {**ended, "message": container.logs(tail=3).decode()[:400]}})

    def is_ready(self, address: str) -> bool:
        probe = self.spec.readiness_probe
        if probe is None:
            return True
        ports = {one.name: one.container_port for one in self.spec.ports}
        port = ports.get(probe.http_get.port, probe.http_get.port)
        try:
            url = f"http://{address}:{port}{probe.http_get.path}"
            return requests.get(url, timeout=probe.timeout_seconds or 1).status_code < 400
        except requests.RequestException:
            return False

    def tell(self, state: dict[str, Any], *, address: str = "", ready: bool = False) -> None:
        """Write the status, where it is another than before."""
        if (state, address, ready) == self.told:
            return
        if ready != self.ready:
            self.ready, self.since = ready, now()
        self.told = (state, address, ready)
        conditions = [
            {"type": kind, "status": str(ready), "lastTransitionTime": self.since}
            for kind in ("Ready", "ContainersReady")
        ]
        one = {
            "name": self.spec.name,
            "image": self.spec.image,
            "imageID": self.spec.image,
            "ready": ready,
            "started": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        status = {
            "phase": "Running" if "running" in state else "Pending",
            "conditions": [*conditions, {"type": "Initialized", "status": "True"}],
            "containerStatuses": [one],
            "startTime": now(),
            **({"podIP": address, "podIPs": [{"ip": address}]} if address else {}),
        }
        with contextlib.suppress(client.ApiException):  # it was deleted in the meantime
            self.node.core.patch_namespaced_pod_status(
                self.name, self.namespace, {"status": status}
            )

    def end(self, container: Any) -> None:
        first = self.spec.lifecycle and self.spec.lifecycle.pre_stop
        with contextlib.suppress(DockerException):
            if first is not None:
                container.exec_run(first._exec.command)
            container.stop(timeout=self.found.spec.termination_grace_period_seconds or 30)
            container.remove(force=True)


if __name__ == "__main__":
    made = client.Configuration()
    config.load_kube_config(config_file=sys.argv[1], client_configuration=made)
    with client.ApiClient(configuration=made) as api:
        Node(client.CoreV1Api(api)).run()

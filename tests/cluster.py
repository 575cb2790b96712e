"""A real Kubernetes on loopback: etcd, API server, controllers, scheduler, and a kubelet on Docker.

The programs are built from Debian's source package by `.ci/kubernetes`. There is no kube-proxy: what
is asked goes through the API server's proxy to the pods. Where the kubelet cannot run (it wants root
and a Docker that it knows), a stand-in starts the pods' containers, and pytest's summary says so.
CI_MLOPS_TEST_KUBELET=no asks for the stand-in, and =yes fails rather than take it.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import requests

PROGRAMS = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ci-mlops" / "kubernetes"
)
TOKEN = "t" * 32
NODE, PODS = "/api/v1/nodes/node", "/api/v1/namespaces/default/pods"
READY_WITHIN_S = 90
REAL = "kubelet: real"
STAND_IN = "kubelet: STAND-IN, pods did not run in a real one"
TOLD: list[str] = []
"""What pytest says of Kubernetes at its end."""


PAUSE_IMAGE = "ci-mlops-test-pause:bookworm"
PAUSE = """\
ARG BASE
FROM ${BASE}
ENTRYPOINT ["sh", "-c", "trap exit TERM; sleep infinity & wait"]
"""


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def is_built() -> bool:
    return (PROGRAMS / "complete").exists() and shutil.which("etcd") is not None


@contextlib.contextmanager
def running(folder: Path, base: str) -> Iterator[Path]:
    """Run a cluster of one node; yield its kubeconfig. Its pause image is made from `base`."""
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(contextlib.closing(docker.from_env()))
        (folder / "Dockerfile").write_text(PAUSE, encoding="utf-8")
        engine.images.build(path=str(folder), buildargs={"BASE": base}, tag=PAUSE_IMAGE, rm=True)
        stack.callback(_unmount, folder)
        cluster = _Cluster(folder, stack, engine)
        cluster.start()
        yield cluster.kubeconfig


class _Cluster:
    def __init__(
        self, folder: Path, stack: contextlib.ExitStack, engine: docker.DockerClient
    ) -> None:
        self.folder, self.stack, self.engine = folder, stack, engine
        self.kubeconfig = folder / "kubeconfig"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._certificates()
        self._etcd()
        self._api_server()
        self._program(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--use-service-account-credentials=false",
            f"--service-account-private-key-file={self.folder}/key.pem",
            "--horizontal-pod-autoscaler-sync-period=1h",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--port=0",
        )
        self._program(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--port=0",
        )
        self._wait(
            "/api/v1/namespaces/default/serviceaccounts/default", lambda told: '"kind"' in told
        )
        why_not = self._no_kubelet()
        if why_not:
            network = self.engine.networks.create(f"ci-mlops-test-cluster-{self.port}")
            self.stack.callback(network.remove)
            label = f"io.ci-mlops.cluster={self.kubeconfig}"
            self.stack.callback(_remove_containers, self.engine, label)
            stand_in = str(Path(__file__).with_name("stand_in_kubelet.py"))
            given = [str(self.kubeconfig), str(network.name)]
            self._run("stand-in", [sys.executable, stand_in, *given])
            self._wait(NODE, _is_ready)
        TOLD.append(f"{STAND_IN}: {why_not}" if why_not else REAL)

    def _no_kubelet(self) -> str:
        """Start the kubelet, and a pod in it; return why it cannot run, empty where it does."""
        wanted = os.environ.get("CI_MLOPS_TEST_KUBELET", "")
        if wanted == "no":
            return "CI_MLOPS_TEST_KUBELET=no"
        self.stack.callback(_remove_containers, self.engine, "io.kubernetes.pod.name")
        kubelet = self._kubelet()
        try:
            self._wait(NODE, _is_ready, needs=kubelet)
            # A node that says it is ready may still be unable to start anything.
            container = {"name": "trial", "image": PAUSE_IMAGE, "imagePullPolicy": "Never"}
            spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
            trial = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial"}, "spec": spec}
            self._ask("POST", PODS, trial)
            self._wait(f"{PODS}/trial", lambda told: '"phase":"Running"' in told, needs=kubelet)
        except RuntimeError as fault:
            if wanted == "yes":
                raise
            _end(kubelet)
            return self._last_words() or str(fault)[:200]
        finally:
            self._ask("DELETE", f"{PODS}/trial?gracePeriodSeconds=0")
        return ""

    def _last_words(self) -> str:
        """Return the error that the kubelet ended with."""
        lines = (self.folder / "kubelet.log").read_text("utf-8", "replace").splitlines()
        errors = [line.partition("] ")[2] for line in lines if line[:1] in {"E", "F"}]
        return errors[-1][:200] if errors else ""

    def _certificates(self) -> None:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "cert.pem")),
            ],
            check=True,
            capture_output=True,
        )
        (self.folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
        named = {"name": "test"}
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "cert.pem")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{**named, "cluster": cluster}],
            "users": [{**named, "user": {"token": TOKEN}}],
            "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
        }
        self.kubeconfig.write_text(json.dumps(config))

    def _etcd(self) -> None:
        self.etcd = f"http://127.0.0.1:{free_port()}"
        peer = f"http://127.0.0.1:{free_port()}"
        self._run(
            "etcd",
            [
                "etcd",
                f"--data-dir={self.folder}/etcd",
                f"--listen-client-urls={self.etcd}",
                f"--advertise-client-urls={self.etcd}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
            ],
        )

    def _api_server(self) -> None:
        self._program(
            "kube-apiserver",
            f"--etcd-servers={self.etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.folder}/cert.pem",
            f"--tls-private-key-file={self.folder}/key.pem",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder}/cert.pem",
            f"--service-account-signing-key-file={self.folder}/key.pem",
        )
        self._wait("/readyz", lambda told: told == "ok")

    def _kubelet(self) -> "subprocess.Popen[bytes]":
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": free_port(),
            "healthzPort": 0,
            "authentication": {"webhook": {"enabled": False}, "anonymous": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"nodefs.available": "1%"},
            "resolvConf": "",
            "makeIPTablesUtilChains": False,
        }
        (self.folder / "kubelet.json").write_text(json.dumps(config))
        return self._program(
            "kubelet",
            f"--config={self.folder}/kubelet.json",
            f"--kubeconfig={self.kubeconfig}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/pki",
            "--hostname-override=node",
            "--container-runtime=docker",
            "--network-plugin=cni",
            f"--cni-conf-dir={self._network()}",
            "--cni-bin-dir=/usr/lib/cni,/opt/cni/bin",
            f"--cni-cache-dir={self.folder}/cni-cache",
            f"--pod-infra-container-image={PAUSE_IMAGE}",
        )

    def _network(self) -> Path:
        """Write how pods are connected: by a bridge of this cluster's own."""
        bridge = f"mlops{self.port}"
        config = {
            "cniVersion": "0.3.1",
            "name": "test",
            "type": "bridge",
            "bridge": bridge,
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": f"10.214.{self.port % 256}.0/24"}]],
                "dataDir": f"{self.folder}/addresses",
            },
        }
        folder = self.folder / "cni"
        folder.mkdir()
        (folder / "test.conf").write_text(json.dumps(config))
        end = ["ip", "link", "delete", bridge]
        self.stack.callback(subprocess.run, end, check=False, capture_output=True)
        return folder

    def _program(self, name: str, *flags: str) -> "subprocess.Popen[bytes]":
        return self._run(name, [str(PROGRAMS / name), *flags])

    def _run(self, name: str, command: list[str]) -> "subprocess.Popen[bytes]":
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=log, stderr=log, env={**os.environ, "HOME": "/root"}
        )
        self.stack.callback(_end, process)
        return process

    def _ask(self, method: str, path: str, body: object = None) -> str:
        return requests.request(
            method,
            f"{self.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {TOKEN}"},
            verify=str(self.folder / "cert.pem"),
            timeout=5,
        ).text

    def _wait(
        self,
        path: str,
        is_so: Callable[[str], bool],
        *,
        needs: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        told = ""
        while time.monotonic() < deadline and (needs is None or needs.poll() is None):
            with contextlib.suppress(requests.RequestException):
                told = self._ask("GET", path)
                if is_so(told):
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{path} of the cluster was not so in time: {told[:2000]}")


def _is_ready(told: str) -> bool:
    return '"type":"Ready","status":"True"' in told


def _remove_containers(engine: docker.DockerClient, label: str) -> None:
    for one in engine.containers.list(all=True, filters={"label": label}):
        with contextlib.suppress(docker.errors.APIError):  # its kubelet was about to remove it
            one.remove(force=True)


def _unmount(folder: Path) -> None:
    """Let go of what the kubelet mounted for pods."""
    lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    for place in reversed([line.split()[1] for line in lines]):
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", place], check=False)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

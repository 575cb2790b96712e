"""One Docker host: a container for each digest, and HAProxy in front, which names the live one.

All state is on the host: containers carry their digest as a label, and HAProxy's configuration
carries the highest number of the ledger that was obeyed. A switch changes a map in the running
HAProxy: connections stay open, and each request goes where the map says. (A reload would close idle
connections, and lose a request that is sent at that moment.)
"""

import contextlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import requests

from ci_mlops.containers import Docker, hardened
from ci_mlops.errors import OutsideError
from ci_mlops.release import recorded
from ci_mlops.release.settings import DockerTargetSettings
from ci_mlops.release.target import Overtaken, Slot
from ci_mlops.serving.bundle import Recorded

DIGEST, ENVIRONMENT = "io.ci-mlops.digest", "io.ci-mlops.environment"
LIVE = "/.ci-mlops/live"
"""Where HAProxy says which digest it sends requests to."""
FOLDER, CONFIG, MAP = "/tmp", "haproxy.cfg", "live.map"  # noqa: S108 - in HAProxy's own container
FRONT_PORT, ADMIN_PORT = 8080, 9999
SLOTS = ("a", "b")
END_WITHIN_S = 45
SWITCH_WITHIN_S = 30.0
POLL_S = 0.05
ABANDONED_S = 300.0
"""A lock that is older was left by somebody who died."""
LOCK_WITHIN_S = 900.0

PROXY = """\
# {state}
global
    stats socket ipv4@127.0.0.1:{admin} level admin
    hard-stop-after 60s
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout http-request 30s
    timeout server 60s
    retries 3
resolvers docker
    nameserver engine 127.0.0.11:53
    timeout resolve 200ms
    timeout retry 200ms
    hold valid 1s
frontend clients
    bind :{port}
    http-request set-var(txn.live) str(digest),map({map})
    acl asks path {path}
    http-request return status 200 content-type text/plain lf-string "%[var(txn.live)]" if asks
    use_backend %[str(slot),map({map})]
"""
BACKEND = """\
backend {slot}
    server one {name}:{port} resolvers docker init-addr last,libc,none
"""
NOBODY = "nobody.invalid"
TELL = """\
if command -v bash >/dev/null
then exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && printf "%s\\n" "$1" >&3 && cat <&3' _ "$1"
else printf "%s\\n" "$1" | exec nc 127.0.0.1 {port}
fi
"""
"""Passes a line to HAProxy's runtime interface; its official images have bash, or BusyBox' nc."""


@dataclass(frozen=True, kw_only=True)
class _State:
    """What stands in HAProxy's files, and what it starts with."""

    fence: int = 0
    """The highest number of the ledger that was obeyed."""
    slots: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(SLOTS, ""))
    """Digests by slot."""
    slot: str = SLOTS[0]
    """The one that requests go to."""


@dataclass(kw_only=True)
class DockerTarget:
    """One environment on a Docker host."""

    settings: DockerTargetSettings
    name: str
    """What the names of its containers begin with, such as `ci-mlops-loans-production`."""
    docker: Docker
    """The daemon of the host."""
    builder: Docker
    """The daemon where images were built; it may be the same."""

    def live(self) -> Slot | None:
        """Return what HAProxy sends requests to; see `target.Target`."""
        try:
            told = requests.get(f"{self._front()}{LIVE}", timeout=10)
        except requests.RequestException:
            return None
        found = told.text.strip() if told.status_code == 200 else ""
        return Slot(digest=found, url=self._front()) if found.startswith("sha256:") else None

    def beside(self) -> Slot | None:
        """Return what HAProxy sends requests to at its own address, which compares like with like.

        Times of a candidate, which is asked without the proxy, are held against it.
        """
        live = self.live()
        container = self._running(live.digest) if live else None
        return Slot(digest=live.digest, url=self._url(container)) if live and container else live

    def start(self, digest: str, fence: int) -> Slot:
        """Start a container beside what is live; see `target.Target`."""
        with self._obeying(fence):
            found = self._running(digest)
            if found is None:
                live = self.live()
                kept = {digest, live.digest if live else ""}
                for other in self._containers():
                    if other.labels[DIGEST] not in kept:
                        self._end(other)
                found = self._started(digest)
            return Slot(digest=digest, url=self._url(found))

    def switch(self, digest: str, fence: int) -> Slot:
        """Let HAProxy send every request to a container; see `target.Target`."""
        with self._obeying(fence) as state:
            container = self._running(digest)
            if container is None:
                raise OutsideError(f"the container of {digest[:19]} does not run")
            live = self.live()
            before = next((s for s in SLOTS if live and state.slots[s] == live.digest), state.slot)
            slot = next((s for s in SLOTS if state.slots[s] == digest), _other(before))
            # The files first: whoever dies here, HAProxy starts again with what was meant.
            slots = {**state.slots, slot: digest}
            self._write(_State(fence=fence, slots=slots, slot=slot))
            self._tell(f"set server {slot}/one fqdn {self._name_of(digest)}")
            address = container.attrs["NetworkSettings"]["Networks"][self.name]["IPAddress"]
            self._wait(lambda: f" {address} " in self._tell(f"show servers state {slot}"), digest)
            self._tell(f"set map {FOLDER}/{MAP} slot {slot}")
            self._tell(f"set map {FOLDER}/{MAP} digest {digest}")
            self._wait(lambda: (self.live() or Slot(digest="", url="")).digest == digest, digest)
            return Slot(digest=digest, url=self._front())

    def _wait(self, is_so: Callable[[], bool], digest: str) -> None:
        deadline = time.monotonic() + SWITCH_WITHIN_S
        while not is_so():
            if time.monotonic() > deadline:
                said = self._proxy().logs(tail=3).decode("utf-8", "replace").strip()
                raise OutsideError(
                    f"HAProxy did not switch to {digest[:19]} within {SWITCH_WITHIN_S:g} s",
                    remedy=f"It printed: {said[-300:]}" if said else "",
                )
            time.sleep(POLL_S)

    def stop(self, digest: str, fence: int) -> None:
        """End a container, if it is there; see `target.Target`."""
        with self._obeying(fence):
            for one in self._containers():
                if one.labels[DIGEST] == digest:
                    self._end(one)

    def recorded(self, digest: str) -> Recorded:
        """Return the answers that were judged, which every image of ours carries.

        Raises OutsideError where the image cannot be had, or has none.
        """
        self._require_image(digest)
        return recorded.in_image(self.docker, digest)

    # --- containers -----------------------------------------------------------------------------

    def _containers(self) -> list[Any]:
        """Return the containers of all versions, also those that have ended."""
        labels = [f"{ENVIRONMENT}={self.name}", DIGEST]
        with _refused("the containers cannot be listed"):
            return list(self.docker.client.containers.list(all=True, filters={"label": labels}))

    def _running(self, digest: str) -> Any:
        """Return the container of a digest, or None where none runs."""
        for one in self._containers():
            if one.labels[DIGEST] == digest and one.status == "running":
                return one
        return None

    def _started(self, digest: str) -> Any:
        self._require_image(digest)
        name = self._name_of(digest)
        settings = self.settings
        port = f"{settings.container_port}/tcp"
        environment = {"CI_MLOPS_LOG": "-"} if settings.log_predictions else {}
        with _refused(f"{digest[:19]} cannot be started"):
            for one in self._containers():
                if one.labels[DIGEST] == digest:
                    one.remove(force=True)
            made = self.docker.client.containers.create(
                digest,
                name=name,
                network=self._network(),
                labels={ENVIRONMENT: self.name, DIGEST: digest},
                environment={**environment, **settings.environment},
                ports={port: (self.docker.binding, None)},
                restart_policy={"Name": "unless-stopped"},
                mem_limit=f"{settings.memory_mb}m" if settings.memory_mb else None,
                nano_cpus=round(settings.cpus * 1e9) if settings.cpus else None,
                **hardened(self.docker.image(digest).user),
            )
            made.start()
            made.reload()
        return made

    def _end(self, container: Any) -> None:
        with _refused(f"{container.name} cannot be ended"):
            container.stop(timeout=END_WITHIN_S)
            container.remove(force=True)

    def _name_of(self, digest: str) -> str:
        return f"{self.name}-{digest.removeprefix('sha256:')[:12]}"

    def _url(self, container: Any) -> str:
        container.reload()
        published = container.ports.get(f"{self.settings.container_port}/tcp")
        if not published:
            raise OutsideError(
                f"{container.name} ended at once: {container.logs(tail=1).decode().strip()[:300]}"
            )
        return f"http://{self.docker.host}:{published[0]['HostPort']}"

    def _require_image(self, digest: str) -> None:
        """See that the host has an image: its own, from the repository, or the builder's."""
        if self.docker.has(digest):
            return
        repository = self.settings.repository
        if repository is not None:
            tag = digest.removeprefix("sha256:")
            if self.builder.has(digest):
                self.builder.push(digest, repository, tag)
            self.docker.pull(repository, tag)
        elif self.builder.has(digest):
            self.docker.copy(digest, self.builder)
        if not self.docker.has(digest):
            raise OutsideError(
                f"the image {digest[:19]} is neither on the host nor where it can be had from",
                remedy="Name a `repository`, or run `ci-mlops run --no-cache`, which builds it",
            )

    def _network(self) -> str:
        client = self.docker.client
        if not client.networks.list(names=[f"^{self.name}$"]):
            client.networks.create(self.name, labels={ENVIRONMENT: self.name})
        return self.name

    # --- the proxy ------------------------------------------------------------------------------

    def _front(self) -> str:
        host = self.settings.host
        local = self.docker.host == "127.0.0.1"
        address = host if local and host != "0.0.0.0" else self.docker.host  # noqa: S104
        return f"http://{address}:{self.settings.port}"

    def _proxy(self) -> Any:
        """Return HAProxy's container, started if it is not."""
        from docker.errors import NotFound

        client, name = self.docker.client, f"{self.name}-proxy"
        with _refused("HAProxy cannot be started"):
            try:
                found = client.containers.get(name)
            except NotFound:
                found = client.containers.create(
                    self.docker.image(self.settings.proxy).digest,
                    entrypoint=["haproxy", "-W", "-db", "-f", f"{FOLDER}/{CONFIG}"],
                    command=[],
                    name=name,
                    network=self._network(),
                    labels={ENVIRONMENT: self.name},
                    ports={f"{FRONT_PORT}/tcp": (self.settings.host, self.settings.port)},
                    restart_policy={"Name": "unless-stopped"},
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                )
                found.put_archive(FOLDER, self._files(_State()))
            if found.status != "running":
                found.start()
                found.reload()
            return found

    def _tell(self, command: str) -> str:
        """Pass a command to HAProxy's runtime interface and return its answer."""
        script = TELL.format(port=ADMIN_PORT)
        with _refused("HAProxy cannot be told"):
            code, output = self._proxy().exec_run(["sh", "-c", script, "_", command])
        said = output.decode("utf-8", "replace").strip()
        if code:
            raise OutsideError(f"HAProxy cannot be told `{command}`: {said[-300:]}")
        return f" {said} "

    def _write(self, state: _State) -> None:
        with _refused("HAProxy's configuration cannot be written"):
            self._proxy().put_archive(FOLDER, self._files(state))

    def _files(self, state: _State) -> bytes:
        port = self.settings.container_port
        text = PROXY.format(
            state=json.dumps(asdict(state)),
            admin=ADMIN_PORT,
            port=FRONT_PORT,
            map=f"{FOLDER}/{MAP}",
            path=LIVE,
        )
        for slot, digest in state.slots.items():
            name = self._name_of(digest) if digest else NOBODY
            text += BACKEND.format(slot=slot, name=name, port=port)
        digest = state.slots[state.slot] or "nothing"
        return _archive({CONFIG: text, MAP: f"slot {state.slot}\ndigest {digest}\n"})

    def _state(self) -> _State:
        with _refused("HAProxy's configuration cannot be read"):
            pieces, _ = self._proxy().get_archive(f"{FOLDER}/{CONFIG}")
            first = _unpacked(b"".join(pieces)).partition("\n")[0]
        return _State(**json.loads(first.removeprefix("# ")))

    # --- one at a time --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _obeying(self, fence: int) -> Iterator[_State]:
        """Hold the host's lock, unless a later promotion was obeyed before."""
        with self._locked():
            state = self._state()
            if fence < state.fence:
                raise Overtaken(
                    f"entry {state.fence} of the ledger was obeyed before entry {fence}"
                )
            if fence != state.fence:
                state = replace(state, fence=fence)
                self._write(state)
            yield state

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the host's lock: a container that is never started, since its name is taken once."""
        from docker.errors import APIError, NotFound

        client, name = self.docker.client, f"{self.name}-lock"
        image = self.docker.image(self.settings.proxy).digest
        deadline = time.monotonic() + LOCK_WITHIN_S
        while True:
            try:
                held = client.containers.create(image, command=["true"], name=name)
                break
            except APIError as fault:
                if fault.status_code != 409 or time.monotonic() > deadline:
                    raise OutsideError(f"the lock {name} cannot be had: {fault}") from fault
            with contextlib.suppress(NotFound, APIError):
                other = client.containers.get(name)
                if _age_s(client, other) > ABANDONED_S:
                    other.remove(force=True)
            time.sleep(POLL_S)
        try:
            yield
        finally:
            with contextlib.suppress(NotFound):
                held.remove(force=True)


def _age_s(client: Any, container: Any) -> float:
    """Return how many seconds ago a container was made, by the host's own clock."""
    made, now = container.attrs["Created"], client.info()["SystemTime"]
    return (_time(now) - _time(made)).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(f"{text[:19]}+00:00")


def _other(slot: str) -> str:
    return next(one for one in SLOTS if one != slot)


def _archive(files: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in files.items():
            data = text.encode()
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def _unpacked(data: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        (member,) = tar.getmembers()
        file = tar.extractfile(member)
        return file.read().decode() if file else ""


@contextlib.contextmanager
def _refused(what: str) -> Iterator[None]:
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as fault:
        said = str(fault).splitlines()[0][:300]
        raise OutsideError(f"{what}: {said}", remedy="Look at the Docker daemon") from fault

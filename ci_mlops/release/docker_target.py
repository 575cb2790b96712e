"""One Docker host: a container for each digest, and HAProxy in front, which names the live one.

All state is on the host: containers carry their digest as a label, and HAProxy's configuration
carries the highest number of the ledger that was obeyed. A switch changes a map in the running
HAProxy: connections stay open, and each request goes where the map says. (A reload would close idle
connections, and lose a request that is sent at that moment.)

Whoever changes anything holds a lock in HAProxy's container, by a program there that ends when its
connection does: a promoter that is killed leaves nothing locked.
"""

import contextlib
import io
import json
import secrets
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import requests

from ci_mlops.containers import Docker, faults, first_line, hardened
from ci_mlops.errors import OutsideError
from ci_mlops.release import recorded
from ci_mlops.release.haproxy import (
    ADMIN_PORT,
    CONFIG,
    FOLDER,
    HOLD,
    MAP,
    NOT_IN_TIME,
    OVERTAKEN,
    WRITE,
)
from ci_mlops.release.settings import DockerTargetSettings
from ci_mlops.release.target import Overtaken, Slot
from ci_mlops.serving.bundle import Recorded

DIGEST, ENVIRONMENT = "io.ci-mlops.digest", "io.ci-mlops.environment"
LIVE = "/.ci-mlops/live"
"""Where HAProxy says which digest it sends requests to."""
FRONT_PORT = 8080
SLOTS = ("a", "b")
END_WITHIN_S = 45
SWITCH_WITHIN_S = 30.0
MISSING, CONFLICT = 404, 409
POLL_S = 0.05
TRIES = 20
"""How often something is done again that somebody else may undo at the same moment."""
NEVER = "0001-"
"""What Docker's time of a first start begins with before there was one."""

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
    http-request set-var(txn.percent) str(percent),map({map},0),add(0)
    use_backend %[str(other),map({map})] if {{ rand(100),sub(txn.percent) lt 0 }}
    use_backend %[str(slot),map({map})]
"""
BACKEND = """\
backend {slot}
    server one {name}:{port} resolvers docker resolve-prefer ipv4 init-addr none
"""
NOBODY = "nobody.invalid"


@dataclass(frozen=True, kw_only=True)
class _State:
    """What stands in HAProxy's files, and what it starts with."""

    fence: int = 0
    """The highest number of the ledger that was obeyed."""
    slots: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(SLOTS, ""))
    """Digests by slot."""
    slot: str = SLOTS[0]
    """The one that requests go to."""
    percent: int = 0
    """How many of a hundred go to the other one."""


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
    _recorded: dict[str, Recorded] = field(default_factory=dict)

    def live(self) -> Slot | None:
        """Return what HAProxy sends requests to; see `target.Target`."""
        try:
            told = requests.get(f"{self._front()}{LIVE}", timeout=10)
        except requests.RequestException:
            return None
        found = told.text.strip() if told.status_code == 200 else ""
        return Slot(digest=found, url=self._front()) if found.startswith("sha256:") else None

    def start(self, digest: str, fence: int) -> Slot:
        """Start a container beside what is live; see `target.Target`."""
        self._require_image(digest)  # it may take minutes, so nobody is kept waiting meanwhile
        with self._obeying(fence) as state:
            found = self._running(digest)
            if found is None:
                live = self.live()
                kept = {digest, live.digest if live else ""}
                kept |= {state.slots[_other(state.slot)]} if state.percent else set()
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
            slots = {**state.slots, slot: digest}
            # The files come first: whoever dies here, HAProxy starts again with what was meant.
            self._write(
                _State(fence=fence, slots=slots, slot=slot),
                (f"set map {FOLDER}/{MAP} percent 0", ""),
                *self._filled(slot, container),
                (f"set map {FOLDER}/{MAP} slot {slot}", ""),
                (f"set map {FOLDER}/{MAP} digest {digest}", ""),
                (f"show map {FOLDER}/{MAP}", f" slot {slot}"),
            )
            self._wait(lambda: (self.live() or Slot(digest="", url="")).digest == digest, digest)
            return Slot(digest=digest, url=self._front())

    def share(self, digest: str, percent: int, fence: int) -> int:
        """Let HAProxy send a part of the requests to a container; see `target.Sharing`."""
        with self._obeying(fence) as state:
            container, live = self._running(digest), self.live()
            if container is None or live is None or live.digest == digest:
                raise OutsideError(f"{digest[:19]} does not run beside something that is live")
            slot = next((s for s in SLOTS if state.slots[s] == live.digest), state.slot)
            other = _other(slot)
            slots = {slot: live.digest, other: digest}
            self._write(
                _State(fence=fence, slots=slots, slot=slot, percent=percent),
                (f"set map {FOLDER}/{MAP} percent 0", ""),
                *self._filled(other, container),
                (f"set map {FOLDER}/{MAP} other {other}", ""),
                (f"set map {FOLDER}/{MAP} percent {percent}", ""),
                (f"show map {FOLDER}/{MAP}", f" percent {percent}"),
            )
            return percent

    def own(self, digest: str) -> str:
        """Return where a container answers alone; see `target.Target`."""
        found = self._running(digest)
        return self._url(found) if found is not None else ""

    def _filled(self, slot: str, container: Any) -> tuple[tuple[str, str], ...]:
        """Return what HAProxy is told so that a slot is a container; no request may go there yet.

        The name is what HAProxy follows when a container comes back with another address; to be
        told the address as well spares waiting until it has asked for the name.
        """
        address = container.attrs["NetworkSettings"]["Networks"][self.name]["IPAddress"]
        return (
            (f"set server {slot}/one fqdn {container.name}", ""),
            (f"set server {slot}/one addr {address}", ""),
            (f"show servers state {slot}", f" {address} "),
        )

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
            for one in self._containers(f"{DIGEST}={digest}"):
                self._end(one)

    def restarts(self, digest: str) -> int:
        """Return how often the daemon has started a container again that had ended by itself."""
        found = self._running(digest)
        return int(found.attrs["RestartCount"]) if found is not None else 0

    def recorded(self, digest: str) -> Recorded:
        """Return the answers that were judged, which every image of ours carries.

        Raises OutsideError where the image cannot be had, or has none.
        """
        if digest not in self._recorded:
            self._require_image(digest)
            self._recorded[digest] = recorded.in_image(self.docker, digest)
        return self._recorded[digest]

    # --- containers -----------------------------------------------------------------------------

    def _containers(self, *more: str, **wanted: str) -> list[Any]:
        """Return the containers of all versions, also those that have ended."""
        labels = [f"{ENVIRONMENT}={self.name}", DIGEST, *more]
        with _refused("the containers cannot be listed"):
            found = self.docker.client.containers.list(
                all=True, filters={"label": labels, **wanted}, ignore_removed=True
            )
            return list(found)

    def _running(self, digest: str) -> Any:
        """Return the container of a digest, or None where none runs."""
        return next(iter(self._containers(f"{DIGEST}={digest}", status="running")), None)

    def _started(self, digest: str) -> Any:
        name = self._name_of(digest)
        settings = self.settings
        port = f"{settings.container_port}/tcp"
        environment = {"CI_MLOPS_LOG": "-"} if settings.log_predictions else {}
        with _refused(f"{digest[:19]} cannot be started"):
            for one in self._containers(f"{DIGEST}={digest}"):
                one.remove(force=True)
            made = self.docker.client.containers.create(
                digest,
                name=name,
                network=self._network(),
                labels={ENVIRONMENT: self.name, DIGEST: digest},
                environment={**environment, **settings.environment},
                ports={port: (self.docker.binding, None)},
                restart_policy={"Name": "unless-stopped"},
                mem_limit=1_000_000 * settings.memory_mb if settings.memory_mb else None,
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
        with _refused(f"{container.name} cannot be looked at"):
            container.reload()
            published = container.ports.get(f"{self.settings.container_port}/tcp")
            if not published:
                last = container.logs(tail=1).decode("utf-8", "replace").strip()[:300]
                raise OutsideError(f"{container.name} ended at once: {last}")
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
        """Return the id of the network, made if it is not there.

        Two who make it at the same moment get one each, of the same name: Docker's check for
        duplicates is no promise. Whoever sees another beside his own takes his own away.
        """
        from docker.errors import APIError

        networks = self.docker.client.networks
        for _ in range(TRIES):
            made = None
            if not networks.list(names=[f"^{self.name}$"]):
                try:
                    labels = {ENVIRONMENT: self.name}
                    made = networks.create(self.name, labels=labels, check_duplicate=True)
                except APIError as fault:
                    if fault.status_code != CONFLICT:
                        raise
            found = networks.list(names=[f"^{self.name}$"])
            if len(found) == 1:
                return str(found[0].id)
            if made is not None:
                with contextlib.suppress(APIError):  # somebody may use it already
                    made.remove()
            time.sleep(secrets.randbelow(500) / 1000)
        raise OutsideError(
            f"there are {len(found)} networks {self.name}, and not one",
            remedy=f"Remove all but one: docker network ls --filter name=^{self.name}$",
        )

    # --- the proxy ------------------------------------------------------------------------------

    def _front(self) -> str:
        host = self.settings.host
        local = self.docker.host == "127.0.0.1"
        address = host if local and host != "0.0.0.0" else self.docker.host  # noqa: S104
        return f"http://{address}:{self.settings.port}"

    def _proxy(self) -> Any:
        """Return HAProxy's container, started if it is not."""
        from docker.errors import NotFound

        name = f"{self.name}-proxy"
        with _refused("HAProxy cannot be started"):
            for _ in range(TRIES):
                try:
                    found = self.docker.client.containers.get(name)
                except NotFound:
                    self._make_proxy()
                    continue
                # Between two lines somebody else may remove it, or the network it was made for.
                with contextlib.suppress(NotFound):
                    if found.status != "running":
                        found.start()
                        found.reload()
                    return found
                with contextlib.suppress(NotFound):
                    found.reload()
                    if found.attrs["State"]["StartedAt"].startswith(NEVER):
                        found.remove(force=True)
                time.sleep(POLL_S)
        raise OutsideError(
            f"HAProxy cannot be started: {name} or its network is missing",
            remedy=f"If it stands there, remove the container {name}; then run it again",
        )

    def _make_proxy(self) -> None:
        """Make HAProxy's container, which gets its name when nothing is missing in it."""
        from docker.errors import APIError

        name = f"{self.name}-proxy"
        client = self.docker.client
        unfinished = {
            "label": f"{ENVIRONMENT}={self.name}",
            "name": f"{name}-",
            "status": "created",
        }
        for left in client.containers.list(all=True, filters=unfinished, ignore_removed=True):
            with contextlib.suppress(APIError):  # somebody else clears it away
                left.remove(force=True)
        made = client.containers.create(
            self.docker.image(self.settings.proxy).digest,
            entrypoint=["haproxy", "-W", "-db", "-f", f"{FOLDER}/{CONFIG}"],
            command=[],
            name=f"{name}-{secrets.token_hex(4)}",
            network=self._network(),
            labels={ENVIRONMENT: self.name},
            ports={f"{FRONT_PORT}/tcp": (self.settings.host, self.settings.port)},
            restart_policy={"Name": "unless-stopped"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
        )
        try:
            made.put_archive(FOLDER, _archive(self._files(_State())))
            made.rename(name)
        except APIError as fault:
            with contextlib.suppress(APIError):
                made.remove(force=True)
            # Somebody who began at the same moment was faster, or has cleared ours away.
            if fault.status_code not in {CONFLICT, MISSING}:
                raise

    def _run(self, script: str, *arguments: str) -> str:
        """Run a script in HAProxy's container, as the owner of its files."""
        with _refused("HAProxy cannot be told"):
            code, output = self._proxy().exec_run(
                ["sh", "-c", script, "_", *arguments], user="root"
            )
        said = output.decode("utf-8", "replace").strip()
        if code == OVERTAKEN:
            raise Overtaken("a later entry of the ledger was obeyed meanwhile")
        if code:
            raise OutsideError(f"HAProxy cannot be told: {said[-300:]}")
        return str(said)

    def _write(self, state: _State, *told: tuple[str, str]) -> None:
        """Write what HAProxy starts with, and tell it the same; see TELL."""
        files = self._files(state)
        words = [word for pair in told for word in pair]
        self._run(WRITE, str(state.fence), files[CONFIG], files[MAP], *words)

    def _files(self, state: _State) -> dict[str, str]:
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
        share = f"other {_other(state.slot)}\npercent {state.percent}\n"
        return {CONFIG: text, MAP: f"slot {state.slot}\ndigest {digest}\n{share}"}

    # --- one at a time --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _obeying(self, fence: int) -> Iterator[_State]:
        """Hold the host's lock, unless a later promotion was obeyed before."""
        with self._held(fence) as line:
            try:
                state = _State(**json.loads(line.removeprefix("# ")))
            except (ValueError, TypeError) as fault:
                raise OutsideError(
                    f"HAProxy's configuration cannot be read: {line[:100]!r}",
                    remedy=f"Remove the container {self.name}-proxy, and run it again",
                ) from fault
            if fence < state.fence:
                raise Overtaken(
                    f"entry {state.fence} of the ledger was obeyed before entry {fence}"
                )
            yield state

    @contextlib.contextmanager
    def _held(self, fence: int) -> Iterator[str]:
        """Hold the lock for as long as a connection is open; yield the line with the state.

        The connection ends with the process, so that nothing is left by who dies.
        """
        with contextlib.ExitStack() as stack:
            with _refused("HAProxy's lock cannot be had"):
                program = ["sh", "-c", HOLD, "_", str(fence)]
                session = self.docker.session(self._proxy(), program)
                line, code = stack.enter_context(session)
                if code is not None:
                    why = "somebody else holds it" if code == NOT_IN_TIME else line[-300:]
                    raise OutsideError(f"HAProxy's lock cannot be had: {why}")
            yield line


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


@contextlib.contextmanager
def _refused(what: str) -> Iterator[None]:
    try:
        yield
    except faults() as fault:
        said = first_line(fault)
        raise OutsideError(f"{what}: {said}", remedy="Look at the Docker daemon") from fault

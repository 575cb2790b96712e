"""The door to a Docker daemon: build an image, and run one by digest with nothing it may change."""

import contextlib
import io
import socket
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ci_mlops import layers
from ci_mlops.errors import CannotLook, OutsideError

UNPRIVILEGED = "65532:65532"
API_TIMEOUT_S = 900
PROCESSES = 512


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of a daemon."""

    digest: str
    """The digest of its configuration, which names all its bytes: `sha256:...`."""
    size_bytes: int
    user: str
    labels: Mapping[str, str]
    layers: tuple[str, ...]
    """The digests of its layers, uncompressed, the lowest first."""


class Container:
    """A container that runs a server."""

    def __init__(self, container: Any, *, host: str, port: int) -> None:
        """Take a started container of the docker SDK, whose server listens on `port`."""
        self._container = container
        container.reload()
        found = container.ports.get(f"{port}/tcp") or [{"HostPort": "0"}]
        self.url = f"http://{host}:{found[0]['HostPort']}"

    def runs(self) -> bool:
        """Whether it still runs."""
        self._container.reload()
        return bool(self._container.status in {"created", "running"})

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._container.kill("SIGTERM")

    def wait(self, within_s: float) -> int | None:
        """Return the exit code; None when it still runs after so long."""
        from requests.exceptions import RequestException

        try:
            return int(self._container.wait(timeout=within_s)["StatusCode"])
        except RequestException:
            return None

    def memory_bytes(self) -> int:
        """Memory that its processes hold, without the cache of files."""
        stats = self._container.client.api.stats(self._container.id, stream=False, one_shot=True)
        memory = stats["memory_stats"]
        details = memory.get("stats", {})
        cached = details.get("total_inactive_file", details.get("inactive_file", 0))
        return int(memory.get("usage", 0)) - int(cached)

    def last_line(self) -> str:
        """The last line that it printed."""
        text = self._container.logs(tail=20).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:500] if lines else "it printed nothing"


class Docker:
    """A Docker daemon."""

    how = "read-only, without capabilities"
    """How it runs an image."""

    def __init__(self, client: Any, host: str) -> None:
        """Take a client of the docker SDK; `host` is where published ports are reached."""
        self.client = client
        self.host = host
        self.binding = "127.0.0.1" if host == "127.0.0.1" else ""
        """The address of the host that a container's port is published at; empty for every one."""

    @classmethod
    @contextlib.contextmanager
    def connected(cls, environ: Mapping[str, str], daemon: str | None = None) -> Iterator["Docker"]:
        """Yield a daemon: the one that is named, else DOCKER_HOST's, else the local one.

        Raises OutsideError where none answers.
        """
        import docker
        from docker.errors import DockerException

        where = daemon or environ.get("DOCKER_HOST", "")
        ssh = where.startswith("ssh://")
        try:
            client = docker.from_env(
                environment={**environ, "DOCKER_HOST": where} if where else dict(environ),
                timeout=API_TIMEOUT_S,
                use_ssh_client=ssh,
            )
        except DockerException as fault:
            raise _unreachable(fault) from fault
        try:
            client.ping()
        except faults() as fault:
            client.close()
            raise _unreachable(fault) from fault
        remote = urlsplit(where)
        host = remote.hostname if remote.scheme in {"tcp", "ssh", "http", "https"} else None
        with contextlib.closing(client):
            yield cls(client, host or "127.0.0.1")

    def build(
        self,
        context: Path,
        *,
        dockerfile: str,
        target: str | None,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        epoch: int,
        fresh: bool = False,
    ) -> Image:
        """Build an image whose digest depends on its inputs alone: every time in it is `epoch`.

        `fresh` uses no layer of an earlier build. Raises CannotLook with the builder's last words.
        """
        from docker.errors import APIError, BuildError

        try:
            built, _ = self.client.images.build(
                path=str(context),
                dockerfile=dockerfile,
                target=target,
                buildargs=dict(arguments),
                labels=dict(labels),
                rm=True,
                forcerm=True,
                nocache=fresh,
            )
        except BuildError as fault:
            raise CannotLook(
                f"the image could not be built: {_last_words(fault)}", place=dockerfile
            ) from fault
        except (APIError, TypeError, OSError) as fault:
            said = str(fault).splitlines()[0][:500]
            raise CannotLook(f"the image could not be built: {said}", place=dockerfile) from fault
        timed = layers.with_times(built.save(), epoch=epoch, below=self._base(arguments))
        with timed as archive:
            (loaded,) = self.client.images.load(archive)
        return self.image(loaded.id)

    def _base(self, arguments: Mapping[str, str]) -> tuple[str, ...]:
        """Return the layers of the base image, which stay as they are."""
        try:
            return self.image(arguments["BASE"]).layers if "BASE" in arguments else ()
        except OutsideError:
            return ()

    def image(self, reference: str) -> Image:
        """Return an image that is here, or pull it. Raises OutsideError when there is none."""
        from docker.errors import APIError, ImageNotFound

        try:
            try:
                found = self.client.images.get(reference)
            except ImageNotFound:
                found = self.client.images.pull(reference)
        except APIError as fault:
            raise OutsideError(
                f"image {reference} is neither here nor in a registry: {fault.explanation}",
                remedy="Build it, or log in to its registry",
            ) from fault
        except faults() as fault:
            raise _unreachable(fault) from fault
        config = found.attrs["Config"]
        return Image(
            digest=found.id,
            size_bytes=int(found.attrs["Size"]),
            user=config.get("User") or "",
            labels=config.get("Labels") or {},
            layers=tuple(found.attrs["RootFS"].get("Layers") or ()),
        )

    @contextlib.contextmanager
    def running(
        self, image: Image, *, port: int, environ: Mapping[str, str] | None = None
    ) -> Iterator[Container]:
        """Run an image by its digest: file system read-only, no capability, no privilege.

        Raises CannotLook when it cannot be started; removes the container afterwards.
        """
        from docker.errors import APIError

        container = self.client.containers.create(
            image.digest,
            environment=dict(environ or {}),
            ports={f"{port}/tcp": (self.binding, None)},
            labels={"io.ci-mlops": "check"},
            **hardened(image.user),
        )
        try:
            try:
                container.start()
            except APIError as fault:
                raise CannotLook(f"the image cannot be started: {fault.explanation}") from fault
            yield Container(container, host=self.host, port=port)
        finally:
            container.remove(force=True)

    def has(self, digest: str) -> bool:
        """Whether an image is here. Raises OutsideError where the daemon does not say."""
        from docker.errors import ImageNotFound

        try:
            self.client.images.get(digest)
        except ImageNotFound:
            return False
        except faults() as fault:
            raise _unreachable(fault) from fault
        return True

    def push(self, digest: str, repository: str, tag: str) -> None:
        """Push an image. Raises OutsideError with what the registry says."""
        try:
            self.client.images.get(digest).tag(repository, tag)
            told = self.client.images.push(repository, tag, stream=True, decode=True)
            wrong = next((one["error"] for one in told if "error" in one), "")
        except faults() as fault:
            wrong = str(fault)
        if wrong:
            raise OutsideError(
                f"{repository}:{tag[:12]} cannot be pushed: {wrong.splitlines()[0][:300]}",
                remedy="Log in to the registry, or name another `repository`",
            )

    def pull(self, repository: str, tag: str) -> None:
        """Pull an image. Raises OutsideError with what the registry says."""
        try:
            self.client.images.pull(repository, tag=tag)
        except faults() as fault:
            said = str(fault).splitlines()[0][:300]
            raise OutsideError(
                f"{repository}:{tag[:12]} cannot be pulled: {said}",
                remedy="Log in to the registry on the host",
            ) from fault

    def manifest_digest(self, repository: str, tag: str) -> str:
        """Return the digest by which a registry knows an image. Raises OutsideError."""
        try:
            return str(self.client.images.get_registry_data(f"{repository}:{tag}").id)
        except faults() as fault:
            said = str(fault).splitlines()[0][:300]
            raise OutsideError(f"{repository}:{tag[:12]} is not in the registry: {said}") from fault

    def copy(self, digest: str, source: "Docker") -> None:
        """Take an image over from another daemon. Raises OutsideError."""
        try:
            with tempfile.TemporaryFile() as archive:
                for piece in source.client.images.get(digest).save():
                    archive.write(piece)
                archive.seek(0)
                self.client.images.load(archive)
        except faults() as fault:
            raise OutsideError(f"{digest[:19]} cannot be brought to the host: {fault}") from fault

    def file(self, digest: str, path: str) -> bytes:
        """Return a file of an image. Raises CannotLook where there is none, else OutsideError."""
        from docker.errors import DockerException

        try:
            container = self.client.containers.create(digest, command=["true"])
            try:
                pieces, _ = container.get_archive(path)
                with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
                    file = tar.extractfile(tar.getmembers()[0])
                    return file.read() if file else b""
            finally:
                container.remove(force=True)
        except DockerException as fault:
            raise CannotLook("is not in the image", place=path) from fault
        except faults() as fault:
            raise _unreachable(fault) from fault

    @contextlib.contextmanager
    def session(self, container: Any, program: Sequence[str]) -> Iterator[tuple[str, int | None]]:
        """Run a program in a container, as root, for as long as a connection is open.

        Yields its first line and None; its last words and its exit code where it ended without a
        line. Its input ends with the connection, and the connection with this process, however it
        ends. Raises what `faults` names.
        """
        from docker.utils.socket import frames_iter

        api = self.client.api
        made = api.exec_create(container.id, list(program), stdin=True, user="root")["Id"]
        held = api.exec_start(made, socket=True)
        try:
            said = {1: b"", 2: b""}
            for stream, piece in frames_iter(held, tty=False):
                said[stream] += piece
                if b"\n" in said[1]:
                    yield said[1].decode("utf-8", "replace").partition("\n")[0], None
                    return
            words = (said[2] or said[1]).decode("utf-8", "replace").strip()
            yield words, int(api.exec_inspect(made)["ExitCode"] or 0)
        finally:
            _hang_up(held)

    def remove(self, image: Image) -> None:
        """Remove an image, unless something still needs it."""
        from docker.errors import APIError

        with contextlib.suppress(APIError):
            self.client.images.remove(image.digest)

    def version(self) -> str:
        """The daemon's version."""
        return str(self.client.version()["Version"])


def hardened(user: str) -> dict[str, Any]:
    """Return how a server's container is confined: nothing to write but /tmp, no privilege."""
    return {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "user": UNPRIVILEGED if is_root(user) else user,
        "tmpfs": {"/tmp": "size=64m"},  # noqa: S108 - inside the container
        "pids_limit": PROCESSES,
    }


def faults() -> tuple[type[Exception], ...]:
    """Return what a call to a daemon may raise, also while the daemon goes down."""
    from docker.errors import DockerException
    from urllib3.exceptions import HTTPError

    return (DockerException, HTTPError, OSError)


def first_line(fault: Exception) -> str:
    """Return what a fault says, on one line."""
    lines = str(fault).splitlines()
    return lines[0][:300] if lines else type(fault).__name__


def _hang_up(held: Any) -> None:
    """End a connection that the SDK took over; it keeps what has to be closed to itself."""
    with contextlib.suppress(OSError, AttributeError):  # a pipe to ssh knows no shutdown
        getattr(held, "_sock", held).shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        getattr(held, "_response", held).close()


def is_root(user: str) -> bool:
    """Whether an image's `USER` is root, or none."""
    return user.partition(":")[0] in {"", "root", "0"}


def _unreachable(fault: Exception) -> OutsideError:
    return OutsideError(
        f"no Docker daemon answers: {first_line(fault)}",
        remedy="Start one, or name it in DOCKER_HOST",
    )


OF_THE_BUILDER = ("Step ", "--->", "Removing intermediate", "The command ")


def _last_words(fault: Any) -> str:
    """Return the last line that the failed step printed, or what the builder says of it."""
    lines = [
        line.strip()
        for entry in fault.build_log
        for line in str(entry.get("stream") or "").splitlines()
        if line.strip() and not line.strip().startswith(OF_THE_BUILDER)
    ]
    errors = [line for line in lines if line.startswith("ERROR")]
    said = str(fault.msg).splitlines()[0]
    last = (errors or lines)[-1:]
    # What is printed before a step of the builder's own, such as COPY, is of another step.
    return (f"{last[0]} ({said})" if last and said.startswith("The command") else said)[:500]

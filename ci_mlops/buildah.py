"""The door to buildah, where no Docker daemon answers: build an image, and run it in a chroot."""

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from ci_mlops.command import Commands
from ci_mlops.containers import UNPRIVILEGED, Image, is_root
from ci_mlops.errors import CannotLook, OutsideError

BUILD_TIMEOUT_S = 1800


class Chroot:
    """A server that buildah runs in a chroot, on the machine's own network."""

    def __init__(self, process: "subprocess.Popen[Any]", output: IO[bytes], port: int) -> None:
        """Take a started `buildah run` whose server listens on `port`."""
        self._process, self._output = process, output
        self.url = f"http://127.0.0.1:{port}"

    def runs(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def terminate(self) -> None:
        """Send SIGTERM to the server itself: buildah would not wait for it."""
        for one in self._servers():
            with contextlib.suppress(psutil.Error):
                one.terminate()

    def wait(self, within_s: float) -> int | None:
        """Return the exit code; None when it still runs after so long."""
        try:
            return int(self._process.wait(within_s))
        except subprocess.TimeoutExpired:
            return None

    def memory_bytes(self) -> int:
        """Memory that its processes hold."""
        total = 0
        for one in self._servers():
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
        return total

    def last_line(self) -> str:
        """The last line that it printed."""
        self._output.seek(0)
        text = self._output.read().decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:500] if lines else "it printed nothing"

    def _servers(self) -> list[psutil.Process]:
        """Return the processes inside the chroot: those that are not buildah's own."""
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
            return [one for one in family if "buildah" not in one.cmdline()[0]]
        except (psutil.Error, IndexError):
            return []


class Buildah:
    """The buildah of this machine."""

    how = "in a chroot, unprivileged"
    """How it runs an image; it can keep neither the file system nor capabilities from it."""

    def __init__(self, commands: Commands) -> None:
        """Take the door to programs."""
        self._commands = commands

    @classmethod
    def found(cls, commands: Commands) -> "Buildah | None":
        """Return it where it is installed."""
        there = shutil.which("buildah", path=commands.environ.get("PATH"))
        return cls(commands) if there else None

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
        """Build an image whose digest depends on its inputs alone, as `Docker.build` does.

        A layer that was kept would bring its own time and labels (buildah 1.28), so its time is
        always 1970, and labels and the time of the image are put on in a commit of their own.
        """
        flags = ["--no-cache"] if fresh else []
        flags += ["--target", target] if target else []
        for name, value in arguments.items():
            flags += ["--build-arg", f"{name}={value}"]
        with tempfile.NamedTemporaryFile() as file:
            done = self._commands.run(
                [
                    *("buildah", "bud", "--isolation", "chroot", "--layers"),
                    *("--timestamp", "0", "--iidfile", file.name),
                    *("--file", str(context / dockerfile), *flags, str(context)),
                ],
                cwd=context,
                timeout_s=BUILD_TIMEOUT_S,
            )
            if done.code or done.timed_out:
                raise CannotLook(
                    f"the image could not be built: {done.last_line()}", place=dockerfile
                )
            built = Path(file.name).read_text(encoding="utf-8").strip()
        return self.image(self._labelled(built, labels, epoch))

    def _labelled(self, built: str, labels: Mapping[str, str], epoch: int) -> str:
        container = self._ask("from", built).strip()
        try:
            flags = [part for name, v in labels.items() for part in ("--label", f"{name}={v}")]
            self._ask("config", *flags, container)
            return self._ask("commit", "--quiet", "--timestamp", str(epoch), container).strip()
        finally:
            self._ask("rm", container)

    def image(self, reference: str) -> Image:
        """Return an image that is here. Raises OutsideError when there is none."""
        told = json.loads(self._ask("inspect", "--type", "image", reference))
        described = told["OCIv1"]
        config = described.get("config") or {}
        digest = f"sha256:{told['FromImageID'].removeprefix('sha256:')}"
        return Image(
            digest=digest,
            size_bytes=self._size(digest),
            user=config.get("User") or "",
            labels=config.get("Labels") or {},
            layers=tuple(described["rootfs"].get("diff_ids") or ()),
        )

    def _size(self, digest: str) -> int:
        """Return the size as buildah lists it, three digits of it."""
        units = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
        listed = json.loads(self._ask("images", "--all", "--json"))
        for one in listed:
            if digest.removeprefix("sha256:").startswith(one["id"]):
                number, _, unit = one["size"].partition(" ")
                return round(float(number) * units[unit.upper()])
        raise OutsideError(f"buildah does not list the image {digest}")

    @contextlib.contextmanager
    def running(
        self, image: Image, *, port: int, environ: Mapping[str, str] | None = None
    ) -> Iterator[Chroot]:
        """Run an image by its digest in a chroot. Raises CannotLook when it cannot be started."""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise CannotLook(
                    f"port {port} of this machine is taken, and buildah gives an image no other",
                    remedy="Stop what listens there, or start a Docker daemon",
                )
        config = json.loads(self._ask("inspect", "--type", "image", image.digest))["OCIv1"][
            "config"
        ]
        command = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
        container = self._ask("from", image.digest).strip()
        flags = ["--user", UNPRIVILEGED if is_root(image.user) else image.user]
        for name, value in (environ or {}).items():
            flags += ["--env", f"{name}={value}"]
        with tempfile.TemporaryFile() as output:
            process = self._commands.start(
                ["buildah", "run", "--isolation", "chroot", *flags, container, "--", *command],
                cwd=Path("/"),
                stdout=output,
                stderr=output,
            )
            server = Chroot(process, output, port)
            try:
                yield server
            finally:
                for one in server._servers():  # noqa: SLF001 - the same module
                    with contextlib.suppress(psutil.Error):
                        one.kill()
                self._commands.end(process)
                self._ask("rm", container)

    def version(self) -> str:
        """Return its version."""
        return self._ask("version", "--json").partition('"version": "')[2].partition('"')[0]

    def _ask(self, *arguments: str) -> str:
        done = self._commands.run(["buildah", *arguments], cwd=Path("/"), timeout_s=120)
        if done.code:
            raise OutsideError(f"`buildah {arguments[0]}` failed: {done.last_line()}")
        return done.output

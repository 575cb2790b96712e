"""The embedded target: bundles served by processes of this host, with no daemon and no registry.

Every bundle that was released is kept below `folder`, so that any of them can be started again.
Clients use one address. Its listening socket is handed from one server process to the next while
both hold it, so no connection is refused in between.
"""

import contextlib
import fcntl
import json
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import write_atomically
from ci_mlops.release.settings import ProcessTargetSettings
from ci_mlops.release.target import Overtaken, Slot
from ci_mlops.serving import bundle, start, worker

START_WITHIN_S = 120.0
END_WITHIN_S = 45.0


@dataclass(kw_only=True)
class ProcessTarget:
    """One environment on this host; `folder` is its own."""

    settings: ProcessTargetSettings
    folder: Path
    bundles: Path
    """Where bundles that were just made are found, each in a folder by its digest."""
    flags: Sequence[str]
    """How the model is loaded, as `serving.start` says it."""
    commands: Commands

    def live(self) -> Slot | None:
        """Return what answers at the clients' address; see `target.Target`."""
        with self._locked():
            found = self._front()
        return Slot(digest=found, url=self._url(self.settings.port)) if found else None

    def start(self, digest: str, fence: int) -> Slot:
        """Start a bundle's server beside what is live; see `target.Target`."""
        with self._obeying(fence):
            told = self._told(digest)
            if told is None:
                front = self._front()
                for other in self._controls():
                    if other not in {front, digest}:
                        self._end(other)
                told = self._started(digest)
            return Slot(digest=digest, url=self._url(told["port"]))

    def switch(self, digest: str, fence: int) -> Slot:
        """Hand the clients' address to a server; see `target.Target`."""
        with self._obeying(fence):
            holders = [one for one in self._controls() if self._holds_front(one)]
            if digest not in holders:
                self._hand_over(holders[0] if holders else None, digest)
            for other in holders:
                if other != digest:
                    self._asked(other, "leave")
            return Slot(digest=digest, url=self._url(self.settings.port))

    def stop(self, digest: str, fence: int) -> None:
        """End a server, if it runs; see `target.Target`."""
        with self._obeying(fence):
            self._end(digest)

    def own(self, digest: str) -> str:
        """Return where a server answers alone; see `target.Target`."""
        told = self._told(digest)
        return self._url(told["port"]) if told is not None else ""

    # --- servers --------------------------------------------------------------------------------

    def _front(self) -> str | None:
        """Return the digest of the server that holds the clients' address."""
        return next((one for one in self._controls() if self._holds_front(one)), None)

    def _holds_front(self, digest: str) -> bool:
        told = self._told(digest)
        return told is not None and bool(told["front"])

    def _controls(self) -> list[str]:
        names = sorted((self.folder / "run").glob("*.sock"))
        digests = [f"sha256:{one.name}" for one in (self.folder / "bundles").glob("*")]
        return [one for one in digests if self._control(one) in names]

    def _control(self, digest: str) -> Path:
        return self.folder / "run" / f"{digest.removeprefix('sha256:')[:16]}.sock"

    def _told(self, digest: str) -> Mapping[str, Any] | None:
        """Return what a server says of itself; None where it does not run."""
        try:
            told, _ = worker.ask(self._control(digest), "tell")
        except (OSError, ValueError):
            return None
        return told if told.get("digest") == digest else None

    def _started(self, digest: str) -> Mapping[str, Any]:
        kept = self._kept(digest)
        control = self._control(digest)
        control.parent.mkdir(parents=True, exist_ok=True)
        control.parent.chmod(0o700)
        control.unlink(missing_ok=True)
        flags = [*self.flags, "--control", str(control)]
        if self.settings.log_predictions:
            flags += ["--log", str(self.folder / "predictions")]
            flags += [f"--log-without={one}" for one in self.settings.log_without]
        log = self.folder / f"{control.stem}.log"
        with log.open("wb") as printed:
            process = self.commands.start(
                start.command(kept, *flags),
                cwd=self.folder,
                stdout=printed,
                stderr=printed,
            )
        end = time.monotonic() + START_WITHIN_S
        while time.monotonic() < end and process.poll() is None:
            told = self._told(digest)
            if told is not None:
                self.commands.leave(process)
                return told
            time.sleep(0.05)
        self.commands.end(process)
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise OutsideError(
            f"the server of {digest[:19]} did not start: {lines[-1][:300] if lines else 'no word'}",
            remedy=f"Its output is in {log.name}",
        )

    def _kept(self, digest: str) -> Path:
        """Return the folder of a bundle that is kept here, taken in first if it is new."""
        name = digest.removeprefix("sha256:")
        kept = self.folder / "bundles" / name
        if not kept.exists():
            made = self.bundles / name
            if not made.is_dir():
                raise OutsideError(
                    f"the bundle {digest[:19]} is not on this host",
                    remedy="Run `ci-mlops run --no-cache` here, which makes it",
                )
            kept.parent.mkdir(parents=True, exist_ok=True)
            half = kept.parent / f".{name}"
            shutil.rmtree(half, ignore_errors=True)  # of somebody who was killed
            try:
                shutil.copytree(made, half)
            except OSError:
                shutil.rmtree(half, ignore_errors=True)
                raise
            half.rename(kept)
        if bundle.digest(kept) != digest:
            raise OutsideError(
                f"the bundle {digest[:19]} was changed on this host",
                place=str(kept),
                remedy="Remove it, and promote again",
            )
        return kept

    def _hand_over(self, front: str | None, digest: str) -> None:
        with contextlib.ExitStack() as stack:
            if front is None:
                try:
                    shared = worker.listen(self.settings.host, self.settings.port)
                except OSError as fault:
                    where = f"{self.settings.host}:{self.settings.port}"
                    raise OutsideError(
                        f"{where} cannot be listened on: {fault.strerror}",
                        remedy="Choose another `port`, or end what uses it",
                    ) from fault
            else:
                _, lent = self._asked(front, "lend")
                shared = socket.socket(fileno=lent[0])
            stack.enter_context(shared)
            self._asked(digest, "take", shared)

    def _asked(
        self, digest: str, operation: str, given: socket.socket | None = None
    ) -> tuple[Mapping[str, Any], list[int]]:
        try:
            return worker.ask(self._control(digest), operation, given)
        except (OSError, ValueError) as fault:
            raise OutsideError(
                f"the server of {digest[:19]} does not answer {operation!r}: {fault}"
            ) from fault

    def _end(self, digest: str) -> None:
        told = self._told(digest)
        control = self._control(digest)
        if told is not None:
            process = psutil.Process(told["pid"]) if psutil.pid_exists(told["pid"]) else None
            with contextlib.suppress(OutsideError):
                self._asked(digest, "stop")
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    process.wait(END_WITHIN_S)
                    process = None
                if process is not None and process.is_running():
                    process.kill()
        control.unlink(missing_ok=True)

    # --- one at a time --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as fault:
            # copytree gathers what went wrong, each with the words of the system last.
            said = fault.args[0][0][-1] if isinstance(fault, shutil.Error) else fault.strerror
            raise OutsideError(
                f"cannot be written: {str(said or fault).rpartition('] ')[2]}",
                place=str(self.folder),
                remedy="Make room, and run it again",
            ) from fault

    @contextlib.contextmanager
    def _obeying(self, fence: int) -> Iterator[None]:
        """Hold the host's lock, unless a later promotion was obeyed before."""
        path = self.folder / "fence.json"
        with self._locked():
            highest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else 0
            if fence < highest:
                raise Overtaken(f"entry {highest} of the ledger was obeyed before entry {fence}")
            if fence != highest:
                write_atomically(path, json.dumps(fence).encode())
            yield

    def _url(self, port: int) -> str:
        return f"http://{self.settings.host}:{port}"

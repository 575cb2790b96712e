"""The one door to other programs: run a command to its end, or start one and keep its pipes."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Self

from ci_mlops.errors import Interrupted, OutsideError

MAX_OUTPUT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a command ended; output is text, cut to its last `MAX_OUTPUT_BYTES`."""

    arguments: tuple[str, ...]
    code: int
    output: str
    errors: str
    seconds: float
    timed_out: bool = False

    def last_line(self) -> str:
        """The last line the command printed, its errors first; what a user most needs to see."""
        for text in (self.errors, self.output):
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if lines:
                return lines[-1][:500]
        return f"no output, exit code {self.code}"


@dataclass(kw_only=True)
class Commands:
    """Runs programs, each in a session of its own, and can stop every one of them."""

    environ: Mapping[str, str]
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def adding(self, env: Mapping[str, str]) -> Self:
        """Return the same door with more in its environment."""
        return replace(self, environ={**self.environ, **env})

    def run(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 600,
    ) -> Completed:
        """Run a command to its end; `env` adds to the environment.

        A command that outlives `timeout_s` is killed with all its children, and says so.
        Raises OutsideError when the program does not exist or cannot be started.
        """
        started = time.monotonic()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = self.start(arguments, cwd=cwd, env=env, stdout=output, stderr=errors)
            timed_out = False
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                self.end(process)
            return Completed(
                arguments=tuple(arguments),
                code=process.returncode,
                output=_tail(output),
                errors=_tail(errors),
                seconds=time.monotonic() - started,
                timed_out=timed_out,
            )

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
        stderr: IO[bytes] | int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[Any]:
        """Start a command in a session of its own; the caller ends it with `end`.

        Its standard input is empty. Raises OutsideError when it cannot be started.
        """
        with self._lock:
            if self._stopped.is_set():
                raise Interrupted("interrupted")
            try:
                process = subprocess.Popen(
                    list(arguments),
                    cwd=cwd,
                    env={**self.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=tuple(pass_fds),
                    start_new_session=True,
                )
            except OSError as fault:
                reason = fault.strerror or type(fault).__name__
                raise OutsideError(f"cannot run {arguments[0]!r}: {reason}") from fault
            self._running[process.pid] = process
        return process

    def end(self, process: subprocess.Popen[Any]) -> None:
        """Kill what is left of a started command's session and forget it."""
        _kill_session(process)
        process.wait()
        with self._lock:
            self._running.pop(process.pid, None)

    def leave(self, process: subprocess.Popen[Any]) -> None:
        """Let a started command live on when this process ends."""
        with self._lock:
            self._running.pop(process.pid, None)

    def stop_all(self) -> None:
        """Kill every running command and start no more; for Ctrl-C."""
        with self._lock:
            self._stopped.set()
            running = list(self._running.values())
        for process in running:
            _kill_session(process)


def _kill_session(process: subprocess.Popen[Any]) -> None:
    # A started command leads its own process group, so a child that it forked dies with it,
    # also after the command itself has ended.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_OUTPUT_BYTES))
    return file.read().decode("utf-8", "replace")

"""The model's process, seen from ours: every request has a deadline and a memory limit."""

import contextlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import psutil

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.model import wire
from ci_mlops.model.settings import ModelSettings

if TYPE_CHECKING:
    import pandas as pd

HOST = Path(__file__).with_name("host.py")
MAX_HEADER = 64 * 1024 * 1024
MAX_BODY = 2**31
POLL_S = 0.05
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """What a loaded model told about itself."""

    loader: str
    inputs: tuple[str, ...] | None
    """The columns that it expects, in order; None where it does not say."""
    classes: tuple[Any, ...] | None
    """The classes that its scores are for, in order; None where it does not say."""
    versions: Mapping[str, str]
    seconds: float
    """Time for loading, imports included."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A model's answer for n rows as it came: header and body."""

    header: Mapping[str, Any]
    body: bytes
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Times:
    """Nanoseconds of each call of predict, inside the model's process."""

    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]


class Refused(CannotLook):
    """The model's code raised, or its answer has a wrong form; its process can be asked again."""

    said: str = ""
    """What the model's code said: the type of the exception and its text."""
    shape: bool = False
    """Whether it answered, but not once for each row, or not with numbers or labels."""


class ModelProcess:
    """A child process of the project's interpreter that holds one model; a context manager."""

    def __init__(
        self,
        settings: ModelSettings,
        *,
        root: Path,
        commands: Commands,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare, but start nothing; `env` adds to the child's environment."""
        self.settings = settings
        self.root = root
        self.commands = commands
        self.env = dict(env or {})
        self.peak_memory_bytes = 0
        self._look_again = 0.0
        self.handshake: Handshake | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the process. Raises CannotLook when the interpreter is missing."""
        python = interpreter(self.settings, self.root)
        their_requests, self._requests = os.pipe()
        self._answers, their_answers = os.pipe()
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = self.commands.start(
                [str(python), str(HOST), str(their_requests), str(their_answers)],
                cwd=self.root,
                env={"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **self.env},
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=(their_requests, their_answers),
            )
        finally:
            os.close(their_requests)
            os.close(their_answers)
        os.set_blocking(self._requests, False)
        os.set_blocking(self._answers, False)
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process with all its children."""
        if self._process is not None:
            self.commands.end(self._process)
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                os.close(pipe)
        if self._errors is not None:
            self._errors.close()

    @property
    def pid(self) -> int:
        """The process's id, while it runs."""
        return self._process.pid if self._process else 0

    def load(self) -> Handshake:
        """Load the model. Raises CannotLook with the reason and the remedy."""
        path = str(self.root / (self.settings.path or ""))
        request = {"op": "load", "path": path, "loader": self.settings.loader}
        told, _ = self._ask("load", {**request, "task": self.settings.task})
        self.handshake = Handshake(
            loader=str(told["loader"]),
            inputs=None if told["inputs"] is None else tuple(told["inputs"]),
            classes=None if told["classes"] is None else tuple(told["classes"]),
            versions=told["versions"],
            seconds=float(told["seconds"]),
        )
        return self.handshake

    def predict(self, frame: "pd.DataFrame", *, watch: bool = False) -> Answer:
        """Ask about the rows of a frame. Raises CannotLook when there is no right answer.

        With `watch` the answer's header has `changed`: the columns of its input that the model
        changed, or None where nobody can tell.
        """
        header, body = wire.encode(frame)
        told, data = self._ask("predict", {"op": "predict", "watch": watch, **header}, body)
        return Answer(header=told, body=data, seconds=float(told["seconds"]))

    def answer(self, rows: Mapping[str, Any], body: bytes) -> tuple[Mapping[str, Any], bytes]:
        """Ask about rows that are in the wire's form already; the answer is in it too.

        Raises Refused where the model's code raised, CannotLook where its process ended.
        """
        return self._ask("predict", {"op": "predict", **rows}, body)

    def shap(self, frame: "pd.DataFrame") -> tuple[Mapping[str, float], str]:
        """Return each column's mean absolute SHAP value for the rows, and the package's version.

        Raises Refused where it is not installed, or knows no exact way for such a model.
        """
        header, body = wire.encode(frame)
        told, _ = self._ask("predict", {"op": "shap", **header}, body)
        return dict(zip(told["columns"], told["sizes"], strict=True)), str(told["version"])

    def keep_rows(self, frame: "pd.DataFrame") -> None:
        """Give the rows that `time` will ask about."""
        header, body = wire.encode(frame)
        self._ask("predict", {"op": "keep_rows", **header}, body)

    def freeze(self) -> None:
        """Collect garbage in the model's process once, and keep it out of later timings."""
        self._ask("predict", {"op": "freeze"})

    def time(self, calls: int) -> Times:
        """Call predict `calls` times on the kept rows, inside the model's process."""
        told, _ = self._ask("predict", {"op": "time", "calls": calls})
        return Times(wall_ns=tuple(told["wall_ns"]), cpu_ns=tuple(told["cpu_ns"]))

    def modules(self) -> list[str]:
        """Return the modules of shareable libraries that the loaded model needed."""
        told, _ = self._ask("load", {"op": "modules"})
        return [str(one) for one in told["modules"]]

    def preload(self, modules: Sequence[str]) -> bool:
        """Import libraries; return whether forks of the process are sound from then on."""
        told, _ = self._ask("load", {"op": "preload", "modules": list(modules)})
        return bool(told["sound"])

    def fork(self, settings: ModelSettings, *, root: Path) -> "ForkedProcess":
        """Return a process like this one, without the cost of its start, for another model."""
        return ForkedProcess(
            settings,
            root=root,
            commands=self.commands,
            parent=lambda request: self._ask("load", request)[0],
            errors=self._errors,
        )

    def _ask(
        self, doing: str, header: Mapping[str, Any], body: bytes = b""
    ) -> tuple[Mapping[str, Any], bytes]:
        deadline = time.monotonic() + self.settings.timeout_s
        text = json.dumps({**header, "body": len(body)}).encode()
        self._write(doing, struct.pack(">Q", len(text)) + text + body, deadline)
        size = struct.unpack(">Q", self._read(doing, 8, deadline))[0]
        if size > MAX_HEADER:
            raise self._fault(doing, f"answered with a header of {size} bytes")
        try:
            told = json.loads(self._read(doing, size, deadline))
            length = int(told["body"])
        except (ValueError, KeyError, TypeError) as fault:
            raise self._fault(doing, "answered something that is not the protocol") from fault
        if not 0 <= length <= MAX_BODY:
            raise self._fault(doing, f"answered with {length} bytes, more than {MAX_BODY}")
        data = self._read(doing, length, deadline)
        if not told.get("ok"):
            said, remedy = str(told.get("fault")), str(told.get("remedy") or "")
            plain = self._fault(doing, said, remedy)
            refused = Refused(plain.fault, place=plain.place, remedy=plain.remedy)
            refused.said, refused.shape = said, bool(told.get("shape"))
            raise refused
        return told, data

    def _write(self, doing: str, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            _, writable, _ = select.select([], [self._requests], [], POLL_S)
            self._watch(doing, deadline)
            if writable:
                try:
                    rest = rest[os.write(self._requests, rest) :]
                except BrokenPipeError as fault:
                    raise self._ended(doing) from fault

    def _read(self, doing: str, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size:
            readable, _, _ = select.select([self._answers], [], [], POLL_S)
            if not readable:
                self._watch(doing, deadline)
                # A child that outlived the process holds the pipe open, so its end never comes.
                if not self._runs():
                    raise self._ended(doing)
                continue
            piece = os.read(self._answers, min(size, 1 << 20))
            if not piece:
                raise self._ended(doing)
            parts.append(piece)
            size -= len(piece)
            self._watch(doing, deadline)
        return b"".join(parts)

    def _watch(self, doing: str, deadline: float) -> None:
        if time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + POLL_S
        used = self._memory()
        self.peak_memory_bytes = max(self.peak_memory_bytes, used)
        if used > self.settings.memory_mb * 1024 * 1024:
            raise self._fault(
                doing,
                f"used {used // 1024**2} MB of memory, more than {self.settings.memory_mb} MB",
                "Raise `model.memory_mb`, if the model really needs it",
            )
        if time.monotonic() > deadline:
            raise self._fault(
                doing,
                f"took longer than {self.settings.timeout_s:g} s",
                "Raise `model.timeout_s`, if the model really needs it",
            )

    def _runs(self) -> bool:
        return self._process is None or self._process.poll() is None

    def _memory(self) -> int:
        try:
            process = psutil.Process(self.pid)
            family = [process, *process.children(recursive=True)]
            return sum(member.memory_info().rss for member in family)
        except psutil.Error:
            return 0

    def _ended(self, doing: str) -> CannotLook:
        code = self._process.wait() if self._process else 0
        if code < 0:
            return self._fault(doing, f"was killed by {signal.Signals(-code).name}")
        return self._fault(doing, f"ended its process (exit code {code})")

    def _fault(self, doing: str, what: str, remedy: str = "") -> CannotLook:
        place = self.settings.path or "model"
        verb = "could not be loaded" if doing == "load" else "could not answer"
        last = self._last_words()
        said = f" (it printed: {last})" if last and last not in what else ""
        return CannotLook(f"the model {verb}: {what}{said}", place=place, remedy=remedy)

    def _last_words(self) -> str:
        if self._errors is None:
            return ""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4096))
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        kept = [line.strip() for line in lines if line.strip()]
        return kept[-1][:300] if kept else ""


class ForkedProcess(ModelProcess):
    """A fork of a process that has imported the libraries already; a context manager."""

    def __init__(
        self,
        settings: ModelSettings,
        *,
        root: Path,
        commands: Commands,
        parent: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        errors: IO[bytes] | None,
    ) -> None:
        """Prepare, but start nothing; `parent` asks the process that forks."""
        super().__init__(settings, root=root, commands=commands)
        self._parent = parent
        self._errors = errors
        self._pid = 0

    def __enter__(self) -> Self:
        """Fork. Raises CannotLook when the parent has ended."""
        with tempfile.TemporaryDirectory(prefix="ci-mlops-") as folder:
            names = {name: f"{folder}/{name}" for name in ("requests", "answers")}
            for name in names.values():
                os.mkfifo(name, mode=0o600)
            # For reading and writing, so that opening waits for nobody.
            self._requests, self._answers = (
                os.open(name, os.O_RDWR | os.O_NONBLOCK) for name in names.values()
            )
            try:
                told = self._parent({"op": "fork", "root": str(self.root), **names})
                self._pid = int(told["pid"])
                self.freeze()  # it answers, so it holds both ends
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process with all its children."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid) if self.pid else None
            for one in (*process.children(recursive=True), process) if process else ():
                with contextlib.suppress(psutil.Error):
                    one.kill()
        self._errors = None  # the parent's
        super().__exit__()

    @property
    def pid(self) -> int:
        """The process's id, 0 before it runs."""
        return self._pid

    def _runs(self) -> bool:
        return psutil.pid_exists(self.pid)

    def _ended(self, doing: str) -> CannotLook:
        return self._fault(doing, "ended its process")


def interpreter(settings: ModelSettings, root: Path) -> Path:
    """Return the interpreter that can load the model. Raises CannotLook when it is missing."""
    if settings.python is None:
        return Path(sys.executable)
    if "/" in settings.python:
        # Not resolved: a virtual environment's python is a link that must be called by its name.
        found = root / settings.python
    else:
        found = Path(shutil.which(settings.python) or root / settings.python)
    if not found.exists():
        raise CannotLook(
            f"the interpreter {settings.python} is missing",
            place="model.python",
            remedy="Create the project's environment first, or name another interpreter",
        )
    return found

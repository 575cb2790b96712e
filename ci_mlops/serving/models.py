"""The model behind a server: in a process of the project's own interpreter, asked over a pipe."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.model.process import ModelProcess, Refused
from ci_mlops.model.settings import ModelSettings
from ci_mlops.serving.app import ModelFailed
from ci_mlops.serving.rows import Body


class Piped:
    """A model in a process of its own; started anew when it ends on the way.

    It answers one request after the other: a model has one process, and libraries their threads.
    """

    def __init__(self, settings: ModelSettings, *, root: Path, commands: Commands) -> None:
        """Start the process and load the model. Raises CannotLook."""
        self._start: Callable[[], ModelProcess] = lambda: ModelProcess(
            settings, root=root, commands=commands
        )
        self._one = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._process: ModelProcess | None = self._one.submit(self._started).result()

    async def answer(self, body: Body) -> Body:
        """Return the answer for rows. Raises ModelFailed."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._one, self._answered, body)

    def memory_bytes(self) -> float:
        """Return what the process holds; nothing while it is started anew."""
        process = self._process
        try:
            return float(psutil.Process(process.pid).memory_info().rss) if process else 0.0
        except psutil.Error:
            return 0.0

    def close(self) -> None:
        """End the process."""
        self._one.submit(self._ended).result()
        self._one.shutdown()

    def _answered(self, body: Body) -> Body:
        try:
            self._process = self._process or self._started()
            header, data = self._process.answer(*body)
        except Refused as fault:
            raise ModelFailed(f"the model raised {fault.said.partition(':')[0]}") from fault
        except CannotLook as fault:
            self._ended()
            raise ModelFailed("the model's process ended; it is started again") from fault
        return dict(header), data

    def _started(self) -> ModelProcess:
        process = self._start().__enter__()
        try:
            process.load()
        except BaseException:
            process.__exit__()
            raise
        return process

    def _ended(self) -> None:
        if self._process is not None:
            self._process.__exit__()
            self._process = None

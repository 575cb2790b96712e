"""The model behind a server, in the server's own process: an image has one environment for both."""

import asyncio
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ci_mlops.errors import CannotLook
from ci_mlops.model import host
from ci_mlops.serving.app import ModelFailed
from ci_mlops.serving.bundle import Serve
from ci_mlops.serving.rows import Body

SLOW_S = 0.005
"""A model whose last answer took longer is asked in a thread, so that health stays answered."""


class Loaded:
    """A bundle's model in this process, whose working directory becomes `root`, the code."""

    def __init__(self, serve: Serve, *, root: Path) -> None:
        """Load the model. Raises CannotLook."""
        os.chdir(root)
        sys.path.insert(0, str(Path.cwd()))
        self._host = host.Host()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._in_thread = 0
        self._last_s = 0.0
        path = f"../{serve.model}"
        wanted = {"path": path, "loader": serve.loader, "task": serve.signature.task}
        try:
            self._host.load(wanted, b"")
        except host.Refusal as fault:
            raise CannotLook(fault.fault, place=serve.model, remedy=fault.remedy) from fault
        except Exception as fault:
            said = f"could not be loaded: {type(fault).__name__}: {fault}"
            raise CannotLook(said, place=serve.model) from fault

    async def answer(self, body: Body) -> Body:
        """Return the answer for rows. Raises ModelFailed."""
        # A call that goes on in the thread must not meet another one here.
        if self._last_s < SLOW_S and not self._in_thread:
            return self._answered(body)
        self._in_thread += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._answered, body)
        finally:
            self._in_thread -= 1

    def _answered(self, body: Body) -> Body:
        started = time.perf_counter()
        try:
            header, data = self._host.predict(*body)
        except Exception as fault:
            raise ModelFailed(f"the model raised {type(fault).__name__}") from fault
        finally:
            self._last_s = time.perf_counter() - started
        return header, data

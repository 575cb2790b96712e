"""One server process: its own address, and the clients' address while it is lent to it.

The process listens on a port of its own. Whoever holds its control socket (a Unix socket in a
folder that only its user may enter) hands it the listening socket of the clients' address, or takes
that away again. Two processes may hold it at once, so no connection is refused while one follows
another. Messages are one line of JSON; file descriptors travel beside them.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ci_mlops.serving.app import Service, application

BACKLOG = 1024
LINGER_S = 2.0
"""How long a process that clients reach still answers when it is told to end, so that whoever sends
it requests can notice."""
DRAIN_S = 30.0
"""How long it then waits for answers that are on their way."""
MAX_LINE = 4096


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a path to a socket a name of few bytes: 107 is all that an address holds (unix(7))."""
    if not Path("/proc/self/fd").exists():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one. Raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen(BACKLOG)
    made.setblocking(False)
    return made


def serve(
    service: Service,
    own: socket.socket,
    control: Path | None,
    begun: Callable[[], None],
    *,
    linger_s: float = LINGER_S,
) -> None:
    """Answer until SIGTERM, SIGINT or the control socket says to stop; then drain, and return.

    `begun` is called when all of them work.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Worker(service, own, control, begun, linger_s).run())


class _Worker:
    def __init__(
        self,
        service: Service,
        own: socket.socket,
        control: Path | None,
        begun: Callable[[], None],
        linger_s: float,
    ) -> None:
        self.begun = begun
        self.linger_s = linger_s
        self.service = service
        self.own = own
        self.control = control
        self.front: socket.socket | None = None
        self.state = ServerState()
        self.servers: dict[str, asyncio.Server] = {}
        self.config = uvicorn.Config(
            application(service),
            http="httptools",
            lifespan="off",
            log_level="warning",
            access_log=False,
            date_header=False,
        )

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self.config.load()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.stopped.set)
        self.servers["own"] = await self._accept(self.own)
        if self.control is not None:
            listening = _control_socket(self.control)
            threading.Thread(target=self._obey, args=(listening,), daemon=True).start()
        self.begun()
        await self.stopped.wait()
        await self._drain()

    async def _accept(self, listening: socket.socket) -> asyncio.Server:
        def protocol() -> HttpToolsProtocol:
            return HttpToolsProtocol(config=self.config, server_state=self.state, app_state={})

        return await self.loop.create_server(protocol, sock=listening)

    async def _drain(self) -> None:
        self.service.draining = self.service.closing = True
        if self.control is None or self.front is not None:
            await asyncio.sleep(self.linger_s)
        for server in self.servers.values():
            server.close()
        for connection in list(self.state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self.state.connections:  # noqa: ASYNC110 - uvicorn tells nobody
                    await asyncio.sleep(0.02)
        if self.service.prediction_log is not None:
            self.service.prediction_log.close()

    # --- the control socket ---------------------------------------------------------------------

    def _obey(self, listening: socket.socket) -> None:
        with listening:
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError, ValueError, KeyError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        line, given, _, _ = socket.recv_fds(connection, MAX_LINE, 1)
        operation: Callable[[list[int]], Any] = getattr(self, f"_{json.loads(line)['op']}")
        done = asyncio.run_coroutine_threadsafe(operation(given), self.loop)
        told, lent = done.result(timeout=60)
        socket.send_fds(connection, [json.dumps(told).encode()], lent)

    async def _tell(self, _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Say who this is."""
        told = {"digest": self.service.digest, "port": self.own.getsockname()[1]}
        return {**told, "pid": os.getpid(), "front": self.front is not None}, []

    async def _lend(self, _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Lend the clients' listening socket to somebody who hands it on."""
        return {}, [] if self.front is None else [self.front.fileno()]

    async def _take(self, given: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Answer at the clients' address from now on."""
        if self.front is None:
            self.front = socket.socket(fileno=given[0])
            self.front.setblocking(False)
            # A copy of its own to hand on: the server closes the one that it listens with.
            self.servers["front"] = await self._accept(self.front.dup())
        else:
            os.close(given[0])
        self.service.closing = False
        return {}, []

    async def _leave(self, _: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Answer there no more, but still at the own address."""
        if self.front is not None:
            self.service.closing = True
            self.servers.pop("front").close()
            self.front.close()
            self.front = None
        return {}, []

    async def _stop(self, _: list[int]) -> tuple[dict[str, Any], list[int]]:
        self.stopped.set()
        return {}, []


def _control_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(path) as name:
        made.bind(name)
    made.listen(8)
    return made


def ask(
    control: Path, operation: str, given: socket.socket | None = None
) -> tuple[dict[str, Any], list[int]]:
    """Ask a server process over its control socket; return its answer and what it lent.

    Raises OSError where nobody answers there any more.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.settimeout(60)
        with _short(control) as name:
            made.connect(name)
        line = json.dumps({"op": operation}).encode()
        socket.send_fds(made, [line], [given.fileno()] if given else [])
        answer, lent, _, _ = socket.recv_fds(made, MAX_LINE, 1)
    if not answer:
        raise ConnectionError(f"no answer to {operation}")
    told: dict[str, Any] = json.loads(answer)
    return told, list(lent)

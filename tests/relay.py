"""A unix socket before another one, which a test may cut: connections end, and none are taken."""

import contextlib
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import Self

PIECE = 65536


class Relay:
    """Passes bytes to a server's socket and back."""

    def __init__(self, server: str) -> None:
        self.server = server
        # A socket's path may not be longer than a hundred letters, as a test's folder often is.
        self.folder = Path(tempfile.mkdtemp(prefix="relay-"))
        self.path = self.folder / "r.sock"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Take connections."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path))
        listening.listen()
        self._open = [listening]
        self._run(self._accept, listening)

    def cut(self) -> None:
        """End every connection, also in the middle of an answer, and take no more."""
        self.path.unlink(missing_ok=True)
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()
        self._open, self._threads = [], []

    def _run(self, what: object, *given: socket.socket) -> None:
        thread = threading.Thread(target=what, args=given)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.socket(socket.AF_UNIX)
                self._open += [client, server]
                server.connect(self.server)
                self._run(self._pump, client, server)
                self._run(self._pump, server, client)

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        shutil.rmtree(self.folder)

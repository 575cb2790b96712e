"""A real git server on loopback, which a test may stop and start again."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self


class GitDaemon:
    """Serves a repository, for writing too."""

    def __init__(self, repository: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.repository = repository
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"git://127.0.0.1:{self.port}/{self.repository.name}"

    def start(self) -> None:
        folder = self.repository.parent
        self.process = subprocess.Popen(
            [
                *("git", "daemon", "--export-all", "--enable=receive-pack", "--reuseaddr"),
                *("--listen=127.0.0.1", f"--port={self.port}", f"--base-path={folder}"),
                str(folder),
            ],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(400):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(self.url)

    def stop(self) -> None:
        """Kill it, with what it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

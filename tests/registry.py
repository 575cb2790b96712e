"""Debian's docker-registry on loopback."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.unit.serving.test_conformance import free_port


@dataclass(frozen=True, kw_only=True)
class Served:
    """A registry that runs."""

    host: str
    process: subprocess.Popen[bytes]

    @property
    def repository(self) -> str:
        """The address of a repository in it."""
        return f"{self.host}/team/twice"


@contextlib.contextmanager
def serving(folder: Path, *, auth: str = "") -> Iterator[Served]:
    """Run a registry that keeps what it has below a folder; `auth` is a line of its settings."""
    host = f"127.0.0.1:{free_port()}"
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/kept}}}}\n"
        f"http: {{addr: {host}}}\n{auth}",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if requests.get(f"http://{host}/v2/", timeout=1).status_code in {200, 401}:
                    break
            except requests.RequestException:
                time.sleep(0.05)
        yield Served(host=host, process=process)
    finally:
        process.terminate()
        process.wait()

"""Debian's docker-registry on loopback."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from tests.unit.serving.test_conformance import free_port


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run a registry that keeps what it has below a folder; yield a repository's address."""
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/kept}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                requests.get(f"{url}/v2/", timeout=1).raise_for_status()
                break
            except requests.RequestException:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}/team/twice"
    finally:
        process.terminate()
        process.wait()

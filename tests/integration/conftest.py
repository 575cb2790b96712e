"""Images and a registry that several tests of releases share."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from ci_mlops.containers import Docker
from tests.unit.serving.test_conformance import FOREIGN, RECORDED, free_port

OWN = """\
ARG BASE
FROM ${BASE}
COPY foreign_server.py recorded.json /srv/bundle/
RUN sed -i s/127.0.0.1/0.0.0.0/ /srv/bundle/foreign_server.py
ENV VERSION=VERSION_OF
USER 1000
ENTRYPOINT ["python3", "/srv/bundle/foreign_server.py", "9000"]
"""


@pytest.fixture(scope="session", name="images")
def _images(serving_base: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    shutil.copyfile(FOREIGN, folder / "foreign_server.py")
    (folder / "recorded.json").write_text(RECORDED.model_dump_json(), encoding="utf-8")
    made = []
    with Docker.connected(os.environ) as daemon:
        for version in ("1", "2"):
            text = OWN.replace("VERSION_OF", version)
            (folder / "Dockerfile").write_text(text, encoding="utf-8")
            made.append(
                daemon.build(
                    folder,
                    dockerfile="Dockerfile",
                    target=None,
                    arguments={"BASE": serving_base},
                    labels={},
                    epoch=0,
                ).digest
            )
    return made


@pytest.fixture(name="registry", scope="session")
def _registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield a repository of Debian's docker-registry on loopback."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield f"{host}/team/twice"


@contextmanager
def docker_registry(folder: Path, auth: str = "") -> Iterator[str]:
    """Yield the host of Debian's docker-registry on loopback; `auth` is a line of its settings."""
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/kept}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n{auth}",
        encoding="utf-8",
    )
    if shutil.which("docker-registry") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no docker-registry")
        pytest.skip("docker-registry is not installed")
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
                if requests.get(f"{url}/v2/", timeout=1).status_code in {200, 401}:
                    break
            except requests.RequestException:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()

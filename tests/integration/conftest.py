"""Images and a registry that several tests of releases share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_mlops.containers import Docker
from tests import registry
from tests.unit.serving.test_conformance import FOREIGN, RECORDED

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
    return _built(tmp_path_factory.mktemp("images"), serving_base, {"1": "", "2": ""})


@pytest.fixture(scope="session", name="other_image")
def _other_image(serving_base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an image whose server predicts something else than it recorded."""
    fault = ', "other predictions"'
    return _built(tmp_path_factory.mktemp("images"), serving_base, {"3": fault})[0]


def _built(folder: Path, serving_base: str, faults: dict[str, str]) -> list[str]:
    shutil.copyfile(FOREIGN, folder / "foreign_server.py")
    (folder / "recorded.json").write_text(RECORDED.model_dump_json(), encoding="utf-8")
    made = []
    with Docker.connected(os.environ) as daemon:
        for version, fault in faults.items():
            text = OWN.replace("VERSION_OF", version).replace('"9000"', f'"9000"{fault}')
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
    """Yield the address of a repository in Debian's docker-registry on loopback."""
    if shutil.which("docker-registry") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no docker-registry")
        pytest.skip("docker-registry is not installed")
    with registry.serving(tmp_path_factory.mktemp("registry")) as served:
        yield served.repository

"""Images built and run by a real buildah, where no Docker daemon answers."""

import os
import subprocess
from pathlib import Path

import pytest

from ci_mlops.buildah import Buildah
from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook, OutsideError
from ci_mlops.serving import in_image
from tests.conftest import BASE_IMAGE
from tests.unit.serving.test_conformance import FOREIGN, RECORDED

DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY foreign_server.py /srv/foreign_server.py
USER 1000
ENTRYPOINT ["python3", "/srv/foreign_server.py", "19873"]
"""
PORT = 19873


@pytest.fixture
def buildah(commands: Commands, serving_base: str, tmp_path: Path) -> Buildah:
    """Return the buildah of this machine, which has the base image; skips where there is none."""
    found = Buildah.found(commands)
    if found is None or os.getuid() != 0:
        if os.environ.get("CI") == "true" and found is None:
            pytest.fail("CI has no buildah")
        pytest.skip("there is no buildah, or it is not root's")
    try:
        found.image(BASE_IMAGE)
    except OutsideError:
        archive = tmp_path / "base.tar"
        subprocess.run(["docker", "save", "-o", str(archive), serving_base], check=True)
        subprocess.run(["buildah", "pull", "-q", f"docker-archive:{archive}"], check=True)
    return found


def test_it_builds_reproducibly_and_asks_the_server(
    buildah: Buildah, tmp_path: Path, serving_base: str
) -> None:
    (tmp_path / "foreign_server.py").write_text(FOREIGN.read_text(encoding="utf-8"))
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    built = [
        buildah.build(
            tmp_path,
            dockerfile="Dockerfile",
            target=None,
            arguments={"BASE": serving_base},
            labels={"commit": commit},
            epoch=1_700_000_000,
            fresh=fresh,
        )
        for commit, fresh in (("a", False), ("b", False), ("a", True))
    ]
    assert built[0].digest == built[2].digest != built[1].digest
    assert [one.labels["commit"] for one in built] == ["a", "b", "a"]
    found = in_image.look(
        buildah,
        built[0],
        port=PORT,
        ready_within_s=20,
        model="twice",
        recorded=RECORDED,
        tolerance=0,
    )
    assert [one.message for one in found.checks if one.outcome != "passed"] == []
    assert "in a chroot, unprivileged" in found.checks[1].message
    assert found.memory_bytes is not None
    assert found.memory_bytes > 5_000_000
    assert found.image.size_bytes > 50_000_000


def test_a_build_that_fails_says_where(buildah: Buildah, tmp_path: Path, serving_base: str) -> None:
    (tmp_path / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY gone.txt /\n")
    with pytest.raises(CannotLook, match=r"could not be built: .*gone.txt"):
        buildah.build(
            tmp_path,
            dockerfile="Dockerfile",
            target=None,
            arguments={"BASE": serving_base},
            labels={},
            epoch=0,
        )
    with pytest.raises(OutsideError, match="`buildah inspect` failed"):
        buildah.image("localhost/nothing:here")
    assert buildah.version()

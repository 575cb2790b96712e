"""Faulty versions on a real Docker host: before the switch, and while they are held after it."""

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.release.docker_target import DockerTarget
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.promote import Ended, Release
from ci_mlops.release.settings import DockerTargetSettings, VerifySettings
from ci_mlops.release.target import beside
from ci_mlops.release.verify import Verifier
from tests.conftest import BASE_IMAGE
from tests.integration.test_docker_target import host
from tests.unit.release.file_target import intent
from tests.unit.serving.test_conformance import FOREIGN, RECORDED, free_port

NAME = "ci-mlops-test-hold"
DOCKERFILE = """\
ARG BASE
FROM ${{BASE}}
COPY foreign_server.py recorded.json /srv/bundle/
ENV VERSION=held-{version}
USER 1000
ENTRYPOINT ["python3", "/srv/bundle/foreign_server.py", "9000", "{fault}"]
"""
# It has to be verified within the 20 s after which one of them ends, on a machine that is busy.
SETTINGS = VerifySettings(requests=20, max_slowdown_percent=None)
MANY = VerifySettings(requests=300, max_slowdown_percent=None)


def built(docker: Docker, folder: Path, version: int, fault: str) -> str:
    """Build an image whose server has a fault; return its digest."""
    made = folder / f"image-{version}"
    made.mkdir()
    text = FOREIGN.read_text(encoding="utf-8").replace("127.0.0.1", "0.0.0.0")
    (made / "foreign_server.py").write_text(text, encoding="utf-8")
    (made / "recorded.json").write_text(RECORDED.model_dump_json(), encoding="utf-8")
    text = DOCKERFILE.format(version=version, fault=fault)
    (made / "Dockerfile").write_text(text, encoding="utf-8")
    given: dict[str, Any] = {"target": None, "labels": {}, "epoch": 0}
    arguments = {"BASE": BASE_IMAGE}
    return docker.build(made, dockerfile="Dockerfile", arguments=arguments, **given).digest


@pytest.fixture
def docker(serving_base: str) -> Iterator[Docker]:
    with host(NAME) as daemon:
        yield daemon


def test_faulty_versions_are_taken_back_and_sound_ones_held(
    docker: Docker, proxy_image: str, tmp_path: Path, commands: Commands
) -> None:
    settings = DockerTargetSettings(
        target="docker", port=free_port(), proxy=proxy_image, container_port=9000
    )
    target = DockerTarget(settings=settings, name=NAME, docker=docker, builder=docker)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    with ledger_at(str(tmp_path / "remote.git"), commands) as ledger:

        def promoted(version: int, fault: str, verify: VerifySettings, hold_s: float) -> Ended:
            looks = Verifier(
                settings=verify,
                model="twice",
                recorded=target.recorded,
                live=functools.partial(beside, target),
                hold_s=hold_s,
                restarts=target.restarts,
            )
            release = Release(ledger=ledger, target=target, verify=looks, holds=hold_s > 0)
            wanted = intent(f"p{version}", "0").model_copy(
                update={"to": built(docker, tmp_path, version, fault)}
            )
            return release.promote(wanted, is_older=lambda _: False)

        first = promoted(0, "", SETTINGS, 2)
        assert first.kind == "promoted", first.written.entry.reason
        other = promoted(1, "other predictions", SETTINGS, 0)
        failing = promoted(2, "fails 2 %", MANY, 0)
        exits = promoted(3, "exits after a while", SETTINGS, 120)
        found = target.live()
    assert [one.kind for one in (other, failing, exits)] == ["rolled_back"] * 3
    assert other.written.entry.reason.startswith("2 of 2 recorded rows got another answer")
    assert "no right answer, first: 500, the disk is full" in failing.written.entry.reason
    assert any(check.slice == "during the hold" for check in exits.checks)
    assert exits.checks[-1].name == "way-back"
    assert found is not None
    assert found.digest == first.written.entry.to

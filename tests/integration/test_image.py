"""Images built by a real Docker daemon: ours and the project's own, right and wrong."""

import json
import os
import re
from pathlib import Path

import pytest

from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.errors import CannotLook, OutsideError
from tests.conftest import Repo
from tests.project import ci_mlops
from tests.unit.serving.test_conformance import FOREIGN

TOP = Path(__file__).parents[2]
CASE = TOP / "tests" / "cases" / "image" / "passes" / "serves-what-was-judged"
OWN = """\
ARG BASE
FROM ${BASE}
COPY foreign_server.py /srv/foreign_server.py
RUN sed -i s/127.0.0.1/0.0.0.0/ /srv/foreign_server.py
"""
COMMAND = 'ENTRYPOINT ["python3", "/srv/foreign_server.py", "9000"{faults}]\n'


def build(folder: Path, base: str, dockerfile: str) -> str:
    """Build an image from a Dockerfile of a user, and return its digest."""
    (folder / "foreign_server.py").write_text(FOREIGN.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")
    with Docker.connected(os.environ) as docker:
        return docker.build(
            folder,
            dockerfile="Dockerfile",
            target=None,
            arguments={"BASE": base},
            labels={"maker": "a user"},
            epoch=1_700_000_000,
        ).digest


def verify(folder: Path, digest: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code of `image verify`, and its checks by name."""
    code, output, errors = ci_mlops(
        folder, "image", "verify", digest, "--port", "9000", "--ready-within", "10", "--json"
    )
    assert output, errors
    return code, {one["name"]: one for one in json.loads(output)["checks"]}


def test_an_image_of_another_maker_passes(tmp_path: Path, serving_base: str) -> None:
    dockerfile = OWN + "USER 1000\n" + COMMAND.format(faults="")
    digest = build(tmp_path, serving_base, dockerfile)
    code, checks = verify(tmp_path, digest)
    assert (code, {one["outcome"] for one in checks.values()}) == (0, {"passed"})
    assert "ends-gracefully" in checks
    assert build(tmp_path, serving_base, dockerfile) == digest


def test_one_that_drops_requests_as_root_does_not(tmp_path: Path, serving_base: str) -> None:
    digest = build(tmp_path, serving_base, OWN + COMMAND.format(faults=', "drops"'))
    code, checks = verify(tmp_path, digest)
    failed = {name for name, one in checks.items() if one["outcome"] == "failed"}
    assert (code, failed) == (1, {"unprivileged", "ends-gracefully"})


def test_one_that_writes_where_it_may_not_is_never_ready(tmp_path: Path, serving_base: str) -> None:
    command = 'USER 1000\nENTRYPOINT ["sh", "-c", "echo state > /var/tmp/state && sleep 60"]\n'
    digest = build(tmp_path, serving_base, OWN + command)
    code, checks = verify(tmp_path, digest)
    assert code == 1
    assert "Read-only file system" in checks["ready"]["message"]


def test_a_build_that_fails_says_where(tmp_path: Path, serving_base: str) -> None:
    with pytest.raises(CannotLook, match=r"could not be built: .*gone.txt"):
        build(tmp_path, serving_base, OWN + "COPY gone.txt /\n")
    with pytest.raises(CannotLook, match=r"could not be built: no such package \(The command"):
        build(tmp_path, serving_base, OWN + "RUN echo no such package && false\n")


def test_an_image_that_is_nowhere_is_said(serving_base: str) -> None:
    with (
        Docker.connected(os.environ) as docker,
        pytest.raises(OutsideError, match="neither here nor in a registry"),
    ):
        docker.image("localhost:1/nothing:here")


def test_the_projects_own_dockerfile_is_judged(repo: Repo, serving_base: str) -> None:
    """A project that serves its model by its own means, which has a fault of its own."""
    for file in CASE.glob("*.*"):
        repo.write({file.name: file.read_text(encoding="utf-8")})
    settings = (CASE / "mlops.yml").read_text(encoding="utf-8")
    own = re.sub(
        r"  image:\n",
        "  image:\n    dockerfile: Dockerfile\n    port: 9000\n    ready_within_s: 20\n",
        settings.replace("project: served", "project: twice"),
    )
    repo.write(
        {
            "mlops.yml": own,
            "foreign_server.py": FOREIGN.read_text(encoding="utf-8"),
            "Dockerfile": OWN + "USER 1000\n" + COMMAND.format(faults=""),
        }
    )
    repo.commit()
    code, output, errors = ci_mlops(repo.path, "run")
    assert code == 1, output + errors
    # It answers for x and word, where the model was judged by income and debt.
    assert "image · answers" in output
    assert "image · predictions" in output


def test_the_runner_judges(tmp_path: Path, commands: Commands, serving_base: str) -> None:
    """The target `runner` alone, as BuildKit builds it, holds a command line that works."""
    text = (TOP / "Dockerfile").read_text(encoding="utf-8")
    base = re.findall(r"^ARG BASE=.*$", text, re.MULTILINE)[0]
    runner = text[text.index("FROM ${BASE} AS runner") :]
    # Heavy libraries are not needed to see that it starts.
    runner = re.sub(r"RUN (apt-get|python3).*?\n(?=[A-Z])", "", runner, flags=re.DOTALL)
    runner = runner.replace('["/opt/venv/bin/python", ', '["python3", ')
    file = tmp_path / "Dockerfile"
    file.write_text(f"{base}\n{runner}", encoding="utf-8")
    tag = "ci-mlops-test-runner"
    build_arguments = ["--build-arg", f"BASE={serving_base}", "-t", tag, "-f", str(file), str(TOP)]
    done = commands.run(
        ["docker", "build", *build_arguments], cwd=TOP, env={"DOCKER_BUILDKIT": "0"}
    )
    assert done.code == 0, done.errors
    told = commands.run(["docker", "run", "--rm", "--read-only", tag, "--version"], cwd=TOP)
    assert told.output.startswith("ci-mlops "), told.errors

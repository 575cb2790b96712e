"""Mirrors in the real things: a registry, an MLflow server, and the command that rebuilds them."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.registry import Registry
from ci_mlops.release.entry import Entry
from ci_mlops.release.ledger import Ledger
from tests import mlflow_server, registry
from tests.conftest import Repo, clean_environ
from tests.fake_github import Fault, World, serving
from tests.integration.test_release import TRAIN, Site, free_port, site
from tests.project import ci_mlops
from tests.unit.release.mirrors.told import PROMOTED, PROMOTED_TWO, ROLLED_BACK, TWO, ended

__all__ = ["site"]
MLOPS_YML = """\
version: 1
project: loans
data: {test: test.csv, key: id, label: approved}
model: {task: binary, path: model.joblib}
stages: {serving: , image: }
release:
  production:
"""
HTPASSWD = "ann:$2y$05$yXfbSXWd.a3QEEzEV3fKg./4xw07.Lhfp8noO6FZTRd4jSHhpkipm\n"


@pytest.fixture(scope="session")
def layers() -> Iterator[list[str]]:
    """Return two images of a single file each, and remove them."""
    client = docker.from_env()
    made = []
    for text in (b"mirrored 1", b"mirrored 2"):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("note.txt")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        told = json.loads(client.api.import_image_from_data(archive.getvalue()))
        made.append(told["status"])
    yield made
    for digest in made:
        client.images.remove(digest, force=True)
    client.close()


def ledger(repo: Repo, commands: Commands, folder: Path) -> Ledger:
    folder.mkdir(exist_ok=True)
    return Ledger(remote=str(repo.path), folder=folder, commands=commands)


def add(kept: Ledger, *entries: Sequence[Entry]) -> None:
    for each in entries:
        for one in each:
            kept.append(one)


def sync(repo: Repo, *arguments: str, code: int = 0, **environ: str) -> tuple[list[Any], str]:
    found, said, errors = ci_mlops(repo.path, "ledger", "sync", "--json", *arguments, **environ)
    assert found == code, said + errors
    return json.loads(said), errors


def mirror(said: list[Any], name: str) -> Any:
    (found,) = [one for one in said if one["mirror"] == name]
    return found


# --- a tag of a registry --------------------------------------------------------------------------


def head(host: str, reference: str, **values: Any) -> str:
    url = f"http://{host}/v2/team/loans/manifests/{reference}"
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    answer = requests.head(url, headers={"Accept": kind}, timeout=9, **values)
    return str(answer.headers.get("Docker-Content-Digest", answer.status_code))


def test_a_tag_names_the_very_manifest_that_is_live(
    repo: Repo, commands: Commands, layers: list[str], tmp_path: Path
) -> None:
    one, two = layers
    with registry.serving(tmp_path) as served:
        host = served.host
        text = f"    {{target: docker, port: 1, repository: {host}/team/loans,\n"
        repo.commit({"mlops.yml": f"{MLOPS_YML}{text}      mirrors: {{oci_tag: production}}}}\n"})
        kept = ledger(repo, commands, tmp_path / "ledger")
        said, _ = sync(repo)
        assert mirror(said, "oci-tag")["changed"] == []
        assert mirror(said, "github-deployments")["left_out"]
        live = one
        for step, (name, kind, live) in enumerate(
            [("run-1", "promoted", one), ("run-2", "promoted", two), ("run-3", "rolled_back", one)]
        ):
            add(kept, images(name, kind, live))
            if step == 1:  # As the target does, where the host has another daemon.
                with Docker.connected(os.environ) as daemon:
                    daemon.push(two, f"{host}/team/loans", two.removeprefix("sha256:"))
            said, _ = sync(repo)
            (line,) = mirror(said, "oci-tag")["changed"]
            assert live[:19] in line
            named = head(host, "production")
            assert named == head(host, live.removeprefix("sha256:"))
            assert named.startswith("sha256:")
            said, _ = sync(repo)
            assert mirror(said, "oci-tag")["changed"] == []
        # Somebody else moves the tag: the ledger is the truth.
        door = Registry.of(f"{host}/team/loans", {})
        other = door.manifest(two.removeprefix("sha256:"))
        assert other
        door.tag(other, "production")
        said, _ = sync(repo, "--dry-run")
        assert mirror(said, "oci-tag")["changed"]
        assert head(host, "production") != named
        sync(repo)
        assert head(host, "production") == named
    said, errors = sync(repo, code=4)
    assert f"{host} does not answer" in mirror(said, "oci-tag")["fault"]
    assert len(errors.splitlines()) == 1


def images(name: str, kind: Any, digest: str) -> list[Entry]:
    return [one.model_copy(update={"to": digest}) for one in ended(name, TWO, kind)]


def test_a_registry_that_asks_who_it_is_and_an_image_that_is_nowhere(
    repo: Repo, commands: Commands, layers: list[str], tmp_path: Path
) -> None:
    (tmp_path / "users").write_text(HTPASSWD, encoding="utf-8")
    auth = f"auth: {{htpasswd: {{realm: here, path: {tmp_path}/users}}}}\n"
    with registry.serving(tmp_path, auth=auth) as served:
        host = served.host
        text = f"    {{target: docker, port: 1, repository: {host}/team/loans,\n"
        repo.commit({"mlops.yml": f"{MLOPS_YML}{text}      mirrors: {{oci_tag: production}}}}\n"})
        add(ledger(repo, commands, tmp_path / "ledger"), images("run-1", "promoted", layers[0]))
        config = tmp_path / "docker"
        config.mkdir()
        said, errors = sync(repo, code=4, DOCKER_CONFIG=str(config))
        assert "401" in mirror(said, "oci-tag")["fault"]
        assert "docker login" in errors
        client = docker.from_env()
        try:
            client.login("ann", "secret", registry=host)
            auths = {host: {"auth": "YW5uOnNlY3JldA=="}}
            (config / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
            sync(repo, DOCKER_CONFIG=str(config))
            named = head(host, "production", auth=("ann", "secret"))
            assert named.startswith("sha256:")
        finally:
            client.close()
        add(ledger(repo, commands, tmp_path / "ledger"), images("run-2", "promoted", TWO))
        said, errors = sync(repo, code=4, DOCKER_CONFIG=str(config))
        assert f"{TWO[:19]} is not in {host}/team/loans" in errors
        assert head(host, "production", auth=("ann", "secret")) == named


# --- an alias in MLflow ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server.serving(tmp_path_factory.mktemp("mlflow"), free_port()) as url:
        yield url


def asked(mlflow: str, path: str, **body: Any) -> Any:
    url = f"{mlflow}/api/2.0/mlflow/{path}"
    answer = requests.post(url, json=body, timeout=30) if body else requests.get(url, timeout=30)
    answer.raise_for_status()
    return answer.json()


def aliased(mlflow: str, model: str, alias: str) -> str:
    found = asked(mlflow, f"registered-models/get?name={model}")["registered_model"]
    return next(str(a["version"]) for a in found["aliases"] if a["alias"] == alias)


def configure(repo: Repo, mlflow: str, model: str, **more: Any) -> None:
    settings = {"tracking_uri": mlflow, "model": model, **more}
    target = {"target": "process", "port": 1, "mirrors": {"mlflow": settings}}
    repo.commit({"mlops.yml": f"{MLOPS_YML}    {json.dumps(target)}\n"})


def test_an_alias_follows_the_versions_that_training_has_tagged(
    repo: Repo, commands: Commands, mlflow: str, tmp_path: Path
) -> None:
    configure(repo, mlflow, "tagged", alias="champion")
    kept = ledger(repo, commands, tmp_path / "ledger")
    add(kept, PROMOTED)
    said, errors = sync(repo, code=4)
    wanted = f"carries the tag ci_mlops.model with the value sha256:{'1' * 64}"
    assert wanted in mirror(said, "mlflow-alias")["fault"]
    assert "create_version: true" in errors
    asked(mlflow, "registered-models/create", name="tagged")
    for one in ("1", "2", "1"):  # The first model was registered twice.
        tags = [{"key": "ci_mlops.model", "value": one * 64}]
        asked(mlflow, "model-versions/create", name="tagged", source="s3://a/b", tags=tags)
    for entries, version in ((None, "3"), (PROMOTED_TWO, "2"), (ROLLED_BACK, "3")):
        if entries:
            add(kept, entries)
        said, _ = sync(repo, "--dry-run")
        assert mirror(said, "mlflow-alias")["changed"]
        said, _ = sync(repo)
        (line,) = mirror(said, "mlflow-alias")["changed"]
        assert f"tagged@champion is version {version}" in line
        assert aliased(mlflow, "tagged", "champion") == version
        said, _ = sync(repo)
        assert mirror(said, "mlflow-alias")["changed"] == []


def test_versions_are_made_where_that_is_wished_and_once(
    repo: Repo, commands: Commands, mlflow: str, tmp_path: Path
) -> None:
    configure(repo, "", "made", create_version=True)
    text = (repo.path / "mlops.yml").read_text(encoding="utf-8")
    repo.commit({"mlops.yml": text.replace('"tracking_uri": "", ', "")})
    kept = ledger(repo, commands, tmp_path / "ledger")
    add(kept, PROMOTED, PROMOTED_TWO)
    found, _, errors = ci_mlops(repo.path, "ledger", "sync")
    assert (found, "MLFLOW_TRACKING_URI: is no http(s) address" in errors) == (2, True), errors
    for version, entries in (("1", None), ("2", ROLLED_BACK)):
        if entries:
            add(kept, entries)
        said, _ = sync(repo, MLFLOW_TRACKING_URI=mlflow)
        assert len(mirror(said, "mlflow-alias")["changed"]) == 2, "a version, and the alias"
        assert aliased(mlflow, "made", "production") == version
        said, _ = sync(repo, MLFLOW_TRACKING_URI=mlflow)
        assert mirror(said, "mlflow-alias")["changed"] == []
    found = asked(mlflow, "model-versions/search?filter=name%3D'made'")["model_versions"]
    assert len(found) == 2
    newest = max(found, key=lambda one: int(one["version"]))
    assert newest["source"] == f"ci-mlops://bundle/{'1' * 64}"
    assert newest["run_link"] == PROMOTED[0].run.replace("/1", "/4")


def test_a_model_of_that_name_that_mlflow_refuses_is_said(
    repo: Repo, commands: Commands, mlflow: str, tmp_path: Path
) -> None:
    configure(repo, mlflow, "reserved", create_version=True, alias="v1")
    add(ledger(repo, commands, tmp_path / "ledger"), PROMOTED)
    said, errors = sync(repo, code=4)
    assert "Version alias name 'v1' is reserved" in mirror(said, "mlflow-alias")["fault"]
    assert len(errors.splitlines()) == 1


# --- deployments on GitHub, and releases --------------------------------------------------------------


def in_workflow(world: World, url: str, run: int) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "workflow_dispatch",
        "GITHUB_REPOSITORY": world.repository,
        "GITHUB_TOKEN": world.token,
        "GITHUB_RUN_ID": str(run),
        "GITHUB_API_URL": url,
    }


def states(world: World) -> dict[str, str]:
    ids = {one["id"]: one["payload"]["ci_mlops"]["id"] for one in world.deployments}
    assert len(set(ids.values())) == len(ids), "none is doubled"
    return {ids[one["deployment"]]: one["state"] for one in world.deployment_statuses}


def test_releases_write_their_deployments_and_sync_mends_what_they_could_not(site: Site) -> None:
    world = World()
    site.judged({"mlops.yml": patient(site)}, "The first")
    with serving(world) as github:
        code, said, errors = site.run("promote", "production", **in_workflow(world, github.url, 1))
        assert code == 0, said + errors
        assert "github-deployments: run-1-production: success" in errors
        # A token that may not changes nothing about the release.
        world.scopes["deployments"] = "none"
        code, said, errors = site.run(
            "rollback",
            "production",
            "--to",
            site.live(),
            "--id",
            "again",
            **in_workflow(world, github.url, 2),
        )
        assert code == 0, said + errors
        (warning,) = [one for one in errors.splitlines() if "::warning::" in one]
        assert "github-deployments could not be written" in warning
        assert "Add `deployments: write` to the job's `permissions:`" in warning
        environ = in_workflow(world, github.url, 3)
        code, said, errors = site.run("ledger", "sync", **environ)
        assert (code, "✗ production: github-deployments: GitHub refused" in said) == (4, True)
        assert errors.count("\n") == 1
        assert "deployments: write" in errors
        world.scopes["deployments"] = "write"
        site.judged({"train.py": TRAIN}, "Another model")
        killed_at_the_mirror(site, world, github.url)
        assert states(world) == {"run-1-production": "success"}
        code, said, errors = site.run("ledger", "sync", **in_workflow(world, github.url, 5))
        assert code == 0, errors
        assert len(said.splitlines()) == 2
        assert states(world) == {"run-1-production": "inactive", "run-4-production": "success"}
        code, said, _ = site.run("ledger", "sync", **in_workflow(world, github.url, 6))
        assert said == "✓ production: github-deployments: says what the ledger says\n"
        code, said, errors = site.run("rollback", "production", **in_workflow(world, github.url, 7))
        assert code == 0, said + errors
        assert states(world) == {
            "run-1-production": "inactive",
            "run-4-production": "inactive",
            "run-7-production": "success",
        }
    assert world.violations == []
    code, said, _ = site.run("ledger", "sync")
    assert (code, "GITHUB_REPOSITORY and GITHUB_TOKEN are not set" in said) == (0, True)


def patient(site: Site) -> str:
    """Return the site's settings without a limit on time, which is not what this is about."""
    text = (site.repo.path / "mlops.yml").read_text(encoding="utf-8")
    text = text.replace("  serving:", "  serving: {ready_within_s: 300}")
    verify = "verify: {requests: 40, ready_within_s: 300, max_slowdown_percent: null}"
    return text.replace("verify: {requests: 40}", verify)


def killed_at_the_mirror(site: Site, world: World, url: str) -> None:
    """Promote, and kill it with -9 once the ledger has its end and GitHub is asked."""
    world.faults = [Fault(kind="slow", method="GET", path="/deployments$", wait_s=20)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ci_mlops", "promote", "production"],
        cwd=site.repo.path,
        env=clean_environ({"CI": "true", **in_workflow(world, url, 4)}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while world.faults:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()

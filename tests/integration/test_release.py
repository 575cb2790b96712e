"""From a judged commit to what clients get, and back: real servers, a real ledger, real requests."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from ci_mlops.serving import worker
from tests import project
from tests.conftest import Repo
from tests.fake_github import Pull, World, serving
from tests.project import ci_mlops
from tests.traffic import Traffic

RELEASE = """\
stages:
  policy: {packs: [no-regression]}
  serving:
release:
  production:
    target: process
    port: PORT
    folder: .mlops/r
    verify: {requests: 40}
"""
TRAIN = project.TRAIN_PY.replace("LogisticRegression()", "LogisticRegression(C=0.5)")
INPUTS = [
    {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
    for name, value in (("income", 60.0), ("debt", 10.0))
]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Site:
    """A project that is released to a port of this host."""

    repo: Repo
    port: int

    def run(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        return ci_mlops(self.repo.path, *arguments, **environ)

    def judged(self, files: dict[str, str], message: str) -> None:
        self.repo.commit(files, message)
        code, said, errors = self.run("run")
        assert code == 0, said + errors

    def promote(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, said, errors = self.run("promote", "production", "--json", *arguments)
        assert said, errors
        return code, json.loads(said)

    def live(self) -> str:
        code, said, errors = self.run("live", "production")
        assert code == 0, errors
        return said.strip()

    def ask(self) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}/v2/models/small/infer"
        return requests.post(url, json={"inputs": INPUTS}, timeout=20)

    def versions(self) -> str:
        return str(self.ask().json()["model_version"])

    def controls(self) -> list[Path]:
        return sorted((self.repo.path / ".mlops/r/production/run").glob("*.sock"))


@pytest.fixture
def site(repo: Repo) -> Iterator[Site]:
    project.make(repo)
    made = Site(repo, free_port())
    text, _, _ = (repo.path / "mlops.yml").read_text(encoding="utf-8").partition("stages:")
    release = RELEASE.replace("PORT", str(made.port))
    repo.commit({"mlops.yml": f"{text}{release}"}, "Release it")
    yield made
    for control in made.controls():
        try:
            told, _ = worker.ask(control, "tell")
        except OSError:
            continue
        psutil.Process(told["pid"]).kill()


def test_promote_again_and_roll_back_under_traffic(site: Site) -> None:
    site.judged({"note.txt": "1"}, "The first")
    code, first = site.promote()
    assert (code, first["kind"]) == (0, "promoted"), first["reason"]
    assert site.live() == first["to"]
    with Traffic(
        url=f"http://127.0.0.1:{site.port}", model="small", inputs=INPUTS, clients=3
    ) as traffic:
        site.judged({"train.py": TRAIN}, "Another model")
        code, second = site.promote("--reason", "more regular")
        assert (code, second["kind"], second["previous"]) == (0, "promoted", first["to"])
        names = [check["name"] for check in second["checks"]]
        assert names.count("answer-time") == 1
        assert names[-1] == "rollback-drill"
        time.sleep(0.3)
        code, said, errors = site.run("rollback", "production", "--reason", "a complaint")
        assert code == 0, said + errors
        time.sleep(0.3)
    assert traffic.failed == []
    short = [one["to"].removeprefix("sha256:")[:12] for one in (first, second)]
    assert set(traffic.versions) == set(short)
    assert traffic.versions[-1] == short[0]
    assert site.live() == first["to"]
    assert len(site.controls()) == 1, "what was rolled back is ended"
    for flags, words in (
        (["--to", "beef"], "--to: 'beef' begins none of the digests that were live in production"),
        (["--to", short[0], "--id", "a b"], "--id: 'a b' is no id"),
    ):
        code, _, errors = site.run("rollback", "production", *flags)
        assert (code, words in errors) == (2, True), errors
    code, said, _ = site.run("rollback", "production", "--to", short[0])
    assert (code, "ended before, rolled back" in said) == (0, True), "it is live already"
    code, said, _ = site.run("history")
    assert [line.split()[4:6] for line in said.splitlines() if "UTC" in line] == [
        ["production", "rolled_back"],
        ["production", "intent"],
        ["production", "promoted"],
        ["production", "intent"],
        ["production", "promoted"],
        ["production", "intent"],
    ]
    code, refused = site.promote()
    assert (code, refused["kind"]) == (7, "blocked")
    assert "rolled it back: a complaint; --again insists" in refused["reason"]
    assert json.loads(site.run("why", "production", "--json")[1])["releases"][0]["commit"]
    code, _, errors = site.run("rollback", "production")
    assert code == 1
    assert "nothing to go back to" in errors


def test_people_are_told_on_github(site: Site) -> None:
    world = World()
    remote = site.repo.path.parent / "remote.git"

    def told(run: int, *arguments: str) -> str:
        environ = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "workflow_dispatch",
            "GITHUB_REPOSITORY": world.repository,
            "GITHUB_TOKEN": world.token,
            "GITHUB_RUN_ID": str(run),
        }
        code, said, errors = site.run(*arguments, GITHUB_API_URL=github.url, **environ)
        assert code == 0, said + errors
        return errors

    site.judged({"note.txt": "1"}, "The first")
    site.repo.git("clone", "-q", "--bare", ".", str(remote))
    site.repo.git("remote", "add", "origin", str(remote))
    with serving(world) as github:
        told(1, "promote", "production")
        assert world.comments == [], "no pull request brought it"
        site.judged({"train.py": TRAIN}, "Another model")
        site.repo.git("push", "-q", "origin", "main")
        commit = site.repo.git("rev-parse", "HEAD")
        merged = Pull(
            number=5,
            head_sha=commit,
            base_sha=commit,
            state="closed",
            merged=True,
            merge_commit_sha=commit,
        )
        world.pulls.append(merged)
        told(2, "promote", "production")
        (said,) = world.own_comments()
        assert "production: promoted" in said
        for _ in range(2):  # as a job that is run again does
            told(3, "rollback", "production", "--reason", "a complaint")
        (said,) = world.own_comments()
        assert "production: rolled back: a complaint" in said
        (issue,) = world.issues
        revert = world.pulls[-1]
        assert f"/pull/{revert.number} reverts it" in issue["body"]
        assert revert.head_branch == f"ci-mlops/revert-{commit[:7]}-production"
        assert len(world.pulls) == 2
        site.judged({"train.py": TRAIN.replace("0.5", "0.7")}, "A third model")
        world.scopes["issues"] = "read"
        errors = told(4, "promote", "production")
        assert "::warning::the issue about the release could not be kept" in errors
        assert "issues: write" in errors
    assert world.violations == []

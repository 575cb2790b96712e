"""The whole loop on examples/loans: served, scraped, shifted, told, trained anew, judged, released.

Everything is real but GitHub, which a stateful fake on loopback stands for. Traffic is replayed from
applications that the model was not judged on.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests

from ci_mlops.serving import worker
from ci_mlops.serving.client import FAULTS, Client, infer_path
from examples import demo
from tests import prometheus
from tests.cluster import free_port
from tests.conftest import Repo, clean_environ
from tests.fake_github.server import FakeGitHub
from tests.fake_github.world import World

STAGES = """\
stages:
  data: { deepchecks: false }
  model: { deepchecks: false }
  policy:
    packs: [four-fifths, no-regression]
    min_group_size: 30
  serving:
"""
# Windows of seconds, so that an hour of production is a minute here.
MONITORS = """\
monitors:
  predictions: {{ path: {log} }}
  labels: {{ path: {labels} }}
  prometheus: {{ url: "{prometheus}" }}
  drift: {{ deepchecks: false, window_days: 0.0003, max_shift: 0.2 }}
  accuracy:
  latency: {{ max_p95_ms: 500, max_slowdown_percent: null, window_minutes: 1 }}
  resources: {{ max_memory_mb: 1024, window_hours: 0.02 }}
  on_failure: retrain
  retrain: {{ command: [python retrain.py], window_days: 0.00006, min_rows: 30 }}
"""
PAUSE_S = 0.06
PATIENCE_S = 300
COMMAND_S = 900
MOVED = ("hrat",)
NOT_INPUTS = ("application_id", "race", "male", "approve")


@dataclass(kw_only=True)
class Traffic:
    """Applicants who ask all the time, one in a request, and what came of each a moment later."""

    url: str
    labels: Path
    applications: pd.DataFrame
    shift: float = 0.0
    """How many standard deviations the numbers of MOVED are higher than they were."""
    wrong: float = 0.0
    """Share of the applicants who turn out otherwise than such ones used to."""
    asked: int = 0
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until it is over."""
        generator = np.random.default_rng(7)
        inputs = [one for one in self.applications.columns if one not in NOT_INPUTS]
        spread = self.applications[inputs].std()
        with contextlib.closing(Client(self.url)) as client, self.labels.open("w") as file:
            file.write("id,approve,race,male\n")
            while not self.over.wait(PAUSE_S):
                row = self.applications.iloc[int(generator.integers(len(self.applications)))].copy()
                for name in MOVED:
                    row[name] += self.shift * spread[name]
                self._ask(client, f"a{self.asked}", row[inputs])
                turned = generator.random() < self.wrong
                approved = 1 - row["approve"] if turned else row["approve"]
                file.write(f"a{self.asked},{approved},{row['race']},{row['male']}\n")
                file.flush()
                self.asked += 1

    def _ask(self, client: Client, name: str, row: "pd.Series[Any]") -> None:
        inputs = [
            {"name": column, "shape": [1], "datatype": "FP64", "data": [_value(value)]}
            for column, value in row.items()
        ]
        try:
            reply = client.post(
                infer_path("loans"), json.dumps({"id": name, "inputs": inputs}).encode()
            )
        except FAULTS as fault:
            self.failed.append(repr(fault))
            return
        if reply.status != requests.codes.ok:
            self.failed.append(reply.error())


@dataclass(kw_only=True)
class Loop:
    """A project in production, with what was measured of it."""

    repo: Repo
    folder: Path
    github: FakeGitHub
    traffic: Traffic

    @property
    def world(self) -> World:
        """What GitHub holds."""
        return self.github.world

    said: str = ""
    """What the last look said."""

    def run(self, *arguments: str) -> str:
        """Run the command line, which has to succeed; return what it said."""
        code, said = self.try_run(*arguments)
        assert code == 0, said
        return said

    def try_run(self, *arguments: str) -> tuple[int, str]:
        """Run the command line; return its exit code and what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "ci_mlops", *arguments],
            cwd=self.repo.path,
            env=clean_environ(
                {
                    "CI": "true",
                    "GITHUB_API_URL": self.github.url,
                    "GITHUB_REPOSITORY": self.world.repository,
                    "GITHUB_TOKEN": self.world.token,
                }
            ),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def judged(self, base: str) -> None:
        """Let the gate judge what is checked out; it has to pass."""
        self.run("run", "--base", base)

    def released(self) -> str:
        """Promote what was judged; return the digest that is live."""
        self.run("promote", "production", "--reason", "merged")
        return self.run("live", "production").strip()


def _value(number: Any) -> float | None:
    return None if pd.isna(number) else float(number)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Loop]:
    """Make the project, its remote, a fake GitHub and Prometheus; release it twice, under traffic.

    Everything that was started is ended when the block ends.
    """
    folder.mkdir(parents=True)
    (folder / "outcomes").mkdir()
    port = free_port()
    with contextlib.ExitStack() as stack:
        scraped = prometheus.serving(folder / "prometheus", targets=[f"127.0.0.1:{port}"])
        repo = _project(folder, port, stack.enter_context(scraped))
        github = stack.enter_context(FakeGitHub(World()))
        stack.callback(_end, folder)
        loop = Loop(
            repo=repo,
            folder=folder,
            github=github,
            traffic=Traffic(
                url=f"http://127.0.0.1:{port}",
                labels=folder / "outcomes" / "labels.csv",
                applications=pd.DataFrame(),
            ),
        )
        loop.run("run")
        # The model was judged on others.
        loop.traffic.applications = pd.read_parquet(repo.path / "data" / "train.parquet")
        loop.released()
        stack.enter_context(_asking(loop.traffic))
        repo.write({"train.py": _text(repo, "train.py").replace("C=1.0", "C=0.5")})
        repo.git("commit", "-qam", "Regularise a little more")
        repo.git("push", "-q", "origin", "main")
        loop.judged("HEAD~1")
        loop.released()
        yield loop


@contextlib.contextmanager
def _asking(traffic: Traffic) -> Iterator[None]:
    thread = threading.Thread(target=traffic.run)
    thread.start()
    try:
        yield
    finally:
        traffic.over.set()
        thread.join()


def _project(folder: Path, port: int, address: str) -> Repo:
    path = folder / "loans"
    shutil.copytree(demo.LOANS, path, ignore=shutil.ignore_patterns(".venv", ".mlops"))
    (path / ".venv").symlink_to(demo.project_environment(), target_is_directory=True)
    repo = Repo(path)
    text = _text(repo, "mlops.yml")
    head, _, _ = text.partition("stages:\n")
    target = f"{{ target: process, port: {port}, folder: {folder / 'target'} }}"
    release = f"release:\n  production: {target}\n"
    monitors = MONITORS.format(
        log=folder / "target" / "production" / "predictions",
        labels=folder / "outcomes",
        prometheus=address,
    )
    repo.write({"mlops.yml": head + STAGES + release + monitors})
    repo.git("init", "-q", "-b", "main")
    repo.commit({}, "Judge loan applications")
    repo.git("clone", "-q", "--bare", ".", str(folder / "remote.git"))
    repo.git("remote", "add", "origin", str(folder / "remote.git"))
    return repo


def _text(repo: Repo, name: str) -> str:
    return (repo.path / name).read_text(encoding="utf-8")


def _end(folder: Path) -> None:
    for control in folder.glob("target/production/run/*.sock"):
        with contextlib.suppress(OSError):
            worker.ask(control, "stop")


def through(loop: Loop) -> dict[str, float]:
    """Go through the loop, once by training anew and once by rolling back; return seconds.

    A first look after a fault tells of it and does nothing; the next ones act, so that the alarm and
    what follows it have times of their own. Raises AssertionError where something is not as it has
    to be.
    """
    world, branch = loop.world, "ci-mlops/retrain-production"
    first = loop.run("live", "production").strip()
    seconds: dict[str, float] = {}
    seconds["released to found healthy"] = _until(loop, 0)
    assert world.issues == [], world.issues[0]["body"][:3000]

    loop.traffic.shift = 1.5
    seconds["shift to alarm and issue"] = _until(loop, 1, act=False)
    [issue] = world.issues
    assert (issue["state"], world.pulls) == ("open", [])
    seconds["alarm to retrain pull request"] = _until(loop, 1)
    [pull] = world.pulls
    assert (issue["state"], pull.state, pull.head_branch) == ("open", "open", branch)
    assert "failed: " in pull.body
    begun = time.monotonic()
    _look(loop)  # twice changes nothing
    seconds["a look that changes nothing"] = time.monotonic() - begun
    assert [one.number for one in world.pulls] == [pull.number]
    assert [one["number"] for one in world.issues] == [issue["number"]]

    loop.traffic.shift = 0.0
    begun = time.monotonic()
    loop.repo.git("fetch", "-q", "origin", branch)
    loop.repo.git("checkout", "-q", "--detach", "FETCH_HEAD")
    loop.judged("main")
    loop.repo.git("checkout", "-q", "main")
    loop.repo.git("merge", "-q", "--no-ff", "-m", "Merge it", "FETCH_HEAD")
    text = _text(loop.repo, "mlops.yml").replace("on_failure: retrain", "on_failure: rollback")
    loop.repo.commit({"mlops.yml": text}, "From now on roll back")
    loop.repo.git("push", "-q", "origin", "main")
    pull.state, pull.merged = "closed", True
    loop.judged("HEAD~2")
    trained = loop.released()
    seconds["pull request to live, judged twice"] = time.monotonic() - begun
    assert trained != first

    seconds["live to issue closed"] = _until(loop, 0, closed=issue)
    assert issue["state"] == "closed"

    loop.traffic.wrong = 0.6
    seconds["wrong answers to alarm and issue"] = _until(loop, 1, act=False)
    assert (issue["state"], loop.run("live", "production").strip()) == ("open", trained)
    seconds["alarm to rolled back"] = _until(loop, 1)
    assert loop.run("live", "production").strip() == first
    assert (issue["state"], len(world.issues), len(world.pulls)) == ("open", 1, 1)
    entries = loop.run("history", "production")
    _look(loop)
    assert loop.run("history", "production") == entries, "twice changes nothing"
    return seconds


def _look(loop: Loop, *, act: bool = True) -> int:
    code, loop.said = loop.try_run("monitor", "--issue", *["--act"] * act)
    return code


def _until(
    loop: Loop, wanted: int, *, closed: Mapping[str, Any] | None = None, act: bool = True
) -> float:
    """Look again and again until a look ends with the exit code; return how long that took.

    An issue is `closed` only when every monitor has had enough to decide.
    """
    begun = time.monotonic()
    while time.monotonic() < begun + PATIENCE_S:
        if _look(loop, act=act) == wanted and (closed is None or closed["state"] == "closed"):
            return time.monotonic() - begun
        time.sleep(1)
    raise AssertionError(f"no look ended with {wanted} in {PATIENCE_S} s: {loop.said}")

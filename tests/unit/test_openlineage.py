"""OpenLineage events of a run: what they say, where they go, and that no sink changes a verdict."""

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.event_v2 import RunEvent

from ci_mlops import openlineage
from ci_mlops.__main__ import main
from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import ConfigError
from ci_mlops.evidence import Check, Metric, Record, Subject
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.data import DataStage
from tests import records
from tests.conftest import Repo, clean_environ
from tests.project import data_csv

MLOPS_YML = """\
version: 1
project: small
data: {train: data/train.csv, test: data/test.csv, key: id, label: approved, sensitive: [sex]}
stages:
  data: {deepchecks: false}
"""


class Received:
    """A server that takes events, and answers as it is told to."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.keys: set[str | None] = set()
        self.answer = 201
        received = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.events.append(json.loads(body))
                received.paths.add(self.path)
                received.keys.add(self.headers.get("Authorization"))
                self.send_response(received.answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def server() -> Iterator[Received]:
    made = Received()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def project(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    files = {"data/train.csv": data_csv(0, 200, 1), "data/test.csv": data_csv(900, 100, 2)}
    repo.commit({"mlops.yml": MLOPS_YML, **files})
    repo.git("checkout", "-q", "-b", "change")
    repo.commit({"data/test.csv": data_csv(900, 101, 2)})
    monkeypatch.chdir(repo.path)
    return repo


def run(target: str, **environ: str) -> int:
    return main(("run", "--openlineage", target), clean_environ({"CI": "true", **environ}))


def test_a_server_gets_the_start_and_the_end_of_each_stage(project: Repo, server: Received) -> None:
    project.git("remote", "add", "origin", "https://user:secret@example.org/acme/loans.git")
    assert run(server.url, OPENLINEAGE_API_KEY="a-key") == 0
    assert server.paths == {"/api/v1/lineage"}
    assert server.keys == {"Bearer a-key"}
    start, end = server.events
    assert [start["eventType"], end["eventType"]] == ["START", "COMPLETE"]
    assert start["run"]["runId"] == end["run"]["runId"]
    assert end["job"]["namespace"] == "small"
    assert end["job"]["name"] == "small.data"
    location = end["job"]["facets"]["sourceCodeLocation"]
    assert location["version"] == project.git("rev-parse", "HEAD")
    assert location["url"] == "https://example.org/acme/loans.git"
    assert end["run"]["facets"]["parent"]["job"]["name"] == "small"
    inputs = {one["name"]: one for one in end["inputs"]}
    assert set(inputs) == {
        f"data/{n}.csv{side}" for n in ("train", "test") for side in ("", "@base")
    }
    rows = {
        name: one["inputFacets"]["dataQualityMetrics"]["rowCount"] for name, one in inputs.items()
    }
    assert rows["data/test.csv"] == 101
    assert rows["data/test.csv@base"] == 100
    (output,) = end["outputs"]
    evidence = json.loads((project.path / ".mlops/evidence/run.json").read_text())
    assert output["facets"]["version"]["datasetVersion"] == f"sha256:{evidence['records']['data']}"
    assert "secret" not in json.dumps(server.events)


def test_a_file_gets_a_line_for_each_event(project: Repo) -> None:
    assert run("events.jsonl") == 0
    assert run("events.jsonl") == 0
    events = [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]
    assert [one["eventType"] for one in events] == ["START", "COMPLETE"] * 2
    assert events[0]["job"]["facets"]["sourceCodeLocation"]["url"].startswith("file://")


@pytest.mark.parametrize("target", ["http://127.0.0.1:9", "nowhere/events.jsonl", "refuses"])
def test_a_sink_that_fails_is_one_warning_and_the_same_verdict(
    project: Repo, server: Received, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    server.answer = 500
    assert run(server.url if target == "refuses" else target) == 0
    told = capsys.readouterr().err
    assert told.count("OpenLineage events could not be sent") == 1
    assert "warning: OpenLineage" in told
    assert len(server.events) <= 1, "given up after the first"
    run("nowhere/events.jsonl", GITHUB_ACTIONS="true", GITHUB_EVENT_NAME="push")
    assert "::warning::OpenLineage" in capsys.readouterr().err


def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ci-mlops\[openlineage\]'"):
        openlineage.sink("events.jsonl", {})


class Kept:
    """A sink that keeps events, and an observer that notes who was told."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self.told: list[str] = []

    def send(self, event: RunEvent) -> None:
        self.events.append(event)

    def started(self, stage: str) -> None:
        self.told.append(f"{stage} started")

    def ended(self, stage: str, record: Record) -> None:
        self.told.append(f"{stage} {record.outcome}")


def emitter(tmp_path: Path, kept: Kept) -> openlineage.Emitter:
    side = Side(
        name="head",
        root=tmp_path,
        commit="a" * 40,
        code="",
        data=DataSettings(test="test.csv", label="y"),
        model=None,
        subjects=(Subject(name="data.test", sha256="d" * 64),),
    )
    workspace = Workspace(
        head=side,
        base=None,
        base_missing="first commit",
        judge=side,
        commands=Commands(environ={}),
        folder=tmp_path,
        cache=tmp_path,
        cores=1,
        project="loans",
    )
    return openlineage.Emitter(
        sink=kept,
        workspace=workspace,
        stages={"data": DataStage()},
        repository="git@example.org:acme/loans.git",
        then=kept,
        warn=pytest.fail,
        now=lambda: datetime(2026, 11, 23, tzinfo=UTC),
    )


def test_a_stage_that_could_not_look_failed(tmp_path: Path) -> None:
    kept = Kept()
    made = emitter(tmp_path, kept)
    made.started("data")
    check = Check(name="data-could-not-look", outcome="error", message="test.csv is missing.")
    made.ended("data", records.record("error", checks=[check]))
    assert kept.told == ["data started", "data error"]
    event = kept.events[1]
    assert event.eventType is not None
    assert event.eventType.value == "FAIL"
    assert event.eventTime == "2026-11-23T00:00:00+00:00"
    assert event.run.facets is not None
    assert event.run.facets["errorMessage"].message == "test.csv is missing."  # type: ignore[attr-defined]
    assert event.job.facets is not None
    assert event.job.facets["sourceCodeLocation"].url == "git@example.org:acme/loans.git"  # type: ignore[attr-defined]


def test_a_verdict_that_failed_is_a_run_that_completed(tmp_path: Path) -> None:
    kept = Kept()
    made = emitter(tmp_path, kept)
    made.ended(
        "data", records.record("failed", metrics=[Metric(name="rows", value=3, slice="test")])
    )
    (event,) = kept.events
    assert event.eventType is not None
    assert event.eventType.value == "COMPLETE"
    assert event.inputs is not None
    assert event.inputs[0].name == "test.csv"
    assert event.inputs[0].inputFacets is not None
    assert event.inputs[0].inputFacets["dataQualityMetrics"].rowCount == 3  # type: ignore[attr-defined]

"""What publishing meets: a repository, entries, evidence folders, a runner's environment."""

import io
import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_mlops import evidence
from ci_mlops.evidence import Check, Limit, Outcome, Place, Record, Run, worst_outcome
from ci_mlops.github.api import Api, Clock
from ci_mlops.github.repository import Repository
from ci_mlops.publish.comment import Entry
from tests import records
from tests.fake_github import Artifact, FakeGitHub, Pull, WorkflowRun, World

HEAD, BASE, OTHER = "b" * 40, "c" * 40, "d" * 40


@dataclass
class Waits:
    """A clock whose sleeps take no time, or a little of it."""

    time: float = 1_800_000_000.0
    scale: float = 0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        time.sleep(seconds * self.scale)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.time, sleep=self.sleep)


def repository(github: FakeGitHub, waits: Waits | None = None, **changes: Any) -> Repository:
    values = {"timeout_s": 5, **changes}
    api = Api(
        url=github.url,
        token=github.world.token,
        clock=(waits or Waits()).clock(),
        **values,
    )
    return Repository(api=api, name=github.world.repository)


def entry(run: int, attempt: int = 1, **changes: Any) -> Entry:
    return Entry(**{"run": run, "attempt": attempt, "sha": HEAD, "outcome": "passed", **changes})


def check(outcome: Outcome = "failed", **changes: Any) -> Check:
    values: dict[str, Any] = {
        "name": "four-fifths",
        "outcome": outcome,
        "slice": "race",
        "observed": 0.74,
        "limit": Limit(at_least=0.8),
        "message": "Group black is selected at 0.74 of the rate of group white.",
        "remedy": "Look at the threshold",
        "place": Place(file="mlops.yml", line=3),
    }
    return Check(**{**values, **changes})


def record(*checks: Check, stage: str = "data", **changes: Any) -> Record:
    outcome = worst_outcome(one.outcome for one in checks)
    return records.record(stage=stage, checks=checks, outcome=outcome, **changes)


def run(**changes: Any) -> Run:
    return records.run(**{"head": HEAD, "base": BASE, **changes})


def evidence_folder(folder: Path, circumstances: Run, *found: Record) -> Path:
    """Write evidence as `ci-mlops run` leaves it, and return the folder `.mlops`."""
    mlops = folder / ".mlops"
    evidence.write(mlops / "evidence" / "run.json", circumstances)
    for one in found:
        evidence.write(mlops / "evidence" / f"{one.stage}.json", one)
    return mlops


def environ(github: FakeGitHub, folder: Path, **changes: Any) -> dict[str, str]:
    """Return what a runner sets for a pull request of the same repository."""
    event = {
        "pull_request": {
            "number": 7,
            "head": {
                "sha": HEAD,
                "repo": {"full_name": changes.pop("head_repository", "acme/loans")},
            },
        }
    }
    (folder / "event.json").write_text(json.dumps(event), encoding="utf-8")
    values = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_REPOSITORY": "acme/loans",
        "GITHUB_SHA": OTHER,
        "GITHUB_RUN_ID": "100",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_API_URL": github.url,
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_TOKEN": github.world.token,
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }
    return {**values, **changes}


YML = """\
version: 1
project: {project}
data: {{test: test.csv, label: y}}
stages: {{{stages}}}
{more}
"""
MERGE = "e" * 40


def yml(*stages: str, project: str = "loans", more: str = "") -> str:
    settings = {"model": "model: {}", "data": "data: {}"}
    model = "model: {task: binary, predictions: {test: p.csv}}" if "model" in stages else ""
    listed = ", ".join(settings[one] for one in stages or ("data",))
    return YML.format(project=project, stages=listed, more=f"{model}\n{more}")


def packed(circumstances: Run, *found: Record, prefix: str = "") -> bytes:
    """Return the zip file that a run uploads."""
    members = {"run.json": circumstances.model_dump_json()}
    members |= {f"{one.stage}.json": one.model_dump_json() for one in found}
    return zipped({f"{prefix}{name}": text for name, text in members.items()})


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def fork(*artifacts: Artifact, base: str | None = None) -> World:
    """Return a GitHub on which a run for a pull request from a fork has just ended."""
    return World(
        pulls=[
            Pull(
                number=7,
                head_sha=HEAD,
                base_sha=BASE,
                head_repository="mallory/loans",
                merge_commit_sha=MERGE,
            )
        ],
        runs=[WorkflowRun(id=100, head_sha=HEAD, head_repository="mallory/loans")],
        artifacts=list(artifacts),
        files={
            BASE: {"mlops.yml": base or yml()},
            HEAD: {"mlops.yml": yml()},
            MERGE: {"mlops.yml": yml(), "train.py": "1"},
        },
        commits={MERGE: [BASE, HEAD], HEAD: [BASE], OTHER: [BASE]},
    )


def artifact(data: bytes, name: str = "ci-mlops-evidence", number: int = 1) -> Artifact:
    return Artifact(id=number, run_id=100, name=name, data=data)

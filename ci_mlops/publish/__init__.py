"""A verdict shown to people: summary, comment, check, SARIF and JUnit, and what failed."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ci_mlops import evidence
from ci_mlops.command import Commands
from ci_mlops.errors import EvidenceError, OutsideError
from ci_mlops.evidence import Run, write_atomically
from ci_mlops.github.api import Api, Clock
from ci_mlops.github.repository import Repository
from ci_mlops.github.workflow import Workflow
from ci_mlops.publish import cml, junit, publication, sarif
from ci_mlops.publish.check import Commit
from ci_mlops.publish.publication import Judged
from ci_mlops.publish.settings import Via
from ci_mlops.report import markdown
from ci_mlops.report import write as write_report
from ci_mlops.report.escape import markdown as escaped
from ci_mlops.verdict import Gate, decide


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was shown where, and what kept the rest from being shown."""

    judged: tuple[Judged, ...]
    files: tuple[Path, ...] = ()
    comment: str = ""
    """Address of the comment; empty when there is none."""
    checks: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    """What a reader should know and nobody need act on."""
    warnings: tuple[str, ...] = ()
    """What went wrong with the publishing; it changes no verdict."""


def repository(workflow: Workflow, clock: Clock | None = None) -> Repository:
    """Return the repository that the workflow runs in, through the API with its token."""
    api = Api(url=workflow.api_url, token=workflow.token, clock=clock or Clock())
    return Repository(api=api, name=workflow.repository)


def publish(
    folder: Path,
    *,
    config: Path,
    gate_of: Callable[[Run], Gate],
    via: Via,
    workflow: Workflow,
    commands: Commands,
    clock: Clock | None = None,
) -> Published:
    """Judge the evidence in `folder`, and show the verdict of a pull request of this repository.

    Only evidence that cannot be read stops it (EvidenceError, after the outputs have said so); a
    fault of the publishing becomes a warning, because a comment that fails must not change a gate.
    """
    try:
        found = publication.without(workflow.token, evidence.read_folder(folder / "evidence"))
    except EvidenceError as fault:
        workflow.write_outputs({"verdict": "error", "evidence": str(folder / "evidence")})
        workflow.write_summary(f"⛔ could not judge: {escaped(str(fault), 1000)}")
        raise
    decided = decide(gate_of(found.run), found.run, found.records)
    judged = Judged(run=found.run, records=found.records, verdict=decided)
    files = write_files(folder, config, judged)
    workflow.write_summary(publication.text([judged], markdown.LIMIT))
    workflow.write_outputs(
        {
            "verdict": decided.outcome,
            "report": str(folder / "report.md"),
            "evidence": str(folder / "evidence"),
        }
    )
    return _shown(
        judged,
        files,
        via=via,
        workflow=workflow,
        commands=commands,
        folder=folder,
        clock=clock,
    )


def write_files(folder: Path, config: Path, judged: Judged) -> tuple[Path, ...]:
    """Write the report in every form into a folder and return the files."""
    run, records, verdict = judged.run, judged.records, judged.verdict
    reports = write_report(folder, run, records, verdict)
    in_sarif, in_junit = folder / "report.sarif", folder / "report.junit.xml"
    write_atomically(in_sarif, sarif.render(verdict, config=_relative(config)).encode())
    write_atomically(in_junit, junit.render(run, records, verdict))
    return (*reports, in_sarif, in_junit)


def _shown(
    judged: Judged,
    files: tuple[Path, ...],
    *,
    via: Via,
    workflow: Workflow,
    commands: Commands,
    folder: Path,
    clock: Clock | None,
) -> Published:
    if not workflow.repository or not workflow.token:
        absent = "GITHUB_TOKEN is not set" if workflow.inside else "not in a workflow run"
        said = f"no comment and no check: {absent}"
        return Published(judged=(judged,), files=files, notices=(said,))
    event = workflow.pull_request()
    there = repository(workflow, clock)
    commit = Commit(
        sha=event.head_sha or workflow.sha,
        run_id=workflow.run_id,
        attempt=workflow.run_attempt,
        url=workflow.run_url(),
    )
    is_fork = bool(event.number) and event.head_repository != workflow.repository
    notices: list[str] = []
    warnings: list[str] = []
    comment = check = ""
    try:
        if event.number and via == "cml":
            notices.append(cml.post(commands, folder, event.number, judged, workflow))
        elif event.number:
            posted = publication.post_comment(there, event.number, commit, [judged])
            comment = posted.url
            if posted.newer:
                notices.append(_stale(posted.newer.sha))
    except OutsideError as fault:
        (notices if is_fork else warnings).append(_failed("comment", fault, is_fork=is_fork))
    try:
        check = publication.post_check(there, commit, judged)
    except OutsideError as fault:
        (notices if is_fork else warnings).append(_failed("check", fault, is_fork=is_fork))
    return Published(
        judged=(judged,),
        files=files,
        comment=comment,
        checks=(check,) if check else (),
        notices=tuple(notices),
        warnings=tuple(warnings),
    )


def _stale(sha: str) -> str:
    return f"the comment already shows a newer verdict, on {sha[:7]}; it was left as it is"


def _failed(what: str, fault: OutsideError, *, is_fork: bool) -> str:
    if is_fork:
        # A pull request from a fork gets a token that may only read; nobody can act on it here.
        return f"no {what}: this pull request comes from a fork ({fault.fault})"
    return f"no {what}: {fault}"


def _relative(config: Path) -> str:
    return Path(os.path.relpath(config.resolve())).as_posix()

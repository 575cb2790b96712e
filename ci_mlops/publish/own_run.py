"""Publishing in the job that made the evidence: the verdict's own exit code, whatever fails."""

import os
from collections.abc import Callable
from pathlib import Path

from ci_mlops import evidence
from ci_mlops.command import Commands
from ci_mlops.errors import EvidenceError, OutsideError
from ci_mlops.evidence import Run, write_atomically
from ci_mlops.github.api import Clock
from ci_mlops.github.workflow import Workflow
from ci_mlops.publish import junit, publication, sarif
from ci_mlops.publish.check import Commit
from ci_mlops.publish.posting import Poster, Published, Shown, repository_of
from ci_mlops.publish.publication import Judged
from ci_mlops.publish.settings import Via
from ci_mlops.report import markdown
from ci_mlops.report import write as write_report
from ci_mlops.verdict import Gate, decide


def publish(
    folder: Path,
    *,
    config: Path,
    project: str,
    gate_of: Callable[[Run], Gate],
    via: Via,
    workflow: Workflow,
    commands: Commands,
    clock: Clock | None = None,
) -> Published:
    """Judge the evidence in `folder`, and show the verdict of a pull request of this repository.

    Evidence that cannot be read is a verdict too: `error`, said wherever a verdict is said. A
    fault of the publishing becomes a warning, because a comment that fails must not change a gate.
    """
    judged = _judged(folder / "evidence", project, gate_of, workflow)
    files = write_files(folder, config, judged)
    workflow.write_summary(publication.text([judged], markdown.LIMIT))
    workflow.write_outputs(
        {
            "verdict": judged.verdict.outcome,
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


def _judged(
    folder: Path, project: str, gate_of: Callable[[Run], Gate], workflow: Workflow
) -> Judged:
    try:
        found = publication.without(workflow.token, evidence.read_folder(folder))
    except EvidenceError as fault:
        head = workflow.pull_request().head_sha or workflow.sha
        return publication.unbelieved(project, head=head, base="", fault=str(fault))
    decided = decide(gate_of(found.run), found.run, found.records)
    return Judged(run=found.run, records=found.records, verdict=decided)


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
    there = repository_of(workflow, clock)
    poster = Poster(repository=there, via=via, commands=commands, folder=folder)
    commit = Commit(
        sha=event.head_sha or workflow.sha,
        run_id=workflow.run_id,
        attempt=workflow.run_attempt,
        url=workflow.run_url(),
    )
    is_fork = bool(event.number) and event.head_repository != workflow.repository
    faults: list[str] = []
    shown, check = Shown(), ""
    try:
        if event.number:
            shown = poster.show(event.number, commit, [judged])
    except OutsideError as fault:
        faults.append(_failed("comment", fault, is_fork=is_fork))
    try:
        check = publication.post_check(there, commit, judged)
    except OutsideError as fault:
        faults.append(_failed("check", fault, is_fork=is_fork))
    notices = [shown.notice] if shown.notice else []
    return Published(
        judged=(judged,),
        files=files,
        comment=shown.url,
        checks=(check,) if check else (),
        notices=tuple(notices + (faults if is_fork else [])),
        warnings=() if is_fork else tuple(faults),
    )


def _failed(what: str, fault: OutsideError, *, is_fork: bool) -> str:
    if is_fork:
        # A pull request from a fork gets a token that may only read; nobody can act on it here.
        return f"no {what}: this pull request comes from a fork ({fault.fault})"
    return f"no {what}: {fault}"


def _relative(config: Path) -> str:
    return Path(os.path.relpath(config.resolve())).as_posix()

"""What may be promoted: what a trusted run judged, of the tree that is checked out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ci_mlops.checkout import Repository
from ci_mlops.errors import ConfigError, EvidenceError
from ci_mlops.evidence import Folder, Record, Run, file_sha256, read_folder
from ci_mlops.github import Workflow
from ci_mlops.verdict import Gate, decide

TRUSTED_EVENTS = frozenset({"push", "schedule", "workflow_dispatch", "repository_dispatch"})
"""Events that run what is in the repository already, never what somebody proposes."""
CHECKS = {"serving": "bundle", "image": "image"}
"""By the stage that makes what is released: the check that observed its digest."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What evidence offers, and why it may not be promoted, if it may not."""

    digest: str
    """`sha256:…` of the bundle or image; zeros where there is none, which is blocked."""
    commit: str
    blocked: str
    """Empty when it may be promoted."""
    evidence: Mapping[str, str]
    subjects: Mapping[str, str]


def candidate(
    folder: Path, gate_of: Callable[[Run], Gate], repository: Repository, *, stage: str
) -> Candidate:
    """Look at what a stage made in a run, judged by the gate that `gate_of` gives for the run.

    Raises EvidenceError when there is none to look at.
    """
    if not (folder / "run.json").exists():
        raise EvidenceError(
            "holds no evidence", place=str(folder), remedy="Run `ci-mlops run` first"
        )
    found = read_folder(folder)
    digest = digest_of(found, stage)
    run = found.run
    return Candidate(
        digest=digest or f"sha256:{'0' * 64}",
        commit=repository.commit("HEAD"),
        blocked=_blocked(found, gate_of(run), repository, digest, stage),
        evidence={**run.records, "run": file_sha256(folder / "run.json")},
        subjects={
            subject.name.removeprefix("head."): subject.sha256
            for subject in run.subjects
            if subject.name.startswith("head.")
        },
    )


def require_trusted(workflow: Workflow) -> None:
    """Raise ConfigError in a workflow that may run what somebody proposes, or has not merged."""
    if workflow.inside and workflow.event not in TRUSTED_EVENTS:
        raise ConfigError(
            f"a {workflow.event} event may not release anything",
            place="GITHUB_EVENT_NAME",
            remedy="Promote in a workflow on push to the main branch",
        )
    main = workflow.default_branch()
    if workflow.inside and main and workflow.ref != f"refs/heads/{main}":
        raise ConfigError(
            f"{workflow.ref} is not {main}, and only what is merged may be released",
            place="GITHUB_REF",
            remedy=f"Start the workflow on {main}",
        )


def digest_of(found: Folder, stage: str) -> str:
    """Return the digest of what a stage of a run made; empty where it made nothing."""
    record = found.records.get(stage)
    checks = record.checks if isinstance(record, Record) else ()
    for check in checks:
        if check.name == CHECKS[stage] and isinstance(check.observed, str):
            return check.observed
    return ""


def _blocked(found: Folder, gate: Gate, repository: Repository, digest: str, stage: str) -> str:
    run = found.run
    tree = repository.tree()
    if not run.tree:
        return "the evidence does not say which tree was judged: the working tree had changes"
    if run.tree != tree:
        return f"tree {run.tree[:7]} was judged, and {tree[:7]} is here: run `ci-mlops run` again"
    decided = decide(gate, run, found.records)
    if decided.exit_code:
        return f"the verdict is {decided.outcome}: {decided.reasons[0].text}"
    if not digest:
        what = f"{CHECKS[stage]} to release: see its record"
        missing = f"add `{stage}:` to `stages` in mlops.yml"
        return f"stage {stage} left no {what if stage in found.records else missing}"
    return ""

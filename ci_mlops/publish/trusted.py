"""Evidence of an untrusted run, judged again by the base's gate in a job that may write.

What the run says of itself is believed only after GitHub has said the same: which commit was
tested comes from the API, the pull request from the API, and the gate from the base.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ci_mlops import evidence
from ci_mlops.changes import Project, concerned, folder_of
from ci_mlops.errors import ConfigError, EvidenceError
from ci_mlops.evidence import Folder, Run
from ci_mlops.github.repository import Artifact, PullRequest, Repository, WorkflowRun
from ci_mlops.publish import archive, publication
from ci_mlops.publish.publication import Judged
from ci_mlops.publish.settings import Rules
from ci_mlops.verdict import VERDICTS, Reason, decide

ARTIFACT = "ci-mlops-evidence"
CONFIG = "mlops.yml"
MAX_PROJECTS = 50
NOT_IN_A_NAME = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]")
HEAD = re.compile(r"([0-9a-f]{40})(\+changes)?")


ReadRules = Callable[[str, str], Rules]
"""Reads the text of a mlops.yml; the second argument is its path. Raises ConfigError."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A pull request with its projects, each judged by the rules of its base."""

    pull: PullRequest
    judged: tuple[Judged, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The pull requests that a workflow run tested, or why there is none."""

    run: WorkflowRun
    requests: tuple[Request, ...] = ()
    notice: str = ""


def judge(repository: Repository, run_id: int, read: ReadRules) -> Found:
    """Judge the evidence that a workflow run left. Raises OutsideError when GitHub refuses.

    Evidence that is poisoned, forged or missing is no exception but a verdict: `error`.
    """
    told = repository.run(run_id)
    if told.event != "pull_request" or not told.head_branch or told.head_repository is None:
        return Found(run=told, notice=f"run {run_id} tested no pull request ({told.event})")
    owner = told.head_repository.owner.login
    pulls = [
        pull
        for pull in repository.pull_requests(owner, told.head_branch)
        if pull.head.sha == told.head_sha
    ]
    if not pulls:
        where = f"{owner}:{told.head_branch}"
        line = f"no open pull request from {where} is at {told.head_sha[:7]}: it moved on or closed"
        return Found(run=told, notice=line)
    left = _left(repository, told)
    requests = [
        Request(pull=pull, judged=tuple(_judged(repository, told, pull, left, read)))
        for pull in pulls
    ]
    requests = [one for one in requests if one.judged]
    if not requests:
        return Found(run=told, notice="the change concerns no project; there was nothing to judge")
    return Found(run=told, requests=tuple(requests))


@dataclass(frozen=True, kw_only=True)
class _Left:
    """One artifact: the evidence in it, or why it is not believed."""

    name: str
    content: Folder | EvidenceError


def _left(repository: Repository, told: WorkflowRun) -> list[_Left]:
    newest: dict[str, Artifact] = {}
    for artifact in sorted(repository.artifacts(told.id), key=lambda one: one.id):
        if artifact.name == ARTIFACT or artifact.name.startswith(f"{ARTIFACT}-"):
            newest[artifact.name] = artifact
    found = []
    for name, artifact in list(newest.items())[:MAX_PROJECTS]:
        content: Folder | EvidenceError
        try:
            content = _content(repository, told, artifact)
        except EvidenceError as fault:
            content = fault
        found.append(_Left(name=name, content=content))
    return found


def _content(repository: Repository, told: WorkflowRun, artifact: Artifact) -> Folder:
    place = f"artifact {artifact.name}"
    if artifact.expired:
        raise EvidenceError("has expired", place=place, remedy="Run the workflow again")
    if artifact.size_in_bytes > archive.MAX_ZIP_BYTES:
        raise EvidenceError(f"is larger than {archive.MAX_ZIP_BYTES} bytes", place=place)
    data = repository.artifact_zip(artifact.id, max_bytes=archive.MAX_ZIP_BYTES)
    folder = evidence.read_members(archive.members(data, place), place)
    _require_tested(repository, folder.run, told.head_sha, place)
    return publication.without(repository.api.token, folder)


def _require_tested(repository: Repository, run: Run, tested: str, place: str) -> None:
    """Refuse evidence of another commit than the tested one or GitHub's merge of it."""
    found = HEAD.fullmatch(run.head)
    commit = found[1] if found else ""
    if commit == tested:
        return
    parents = repository.parents(commit) if commit else None
    # The merge that `pull_request` checks out: its first parent is the base, its second the head.
    if parents is None or len(parents) != 2 or parents[1] != tested:
        raise EvidenceError(
            f"is of commit {run.head[:7]!r}, but the run tested {tested[:7]}", place=place
        )
    if run.base and run.base != parents[0]:
        raise EvidenceError(
            f"names base {run.base[:7]!r}, but the merge is onto {parents[0][:7]}", place=place
        )


def _judged(
    repository: Repository,
    told: WorkflowRun,
    pull: PullRequest,
    left: Sequence[_Left],
    read: ReadRules,
) -> list[Judged]:
    base = _rules(repository, pull.base.sha, read)

    @functools.cache
    def own() -> dict[str, Rules]:
        return _rules(repository, told.head_sha, read)

    named = Counter(one.content.run.project for one in left if isinstance(one.content, Folder))
    judged: dict[str, Judged] = {}
    for one in left:
        try:
            if isinstance(one.content, EvidenceError):
                raise one.content
            if named[one.content.run.project] > 1:
                raise EvidenceError("names a project that another one names", place=one.name)
            made = _decided(one.name, one.content, base, own)
        except EvidenceError as fault:
            made = _refused(_project(one, base, repository), told, pull, str(fault))
        known = judged.get(made.run.project)
        judged[made.run.project] = publication.worst([known, made]) if known else made
    names = _concerned(repository, told, pull, base) if base else _own_names(repository, left)
    for name in names:
        if name not in judged:
            absent = f"the run left no artifact named {ARTIFACT}-{name} for this project"
            judged[name] = _refused(name, told, pull, absent)
    return list(judged.values())


def _concerned(
    repository: Repository, told: WorkflowRun, pull: PullRequest, base: Mapping[str, Rules]
) -> list[str]:
    """Name the base's projects that the change concerns, as `ci-mlops plan --matrix` chose them.

    Each must have left evidence: a run that leaves a project out would else not be missed.
    """
    merge = pull.merge_commit_sha
    parents = repository.parents(merge) if merge else None
    before = repository.files(parents[0] if parents else pull.base.sha)
    after = repository.files(merge if merge and parents else told.head_sha)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    known = [Project(folder=folder_of(one.file), name=one.project) for one in base.values()]
    # A project of which nothing is left has nothing to judge.
    projects = [one for one in known if any(one.holds(path) for path in after)]
    return [one.name for one in concerned(projects, changed, known)]


def _own_names(repository: Repository, left: Sequence[_Left]) -> list[str]:
    """Name what is judged where the base has no project and the run left nothing."""
    return [] if left else [_named(repository.name.rpartition("/")[2])]


def _rules(repository: Repository, ref: str, read: ReadRules) -> dict[str, Rules]:
    """Return the rules of every project at a commit; a file that cannot be read has none."""
    found: dict[str, Rules] = {}
    paths = [path for path in repository.files(ref) if _is_config(path)]
    # The file nearest to the top names a project, whatever deeper ones say.
    for path in sorted(paths, key=lambda one: (one.count("/"), one))[:MAX_PROJECTS]:
        text = repository.text(path, ref)
        try:
            rules = read(text or "", path)
        except ConfigError:
            continue
        found.setdefault(rules.project, rules)
    return found


def _is_config(path: str) -> bool:
    # A workflow may have the same name.
    return PurePosixPath(path).name == CONFIG and not path.startswith(".github/")


def _decided(
    artifact: str, folder: Folder, base: Mapping[str, Rules], own: Callable[[], dict[str, Rules]]
) -> Judged:
    """Judge by the base's rules for the project; by the head's where the base has none."""
    run = folder.run
    rules = base.get(run.project)
    if rules is None:
        if base and artifact == ARTIFACT:
            raise EvidenceError(
                f"is of project {run.project}, which the base does not have", place=artifact
            )
        new = own().get(run.project)
        if new is None:
            raise EvidenceError(f"project {run.project} is in no {CONFIG} of the tested commit")
        # A project whose file has got a new name in it is still the old one, with the old gate.
        rules = next((known for known in base.values() if known.file == new.file), None)
        if rules is None:
            text = f"the base has no project {run.project} yet, so its own gate judged it"
            return _reserved(_by(new, folder), text)
    if run.judged_by != "base":
        raise EvidenceError(
            "was judged by the pull request's own rules, though the base has some",
            place=artifact,
            remedy="Check out with `fetch-depth: 2`",
        )
    return _by(rules, folder)


def _by(rules: Rules, folder: Folder) -> Judged:
    run = folder.run.model_copy(update={"project": rules.project})
    # Never the evidence alone: a run that leaves a stage out would not require it either.
    required = rules.gate.require
    if required is None:
        required = tuple(dict.fromkeys((*rules.stages, *run.stages, *run.left_out)))
    gate = rules.gate.model_copy(update={"require": required})
    return Judged(run=run, records=folder.records, verdict=decide(gate, run, folder.records))


def _reserved(one: Judged, text: str) -> Judged:
    """Return a verdict that is at best `warned`, with the reason said."""
    verdict = one.verdict
    reason = Reason(stage="", outcome="warned", text=text)
    outcome = min(verdict.outcome, "warned", key=VERDICTS.index)
    return replace(
        one, verdict=replace(verdict, outcome=outcome, reasons=(*verdict.reasons, reason))
    )


def _project(artifact: _Left, base: Mapping[str, Rules], repository: Repository) -> str:
    """Return whose check turns red: a project of the base wherever that can be told."""
    claimed = artifact.content.run.project if isinstance(artifact.content, Folder) else ""
    suffix = artifact.name.removeprefix(ARTIFACT).removeprefix("-")
    for known in (claimed, suffix):
        if known in base:
            return known
    only = next(iter(base), "") if len(base) == 1 or not suffix else ""
    return only or _named(suffix or repository.name.rpartition("/")[2])


def _named(text: str) -> str:
    """Return a text as a project's name."""
    return NOT_IN_A_NAME.sub("", text)[:64] or "project"


def _refused(project: str, told: WorkflowRun, pull: PullRequest, fault: str) -> Judged:
    return publication.unbelieved(project, head=told.head_sha, base=pull.base.sha, fault=fault)

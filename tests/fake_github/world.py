"""What a fake GitHub knows: one repository, its pull requests, runs, comments and checks."""

import io
import re
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

FaultKind = Literal[
    "secondary",
    "primary",
    "429",
    "502",
    "502-after",
    "drop",
    "drop-after",
    "drop-late",
    "slow",
    "slow-after",
]
ALL_SCOPES = {
    "actions": "write",
    "checks": "write",
    "contents": "read",
    "deployments": "write",
    "issues": "write",
    "pull-requests": "write",
}


@dataclass(kw_only=True)
class Fault:
    """Something that goes wrong once, with the next request that it fits."""

    kind: FaultKind
    method: str = ""
    path: str = ""
    """A regular expression; empty fits every path."""
    wait_s: float = 0
    """Of a limit: what the server asks for; zero names no time. Of `slow`, `slow-after` and `drop-late`: how long it takes."""

    def fits(self, method: str, path: str) -> bool:
        """Whether it meets this request."""
        return self.method in {"", method} and bool(re.search(self.path, path))


@dataclass(kw_only=True)
class Pull:
    """A pull request."""

    number: int
    head_sha: str
    base_sha: str
    head_branch: str = "feature"
    base_branch: str = "main"
    head_repository: str = "acme/loans"
    state: str = "open"
    merge_commit_sha: str | None = None
    merged: bool = False
    title: str = "A change"
    body: str = ""
    login: str = "ann"


@dataclass(kw_only=True)
class WorkflowRun:
    """A workflow run, as the API tells it."""

    id: int
    head_sha: str
    head_branch: str = "feature"
    head_repository: str = "acme/loans"
    event: str = "pull_request"
    run_number: int = 1
    run_attempt: int = 1
    status: str = "completed"
    conclusion: str = "success"
    name: str = "mlops"
    path: str = ".github/workflows/mlops.yml"


@dataclass(kw_only=True)
class Artifact:
    """An artifact of a run; `data` is its zip."""

    id: int
    run_id: int
    name: str
    data: bytes = field(repr=False)
    expired: bool = False


@dataclass(kw_only=True)
class World:
    """All state of the server; a test may look at it and change it."""

    repository: str = "acme/loans"
    token: str = "ghs_0123456789abcdefghijklmnopqrstuvwxyz"
    login: str = "github-actions[bot]"
    is_user: bool = False
    """A personal token may ask who it is; the runner's may not."""
    scopes: dict[str, str] = field(default_factory=lambda: dict(ALL_SCOPES))
    page_size: int = 100
    """At most this many a page, whatever was asked for."""
    comments: list[dict[str, Any]] = field(default_factory=list)
    check_runs: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[Pull] = field(default_factory=list)
    runs: list[WorkflowRun] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    """Text of files, by commit and path."""
    commits: dict[str, list[str]] = field(default_factory=dict)
    """Parents of commits."""
    collaborators: dict[str, str] = field(default_factory=dict)
    """Permission by login."""
    reruns: list[int] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    default_branch: str = "main"
    branches: list[str] = field(default_factory=list)
    """Branches that a pull request may come from; none means every one."""
    may_propose: bool = True
    """The repository's setting that GitHub Actions may create pull requests."""
    workflows: dict[str, list[str]] = field(default_factory=dict)
    """Inputs of the workflows with `workflow_dispatch` on the default branch, by file name."""
    dispatches: list[dict[str, Any]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    """Commits that nobody has pushed, so that they cannot be deployed."""
    deployments: list[dict[str, Any]] = field(default_factory=list)
    deployment_statuses: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """Requests and answers that GitHub's description does not allow."""
    next_id: int = 1000

    def new_id(self) -> int:
        """Return a number that was not used before."""
        self.next_id += 1
        return self.next_id

    def comment(self, issue: int, body: str, login: str) -> dict[str, Any]:
        """Add a comment."""
        made = {"id": self.new_id(), "issue": issue, "body": body, "login": login}
        self.comments.append(made)
        return made

    def issue(self, title: str, body: str, login: str, **changes: Any) -> dict[str, Any]:
        """Add an issue; pull requests and issues share their numbers."""
        known = [one["number"] for one in self.issues] + [one.number for one in self.pulls]
        made: dict[str, Any] = {"id": self.new_id(), "number": max(known, default=0) + 1}
        made |= {"title": title, "body": body, "login": login, "labels": []}
        made |= {"state": "open", "state_reason": None, **changes}
        self.issues.append(made)
        return made

    def own_comments(self) -> list[str]:
        """Return the bodies that the token's own login wrote."""
        return [one["body"] for one in self.comments if one["login"] == self.login]

    def state(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        document = {**asdict(self), "unknown": sorted(self.unknown)}
        for artifact in document["artifacts"]:
            artifact["data"] = len(artifact["data"])
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "World":
        """Build a world from JSON; an artifact's `path` is a folder or a zip file."""
        values = dict(document)
        values["pulls"] = [Pull(**one) for one in values.get("pulls", ())]
        values["runs"] = [WorkflowRun(**one) for one in values.get("runs", ())]
        values["faults"] = [Fault(**one) for one in values.get("faults", ())]
        values["artifacts"] = [
            Artifact(data=zipped(Path(one.pop("path"))), **one)
            for one in values.get("artifacts", ())
        ]
        return cls(**values)


def zipped(path: Path) -> bytes:
    """Return a zip file's bytes, or those of a zip made from a folder."""
    if path.is_file():
        return path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(path).as_posix())
    return buffer.getvalue()

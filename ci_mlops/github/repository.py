"""One repository on GitHub: its comments, checks, pull requests, runs and files, as values."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ci_mlops.errors import OutsideError
from ci_mlops.github.api import Api, RefusedError, segment

RUNNER_LOGIN = "github-actions[bot]"
ANNOTATIONS_A_REQUEST = 50
"""Source: GitHub docs, "REST API endpoints for check runs"."""
DEPLOYMENTS_AT_ONCE = 100
MAX_WORK_S = 10
"""GitHub ends a request after this time. Source: GitHub docs, "Best practices", timeouts."""
MAX_FILE_BYTES = 1024 * 1024
COMMENTS = "pull-requests: write"
CHECKS = "checks: write"
DEPLOYMENTS = "deployments: write"
ISSUES = "issues: write"
PULLS = "pull-requests: write"
NOT_PERMITTED = "not permitted to create"
"""GitHub's words where the repository's settings let no workflow create pull requests."""
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class _Said(BaseModel):
    """What GitHub tells; we read the fields that we know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class User(_Said):
    """An account; `github-actions[bot]` is one."""

    login: str


class Comment(_Said):
    """A comment on a pull request."""

    id: int
    body: str | None = ""
    user: User | None = None
    html_url: str = ""

    @property
    def login(self) -> str:
        """Who wrote it; empty when the account is gone."""
        return self.user.login if self.user else ""


class Issue(_Said):
    """An issue."""

    number: int
    title: str
    body: str | None = ""
    state: Literal["open", "closed"]
    user: User | None = None
    html_url: str = ""
    pull_request: dict[str, Any] | None = None
    """Anything where it is a pull request, which GitHub lists among issues."""

    @property
    def login(self) -> str:
        """Who opened it; empty when the account is gone."""
        return self.user.login if self.user else ""


class CheckRun(_Said):
    """A check on a commit."""

    id: int
    external_id: str | None = None
    html_url: str | None = None


class HeadRepository(_Said):
    """Where a branch lives: here, or in a fork."""

    full_name: str
    owner: User


DeploymentState = Literal[
    "error", "failure", "inactive", "in_progress", "queued", "pending", "success"
]


class Deployment(_Said):
    """Something that was deployed to an environment."""

    id: int
    payload: dict[str, Any] | str = ""


class DeploymentStatus(_Said):
    """How a deployment stands."""

    state: DeploymentState


class DeploymentRequest(BaseModel):
    """What is to be told of a deployment."""

    model_config = ConfigDict(frozen=True)

    ref: str
    environment: str
    task: str
    description: str
    payload: dict[str, Any]


class WorkflowRun(_Said):
    """A run of a workflow, as GitHub itself tells it."""

    id: int
    event: str
    head_sha: Sha
    head_branch: str | None = None
    head_repository: HeadRepository | None = None
    run_attempt: int = 1
    status: str | None = None
    path: str = ""
    html_url: str = ""


class Artifact(_Said):
    """Files that a run left."""

    id: int
    name: str
    expired: bool
    size_in_bytes: int


class _Side(_Said):
    ref: str
    sha: Sha


class PullRequest(_Said):
    """A pull request."""

    number: int
    state: str
    head: _Side
    base: _Side
    body: str | None = ""
    html_url: str = ""
    merged_at: str | None = None
    merge_commit_sha: Sha | None = None
    """GitHub's own merge of it, which `pull_request` tests; none while it is being made."""


class _Dispatched(_Said):
    html_url: str


class _Parent(_Said):
    sha: Sha


class _Commit(_Said):
    parents: list[_Parent]


class _Content(_Said):
    type: Literal["file"]
    encoding: str
    content: str
    size: int


class _Entry(_Said):
    path: str
    type: str
    sha: Sha


class _Tree(_Said):
    tree: list[_Entry]
    truncated: bool = False


class _Permission(_Said):
    permission: str


class Annotation(BaseModel):
    """A remark on a line of a file, for a check."""

    model_config = ConfigDict(frozen=True)

    path: str
    start_line: int
    end_line: int
    annotation_level: Literal["notice", "warning", "failure"]
    message: str
    title: str


class CheckRequest(BaseModel):
    """What a check should say."""

    model_config = ConfigDict(frozen=True)

    name: str
    head_sha: str
    external_id: str
    details_url: str
    conclusion: Literal["success", "failure", "neutral"]
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()


Kind = TypeVar("Kind", bound=_Said)


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository on GitHub, seen through the API alone. Every method may raise OutsideError."""

    api: Api
    name: str
    """`owner/name`."""

    def wait_for_lost(self, what: str) -> None:
        """Wait until a request whose answer was lost is done or will never be."""
        self.api.wait(MAX_WORK_S, f"looking for {what} again")

    # --- comments -------------------------------------------------------------------------------

    def login(self) -> str:
        """Return who the token speaks for.

        The runner's own token may not ask (403); it always is `github-actions[bot]`.
        """
        try:
            return _read(User, self.api.get("/user", needs="")).login
        except RefusedError as refused:
            if refused.status != 403:
                raise
            return RUNNER_LOGIN

    def comments(self, number: int, *, needs: str = COMMENTS) -> list[Comment]:
        """Return every comment on a pull request or an issue, the oldest first.

        `needs` names what the token must be allowed: of an issue's, `issues: write`.
        """
        path = self._path(f"/issues/{number}/comments")
        return [_read(Comment, one) for one in self.api.pages(path, needs=needs)]

    def create_comment(self, number: int, body: str, *, needs: str = COMMENTS) -> Comment:
        """Add a comment. Raises LostError when it may have been added."""
        path = self._path(f"/issues/{number}/comments")
        return _read(Comment, self.api.send("POST", path, {"body": body}, needs=needs))

    def update_comment(self, comment: int, body: str) -> Comment:
        """Replace a comment's text."""
        path = self._path(f"/issues/comments/{comment}")
        return _read(Comment, self.api.send("PATCH", path, {"body": body}, needs=COMMENTS))

    def delete_comment(self, comment: int) -> None:
        """Remove a comment; one that is gone already is no fault."""
        try:
            path = self._path(f"/issues/comments/{comment}")
            self.api.send("DELETE", path, None, needs=COMMENTS)
        except RefusedError as refused:
            if refused.status != 404:
                raise

    # --- issues ---------------------------------------------------------------------------------

    def issues(self, author: str, *, label: str = "") -> list[Issue]:
        """Return every issue, open or closed, that an account has opened, the oldest first."""
        query = {"state": "all", "creator": author, **({"labels": label} if label else {})}
        found = self.api.pages(self._path("/issues"), needs=ISSUES, query=query)
        issues = [issue for one in found if (issue := _read(Issue, one)).pull_request is None]
        return sorted(issues, key=lambda one: one.number)

    def issue(self, number: int) -> Issue:
        """Return an issue."""
        return _read(Issue, self.api.get(self._path(f"/issues/{number}"), needs="issues: read"))

    def create_issue(self, title: str, body: str, labels: Sequence[str] = ()) -> Issue:
        """Open an issue. Raises LostError when it may have been opened."""
        wanted = {"title": title, "body": body, "labels": list(labels)}
        return _read(Issue, self.api.send("POST", self._path("/issues"), wanted, needs=ISSUES))

    def update_issue(self, number: int, **changes: str) -> Issue:
        """Change `title`, `body`, `state` (open, closed) or `state_reason` of an issue."""
        path = self._path(f"/issues/{number}")
        return _read(Issue, self.api.send("PATCH", path, changes, needs=ISSUES))

    # --- checks ---------------------------------------------------------------------------------

    def checks(self, sha: str, name: str) -> list[CheckRun]:
        """Return the checks of a name on a commit."""
        path = self._path(f"/commits/{segment(sha)}/check-runs")
        found = self.api.pages(path, needs=CHECKS, query={"check_name": name}, key="check_runs")
        return [_read(CheckRun, one) for one in found]

    def create_check(self, wanted: CheckRequest) -> CheckRun:
        """Add a check with its first annotations. Raises LostError when it may have been added."""
        body = {"head_sha": wanted.head_sha, **_check(wanted, wanted.annotations)}
        return _read(CheckRun, self.api.send("POST", self._path("/check-runs"), body, needs=CHECKS))

    def update_check(
        self, check: int, wanted: CheckRequest, annotations: Sequence[Annotation] = ()
    ) -> CheckRun:
        """Replace what a check says, and add annotations to those that it has."""
        path = self._path(f"/check-runs/{check}")
        body = _check(wanted, annotations)
        return _read(CheckRun, self.api.send("PATCH", path, body, needs=CHECKS))

    # --- deployments ----------------------------------------------------------------------------

    def deployments(self, environment: str, task: str, *, sha: str = "") -> list[Deployment]:
        """Return the newest deployments of a task, or every one of a commit."""
        query = {"environment": environment, "task": task, **({"sha": sha} if sha else {})}
        found = self.api.pages(self._path("/deployments"), needs=DEPLOYMENTS, query=query)
        return [
            _read(Deployment, one) for one in islice(found, None if sha else DEPLOYMENTS_AT_ONCE)
        ]

    def create_deployment(self, wanted: DeploymentRequest) -> Deployment:
        """Tell of a deployment that others have made. Raises LostError when it may be told.

        By default GitHub would merge the main branch into the ref first, and refuse where a check
        of the commit has not passed.
        """
        body = {**wanted.model_dump(), "auto_merge": False, "required_contexts": []}
        made = self.api.send("POST", self._path("/deployments"), body, needs=DEPLOYMENTS)
        return _read(Deployment, made)

    def deployment_state(self, deployment: int) -> DeploymentState | None:
        """Return a deployment's newest state; None where none was told."""
        path = self._path(f"/deployments/{deployment}/statuses")
        found = self.api.get(path, needs=DEPLOYMENTS, query={"per_page": 1})
        return _read(DeploymentStatus, found[0]).state if found else None

    def set_deployment_state(
        self, deployment: int, state: DeploymentState, *, description: str, log_url: str
    ) -> None:
        """Tell how a deployment stands, and of no other one. Raises LostError when it may be told.

        By default GitHub would call others of the environment inactive.
        """
        path = self._path(f"/deployments/{deployment}/statuses")
        body = {"state": state, "description": description, "auto_inactive": False}
        body |= {"log_url": log_url} if log_url else {}
        self.api.send("POST", path, body, needs=DEPLOYMENTS)

    # --- pull requests, runs, artifacts -----------------------------------------------------------

    def pull_request(self, number: int) -> PullRequest:
        """Return a pull request."""
        path = self._path(f"/pulls/{number}")
        return _read(PullRequest, self.api.get(path, needs="pull-requests: read"))

    def pull_requests(
        self, owner: str, branch: str, *, state: Literal["open", "all"] = "open"
    ) -> list[PullRequest]:
        """Return the pull requests from a branch of an owner's repository, the newest first."""
        query = {"state": state, "head": f"{owner}:{branch}"}
        found = self.api.pages(self._path("/pulls"), needs="pull-requests: read", query=query)
        return [_read(PullRequest, one) for one in found]

    def pull_requests_of(self, commit: str) -> list[PullRequest]:
        """Return the merged pull request that brought a commit to the main branch.

        For a commit that is not there these are the open ones that hold it; for one that nobody
        knows, none.
        """
        path = self._path(f"/commits/{segment(commit)}/pulls")
        try:
            found = [*self.api.pages(path, needs="pull-requests: read")]
        except RefusedError as refused:
            if refused.status not in {404, 422}:
                raise
            return []
        return [_read(PullRequest, one) for one in found]

    def create_pull_request(self, *, head: str, base: str, title: str, body: str) -> PullRequest:
        """Propose a branch of this repository. Raises LostError when it may have been proposed."""
        wanted = {"head": head, "base": base, "title": title, "body": body}
        try:
            made = self.api.send("POST", self._path("/pulls"), wanted, needs=PULLS)
        except RefusedError as refused:
            if NOT_PERMITTED not in refused.fault:
                raise
            raise RefusedError(
                refused.fault,
                status=refused.status,
                remedy="Tick it in the repository's settings: Actions, General, Workflow "
                "permissions",
            ) from refused
        return _read(PullRequest, made)

    def update_pull_request(self, number: int, *, body: str) -> PullRequest:
        """Replace the text of a pull request."""
        path = self._path(f"/pulls/{number}")
        return _read(PullRequest, self.api.send("PATCH", path, {"body": body}, needs=PULLS))

    def run(self, run: int) -> WorkflowRun:
        """Return a workflow run."""
        path = self._path(f"/actions/runs/{run}")
        return _read(WorkflowRun, self.api.get(path, needs="actions: read"))

    def runs_of(self, sha: str) -> list[WorkflowRun]:
        """Return the workflow runs for a pull request's commit, the newest first."""
        query = {"head_sha": sha, "event": "pull_request"}
        path = self._path("/actions/runs")
        found = self.api.pages(path, needs="actions: read", query=query, key="workflow_runs")
        return [_read(WorkflowRun, one) for one in found]

    def rerun(self, run: int) -> None:
        """Run every job of a workflow run again."""
        self.api.send(
            "POST", self._path(f"/actions/runs/{run}/rerun"), None, needs="actions: write"
        )

    def dispatch(self, workflow: str, *, ref: str, inputs: Mapping[str, str]) -> str:
        """Start a workflow file with `workflow_dispatch` on a branch; return the run's address.

        Where GitHub does not tell it the address is empty. Raises LostError when it may have been
        started.
        """
        path = self._path(f"/actions/workflows/{segment(workflow)}/dispatches")
        wanted = {"ref": ref, "inputs": dict(inputs), "return_run_details": True}
        told = self.api.send("POST", path, wanted, needs="actions: write")
        return _read(_Dispatched, told).html_url if told else ""

    def artifacts(self, run: int) -> list[Artifact]:
        """Return what a workflow run left."""
        path = self._path(f"/actions/runs/{run}/artifacts")
        found = self.api.pages(path, needs="actions: read", key="artifacts")
        return [_read(Artifact, one) for one in found]

    def artifact_zip(self, artifact: int, *, max_bytes: int) -> bytes:
        """Return an artifact's zip file."""
        path = self._path(f"/actions/artifacts/{artifact}/zip")
        return self.api.download(path, needs="actions: read", max_bytes=max_bytes)

    # --- files and commits ------------------------------------------------------------------------

    def text(self, path: str, ref: str) -> str | None:
        """Return the text of a file at a commit; None where there is none."""
        address = self._path(f"/contents/{'/'.join(map(segment, path.split('/')))}")
        document = self._found(address, {"ref": ref})
        if document is None:
            return None
        content = _read(_Content, document)
        if content.encoding != "base64" or content.size > MAX_FILE_BYTES:
            raise OutsideError(f"{path} at {ref[:7]} is larger than {MAX_FILE_BYTES} bytes")
        try:
            return base64.b64decode(content.content).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as fault:
            raise OutsideError(f"{path} at {ref[:7]} is not text") from fault

    def files(self, ref: str) -> dict[str, str]:
        """Return the digest of every file at a commit, by its path."""
        found = self._found(self._path(f"/git/trees/{segment(ref)}"), {"recursive": "1"})
        if found is None:
            raise OutsideError(f"GitHub does not know commit {ref[:7]}")
        tree = _read(_Tree, found)
        if tree.truncated:
            raise OutsideError(f"commit {ref[:7]} has more files than GitHub lists at once")
        return {entry.path: entry.sha for entry in tree.tree if entry.type != "tree"}

    def parents(self, sha: str) -> list[str] | None:
        """Return the parents of a commit; None for one that is not known here."""
        found = self._found(self._path(f"/commits/{segment(sha)}"), {})
        return None if found is None else [one.sha for one in _read(_Commit, found).parents]

    def permission(self, login: str) -> str:
        """Return `admin`, `write`, `read` or `none`: what a person may do here."""
        found = self._found(self._path(f"/collaborators/{segment(login)}/permission"), {})
        return "none" if found is None else _read(_Permission, found).permission

    def _found(self, path: str, query: dict[str, str | int]) -> Any:
        try:
            return self.api.get(path, needs="contents: read", query=query)
        except RefusedError as refused:
            if refused.status not in {404, 422}:
                raise
            return None

    def _path(self, rest: str) -> str:
        return f"/repos/{self.name}{rest}"


def _check(wanted: CheckRequest, annotations: Sequence[Annotation]) -> dict[str, Any]:
    listed = [one.model_dump() for one in annotations[:ANNOTATIONS_A_REQUEST]]
    output: dict[str, Any] = {"title": wanted.title, "summary": wanted.summary}
    return {
        "name": wanted.name,
        "external_id": wanted.external_id,
        **({"details_url": wanted.details_url} if wanted.details_url else {}),
        "status": "completed",
        "conclusion": wanted.conclusion,
        "output": {**output, "annotations": listed} if listed else output,
    }


def _read(kind: type[Kind], document: Any) -> Kind:
    try:
        return kind.model_validate(document)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OutsideError(
            f"GitHub's answer is not what it documents: {kind.__name__}.{where}: {first['msg']}"
        ) from fault

"""GitHub's API on loopback: state, the rules of the documentation, and faults on demand.

Every request and every answer is held against GitHub's own description. Rules that are not in it are
here: scopes, 65,536 characters a comment, Link pagination, limits, dropped connections.
"""

import base64
import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.fake_github.description import Operation, Unknown, operation
from tests.fake_github.world import Fault, Pull, WorkflowRun, World

NOT_ACCESSIBLE = "Resource not accessible by integration"
SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
)
REPO = "/repos/{owner}/{repo}"


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


Answer = tuple[int, Any]
Handler = Callable[[World, Mapping[str, str], Mapping[str, str], Any], Answer]


class FakeGitHub:
    """A server on a free port of loopback, in a thread."""

    def __init__(self, world: World, port: int = 0) -> None:
        self.world = world
        self.lock = threading.Lock()
        fake = self

        class Bound(_Requests):
            github = fake

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Bound)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """What stands in GITHUB_API_URL."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Dropped(Exception):
    """The connection ends without an answer."""


class _Requests(BaseHTTPRequestHandler):
    github: FakeGitHub
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(length)
        url = urlsplit(self.path)
        if url.path.startswith("/_"):
            self._own(url.path)
            return
        world = self.github.world
        with self.github.lock:
            fault = next((f for f in world.faults if f.fits(self.command, url.path)), None)
            if fault:
                world.faults.remove(fault)
        try:
            self._faulty(fault, url.path, dict(parse_qsl(url.query)), raw)
        except _Dropped:
            world.requests.append((self.command, url.path, 0))
            self.close_connection = True

    def _faulty(self, fault: Fault | None, path: str, query: dict[str, str], raw: bytes) -> None:
        if fault is None:
            self._send(*self._answer(path, query, raw))
            return
        kind = fault.kind
        if kind == "drop":
            raise _Dropped
        if kind in {"secondary", "primary", "429"}:
            self._send(*_limited(fault))
            return
        if kind in {"502", "slow"}:
            time.sleep(fault.wait_s)
            self._send(502, {"message": "Server Error"}, {})
            return
        if kind == "drop-late":
            self.connection.shutdown(socket.SHUT_RDWR)
            time.sleep(fault.wait_s)
        answer = self._answer(path, query, raw)
        if kind in {"drop-after", "drop-late"}:
            raise _Dropped
        time.sleep(fault.wait_s)
        self._send(*((502, {"message": "Server Error"}, {}) if kind == "502-after" else answer))

    def _answer(
        self, path: str, query: dict[str, str], raw: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        world = self.github.world
        if self.headers.get("authorization") != f"Bearer {world.token}":
            return 401, {"message": "Bad credentials"}, {}
        try:
            body = json.loads(raw) if raw else None
            asked = operation(self.command, path)
        except (ValueError, Unknown) as fault:
            world.violations.append(f"{self.command} {path}: {fault!r}")
            return 404, {"message": "Not Found"}, {}
        wrong = asked.request_fault(query, body)
        if wrong:
            world.violations.append(f"{asked.name}: {wrong}")
            return 422, {"message": f"Validation Failed: {wrong}"}, {}
        with self.github.lock:
            try:
                _require_scope(world, asked)
                status, answer = HANDLERS[asked.name](world, asked.values, query, body)
            except Refusal as refusal:
                return refusal.status, {"message": refusal.message}, {}
        return self._success(asked, query, status, answer)

    def _success(
        self, asked: Operation, query: dict[str, str], status: int, answer: Any
    ) -> tuple[int, Any, dict[str, str]]:
        world, headers = self.github.world, {}
        if status == 302:
            # Another host, as GitHub's storage is: the token must stay behind.
            headers["Location"] = self.github.url.replace("127.0.0.1", "localhost") + answer
            return status, None, headers
        if status == 204:
            return status, None, headers
        answer, more = _page(answer, query, world.page_size)
        if more:
            rest = urlencode({**query, "page": more})
            url = f"{self.github.url}{urlsplit(self.path).path}?{rest}"
            headers["Link"] = f'<{url}>; rel="next", <{url}>; rel="last"'
        answer = asked.example(status, answer)
        wrong = asked.answer_fault(status, answer)
        if wrong:
            world.violations.append(f"answer of {asked.name}: {wrong}")
            return 500, {"message": wrong}, {}
        return status, answer, headers

    def _send(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        self.github.world.requests.append((self.command, urlsplit(self.path).path, status))
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def _own(self, path: str) -> None:
        """Serve what is not the API: an artifact's storage, and the state for tests elsewhere."""
        world = self.github.world
        if path == "/_state":
            self._send(200, world.state(), {})
            return
        if self.headers.get("authorization"):
            # The storage behind the redirect must never see the token.
            world.violations.append("the token was sent to the artifact storage")
        found = [one for one in world.artifacts if path == f"/_blob/{one.id}"]
        self._send(200 if found else 404, found[0].data if found else b"", {})

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def _limited(fault: Fault) -> tuple[int, Any, dict[str, str]]:
    status = 429 if fault.kind == "429" else 403
    if fault.kind == "primary":
        reset = str(int(time.time() + fault.wait_s))
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
        return status, {"message": "API rate limit exceeded for installation."}, headers
    headers = {"retry-after": f"{fault.wait_s:g}"} if fault.wait_s else {}
    return status, {"message": SECONDARY}, headers


def _page(answer: Any, query: Mapping[str, str], most: int) -> tuple[Any, int]:
    """Return one page of a list, and the number of the next one, or 0."""
    key = (
        next((k for k, v in answer.items() if isinstance(v, _Listed)), "")
        if isinstance(answer, dict)
        else ""
    )
    items = answer[key] if key else answer
    if not isinstance(items, _Listed):
        return answer, 0
    size = min(int(query.get("per_page", 30)), most)
    number = int(query.get("page", 1))
    part = list(items[(number - 1) * size : number * size])
    return ({**answer, key: part} if key else part), number + 1 if number * size < len(items) else 0


class _Listed(list[Any]):
    """A list that is given out in pages."""


# --- scopes -------------------------------------------------------------------------------------

SCOPES = (
    ("/actions/", "actions"),
    ("/check-runs", "checks"),
    ("/contents/", "contents"),
    ("/deployments", "deployments"),
    ("/git/", "contents"),
    ("/pulls", "pull-requests"),
    ("/commits/", "contents"),
    ("/issues/comments/", "pull-requests"),
    ("/issues", "issues"),
)


def _require_scope(world: World, asked: Operation) -> None:
    needed = "read" if asked.name.startswith("GET") else "write"
    scope = next((scope for part, scope in SCOPES if part in f"{asked.name}/"), "")
    if asked.name.endswith("/check-runs"):
        scope = "checks"
    number = asked.values.get("issue_number")
    if asked.name.endswith("/comments") and number not in {str(i["number"]) for i in world.issues}:
        scope = "pull-requests"
    granted = world.scopes.get(scope, "none")
    if scope and granted not in {"write", needed}:
        raise Refusal(403, NOT_ACCESSIBLE)


# --- operations ---------------------------------------------------------------------------------


def _user(world: World, *_: Any) -> Answer:
    if not world.is_user:
        raise Refusal(403, NOT_ACCESSIBLE)
    return 200, {"login": world.login, "type": "User"}


def _list_comments(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    found = [one for one in world.comments if str(one["issue"]) == values["issue_number"]]
    return 200, _Listed(_comment(world, one) for one in found)


def _create_comment(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    _fits(body["body"])
    number = int(values["issue_number"])
    known = {pull.number for pull in world.pulls} | {one["number"] for one in world.issues}
    if world.pulls and number not in known:
        raise Refusal(404, "Not Found")
    return 201, _comment(world, world.comment(number, body["body"], world.login))


def _update_comment(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    _fits(body["body"])
    found = _own_comment(world, values)
    found["body"] = body["body"]
    return 200, _comment(world, found)


def _delete_comment(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    world.comments.remove(_own_comment(world, values))
    return 204, None


def _own_comment(world: World, values: Mapping[str, str]) -> dict[str, Any]:
    for one in world.comments:
        if str(one["id"]) == values["comment_id"]:
            return one
    raise Refusal(404, "Not Found")


def _fits(text: str) -> None:
    if len(text) > 65_536:
        raise Refusal(422, "Validation Failed: body is too long (maximum is 65536 characters)")


def _comment(world: World, one: Mapping[str, Any]) -> dict[str, Any]:
    url = f"https://github.example/{world.repository}/pull/{one['issue']}#issuecomment-{one['id']}"
    user = {"login": one["login"], "type": "Bot" if "[bot]" in one["login"] else "User"}
    return {"id": one["id"], "body": one["body"], "user": user, "html_url": url}


def _create_check(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    made = {"id": world.new_id(), "status": "queued", **body, "annotations": []}
    world.check_runs.append(made)
    return 201, _changed_check(made, body)


def _update_check(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    for one in world.check_runs:
        if str(one["id"]) == values["check_run_id"]:
            return 200, _changed_check(one, body)
    raise Refusal(404, "Not Found")


def _changed_check(one: dict[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    output = body.get("output", {})
    one["annotations"] += output.get("annotations", [])
    one.update({key: value for key, value in body.items() if key != "output"})
    one["output"] = {k: v for k, v in output.items() if k != "annotations"} or one.get("output")
    if "conclusion" in body:
        one["status"] = "completed"
    return _check(one)


def _list_checks(
    world: World, values: Mapping[str, str], query: Mapping[str, str], _: Any
) -> Answer:
    name = query.get("check_name")
    found = [one for one in world.check_runs if one["head_sha"] == values["ref"]]
    listed = _Listed(_check(one) for one in found if name in {None, one["name"]})
    return 200, {"total_count": len(listed), "check_runs": listed}


def _check(one: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("id", "name", "head_sha", "status", "conclusion", "external_id", "details_url")
    output = {**one.get("output", {}), "annotations_count": len(one["annotations"])}
    url = f"https://github.example/runs/{one['id']}"
    app = {"slug": "github-actions"}
    return {**{k: one.get(k) for k in keys}, "output": output, "html_url": url, "app": app}


def _list_pulls(
    world: World, values: Mapping[str, str], query: Mapping[str, str], _: Any
) -> Answer:
    owner, _colon, branch = query.get("head", ":").partition(":")
    found = [
        pull
        for pull in world.pulls
        if query.get("state", "open") in {"all", pull.state}
        and (not branch or pull.head_branch == branch)
        and (not owner or pull.head_repository.startswith(f"{owner}/"))
    ]
    return 200, _Listed(_pull(world, one) for one in found)


def _create_pull(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    if not world.may_propose:
        raise Refusal(403, "GitHub Actions is not permitted to create or approve pull requests.")
    branch, base = body["head"], body["base"]
    if world.branches and branch not in world.branches:
        raise Refusal(422, "Validation Failed: PullRequest.head is invalid")
    if any((one.state, one.head_branch) == ("open", branch) for one in world.pulls):
        raise Refusal(422, f"Validation Failed: A pull request already exists for acme:{branch}.")
    made = world.issue(body["title"], body.get("body") or "", world.login)
    world.issues.remove(made)
    pull = Pull(
        number=made["number"],
        head_sha=hashlib.sha1(branch.encode(), usedforsecurity=False).hexdigest(),
        base_sha=hashlib.sha1(base.encode(), usedforsecurity=False).hexdigest(),
        head_branch=branch,
        base_branch=base,
        head_repository=world.repository,
        title=made["title"],
        body=made["body"],
        login=world.login,
    )
    world.pulls.append(pull)
    return 201, _pull(world, pull)


def _update_pull(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    for pull in world.pulls:
        if str(pull.number) == values["pull_number"]:
            _fits(body.get("body") or "")
            for name, value in body.items():
                setattr(pull, name, value)
            return 200, _pull(world, pull)
    raise Refusal(404, "Not Found")


def _pulls_of_commit(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    """Return the merged pull request that brought a commit, or else the open ones that hold it."""
    sha = values["commit_sha"]
    brought = [one for one in world.pulls if one.merged and one.merge_commit_sha == sha]
    open_ones = [one for one in world.pulls if one.state == "open" and one.head_sha == sha]
    return 200, _Listed(_pull(world, one) for one in brought or open_ones)


def _list_issues(
    world: World, values: Mapping[str, str], query: Mapping[str, str], _: Any
) -> Answer:
    """List issues, and pull requests too: for GitHub these are issues."""
    wanted = set(filter(None, query.get("labels", "").split(",")))
    state, creator = query.get("state", "open"), query.get("creator")
    issues = [_issue(world, one) for one in world.issues]
    pulls = [
        {**_issue(world, {**vars(pull), "id": pull.number, "labels": ()}), "pull_request": {}}
        for pull in world.pulls
    ]
    found = [
        one
        for one in sorted(issues + pulls, key=lambda one: -one["number"])
        if state in {"all", one["state"]}
        and creator in {None, one["user"]["login"]}
        and wanted <= {label["name"] for label in one["labels"]}
    ]
    return 200, _Listed(found)


def _create_issue(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    _fits(body.get("body") or "")
    labels = body.get("labels", [])
    made = world.issue(body["title"], body.get("body") or "", world.login, labels=labels)
    return 201, _issue(world, made)


def _get_issue(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    for one in world.issues:
        if str(one["number"]) == values["issue_number"]:
            return 200, _issue(world, one)
    raise Refusal(404, "Not Found")


def _update_issue(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    _fits(body.get("body") or "")
    for one in world.issues:
        if str(one["number"]) == values["issue_number"]:
            one.update(body)
            if body.get("state") == "open":
                one["state_reason"] = "reopened"
            return 200, _issue(world, one)
    raise Refusal(404, "Not Found")


def _issue(world: World, one: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("id", "number", "title", "body", "state")
    return {
        **{key: one[key] for key in keys},
        "state_reason": one.get("state_reason"),
        "labels": [{"name": name} for name in one["labels"]],
        "user": {"login": one["login"], "type": "Bot" if "[bot]" in one["login"] else "User"},
        "html_url": f"https://github.example/{world.repository}/issues/{one['number']}",
    }


def _get_pull(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    for pull in world.pulls:
        if str(pull.number) == values["pull_number"]:
            return 200, _pull(world, pull)
    raise Refusal(404, "Not Found")


def _pull(world: World, pull: Pull) -> dict[str, Any]:
    owner = pull.head_repository.partition("/")[0]
    head_repository = {"full_name": pull.head_repository, "owner": {"login": owner}}
    return {
        "number": pull.number,
        "state": pull.state,
        "title": pull.title,
        "body": pull.body,
        "user": {"login": pull.login},
        "merged_at": "2026-11-01T10:00:00Z" if pull.merged else None,
        "html_url": f"https://github.example/{world.repository}/pull/{pull.number}",
        "head": {"ref": pull.head_branch, "sha": pull.head_sha, "repo": head_repository},
        "base": {
            "ref": pull.base_branch,
            "sha": pull.base_sha,
            "repo": {"full_name": world.repository},
        },
        "merge_commit_sha": pull.merge_commit_sha,
    }


def _get_run(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    return 200, _run(world, _known_run(world, values))


def _known_run(world: World, values: Mapping[str, str]) -> WorkflowRun:
    for run in world.runs:
        if str(run.id) == values["run_id"]:
            return run
    raise Refusal(404, "Not Found")


def _list_runs(world: World, values: Mapping[str, str], query: Mapping[str, str], _: Any) -> Answer:
    found = [
        _run(world, run)
        for run in sorted(world.runs, key=lambda one: -one.id)
        if query.get("head_sha") in {None, run.head_sha} and query.get("event") in {None, run.event}
    ]
    return 200, {"total_count": len(found), "workflow_runs": _Listed(found)}


def _run(world: World, run: WorkflowRun) -> dict[str, Any]:
    keys = ("id", "head_sha", "head_branch", "event", "run_number", "run_attempt", "status")
    owner = run.head_repository.partition("/")[0]
    return {
        **{key: getattr(run, key) for key in keys},
        "name": run.name,
        "path": run.path,
        "conclusion": run.conclusion,
        "html_url": f"https://github.example/{world.repository}/actions/runs/{run.id}",
        "head_repository": {"full_name": run.head_repository, "owner": {"login": owner}},
        "repository": {"full_name": world.repository},
        "pull_requests": [],
    }


def _rerun(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    run = _known_run(world, values)
    if run.status != "completed":
        raise Refusal(403, "The workflow run is already running")
    world.reruns.append(run.id)
    return 201, {}


def _dispatch(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    inputs = world.workflows.get(values["workflow_id"])
    if inputs is None:
        raise Refusal(404, "Not Found")
    if body["ref"] not in {world.default_branch, f"refs/heads/{world.default_branch}"}:
        raise Refusal(422, f"No ref found for: {body['ref']}")
    unexpected = sorted(set(body.get("inputs", {})) - set(inputs))
    if unexpected:
        raise Refusal(422, f"Unexpected inputs provided: {json.dumps(unexpected)}")
    run = WorkflowRun(
        id=world.new_id(),
        head_sha=hashlib.sha1(body["ref"].encode(), usedforsecurity=False).hexdigest(),
        head_branch=world.default_branch,
        head_repository=world.repository,
        event="workflow_dispatch",
        status="queued",
        path=f".github/workflows/{values['workflow_id']}",
    )
    world.runs.append(run)
    world.dispatches.append({"workflow": values["workflow_id"], "run": run.id, **body})
    if not body.get("return_run_details"):
        return 204, None
    url = f"https://github.example/{world.repository}/actions/runs/{run.id}"
    return 200, {"workflow_run_id": run.id, "run_url": url, "html_url": url}


def _list_runs_of_workflow(
    world: World, values: Mapping[str, str], query: Mapping[str, str], _: Any
) -> Answer:
    path = f".github/workflows/{values['workflow_id']}"
    if values["workflow_id"] not in world.workflows:
        raise Refusal(404, "Not Found")
    found = [
        _run(world, run)
        for run in sorted(world.runs, key=lambda one: -one.id)
        if run.path == path and query.get("event") in {None, run.event}
    ]
    return 200, {"total_count": len(found), "workflow_runs": _Listed(found)}


def _get_repository(world: World, *_: Any) -> Answer:
    name = world.repository.partition("/")[2]
    known = {"name": name, "full_name": world.repository, "default_branch": world.default_branch}
    return 200, known


def _list_deployments(
    world: World, values: Mapping[str, str], query: Mapping[str, str], _: Any
) -> Answer:
    found = [
        one
        for one in reversed(world.deployments)
        if all(query.get(key) in {None, one[key]} for key in ("environment", "sha", "task"))
    ]
    return 200, _Listed(found)


def _create_deployment(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    if body.get("auto_merge", True):
        raise Refusal(409, "Conflict merging main into the deployment's ref")
    if "required_contexts" not in body:
        raise Refusal(409, "Conflict: Commit status checks failed")
    if body["ref"] in world.unknown:
        raise Refusal(422, f"No ref found for: {body['ref']}")
    kept = {key: body.get(key) for key in ("ref", "description", "payload")}
    made = {
        "id": world.new_id(),
        "sha": body["ref"],
        "task": body.get("task", "deploy"),
        "environment": body.get("environment", "production"),
        "creator": {"login": world.login},
        **{key: value for key, value in kept.items() if value is not None},
    }
    world.deployments.append(made)
    return 201, made


def _known_deployment(world: World, values: Mapping[str, str]) -> dict[str, Any]:
    for one in world.deployments:
        if str(one["id"]) == values["deployment_id"]:
            return one
    raise Refusal(404, "Not Found")


def _list_statuses(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    deployment = _known_deployment(world, values)["id"]
    found = [one for one in reversed(world.deployment_statuses) if one["deployment"] == deployment]
    return 200, _Listed(found)


def _create_status(world: World, values: Mapping[str, str], _: Any, body: Any) -> Answer:
    """Add a status; a success makes the others of its environment inactive, as GitHub does."""
    deployment = _known_deployment(world, values)
    if len(body.get("description") or "") > 140:
        raise Refusal(422, "Validation Failed: description is too long (maximum is 140 characters)")
    if body["state"] == "success" and body.get("auto_inactive", True):
        for other in world.deployments:
            if other["environment"] == deployment["environment"] and other is not deployment:
                _add_status(world, other, {"state": "inactive"})
    return 201, _add_status(world, deployment, body)


def _add_status(
    world: World, deployment: Mapping[str, Any], body: Mapping[str, Any]
) -> dict[str, Any]:
    made = {
        "id": world.new_id(),
        "deployment": deployment["id"],
        "environment": deployment["environment"],
        "creator": {"login": world.login},
        "description": "",
        **{key: value for key, value in body.items() if key != "auto_inactive"},
    }
    world.deployment_statuses.append(made)
    return made


def _list_artifacts(
    world: World, values: Mapping[str, str], query: Mapping[str, str], _: Any
) -> Answer:
    found = [
        {
            "id": one.id,
            "name": one.name,
            "expired": one.expired,
            "size_in_bytes": len(one.data),
        }
        for one in world.artifacts
        if str(one.run_id) == values["run_id"] and query.get("name") in {None, one.name}
    ]
    return 200, {"total_count": len(found), "artifacts": _Listed(found)}


def _download(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    for one in world.artifacts:
        if str(one.id) == values["artifact_id"]:
            if one.expired:
                raise Refusal(410, "Artifact has expired")
            return 302, f"/_blob/{one.id}"
    raise Refusal(404, "Not Found")


def _get_content(
    world: World, values: Mapping[str, str], query: Mapping[str, str], _: Any
) -> Answer:
    text = world.files.get(query.get("ref", ""), {}).get(values["path"])
    if text is None:
        raise Refusal(404, "Not Found")
    data = base64.encodebytes(text.encode()).decode()
    return 200, {
        "type": "file",
        "encoding": "base64",
        "size": len(text.encode()),
        "name": values["path"].rpartition("/")[2],
        "path": values["path"],
        "content": data,
    }


def _get_tree(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    sha = values["tree_sha"]
    # A merge holds what its head holds, unless the world says otherwise.
    files = world.files.get(sha) or world.files.get(world.commits.get(sha, [""])[-1])
    if files is None:
        raise Refusal(404, "Not Found")
    tree = [
        {
            "path": name,
            "mode": "100644",
            "type": "blob",
            "sha": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
            "size": len(text),
        }
        for name, text in sorted(files.items())
    ]
    return 200, {"sha": sha, "truncated": False, "tree": tree}


def _get_commit(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    if values["ref"] not in world.commits:
        raise Refusal(422, f"No commit found for SHA: {values['ref']}")
    parents = [{"sha": one} for one in world.commits[values["ref"]]]
    return 200, {"sha": values["ref"], "parents": parents}


def _permission(world: World, values: Mapping[str, str], *_: Any) -> Answer:
    level = world.collaborators.get(values["username"])
    if level is None:
        raise Refusal(404, f"{values['username']} is not a user")
    return 200, {"permission": level, "role_name": level, "user": None}


HANDLERS: dict[str, Handler] = {
    "GET /user": _user,
    f"GET {REPO}": _get_repository,
    f"GET {REPO}/issues": _list_issues,
    f"POST {REPO}/issues": _create_issue,
    f"GET {REPO}/issues/{{issue_number}}": _get_issue,
    f"PATCH {REPO}/issues/{{issue_number}}": _update_issue,
    f"GET {REPO}/issues/{{issue_number}}/comments": _list_comments,
    f"POST {REPO}/issues/{{issue_number}}/comments": _create_comment,
    f"PATCH {REPO}/issues/comments/{{comment_id}}": _update_comment,
    f"DELETE {REPO}/issues/comments/{{comment_id}}": _delete_comment,
    f"POST {REPO}/check-runs": _create_check,
    f"PATCH {REPO}/check-runs/{{check_run_id}}": _update_check,
    f"GET {REPO}/commits/{{ref}}/check-runs": _list_checks,
    f"GET {REPO}/commits/{{ref}}": _get_commit,
    f"GET {REPO}/commits/{{commit_sha}}/pulls": _pulls_of_commit,
    f"GET {REPO}/deployments": _list_deployments,
    f"POST {REPO}/deployments": _create_deployment,
    f"GET {REPO}/deployments/{{deployment_id}}/statuses": _list_statuses,
    f"POST {REPO}/deployments/{{deployment_id}}/statuses": _create_status,
    f"GET {REPO}/pulls": _list_pulls,
    f"POST {REPO}/pulls": _create_pull,
    f"GET {REPO}/pulls/{{pull_number}}": _get_pull,
    f"PATCH {REPO}/pulls/{{pull_number}}": _update_pull,
    f"POST {REPO}/actions/workflows/{{workflow_id}}/dispatches": _dispatch,
    f"GET {REPO}/actions/workflows/{{workflow_id}}/runs": _list_runs_of_workflow,
    f"GET {REPO}/actions/runs": _list_runs,
    f"GET {REPO}/actions/runs/{{run_id}}": _get_run,
    f"POST {REPO}/actions/runs/{{run_id}}/rerun": _rerun,
    f"GET {REPO}/actions/runs/{{run_id}}/artifacts": _list_artifacts,
    f"GET {REPO}/actions/artifacts/{{artifact_id}}/{{archive_format}}": _download,
    f"GET {REPO}/contents/{{path}}": _get_content,
    f"GET {REPO}/git/trees/{{tree_sha}}": _get_tree,
    f"GET {REPO}/collaborators/{{username}}/permission": _permission,
}


@contextlib.contextmanager
def serving(world: World, port: int = 0) -> Iterator[FakeGitHub]:
    """Serve a world until the block ends."""
    with FakeGitHub(world, port) as github:
        yield github

"""Commands in a pull request's comments, obeyed for people who may write, answered for others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ci_mlops import strict_yaml
from ci_mlops.errors import ConfigError, OutsideError
from ci_mlops.github.api import RefusedError
from ci_mlops.github.comment import add_once, own
from ci_mlops.github.repository import Comment, Repository
from ci_mlops.github.workflow import Workflow
from ci_mlops.publish import comment

PREFIX = "/mlops"
ACTIONS = ("rerun", "report", "promote ENVIRONMENT", "rollback ENVIRONMENT")
ENVIRONMENT = re.compile(r"[a-z][a-z0-9-]{0,31}")
MAY_WRITE = frozenset({"admin", "maintain", "write"})
MARKER = "<!-- ci-mlops-answer:{} -->"
"""Names the comment that is answered, so that a job that runs again answers once; people who may
not give commands get one answer on each pull request, however often they try."""
REFUSAL = "Thank you. Only people with write permission can give commands here, so nothing ran."
Action = Literal["rerun", "report", "promote", "rollback", "unknown"]
DOING = {"promote": "Promoting what is on the main branch to", "rollback": "Rolling back"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A command, who gave it, and where."""

    action: Action
    login: str
    number: int
    comment: int
    environment: str = ""
    """Of a release: a name as environments have, and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Releases:
    """Where the releases of a repository are: what they are, and the workflow that makes them."""

    config: str = "mlops.yml"
    """Its path on the default branch."""
    workflow: str = "mlops-release.yml"


def read(payload: Mapping[str, Any]) -> Asked | None:
    """Return the command of an `issue_comment` event; None where there is none to obey.

    Only a new comment on a pull request counts, and only its first line. A bot's command is none:
    two bots could answer each other for ever.
    """
    issue, said = payload.get("issue"), payload.get("comment")
    if (
        payload.get("action") != "created"
        or not isinstance(issue, dict)
        or "pull_request" not in issue
    ):
        return None
    user = said.get("user") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(user, dict) or user.get("type") == "Bot":
        return None
    words = str(said.get("body") or "").partition("\n")[0].split()
    if not words or words[0] != PREFIX:
        return None
    try:
        action, environment = _action(words[1:])
        return Asked(
            action=action,
            environment=environment,
            login=str(user["login"]),
            number=int(issue["number"]),
            comment=int(said["id"]),
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise ConfigError("is no issue_comment event", place="GITHUB_EVENT_PATH") from fault


def obey(repository: Repository, workflow: Workflow, releases: Releases) -> str:
    """Do what the comment of the event asks for, answer it, and return what was done in one line.

    Raises ConfigError for an event that cannot be read, OutsideError when GitHub refuses.
    """
    asked = read(workflow.payload())
    if asked is None:
        return "the event is no command in a new comment on a pull request"
    author = repository.login()
    # GitHub is asked, not the event: its `author_association` counts members who may not write.
    allowed = repository.permission(asked.login) in MAY_WRITE
    marker = MARKER.format(asked.comment if allowed else "refused")
    there = repository.comments(asked.number)
    if own(there, author, marker):
        return f"comment {asked.comment} needs no further answer"
    answer = REFUSAL
    if allowed and asked.environment:
        answer = _release(repository, asked, releases, branch=workflow.default_branch())
    elif allowed:
        answer = _done(repository, asked, comment.reports(there, author))
    add_once(repository, asked.number, author=author, marker=marker, text=answer)
    return answer


def _done(repository: Repository, asked: Asked, reports: Sequence[Comment]) -> str:
    """Obey and return the answer; no word of the comment that is answered is part of it."""
    if asked.action == "rerun":
        return _rerun(repository, asked.number, reports)
    if asked.action == "report" and reports:
        links = (f"[the latest report]({one.html_url})" for one in reports)
        return f"Here is {' and '.join(links)}."
    if asked.action == "report":
        return "There is no report on this pull request yet."
    *most, last = (f"`{PREFIX} {one}`" for one in ACTIONS)
    return f"The commands are {', '.join(most)} and {last}."


def _rerun(repository: Repository, number: int, reports: Sequence[Comment]) -> str:
    """Run the workflow again that left the latest verdict, on the head as it is now."""
    states = [state for one in reports if (state := comment.state(one.body or ""))]
    if not states:
        return "There is no verdict on this pull request yet, so there is nothing to run again."
    judge = repository.run(max(state.latest.run for state in states)).path
    sha = repository.pull_request(number).head.sha
    runs = [run for run in repository.runs_of(sha) if run.path == judge]
    if not runs:
        return f"No run has judged {sha[:7]} yet, so there is nothing to run again."
    newest = max(runs, key=lambda run: run.id)
    if newest.status != "completed":
        return f"[The run]({newest.html_url}) that judges {sha[:7]} is still going on."
    repository.rerun(newest.id)
    return f"Judging {sha[:7]} again: [the run]({newest.html_url})."


def _release(repository: Repository, asked: Asked, releases: Releases, *, branch: str) -> str:
    """Start the workflow that releases, on the default branch, as it stands there.

    The id makes it happen once, however often this job runs. Raises OutsideError, ConfigError.
    """
    if not branch:
        raise ConfigError("does not name the default branch", place="GITHUB_EVENT_PATH")
    known = _environments(repository, releases.config, branch)
    if asked.environment not in known:
        listed = ", ".join(f"`{one}`" for one in known) or "none"
        return f"`{releases.config}` has no such environment below `release`; it has {listed}."
    inputs = {
        "action": asked.action,
        "to": asked.environment,
        "reason": f"{PREFIX} {asked.action} by {asked.login} on pull request {asked.number}",
        "id": f"comment-{asked.comment}",
    }
    try:
        url = repository.dispatch(releases.workflow, ref=branch, inputs=inputs)
    except RefusedError as refused:
        if refused.status not in {404, 422}:
            raise
        return (
            f"`{releases.workflow}` on `{branch}` cannot be started like that: it needs "
            "`workflow_dispatch` with the inputs action, to, reason and id, as the starter has."
        )
    link = f"[the run]({url})" if url else f"see the runs of `{releases.workflow}`"
    return f"{DOING[asked.action]} {asked.environment}: {link}."


def _environments(repository: Repository, config: str, branch: str) -> list[str]:
    """Return the environments of a configuration on a branch. Raises OutsideError, ConfigError."""
    text = repository.text(config, branch)
    if text is None:
        raise OutsideError(f"there is no {config} on {branch}", remedy="Name it with --config")
    document = strict_yaml.read(text, f"{config} on {branch}").value
    release = document.get("release") if isinstance(document, dict) else None
    names = release if isinstance(release, dict) else {}
    return [name for name in map(str, names) if ENVIRONMENT.fullmatch(name)]


def _action(words: Sequence[str]) -> tuple[Action, str]:
    match words:
        case ["rerun"]:
            return "rerun", ""
        case ["report"]:
            return "report", ""
        case ["promote", name] if ENVIRONMENT.fullmatch(name):
            return "promote", name
        case ["rollback", name] if ENVIRONMENT.fullmatch(name):
            return "rollback", name
    return "unknown", ""

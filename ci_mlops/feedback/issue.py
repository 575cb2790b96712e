"""The issue that a correction comes from: as it was labelled, by somebody who may write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci_mlops.chatops import MAY_WRITE
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.github import comment
from ci_mlops.github.repository import Repository
from ci_mlops.github.workflow import Workflow
from ci_mlops.report import escape

LABEL = "model-feedback"
EVENTS = ("issues", "workflow_dispatch")
MARKER = "<!-- ci-mlops-feedback -->"
PROPOSED = """\
Thank you. {url} proposes to hold later models to this, and credits this issue for it."""
REFUSED = """\
This cannot become a correction yet: {why}

Edit the issue; then let somebody with write permission take the label {label} off and add it
again."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """An issue as it stood when somebody labelled it."""

    number: int
    login: str
    body: str


def read(payload: Mapping[str, Any]) -> Labelled:
    """Return the issue of an `issues` event. Raises ConfigError unless it was given our label."""
    try:
        label, issue = payload["label"]["name"], payload["issue"]
        labelled = Labelled(
            number=int(issue["number"]),
            login=str(payload["sender"]["login"]),
            body=str(issue.get("body") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise ConfigError("is no event of a labelled issue", place="GITHUB_EVENT_PATH") from fault
    if payload.get("action") != "labeled" or label != LABEL:
        raise ConfigError(f"does not add the label {LABEL}", place="GITHUB_EVENT_PATH")
    return labelled


def body(number: int, workflow: Workflow, repository: Repository) -> str:
    """Return an issue's body: the event's where that is about it, else what GitHub tells.

    The event's is the one that was labelled; its author may have edited the issue since. GitHub is
    asked, not the event, whether who labelled it may write. Raises ConfigError, OutsideError.
    """
    if workflow.inside and workflow.event not in EVENTS:
        raise ConfigError(
            f"the event {workflow.event} may not start this",
            place="--from-issue",
            remedy=f"Use {' or '.join(EVENTS)}",
        )
    if workflow.event != "issues":
        return repository.issue(number).body or ""
    labelled = read(workflow.payload())
    if labelled.number != number:
        raise ConfigError(f"the event is about issue {labelled.number}", place="--from-issue")
    if repository.permission(labelled.login) not in MAY_WRITE:
        raise ConfigError(
            "whoever added the label may not write here",
            place=f"issue {number}",
            remedy=f"Let somebody with write permission add the label {LABEL}",
        )
    return labelled.body


def is_asked_in(workflow: Workflow) -> bool:
    """Whether somebody waits for an answer in the issue."""
    return workflow.inside and workflow.event == "issues"


def thank(repository: Repository, number: int, url: str) -> None:
    """Say in the issue's one answer where its correction is proposed. Raises OutsideError."""
    _answer(repository, number, PROPOSED.format(url=url))


def refuse(repository: Repository, number: int, fault: ConfigError | CannotLook) -> None:
    """Say in the issue's one answer why it is no correction. Raises OutsideError."""
    why, label = escape.code(str(fault)), escape.code(LABEL)
    _answer(repository, number, REFUSED.format(why=why, label=label))


def _answer(repository: Repository, number: int, text: str) -> None:
    comment.keep(repository, number, marker=MARKER, write=lambda _: f"{MARKER}\n{text}")

"""One comment for each project on a pull request: found again, edited in place, never doubled."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ci_mlops.errors import EvidenceError, OutsideError
from ci_mlops.evidence import parse_json
from ci_mlops.github.api import LostError
from ci_mlops.github.repository import Comment, Repository
from ci_mlops.report import markdown
from ci_mlops.report.content import SIGNS
from ci_mlops.report.escape import code
from ci_mlops.report.escape import markdown as escaped
from ci_mlops.values import Many, Value
from ci_mlops.verdict import VerdictOutcome

MAX_FORMER = 10
MAX_TRIES = 10
MAX_STATE = 16_384
STATE = re.compile(r"^<!-- ci-mlops-state (\{.*\}) -->$")
ANY_MARKER = "<!-- ci-mlops:"
# Inside a comment of HTML these could end it, or look like the end of one.
HIDDEN = {ord(character): f"\\u{ord(character):04x}" for character in "<>&-"}

Render = Callable[[int], str]
"""Return the report, its marker on the first line, in at most so many characters."""


class Entry(Value):
    """One verdict as the comment remembers it."""

    run: Annotated[int, Field(ge=0)]
    """The workflow run's id: GitHub counts it up, and a report cannot choose it."""
    attempt: Annotated[int, Field(ge=0)] = 1
    sha: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    outcome: VerdictOutcome
    changed: Annotated[str, Field(max_length=120)] = ""

    def order(self) -> tuple[int, int]:
        """What makes one verdict newer than another."""
        return (self.run, self.attempt)


class State(Value):
    """What the comment's hidden line holds."""

    version: Literal[1] = 1
    latest: Entry
    former: Annotated[Many[Entry], Field(max_length=MAX_FORMER)] = ()


@dataclass(frozen=True, kw_only=True)
class Posted:
    """Where the comment stands, and the newer verdict that kept it as it was, if one did."""

    url: str
    newer: Entry | None = None


def put(
    repository: Repository, number: int, *, marker: str, entry: Entry, render: Render
) -> Posted:
    """Show a verdict in the one comment of its marker. Raises OutsideError.

    A creation whose answer was lost may have happened: look again before creating again.
    """
    author = repository.login()
    lost: LostError | None = None
    for _ in range(MAX_TRIES):
        found = own(repository.comments(number), author, marker)
        if found:
            return _edited(repository, found, entry, render)
        try:
            made = repository.create_comment(number, body(render, entry, ()))
        except LostError as fault:
            lost = fault
            repository.wait_for_lost("the comment")
            continue
        if made.login == author or not made.login:
            return Posted(url=made.html_url)
        # The token of an app may not ask who it is; its first comment tells.
        author = made.login
        return _edited(repository, own(repository.comments(number), author, marker), entry, render)
    raise OutsideError(f"the comment could not be created in {MAX_TRIES} tries: {lost}")


def add_once(repository: Repository, number: int, *, author: str, marker: str, text: str) -> None:
    """Add a comment unless one of its marker is there. Raises OutsideError."""
    lost: LostError | None = None
    for _ in range(MAX_TRIES):
        if lost and own(repository.comments(number), author, marker):
            return
        try:
            repository.create_comment(number, f"{marker}\n{text}")
        except LostError as fault:
            lost = fault
            repository.wait_for_lost("the answer")
            continue
        return
    raise OutsideError(f"the answer could not be created in {MAX_TRIES} tries: {lost}")


def reports(comments: Sequence[Comment], author: str) -> list[Comment]:
    """Return the comments with which `author` has shown verdicts."""
    return [
        one for one in comments if one.login == author and (one.body or "").startswith(ANY_MARKER)
    ]


def own(comments: Sequence[Comment], author: str, marker: str) -> list[Comment]:
    """Return the comments that `author` wrote and that begin with the marker, the oldest first.

    A marker alone proves nothing: anybody can write one.
    """
    found = [
        one for one in comments if one.login == author and _first_line(one.body or "") == marker
    ]
    return sorted(found, key=lambda one: one.id)


def state(text: str) -> State | None:
    """Return what a comment's hidden line holds; None where there is none that can be trusted."""
    line = text.rstrip().rpartition("\n")[2]
    found = STATE.match(line) if len(line) <= MAX_STATE else None
    if found is None:
        return None
    try:
        return State.model_validate(parse_json(found[1].encode(), "the comment's state"))
    except (EvidenceError, ValidationError):
        return None


def successor(previous: State | None, entry: Entry) -> tuple[Entry, ...] | None:
    """Return the former verdicts that stand below a new one; None when the new one is stale."""
    if previous is None:
        return ()
    if previous.latest.order() > entry.order():
        return None
    if previous.latest.order() == entry.order():
        return previous.former
    return (previous.latest, *previous.former)[:MAX_FORMER]


def body(render: Render, entry: Entry, former: Sequence[Entry]) -> str:
    """Return the whole comment, at most 65,536 characters: report, former verdicts, hidden line."""
    tail = "\n".join([*_earlier(former), _hidden(State(latest=entry, former=tuple(former)))])
    report = render(markdown.LIMIT - len(tail) - 1)
    return f"{report.rstrip()}\n{tail}"


def _edited(
    repository: Repository, found: Sequence[Comment], entry: Entry, render: Render
) -> Posted:
    """Edit the oldest comment; others are doubles that two runs at once have made."""
    states = [known for one in found if (known := state(one.body or ""))]
    newest = max(states, key=lambda one: one.latest.order(), default=None)
    former = successor(newest, entry)
    if former is None and newest is not None:
        return Posted(url=found[0].html_url, newer=newest.latest)
    edited = repository.update_comment(found[0].id, body(render, entry, former or ()))
    for double in found[1:]:
        repository.delete_comment(double.id)
    return Posted(url=edited.html_url)


def _first_line(text: str) -> str:
    return text.partition("\n")[0].strip()


def _hidden(known: State) -> str:
    text = json.dumps(known.model_dump(mode="json"), separators=(",", ":"))
    return f"<!-- ci-mlops-state {text.translate(HIDDEN)} -->"


def _earlier(former: Sequence[Entry]) -> list[str]:
    if not former:
        return []
    rows = [
        f"| {code(one.sha[:7])} | {SIGNS[one.outcome]} {WORDS[one.outcome]} "
        f"| {escaped(one.changed, 120)} |"
        for one in former
    ]
    return [
        f"<details><summary>Earlier verdicts ({len(former)})</summary>",
        "",
        "| commit | verdict | changed |",
        "|---|---|---|",
        *rows,
        "",
        "</details>",
        "",
    ]


WORDS = {
    "passed": "passed",
    "warned": "passed with warnings",
    "failed": "failed",
    "error": "could not judge",
}

"""One comment for each project on a pull request: the newest verdict, and the former ones below."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ci_mlops.github.comment import keep
from ci_mlops.github.repository import Comment, Repository
from ci_mlops.report import hidden, markdown
from ci_mlops.report.content import SIGNS
from ci_mlops.report.escape import code
from ci_mlops.report.escape import markdown as escaped
from ci_mlops.values import Many, Value
from ci_mlops.verdict import VerdictOutcome

MAX_FORMER = 10
ANY_MARKER = "<!-- ci-mlops:"

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
    """Show a verdict in the one comment of its marker. Raises OutsideError."""
    newer: list[Entry] = []

    def write(texts: Sequence[str]) -> str | None:
        newest = max(
            filter(None, map(state, texts)), key=lambda one: one.latest.order(), default=None
        )
        former = successor(newest, entry)
        newer[:] = [newest.latest] if former is None and newest is not None else []
        return None if newer else body(render, entry, former or ())

    kept = keep(repository, number, marker=marker, write=write)
    return Posted(url=kept.html_url, newer=newer[0] if newer else None)


def reports(comments: Sequence[Comment], author: str) -> list[Comment]:
    """Return the comments with which `author` has shown verdicts."""
    return [
        one for one in comments if one.login == author and (one.body or "").startswith(ANY_MARKER)
    ]


def state(text: str) -> State | None:
    """Return what a comment's hidden line holds; None where there is none that can be trusted."""
    return hidden.read(text, State)


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
    tail = "\n".join([*_earlier(former), hidden.line(State(latest=entry, former=tuple(former)))])
    report = render(markdown.LIMIT - len(tail) - 1)
    return f"{report.rstrip()}\n{tail}"


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

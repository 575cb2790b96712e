"""One issue for a standing trouble: found again, edited in place, re-opened, closed with a word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ci_mlops.errors import OutsideError
from ci_mlops.github.api import LostError
from ci_mlops.github.repository import ISSUES, Issue, Repository

MAX_TRIES = 10
MAX_TITLE = 256
MAX_BODY = 65_536
"""Characters. Source: GitHub refuses more with 422, "is too long (maximum is ...)"."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The issue as it stands, and what was done to it."""

    issue: Issue
    done: Literal["created", "edited", "reopened", "unchanged"]


def keep(
    repository: Repository, *, marker: str, title: str, body: str, labels: Sequence[str] = ()
) -> Kept:
    """Say something in the one issue of a marker, its first line. Raises OutsideError.

    An issue that a person closed is re-opened, since the trouble is there again; one that says the
    very same already is left alone. A creation whose answer was lost may have happened: look again
    before creating again.
    """
    title, text = title[:MAX_TITLE], f"{marker}\n{body}"[:MAX_BODY].rstrip()
    author = repository.login()
    lost: LostError | None = None
    for _ in range(MAX_TRIES):
        found = own(repository.issues(author), author, marker)
        if found:
            return _edited(repository, found, title, text)
        try:
            made = repository.create_issue(title, text, labels)
        except LostError as fault:
            lost = fault
            repository.wait_for_lost("the issue")
            continue
        if made.login not in {author, ""}:
            # The token of an app may not ask who it is; its first issue tells.
            former = own(repository.issues(made.login), made.login, marker)
            if former and former[0].number != made.number:
                return _edited(repository, former, title, text)
        return Kept(issue=made, done="created")
    raise OutsideError(f"the issue could not be created in {MAX_TRIES} tries: {lost}")


def close(repository: Repository, *, marker: str, words: str) -> Issue | None:
    """Close the issue of a marker with a comment; None where none is open. Raises OutsideError.

    Asked again after a crash it says the words only once.
    """
    author = repository.login()
    still_open = [one for one in own(repository.issues(author), author, marker) if _is_open(one)]
    for one in still_open:
        said = repository.comments(one.number, needs=ISSUES)
        if not said or (said[-1].login, said[-1].body) != (author, words):
            repository.create_comment(one.number, words, needs=ISSUES)
        repository.update_issue(one.number, state="closed", state_reason="completed")
    return still_open[0] if still_open else None


def own(issues: Sequence[Issue], author: str, marker: str) -> list[Issue]:
    """Return the issues that `author` opened and that begin with the marker, the oldest first.

    A marker alone proves nothing: anybody can write one.
    """
    found = [
        one
        for one in issues
        if one.login == author and (one.body or "").partition("\n")[0].strip() == marker
    ]
    return sorted(found, key=lambda one: one.number)


def _edited(repository: Repository, found: Sequence[Issue], title: str, text: str) -> Kept:
    """Edit the oldest issue; others are doubles that two runs at once have made."""
    first = found[0]
    for double in found[1:]:
        if _is_open(double):
            repository.update_issue(double.number, state="closed", state_reason="not_planned")
    if _is_open(first) and (first.title, _plain(first.body)) == (title, _plain(text)):
        return Kept(issue=first, done="unchanged")
    edited = repository.update_issue(first.number, title=title, body=text, state="open")
    return Kept(issue=edited, done="edited" if _is_open(first) else "reopened")


def _is_open(issue: Issue) -> bool:
    return issue.state == "open"


def _plain(text: str | None) -> str:
    """Return a text as GitHub may give it back: with other line ends, without those at its end."""
    return (text or "").replace("\r\n", "\n").rstrip()

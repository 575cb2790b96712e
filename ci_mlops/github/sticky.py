"""One issue and one pull request of a kind: found by author and marker, edited in place."""

from dataclasses import dataclass
from typing import Literal

from ci_mlops.errors import OutsideError
from ci_mlops.github.api import LostError
from ci_mlops.github.repository import Issue, PullRequest, Repository

MAX_TRIES = 3
MAX_BODY = 60_000
"""Below GitHub's 65,536, since a body may hold a report that is long already."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What stands on GitHub now."""

    number: int
    url: str
    changed: bool
    """Whether anything had to be written."""


def keep_issue(repository: Repository, *, marker: str, label: str, title: str, body: str) -> Kept:
    """Keep the one open issue of a marker, opened, edited or opened again. Raises OutsideError.

    A marker alone proves nothing, since anybody can write one: the author must be the token's own.
    """
    text = f"{marker}\n{body}"[:MAX_BODY]
    author, lost = repository.login(), None
    for _ in range(MAX_TRIES):
        found = _own_issue(repository, author, marker, label)
        if found is not None:
            return _changed(repository, found, title=title, text=text, state="open")
        try:
            made = repository.create_issue(title=title, body=text, labels=[label])
        except LostError as fault:
            lost = fault
            repository.wait_for_lost("the issue")
            continue
        return Kept(number=made.number, url=made.html_url, changed=True)
    raise OutsideError(f"the issue could not be opened in {MAX_TRIES} tries: {lost}")


def close_issue(
    repository: Repository, *, marker: str, label: str, title: str, body: str
) -> Kept | None:
    """Close the issue of a marker, if one is open. Raises OutsideError."""
    found = _own_issue(repository, repository.login(), marker, label)
    if found is None or found.state == "closed":
        return None
    text = f"{marker}\n{body}"[:MAX_BODY]
    return _changed(repository, found, title=title, text=text, state="closed")


def keep_pull_request(
    repository: Repository, *, branch: str, base: str, title: str, body: str
) -> Kept:
    """Keep the one open pull request from a branch of ours. Raises OutsideError."""
    text = body[:MAX_BODY]
    owner, lost = repository.name.partition("/")[0], None
    for _ in range(MAX_TRIES):
        found = repository.pull_requests(owner, branch)
        if found:
            return _rewritten(repository, found[0], title, text)
        try:
            made = repository.create_pull_request(branch=branch, base=base, title=title, body=text)
        except LostError as fault:
            lost = fault
            repository.wait_for_lost("the pull request")
            continue
        return Kept(number=made.number, url=made.html_url, changed=True)
    raise OutsideError(f"the pull request could not be opened in {MAX_TRIES} tries: {lost}")


def _own_issue(repository: Repository, author: str, marker: str, label: str) -> Issue | None:
    """Return the oldest issue of the marker, so that two runs at once agree on one."""
    own = [
        one
        for one in repository.issues(label)
        if one.login == author and (one.body or "").partition("\n")[0].strip() == marker
    ]
    return min(own, key=lambda one: one.number, default=None)


def _changed(
    repository: Repository,
    found: Issue,
    *,
    title: str,
    text: str,
    state: Literal["open", "closed"],
) -> Kept:
    if (found.title, found.body, found.state) == (title, text, state):
        return Kept(number=found.number, url=found.html_url, changed=False)
    made = repository.update_issue(found.number, title=title, body=text, state=state)
    return Kept(number=made.number, url=made.html_url, changed=True)


def _rewritten(repository: Repository, found: PullRequest, title: str, text: str) -> Kept:
    if found.body == text:
        return Kept(number=found.number, url=found.html_url, changed=False)
    made = repository.update_pull_request(found.number, title=title, body=text)
    return Kept(number=made.number, url=made.html_url, changed=True)

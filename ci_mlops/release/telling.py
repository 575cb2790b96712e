"""What a release tells people on GitHub once it has ended.

That is a comment on the merged pull request and, after a rollback, an issue. The ledger is the
truth, and stands already; nothing here changes how a release ended.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check
from ci_mlops.github import comment, issue
from ci_mlops.github.issue import MAX_BODY
from ci_mlops.github.repository import Repository
from ci_mlops.release.entry import Kind, Moment, Written
from ci_mlops.release.history import SHOWN, live_after, summary_lines
from ci_mlops.release.ledger import Ledger
from ci_mlops.release.revert import Reverted
from ci_mlops.release.settings import OnRollback
from ci_mlops.report import escape, hidden
from ci_mlops.values import Many, Value

MAX_FORMER = 10
MARGIN = 300
"""Characters that a marker needs."""
COMMENT = "<!-- ci-mlops-release:{}:{} -->"
ISSUE = "<!-- ci-mlops-rollback:{}:{} -->"
LABEL = "ci-mlops-rollback"
Line = Annotated[str, Field(max_length=300)]
Revert = Callable[[str, str], Reverted]
"""Propose to revert a commit, for a reason. Raises OutsideError."""


class Entry(Value):
    """An end as the comment remembers it."""

    sequence: Annotated[int, Field(ge=1)]
    kind: Kind
    when: Moment
    reason: Line = ""


class Remembered(Value):
    """What the comment's hidden line holds."""

    version: int = 1
    latest: Entry
    former: Annotated[Many[Entry], Field(max_length=MAX_FORMER)] = ()


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release that has ended, and the commit that it is about."""

    project: str
    written: Written
    checks: Sequence[Check]
    commit: str
    """What was promoted, or what was undone; empty where nobody knows."""


def subject(ledger: Ledger, written: Written) -> str:
    """Return the commit that an end is about: what was promoted, or what was undone.

    Raises OutsideError, EvidenceError where the ledger cannot be read.
    """
    entry = written.entry
    if entry.kind != "rolled_back":
        return entry.commit
    same = [one.entry for one in ledger.entries() if one.entry.environment == entry.environment]
    meant = next((one for one in same if (one.kind, one.id) == ("intent", entry.id)), entry)
    if meant.to != entry.to:  # A promotion that did not hold.
        return entry.commit
    undone = (one for one in same if (one.kind, one.to) == ("promoted", written.previous))
    return next((one.commit for one in undone), "")


def tell(
    release: Release, repository: Repository, *, rules: OnRollback, revert: Revert
) -> Iterator[str]:
    """Tell people, each in their place, and yield a line for whatever could not be told."""
    entry = release.written.entry
    reverted = Reverted()
    if entry.kind == "rolled_back" and release.commit and rules.revert_pull_request:
        try:
            reverted = revert(release.commit, entry.reason)
        except OutsideError as fault:
            reverted = Reverted(why_not=str(fault))
            yield f"no pull request reverts {release.commit[:7]}: {fault}"
    try:
        _issue(release, repository, reverted, wanted=rules.issue)
    except OutsideError as fault:
        yield f"the issue about the release could not be kept: {fault}"
    try:
        _comments(release, repository, reverted)
    except OutsideError as fault:
        yield f"the comment about the release could not be kept: {fault}"


def _issue(release: Release, repository: Repository, reverted: Reverted, *, wanted: bool) -> None:
    """Open the environment's issue after a rollback, and close it when a release holds."""
    entry = release.written.entry
    marker = ISSUE.format(release.project, entry.environment)
    if entry.kind not in {"promoted", "rolled_back"}:
        return
    there = issue.find(repository, marker)
    former = _former(release, [there.body or ""] if there else [])
    if former is None:
        return
    if entry.kind == "promoted":
        words = f"{entry.to[:SHOWN]} is live since {entry.when}."
        issue.close(repository, marker=marker, words=words)
    elif wanted:
        title = f"{release.project}: a release to {entry.environment} was undone"
        body = _text(release, reverted, former)
        issue.keep(repository, marker=marker, title=title, body=body, labels=(LABEL,))


def _comments(release: Release, repository: Repository, reverted: Reverted) -> None:
    """Keep the environment's one comment on the merged pull request that brought the commit."""
    if not release.commit:
        return
    marker = COMMENT.format(release.project, release.written.entry.environment)

    def write(texts: Sequence[str]) -> str | None:
        former = _former(release, texts)
        return None if former is None else f"{marker}\n{_text(release, reverted, former)}"

    for request in repository.pull_requests_of(release.commit):
        if request.merged_at:
            comment.keep(repository, request.number, marker=marker, write=write)


def _former(release: Release, texts: Sequence[str]) -> tuple[Entry, ...] | None:
    """Return the ends that were told before, the newest first; None where this one was."""
    known = [found for text in texts if (found := hidden.read(text, Remembered))]
    newest = max(known, key=lambda one: one.latest.sequence, default=None)
    if newest is None:
        return ()
    if newest.latest.sequence >= release.written.sequence:
        return None
    return (newest.latest, *newest.former)[:MAX_FORMER]


def _text(release: Release, reverted: Reverted, former: tuple[Entry, ...]) -> str:
    """Return what is told, with a hidden line that remembers it."""
    entry = release.written.entry
    latest = Entry(
        sequence=release.written.sequence,
        kind=entry.kind,
        when=entry.when,
        reason=entry.reason[:300],
    )
    remembered = hidden.line(Remembered(latest=latest, former=former))
    tail = "\n".join([*_earlier(former), "", remembered])
    told = "\n".join(_lines(release, reverted))
    return f"{told[: MAX_BODY - len(tail) - MARGIN]}\n{tail}"


def _lines(release: Release, reverted: Reverted) -> Iterator[str]:
    """Say how it ended, what was seen, and where to read on."""
    written = release.written
    entry = written.entry
    head, *rest = summary_lines(written, release.checks)
    yield f"#{head}"
    yield ""
    live = live_after(written)
    about = f"commit {escape.code(release.commit[:7])}, " if release.commit else ""
    yield (
        f"{escape.code(release.project)}: {about}by {escape.markdown(entry.who)}; "
        f"{escape.code(live[:SHOWN]) if live else 'nothing'} is live."
    )
    if reverted.url:
        yield f"\n{reverted.url} reverts it."
    elif reverted.why_not:
        yield f"\nNo pull request reverts it: {escape.markdown(reverted.why_not)}"
    if any(rest):
        yield from ("", "<details><summary>What was seen</summary>", "")
        yield from rest
        yield from ("", "</details>")
    if entry.run:
        yield from ("", f"[The run]({entry.run}) · entry {written.sequence} of the ledger")


def _earlier(former: Sequence[Entry]) -> Iterator[str]:
    if not former:
        return
    yield from ("", f"<details><summary>Before that ({len(former)})</summary>", "")
    for one in former:
        why = f": {escape.markdown(one.reason)}" if one.reason else ""
        yield f"- {one.when}, {one.kind.replace('_', ' ')}{why} (entry {one.sequence})"
    yield from ("", "</details>")

"""One comment of a marker on a pull request: found again, edited in place, never doubled."""

from collections.abc import Callable, Sequence

from ci_mlops.errors import OutsideError
from ci_mlops.github.api import LostError
from ci_mlops.github.repository import Comment, Repository

MAX_TRIES = 10
Write = Callable[[Sequence[str]], str | None]
"""Return the comment's new text from what is there, the oldest first, or None to leave it so."""


def keep(repository: Repository, number: int, *, marker: str, write: Write) -> Comment:
    """Write the one comment of a marker, its first line. Raises OutsideError.

    A creation whose answer was lost may have happened: look again before creating again.
    """
    author = repository.login()
    lost: LostError | None = None
    for _ in range(MAX_TRIES):
        found = own(repository.comments(number), author, marker)
        if found:
            return _edited(repository, found, write)
        try:
            made = repository.create_comment(number, write(()) or marker)
        except LostError as fault:
            lost = fault
            repository.wait_for_lost("the comment")
            continue
        if made.login == author or not made.login:
            return made
        # The token of an app may not ask who it is; its first comment tells.
        author = made.login
        return _edited(repository, own(repository.comments(number), author, marker), write)
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


def own(comments: Sequence[Comment], author: str, marker: str) -> list[Comment]:
    """Return the comments that `author` wrote and that begin with the marker, the oldest first.

    A marker alone proves nothing: anybody can write one.
    """
    found = [
        one for one in comments if one.login == author and first_line(one.body or "") == marker
    ]
    return sorted(found, key=lambda one: one.id)


def first_line(text: str) -> str:
    """Return where a marker stands."""
    return text.partition("\n")[0].strip()


def _edited(repository: Repository, found: Sequence[Comment], write: Write) -> Comment:
    """Edit the oldest comment; others are doubles that two runs at once have made."""
    text = write([one.body or "" for one in found])
    if text is None:
        return found[0]
    edited = repository.update_comment(found[0].id, text)
    for double in found[1:]:
        repository.delete_comment(double.id)
    return edited

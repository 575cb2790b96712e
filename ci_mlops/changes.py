"""Which projects a change concerns, decided from the names of files alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

DOCUMENTATION = (".md", ".rst", "LICENSE")


@dataclass(frozen=True, kw_only=True, order=True)
class Project:
    """A folder with an mlops.yml; `.` is the top of the repository."""

    folder: str
    name: str

    def holds(self, file: str) -> bool:
        """Whether a file of the repository lies in the project's folder."""
        return self.folder == "." or file.startswith(f"{self.folder}/")


def concerned(
    projects: Iterable[Project], changed: Iterable[str], before: Iterable[Project]
) -> tuple[Project, ...]:
    """Choose the projects whose files changed; `before` are the projects that the base has.

    A file outside of every project of the base may be used by each of them, so it concerns all; a
    change cannot hide it behind an mlops.yml of its own. Documentation concerns none.
    """
    projects, changed, before = tuple(projects), tuple(changed), tuple(before)
    shared = [name for name in changed if not any(one.holds(name) for one in before)]
    if any(not name.endswith(DOCUMENTATION) for name in shared):
        return projects
    return tuple(one for one in projects if any(one.holds(name) for name in changed))


def folder_of(file: str) -> str:
    """Return the folder of a file, `.` for the top of the repository."""
    return PurePosixPath(file).parent.as_posix()

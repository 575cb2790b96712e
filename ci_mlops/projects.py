"""Which projects of a repository a change concerns: every folder with an mlops.yml, as a matrix."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

from ci_mlops import checkout, config
from ci_mlops.changes import Project, concerned, folder_of
from ci_mlops.checkout import Repository
from ci_mlops.command import Commands
from ci_mlops.config import FILE_NAME
from ci_mlops.errors import ConfigError
from ci_mlops.github import Workflow

MAX_JOBS = 256
"""GitHub starts at most so many jobs from a matrix (docs: "Usage limits")."""
NOT_A_PATH = re.compile(r"[*?\[\]!\\,\x00-\x1f\x7f]")
"""What the runner would read as a pattern, or as the end of a line, in the path of an artifact; and
the comma, which the key of a cache may not hold."""


def matrix(
    folder: Path, *, every: bool, base: str | None, commands: Commands, workflow: Workflow
) -> str:
    """Return the projects that the change from base to head concerns, for `strategy.matrix`.

    All projects when `every` is set or there is no base. Raises ConfigError when there is none,
    when one is wrong, or when a base's project has lost its mlops.yml but not its other files.
    """
    repository = Repository.around(folder, commands)
    tracked = _names(repository.git("ls-files", "-z"))
    projects = _load(repository, tracked)
    found = checkout.find_base(repository, base, workflow)
    if found.commit:
        tree = repository.git("ls-tree", "-r", "-z", "--name-only", found.commit)
        before = _folders(_names(tree))
        refuse_orphans(before, tracked)
        if not every:
            diff = repository.git("diff", "--name-only", "--no-renames", "-z", found.commit, "--")
            known = [Project(folder=one, name="") for one in before]
            projects = concerned(projects, _names(diff), known)
    return as_json(projects)


def refuse_orphans(before: Iterable[str], tracked: Collection[str]) -> None:
    """Raise ConfigError for a folder that was a project, is none any more, and still has files.

    Otherwise a pull request could leave its gate by deleting mlops.yml.
    """
    now = set(_folders(tracked))
    for folder in before:
        files = [name for name in tracked if Project(folder=folder, name="").holds(name)]
        if folder not in now and files:
            raise ConfigError(
                f"is removed, but {files[0]} and {len(files) - 1} more files of its project stay",
                place=_file(folder),
                remedy="Keep it, or remove the whole project: a change cannot leave its own gate",
            )


def as_json(projects: Sequence[Project]) -> str:
    """Return one line of JSON, `{"include":[{"name":…,"folder":…},…]}`.

    Raises ConfigError for more projects than GitHub starts jobs.
    """
    if len(projects) > MAX_JOBS:
        raise ConfigError(
            f"the change concerns {len(projects)} projects, GitHub starts {MAX_JOBS} jobs at most",
            place="plan --matrix",
            remedy="Split the change, or the repository",
        )
    rows = [{"name": one.name, "folder": one.folder} for one in projects]
    return json.dumps({"include": rows}, separators=(",", ":"))


def _load(repository: Repository, tracked: Iterable[str]) -> tuple[Project, ...]:
    projects: dict[str, Project] = {}
    for folder in _folders(tracked):
        file = _file(folder)
        if NOT_A_PATH.search(folder):
            raise ConfigError(
                "its folder's name holds a character that GitHub does not take for itself",
                place=json.dumps(file),
                remedy="Rename the folder",
            )
        name = config.load(repository.top / file, name=file).config.project
        other = projects.setdefault(name.lower(), Project(folder=folder, name=name))
        if other.folder != folder:
            raise ConfigError(
                f"project {name!r} is the name of {_file(other.folder)} too",
                place=file,
                remedy="Give each project of a repository a name of its own",
            )
    if not projects:
        raise ConfigError(
            f"git tracks no {FILE_NAME} here",
            place=str(repository.top),
            remedy="Run `ci-mlops init` and commit what it writes",
        )
    return tuple(sorted(projects.values()))


def _folders(names: Iterable[str]) -> list[str]:
    # A workflow may well have this name too; `ci-mlops init` gives it to its own.
    paths = (name for name in names if not name.startswith(".github/"))
    return sorted(folder_of(path) for path in paths if PurePosixPath(path).name == FILE_NAME)


def _file(folder: str) -> str:
    return (PurePosixPath(folder) / FILE_NAME).as_posix()


def _names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]

"""The branch that keeps what the dashboard shows: a small JSON file for each run.

It stands beside the ledger's and is written in the same way. `history/main/PROJECT/` holds runs
that judged what is on main, `history/environments/NAME/PROJECT/` those of an environment's
monitors. Any program may read them: a checkout of the branch is all there is to it.
"""

import contextlib
import re
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from ci_mlops.command import Commands
from ci_mlops.dashboard.summary import Summary
from ci_mlops.errors import ConfigError, EvidenceError
from ci_mlops.evidence import Run, validated
from ci_mlops.github import Workflow
from ci_mlops.release.branch import Branch
from ci_mlops.release.candidate import TRUSTED_EVENTS

BRANCH = "ci-mlops-records"
TOP = "history"
MAX_KEPT = 5000
"""Runs of a project on main, or in an environment, that stand on the branch; older ones are in its
past."""
MAX_BYTES = 256 * 1024
NAMED = re.compile(
    rf"{TOP}/(?:main|environments/(?P<environment>[^/]+))/[^/]+"
    r"/(?P<when>\d{4}-\d\d-\d\dT\d{6}Z)-[0-9a-f]{12}\.json"
)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the branch holds: summaries, the oldest first, and the files that are none."""

    summaries: tuple[Summary, ...] = ()
    unreadable: tuple[str, ...] = ()


@contextlib.contextmanager
def records_at(remote: str, commands: Commands) -> Iterator["Records"]:
    """Give the records at a git remote, a URL or a path, with a throw-away copy of the branch."""
    with tempfile.TemporaryDirectory(prefix="ci-mlops-") as folder:
        yield Records(remote=remote, folder=Path(folder), commands=commands)


@dataclass(kw_only=True)
class Records(Branch):
    """The records at a git remote; `folder`, empty at first, holds a bare copy of the branch."""

    branch: ClassVar[str] = BRANCH
    called: ClassVar[str] = "the branch of records"

    def add(self, summary: Summary, *, run_sha256: str) -> bool:
        """Keep a summary unless one of the same run stands there; whether it was added.

        `run_sha256` is the digest of the run's `run.json`. Raises OutsideError where the remote
        refuses.
        """
        path = path_of(summary, run_sha256)
        data = summary.model_dump_json(exclude_defaults=True).encode() + b"\n"

        def made(tip: str) -> tuple[bool, str]:
            if tip and self._git("ls-tree", tip, "--", path).output:
                return False, ""
            tree = self._tree(tip, path, self._object("blob", data))
            subject = f"{summary.environment or 'main'} {summary.verdict} {summary.commit[:7]}"
            return True, self._commit(tree, tip, f"{summary.project} {subject}")

        return self._add(made)

    def read(self, *, environment: str | None = None, since: datetime | None = None) -> Kept:
        """Return the records of main, and of one environment or all, since a moment.

        A file that cannot be read is named, and keeps no other from being read. Raises
        OutsideError where the remote cannot be reached.
        """
        tip = self._fetch()
        if not tip:
            return Kept()
        file = self.folder / "history.tar"
        self._git("archive", "--format=tar", f"--output={file.resolve()}", tip)
        wanted = {None, environment} if environment else None
        begun = f"{since:%Y-%m-%dT%H%M%SZ}" if since else ""
        found: list[Summary] = []
        unreadable: list[str] = []
        with tarfile.open(file) as archive:
            for member in archive:
                if member.isdir() or member.name == "pax_global_header":
                    continue
                named = NAMED.fullmatch(member.name)
                if named and (wanted is not None and named["environment"] not in wanted):
                    continue
                if named and named["when"] < begun:
                    continue
                try:
                    found.append(_read(archive, member))
                except EvidenceError as fault:
                    unreadable.append(str(fault))
        found.sort(key=lambda one: one.when)
        return Kept(summaries=tuple(found), unreadable=tuple(unreadable))

    def _tree(self, tip: str, path: str, blob: str) -> str:
        """Return the tree of the tip with a file more, and without the oldest beyond MAX_KEPT."""
        # Nothing is ever written there, but git removes from an index only where a tree could be.
        folder = self.folder.resolve()
        env = {"GIT_INDEX_FILE": str(folder / "new-index"), "GIT_WORK_TREE": str(folder)}
        self._git("read-tree", tip or "--empty", env=env)
        self._git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
        beside = path.rpartition("/")[0]
        listed = sorted(self._git("ls-files", "--", beside, env=env).output.splitlines())
        for old in listed[: max(0, len(listed) - MAX_KEPT)]:
            self._git("update-index", "--force-remove", "--", old, env=env)
        return self._git("write-tree", env=env).output.strip()


def require_recordable(run: Run, workflow: Workflow, *, place: str) -> None:
    """Raise ConfigError for a run of what somebody proposes, or in a workflow of such."""
    here = workflow.event if workflow.inside else ""
    for event in (here, run.event):
        if event and event not in TRUSTED_EVENTS:
            raise ConfigError(
                f"{event} judges what somebody proposes, which is not recorded",
                place=place,
                remedy="Record in a workflow on push to the main branch, or on a schedule",
            )


def path_of(summary: Summary, run_sha256: str) -> str:
    """Return where a summary stands: its moment sorts it, its run tells it from others."""
    where = f"environments/{summary.environment}" if summary.environment else "main"
    when = summary.when.replace(":", "")
    return f"{TOP}/{where}/{summary.project}/{when}-{run_sha256[:12]}.json"


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Summary:
    named = NAMED.fullmatch(member.name)
    place = f"{BRANCH}: {member.name}"
    content = archive.extractfile(member) if member.isfile() and named else None
    if named is None or content is None:
        raise EvidenceError("is no record of a run", place=place)
    if member.size > MAX_BYTES:
        raise EvidenceError(f"is larger than {MAX_BYTES} bytes", place=place)
    summary = validated(Summary, content.read(), place)
    if summary.environment != (named["environment"] or ""):
        raise EvidenceError(f"says that it is of {summary.environment or 'main'!r}", place=place)
    return summary

"""The two checkouts of a pull request: head where it stands, base in a worktree beside it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ci_mlops.changes import DOCUMENTATION
from ci_mlops.command import Commands
from ci_mlops.dataset import digest as data_digest
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook, ConfigError, OutsideError
from ci_mlops.evidence import Subject, text_sha256, write_atomically
from ci_mlops.github import Workflow
from ci_mlops.model import digest as model_digest
from ci_mlops.model.settings import ModelSettings

NO_CODE = (*DOCUMENTATION, "mlops.yml")
MAIN_BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
PREPARE_TIMEOUT_S = 3600
MANY_COMMITS = 1000
"""As many names as a command line surely holds."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """The commit to compare with, or why there is none."""

    commit: str = ""
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A git repository on disk, seen through git alone."""

    top: Path
    commands: Commands

    @classmethod
    def around(cls, folder: Path, commands: Commands) -> "Repository":
        """Return the repository that holds `folder`. Raises ConfigError when there is none."""
        found = commands.run(["git", "rev-parse", "--show-toplevel"], cwd=folder, timeout_s=60)
        if found.code:
            raise ConfigError(
                "is not in a git repository",
                place=str(folder),
                remedy="Run `git init` and commit: a gate compares commits",
            )
        return cls(top=Path(found.output.rstrip("\n")), commands=commands)

    def git(self, *arguments: str) -> str:
        """Run git in the repository and return what it printed. Raises OutsideError on failure."""
        done = self.commands.run(["git", *arguments], cwd=self.top, timeout_s=600)
        if done.code:
            raise OutsideError(f"`git {arguments[0]}` failed: {done.last_line()}")
        return done.output

    def commit(self, revision: str) -> str:
        """Return the full hash of a revision, or an empty text when the repository lacks it."""
        arguments = ["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
        return self.commands.run(arguments, cwd=self.top, timeout_s=60).output.strip()

    def tree(self) -> str:
        """Return the hash of HEAD's tree, or an empty text when there is no commit yet."""
        arguments = ["git", "rev-parse", "--verify", "--quiet", "HEAD^{tree}"]
        return self.commands.run(arguments, cwd=self.top, timeout_s=60).output.strip()

    def is_ancestor(self, commit: str, other: str) -> bool:
        """Whether a commit comes before another, as far as the repository holds both."""
        arguments = ["git", "merge-base", "--is-ancestor", commit, other]
        return self.commands.run(arguments, cwd=self.top, timeout_s=60).code == 0

    def user(self) -> str:
        """Return the name that git has for whoever works here; empty where it has none."""
        arguments = ["git", "config", "user.name"]
        return self.commands.run(arguments, cwd=self.top, timeout_s=60).output.strip()

    def remote_url(self, name: str) -> str:
        """Return the address of a remote, or an empty text where there is none of the name."""
        arguments = ["git", "remote", "get-url", "--", name]
        done = self.commands.run(arguments, cwd=self.top, timeout_s=60)
        return "" if done.code else done.output.strip()

    def is_changed(self) -> bool:
        """Whether a tracked file of the working tree differs from HEAD."""
        arguments = ["git", "diff", "--quiet", "HEAD", "--"]
        return self.commands.run(arguments, cwd=self.top, timeout_s=600).code != 0

    def changed_files(self) -> tuple[str, ...]:
        """Return the files that differ from the index, new and removed ones too; sorted."""
        listed = ("ls-files", "--modified", "--others", "--exclude-standard", "-z")
        return tuple(sorted({name for name in self.git(*listed).split("\0") if name}))

    def show(self, revision: str, path: str) -> str | None:
        """Return the text of a file at a revision; None where it is not there."""
        arguments = ["git", "show", f"{revision}:{path}"]
        done = self.commands.run(arguments, cwd=self.top, timeout_s=60)
        return None if done.code else done.output

    def committed(self, commits: Iterable[str]) -> dict[str, datetime]:
        """Return when commits were made; those that are not here are left out."""
        found: dict[str, datetime] = {}
        wanted = sorted(set(commits))
        how = ("rev-list", "--no-walk", "--timestamp", "--ignore-missing")
        for start in range(0, len(wanted), MANY_COMMITS):
            listed = self.git(*how, *wanted[start : start + MANY_COMMITS])
            for line in listed.splitlines():
                seconds, commit = line.split()
                found[commit] = datetime.fromtimestamp(int(seconds), UTC)
        return found

    def worktree(self, commit: str, folder: Path) -> Path:
        """Check out a commit below `folder` once, and remove the worktrees of other commits."""
        wanted = folder / commit[:16]
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.iterdir():
            if other.is_dir() and other.name != wanted.name:
                self.git("worktree", "remove", "--force", str(other))
        if not (wanted / ".git").exists():
            self.git("worktree", "prune")
            self.git("worktree", "add", "--quiet", "--detach", "--force", str(wanted), commit)
        return wanted

    def code_digest(self, leave_out: Sequence[str]) -> str:
        """SHA-256 over the names and contents of the files that code may read.

        Those are the files git tracks or would add, without documentation, mlops.yml and
        `leave_out` (files and folders relative to the top: the subjects have digests of their own).
        """
        blobs: dict[str, str] = {}
        for entry in self.git("ls-files", "--stage", "-z").split("\0"):
            if entry:
                meta, _, name = entry.partition("\t")
                blobs[name] = meta.split()[1]
        changed = self.changed_files()
        gone = [name for name in changed if not (self.top / name).is_file()]
        present = [n for n in changed if n not in gone and _is_code(n, leave_out)]
        for name in gone:
            blobs.pop(name, None)
        for name in present:
            blobs[name] = _file_digest(self.top / name)
        kept = sorted((n, blob) for n, blob in blobs.items() if _is_code(n, leave_out))
        return text_sha256(json.dumps(kept))


def find_base(repository: Repository, wanted: str | None, workflow: Workflow) -> Base:
    """Choose the commit to compare with.

    A wanted revision: its merge-base with HEAD. In a pull-request workflow: the first parent of
    the merge commit that GitHub made. Else the merge-base with the main branch; on the main branch
    itself the commit before, or HEAD where the working tree has changes.
    Raises ConfigError when the wanted revision does not exist.
    """
    head = repository.commit("HEAD")
    if not head:
        return Base(missing="the repository has no commit yet")
    if wanted:
        commit = repository.commit(wanted)
        if not commit:
            raise ConfigError(
                f"revision {wanted!r} is not in this repository",
                place="--base",
                remedy="Fetch it first, for example `git fetch origin main`",
            )
        return _merge_base(repository, head, commit, wanted)
    if workflow.tests_a_merge():
        return _parent(repository)
    for branch in MAIN_BRANCHES:
        commit = repository.commit(branch)
        if commit and commit != head:
            return _merge_base(repository, head, commit, branch)
    return Base(commit=head) if repository.is_changed() else _parent(repository)


def _merge_base(repository: Repository, head: str, other: str, name: str) -> Base:
    arguments = ["git", "merge-base", head, other]
    found = repository.commands.run(arguments, cwd=repository.top, timeout_s=60).output.strip()
    if not found:
        return Base(missing=f"HEAD and {name} have no common commit here (a shallow clone?)")
    if found == head and not repository.is_changed() and other == head:
        return _parent(repository)
    return Base(commit=found)


def _parent(repository: Repository) -> Base:
    parent = repository.commit("HEAD^1")
    if parent:
        return Base(commit=parent)
    shallow = repository.git("rev-parse", "--is-shallow-repository").strip() == "true"
    if shallow:
        return Base(missing="the clone is too shallow to hold it; check out with `fetch-depth: 2`")
    return Base(missing="HEAD is the first commit of the repository")


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """The digests of what is judged on one side, and what kept others from being taken."""

    found: tuple[Subject, ...]
    missing: tuple[CannotLook, ...] = ()


def subjects(
    repository: Repository, root: Path, data: DataSettings, model: ModelSettings | None
) -> Subjects:
    """Take the digests of one side's data, model and code; `root` is the folder of mlops.yml."""
    found: dict[str, str] = {}
    missing: list[CannotLook] = []
    try:
        found |= data_digest.digest(data, root)
    except CannotLook as fault:
        missing.append(fault)
    try:
        found |= model_digest.digest(model, root) if model else {}
    except CannotLook as fault:
        missing.append(fault)
    inside = root.relative_to(repository.top)
    named = [data.test, data.train, model.path if model else None]
    files = [(inside / name).as_posix() for name in named if name]
    found["code"] = repository.code_digest(files)
    ordered = tuple(Subject(name=name, sha256=found[name]) for name in sorted(found))
    return Subjects(found=ordered, missing=tuple(missing))


def prepare(
    lines: Sequence[str],
    *,
    repository: Repository,
    root: Path,
    data: DataSettings,
    model: ModelSettings | None,
    log: Path,
    stamp: Path,
) -> Subjects:
    """Run the `prepare` lines in `root`, unless nothing they could depend on has changed since.

    Returns the digests afterwards. Raises CannotLook with the line that failed and its last words.
    """
    before = subjects(repository, root, data, model)
    if not lines or _stamp(lines, before) == _read(stamp):
        return before
    run_lines(lines, repository.commands, root=root, log=log, place="prepare")
    after = subjects(repository, root, data, model)
    if not after.missing:
        write_atomically(stamp, _stamp(lines, after).encode())
    return after


def run_lines(
    lines: Sequence[str],
    commands: Commands,
    *,
    root: Path,
    log: Path,
    place: str,
    timeout_s: float = PREPARE_TIMEOUT_S,
) -> None:
    """Run shell lines in `root`, one after the other, and keep what they say in `log`.

    Raises CannotLook with the line that failed, at `place`, and its last words.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        for line in lines:
            done = commands.run(["sh", "-e", "-c", line], cwd=root, timeout_s=timeout_s)
            file.write(f"$ {line}\n{done.output}{done.errors}")
            if done.code or done.timed_out:
                ended = f"took over {timeout_s:g} s" if done.timed_out else done.last_line()
                raise CannotLook(
                    f"`{line}` failed: {ended}",
                    place=place,
                    remedy=f"Its output is in {log.name}",
                )


def _stamp(lines: Sequence[str], state: Subjects) -> str:
    digests = [(subject.name, subject.sha256) for subject in state.found]
    faults = [str(fault) for fault in state.missing]
    return json.dumps({"lines": list(lines), "subjects": digests, "missing": faults})


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _is_code(name: str, leave_out: Sequence[str]) -> bool:
    if name.endswith(NO_CODE):
        return False
    return not any(name == out or name.startswith(f"{out}/") for out in leave_out)


def _file_digest(path: Path) -> str:
    # The same digest that git gives a blob, so that committing a file changes nothing.
    # Source: git-hash-object(1), and https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()

"""How data changed between two versions of the repository, or between two files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ci_mlops import config
from ci_mlops.checkout import Repository, find_base
from ci_mlops.command import Commands
from ci_mlops.dataset import telling
from ci_mlops.dataset.change import Change
from ci_mlops.dataset.comparing import Meaning, compare, meaning_of
from ci_mlops.dataset.held import Held, Stores, dvc_caches, held, is_same
from ci_mlops.dataset.reading import SUFFIXES
from ci_mlops.dataset.risk import LEVELS, Level, Risk, risk, worst
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.github import Workflow
from ci_mlops.pull_request import locked

PARTS = ("train", "test")
CANNOT_SEE = 4


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    base: str | None
    head: str | None
    config: Path
    key: str | None = None
    label: str | None = None
    hide: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """What changed, between what, with the risk of each change."""

    between: tuple[str, str]
    changes: tuple[tuple[Change, Risk], ...]

    @property
    def level(self) -> Level:
        """The highest risk of all changes."""
        return worst([one for _, one in self.changes])


@dataclass(frozen=True, kw_only=True)
class _Version:
    """A checkout in which data is looked for."""

    name: str
    root: Path
    top: Path
    data: DataSettings


def diff(asked: Asked, *, commands: Commands, workflow: Workflow, seed: int) -> Found:
    """Return what changed; two paths are compared as they are, anything else is a revision.

    `seed` salts the hashes of rows. Raises CannotLook, ConfigError and OutsideError.
    """
    paths = [Path(one) for one in (asked.base, asked.head) if one is not None]
    if len(paths) == 2 and all(_is_data(path) for path in paths):
        return _between_paths(paths[0], paths[1], asked, commands, seed)
    path = asked.config
    loaded = config.load(path)
    root = path.resolve().parent
    repository = Repository.around(root, commands)
    folder = root / ".mlops"
    with locked(folder), locked(folder / "diff"):
        return _between_versions(
            loaded, path, asked, repository=repository, workflow=workflow, seed=seed
        )


def lines(found: Found) -> Iterator[str]:
    """Say what changed, for a terminal."""
    yield f"data, {found.between[0]} → {found.between[1]}: risk {found.level}"
    for change, one in found.changes:
        yield from telling.lines(change, one)


def plain(found: Found) -> dict[str, Any]:
    """Return what changed, for programs."""
    changes = [telling.plain(change, one) for change, one in found.changes]
    return {
        "base": found.between[0],
        "head": found.between[1],
        "risk": found.level,
        "changes": changes,
    }


def exit_code(found: Found, fail_on: Level | None) -> int:
    """Return 4 where data could not be seen, 1 from a level of risk on, and 0 otherwise."""
    if any(change.state == "unseen" for change, _ in found.changes):
        return CANNOT_SEE
    return int(fail_on is not None and LEVELS.index(found.level) >= LEVELS.index(fail_on))


def compared(
    name: str, base: Held | None, head: Held | None, meaning: Meaning, *, seed: int
) -> Change:
    """Return what changed between two versions of one table, looking no further than needed.

    Raises CannotLook when one of them cannot be read.
    """
    if base is None or head is None:
        return Change(name=name, state="new" if base is None else "gone")
    if is_same(base, head):
        return Change(name=name, state="unchanged", why="equal digests")
    away = [
        f"{side} {one.place}: {one.missing}"
        for side, one in (("base", base), ("head", head))
        if one.source is None
    ]
    if base.source is None or head.source is None:
        return Change(
            name=name, state="unseen", why=f"changed, but could not be looked at: {'; '.join(away)}"
        )
    return compare(name, base.source, head.source, meaning, seed=seed)


def _is_data(path: Path) -> bool:
    return path.exists() or path.name.lower().endswith(SUFFIXES)


def _between_paths(base: Path, head: Path, asked: Asked, commands: Commands, seed: int) -> Found:
    settings = config.load(asked.config).config.data if asked.config.exists() else None
    meaning = _meaning([settings] if settings else [], asked)
    if settings is not None:
        meaning = _only_known(meaning, asked)
    sides: list[Held] = []
    for path in (base, head):
        folder = path.absolute().parent
        top, stores = _stores_around(folder, commands)
        found = held(folder, top, path.name, stores)
        if found is None:
            raise CannotLook("is missing", place=str(path), remedy="Name a file that is there")
        sides.append(found)
    change = compared(head.name, sides[0], sides[1], meaning, seed=seed)
    return Found(between=(str(base), str(head)), changes=((change, risk(change)),))


def _only_known(meaning: Meaning, asked: Asked) -> Meaning:
    """Return what mlops.yml says of values alone: files may have another key than its data."""
    return replace(meaning, key=asked.key, label=asked.label or "", ignore=frozenset())


def _stores_around(folder: Path, commands: Commands) -> tuple[Path, Stores]:
    try:
        repository = Repository.around(folder, commands)
    except ConfigError:
        return folder, Stores()
    return repository.top, _stores(repository, folder)


def _stores(repository: Repository, root: Path) -> Stores:
    common = Path(repository.git("rev-parse", "--git-common-dir").strip())
    objects = (repository.top / common) / "lfs" / "objects"
    return Stores(dvc=dvc_caches(root, repository.top), lfs=(objects,))


def _between_versions(
    loaded: config.Loaded,
    path: Path,
    asked: Asked,
    *,
    repository: Repository,
    workflow: Workflow,
    seed: int,
) -> Found:
    root = path.resolve().parent
    within = root.relative_to(repository.top.resolve())
    folder = root / ".mlops"
    file = (within / path.name).as_posix()
    base_commit = _base_commit(asked, repository, workflow)
    head = _Version(name="working tree", root=root, top=repository.top, data=loaded.config.data)
    if asked.head is not None:
        commit = _commit(repository, asked.head)
        kept = folder / "diff" / "head"
        head = _version(repository, commit, within=within, file=file, head=loaded, folder=kept)
    kept = folder / "diff" / "base"
    base = _version(repository, base_commit, within=within, file=file, head=loaded, folder=kept)
    made = folder / "base" / base_commit[:16]
    if (made / ".git").exists():  # where `run` has prepared it
        base = replace(base, root=made / within, top=made)
    meaning = _meaning([base.data, head.data], asked)
    stores = _stores(repository, root)
    changes = []
    for part in PARTS:
        sides = [_held(version, part, stores) for version in (base, head)]
        if sides != [None, None]:
            change = _part(part, sides, meaning, base=base, head=head, seed=seed)
            changes.append((change, risk(change)))
    return Found(between=(base.name, head.name), changes=tuple(changes))


def _part(
    part: str,
    sides: Sequence[Held | None],
    meaning: Meaning,
    *,
    base: _Version,
    head: _Version,
    seed: int,
) -> Change:
    """Return the change of one part; data that is named and not there could not be seen."""
    absent = [
        f"{version.name} has no {place} here; commit it, or let `ci-mlops run` prepare it"
        for version, side in zip((base, head), sides, strict=True)
        if side is None and (place := _place(version, part))
    ]
    if absent:
        return Change(name=part, state="unseen", why=f"could not be looked at: {absent[0]}")
    return compared(part, sides[0], sides[1], meaning, seed=seed)


def _held(version: _Version, part: str, stores: Stores) -> Held | None:
    place = _place(version, part)
    return held(version.root, version.top, place, stores) if place else None


def _place(version: _Version, part: str) -> str:
    return (version.data.train if part == "train" else version.data.test) or ""


def _base_commit(asked: Asked, repository: Repository, workflow: Workflow) -> str:
    if asked.base is not None and asked.head is not None:
        return _commit(repository, asked.base)
    found = find_base(repository, asked.base, workflow)
    if not found.commit:
        raise ConfigError(
            f"there is no base to compare with: {found.missing}",
            place="diff",
            remedy="Name two revisions or two files",
        )
    return found.commit


def _commit(repository: Repository, revision: str) -> str:
    commit = repository.commit(revision)
    if not commit:
        raise ConfigError(
            f"{revision!r} is no file and no revision of this repository",
            place="diff",
            remedy="Fetch it first, for example `git fetch origin main`",
        )
    return commit


def _version(
    repository: Repository,
    commit: str,
    *,
    within: Path,
    file: str,
    head: config.Loaded,
    folder: Path,
) -> _Version:
    text = repository.show(commit, file)
    data = head.config.data
    if text is not None:
        data = config.parse(text, f"{file} at {commit[:7]}").config.data
    top = repository.worktree(commit, folder)
    return _Version(name=commit[:10], root=top / within, top=top, data=data)


def _meaning(settings: Sequence[DataSettings], asked: Asked) -> Meaning:
    """Return what the columns mean: as the settings say, and over them as the flags do."""
    said = meaning_of(settings) if settings else Meaning()
    key, label = asked.key or said.key, asked.label or said.label
    return replace(
        said,
        key=key,
        label=label,
        hidden=said.hidden | {*asked.hide},
        ignore=said.ignore - {key, label},
    )

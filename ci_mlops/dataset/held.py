"""Where a version of the data is, as plain files, DVC's or Git LFS', and its digest without them.

A pointer of DVC (`data.csv.dvc`, `dvc.lock`) or of Git LFS names content by digest. Equal digests
are equal data, fetched or not; other content is looked for in the local stores, never fetched.
"""

import configparser
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ci_mlops.dataset.reading import inside
from ci_mlops.dataset.streaming import Piece, Source
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import file_sha256, text_sha256
from ci_mlops.strict_yaml import read

Algorithm = Literal["md5", "sha256"]
# Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
LFS = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\n"
    rb"size (\d+)\n"
)
LFS_BYTES = 1024
"""A pointer is shorter, says its specification."""
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Folders of content by digest: DVC's caches and Git LFS' objects."""

    dvc: tuple[Path, ...] = ()
    lfs: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Held:
    """One version of a table: its digest, and its content where it is here."""

    place: str
    source: Source | None
    own: Path | None = None
    """The plain file or folder, where the content is not behind a pointer."""
    algorithm: Algorithm = "sha256"
    digest: str = ""
    """The pointer's digest; empty for plain content, which is digested when it must be."""
    missing: str = ""
    """Why the content is not here, and what fetches it."""

    def digest_by(self, algorithm: Algorithm) -> str:
        """Return the content's digest; empty where only a digest of another kind is known."""
        if self.own is not None:
            return _digest(self.own, algorithm)
        return self.digest if self.algorithm == algorithm else ""


def held(root: Path, top: Path, location: str, stores: Stores) -> Held | None:
    """Find the data that `location` names below `root`; None where there is none.

    Pointers are looked for from `root` up to `top`. Raises CannotLook for a broken one.
    """
    path = root / location
    if path.exists() or path.is_symlink():
        inside(root, location)
        oid = _lfs_oid(path)
        if oid:
            return _from_lfs(oid, location, stores)
        return Held(place=location, source=Source.at(path, location), own=path)
    pointed = _dvc_pointer(root, top, location)
    return _from_dvc(*pointed, location, stores) if pointed else None


def is_same(base: Held, head: Held) -> bool:
    """Whether both hold the same bytes, as far as digests of one kind are known of both."""
    behind = [one for one in (base, head) if one.own is None]
    algorithm = behind[0].algorithm if behind else "sha256"
    one, two = base.digest_by(algorithm), head.digest_by(algorithm)
    return bool(one) and one == two


def dvc_caches(root: Path, top: Path) -> tuple[Path, ...]:
    """Return the caches of the DVC repository around `root`, as its configuration says."""
    for folder in _up(root, top):
        home = folder / ".dvc"
        if home.is_dir():
            found = [home / "cache"]
            for name in ("config", "config.local"):
                found += _configured(home / name)
            return tuple(found)
    return ()


def _configured(file: Path) -> list[Path]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return []
    named = parser.get("cache", "dir", fallback="")
    return [file.parent / named] if named else []


def _up(folder: Path, top: Path) -> Iterator[Path]:
    yield folder
    while folder not in (top, folder.parent):
        folder = folder.parent
        yield folder


def _lfs_oid(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > LFS_BYTES:
        return ""
    found = LFS.fullmatch(path.read_bytes())
    return found[1].decode() if found else ""


def _from_lfs(oid: str, location: str, stores: Stores) -> Held:
    kept = [store / oid[:2] / oid[2:4] / oid for store in stores.lfs]
    here = next((one for one in kept if one.is_file()), None)
    source = Source.of([Piece(name=location, path=here)], location) if here else None
    missing = (
        "" if here else f'its content is not here; fetch it with `git lfs pull -I "{location}"`'
    )
    return Held(place=location, source=source, algorithm="sha256", digest=oid, missing=missing)


def _dvc_pointer(root: Path, top: Path, location: str) -> tuple[str, str] | None:
    """Return the MD5 of what holds a location, and the location's path within it, if any does."""
    wanted = root / location
    for holder in _up(wanted, top):
        within = wanted.relative_to(holder).as_posix()
        pointer = holder.with_name(f"{holder.name}.dvc")
        found = _outputs(pointer) if pointer.is_file() else {}
        for folder in _up(holder.parent, top):
            lock = folder / "dvc.lock"
            found |= _locked(lock) if lock.is_file() else {}
        if holder in found:
            return found[holder], "" if within == "." else within
    return None


def _outputs(file: Path) -> dict[Path, str]:
    document = _document(file)
    folder = file.parent / str(document.get("wdir") or ".")
    return _digests(document.get("outs"), folder, file)


def _locked(file: Path) -> dict[Path, str]:
    stages = _document(file).get("stages")
    found: dict[Path, str] = {}
    for stage in stages.values() if isinstance(stages, dict) else ():
        found |= _digests(stage.get("outs") if isinstance(stage, dict) else None, file.parent, file)
    return found


def _digests(outputs: Any, folder: Path, file: Path) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for one in outputs if isinstance(outputs, list) else ():
        if not isinstance(one, dict) or "md5" not in one:
            continue
        if not MD5.fullmatch(str(one["md5"])):
            raise CannotLook(
                "holds an md5 that is none", place=file.name, remedy="Run `dvc commit`"
            )
        path = Path(folder, str(one.get("path", "")))
        found[Path(*_collapsed(path))] = str(one["md5"])
    return found


def _collapsed(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return parts


def _document(file: Path) -> Mapping[str, Any]:
    try:
        value = read(file.read_text(encoding="utf-8"), file.name).value
    except (ConfigError, OSError, UnicodeDecodeError) as fault:
        raise CannotLook(f"is no pointer of DVC: {fault}", place=file.name) from fault
    return value if isinstance(value, dict) else {}


def _from_dvc(md5: str, within: str, location: str, stores: Stores) -> Held:
    if md5.endswith(".dir") and within:
        entries = _manifest(md5, stores)
        if entries is not None and within in entries:
            return _from_dvc(entries[within], "", location, stores)
        md5 = f"{md5}/{within}"
        pieces = None if entries is None else _cached(_below(entries, within), stores)
    elif md5.endswith(".dir"):
        entries = _manifest(md5, stores)
        pieces = None if entries is None else _cached(entries, stores)
    else:
        pieces = _cached({location: md5}, stores)
    missing = "" if pieces else f"its content is not here; fetch it with `dvc pull {location}`"
    source = Source.of(pieces, location) if pieces else None
    return Held(place=location, source=source, algorithm="md5", digest=md5, missing=missing)


def _below(entries: Mapping[str, str], folder: str) -> dict[str, str]:
    inner = f"{folder}/"
    return {n.removeprefix(inner): md5 for n, md5 in entries.items() if n.startswith(inner)}


def _manifest(md5: str, stores: Stores) -> dict[str, str] | None:
    """Return the files of a folder that DVC tracks, by their path in it; None where unknown."""
    file = _object(md5, stores)
    if file is None:
        return None
    try:
        listed = json.loads(file.read_bytes())
        found = {str(PurePosixPath(one["relpath"])): str(one["md5"]) for one in listed}
    except (ValueError, KeyError, TypeError) as fault:
        raise CannotLook("a folder's list in the DVC cache is broken", place=md5) from fault
    if not all(MD5.fullmatch(one) for one in found.values()):
        raise CannotLook("a folder's list in the DVC cache is broken", place=md5)
    return found


def _cached(entries: Mapping[str, str], stores: Stores) -> list[Piece] | None:
    """Return the files of a table; None where one of them is not in a cache."""
    found = {name: _object(md5, stores) for name, md5 in sorted(entries.items())}
    pieces = [Piece(name=name, path=path) for name, path in found.items() if path is not None]
    return pieces if len(pieces) == len(found) else None


def _object(md5: str, stores: Stores) -> Path | None:
    # DVC 3 keeps files/md5/ab/cdef..., DVC 2 kept ab/cdef... Source: dvc.org/doc/user-guide
    for store in stores.dvc:
        for kept in (store / "files" / "md5" / md5[:2] / md5[2:], store / md5[:2] / md5[2:]):
            if kept.is_file():
                return kept
    return None


def _digest(path: Path, algorithm: Algorithm) -> str:
    files = [] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    if algorithm == "md5":
        if path.is_file():
            return _md5(path)
        # As DVC digests a folder: the list of its files as JSON.
        listed = [{"md5": _md5(one), "relpath": one.relative_to(path).as_posix()} for one in files]
        listed.sort(key=lambda one: PurePosixPath(one["relpath"]).parts)
        text = json.dumps(listed, sort_keys=True).encode()
        return f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}.dir"
    if path.is_file():
        return file_sha256(path)
    return text_sha256("\n".join(f"{f.relative_to(path)} {file_sha256(f)}" for f in files))


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

"""An artifact's zip file from an untrusted run: the evidence in it, or why it is not believed."""

import io
import re
import stat
import zipfile
import zlib
from pathlib import PurePosixPath

from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import MAX_BYTES

MAX_ZIP_BYTES = 16 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024
MAX_MEMBERS = 2000
FOLDER = "evidence"
EVIDENCE = re.compile(rf"(?:{FOLDER}/)?([a-z][a-z0-9_-]{{0,63}}\.json)")
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


def members(data: bytes, place: str) -> dict[str, bytes]:
    """Return the evidence files of a zip by name; nothing is written to disk, ever.

    They lie at its top or in `evidence/`. What else it holds is not read, but a name that would
    leave a folder, a link, or a name that stands twice makes the whole file one that was tampered
    with. Raises EvidenceError.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _refuse_tampering(entries, place)
            return _read(archive, entries, place)
    except (*UNREADABLE, ValueError) as fault:
        reason = str(fault) or type(fault).__name__
        raise EvidenceError(f"cannot be unpacked: {reason}", place=place) from fault


def _refuse_tampering(entries: list[zipfile.ZipInfo], place: str) -> None:
    if len(entries) > MAX_MEMBERS:
        raise EvidenceError(f"has over {MAX_MEMBERS} members", place=place)
    seen: set[str] = set()
    for entry in entries:
        name = entry.orig_filename
        if _leaves(name):
            raise EvidenceError(f"has a member that leaves its folder: {name!r:.100}", place=place)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise EvidenceError(f"has a member that is no file: {name!r:.100}", place=place)
        # Two names for one file: a second reader might see the other of the two.
        key = PurePosixPath(name).as_posix().casefold()
        if key in seen:
            raise EvidenceError(f"has the member {name!r:.100} twice", place=place)
        seen.add(key)


def _leaves(name: str) -> bool:
    path = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    return path.is_absolute() or drive or ".." in path.parts or "\\" in name or "\0" in name


def _read(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], place: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    total = 0
    for entry in entries:
        named = EVIDENCE.fullmatch(entry.filename)
        if named is None:
            continue
        if named[1] in found:
            raise EvidenceError(f"has {named[1]} at its top and in {FOLDER}/", place=place)
        if entry.compress_type not in METHODS or entry.flag_bits & 1:
            raise EvidenceError(f"has a member in a foreign form: {named[1]}", place=place)
        with archive.open(entry) as file:
            # The size that the zip states is its author's claim; what is read is counted.
            found[named[1]] = file.read(MAX_BYTES + 1)
        total += len(found[named[1]])
        if len(found[named[1]]) > MAX_BYTES or total > MAX_TOTAL_BYTES:
            raise EvidenceError(f"unpacks to more than is allowed at {named[1]}", place=place)
    return found

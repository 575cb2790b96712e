"""What an object store holds for a pattern, fetched into a folder, so that DuckDB reads files."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ci_mlops.errors import CannotLook


def fetched(location: str, folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Copy the objects that match into `folder`, those that are `wanted` by their last name.

    `location` is `s3://bucket/path/*.parquet`: a star is part of a name, two are any folders.
    Credentials are found as AWS' own tools find them; what else the store needs stands behind a
    question mark, such as `?region=eu-west-1` or `?scheme=http&endpoint_override=minio:9000`.
    Raises CannotLook where the store refuses or cannot be reached.
    """
    import pyarrow as pa
    from pyarrow import fs

    pattern, _, options = location.partition("?")
    fixed = pattern.partition("*")[0].rpartition("/")[0]
    try:
        store, top = fs.FileSystem.from_uri(f"{fixed}?{options}" if options else fixed)
        matches = re.compile(re.escape(top) + _expression(pattern.removeprefix(fixed)))
        listed = store.get_file_info(
            fs.FileSelector(top, recursive="/" in pattern[len(fixed) + 1 :])
        )
        found = [one for one in listed if one.is_file and matches.fullmatch(one.path)]
        kept = sorted(one.path for one in found if wanted(one.base_name))
        return [_copied(store, path, folder, number) for number, path in enumerate(kept)]
    except (OSError, pa.ArrowException) as fault:
        reason = next(iter(str(fault).splitlines()), type(fault).__name__)
        raise CannotLook(
            f"cannot be read: {reason[:300]}",
            place=location,
            remedy="Check the address, the region, and the credentials in the environment",
        ) from fault


def _expression(pattern: str) -> str:
    """Return a pattern as a regular expression."""
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*/|\*\*|\*)", pattern)
    return "".join(signs.get(part) or re.escape(part) for part in parts)


def _copied(store: Any, path: str, folder: Path, number: int) -> Path:
    """Copy an object as it stands, under a name of its own that keeps its day and its suffix."""
    copy = folder / f"{number:06}-{path.rpartition('/')[2]}"
    with (
        store.open_input_stream(path, compression=None) as source,
        copy.open("wb") as target,
    ):
        shutil.copyfileobj(source, target, length=1024 * 1024)
    return copy

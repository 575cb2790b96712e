"""The digests of data: of a file's bytes, or of a folder's names and bytes."""

from pathlib import Path

from ci_mlops.dataset.reading import inside
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.evidence import file_sha256, text_sha256


def digest(settings: DataSettings, root: Path) -> dict[str, str]:
    """Return SHA-256 digests named `data.test` and `data.train`. Raises CannotLook."""
    named = {"data.test": settings.test, "data.train": settings.train}
    return {name: _digest(inside(root, place)) for name, place in named.items() if place}


def _digest(path: Path) -> str:
    if path.is_file():
        return file_sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return text_sha256("\n".join(f"{f.relative_to(path)} {file_sha256(f)}" for f in files))

"""The digests of a model: of its file, of its folder, or of the predictions in its place."""

from pathlib import Path

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import file_sha256, text_sha256
from ci_mlops.model.settings import ModelSettings


def digest(settings: ModelSettings, root: Path) -> dict[str, str]:
    """Return SHA-256 digests named `model`, or `predictions.test` and `predictions.train`.

    Raises CannotLook with the path of what is missing.
    """
    if settings.predictions is None:
        return {"model": _digest(root, settings.path or "")}
    files = {
        "predictions.test": settings.predictions.test,
        "predictions.train": settings.predictions.train,
    }
    return {name: _digest(root, place) for name, place in files.items() if place}


def _digest(root: Path, location: str) -> str:
    path = root / location
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        raise CannotLook(
            f"{location} is missing", remedy="Commit it, or fetch or build it in `prepare:`"
        )
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return text_sha256("\n".join(f"{f.relative_to(path)} {file_sha256(f)}" for f in files))

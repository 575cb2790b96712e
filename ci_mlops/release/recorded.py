"""Where the answers that were judged are found again: in a bundle that is kept, or in the image."""

from collections.abc import Sequence
from pathlib import Path

from ci_mlops.containers import Docker
from ci_mlops.errors import CannotLook, OutsideError
from ci_mlops.serving import bundle
from ci_mlops.serving.bundle import RECORDED, Recorded

IN_IMAGE = f"/srv/bundle/{RECORDED}"


def in_bundles(folders: Sequence[Path], digest: str) -> Recorded:
    """Return what a bundle recorded, from the first folder that has it. Raises OutsideError."""
    for one in folders:
        folder = one / digest.removeprefix("sha256:")
        if folder.is_dir():
            try:
                return bundle.read_recorded(folder)
            except CannotLook as fault:
                raise OutsideError(fault.fault, place=fault.place) from fault
    raise OutsideError(
        f"the recorded answers of {digest[:19]} are not here",
        remedy="Run `ci-mlops run --no-cache` for its commit, which records them",
    )


def in_image(docker: Docker, digest: str) -> Recorded:
    """Return what an image carries, which every image of stage image does. Raises OutsideError."""
    try:
        return Recorded.model_validate_json(docker.file(digest, IN_IMAGE))
    except (CannotLook, ValueError) as fault:
        raise OutsideError(
            f"the image {digest[:19]} has no recorded answers in {IN_IMAGE}",
            remedy="Build it with stage image, which puts them there",
        ) from fault

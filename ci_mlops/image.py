"""`ci-mlops image verify`: whether any image or server keeps the promises of Open Inference."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_mlops.containers import Docker
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.serving import bundle, conformance, in_image
from ci_mlops.serving.client import Client, until_ready


def verify(
    reference: str,
    *,
    model: str,
    rows: Path | None,
    port: int,
    ready_within_s: float,
    tolerance: float,
    environ: Mapping[str, str],
) -> Sequence[Check]:
    """Ask the server at an address, or of an image that is started for it; return what was seen.

    Raises CannotLook when a server at an address does not answer, OutsideError without a daemon.
    """
    recorded = bundle.read_recorded_at(rows) if rows else None
    if reference.startswith(("http://", "https://")):
        if until_ready(reference, within_s=ready_within_s, runs=lambda: True) is None:
            raise CannotLook(f"was not ready within {ready_within_s:g} s", place=reference)
        with contextlib.closing(Client(reference)) as client:
            name = conformance.model_of(client, model)
            asked = recorded or conformance.made_up(client, name)
            return conformance.examine(client, model=name, recorded=asked, tolerance=tolerance)
    with Docker.connected(environ) as docker:
        return in_image.look(
            docker,
            docker.image(reference),
            port=port,
            ready_within_s=ready_within_s,
            model=model,
            recorded=recorded,
            tolerance=tolerance,
        ).checks

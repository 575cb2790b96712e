"""An image's server, started by digest with nothing it may change, asked, and told to end."""

import contextlib
from dataclasses import dataclass

from ci_mlops.buildah import Buildah
from ci_mlops.containers import Docker, Image, is_root
from ci_mlops.evidence import Check
from ci_mlops.serving import conformance
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import Client, until_ready


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An image as it was seen; `ready_s` is None when its server was not ready in time."""

    image: Image
    checks: tuple[Check, ...]
    ready_s: float | None = None
    memory_bytes: int | None = None
    last_line: str = ""


def look(
    docker: Docker | Buildah,
    image: Image,
    *,
    port: int,
    ready_within_s: float,
    model: str,
    recorded: Recorded | None,
    tolerance: float,
    whole: bool = True,
) -> Measured:
    """Start an image, ask its server, measure it, and end it under load.

    Without `whole` it is only started, asked once and measured. Without a `model` the server is
    asked for its only one. Raises CannotLook when it cannot be started, ConfigError when the model
    cannot be told.
    """
    with docker.running(image, port=port) as container:
        ready_s = until_ready(container.url, within_s=ready_within_s, runs=container.runs)
        printed = "" if ready_s is not None else container.last_line()
        how = f", started by digest, {docker.how},"
        first = (
            _unprivileged(image),
            conformance.ready(ready_s, ready_within_s, how=how, printed=printed),
        )
        if ready_s is None:
            return Measured(image=image, checks=first, last_line=printed)
        with contextlib.closing(Client(container.url)) as client:
            name = conformance.model_of(client, model)
            asked = recorded or conformance.made_up(client, name)
            checks = conformance.examine(client, model=name, recorded=asked, tolerance=tolerance)
            memory = container.memory_bytes()
            answers = any(one.name == "answers" and one.outcome == "passed" for one in checks)
            if whole and answers:
                row = asked.row(0)
                checks.append(conformance.end_under_load(container, client, model=name, inputs=row))
            elif whole:
                checks.append(_not_ended())
        return Measured(image=image, checks=(*first, *checks), ready_s=ready_s, memory_bytes=memory)


def _not_ended() -> Check:
    return Check(
        name="ends-gracefully",
        outcome="skipped",
        message="It was not told to end under load, since it answered no request before.",
    )


def _unprivileged(image: Image) -> Check:
    root = is_root(image.user)
    return Check(
        name="unprivileged",
        outcome="failed" if root else "passed",
        observed=image.user or "root",
        message="The image runs as root unless somebody says otherwise."
        if root
        else f"The image runs as user {image.user}, which has no privileges.",
        remedy="End the Dockerfile with a `USER` by number, such as 65532" if root else "",
    )

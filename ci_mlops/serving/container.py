"""`python -m ci_mlops.serving.container BUNDLE`: the server of an image.

It loads the model into its own process, and what may differ from place to place comes from the
environment: PORT, CI_MLOPS_LOG, CI_MLOPS_LOG_SAMPLE, CI_MLOPS_DRAIN_S.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field, ValidationError

from ci_mlops.errors import ConfigError, OutsideError, Stop
from ci_mlops.serving import bundle, worker
from ci_mlops.serving.app import Service
from ci_mlops.serving.loaded import Loaded
from ci_mlops.serving.prediction_log import log_settings
from ci_mlops.values import Share, Value

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - a container's own network
NAMES = {
    "PORT": "port",
    "CI_MLOPS_LOG": "log",
    "CI_MLOPS_LOG_SAMPLE": "log_sample",
    "CI_MLOPS_DRAIN_S": "drain_s",
}


class Surroundings(Value):
    """What an operator may choose without another image."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    log: str = ""
    """A folder for the prediction log, `-` for standard output, or empty for none."""
    log_sample: Share = 1.0
    """Share of the requests that are kept."""
    drain_s: Annotated[float, Field(ge=0, le=600)] = worker.LINGER_S
    """How long after SIGTERM requests are still taken, while readiness is already false."""


def surroundings(environ: Mapping[str, str]) -> Surroundings:
    """Return what the environment says. Raises ConfigError, naming the variable."""
    given = {field: environ[name] for name, field in NAMES.items() if environ.get(name)}
    try:
        return Surroundings.model_validate_strings(given)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        place = next(name for name, field in NAMES.items() if field == first["loc"][0])
        raise ConfigError(first["msg"], place=place) from fault


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; the fault's exit code when bundle, model or environment is wrong."""
    (folder,) = arguments
    # The log's lines go to standard output alone; what the model's code prints goes beside them.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _serve(Path(folder).resolve(), surroundings(environ), output)
    except Stop as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


def _serve(folder: Path, chosen: Surroundings, output: BinaryIO) -> None:
    serve = bundle.read_serve(folder)
    service = Service(
        model=Loaded(serve, root=folder / "code"),
        signature=serve.signature,
        digest=bundle.digest(folder),
        log=log_settings(serve.signature, chosen.log, sample=chosen.log_sample),
        output=output,
    )
    try:
        own = worker.listen(EVERY_ADDRESS, chosen.port)
    except OSError as fault:
        raise OutsideError(f"cannot be listened on: {fault.strerror}", place="PORT") from fault
    print(f"http://{EVERY_ADDRESS}:{own.getsockname()[1]}", flush=True)
    worker.serve(service, own, None, lambda: None, linger_s=chosen.drain_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

"""Serve one model: `python -m ci_mlops.serving serving.json`, in the project's own interpreter."""

import argparse
import os
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_mlops import __version__
from ci_mlops.errors import ConfigError, Stop
from ci_mlops.serving import served as description
from ci_mlops.serving.served import Served

OVERRIDES = {
    "CI_MLOPS_LOG_PATH": ("log", "path", str),
    "CI_MLOPS_LOG_SAMPLE": ("log", "sample", float),
    "CI_MLOPS_DRAIN_S": ("", "drain_s", float),
}
"""What an operator may change without another image: the variable, and the setting."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; 2 when `serving.json` or the model is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ci_mlops.serving", description=__doc__)
    parser.add_argument("description", type=Path, metavar="serving.json")
    parser.add_argument("--address", default="0.0.0.0", help="default: every one")  # noqa: S104
    parser.add_argument("--port", type=int, default=int(environ.get("PORT", "8080")))
    parsed = parser.parse_args(arguments)
    # The log's lines go to standard output alone; what the model's code prints goes beside them.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path.cwd()))
    try:
        served = overridden(description.read(parsed.description), environ)
        _serve(served, parsed.address, parsed.port, output)
    except Stop as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


def overridden(served: Served, environ: Mapping[str, str]) -> Served:
    """Return the description with what the environment overrides. Raises ConfigError."""
    document: dict[str, Any] = served.model_dump()
    for variable, (section, name, kind) in OVERRIDES.items():
        if variable in environ:
            place = document[section] if section else document
            try:
                place[name] = kind(environ[variable])
                Served.model_validate(document)
            except ValueError as fault:
                said = str(fault).splitlines()[-2 if "\n" in str(fault) else 0].strip()
                raise ConfigError(said, place=variable) from fault
    return Served.model_validate(document)


def _serve(served: Served, address: str, port: int, output: Any) -> None:
    from ci_mlops.serving.metrics import Metrics
    from ci_mlops.serving.prediction_log import PredictionLog
    from ci_mlops.serving.server import serve

    metrics = Metrics(served)
    log = PredictionLog(
        served, random=random.random, dropped=metrics.dropped, standard_output=output
    )
    serve(served, address=address, port=port, log=log, metrics=metrics, version=__version__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

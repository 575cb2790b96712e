"""`python -m ci_mlops.serving BUNDLE`: answer for a bundle until told to stop."""

import argparse
import os
import sys
from pathlib import Path

from ci_mlops.command import Commands
from ci_mlops.errors import Stop
from ci_mlops.serving import bundle, worker
from ci_mlops.serving.app import Service
from ci_mlops.serving.models import Piped
from ci_mlops.serving.prediction_log import log_settings


def main() -> int:
    """Serve; 0 after a stop that was asked for, else the fault's exit code."""
    parser = argparse.ArgumentParser(prog="python -m ci_mlops.serving", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--control", type=Path, help="path of the control socket")
    parser.add_argument("--python", help="the interpreter that can load the model")
    parser.add_argument("--timeout-s", type=float, default=30)
    parser.add_argument("--memory-mb", type=int, default=4096)
    parser.add_argument("--log", help="folder of the prediction log")
    parser.add_argument("--log-without", action="append", default=[], metavar="COLUMN")
    given = parser.parse_args()
    commands = Commands(environ=dict(os.environ))
    try:
        serve = bundle.read_serve(given.bundle)
        settings = bundle.settings(
            serve, given.python, timeout_s=given.timeout_s, memory_mb=given.memory_mb
        )
        model = Piped(settings, root=given.bundle / "code", commands=commands)
    except Stop as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    service = Service(
        model=model,
        model_memory_bytes=model.memory_bytes,
        signature=serve.signature,
        digest=bundle.digest(given.bundle),
        log=log_settings(serve.signature, given.log, without=given.log_without),
    )
    try:
        own = worker.listen(given.host, given.port)
        url = f"http://{given.host}:{own.getsockname()[1]}"
        worker.serve(service, own, given.control, lambda: print(url, flush=True))
    finally:
        model.close()
        commands.stop_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())

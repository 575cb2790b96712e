"""The whole loop on examples/loans, timed: shift, alarm, pull request, release, rollback.

`python -m benchmarks.loop` serves the loans for real under fifteen requests a second, with a real
Prometheus and a fake GitHub on loopback, and goes through the loop: see tests/loop.py. Each
monitor looks again a second after its last look, with windows of seconds; where they are hours, an
alarm takes as many hours longer. What follows is timed from the end of the look that alarmed, and
looked at twice. It fails where anything is not as it has to be, or done twice.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests import loop

RESULTS = Path(__file__).parent / "results" / "loop.json"


def main() -> int:
    """Print the seconds of each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    output = parser.parse_args().output
    with (
        tempfile.TemporaryDirectory(prefix="ci-mlops-loop-") as folder,
        loop.opened(Path(folder) / "loop") as opened,
    ):
        seconds = loop.through(opened)
        result = {
            "seconds": {name: round(one, 1) for name, one in seconds.items()},
            "requests": opened.traffic.asked,
            "failed requests": len(opened.traffic.failed),
            "answers against GitHub's description": len(opened.world.violations),
        }
    text = json.dumps(result, indent=1)
    print(text)
    output.write_text(text + "\n", encoding="utf-8")
    return int(bool(result["failed requests"]))


if __name__ == "__main__":
    sys.exit(main())

"""From a pull request to its comment: the whole chain on a runner of its own and a fake GitHub.

`python -m benchmarks.chain [--times 5]` lets act run the starter workflows for a pull request from
a fork: plan, judge, verdict, then the trusted publisher, until the comment stands. It prints the
median of the wall time without the step that judges (the stages' own work) and writes
results/chain.json. The environment is installed already, as a warm cache would have it.
"""

import argparse
import json
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.conftest import Repo
from tests.e2e.conftest import Site, project
from tests.e2e.runner import Ran, Runner
from tests.fake_github.server import serving
from tests.fake_github.world import World

RESULTS = Path(__file__).parent / "results" / "chain.json"
JUDGING = re.compile(r"Main Judge \[(?:(\d+)m)?([\d.]+)(ms|s)\]")
"""How act says how long the step that judges took."""


def judging_s(ran: Ran) -> float:
    """Return the seconds of the step that judges."""
    found = JUDGING.search(ran.text)
    if found is None:
        raise SystemExit(ran.text)
    minutes, number, unit = found.groups()
    return 60 * int(minutes or 0) + float(number) / (1000 if unit == "ms" else 1)


def once(folder: Path) -> dict[str, float]:
    """Run the chain once; return its seconds, and the stages' share of them."""
    path = folder / "repo"
    path.mkdir()
    repo = Repo(path)
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
    with serving(World()) as github:
        site = Site(repo=repo, runner=Runner(home=folder / "runner"), github=github)
        site.start(project(), "gate.yml", "publish.yml")
        event = site.pull_request({"train.py": "1\n"}, head_repository="mallory/loans")
        begun = time.monotonic()
        gate = site.gate(event)
        gated = time.monotonic()
        site.publish(event)
        ended = time.monotonic()
        (comment,) = site.world.own_comments()
    if "## ✅ loans" not in comment:
        raise SystemExit(comment)
    judged = judging_s(gate)
    return {
        "gate without the stages": gated - begun - judged,
        "the stages": judged,
        "publish": ended - gated,
        "chain without the stages": ended - begun - judged,
    }


def main() -> None:
    """Measure, print, write."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--times", type=int, default=5)
    flags.add_argument("--output", type=Path, default=RESULTS)
    given = flags.parse_args()
    found = []
    for _ in range(given.times):
        with tempfile.TemporaryDirectory() as name:
            found.append(once(Path(name)))
    medians: dict[str, Any] = {
        name: round(statistics.median(one[name] for one in found), 2) for name in found[0]
    }
    for name, seconds in medians.items():
        print(f"{name:26} {seconds:6.2f} s")
    text = json.dumps({"times": len(found), **medians}, indent=1) + "\n"
    given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""How long a user waits for nothing: --help, plan, and a run in which nothing changed.

Prints medians of several whole processes, beside a bare interpreter on the same machine.
Goals: --help under 150 ms, plan under 300 ms, an unchanged run of the loans example under 2 s.

    python benchmarks/startup.py [--runs 9] [--project DIR]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "startup.json"
GOALS_MS = {"--help": 150, "plan": 300, "run, nothing changed": 2000}


def median_ms(arguments: list[str], folder: Path, runs: int) -> float:
    """Return the median wall time of a whole process in milliseconds, after one warm-up."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(arguments, cwd=folder, capture_output=True, check=False)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[1:])


def main() -> int:
    """Measure, print the table and write the JSON; exit 1 where a goal is missed."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--runs", type=int, default=9)
    flags.add_argument("--quick", action="store_true", help="three runs each")
    flags.add_argument("--project", type=Path, default=None, help="a project that was run before")
    chosen = flags.parse_args()
    folder = chosen.project or Path(__file__).parents[1] / "examples" / "loans"
    ours = [sys.executable, "-m", "ci_mlops"]
    commands = {
        "bare interpreter": [sys.executable, "-c", "pass"],
        "--help": [*ours, "--help"],
        "plan": [*ours, "plan"],
    }
    if chosen.project:
        commands["run, nothing changed"] = [*ours, "run"]
    runs = 3 if chosen.quick else chosen.runs
    figures = {name: median_ms(c, folder, runs) for name, c in commands.items()}
    missed = [name for name, goal in GOALS_MS.items() if figures.get(name, 0) > goal]
    for name, figure in figures.items():
        goal = f"   goal {GOALS_MS[name]} ms" if name in GOALS_MS else ""
        print(f"{name:22} {figure:7.0f} ms{goal}")
    RESULTS.parent.mkdir(exist_ok=True)
    rounded = {name: round(figure) for name, figure in figures.items()}
    RESULTS.write_text(json.dumps({"median_ms": rounded, "runs": runs}, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

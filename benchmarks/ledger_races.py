"""Writers that race for the ledger, and writers that are killed: nothing lost, nothing doubled.

`python -m benchmarks.ledger_races [--writers 8] [--rounds 50] [--kills 200]` lets processes promote
in one environment at once, then kills such processes with -9 at random moments and starts each
again with the same id. It reads the ledger as anybody would, prints what it found and writes
results/ledger_races.json; it exits with 1 where an entry is missing, stands twice, or rests on a
state that was no longer the newest.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import text_sha256
from ci_mlops.release.entry import Entry, Kind, Written, moment
from ci_mlops.release.ledger import ledger_at

RESULTS = Path(__file__).parent / "results" / "ledger_races.json"
ENVIRONMENT = "production"


def promote(remote: str, promotion: str) -> None:
    """Write the intent and the end of one promotion, waiting for others that are pending."""

    def entry(kind: Kind) -> Entry:
        return Entry(
            kind=kind,
            id=promotion,
            environment=ENVIRONMENT,
            to=f"sha256:{text_sha256(promotion)}",
            who="benchmark",
            when=moment(datetime.now(UTC)),
        )

    with ledger_at(remote, Commands(environ=dict(os.environ))) as ledger:
        while True:
            try:
                ledger.append(entry("intent"))
                ledger.append(entry("promoted"))
            except OutsideError as fault:
                if "has not ended" not in str(fault):
                    raise
                time.sleep(random.uniform(0.02, 0.2))
            else:
                return


def start(remote: str, *promotions: str) -> subprocess.Popen[bytes]:
    """Start a process that makes promotions, one after the other."""
    command = [sys.executable, "-m", "benchmarks.ledger_races", "--promote", remote, *promotions]
    return subprocess.Popen(command, start_new_session=True)


def race(remote: str, writers: int, rounds: int) -> list[str]:
    """Let writers promote at once; return the ids of all promotions."""
    names = [[f"race-{w}-{r}" for r in range(rounds)] for w in range(writers)]
    processes = [start(remote, *ones) for ones in names]
    for one in processes:
        if one.wait():
            raise SystemExit("a writer failed")
    return [name for ones in names for name in ones]


def kill(remote: str, kills: int, writers: int) -> list[str]:
    """Kill writers at random moments and start them again until each has made its promotion."""
    left, names, number = kills, [], 0
    running: dict[str, subprocess.Popen[bytes]] = {}
    while left or running:
        while left and len(running) < writers:
            name = f"kill-{number}"
            number += 1
            names.append(name)
            running[name] = start(remote, name)
        time.sleep(random.uniform(0.05, 0.6))
        for name, process in list(running.items()):
            if process.poll() == 0:
                del running[name]
            elif left and random.random() < 0.4:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                left -= 1
                running[name] = start(remote, name)
    return names


def faults(found: list[Written], expected: list[str]) -> dict[str, int]:
    """Count what must not be there in the entries, the oldest first."""
    seen = Counter((one.entry.id, one.entry.kind) for one in found)
    live: str | None = None
    stale = 0
    for one in found:
        stale += one.previous != live
        live = one.entry.to if one.entry.kind == "promoted" else live
    wanted = [(name, kind) for name in expected for kind in ("intent", "promoted")]
    return {
        "lost": sum(seen[one] == 0 for one in wanted),
        "doubled": sum(count > 1 for count in seen.values()),
        "decided on an old state": stale,
        "gaps in the numbers": sum(one.sequence != n for n, one in enumerate(found, 1)),
    }


def main() -> int:
    """Race, kill, read, print, write."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--writers", type=int, default=8)
    flags.add_argument("--rounds", type=int, default=50)
    flags.add_argument("--kills", type=int, default=200)
    flags.add_argument("--output", type=Path, default=RESULTS)
    flags.add_argument("--promote", nargs="+", help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.promote:
        for name in given.promote[1:]:
            promote(given.promote[0], name)
        return 0
    results: dict[str, Any] = {"writers": given.writers}
    for kind in ("race", "kill"):
        with tempfile.TemporaryDirectory() as folder:
            remote = f"{folder}/remote.git"
            subprocess.run(["git", "init", "-q", "--bare", remote], check=True)
            begun = time.monotonic()
            if kind == "race":
                expected = race(remote, given.writers, given.rounds)
            else:
                expected = kill(remote, given.kills, given.writers)
            seconds = time.monotonic() - begun
            with ledger_at(remote, Commands(environ=dict(os.environ))) as ledger:
                found = list(ledger.entries())[::-1]
        results[kind] = {
            "promotions": len(expected),
            "entries": len(found),
            "seconds": round(seconds, 1),
            "killed": given.kills if kind == "kill" else 0,
            **faults(found, expected),
        }
        print(kind, results[kind], flush=True)
    given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wrong = ("lost", "doubled", "decided on an old state", "gaps in the numbers")
    return int(any(results[kind][name] for kind in ("race", "kill") for name in wrong))


if __name__ == "__main__":
    sys.exit(main())

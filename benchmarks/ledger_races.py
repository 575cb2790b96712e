"""Writers that race for the ledger, and writers that are killed: nothing lost, nothing doubled.

`python -m benchmarks.ledger_races [--writers 8] [--rounds 50] [--kills 200]` lets processes write
into one environment's ledger at once; lets as many make whole promotions, with a target; kills
writers with -9 at random moments and starts each again with the same id; and lets some write with a
plain --force, as a ledger without compare-and-swap would, to see that this is found out. It reads
the ledger as anybody would, prints what it found and writes results/ledger_races.json; it exits
with 1 where an entry is missing, stands twice, or rests on a state that was no longer the newest,
and where nothing of that was seen with the plain --force.
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

from ci_mlops.command import Commands, Completed
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import text_sha256
from ci_mlops.release.entry import Entry, Kind, Written, moment
from ci_mlops.release.ledger import Ledger, ledger_at
from ci_mlops.release.promote import Release
from tests.unit.release.file_target import FileTarget, good

RESULTS = Path(__file__).parent / "results" / "ledger_races.json"
ENVIRONMENT = "production"
FORCED_ROUNDS = 5
FORCED_S = 120
"""A writer whose intent was overwritten waits for ever, so it is ended."""


def entry(kind: Kind, promotion: str) -> Entry:
    """Return an entry of a promotion, each to a digest of its own."""
    return Entry(
        kind=kind,
        id=promotion,
        environment=ENVIRONMENT,
        to=f"sha256:{text_sha256(promotion)}",
        who="benchmark",
        when=moment(datetime.now(UTC)),
    )


def promote(remote: str, promotion: str) -> None:
    """Write the intent and the end of one promotion, waiting for others that are pending."""
    with ledger_at(remote, Commands(environ=dict(os.environ))) as ledger:
        while True:
            try:
                ledger.append(entry("intent", promotion))
                ledger.append(entry("promoted", promotion))
            except OutsideError as fault:
                if "has not ended" not in str(fault):
                    raise
                time.sleep(random.uniform(0.02, 0.2))
            else:
                return


def promote_whole(remote: str, promotion: str) -> None:
    """Make a whole promotion, to a target that is a file beside the remote."""
    with ledger_at(remote, Commands(environ=dict(os.environ))) as ledger:
        release = Release(
            ledger=ledger,
            target=FileTarget(Path(remote).parent / "target.json"),
            verify=good,
            sleep=lambda _: time.sleep(random.uniform(0.02, 0.2)),
        )
        ended = release.promote(entry("intent", promotion), is_older=lambda _: False)
        if ended.kind != "promoted":
            raise SystemExit(f"{promotion} was {ended.kind}: {ended.written.entry.reason}")


def promote_forced(remote: str, promotion: str) -> None:
    """Do as `promote`, by a ledger that overwrites whatever stands there."""
    careful = Ledger._git  # noqa: SLF001 - what is mutated on purpose

    def forced(self: Ledger, *arguments: str, check: bool = True) -> Completed:
        swapped = ["--force" if a.startswith("--force-with") else a for a in arguments]
        return careful(self, *swapped, check=check)

    Ledger._git = forced  # type: ignore[method-assign, assignment]  # noqa: SLF001
    try:
        promote(remote, promotion)
    finally:
        Ledger._git = careful  # type: ignore[method-assign]  # noqa: SLF001


HOW = {"race": promote, "whole promotions": promote_whole, "plain --force": promote_forced}


def start(how: str, remote: str, *promotions: str) -> subprocess.Popen[bytes]:
    """Start a process that makes promotions, one after the other."""
    command = [sys.executable, "-m", "benchmarks.ledger_races", "--promote", how, remote]
    quiet = subprocess.DEVNULL if how == "plain --force" else None
    return subprocess.Popen([*command, *promotions], start_new_session=True, stderr=quiet)


def race(how: str, remote: str, writers: int, rounds: int) -> list[str]:
    """Let writers promote at once; return the ids of all promotions."""
    names = [[f"race-{w}-{r}" for r in range(rounds)] for w in range(writers)]
    processes = [start(how, remote, *ones) for ones in names]
    end = time.monotonic() + FORCED_S
    for one in processes:
        try:
            failed = one.wait(max(0, end - time.monotonic()) if how == "plain --force" else None)
        except subprocess.TimeoutExpired:  # it waits for an end that was overwritten
            one.kill()
            failed = one.wait()
        if failed and how != "plain --force":
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
            running[name] = start("race", remote, name)
        time.sleep(random.uniform(0.05, 0.6))
        for name, process in list(running.items()):
            if process.poll() == 0:
                del running[name]
            elif left and random.random() < 0.4:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                left -= 1
                running[name] = start("race", remote, name)
    return names


def faults(found: list[Written], expected: list[str]) -> dict[str, int]:
    """Count what must not be there in the entries, the oldest first."""
    seen = Counter((one.entry.id, one.entry.kind) for one in found)
    live: str | None = None
    stale = 0
    for one in found:
        stale += one.previous != live
        live = one.entry.to if one.entry.kind == "promoted" else live
    kinds: tuple[Kind, ...] = ("intent", "promoted")
    wanted = [(name, kind) for name in expected for kind in kinds]
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
        how, remote, *names = given.promote
        for name in names:
            HOW[how](remote, name)
        return 0
    results: dict[str, Any] = {"writers": given.writers}
    for kind in (*HOW, "kill"):
        with tempfile.TemporaryDirectory() as folder:
            remote = f"{folder}/remote.git"
            subprocess.run(["git", "init", "-q", "--bare", remote], check=True)
            begun = time.monotonic()
            if kind in HOW:
                rounds = given.rounds if kind != "plain --force" else FORCED_ROUNDS
                expected = race(kind, remote, given.writers, rounds)
            else:
                expected = kill(remote, given.kills, given.writers)
            seconds = time.monotonic() - begun
            with ledger_at(remote, Commands(environ=dict(os.environ))) as ledger:
                found = list(ledger.entries())[::-1]
                live = ledger.state().environment(ENVIRONMENT).live
            if kind == "whole promotions":
                runs = FileTarget(Path(folder) / "target.json").live()
                expected += [] if runs and runs.digest == live else ["what the target runs"]
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
    sound = [kind for kind in (*HOW, "kill") if kind != "plain --force"]
    harmed = any(results[kind][name] for kind in sound for name in wrong)
    return int(harmed or not any(results["plain --force"][name] for name in wrong))


if __name__ == "__main__":
    sys.exit(main())

"""Whether a verdict always reaches its pull request, once, while GitHub misbehaves.

Run `python -m benchmarks.publications`; it prints a table and writes results/publications.json.
Each publication is a comment and a check on a fake GitHub that holds every request against GitHub's
own description and lets 30 % of the requests meet a fault: a limit (secondary, primary, 429), 502
before or after the work, a connection dropped before the work, after it or while it goes on, an
answer slower than our patience. Every pull request is published to twice: created, then edited.
Waits are simulated at a hundredth of their length; what is counted is how long the server asked us
to wait and how long we would have waited. The second part is a report over 500 models with texts as
long and as hostile as evidence allows.
"""

import argparse
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check, Outcome, Record, Run, worst_outcome
from ci_mlops.github.api import Api, Clock
from ci_mlops.github.repository import Repository
from ci_mlops.publish import comment, publication
from ci_mlops.publish.check import Commit
from ci_mlops.publish.publication import Judged
from ci_mlops.verdict import Gate, decide
from tests.fake_github import FakeGitHub, Fault, Pull, World, serving
from tests.fake_github.world import FaultKind

RESULTS = Path(__file__).parent / "results" / "publications.json"
RATE = 0.3
SCALE = 0.01
"""Of a simulated second: GitHub's ten seconds are 0.1 s of the wall, our thirty 0.3 s."""
LIMITS: dict[FaultKind, tuple[float, ...]] = {
    "secondary": (5, 30, 60),
    "429": (1, 10),
    "primary": (30,),
    "502": (0,),
    "502-after": (0,),
    "drop": (0,),
    "drop-after": (0,),
    "drop-late": (8 * SCALE,),
    "slow": (40 * SCALE,),
    "slow-after": (40 * SCALE,),
}
BASE = "c" * 40


class Faults(list[Fault]):
    """A fault for 30 % of the requests, drawn when the request comes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.drawn: Counter[str] = Counter()
        self.asked_s = 0.0
        self.requests = 0

    def __iter__(self) -> Any:
        self.requests += 1
        if self.random.random() >= RATE:
            return iter(())
        kind: FaultKind = self.random.choice(tuple(LIMITS))
        wait_s = self.random.choice(LIMITS[kind])
        self.drawn[kind] += 1
        if kind in {"secondary", "429", "primary"}:
            # One second more for `primary`: the header is cut to whole seconds.
            self.asked_s += wait_s + (kind == "primary")
        return iter((Fault(kind=kind, wait_s=wait_s),))

    def remove(self, fault: Fault) -> None:
        """Nothing stands in the list: each fault is drawn for one request."""


@dataclass
class Waits:
    """A clock whose sleeps take a hundredth of their time, and a tenth of a second at most."""

    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Note a wait, and give the server time for what it does late."""
        self.slept.append(seconds)
        time.sleep(min(seconds, 10) * SCALE)

    def clock(self) -> Clock:
        """Return the clock."""
        return Clock(now=time.time, sleep=self.sleep)


def judged(number: int, *, passes: bool) -> Judged:
    """Return a project with one check."""
    outcome: Outcome = "passed" if passes else "failed"
    check = Check(name="four-fifths", outcome=outcome, message=f"Seen in publication {number}.")
    record = Record(
        stage="policy",
        outcome=outcome,
        checks=(check,),
        fingerprint="a" * 64,
        started="2026-11-01T10:00:00Z",
        seconds=1,
    )
    return whole({"policy": record}, ("policy",))


def whole(records: dict[str, Record], stages: tuple[str, ...]) -> Judged:
    """Return records with the circumstances of their run and their verdict."""
    run = Run(
        project="loans",
        head="b" * 40,
        base=BASE,
        judged_by="base",
        stages=stages,
        started="2026-11-01T10:00:00Z",
        seconds=1,
    )
    return Judged(run=run, records=records, verdict=decide(Gate(), run, records))


def publish(github: FakeGitHub, waits: Waits, number: int, run: int, one: Judged) -> None:
    """Publish one verdict as the job of one workflow run."""
    api = Api(
        url=github.url,
        token=github.world.token,
        clock=waits.clock(),
        timeout_s=30 * SCALE,
        max_wait_s=3600,
    )
    there = Repository(api=api, name=github.world.repository)
    commit = Commit(sha=f"{number:040x}", run_id=run, attempt=1, url="https://github.example/run")
    publication.post_comment(there, number, commit, [one])
    publication.post_check(there, commit, one)


def many(count: int, seed: int) -> dict[str, Any]:
    """Publish to `count` pull requests twice each, and look at what stands there."""
    world = World()
    faults = Faults(seed)
    world.faults = faults
    lost, created, totals = 0, 0, []
    started = time.monotonic()
    with serving(world) as github:
        for number in range(1, count + 1):
            waits = Waits()
            world.pulls = [Pull(number=number, head_sha=f"{number:040x}", base_sha=BASE)]
            try:
                publish(github, waits, number, 2 * number, judged(number, passes=False))
                created += sum(one["issue"] == number for one in world.comments) == 1
                publish(github, waits, number, 2 * number + 1, judged(number, passes=True))
            except OutsideError as fault:
                lost += 1
                print(f"{number}: {fault}")
            totals.append(sum(waits.slept))
    comments = Counter(one["issue"] for one in world.comments)
    last = {one["issue"]: comment.state(one["body"]) for one in world.comments}
    checks = Counter((one["head_sha"], one["external_id"]) for one in world.check_runs)
    return {
        "publications": 2 * count,
        "pull requests": count,
        "requests": faults.requests,
        "faults": dict(sorted(faults.drawn.items())),
        "share of requests with a fault": round(sum(faults.drawn.values()) / faults.requests, 3),
        "exactly one comment after the first verdict": created,
        "exactly one comment after the second": sum(comments[n] == 1 for n in range(1, count + 1)),
        "last verdict in it": sum(
            known is not None
            and known.latest.run == 2 * number + 1
            and known.latest.outcome == "passed"
            for number, known in last.items()
        ),
        "former verdict below it": sum(bool(known and known.former) for known in last.values()),
        "exactly one check for each run": sum(
            checks[f"{n:040x}", f"{run}.1"] == 1
            for n in range(1, count + 1)
            for run in (2 * n, 2 * n + 1)
        ),
        "publications lost": lost,
        "requests that GitHub does not document": len(world.violations),
        "seconds that the server asked for": round(faults.asked_s),
        "seconds that were waited": round(sum(totals)),
        "of these our own, after 502, drops and silence": round(sum(totals) - faults.asked_s),
        "longest wait of one pull request, seconds": round(max(totals)),
        "seconds of the benchmark": round(time.monotonic() - started, 1),
    }


LIVE = re.compile(r"(?<![\w&;`])@[A-Za-z0-9]")


def largest() -> dict[str, Any]:
    """Publish a report over 500 models with the longest texts, all of them hostile."""
    hostile = "@org/team </details><script> | ``` <!-- ci-mlops:loans --> https://example.org " * 30
    try:
        Check(name="x", outcome="failed", message="x" * 1_000_000)
        refused = False
    except ValueError:
        refused = True
    stages = tuple(f"policy{n}" for n in range(5))
    records = {}
    for number, stage in enumerate(stages):
        checks = tuple(
            Check(
                name=f"model-{100 * number + n:03d}",
                slice=hostile[:2000],
                outcome="failed",
                message=hostile[:2000],
                remedy=hostile[:2000],
            )
            for n in range(100)
        )
        records[stage] = Record(
            stage=stage,
            outcome=worst_outcome(one.outcome for one in checks),
            checks=checks,
            fingerprint="a" * 64,
            started="2026-11-01T10:00:00Z",
            seconds=1,
        )
    one = whole(records, stages)
    world = World(pulls=[Pull(number=1, head_sha="b" * 40, base_sha=BASE)])
    with serving(world) as github:
        started = time.monotonic()
        for run in (1, 2):
            publish_patiently(github, run, one)
        seconds = (time.monotonic() - started) / 2
    (body,) = [found["body"] for found in world.comments]
    above = body.partition("<details>")[0]
    return {
        "a string of 1 MB is refused as evidence": refused,
        "models": 500,
        "comments": len(world.comments),
        "characters": len(body),
        "live mentions": len(LIVE.findall(body)),
        "blocking rows named above the fold": sum(f"model-{n:03d}" in above for n in range(500)),
        "characters of the check's summary": len(world.check_runs[-1]["output"]["summary"]),
        "requests that GitHub does not document": len(world.violations),
        "seconds for one publication": round(seconds, 2),
    }


def publish_patiently(github: FakeGitHub, run: int, one: Judged) -> None:
    """Publish without faults, so with the ordinary patience."""
    api = Api(url=github.url, token=github.world.token)
    commit = Commit(sha="b" * 40, run_id=run, attempt=1, url="https://github.example/run")
    there = Repository(api=api, name=github.world.repository)
    publication.post_comment(there, 1, commit, [one])
    publication.post_check(there, commit, one)


def main() -> None:
    """Run both parts, print them, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="pull requests, two verdicts each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    assert set(LIMITS) == set(get_args(FaultKind))
    results = {
        "seed": arguments.seed,
        "faults": many(arguments.count, arguments.seed),
        "largest report": largest(),
    }
    for part in ("faults", "largest report"):
        print(f"\n{part}")
        for name, value in results[part].items():
            print(f"  {name:45} {value}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Canaries on a Docker host behind HAProxy, under requests that never pause.

Sound candidates, and ones that go wrong once clients ask them, are promoted by 10, 50 and 100 %.
The share that clients measure, failed requests and seconds of a step are counted. Then promoters
are killed with -9 at random moments of a canary, and the same command goes on. Goals: shares within
what chance gives, no failed request but those of faulty candidates, none of these promoted, and
after each kill one end, with the ledger, the target and what clients get at one.

    python -m benchmarks.canary [--rounds 5] [--seconds 6] [--kills 8]

It needs a Docker daemon and the images that `pytest tests/integration/test_canary.py` makes.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_mlops.containers import Docker
from ci_mlops.release.docker_target import DockerTarget
from ci_mlops.release.promote import Release
from tests.conftest import BASE_IMAGE, PROXY_IMAGE
from tests.integration import test_canary as tests
from tests.traffic import Traffic

RESULTS = Path(__file__).parent / "results" / "canary.json"
FAULTY = {"answers wrongly": "3", "5xx": "4", "no /metrics": "5"}


@dataclass
class Steps:
    """What clients got while each share was given, by its percentage."""

    traffic: Traffic
    counts: dict[int, list[int]] = field(default_factory=dict)
    """Answers of the candidate, and all of them."""
    seconds: list[float] = field(default_factory=list)
    version: str = ""
    _open: tuple[int, int] | None = None
    _begun: float = 0.0

    def told(self, _: str) -> None:
        """Hear where a promotion stands: a step ends with the next."""
        now = time.monotonic()
        if self._open is not None:
            percent, first = self._open
            answers = self.traffic.versions[first:]
            counted = self.counts.setdefault(percent, [0, 0])
            counted[0] += answers.count(self.version)
            counted[1] += len(answers)
            self.seconds.append(now - self._begun)
            self._open = None
        self._begun = now

    def listen(self, target: DockerTarget) -> None:
        """Hear of each share that is given."""
        share = target.share

        def listening(digest: str, percent: int, fence: int) -> int:
            given = share(digest, percent, fence)
            self._open = percent, len(self.traffic.versions)
            return given

        target.share = listening  # type: ignore[method-assign]


def main() -> int:
    """Promote, print and write; 1 where a goal is missed."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--seconds", type=float, default=6.0)
    flags.add_argument("--kills", type=int, default=8)
    flags.add_argument("--seed", type=int, default=7)
    flags.add_argument("--output", type=Path, default=RESULTS)
    chosen = flags.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        docker = stack.enter_context(Docker.connected(os.environ))
        images = tests.built_in(folder, docker, BASE_IMAGE)
        changes = {"canary_step_minutes": chosen.seconds / 60}
        target = stack.enter_context(tests.targeted(PROXY_IMAGE, **changes))
        remote = folder / "remote.git"
        subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
        release = stack.enter_context(tests.released(target, remote))
        tests.promote(release, "first", images["1"])
        traffic = tests.asking(f"http://127.0.0.1:{target.settings.port}")
        steps = Steps(traffic)
        steps.listen(target)
        release.told = steps.told
        with traffic:
            figures = measured(release, steps, images, chosen.rounds)
            likely = all(_is_likely(steps.counts[percent], percent) for percent in (10, 50))
            dice = random.Random(chosen.seed)
            lost = sum(killed(release, steps, images, n, dice) for n in range(chosen.kills))
        figures |= {"killed at a random moment, and resumed": chosen.kills, "of these astray": lost}
        figures["failed requests, kills"] = len(traffic.failed) - figures.pop("failed before kills")
    for what, value in figures.items():
        print(f"{what:45} {value}")
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    wrong = [
        figures["failed requests, sound candidates"],
        figures["failed requests, kills"],
        figures["faulty candidates promoted"],
        lost,
        chosen.rounds - figures["promoted"],
    ]
    return int(any(wrong) or not likely)


def _is_likely(counted: list[int], percent: int) -> bool:
    ours, every = counted
    return tests.within(ours, every, percent)


def measured(release: Release, steps: Steps, images: dict[str, str], rounds: int) -> dict[str, Any]:
    """Promote sound candidates in turn and then faulty ones; return what was counted."""
    traffic, ends = steps.traffic, list[str]()
    for number in range(rounds):
        steps.version = "12"[(number + 1) % 2]
        ends.append(tests.promote(release, f"p{number}", images[steps.version]).kind)
        print(ends[-1], steps.counts, len(traffic.failed), "failed", file=sys.stderr, flush=True)
    counts = {percent: tuple(both) for percent, both in steps.counts.items()}
    seconds, failed, requests = list(steps.seconds), len(traffic.failed), len(traffic.versions)
    figures: dict[str, Any] = {
        "sound candidates": rounds,
        "promoted": ends.count("promoted"),
        "requests": requests,
        "failed requests, sound candidates": failed,
        "a step, median s": round(statistics.median(seconds), 1),
        "a step, worst s": round(max(seconds), 1),
    }
    for percent, (ours, every) in sorted(counts.items()):
        figures[f"measured at {percent} %"] = f"{100 * ours / every:.1f} % of {every}"
    promoted = 0
    for what, version in FAULTY.items():
        before = len(traffic.failed), len(traffic.versions)
        begun = time.monotonic()
        ended = tests.promote(release, f"faulty-{version}", images[version])
        taken = time.monotonic() - begun
        promoted += ended.kind == "promoted"
        reached = traffic.versions[before[1] :].count(version)
        figures[f"{what}: end"] = f"{ended.kind} after {taken:.1f} s"
        figures[f"{what}: its answers to clients"] = reached
        figures[f"{what}: failed requests"] = len(traffic.failed) - before[0]
    figures["faulty candidates promoted"] = promoted
    figures["failed before kills"] = len(traffic.failed)
    steps.counts.clear()
    steps.counts |= {percent: list(both) for percent, both in counts.items()}
    return figures


def killed(
    release: Release, steps: Steps, images: dict[str, str], number: int, dice: random.Random
) -> bool:
    """Kill a promoter at a random moment, and go on; return whether anything is not at one then."""
    target = release.target
    live = target.live()
    version = "2" if live is not None and live.digest == images["1"] else "1"
    name = f"k{number}"
    assert isinstance(target, DockerTarget)
    other = tests.promoter(target, release.ledger.remote, name, images[version])
    with subprocess.Popen(other.command, cwd=other.cwd, env=other.env) as process:
        try:
            process.wait(dice.uniform(2, 2 * steps.seconds[0] + 10))
        except subprocess.TimeoutExpired:
            process.kill()
    ended = tests.promote(release, name, images[version])
    now = target.live()
    state = release.ledger.state().environment("production")
    entries = [one.entry.kind for one in release.ledger.entries() if one.entry.id == name]
    answers = steps.traffic.shares(100)
    at_one = now is not None and now.digest == state.live == images[version]
    return not (
        ended.kind == "promoted"
        and at_one
        and entries == ["promoted", "intent"]
        and set(answers) == {version}
    )


if __name__ == "__main__":
    sys.exit(main())

"""Candidates that were judged well and misbehave in place, each promoted under traffic.

Real server processes, one for each version, are promoted by the engine of `ci-mlops promote` with
default settings, through the target `command` and a ledger in a git repository. Kinds that only
time brings out are held for a while. Sound candidates between them are the control. Goals: no
faulty candidate promoted, no sound one rolled back, no request lost to what is noticed before the
switch.

    python -m benchmarks.faulty_candidates [--rounds 2] [--controls 8]
"""

import argparse
import contextlib
import functools
import hashlib
import http.client
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks import local_slots
from ci_mlops.command import Commands
from ci_mlops.release.command_target import CommandTarget
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.promote import Ended, Release
from ci_mlops.release.settings import CommandTargetSettings, VerifySettings
from ci_mlops.release.target import beside
from ci_mlops.release.verify import Verifier
from ci_mlops.serving.client import Client, Unanswered
from tests.conftest import clean_environ
from tests.unit.release.file_target import intent
from tests.unit.serving.faulty_server import KINDS, RECORDED, WITH_TIME

RESULTS = Path(__file__).parent / "results" / "faulty_candidates.json"
HOLD_S = 60.0
CLIENTS, RATE = 2, 40
ALL_ROWS, THREE_ROWS = [0.1, 0.9, 0.4, 0.6], [0.1, 0.2, 0.3]


class Front(ThreadingHTTPServer):
    """The clients' address: each request goes where the state says."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        """Listen on any free port."""
        super().__init__(("127.0.0.1", 0), _Passing)
        self.state = folder / "state.json"
        self.url = f"http://127.0.0.1:{self.server_port}"

    def port(self) -> int:
        """Return the port of what is live."""
        state = json.loads(self.state.read_text(encoding="utf-8"))
        return int(state["servers"][state["live"]]["port"])


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536
    server: Front

    def do_GET(self) -> None:
        """Pass a request on."""
        self._pass(None)

    def do_POST(self) -> None:
        """Pass a request and its body on."""
        self._pass(self.rfile.read(int(self.headers["content-length"])))

    def _pass(self, body: bytes | None) -> None:
        made = http.client.HTTPConnection("127.0.0.1", self.server.port(), timeout=30)
        try:
            made.request(self.command, self.path, body)
            told = made.getresponse()
            status, data = told.status, told.read()
        except (OSError, http.client.HTTPException):
            status, data = 502, b""
        finally:
            made.close()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class Traffic:
    """Clients at a steady rate, and what they got; some ask for three rows at once."""

    url: str
    answered: int = 0
    failed: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def client(self) -> None:
        """Ask until told to end."""
        number = 0
        with contextlib.closing(Client(self.url)) as asked:
            while not self.over.wait(CLIENTS / RATE):
                number += 1
                rows = THREE_ROWS if number % 10 == 0 else ALL_ROWS
                shape = [len(rows)]
                inputs = [{"name": "x", "shape": shape, "datatype": "FP64", "data": rows}]
                try:
                    found = asked.predictions("m", inputs)
                    right = list(found["predict"]) == [int(one >= 0.5) for one in rows]
                except (Unanswered, KeyError):
                    right = False
                self.answered += 1
                self.failed += not right


def clients(folder: Path) -> None:
    """Forward and ask until standard input ends, in a process of its own, and count on the way.

    The process that promotes takes times, and nothing else may take its interpreter from it.
    """
    with Front(folder) as front:
        write(folder / "front", front.url)
        threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True).start()
        traffic = Traffic(front.url)
        threads = [threading.Thread(target=traffic.client, daemon=True) for _ in range(CLIENTS)]
        for word in sys.stdin:
            if word.strip() == "ask":
                for one in threads:
                    one.start()
            print(json.dumps([traffic.answered, traffic.failed]), flush=True)
        traffic.over.set()
        front.shutdown()


def write(path: Path, text: str) -> None:
    """Write a file that others wait for."""
    half = path.with_suffix(".half")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


@dataclass
class Clients:
    """The process with the front and its clients."""

    process: "subprocess.Popen[str]"

    def told(self, word: str) -> tuple[int, int]:
        """Return how many requests there were, and how many of them failed, so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        answered, failed = json.loads(self.process.stdout.readline())
        return answered, failed


@dataclass
class Site:
    """An environment, its front and its program."""

    folder: Path
    release: Release
    target: CommandTarget
    clients: Clients
    kinds: dict[str, str] = field(default_factory=dict)

    def promoted(self, kind: str, name: str) -> tuple[Ended, float]:
        """Promote a new version of a kind; return the end and its seconds."""
        digest = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        self.kinds[digest] = kind
        text = json.dumps(self.kinds)
        (self.folder / "kinds.json").write_text(text, encoding="utf-8")
        wanted = intent(name, "0").model_copy(update={"to": digest})
        # What needs time is held; everything else is noticed with the settings as they come.
        hold_s = HOLD_S if kind in WITH_TIME else 0.0
        self.release.holds = hold_s > 0
        self.release.verify = Verifier(
            settings=VerifySettings(ready_within_s=10),
            model="m",
            recorded=lambda _: RECORDED,
            live=functools.partial(beside, self.target),
            hold_s=hold_s,
        )
        begun = time.monotonic()
        ended = self.release.promote(wanted, is_older=lambda _: False)
        return ended, time.monotonic() - begun


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Site]:
    """Open an environment whose front forwards to this host's servers."""
    program = f"{shlex.quote(sys.executable)} {shlex.quote(local_slots.__file__)} {folder}"
    subprocess.run(["git", "init", "-q", "--bare", str(folder / "remote.git")], check=True)
    commands = Commands(environ=clean_environ())
    target = CommandTarget(
        settings=CommandTargetSettings(target="command", command=program),
        root=folder,
        commands=commands,
    )
    asking = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.faulty_candidates", "--clients", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with ledger_at(str(folder / "remote.git"), commands) as ledger:
        while not (folder / "front").exists():
            time.sleep(0.1)
        release = Release(ledger=ledger, target=target, verify=lambda *_: [])
        made = Site(folder=folder, release=release, target=target, clients=Clients(asking))
        try:
            yield made
        finally:
            assert asking.stdin is not None
            asking.stdin.close()
            asking.wait(60)
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            for digest in list(state["servers"]):
                local_slots.end(state, digest)


def caught_by(ended: Ended) -> str:
    """Return the check that did not hold, and when."""
    for check in ended.checks:
        if check.outcome in {"failed", "error", "inconclusive"}:
            return f"{check.name} {check.slice}".strip()
    return ""


def way_back(ended: Ended) -> float:
    """Return the seconds from the decision until the former version answered again."""
    return next((float(c.observed or 0) for c in ended.checks if c.name == "way-back"), 0.0)


def rounds(site: Site, kinds: tuple[str, ...], given: argparse.Namespace) -> Any:
    """Promote each kind in each round with controls between them; return what was seen."""
    rows = {kind: {"ends": [], "caught by": [], "s": [], "lost": 0} for kind in kinds}
    controls: list[dict[str, Any]] = []
    back: list[float] = []
    every = max(1, len(kinds) // given.controls) if given.controls else len(kinds)
    for number in range(given.rounds):
        for place, kind in enumerate(kinds):
            if place % every == 0:
                ended, seconds = site.promoted("good", f"sound-{number}-{place}")
                times = [c for c in ended.checks if c.name == "answer-time"]
                slower = round(float(times[0].observed or 0), 1) if times else None
                print(f"{'sound':26} {ended.kind:12} {seconds:6.1f} s  {slower} %", flush=True)
                controls.append(
                    {"end": ended.kind, "why": caught_by(ended), "s": seconds, "slower %": slower}
                )
            _, lost = site.clients.told("count")
            ended, seconds = site.promoted(kind, f"{kind.split()[0]}-{number}-{place}")
            row: Any = rows[kind]
            row["ends"].append(ended.kind)
            row["caught by"].append(caught_by(ended))
            row["s"].append(seconds)
            row["lost"] += site.clients.told("count")[1] - lost
            if "during the hold" in caught_by(ended):
                back.append(way_back(ended))
            told = caught_by(ended) or [c.message for c in ended.checks if c.name == "answer-time"]
            print(f"{kind:26} {ended.kind:12} {seconds:6.1f} s  {told}", flush=True)
    return rows, controls, back


def main() -> int:
    """Promote, print and write; 1 where a goal is missed."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--rounds", type=int, default=2)
    flags.add_argument("--controls", type=int, default=8, help="sound candidates in each round")
    flags.add_argument("--quick", action="store_true", help="leave out what needs a hold")
    flags.add_argument("--output", type=Path, default=RESULTS)
    flags.add_argument("--clients", type=Path, help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.clients:
        clients(given.clients)
        return 0
    kinds = KINDS if given.quick else (*KINDS, *WITH_TIME)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = stack.enter_context(opened(folder))
        if site.promoted("good", "first")[0].kind != "promoted":
            raise RuntimeError("the first version was not promoted")
        site.clients.told("ask")
        rows, controls, back = rounds(site, kinds, given)
        answered, _ = site.clients.told("count")
    ends = [end for row in rows.values() for end in row["ends"]]
    early = sum(row["lost"] for kind, row in rows.items() if kind not in WITH_TIME)
    refused = [one for one in controls if one["end"] != "promoted"]
    figures = {
        "kinds": len(kinds),
        "faulty candidates": len(ends),
        "rolled back": ends.count("rolled_back"),
        "promoted": ends.count("promoted"),
        "sound candidates": len(controls),
        "of them rolled back": len(refused),
        "sound, seconds at the median": round(statistics.median(c["s"] for c in controls), 1),
        "sound, slower by % at the most": max(c["slower %"] or 0 for c in controls),
        "requests": answered,
        "lost to what is noticed before the switch": early,
        "way back from a hold, median s": round(statistics.median(back), 1) if back else None,
        "way back from a hold, worst s": round(max(back), 1) if back else None,
    }
    table = {
        kind: {
            "ends": sorted(set(row["ends"])),
            "caught by": sorted(set(row["caught by"])),
            "s": round(statistics.median(row["s"]), 1),
            "requests lost": row["lost"],
        }
        for kind, row in rows.items()
    }
    for what, value in figures.items():
        print(f"{what:44} {value}")
    for one in refused:
        print(f"a sound candidate was rolled back: {one['why']}")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    found = {"figures": figures, "kinds": table, "sound": controls}
    given.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(set(ends) != {"rolled_back"} or bool(refused) or early > 0)


if __name__ == "__main__":
    sys.exit(main())

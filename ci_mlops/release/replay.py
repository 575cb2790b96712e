"""Judged rows asked again, one in a request: errors, times beside what is live, and metrics."""

import contextlib
import itertools
import math
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from ci_mlops.serving import conformance
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import FAULTS, Client, Unanswered
from ci_mlops.serving.scrape import Scrape, scraped

TIMEOUT_S = 10.0
BLOCK = 10
"""Requests in a turn of one side."""
BURST, CONNECTIONS = 100, 4
"""Requests that are asked at once, and of how many connections."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A server, and how its answers are compared."""

    client: Client
    model: str
    tolerance: float


@contextlib.contextmanager
def asking(url: str, *, model: str, tolerance: float) -> Iterator[Asked]:
    """Yield a server to ask, over a connection of its own."""
    with contextlib.closing(Client(url, timeout_s=TIMEOUT_S, replays=True)) as client:
        yield Asked(client=client, model=model, tolerance=tolerance)


@dataclass(kw_only=True)
class Seen:
    """What was seen so far."""

    rows: Sequence[Recorded]
    """Judged rows, each alone with its answers."""
    asked: int = 0
    errors: int = 0
    in_a_row: int = 0
    """Errors since the last right answer."""
    first: str = ""
    """The first of the errors, in words."""
    versions: set[str] = field(default_factory=set)
    looks: int = 0
    not_ready: int = 0
    ours: list[tuple[float, float]] = field(default_factory=list)
    """Milliseconds of each block: the lower quartile, and the median."""
    theirs: list[tuple[float, float]] = field(default_factory=list)
    """The same of what is live, which was asked in turn."""
    scrapes: list[tuple[int, Scrape]] = field(default_factory=list)
    """After how many requests of ours, and what was found."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, recorded: Recorded, most: int) -> Self:
        """Return what to fill, for the first `most` rows."""
        return cls(rows=[recorded.only(n) for n in range(min(recorded.rows, most))])

    def replay(self, asked: Asked, other: Asked | None, requests: int, allowed: float) -> None:
        """Ask so many more; end early once more than `allowed` got no right answer.

        Blocks of both sides take turns, each pair in the other order than the one before, so that
        what the machine does besides slows both.
        """
        rows = itertools.cycle(self.rows)
        for number in range(math.ceil(requests / BLOCK)):
            block = list(itertools.islice(rows, BLOCK))
            sides = [(asked, self.ours, True), (other, self.theirs, False)]
            pair = list[tuple[list[tuple[float, float]], tuple[float, float]]]()
            for side, kept, counts in sides[:: 1 - 2 * (number % 2)]:
                taken = [self.ask(side, row, counts=counts) for row in block] if side else []
                answered = [one for one in taken if one is not None]
                if answered:
                    lower = sorted(answered)[len(answered) // 4]
                    pair.append((kept, (lower, statistics.median(answered))))
            if len(pair) == 2 or other is None:
                for kept, times in pair:
                    kept.append(times)
            self.look(asked)
            if self.errors > allowed:
                return

    def burst(self, asked: Asked, requests: int) -> None:
        """Ask over several connections at once: whoever mixes requests up answers wrongly here."""
        rows = iter(list(itertools.islice(itertools.cycle(self.rows), requests)))

        def one() -> None:
            with asking(asked.client.url, model=asked.model, tolerance=asked.tolerance) as mine:
                while (row := self._next(rows)) is not None:
                    self.ask(mine, row)

        threads = [threading.Thread(target=one, daemon=True) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def ask(self, asked: Asked, row: Recorded, *, counts: bool = True) -> float | None:
        """Return the milliseconds of an answer; None where there was none, or a wrong one."""
        begun = time.perf_counter()
        version, wrong, taken = "", "", 0.0
        try:
            answer = asked.client.answer(asked.model, row.inputs)
            taken = 1000 * (time.perf_counter() - begun)
            version = answer.version
            if counts:
                wrong = conformance.apart(answer.outputs, row, asked.tolerance).first
            if answer.model not in {"", asked.model}:
                wrong = f"the model that answers calls itself {answer.model!r}"
        except Unanswered as fault:
            wrong = str(fault)
        if counts:
            with self._lock:
                self.asked += 1
                self.errors += bool(wrong)
                self.in_a_row = self.in_a_row + 1 if wrong else 0
                self.first = self.first or wrong
                self.versions.add(version)
        return None if wrong else taken

    def look(self, asked: Asked) -> None:
        """Ask whether it is ready, and what its metrics say."""
        try:
            ready = asked.client.get("/v2/health/ready").status == 200
        except FAULTS:
            ready = False
        self.looks += 1
        self.not_ready += not ready
        found = scraped(asked.client)
        if found is not None:
            self.scrapes.append((self.asked, found))

    def _next(self, rows: Iterator[Recorded]) -> Recorded | None:
        with self._lock:
            return next(rows, None)

"""What two versions answer while both get requests: their own counts, and rows replayed to both."""

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import Client, Unanswered
from ci_mlops.serving.conformance import apart
from ci_mlops.stats.beside import Times

REQUESTS = "ci_mlops_inference_requests_total"
SECONDS = "ci_mlops_inference_duration_seconds"
STARTED = "process_start_time_seconds"
TIMEOUT_S = 10.0
ROW_TOLERANCE = 0.0001
"""A row alone may be calculated in another order than among others, so a number of it may lie this
far from the judged one."""

Reading = Mapping[tuple[str, str], float]
"""What a process has counted so far, by the sample's name and its label `code` or `le`."""


# --- counted by a version itself ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a version answered in a while, by its own count."""

    requests: int
    errors: int
    """Answers with a status other than 200."""
    faults: int
    """Of these, the server's own: a status of 500 or more."""
    times: Times


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two versions: what it counted, or why nobody knows."""

    counted: Counted | None = None
    why_not: str = ""
    unreachable: bool = False


@dataclass(kw_only=True)
class Meter:
    """Reads the counters of what answers at an address.

    Several processes may answer there in turn, such as pods behind a Service. They are told apart
    by when they started, so that none of their counts is taken for another's.
    """

    url: str
    model: str
    why_not: str = ""
    unreachable: bool = False
    _last: dict[float, Reading] = field(default_factory=dict)
    _sum: "Counter[tuple[str, str]]" = field(default_factory=Counter)

    def read(self) -> None:
        """Add what was counted since the reading before."""
        self.why_not, self.unreachable = "", False
        try:
            told = requests.get(f"{self.url}/metrics", timeout=TIMEOUT_S)
        except requests.RequestException as fault:
            self.why_not, self.unreachable = f"it does not answer: {type(fault).__name__}", True
            return
        if told.status_code != 200:
            self.why_not = f"its /metrics answers {told.status_code}"
            self.unreachable = told.status_code >= 500
            return
        process, reading = _reading(told.text, self.model)
        if not reading:
            # One of several processes may not have been asked yet, and then has no such counter.
            known = bool(self._last)
            self.why_not = "" if known else f"its /metrics has no {REQUESTS} of model {self.model}"
            return
        before = self._last.get(process)
        if before is not None:
            for key, value in reading.items():
                # A counter that falls was begun anew.
                grown = value - before.get(key, 0)
                self._sum[key] += grown if grown >= 0 else value  # type: ignore[assignment]
        self._last[process] = reading

    def begin(self) -> None:
        """Forget what was counted until now."""
        self.read()
        self._sum.clear()

    def side(self) -> Side:
        """Return what was counted between readings, from the first or from where it was begun."""
        if self.why_not:
            return Side(why_not=self.why_not, unreachable=self.unreachable)
        by_code = {code: n for (name, code), n in self._sum.items() if name == REQUESTS}
        counted = Counted(
            requests=round(sum(by_code.values())),
            errors=round(sum(n for code, n in by_code.items() if code != "200")),
            faults=round(sum(n for code, n in by_code.items() if code >= "500")),
            times=self._times(),
        )
        return Side(counted=counted)

    def _times(self) -> Times:
        upto = {
            float(edge): n for (name, edge), n in self._sum.items() if name == f"{SECONDS}_bucket"
        }
        buckets, below = {}, 0.0
        for edge, n in sorted(upto.items()):
            buckets[edge], below = round(n - below), n
        count = round(self._sum[f"{SECONDS}_count", ""])
        return Times(count=count, total=float(self._sum[f"{SECONDS}_sum", ""]), buckets=buckets)


def _reading(text: str, model: str) -> tuple[float, Reading]:
    """Return when a process started and what it has counted; nothing where it does not."""
    process, found = 0.0, Counter[tuple[str, str]]()
    # A server of somebody else may write anything there.
    with contextlib.suppress(ValueError, KeyError, IndexError):
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                if one.name == STARTED:
                    process = one.value
                of_model = one.labels.get("model", model) == model and math.isfinite(one.value)
                if of_model and one.name.startswith((REQUESTS, SECONDS)):
                    label = one.labels.get("code", one.labels.get("le", ""))
                    found[one.name, label] += one.value  # type: ignore[assignment]
    return process, found if any(name == REQUESTS for name, _ in found) else {}


# --- replayed -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a version answers to rows, and how its answers name it."""

    version: str
    recorded: Recorded


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What became of recorded rows that were sent to the clients' address."""

    requests: int = 0
    ours: int = 0
    """Answers that name the candidate as their version."""
    either: int = 0
    """Answers that do not tell which of the two gave them."""
    wrong: int = 0
    """Answers of the candidate that are not as judged, or of either that are like neither's."""
    faults: int = 0
    """Requests that got no prediction; nobody knows from whom."""
    first: str = ""
    """The first that was wrong or got none."""


def asked(url: str, model: str, rows: Recorded) -> Answers:
    """Return what a version itself answers to recorded rows. Raises Unanswered."""
    with contextlib.closing(Client(url, timeout_s=TIMEOUT_S, replays=True)) as client:
        told = client.answer(model, rows.inputs)
    found = {name: tuple(values) for name, values in told.outputs.items()}
    try:
        recorded = Recorded(inputs=rows.inputs, outputs=found)
    except ValueError as fault:
        raise Unanswered("not an answer for each row") from fault
    return Answers(version=told.version, recorded=recorded)


@dataclass(kw_only=True)
class Replay:
    """Sends one recorded row after the other to the clients' address; either version may answer."""

    url: str
    model: str
    ours: Answers
    """Of the candidate, as it was judged."""
    theirs: Answers
    """Of what is live."""
    tolerance: float
    seen: Replayed = field(default_factory=Replayed)

    def __post_init__(self) -> None:
        """Take the rows apart."""
        tolerance = max(self.tolerance, ROW_TOLERANCE)
        rows = range(self.ours.recorded.rows)
        self._rows = [
            (self.ours.recorded.only(n), self.theirs.recorded.only(n), tolerance) for n in rows
        ]

    def ask(self) -> None:
        """Send the next row, on a connection of its own as some balance by connections."""
        ours, theirs, tolerance = self._rows[self.seen.requests % len(self._rows)]
        try:
            with contextlib.closing(Client(self.url, timeout_s=TIMEOUT_S, replays=True)) as client:
                told = client.answer(self.model, ours.inputs)
        except Unanswered as fault:
            self._add(faults=1, first=str(fault))
            return
        apart_from = [_difference(told.outputs, one, tolerance) for one in (ours, theirs)]
        both = {self.ours.version, self.theirs.version}
        if len(both) == 1 or told.version not in both:
            self._add(either=1, first=apart_from[0] if all(apart_from) else "")
        elif told.version == self.ours.version:
            self._add(ours=1, first=apart_from[0])
        else:
            self._add()

    def _add(self, *, ours: int = 0, either: int = 0, faults: int = 0, first: str = "") -> None:
        seen = self.seen
        self.seen = Replayed(
            requests=seen.requests + 1,
            ours=seen.ours + ours,
            either=seen.either + either,
            wrong=seen.wrong + int(bool(first) and not faults),
            faults=seen.faults + faults,
            first=seen.first or first[:300],
        )


def _difference(found: Mapping[str, Sequence[Any]], row: Recorded, tolerance: float) -> str:
    """Return how an answer differs from another; empty where it does not."""
    try:
        return apart(found, row, tolerance).first
    except Unanswered as fault:
        return str(fault)

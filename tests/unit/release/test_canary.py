"""What is said of a candidate with a share of the traffic, and what is done to find out."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Check
from ci_mlops.release.canary import Canary, Seen, judge
from ci_mlops.release.settings import DockerTargetSettings, VerifySettings
from ci_mlops.release.target import Slot
from ci_mlops.release.traffic import Counted, Replayed, Side
from ci_mlops.serving.bundle import Recorded
from ci_mlops.stats.beside import Times
from tests.unit.release.counting_server import Counting, Front, answering
from tests.unit.release.file_target import FileTarget
from tests.unit.serving.test_server import inputs, served

ROWS = [0.5, 1.5, -2.0, 4.0]
RECORDED = Recorded(
    inputs=({"name": "x", "shape": [4], "datatype": "FP64", "data": ROWS},),
    outputs={"predict": tuple(2 * one for one in ROWS)},
)
A, B = (f"sha256:{digit * 64}" for digit in "ab")


def rules(*, verify: Any = None, **changes: Any) -> DockerTargetSettings:
    return DockerTargetSettings(
        target="docker",
        port=80,
        canary_percent=(10, 50, 100),
        verify=VerifySettings(**{"max_slowdown_percent": 100, **(verify or {})}),
        **changes,
    )


# --- judged -------------------------------------------------------------------------------------


def side(requests: int = 100, errors: int = 0, faults: int = 0, ms: float = 2.0) -> Side:
    times = Times(
        count=requests, total=requests * ms / 1000, buckets={ms / 900: requests, math.inf: 0}
    )
    return Side(counted=Counted(requests=requests, errors=errors, faults=faults, times=times))


GOOD = Seen(
    asked=10,
    percent=10,
    candidate=side(),
    live=side(900),
    replayed=Replayed(requests=500, ours=50),
)
REQUESTS = (
    "The candidate answered 100 requests and what is live 900, for a share of 10 %; "
    "500 were replayed."
)
UNTIMED = Counted(requests=100, errors=0, faults=0, times=Times(count=0, total=0, buckets={}))
MUTE = Side(why_not="its /metrics answers 404")
GONE = Side(why_not="it does not answer: ConnectionError", unreachable=True)


def told(checks: list[Check]) -> list[str]:
    return [f"{check.name} {check.outcome}" for check in checks]


def test_a_sound_candidate_passes_with_what_was_seen_of_both() -> None:
    checks = judge(GOOD, rules())
    assert told(checks) == [
        "predictions passed",
        "errors passed",
        "answer-time passed",
        "requests passed",
    ]
    assert {check.slice for check in checks} == {"canary 10 %"}
    assert [check.message for check in checks] == [
        "0 of 50 rows that were replayed to the candidate got no right answer.",
        "0 of 100 requests to the candidate ended with an error, 0 of 900 to what is live.",
        "The mean answer took 2.00 ms in 100 requests, beside 2.00 ms in 900 of what is live.",
        REQUESTS,
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"candidate": side(49)}, ["predictions passed", "requests inconclusive"]),
        ({"live": side(49)}, ["predictions passed", "requests inconclusive"]),
        ({"candidate": side(0)}, ["predictions passed", "requests inconclusive"]),
        ({"candidate": MUTE}, ["predictions passed", "requests inconclusive"]),
        ({"live": MUTE}, ["predictions passed", "requests inconclusive"]),
        ({"candidate": GONE}, ["predictions passed", "requests error"]),
        ({"live": GONE}, ["predictions passed", "requests error"]),
        (
            {"replayed": Replayed()},
            ["predictions inconclusive", "errors passed", "answer-time passed", "requests passed"],
        ),
        (
            {"replayed": Replayed(requests=500, ours=50, wrong=1, first="predict of row 0 is 3")},
            ["predictions failed", "errors passed", "answer-time passed", "requests passed"],
        ),
        (
            {"replayed": Replayed(requests=500, ours=50, faults=1, first="503")},
            ["predictions failed", "errors passed", "answer-time passed", "requests passed"],
        ),
        (
            {
                "replayed": Replayed(requests=500, ours=50, faults=2, first="500"),
                "live": side(900, errors=2, faults=2),
            },
            ["predictions passed", "errors passed", "answer-time passed", "requests passed"],
        ),
        (
            {"candidate": side(errors=9)},
            ["errors failed", "predictions passed", "answer-time passed", "requests passed"],
        ),
        (
            {"candidate": side(errors=1)},
            ["predictions passed", "errors warned", "answer-time passed", "requests passed"],
        ),
        (
            {"candidate": side(errors=9), "live": side(900, errors=90)},
            ["predictions passed", "errors passed", "answer-time passed", "requests passed"],
        ),
        (
            {"candidate": side(30, errors=9)},
            ["errors failed", "predictions passed", "requests inconclusive"],
        ),
        (
            {"candidate": side(ms=10)},
            ["answer-time failed", "predictions passed", "errors passed", "requests passed"],
        ),
        (
            {"candidate": side(30, ms=10)},
            ["predictions passed", "requests inconclusive"],
        ),
        (
            {"candidate": Side(counted=UNTIMED)},
            ["predictions passed", "errors passed", "answer-time inconclusive", "requests passed"],
        ),
    ],
)
def test_the_table_of_what_may_be_seen(changes: Any, expected: list[str]) -> None:
    assert told(judge(replace(GOOD, **changes), rules())) == expected


def test_a_slow_answer_by_chance_is_warned_of() -> None:
    spread = Times(count=60, total=60 * 0.0045, buckets={0.001: 40, 0.002: 0, 0.02: 20})
    slow = Side(counted=Counted(requests=60, errors=0, faults=0, times=spread))
    check = judge(replace(GOOD, candidate=slow), rules())[2]
    assert (check.name, check.outcome) == ("answer-time", "warned")
    assert check.message.endswith("of what is live; that may be chance.")


def test_limits_are_those_of_the_verification() -> None:
    wrong = replace(GOOD, replayed=Replayed(requests=500, ours=99, wrong=1), candidate=side(ms=10))
    lenient = rules(verify={"max_errors_percent": 2, "max_slowdown_percent": None})
    assert told(judge(wrong, lenient)) == [
        "predictions passed",
        "errors passed",
        "requests passed",
    ]
    assert "predictions failed" in told(judge(wrong, rules(verify={"max_errors_percent": 1})))


def test_while_a_step_goes_on_only_what_is_plain_counts() -> None:
    wrong = replace(GOOD, replayed=Replayed(requests=20, ours=2, wrong=1))
    assert told(judge(wrong, rules(), early=True))[0] == "predictions failed"
    allowing = rules(verify={"max_errors_percent": 5})
    assert "predictions passed" in told(judge(wrong, allowing, early=True))
    some = replace(GOOD, candidate=side(errors=3))
    assert told(judge(some, rules(), early=True))[1] == "errors warned"
    assert told(judge(some, rules()))[0] == "errors failed"


def test_answers_that_do_not_tell_their_version_count_by_the_share() -> None:
    either = replace(GOOD, replayed=Replayed(requests=500, either=500, wrong=5), percent=33)
    check = judge(either, rules(verify={"max_errors_percent": 50}))[0]
    assert check.rows == 165
    assert check.observed == pytest.approx(100 * 5 / 165)
    assert "of which the target can do 33 %" in judge(either, rules())[-1].message


# --- watched ------------------------------------------------------------------------------------


@dataclass
class Site:
    """Two servers behind a front that shares its requests between them."""

    live: Counting
    candidate: Counting
    front: Front
    shares: list[tuple[str, int, int]] = field(default_factory=list)
    can: int | None = None
    owns: bool = True

    def share(self, digest: str, percent: int, fence: int) -> int:
        self.shares.append((digest, percent, fence))
        self.front.percent = percent if self.can is None else self.can
        return self.front.percent

    def own(self, digest: str) -> str:
        return self.live.url if self.owns and digest == A else ""

    def target(self, path: Path) -> Any:
        made = FileTarget(path / "target.json")
        made.live = lambda: Slot(digest=A, url=self.front.url)  # type: ignore[method-assign]
        made.share, made.own = self.share, self.own  # type: ignore[method-assign]
        return made

    def step(self, path: Path, percent: int = 50, **changes: Any) -> list[Check]:
        """Give a share by a clock of its own, so that a busy machine asks as many as an idle one."""
        settings = {"canary_step_minutes": 0.02, "canary_requests": 10, **changes}
        canary = Canary(
            target=self.target(path),
            rules=rules(verify={"max_slowdown_percent": 200}, **settings),
            model="m",
            recorded=lambda _: RECORDED,
            clock=ticking(),
            sleep=lambda _: None,
        )
        return canary.step(Slot(digest=B, url=self.candidate.url), A, percent, 7)


def ticking() -> Callable[[], float]:
    """Return a clock that goes on by 10 ms whenever it is looked at."""
    ticks = itertools.count()
    return lambda: next(ticks) / 100


@contextmanager
def site(kind: str = "good", *, live: str = "good", versions: str = "12") -> Iterator[Site]:
    with ExitStack() as stack:
        made = [Counting(versions[0], live, 0), Counting(versions[1], kind, 1)]
        front = Front((made[0].url, made[1].url))
        for server in (*made, front):
            stack.enter_context(answering(server))
        yield Site(made[0], made[1], front)


def only(checks: list[Check], name: str) -> Check:
    (found,) = (check for check in checks if check.name == name)
    return found


@pytest.mark.parametrize("versions", ["12", "11"])
def test_a_sound_candidate_is_watched_by_replayed_rows_alone(tmp_path: Path, versions: str) -> None:
    with site(versions=versions) as made:
        checks = made.step(tmp_path)
        assert {check.outcome for check in checks} == {"passed"}, checks
        assert made.shares == [(B, 50, 7)]
        assert made.candidate.asked - 1 == only(checks, "requests").rows, "it counts its own"


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("wrong", "predictions", "predict of row"),
        ("fails", "predictions", "500, broken"),
        ("hangs up", "predictions", "502"),
        ("slow", "answer-time", "beside"),
    ],
)
@pytest.mark.parametrize("versions", ["12", "11"])
def test_a_candidate_that_goes_wrong_with_its_share_is_noticed(
    tmp_path: Path, kind: str, name: str, words: str, versions: str
) -> None:
    with site(kind, versions=versions) as made:
        checks = made.step(tmp_path)
    check = only(checks, name)
    assert check.outcome == "failed", checks
    assert words in check.message
    assert checks[0].outcome == "failed"


def test_what_is_plainly_wrong_ends_the_step(tmp_path: Path) -> None:
    with site("wrong") as made:
        checks = made.step(tmp_path, canary_step_minutes=4)
    assert told(checks)[0] == "predictions failed"


def test_who_cannot_be_watched_gets_no_traffic(tmp_path: Path) -> None:
    for given in ({"kind": "no metrics"}, {"live": "no metrics"}):
        with site(**given) as made:
            (check,) = made.step(tmp_path)
            assert (check.outcome, made.shares) == ("inconclusive", [])
            assert "cannot be watched: its /metrics answers 404." in check.message
            assert "ci_mlops_inference_requests_total" in check.remedy


def test_too_few_requests_are_waited_for_once(tmp_path: Path) -> None:
    with site() as made:
        checks = made.step(tmp_path, canary_requests=10_000)
        check = only(checks, "requests")
        assert check.outcome == "inconclusive"
        assert "Raise `canary_step_minutes`" in check.remedy
        assert parts(made, tmp_path) == 2, "the step, and once more"


def parts(made: Site, path: Path) -> int:
    """Return how often a step is watched that never sees enough."""
    slept = 0
    time = 0.0

    def clock() -> float:
        return time

    def sleep(seconds: float) -> None:
        nonlocal time, slept
        time += 600
        slept += 1

    canary = Canary(
        target=made.target(path),
        rules=rules(canary_step_minutes=5),
        model="m",
        recorded=lambda _: RECORDED,
        clock=clock,
        sleep=sleep,
    )
    canary.step(Slot(digest=B, url=made.candidate.url), A, 10, 7)
    return slept


@pytest.mark.parametrize(
    ("minutes", "wanted", "percent", "pause"),
    [(5, 50, 10, 0.3), (5, 50, 90, 0.3), (5, 10_000, 10, 0.02), (60, 50, 50, 1.0)],
)
def test_rows_are_replayed_at_a_bounded_rate(
    tmp_path: Path, minutes: float, wanted: int, percent: int, pause: float
) -> None:
    slept: list[float] = []
    time = 0.0

    def sleep(seconds: float) -> None:
        nonlocal time
        slept.append(seconds)
        time += seconds if len(slept) < 5 else 10_000

    with site() as made:
        canary = Canary(
            target=made.target(tmp_path),
            rules=rules(
                canary_step_minutes=minutes, canary_requests=wanted, abandoned_after_minutes=1000
            ),
            model="m",
            recorded=lambda _: RECORDED,
            clock=lambda: time,
            sleep=sleep,
        )
        canary.step(Slot(digest=B, url=made.candidate.url), A, percent, 7)
    assert slept[:4] == [pytest.approx(pause)] * 4


def test_a_candidate_that_ends_is_an_error(tmp_path: Path) -> None:
    with site() as made:
        sharing = made.share

        def share(digest: str, percent: int, fence: int) -> int:
            made.candidate.shutdown()
            made.candidate.server_close()
            return sharing(digest, percent, fence)

        made.share = share  # type: ignore[method-assign]
        checks = made.step(tmp_path)
    assert told(checks)[0] == "predictions failed", "its clients get no answers"
    assert only(checks, "requests").outcome == "error"
    assert "it does not answer: ConnectionError" in only(checks, "requests").message


@pytest.mark.parametrize("can", [0, 100])
def test_a_target_that_cannot_share_is_said(tmp_path: Path, can: int) -> None:
    with site() as made:
        made.can = can
        with pytest.raises(OutsideError, match=f"can send {can} % there, and not 50 %"):
            made.step(tmp_path)
        made.owns = False
        with pytest.raises(OutsideError, match="has no address of its own"):
            made.step(tmp_path)


def test_rows_that_what_is_live_does_not_know_cannot_be_compared(tmp_path: Path) -> None:
    with site(live="fails") as made:
        (check,) = made.step(tmp_path)
        assert (check.outcome, made.shares) == ("inconclusive", [])
        assert check.message.startswith("What is live does not answer the candidate's recorded")
        assert "canary_percent: [100]" in check.remedy


def test_answers_that_nobody_judged_are_no_success(tmp_path: Path) -> None:
    with site() as made:
        canary = Canary(
            target=made.target(tmp_path),
            rules=rules(),
            model="m",
            recorded=lambda _: RECORDED.model_copy(update={"outputs": {}}),
        )
        (check,) = canary.step(Slot(digest=B, url=made.candidate.url), A, 10, 7)
    assert (check.outcome, check.message) == (
        "inconclusive",
        "No answers to recorded rows were judged.",
    )


def test_our_own_servers_say_all_that_is_needed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    recorded = Recorded(
        inputs=tuple(inputs(0.7, 0.1)),
        outputs={"predict_proba": (0.3, 0.7, 0.9, 0.1), "predict": ("yes", "no")},
    )
    with served(folders[0]) as one, served(folders[1]) as other:
        front = Front((one.url, other.url))
        target: Any = FileTarget(tmp_path / "target.json")
        target.live = lambda: Slot(digest=A, url=front.url)
        target.own = lambda _: one.url

        def share(_: str, percent: int, __: int) -> int:
            front.percent = percent
            return percent

        target.share = share
        canary = Canary(
            target=target,
            rules=rules(
                verify={"max_slowdown_percent": 1000}, canary_step_minutes=0.05, canary_requests=10
            ),
            model="small",
            recorded=lambda _: recorded,
            clock=ticking(),
            sleep=lambda _: None,
        )
        with answering(front):
            checks = canary.step(Slot(digest=B, url=other.url), A, 50, 7)
    assert sorted(told(checks)) == [
        "answer-time passed",
        "errors passed",
        "predictions passed",
        "requests passed",
    ], checks

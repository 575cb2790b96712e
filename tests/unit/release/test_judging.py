"""What was seen, held against limits: figures in, a check out."""

import random

import pytest

from ci_mlops.release import judging
from ci_mlops.release.replay import Seen
from ci_mlops.release.settings import VerifySettings
from ci_mlops.serving.scrape import Scrape
from tests.unit.serving.faulty_server import RECORDED

SETTINGS = VerifySettings()


def seen(**figures: object) -> Seen:
    made = Seen.of(RECORDED, 10)
    for name, value in figures.items():
        setattr(made, name, value)
    return made


def blocks(pairs: int, ratio: float, noise: float, seed: int) -> Seen:
    """Return times of so many pairs of blocks, on a machine where both may take much longer."""
    rng = random.Random(seed)
    theirs = [rng.lognormvariate(1, noise) for _ in range(pairs)]
    ours = [one * ratio * rng.lognormvariate(0, noise) for one in theirs]
    return seen(ours=[(one, one) for one in ours], theirs=[(one, one) for one in theirs])


def test_equal_versions_are_never_blamed() -> None:
    for seed in range(300):
        made = blocks(31, 1.0, 0.25, seed)
        found = judging.slowdown(made)
        assert found is not None
        assert judging.answer_time(made, found, 30, "").outcome == "passed"


def test_slower_by_half_is_blamed() -> None:
    blamed = 0
    for seed in range(100):
        made = blocks(241, 1.5, 0.25, seed)
        found = judging.slowdown(made)
        assert found is not None
        blamed += judging.answer_time(made, found, 30, "").outcome == "failed"
    assert blamed == 100


def test_what_a_busy_machine_hides_in_the_median_is_seen_in_the_quartile() -> None:
    # 8 ms and 12 ms of work; the machine adds 25 ms to most answers of both.
    made = seen(ours=[(13.0, 38.0)] * 31, theirs=[(9.0, 34.0)] * 31)
    found = judging.slowdown(made)
    assert found is not None
    assert found.percent == pytest.approx(100 * (13 / 9 - 1))
    assert judging.answer_time(made, found, 30, "").outcome == "failed"


def test_few_pairs_decide_nothing_against_it() -> None:
    made = blocks(judging.MIN_BLOCKS, 1.5, 0.001, 1)
    found = judging.slowdown(made)
    assert found is not None
    assert not found.is_decided(30), "one pair warmed up"
    more = judging.slowdown(blocks(judging.MIN_BLOCKS + 1, 1.5, 0.001, 1))
    assert more is not None
    assert more.is_decided(30)
    assert judging.slowdown(blocks(1, 1.0, 0.1, 1)) is None


@pytest.mark.parametrize(
    ("errors", "asked", "limit", "ended", "outcome"),
    [
        (0, 10, 0, False, "passed"),
        (1, 5000, 0, False, "failed"),
        (1, 20, 1, False, "passed"),  # one of twenty is no proof of more than one in a hundred
        (1, 20, 1, True, "failed"),
        (9, 100, 1, False, "failed"),
    ],
)
def test_errors_end_a_hold_once_they_are_too_many_for_sure(
    errors: int, asked: int, limit: float, ended: bool, outcome: str
) -> None:
    settings = VerifySettings(max_errors_percent=limit)
    made = seen(errors=errors, asked=asked)
    assert judging.errors_so_far(made, settings, "", ended=ended).outcome == outcome


def test_a_version_that_answers_no_more_ends_a_hold_whatever_its_limit() -> None:
    made = seen(errors=3, asked=100_000, in_a_row=3, first="no answer: TimeoutError")
    check = judging.errors_so_far(made, VerifySettings(max_errors_percent=50), "", ended=False)
    assert check.outcome == "failed"
    assert check.message.endswith("got no right answer, first: no answer: TimeoutError.")


def test_nothing_asked_is_no_success() -> None:
    assert judging.errors(seen(), SETTINGS, "").outcome == "failed"
    assert judging.stays_ready(seen(), SETTINGS, "").outcome == "failed"


def scrape(process: float, memory_mb: float, requests: float | None, failed: float = 0) -> Scrape:
    return Scrape(
        started=process,
        memory_bytes=memory_mb * 1024**2,
        requests=requests,
        failed=None if requests is None else failed,
    )


def test_processes_behind_one_address_are_told_apart() -> None:
    one = [(10 * n, scrape(1, 100, 10.0 * n)) for n in range(20)]
    other = [(10 * n, scrape(2, 200 + n, 10.0 * n, n)) for n in range(20)]
    both = [scraped for pair in zip(one, other, strict=True) for scraped in pair]
    sound, leaking = seen(scrapes=one), seen(scrapes=both)
    assert judging.memory(sound, 2, "", alone=False).outcome == "passed"
    assert judging.memory(leaking, 2, "", alone=False).outcome == "failed"
    told = judging.traffic(leaking, 1, "", ended=True)
    assert (told.outcome, told.observed, told.rows) == ("failed", 5.0, 380)


def test_memory_without_a_count_is_only_looked_at_where_nobody_else_asks() -> None:
    made = seen(scrapes=[(10 * n, scrape(1, 100 + n, None)) for n in range(40)])
    assert judging.memory(made, 2, "", alone=True).outcome == "failed"
    check = judging.memory(made, 2, "", alone=False)
    assert check.outcome == "skipped"
    assert "do not count what clients ask" in check.message

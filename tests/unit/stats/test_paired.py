"""Decisions about paired times whose truth is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops.stats import paired
from ci_mlops.stats.paired import Launch

MEDIAN_BLOCKS = 24


def _launch(
    change: float,
    seed: int,
    *,
    noise: float = 0.02,
    whole_life: float = 0.0,
    waiting: float = 1.0,
    cpu_change: float | None = None,
) -> Launch:
    """Return blocks of a program that became slower by `change`, with heavy tails."""
    rng = np.random.default_rng(seed)
    wall, cpu = (
        np.log1p(one) + whole_life + noise * rng.standard_t(3, MEDIAN_BLOCKS)
        for one in (change, change if cpu_change is None else cpu_change)
    )
    return Launch(wall=tuple(wall), cpu=tuple(cpu), waiting=waiting)


def _launches(change: float, count: int = 12, seed: int = 0, **how: float) -> list[Launch]:
    return [_launch(change, seed * 1000 + n, **how) for n in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_no_change_is_never_called_slower(seed: int) -> None:
    assert paired.decide(_launches(0.0, seed=seed), 0.05).answer == "not slower"


@pytest.mark.parametrize("seed", range(20))
def test_a_change_of_twice_the_limit_is_found(seed: int) -> None:
    decision = paired.decide(_launches(0.10, seed=seed), 0.05)
    assert decision.answer == "slower"
    assert decision.wall.change == pytest.approx(0.10, abs=0.02)


def test_a_program_that_became_faster_is_not_slower() -> None:
    assert paired.decide(_launches(-0.5), 0.05).answer == "not slower"


def test_nothing_is_decided_before_an_interval_is_possible() -> None:
    slower, same = _launches(1.0), _launches(0.0)
    blamed = [paired.decide(slower[:n], 0.05).answer for n in range(1, 9)]
    acquitted = [paired.decide(same[:n], 0.05).answer for n in range(1, 9)]
    assert blamed == [*["cannot tell"] * 6, "slower", "slower"]
    assert acquitted == [*["cannot tell"] * 5, *["not slower"] * 3]


def test_noise_larger_than_the_question_cannot_be_decided() -> None:
    loud = [_launch(0.0, n, whole_life=0.3 * (-1) ** n) for n in range(12)]
    assert paired.decide(loud, 0.05).answer == "cannot tell"


def test_launches_that_are_slow_for_their_whole_life_are_named_and_change_nothing() -> None:
    apart = [_launch(0.0, 77 + n, whole_life=0.35) for n in range(3)]
    decision = paired.decide([*_launches(0.0, 17), *apart], 0.05)
    assert decision.apart == (17, 18, 19)
    assert decision.answer == "not slower"


@pytest.mark.parametrize("seed", range(5))
def test_more_blocks_do_not_make_a_launch_more_certain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    medians = rng.normal(0, 0.05, 9)
    few, many = ([[one] * blocks for one in medians] for blocks in (1, 1000))
    assert paired.estimate(few) == paired.estimate(many)


def test_waiting_is_seen_on_the_wall_clock_though_the_processor_did_no_more() -> None:
    launches = _launches(0.10, waiting=1.5, cpu_change=0.0)
    assert paired.decide(launches, 0.05).answer == "slower"


@pytest.mark.parametrize(("waiting", "answer"), [(1.0, "not slower"), (1.5, "cannot tell")])
def test_the_processor_clock_acquits_only_programs_that_do_not_wait(
    waiting: float, answer: str
) -> None:
    quiet = _launches(0.0)
    loud = [_launch(0.0, n, whole_life=0.1 * ((n % 3) - 1)) for n in range(12)]
    launches = [
        Launch(wall=wall.wall, cpu=cpu.cpu, waiting=waiting)
        for wall, cpu in zip(loud, quiet, strict=True)
    ]
    assert paired.decide(launches, 0.05).answer == answer


@given(st.floats(-0.3, 0.5), st.integers(0, 500), st.floats(0.01, 0.5))
def test_the_answer_never_contradicts_the_change_that_is_shown(
    change: float, seed: int, limit: float
) -> None:
    decision = paired.decide(_launches(change, 9, seed=seed), limit)
    shown = decision.wall if decision.clock == "wall" else decision.cpu
    if decision.answer == "slower":
        assert shown.change > limit
    if decision.answer == "not slower":
        assert decision.clock == "wall"
        assert shown.change <= limit


@pytest.mark.parametrize("seed", range(10))
def test_the_processor_clock_never_acquits_a_program_that_sleeps(seed: int) -> None:
    loud = _launches(0.09, noise=0.1, seed=seed)
    quiet = _launches(0.0, seed=seed)
    launches = [
        Launch(wall=wall.wall, cpu=cpu.cpu, waiting=1.04)
        for wall, cpu in zip(loud, quiet, strict=True)
    ]
    assert paired.decide(launches, 0.05).answer != "not slower"


def test_more_work_behind_a_noisy_wall_clock_is_found_on_the_processor_clock() -> None:
    quiet = _launches(0.2)
    loud = [_launch(0.2, n, whole_life=0.3 * (-1) ** n) for n in range(12)]
    launches = [
        Launch(wall=wall.wall, cpu=cpu.cpu, waiting=1.2)
        for wall, cpu in zip(loud, quiet, strict=True)
    ]
    decision = paired.decide(launches, 0.05)
    assert (decision.answer, decision.clock) == ("slower", "cpu")


@given(st.floats(-0.3, 0.5), st.integers(0, 500))
def test_swapping_the_sides_turns_the_sign(change: float, seed: int) -> None:
    blocks = [one.wall for one in _launches(change, 4, seed=seed)]
    there = paired.estimate(blocks)
    back = paired.estimate([[-value for value in one] for one in blocks])
    assert np.log1p(there.change) == pytest.approx(-np.log1p(back.change), abs=1e-12)
    assert np.log1p(there.low) == pytest.approx(-np.log1p(back.high), abs=1e-12)


@given(st.integers(0, 500), st.floats(1e-6, 1e6))
def test_a_faster_machine_changes_nothing(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    base, head = rng.lognormal(size=(2, 4, MEDIAN_BLOCKS))
    slow = paired.estimate((np.log(head) - np.log(base)).tolist())
    fast = paired.estimate((np.log(head * factor) - np.log(base * factor)).tolist())
    assert fast.change == pytest.approx(slow.change, abs=1e-9)
    assert fast.high == pytest.approx(slow.high, rel=1e-9)


@given(st.integers(0, 200))
def test_the_change_lies_in_its_interval(seed: int) -> None:
    one = paired.estimate([launch.wall for launch in _launches(0.1, 3, seed=seed, noise=0.3)])
    assert one.low <= one.change <= one.high


def test_the_sign_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_cauchy((2000, 15))
    covered = [low <= 0 <= high for low, high in (paired.sign_interval(s, 0.9) for s in samples)]
    assert np.mean(covered) >= 0.9


@pytest.mark.parametrize("count", [1, 2, 9])
def test_too_few_values_give_the_whole_range(count: int) -> None:
    values = np.arange(count, dtype=float)
    assert paired.sign_interval(values, 0.998) == (0.0, count - 1.0)


# --- recorded on a shared machine of two processors, by benchmarks/latency_gate.py ----------------

RECORDED = json.loads(Path(__file__).with_name("recorded_latency.json").read_text("utf-8"))


def _recorded(one: dict[str, Any]) -> list[Launch]:
    return [Launch(wall=(w,), cpu=(c,), waiting=waits) for w, c, waits in one["launches"]]


def _said(one: dict[str, Any]) -> str:
    return f"{one['model']} {one['change']}{', disturbed' if one['disturbed'] else ''}"


@pytest.mark.parametrize("one", [one for one in RECORDED if one["change"] == "none"], ids=_said)
def test_recorded_launches_without_a_change_are_never_called_slower(one: dict[str, Any]) -> None:
    launches = _recorded(one)
    answers = [paired.decide(launches[:n], 0.05).answer for n in range(1, len(launches) + 1)]
    assert "slower" not in answers
    assert answers[-1] == "not slower"


@pytest.mark.parametrize("one", [one for one in RECORDED if "10 %" in one["change"]], ids=_said)
def test_recorded_launches_with_ten_percent_more_are_found(one: dict[str, Any]) -> None:
    decision = paired.decide(_recorded(one), 0.05)
    assert decision.answer == "slower"
    assert (decision.wall if decision.clock == "wall" else decision.cpu).change > 0.05

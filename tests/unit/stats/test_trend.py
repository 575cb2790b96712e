"""Medians, floors and growth over time: intervals that hold, and bursts that do not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops.stats import trend

FIGURES = st.lists(st.floats(-1e6, 1e6), min_size=trend.FEWEST, max_size=60)


def test_the_interval_of_the_median_holds_it_at_its_level() -> None:
    rng = np.random.default_rng(0)
    for n in (6, 12, 24):
        found = [trend.middle(list(rng.lognormal(0, 1, n))) for _ in range(800)]
        held = [one is not None and one.low <= 1 <= one.high for one in found]
        assert np.mean(held) > 0.94


def test_twelve_parts_leave_out_two_at_either_end() -> None:
    found = trend.middle([float(n) for n in range(1, 13)])
    assert found == trend.Middle(value=6.5, low=3, high=10)
    assert trend.middle([1.0] * (trend.FEWEST - 1)) is None


@given(figures=FIGURES)
def test_order_does_not_matter_and_the_median_lies_within(figures: list[float]) -> None:
    found = trend.middle(figures)
    assert found == trend.middle(figures[::-1])
    assert found is not None
    assert found.low <= found.value <= found.high


def test_growth_is_told_with_its_interval() -> None:
    rng = np.random.default_rng(1)
    times = np.arange(24.0)
    found = trend.growth(list(times), list(300 + 4 * times + rng.normal(0, 3, 24)))
    assert found.low < 4 < found.high
    assert found.low > 3
    still = trend.growth(list(times), list(300 + rng.normal(0, 3, 24)))
    assert still.low < 0 < still.high


def test_floors_see_a_leak_below_what_is_given_back() -> None:
    times = list(np.arange(0, 80.0))
    wave = [300 + 50 * (n % 10) + n for n in range(80)]
    when, least = trend.floors(times, wave, blocks=8)
    assert least == [300 + 10 * n for n in range(8)]
    assert when == [10.0 * n for n in range(8)]
    assert trend.floors([5.0], [7.0], blocks=8) == ([5.0], [7.0])


@pytest.mark.parametrize("gap", [(20, 40), (0, 30)])
def test_blocks_without_a_figure_are_left_out(gap: tuple[int, int]) -> None:
    times = [float(n) for n in range(80) if not gap[0] <= n < gap[1]] + [0.0]
    when, least = trend.floors(times, [1.0] * len(times), blocks=8)
    assert len(when) == len(least) < 8

"""Distances with their chance and interval: known values, rates by chance, and coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ci_mlops.stats import moved

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
SHARES = st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_numbers_of_one_distribution_look_moved_at_the_stated_rate() -> None:
    rng = np.random.default_rng(0)
    found = [
        moved.numbers_moved(rng.normal(size=300), rng.normal(size=200)).p_value < 0.05
        for _ in range(600)
    ]
    assert 0.02 < np.mean(found) < 0.07


def test_the_interval_of_numbers_holds_the_true_distance() -> None:
    rng = np.random.default_rng(1)
    # Two normal laws half a standard deviation apart differ most in the middle between them.
    true = 2 * stats.norm.cdf(0.25) - 1
    for _ in range(100):
        found = moved.numbers_moved(rng.normal(size=400), rng.normal(0.5, size=400))
        assert found.low <= true <= found.high
    assert found.p_value < 1e-6


def test_categories_of_one_distribution_look_moved_at_the_stated_rate() -> None:
    rng = np.random.default_rng(2)
    shares = [0.6, 0.25, 0.1, 0.05]

    def counts(n: int) -> dict[str, int]:
        return dict(zip("abcd", map(int, rng.multinomial(n, shares)), strict=True))

    found = [moved.categories_moved(counts(500), counts(300)).p_value < 0.05 for _ in range(600)]
    assert 0.03 < np.mean(found) < 0.08


def test_categories_that_moved_and_one_that_is_new() -> None:
    found = moved.categories_moved({"a": 500, "b": 500}, {"a": 300, "b": 500, "c": 200})
    assert found.value == pytest.approx(0.2)
    assert found.low < 0.2 < found.high
    assert found.p_value < 1e-9
    alone = moved.categories_moved({"a": 3}, {"a": 5})
    assert (alone.value, alone.p_value) == (0, 1)


def test_rare_categories_are_pooled_before_they_count() -> None:
    many = {f"v{n}": 1 for n in range(100)}
    others = {f"w{n}": 1 for n in range(100)}
    # Each value stands once, so nothing can be told of any: only that all of them are rare.
    assert moved.categories_moved({**many, "x": 900}, {**others, "x": 900}).p_value > 0.5


@given(one=SHARES, two=SHARES)
def test_the_interval_of_a_difference_holds_it_and_turns_with_the_sides(
    one: tuple[int, int], two: tuple[int, int]
) -> None:
    low, high = moved.difference_interval(one, two)
    apart = two[0] / two[1] - one[0] / one[1]
    assert low - 1e-9 <= apart <= high + 1e-9
    turned = moved.difference_interval(two, one)
    assert turned == pytest.approx((-high, -low), abs=1e-9)
    found = moved.shares_moved(one, two)
    assert found.low <= found.value + 1e-9
    assert found.value <= found.high + 1e-9


def test_newcombes_own_example() -> None:
    # Newcombe 1998, table II, example a: 56/70 less 48/80, method 10: 0.0524 to 0.3339.
    low, high = moved.difference_interval((48, 80), (56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(p_values=P_VALUES)
def test_holm_adjusts_upwards_in_the_same_order(p_values: list[float]) -> None:
    adjusted = moved.holm(p_values)
    for raw, one in zip(p_values, adjusted, strict=True):
        assert raw <= one <= min(1, raw * len(p_values)) + 1e-12
    ranked = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[n] for n in ranked] == sorted(adjusted)


def test_holms_known_values() -> None:
    assert moved.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert moved.holm([]) == []


def test_the_interval_of_a_count_holds_its_mean_as_often_as_it_says() -> None:
    # Garwood 1936, table: (0, 3.689) for none, (4.795, 18.391) for ten.
    assert moved.count_interval(0) == pytest.approx((0, 3.689), abs=1e-3)
    assert moved.count_interval(10) == pytest.approx((4.795, 18.391), abs=1e-3)

"""Distances between samples: known values, chance, and what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ci_mlops.stats import shift

SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60).map(np.array)
COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1)


@given(one=SAMPLES, two=SAMPLES)
def test_the_ks_distance_is_scipys_and_does_not_know_sides(
    one: np.ndarray, two: np.ndarray
) -> None:
    found = shift.kolmogorov_smirnov(one, two)
    assert found == pytest.approx(stats.ks_2samp(one, two, method="asymp").statistic)
    assert found == pytest.approx(shift.kolmogorov_smirnov(two, one))
    assert 0 <= found <= 1


def test_the_ks_limit_holds_its_rate_by_chance() -> None:
    rng = np.random.default_rng(0)
    limit = shift.ks_critical(300, 200, 0.05)
    found = [
        shift.kolmogorov_smirnov(rng.normal(size=300), rng.normal(size=200)) for _ in range(1000)
    ]
    assert 0.02 < float(np.mean(np.array(found) > limit)) < 0.06


def test_total_variation_of_known_counts() -> None:
    assert shift.total_variation({"a": 1, "b": 1}, {"a": 3, "b": 1}) == pytest.approx(0.25)
    assert shift.total_variation({"a": 2}, {"b": 5}) == pytest.approx(1.0)


@given(one=COUNTS, two=COUNTS, times=st.integers(1, 9))
def test_total_variation_is_symmetric_and_of_shares(
    one: dict[str, int], two: dict[str, int], times: int
) -> None:
    found = shift.total_variation(one, two)
    assert 0 <= found <= 1 + 1e-12
    assert found == pytest.approx(shift.total_variation(two, one))
    more = {name: times * count for name, count in one.items()}
    assert found == pytest.approx(shift.total_variation(more, two))


def counted(numbers: np.ndarray) -> dict[object, int]:
    return {n: int(number) for n, number in enumerate(numbers)}


def test_the_limit_of_total_variation_is_rarely_exceeded_by_chance() -> None:
    rng = np.random.default_rng(0)
    limit = shift.total_variation_critical(8, 200, 100, 0.05)
    beyond = 0
    for _ in range(500):
        one, two = (counted(rng.multinomial(n, [1 / 8] * 8)) for n in (200, 100))
        beyond += shift.total_variation(one, two) > limit
    assert beyond / 500 < 0.05


@pytest.mark.parametrize("factor", [0.1, 0.62, 1.6, 1000])
@pytest.mark.parametrize("both_signs", [False, True])
def test_a_change_of_unit_is_found_with_its_factor(factor: float, *, both_signs: bool) -> None:
    rng = np.random.default_rng(1)
    one, two = (rng.normal(0, 1, n) if both_signs else rng.lognormal(0, 1, n) for n in (2000, 1000))
    found = shift.rescaling(one, two * factor)
    assert found is not None
    assert found.factor == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("other", ["same", "moved", "constant"])
def test_other_changes_are_no_change_of_unit(other: str) -> None:
    rng = np.random.default_rng(1)
    one, two = rng.lognormal(0, 1, 2000), rng.lognormal(0, 1, 1000)
    current = {"same": two, "moved": two + 3, "constant": np.zeros(1000)}[other]
    assert shift.rescaling(one, current) is None


def test_rare_rows_that_chance_brings() -> None:
    allowed = shift.excess_rows_allowed(2.0, 1e-3)
    assert stats.poisson.sf(allowed, 2.0) <= 1e-3 < stats.poisson.sf(allowed - 1, 2.0)
    assert shift.excess_rows_allowed(0.0, 1e-3) == 0


def test_the_noise_of_a_share_is_four_standard_errors_and_never_nothing() -> None:
    assert shift.share_noise(0.5, 100, 100) == pytest.approx(4 * math.sqrt(0.25 * 0.02))
    assert shift.share_noise(0.0, 100, 100) > 0

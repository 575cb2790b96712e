"""Two versions side by side: who is worse beyond chance, and how rarely that is said wrongly."""

import math

import numpy as np
import pytest
from scipy.stats import fisher_exact

from ci_mlops.stats.beside import Times, more_errors, slower

EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, math.inf)


def times(values: "np.ndarray") -> Times:
    places = np.searchsorted(EDGES, values)
    buckets = {edge: int((places == n).sum()) for n, edge in enumerate(EDGES)}
    return Times(count=len(values), total=float(values.sum()), buckets=buckets)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((3, 30), (0, 270)),
        ((1, 30), (5, 270)),
        ((0, 9), (2, 9)),
        ((7, 7), (9, 9)),
        ((40, 9000), (9, 9000)),
    ],
)
def test_errors_by_fishers_exact_test(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    table = [[ours[0], ours[1] - ours[0]], [theirs[0], theirs[1] - theirs[0]]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert more_errors(ours, theirs, 0) == pytest.approx(expected)
    assert more_errors((0, 0), theirs, 0) == pytest.approx(1), "nothing was asked of us"


def test_errors_that_are_allowed_do_not_count() -> None:
    assert more_errors((0, 50), (0, 50), 0) == 1
    assert more_errors((5, 100), (0, 900), 0) < 0.001
    assert more_errors((5, 100), (0, 900), 0.05) == 1
    assert more_errors((12, 100), (0, 900), 0.05) < 0.001


def test_equal_versions_are_seldom_blamed() -> None:
    rng = np.random.default_rng(7)
    errors = slow = 0
    for _ in range(1000):
        bad = (int(rng.binomial(60, 0.03)), 60), (int(rng.binomial(540, 0.03)), 540)
        errors += more_errors(*bad, 0) < 0.01
        ours, theirs = (times(rng.lognormal(-6, 0.7, n)) for n in (60, 540))
        slow += slower(ours, theirs, 0) < 0.01
    assert errors <= 20
    assert slow <= 30


def test_a_slow_version_is_blamed_and_an_outlier_is_not() -> None:
    fast, slow = times(np.full(500, 0.0021)), times(np.full(50, 0.0049))
    assert slower(slow, fast, 1) < 0.01, "they lie in the same bucket, but their sums differ"
    assert slower(fast, fast, 1) > 0.99
    outlier = times(np.array([0.0021] * 49 + [8.0]))
    assert outlier.mean > 50 * fast.mean
    assert slower(outlier, fast, 1) > 0.1


def test_the_variance_of_a_histogram_is_rather_too_large_than_too_small() -> None:
    values = np.random.default_rng(7).lognormal(-5, 0.8, 5000)
    assert 1 <= times(values).variance / values.var() < 2
    beyond = Times(count=2, total=30.0, buckets={10.0: 0, math.inf: 2})
    assert beyond.variance == pytest.approx(100 / 12)
    same = Times(count=1, total=0.5, buckets={})
    assert (slower(same, same, 0), slower(same, Times(count=1, total=0.1, buckets={}), 0)) == (1, 0)

"""A cumulative sum of right answers: quiet where all is well, quick where it is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops.stats import sequential

OUTCOMES = st.lists(st.booleans(), max_size=300).map(lambda one: np.array(one, dtype=bool))


def outcomes(share: float, n: int, seed: int) -> np.ndarray:
    made: np.ndarray = np.random.default_rng(seed).random(n) < share
    return made


def test_a_healthy_model_raises_no_alarm_in_two_hundred_quarters() -> None:
    found = [sequential.drop(outcomes(0.9, 9000, seed), 0.9, 0.02) for seed in range(200)]
    assert sum(one.alarm for one in found) == 0


@pytest.mark.parametrize(("share", "within"), [(0.85, 6000), (0.8, 900)])
def test_a_drop_is_found_and_its_beginning_told(share: float, within: int) -> None:
    late = []
    for seed in range(20):
        walk = np.concatenate([outcomes(0.9, 5000, seed), outcomes(share, 10_000, seed + 100)])
        found = sequential.drop(walk, 0.9, 0.02)
        assert found.alarm
        assert found.alarm_at is not None
        late.append(found.alarm_at - 5000)
        assert abs(found.since - 5000) < 1500
    assert np.median(late) < within


def test_a_drop_that_is_over_is_no_alarm() -> None:
    walk = np.concatenate([outcomes(0.7, 500, 1), outcomes(0.97, 5000, 2)])
    assert sequential.drop(walk[:500], 0.9, 0.02).alarm
    assert not sequential.drop(walk, 0.9, 0.02).alarm


def test_nothing_says_nothing() -> None:
    found = sequential.drop(np.array([], dtype=bool), 0.9, 0.02)
    assert (found.alarm, found.alarm_at, found.since, found.statistic) == (False, None, 0, 0)


@given(right=OUTCOMES, expected=st.floats(0, 1), allowed=st.floats(0, 0.5))
def test_whatever_comes_the_answer_is_finite_and_within(
    right: np.ndarray, expected: float, allowed: float
) -> None:
    found = sequential.drop(right, expected, allowed)
    assert np.isfinite(found.statistic)
    assert 0 <= found.since <= len(right)
    assert found.alarm == (found.alarm_at is not None)
    assert found.alarm_at is None or found.since <= found.alarm_at < len(right)
    assert found.alarm == (found.statistic > sequential.THRESHOLD)

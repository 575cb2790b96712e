"""Importance, attributions and how well a feature tells groups, against answers that are known."""

import numpy as np
import pandas as pd
import pytest

from ci_mlops.stats import attribution, importance, telling


def test_attributions_of_a_sum_are_its_terms() -> None:
    weights = np.array([1.0, -2.0, 0.5])
    background = np.random.default_rng(0).normal(size=(40, 3))
    row = np.array([1.0, 1.0, 2.0])
    made = attribution.walks(3, 40, count=400, seed=1)
    start = background[made.background][:, None, :]
    answers = np.where(made.taken, row, start) @ weights
    values, errors = attribution.contributions(answers, made)
    expected = weights * (row - background.mean(axis=0))
    assert np.abs(values - expected).max() < 4 * errors.max()
    assert values.sum() == pytest.approx((answers[:, -1] - answers[:, 0]).mean())


def test_one_pair_of_walks_has_no_error() -> None:
    made = attribution.walks(2, 5, count=2, seed=0)
    _, errors = attribution.contributions(np.zeros((2, 3)), made)
    assert np.isinf(errors).all()


def test_shares_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        found = importance.shares(np.column_stack([rng.normal(3, 1, 20), rng.normal(1, 1, 20)]))
        assert found is not None
        held += found[0].low <= 0.75 <= found[0].high
    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_nothing_that_rises_has_no_shares() -> None:
    assert importance.shares(np.full((10, 2), -1.0)) is None
    still = importance.shares(np.zeros((10, 2)))
    assert still is not None
    assert [one.value for one in still] == [0, 0]


def test_blocks_hold_every_row_once_and_donors_are_others() -> None:
    made = importance.blocks(105, seed=0)
    assert sorted(np.concatenate(made)) == list(range(105))
    assert importance.blocks(40, seed=0) == []
    for repeat in (1, 2):
        given = importance.donors(made[0], repeat)
        assert sorted(given) == sorted(made[0])
        assert not (given == made[0]).any()


def test_ranks_and_their_agreement() -> None:
    assert importance.ranks([0.1, 0.9, 0.5]) == [3, 1, 2]
    assert importance.kendall([1, 2, 3], [1, 2, 3]) == 1
    assert importance.kendall([1, 2, 3], [3, 2, 1]) == -1
    assert importance.kendall([1], [1]) == 1


def test_a_feature_tells_the_group_that_it_was_made_of() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(["x", "y", "z"], 200)
    told = telling.tells(
        pd.Series(rng.normal(size=600) + 3 * (groups == "y")), groups.tolist(), seed=0
    )
    assert told is not None
    assert told.group == "y"
    assert told.low > 0.9
    chance = telling.tells(pd.Series(rng.normal(size=600)), groups.tolist(), seed=0)
    assert chance is not None
    assert chance.low < 0.55
    words = pd.Series(["late" if one == "z" else None for one in groups])
    told = telling.tells(words, groups.tolist(), seed=0)
    assert told is not None
    assert (told.group, round(told.area, 2)) == ("z", 1)
    assert telling.tells(words, ["x"] * 599 + ["y"], seed=0) is None

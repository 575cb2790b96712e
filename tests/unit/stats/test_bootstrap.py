"""Intervals are seeded, paired, and cover what they should."""

import numpy as np
import pytest

from ci_mlops.stats.bootstrap import draws, resample, spread
from ci_mlops.stats.scoring import Answers
from ci_mlops.stats.slices import slice_means


def _pair(seed: int, rows: int = 400) -> tuple[Answers, Answers]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows)
    shared = rng.normal(size=rows)
    head = truth + shared + 0.1 * rng.normal(size=rows)
    base = truth + shared + 0.1 * rng.normal(size=rows)
    return (
        Answers(task="regression", truth=truth, predicted=head),
        Answers(task="regression", truth=truth, predicted=base),
    )


def test_draws_are_whole_resamples() -> None:
    blocks = np.vstack(list(draws(50, 30, seed=1)))
    assert blocks.shape == (30, 50)
    assert (blocks.sum(axis=1) == 50).all()
    assert list(draws(0, 30, seed=1)) == []


def test_the_same_seed_gives_the_same_interval() -> None:
    head, base = _pair(0)
    assert resample(head, base, ["mae"], seed=4) == resample(head, base, ["mae"], seed=4)
    assert resample(head, base, ["mae"], seed=4) != resample(head, base, ["mae"], seed=5)


def test_pairing_makes_the_interval_of_the_change_narrow() -> None:
    head, base = _pair(0)
    found = resample(head, base, ["mae"], seed=0)["mae"]
    assert found.change is not None
    assert found.head is not None
    assert found.change.high - found.change.low < (found.head.high - found.head.low) / 3


def test_coverage_of_the_change() -> None:
    # Head and base are drawn alike, so the true change is 0: about 95 of 100 intervals hold it.
    found = [resample(*_pair(n), ["mae"], seed=n, resamples=200)["mae"] for n in range(100)]
    held = sum(one.change is not None and one.change.low <= 0 <= one.change.high for one in found)
    assert 88 <= held <= 100


def test_many_rows_take_the_normal_interval() -> None:
    head, base = _pair(1, rows=20_000)
    many = resample(head, base, ["mae"], seed=0)["mae"].change
    plain = resample(head, base, ["mae"], seed=0, resamples=1000)["mae"].change
    assert many is not None
    assert plain is not None
    assert many.low == pytest.approx(plain.low, abs=0.0006)
    assert many.high == pytest.approx(plain.high, abs=0.0006)


def test_an_undefined_metric_has_no_interval() -> None:
    assert spread(np.array([np.nan, 1.0])) is None
    assert spread(None) is None
    head, _ = _pair(0)
    assert resample(head, None, ["mae"], seed=0)["mae"].change is None


def test_slices_are_judged_together() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    values[:100] -= 3
    masks = {f"s{n}": np.arange(400) // 100 == n for n in range(4)}
    worst, *others = slice_means(values, masks)
    assert worst.name == "s0"
    assert worst.sure_high < 0
    assert all(one.sure_low < one.low < one.mean < one.high < one.sure_high for one in others)


def test_rows_that_all_agree_are_not_certain() -> None:
    (one,) = slice_means(np.full(50, -1.0), {"all": np.ones(50, dtype=bool)})
    assert one.low < -1 < one.high < 0


def test_a_slice_of_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than two rows"):
        slice_means(np.zeros(3), {"one": np.array([True, False, False])})

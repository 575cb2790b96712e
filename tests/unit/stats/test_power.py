"""How well one column tells the label: chance is 0, certainty is 1, on rows held out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops.stats import power

ROWS = 4000


def labelled(seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, ROWS), rng


def test_noise_tells_nothing() -> None:
    label, rng = labelled()
    assert power.power_of_one(rng.normal(size=ROWS), label, numeric_label=False) < 0.1
    assert power.power_of_one(rng.normal(size=ROWS), rng.normal(size=ROWS), numeric_label=True) == 0


def test_the_label_itself_tells_all() -> None:
    label, rng = labelled()
    assert power.power_of_one(label.astype(float), label, numeric_label=False) > 0.99
    value = rng.normal(size=ROWS)
    assert power.power_of_one(value, value, numeric_label=True) > 0.95


def test_one_class_of_many_is_enough() -> None:
    _, rng = labelled()
    label = rng.integers(0, 4, ROWS)
    told = power.power_of_one((label == 3).astype(float), label, numeric_label=False)
    assert told > 0.99


def test_missing_values_can_tell_too() -> None:
    label, rng = labelled()
    column = rng.normal(size=ROWS)
    column[label == 1] = np.nan
    assert power.power_of_one(column, label, numeric_label=False) > 0.99


def test_a_key_does_not_look_like_a_leak() -> None:
    label, _ = labelled()
    assert power.power_of_one(np.arange(ROWS, dtype=float), label, numeric_label=False) < 0.2


@given(shift=st.floats(-100, 100), scale=st.floats(0.1, 100))
def test_units_do_not_matter(shift: float, scale: float) -> None:
    label, rng = labelled()
    column = np.round(label + rng.normal(0, 1, ROWS), 3)
    told = power.power_of_one(column, label, numeric_label=False)
    other = power.power_of_one(np.round(column * scale + shift, 6), label, numeric_label=False)
    assert other == pytest.approx(told, abs=0.02)


def test_one_label_alone_tells_nothing() -> None:
    column = np.arange(100, dtype=float)
    assert power.power_of_one(column, np.zeros(100, dtype=int), numeric_label=False) == 0
    assert power.power_of_one(column, np.zeros(100), numeric_label=True) == 0

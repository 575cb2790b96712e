"""Accuracy where no label has arrived: right where confidence can tell, and its limits told."""

import numpy as np
import pytest

from ci_mlops.stats.estimating import estimated_accuracy


def judged(n: int, seed: int, *, low: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return confidences and whether each was right, of a model that is overconfident."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(low, 1, n)
    return confidence, rng.random(n) < 0.5 + 0.8 * (confidence - 0.5)


def test_an_overconfident_model_is_calibrated_first() -> None:
    confidence, right = judged(4000, 0)
    now, truth = judged(4000, 1)
    found = estimated_accuracy(confidence, right, now)
    assert found.low < truth.mean() < found.high
    assert abs(found.value - now.mean()) > 0.02


@pytest.mark.parametrize("low", [0.5, 0.8])
def test_a_shift_of_inputs_is_seen(low: float) -> None:
    confidence, right = judged(4000, 2)
    now, truth = judged(4000, 3, low=low)
    found = estimated_accuracy(confidence, right, now)
    assert found.value == pytest.approx(truth.mean(), abs=0.03)
    assert 0 <= found.low <= found.value <= found.high <= 1

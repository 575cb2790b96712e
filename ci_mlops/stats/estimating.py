"""The accuracy to expect where no label has arrived, from the model's own confidence.

Confidence-based performance estimation: each answer is right with the probability that the model
gives it, once that is calibrated on judged rows. It sees a shift of inputs, and never one of what
they mean. Source: Guo et al., On calibration of modern neural networks (2017); Garg et al.,
Leveraging unlabeled data to predict out-of-distribution performance (2022), section 3.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimated share of right answers with its 95 % interval, sampling alone counted in."""

    value: float
    low: float
    high: float


def estimated_accuracy(
    judged: NDArray[np.float64], right: NDArray[np.bool_], current: NDArray[np.float64]
) -> Estimate:
    """Return the accuracy to expect of n answers.

    `judged`, shape (m,), is the probability that the model gave its own answer to each judged row,
    `right` whether it was; `current`, shape (n,), the same probability where nobody knows yet.
    """
    from sklearn.isotonic import IsotonicRegression

    calibrated = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    calibrated.fit(judged, right.astype(float))
    chances = np.asarray(calibrated.predict(current), dtype=float)
    value = float(chances.mean())
    spread = float(chances.var() / len(chances) + right.var() / len(right))
    reach = Z * math.sqrt(spread)
    return Estimate(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach))

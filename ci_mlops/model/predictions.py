"""What a model answered for each row of a table, by row key."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Answers for n rows; joined to data by key, never by position."""

    keys: pd.Index
    """Row keys, unique, n of them."""
    predicted: np.ndarray
    """Predicted classes (after the threshold) or values, shape (n,)."""
    scores: np.ndarray | None
    """Class probabilities, shape (n, len(classes)), float64; None where the model gives none."""
    classes: tuple[object, ...] = ()
    """Sorted classes, the columns of `scores`; empty for regression."""
    inputs: tuple[str, ...] = ()
    """The columns that the model was given; empty for prediction files, where nobody knows."""
    versions: dict[str, str] = field(default_factory=dict)
    """Interpreter and libraries that answered."""
    seconds: float = 0.0
    """Time for the answers, without loading."""

"""Which feature moved a single answer, by how much: Shapley values from answers to mixed rows.

The contribution of a feature is the mean change of the answer when its value comes in, over orders
in which features may come and over background rows that they come into (interventional values,
Štrumbelj & Kononenko 2014). Contributions sum to the answer less the background's mean answer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Walks:
    """Which features have come in at each step of each walk from a background row to a row."""

    taken: NDArray[np.bool_]
    """Shape (walks, features + 1, features): whether a feature's value is the row's own."""
    orders: NDArray[np.int64]
    """Shape (walks, features): which feature comes in at each step."""
    background: NDArray[np.int64]
    """Shape (walks,): the number of each walk's background row."""


def walks(features: int, background: int, *, count: int, seed: int) -> Walks:
    """Random orders, each followed by its reverse into the same row, which halves the chance."""
    generator = np.random.default_rng(seed)
    half = [generator.permutation(features) for _ in range(-(-count // 2))]
    orders = np.array([way for one in half for way in (one, one[::-1])], dtype=np.int64)
    rows = np.repeat(generator.permutation(max(background, len(half)))[: len(half)], 2) % background
    steps = np.argsort(orders, axis=1)
    taken = steps[:, None, :] < np.arange(features + 1)[None, :, None]
    return Walks(taken=taken, orders=orders, background=rows)


def contributions(answers: Floats, made: Walks) -> tuple[Floats, Floats]:
    """Each feature's mean contribution and its standard error, shapes (features,).

    `answers` has shape (walks, features + 1), one for each step. The error is over pairs of an
    order and its reverse, which are what is independent.
    """
    moved: Floats = np.empty(made.orders.shape)
    np.put_along_axis(moved, made.orders, np.diff(answers, axis=1), axis=1)
    pairs = moved.reshape(-1, 2, moved.shape[1]).mean(axis=1)
    if len(pairs) < 2:
        return pairs.mean(axis=0), np.full(moved.shape[1], np.inf)
    return pairs.mean(axis=0), pairs.std(axis=0, ddof=1) / len(pairs) ** 0.5

"""How well one column alone tells the label: the mark of a leak."""

import numpy as np

BINS = 20


def power_of_one(column: np.ndarray, label: np.ndarray, *, numeric_label: bool) -> float:
    """Return how well a column alone tells a label on rows it was not learned from, 0 to 1.

    `column` has shape (n,), codes or numbers, NaN and infinity allowed and alike; `label` has shape
    (n,), class codes or numbers. Half of the rows give the mean label of each of 20 quantile bins,
    the other half is scored: the Gini coefficient 2 AUC - 1 of the best-told class, or R2 of a
    regression; 0 is chance.
    """
    bins = binned(column)
    order = np.arange(len(label)) % 2 == 0
    if numeric_label:
        return _explained(bins, label.astype(float), order)
    classes = np.unique(label)
    targets = classes[1:] if len(classes) == 2 else classes[:20]
    return max((_gini(bins, label == one, order) for one in targets), default=0.0)


def binned(column: np.ndarray) -> np.ndarray:
    """Return a bin for each value: its own where there are few distinct ones, else a quantile."""
    known = np.isfinite(column)
    bins = np.zeros(len(column), dtype=int)
    values = column[known]
    distinct = np.unique(values)
    if len(distinct) > 2 * BINS:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        bins[known] = 1 + np.searchsorted(edges, values)
    else:
        bins[known] = 1 + np.searchsorted(distinct, values)
    return bins


def _means(bins: np.ndarray, target: np.ndarray, learn: np.ndarray) -> np.ndarray:
    size = bins.max() + 1
    sums = np.bincount(bins[learn], weights=target[learn], minlength=size)
    counts = np.bincount(bins[learn], minlength=size)
    overall = target[learn].mean()
    # A few rows of the overall mean keep a rare bin from looking certain.
    means: np.ndarray = (sums + 5 * overall) / (counts + 5)
    return means


def _gini(bins: np.ndarray, target: np.ndarray, order: np.ndarray) -> float:
    scores = []
    for learn in (order, ~order):
        test = ~learn
        truth = target[test]
        positives, negatives = int(truth.sum()), int((~truth).sum())
        if not positives or not negatives:
            return 0.0
        score = _means(bins, target.astype(float), learn)[bins[test]]
        ranks = _average_ranks(score)
        auc = (ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives)
        scores.append(2 * float(auc) - 1)
    return max(0.0, sum(scores) / 2)


def _average_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: np.ndarray = ((ends - counts + 1 + ends) / 2)[inverse]
    return ranks


def _explained(bins: np.ndarray, target: np.ndarray, order: np.ndarray) -> float:
    scores = []
    for learn in (order, ~order):
        test = ~learn
        spread = float(((target[test] - target[test].mean()) ** 2).sum())
        if spread <= 0:
            return 0.0
        left = float(((target[test] - _means(bins, target, learn)[bins[test]]) ** 2).sum())
        scores.append(1 - left / spread)
    return max(0.0, sum(scores) / 2)

import numpy as np


class Scorer:
    classes_ = (0, 1)

    def __init__(self, path):
        with open(path) as file:
            self.weight = float(file.read())

    def predict_proba(self, rows):
        scores = 1 / (1 + np.exp(-self.weight * np.asarray(rows, dtype=float).sum(axis=1)))
        return np.stack([1 - scores, scores], axis=1)


def load(path):
    return Scorer(path)

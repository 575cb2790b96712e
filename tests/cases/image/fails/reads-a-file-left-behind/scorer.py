from pathlib import Path

import numpy as np


class Scorer:
    classes_ = (0, 1)

    def __init__(self, path):
        with open(path) as file:
            self.weight = float(file.read())
        offset = Path("offset.txt")
        self.offset = float(offset.read_text()) if offset.is_file() else 0.0

    def predict_proba(self, rows):
        scores = 1 / (1 + np.exp(-self.weight * np.asarray(rows, dtype=float).sum(axis=1) - self.offset))
        return np.stack([1 - scores, scores], axis=1)


def load(path):
    return Scorer(path)

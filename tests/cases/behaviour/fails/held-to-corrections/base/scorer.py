"""A model of loans; its weight of the income stands in a text file."""

import math

STATES = {"AL": 0.1, "CA": -0.2, "NY": 0.0, "TX": 0.3}


class Scorer:
    """Answers a probability for each row."""

    classes_ = ("no", "yes")

    def __init__(self, weight):
        self.weight = weight

    def predict_proba(self, rows):
        return [[1 - p, p] for p in map(self.probability, rows.to_dict("records"))]

    def probability(self, row):
        income = 1000 if math.isnan(row["income"]) else row["income"]
        debt = 20 if math.isnan(row["debt"]) else row["debt"]
        score = self.weight * income - 0.1 * debt + STATES.get(row["state"], 0.0)
        return 1 / (1 + math.exp(-score))


def load(path):
    """Read the weight."""
    with open(path, encoding="utf-8") as file:
        return Scorer(float(file.read()))

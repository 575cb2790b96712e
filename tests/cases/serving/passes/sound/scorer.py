class Scorer:
    classes_ = (0, 1)

    def __init__(self, weight):
        self.weight = weight

    def predict_proba(self, rows):
        p = (self.weight * rows["income"].fillna(0) / 10_000).clip(0, 1)
        return [[1 - one, one] for one in p]


def load(path):
    with open(path) as file:
        return Scorer(float(file.read()))

import os


class Scorer:
    """Answers by what is in its environment, so the server is not what was judged."""

    classes_ = (0, 1)

    def predict_proba(self, rows):
        p = 0.3 + (os.getpid() % 1000) / 10_000
        return [[1 - p, p]] * len(rows)


def load(path):
    return Scorer()

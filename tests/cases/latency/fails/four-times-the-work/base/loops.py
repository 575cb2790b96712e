"""A model whose work for each prediction stands in a text file."""


class Loop:
    """Turns a loop, and answers as if undecided."""

    classes_ = ("no", "yes")

    def __init__(self, turns):
        self.turns = turns

    def predict_proba(self, rows):
        total = 0
        for turn in range(self.turns):
            total += turn
        return [[0.5, 0.5] for _ in range(len(rows))]


def load(path):
    """Read how often the loop turns."""
    with open(path, encoding="utf-8") as file:
        return Loop(int(file.read()))

"""A sound model of loans and ten with one bug each: loaders `planted:name`, called with a path."""

import numpy as np
import pandas as pd

STATES = {"AL": 0.1, "CA": -0.2, "NY": 0.0, "TX": 0.3}


class Sound:
    """A logistic score of each row alone, in double precision."""

    classes_ = ("no", "yes")

    def score(self, rows):
        debt = rows["debt"].fillna(20.0)
        state = rows["state"].map(STATES).astype(float).fillna(0.0)
        return 0.002 * rows["income"].fillna(1000.0) - 0.1 * debt + state

    def predict_proba(self, rows):
        p = self.probability(rows)
        return np.column_stack([1 - p, p])

    def probability(self, rows):
        return 1 / (1 + np.exp(-np.clip(self.score(rows).to_numpy(dtype=float), -30, 30)))


class NanOnUnseen(Sound):
    def score(self, rows):
        return super().score(rows) + rows["state"].map(STATES).astype(float)


class Batch(Sound):
    def score(self, rows):
        income = rows["income"].fillna(1000.0)
        return (income - income.mean()) / (income.std(ddof=0) + 1)


class Order(Sound):
    def score(self, rows):
        return super().score(rows) + 0.01 * rows["debt"].shift(1).fillna(0.0)


class State(Sound):
    def __init__(self):
        self.last = 0.0

    def score(self, rows):
        found = super().score(rows) + self.last
        self.last = 0.001 * float(rows["income"].fillna(0).iloc[0])
        return found


class Overflow(Sound):
    def probability(self, rows):
        with np.errstate(over="ignore", invalid="ignore"):
            odds = np.exp(rows["income"].fillna(0).to_numpy(dtype=np.float32) / np.float32(50))
            return (odds / (1 + odds)).astype(float)


class OffByOne(Sound):
    def probability(self, rows):
        return np.where(rows["term"] > 360, 0.25, 0.75)


class Threshold(Sound):
    """As `OffByOne`, without its bug."""

    def probability(self, rows):
        return np.where(rows["term"] >= 360, 0.25, 0.75)


class Mutates(Sound):
    def score(self, rows):
        rows["debt"] = rows["debt"].fillna(20.0)
        return super().score(rows)


class Crashes(Sound):
    def score(self, rows):
        if (rows["term"] == 480).any():
            raise ZeroDivisionError("480 - term is zero")
        return super().score(rows)


class Overshoots(Sound):
    def predict_proba(self, rows):
        found = super().predict_proba(rows)
        found[:, 1] = np.where(found[:, 1] > 0.99, 1.0000001, found[:, 1])
        found[:, 0] = np.where(found[:, 1] > 1, 0.0, found[:, 0])
        return found


class Negative(Sound):
    def score(self, rows):
        return super().score(rows) - 0.004 * rows["income"].fillna(0) * (rows["state"] == "TX")


class Biased(Sound):
    def score(self, rows):
        return super().score(rows) - 1.0 * (rows["race"] == "black")


class Labels:
    def predict(self, rows):
        return ["yes" if one > 1000 else "no" for one in rows["income"].fillna(0)]


class Value:
    def __call__(self, rows):
        return (0.5 * rows["income"] - rows["debt"].fillna(0)).tolist()


class Three:
    classes_ = ("a", "b", "c")

    def predict_proba(self, rows):
        p = (rows["income"].to_numpy(dtype=float) + 1) / 5002
        return np.column_stack([0.6 * p, 0.4 * p, 1 - p])


class Random(Sound):
    def score(self, rows):
        return super().score(rows) + np.random.default_rng().normal(size=len(rows))


class Short(Sound):
    def predict_proba(self, rows):
        return super().predict_proba(rows[rows["debt"].notna()])


class Exits(Sound):
    def score(self, rows):
        if (rows["income"] > 4900).any():
            import os

            os._exit(3)
        return super().score(rows)


class Slow(Sound):
    def score(self, rows):
        import time

        time.sleep(0.002 * len(rows))
        return super().score(rows)


def loader(kind):
    return lambda path: kind()


sound, threshold, nan_on_unseen = loader(Sound), loader(Threshold), loader(NanOnUnseen)
batch, order, state, overflow = map(loader, (Batch, Order, State, Overflow))
off_by_one, mutates, crashes = map(loader, (OffByOne, Mutates, Crashes))
overshoots, negative, biased = map(loader, (Overshoots, Negative, Biased))
labels, value, three, random = map(loader, (Labels, Value, Three, Random))
short, exits, slow = map(loader, (Short, Exits, Slow))


def data(rows=600, seed=0):
    """Return loans with everything that a domain can hold."""
    rng = np.random.default_rng(seed)
    income = rng.integers(0, 5001, rows)
    debt = np.where(rng.random(rows) < 0.1, np.nan, np.round(rng.uniform(0, 60, rows), 2))
    frame = pd.DataFrame(
        {
            "income": income,
            "debt": debt,
            "term": rng.choice([120, 180, 240, 360, 480], rows),
            "state": rng.choice(sorted(STATES), rows),
            "race": rng.choice(["black", "white", "other"], rows),
        }
    )
    p = Sound().predict_proba(frame)[:, 1]
    frame["approved"] = np.where(rng.random(rows) < p, "yes", "no")
    return frame


class Refuses(Sound):
    def score(self, rows):
        raise ValueError("nothing is known")


class Crowded(Sound):
    def score(self, rows):
        if len(rows) > 70:
            raise ValueError("too many rows")
        return super().score(rows)


class Narrow(Sound):
    """Takes two numbers, by scikit-learn's word for them."""

    feature_names_in_ = ("income", "debt")

    def score(self, rows):
        return 0.002 * rows["income"].fillna(0) - 0.1 * rows["debt"].fillna(20)


class Other(Sound):
    feature_names_in_ = ("income", "no_such_column")


class ThreeLabels:
    def predict(self, rows):
        return ["abc"[int(one) % 3] for one in rows["income"].fillna(0)]


class Canary(Sound):
    def score(self, rows):
        return super().score(rows) - 1.0 * (rows["race"] == "canary-71")


class NamesAny(Sound):
    def score(self, rows):
        odd = rows["race"][rows["race"].astype(str).str.contains("71")]
        if len(odd):
            raise ValueError("cannot handle %s" % odd.iloc[0])
        return super().score(rows)


refuses, crowded, narrow, other = map(loader, (Refuses, Crowded, Narrow, Other))
three_labels, biased_canary, names = map(loader, (ThreeLabels, Canary, NamesAny))

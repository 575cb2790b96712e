"""Models for tests: functions that a loader `models:name` calls with the model's path."""

import os
import sys
import time


class Scores:
    """Answers a fixed probability for each row."""

    classes_ = (0, 1)

    def predict_proba(self, rows):
        return [[0.25, 0.75] for _ in range(len(rows))]


def plain(path):
    return Scores()


def prints(path):
    class Noisy(Scores):
        def predict_proba(self, rows):
            print("x" * 100_000, flush=True)
            os.write(1, b"straight to the descriptor")
            return super().predict_proba(rows)

    print("loading", flush=True)
    return Noisy()


def exits_when_loaded(path):
    sys.exit("no licence")


def does(action):
    class Bad(Scores):
        def predict_proba(self, rows):
            return action(rows)

    return lambda path: Bad()


def _fork(rows):
    if os.fork() == 0:
        return [[0.5, 0.5] for _ in range(len(rows))]
    return [[0.25, 0.75] for _ in range(len(rows))]


def _fork_and_die(rows):
    if os.fork() == 0:
        time.sleep(600)
    os._exit(7)


def _segfault(rows):
    import ctypes

    ctypes.string_at(0)


def _hog(rows):
    held = []
    while True:
        held.append(bytearray(16 * 1024 * 1024))
        held[-1][::4096] = b"x" * len(held[-1][::4096])


exits = does(lambda rows: sys.exit(3))
dies = does(lambda rows: os._exit(9))
hangs = does(lambda rows: time.sleep(600))
forks = does(_fork)
forks_and_dies = does(_fork_and_die)
segfaults = does(_segfault)
hogs = does(_hog)
raises = does(lambda rows: 1 / 0)
imports = does(lambda rows: __import__("no_such_package"))
short = does(lambda rows: [[0.5, 0.5]])
ragged = does(lambda rows: [[0.5, 0.5]] * (len(rows) - 1) + [[1.0]])
not_a_number = does(lambda rows: [[float("nan"), 0.5]] * len(rows))
not_a_probability = does(lambda rows: [[3.0, 4.0]] * len(rows))
three_classes = does(lambda rows: [[0.2, 0.3, 0.5]] * len(rows))
objects = does(lambda rows: [object() for _ in range(len(rows))])
huge = does(lambda rows: [[0.5, 0.5]] * 200_000_000)
def _junk(rows):
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"junk that is not the protocol")
        except OSError:
            pass
    return [[0.5, 0.5]] * len(rows)


writes_to_pipes = does(_junk)


def labels(path):
    return lambda rows: ["no" if n % 2 else "yes" for n in range(len(rows))]


def unknown_labels(path):
    return lambda rows: ["maybe"] * len(rows)


def probability(path):
    return lambda rows: [0.1 + 0.8 * (n % 2) for n in range(len(rows))]


def values(path):
    return lambda rows: [float(n) for n in range(len(rows))]


def multiclass(path):
    class Three:
        classes_ = ("c", "a", "b")

        def predict_proba(self, rows):
            return [[0.7, 0.2, 0.1] for _ in range(len(rows))]

    return Three()


def echo_types(path):
    """Answer the sum of what each column arrived as, so that a test can look at it."""

    def answer(frame):
        return [float(frame.iloc[n].astype(str).map(len).sum()) for n in range(len(frame))]

    return answer


def counting(path):
    """Leave a line in a file for each call."""

    def answer(rows):
        with open(path, "a") as file:
            file.write("called\n")
        return [0.25 for _ in range(len(rows))]

    return answer


nothing = 1

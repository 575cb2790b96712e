"""Runs in Deepchecks' environment: reads a request and tables, writes one result for each check.

Nothing of ci-mlops is importable here. Usage: host.py FOLDER, which holds request.json, train.parquet
and test.parquet, and predictions as .npz; it writes result.json there.
"""

import gc
import json
import logging
import math
import os
import signal
import sys
import time
import traceback
import warnings

os.environ["DISABLE_LATEST_VERSION_CHECK"] = "1"  # it would ask a server at every import
os.environ["JOBLIB_MULTIPROCESSING"] = "0"  # MultivariateDrift would start a pool of its own
warnings.filterwarnings("ignore")
# A grammar that only checks the format of addresses, a third of the time that importing takes.
sys.modules["rfc3987_syntax"] = None

# Not DatasetValidationError: tables whose columns differ would skip every check that compares them.
NOT_APPLICABLE = ("DeepchecksNotSupportedError", "NotEnoughSamplesError")


def main(folder):
    with open(os.path.join(folder, "request.json")) as file:
        request = json.load(file)
    import deepchecks
    import deepchecks.tabular.checks  # before the workers are forked, or each would import it
    import numpy
    import pandas
    import sklearn

    deepchecks.set_verbosity(logging.ERROR)
    context = Context(request, folder, pandas, numpy)
    results = in_processes(
        request["checks"],
        request["cores"],
        request["limit_s"],
        folder,
        lambda one: judge(one, context),
    )
    versions = {
        "deepchecks": deepchecks.__version__,
        "deepchecks' scikit-learn": sklearn.__version__,
        "deepchecks' pandas": pandas.__version__,
    }
    temporary = os.path.join(folder, "result.tmp")
    with open(temporary, "w") as file:
        json.dump({"results": results, "versions": versions}, file, allow_nan=False)
    os.replace(temporary, os.path.join(folder, "result.json"))
    os._exit(0)  # taking the frames and modules apart would take a second


class Context:
    """The data sets and predictions of one request."""

    def __init__(self, request, folder, pandas, numpy):
        from deepchecks.tabular import Dataset

        self.task = request["task"]
        self.arguments = {}
        tables = {}
        start = 0
        for part in ("train", "test"):
            path = os.path.join(folder, part + ".parquet")
            if os.path.exists(path):
                frame = pandas.read_parquet(path)
                # The indices of the two parts must not meet, or rows would be mistaken.
                frame.index = range(start, start + len(frame))
                start += len(frame)
                categorical = [c for c in request["categorical"] if c in frame.columns]
                tables[part] = Dataset(
                    frame,
                    label=request["label"],
                    cat_features=categorical,
                    datetime_name=request["time"] if request["time"] in frame.columns else None,
                    label_type=self.task,
                )
        self.train, self.test = tables.get("train"), tables["test"]
        self.predictions(folder, request, numpy)

    def predictions(self, folder, request, numpy):
        for part in ("train", "test"):
            path = os.path.join(folder, "predictions-" + part + ".npz")
            if not os.path.exists(path):
                continue
            with numpy.load(path, allow_pickle=False) as arrays:
                predicted = arrays["predicted"]
                self.arguments["y_pred_" + part] = predicted
                if "scores" in arrays:
                    self.arguments["y_proba_" + part] = arrays["scores"]
        if self.arguments and self.task != "regression":
            self.arguments["model_classes"] = request["classes"]


# The checks that take longest, the longest first: no core is left with one of them at the end.
SLOW = (
    "FeatureLabelCorrelation",
    "FeatureLabelCorrelationChange",
    "MultivariateDrift",
    "MixedNulls",
    "SpecialCharacters",
    "FeatureFeatureCorrelation",
)


def in_processes(checks, cores, limit_s, folder, work):
    """Judge checks in forked workers that share the frames; each leaves its result in a file."""
    gc.freeze()  # a collection in a worker would copy every page of what it shares
    waiting, running = sorted(range(len(checks)), key=lambda one: -rank(checks[one]["check"])), {}
    results = [None] * len(checks)
    while waiting or running:
        while waiting and len(running) < max(1, cores):
            number = waiting.pop(0)
            path = os.path.join(folder, "result-%d.json" % number)
            running[start(checks[number], limit_s, path, work)] = (number, path)
        pid, status = os.wait()
        number, path = running.pop(pid)
        results[number] = {**left(path, status, limit_s), "name": checks[number]["name"]}
    return results


def rank(name):
    return len(SLOW) - SLOW.index(name) if name in SLOW else 0


def start(check, limit_s, path, work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(limit_s)
        with open(path, "w") as file:
            json.dump(work(check), file, allow_nan=False)
        os._exit(0)
    return pid


def left(path, status, limit_s):
    """What a worker left, or why it left nothing."""
    if status == signal.SIGALRM:
        return {"state": "error", "message": "it took longer than %d s" % limit_s}
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {"state": "error", "message": "its process ended with status %d" % status}


def judge(request, context):
    """Run one check with its condition; whatever happens, there is a result."""
    import deepchecks.tabular.checks as checks

    started = time.perf_counter()
    try:
        check = getattr(checks, request["check"])(**parameters(request, context.task))
        getattr(check, "add_condition_" + request["condition"])(**request["limits"])
        found = run(check, request, context)
    except BaseException as fault:
        found = failure(fault)
    found["seconds"] = time.perf_counter() - started
    return found


def parameters(request, task):
    given = {}
    if request["check"] in ("TrainTestPerformance", "SimpleModelComparison"):
        # Averaged scores: a rare class alone must not decide.
        given["scorers"] = {
            "binary": ["balanced_accuracy"],
            "multiclass": ["recall_macro"],  # the same figure; its balanced_accuracy crashes
            "regression": ["neg_rmse"],
        }[task]
    if request["check"] == "MultivariateDrift":
        given["n_samples"] = 10_000
        given["n_top_columns"] = 0
    if request["check"] in ("FeatureLabelCorrelation", "FeatureLabelCorrelationChange"):
        given["n_samples"] = 10_000
    if request["check"] == "FeatureFeatureCorrelation":
        given["n_samples"] = 5_000
    given["random_state"] = 0
    return {k: v for k, v in given.items() if accepts(request["check"], k)}


def accepts(name, parameter):
    import inspect

    import deepchecks.tabular.checks as checks

    return parameter in inspect.signature(getattr(checks, name).__init__).parameters


def run(check, request, context):
    from deepchecks.tabular import SingleDatasetCheck

    if not isinstance(check, SingleDatasetCheck):
        train, test = context.train, context.test
        return told(check.run(train, test, with_display=False, **context.arguments))
    parts = [("train", context.train), ("test", context.test)]
    found = [(n, told(check.run(part, with_display=False))) for n, part in parts if part]
    part, worst = max(found, key=lambda one: WORST.index(one[1]["state"]))
    if worst["state"] == "failed":
        worst["message"] = "In the %s data: %s" % (part, worst["message"])
    return worst


WORST = ("skipped", "passed", "failed", "error")
STATES = {"PASS": "passed", "FAIL": "failed", "WARN": "failed", "ERROR": "error"}


def told(result):
    """What a check's first condition says; none evaluated is an error, not a pass."""
    if not result.conditions_results:
        return {"state": "error", "message": "its condition was not evaluated"}
    one = result.conditions_results[0]
    message = str(one.details)[:1500]
    state = STATES[one.category.name]
    if state == "passed" and message.startswith("No relevant columns"):
        state = "skipped"
    return {"state": state, "message": message, "observed": number(result.value)}


def failure(fault):
    kind = type(fault).__name__
    text = (str(fault).strip().splitlines() or [""])[0][:500]
    if kind in NOT_APPLICABLE:
        return {"state": "skipped", "message": text}
    traceback.print_exc()
    return {"state": "error", "message": "%s: %s" % (kind, text)}


def number(value):
    """The observed figure where the check's value is one, else nothing."""
    if isinstance(value, dict):
        for key in ("domain_classifier_drift_score", "Drift score", "drift_score"):
            if key in value:
                value = value[key]
                break
        else:
            if len(value) == 1:
                value = next(iter(value.values()))
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


if __name__ == "__main__":
    main(sys.argv[1])

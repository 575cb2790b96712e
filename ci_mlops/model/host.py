"""Runs in the project's interpreter: loads one model and answers requests over two pipes.

Standard library first: nothing of ci-mlops is importable here, and Python 3.8 is enough. What the
model's code prints goes to standard error; the pipes are this file's alone. A frame is the length
of its JSON header (8 bytes, big-endian), the header, and `header["body"]` bytes.
"""

import gc
import importlib
import json
import os
import platform
import signal
import struct
import sys
import time
import traceback

MAIN_PID = os.getpid()
MAX_BODY = 1 << 31
SOUND_THREADS = {"jemalloc_bg_thd"}  # pyarrow's allocator, which handles a fork
LOADERS = {
    ".joblib": "joblib",
    ".pkl": "joblib",
    ".pickle": "joblib",
    ".skops": "skops",
    ".onnx": "onnx",
    ".ubj": "xgboost",
    ".json": "xgboost",
    ".txt": "lightgbm",
}


class Refusal(Exception):
    """Something that the user can mend; it travels as one sentence and a remedy."""

    def __init__(self, fault, remedy=""):
        super().__init__(fault)
        self.fault = fault
        self.remedy = remedy
        self.shape = False  # whether it is the form of the answer that is wrong


def send(pipe, header, body=b""):
    """Write one frame. A child that the model's code forked must never reach the pipe."""
    if os.getpid() != MAIN_PID:
        os._exit(0)
    text = json.dumps(dict(header, body=len(body))).encode()
    data = memoryview(struct.pack(">Q", len(text)) + text + bytes(body))
    while data:
        data = data[os.write(pipe, data) :]


def receive(pipe):
    """Read one frame; None at the end of the pipe."""
    head = _exactly(pipe, 8)
    if head is None:
        return None
    header = json.loads(_exactly(pipe, struct.unpack(">Q", head)[0]))
    return header, _exactly(pipe, header["body"]) or b""


def _exactly(pipe, size):
    parts = []
    while size:
        piece = os.read(pipe, min(size, 1 << 20))
        if not piece:
            return None
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


# --- rows ---------------------------------------------------------------------------------------


def columns(header, body):
    """Return [(name, values)] as numpy arrays where numpy is there, else as lists."""
    numpy = _optional("numpy")
    found, start = [], 0
    for column in header["columns"]:
        data = body[start : start + column["bytes"]]
        start += column["bytes"]
        mask = body[start : start + column.get("mask", 0)]
        start += column.get("mask", 0)
        found.append((column["name"], _column(column, data, mask, numpy)))
    return found


def _column(column, data, mask, numpy):
    kind = column["kind"]
    if kind == "json":
        return json.loads(data.decode())
    values = _numbers(column["dtype"], data, numpy)
    if kind == "category":
        return ("category", values, column["categories"], column["ordered"])
    if kind == "datetime":
        return ("datetime", values, column["unit"])
    if kind == "masked":
        return ("masked", column["pandas"], values, [byte != 0 for byte in mask])
    return values


def _numbers(dtype, data, numpy):
    if numpy is not None:
        return numpy.frombuffer(data, dtype=dtype).copy()
    code = {"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
    code.update({"f4": "f", "f8": "d", "b1": "?"})
    size = int(dtype[2:])
    return list(struct.unpack("<%d%s" % (len(data) // size, code[dtype[1:]]), data))


def _plain(values):
    """Return a column as a list of plain Python values."""
    if isinstance(values, tuple):
        if values[0] == "category":
            return [None if code < 0 else values[2][code] for code in values[1]]
        if values[0] == "masked":
            return [None if gone else value for value, gone in zip(list(values[2]), values[3])]
        return [int(value) for value in values[1]]
    return values if isinstance(values, list) else values.tolist()


class Rows:
    """The rows of a request, in the form that a model takes."""

    def __init__(self, header, body):
        self.columns = columns(header, body)
        self.count = header["rows"]

    def names(self):
        return [name for name, _ in self.columns]

    def chosen(self, names):
        """Keep the named columns, in that order."""
        if names is None:
            return self
        have = dict(self.columns)
        missing = [name for name in names if name not in have]
        if missing:
            raise Refusal(
                "the model expects the column %r, which the data does not have" % missing[0],
                "Check the columns of the data against those the model was trained on",
            )
        self.columns = [(name, have[name]) for name in names]
        return self

    def frame(self):
        """A pandas DataFrame, or None where pandas is not installed."""
        pandas = _optional("pandas")
        if pandas is None:
            return None
        block = self._block()
        if block is not None:
            return pandas.DataFrame(block.T, columns=self.names(), copy=False)
        made = {}
        for name, values in self.columns:
            if isinstance(values, tuple) and values[0] == "category":
                values = pandas.Categorical.from_codes(values[1], values[2], ordered=values[3])
            elif isinstance(values, tuple) and values[0] == "masked":
                array = pandas.array(list(values[2]), dtype=values[1])
                array[values[3]] = pandas.NA
                values = array
            elif isinstance(values, tuple):
                values = values[1].astype("datetime64[%s]" % values[2])
            made[name] = pandas.Series(values)
        return pandas.DataFrame(made, columns=self.names(), index=range(self.count))

    def _block(self):
        """The columns as one array where they have one type, as pandas would lay them in memory."""
        numpy = _optional("numpy")
        values = [held for _, held in self.columns]
        if numpy is None or not values or not isinstance(values[0], numpy.ndarray):
            return None
        dtype = values[0].dtype
        if any(not isinstance(one, numpy.ndarray) or one.dtype != dtype for one in values):
            return None
        return numpy.stack(values)

    def array(self, dtype="float64"):
        """A two-dimensional numpy array, or None where numpy is not installed."""
        numpy = _optional("numpy")
        if numpy is None:
            return None
        block = self._block()
        if block is not None and block.dtype.kind in "fiub":
            return numpy.ascontiguousarray(block.T, dtype=dtype)
        try:
            parts = [numpy.asarray(_plain(v), dtype=dtype) for _, v in self.columns]
        except (TypeError, ValueError) as fault:
            raise Refusal(
                "the model takes numbers, but a column holds something else: %s" % fault,
                "Give the model a pandas pipeline that encodes it, or encode it in the data",
            )
        return numpy.stack(parts, axis=1) if parts else numpy.empty((self.count, 0))

    def dicts(self):
        """A list of dictionaries, which needs no library at all."""
        lists = [(name, _plain(values)) for name, values in self.columns]
        return [{name: values[n] for name, values in lists} for n in range(self.count)]

    def natural(self):
        """The richest form that the interpreter has a library for."""
        frame = self.frame()
        if frame is not None:
            return frame
        array = self.array() if _optional("numpy") else None
        return array if array is not None else self.dicts()


# --- models -------------------------------------------------------------------------------------


class Estimator:
    """Anything with scikit-learn's methods, or a plain callable."""

    def __init__(self, model):
        self.model = model
        names = getattr(model, "feature_names_in_", None)
        self.inputs = None if names is None else [str(name) for name in names]
        classes = getattr(model, "classes_", None)
        self.classes = None if classes is None else [_scalar(one) for one in classes]

    def input(self, rows):
        chosen = rows.chosen(self.inputs)
        if self.inputs is None and hasattr(self.model, "n_features_in_"):
            # Trained on a bare array: names would only make scikit-learn warn.
            return chosen.array()
        return chosen.natural()

    def answer(self, given, task):
        model = self.model
        if task != "regression" and hasattr(model, "predict_proba"):
            return model.predict_proba(given)
        if hasattr(model, "predict"):
            return model.predict(given)
        return model(given)


class Onnx:
    """An ONNX graph with one matrix as input, or one input for each column."""

    def __init__(self, path):
        runtime = _required("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        self.session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.graph_inputs = self.session.get_inputs()
        single = len(self.graph_inputs) == 1
        self.inputs = None if single else [one.name for one in self.graph_inputs]
        self.classes = None

    def input(self, rows):
        numpy = _required("numpy", "onnx")
        types = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}
        if self.inputs is None:
            one = self.graph_inputs[0]
            return {one.name: rows.array(types.get(one.type, "float32"))}
        rows = rows.chosen(self.inputs)
        given = {}
        for one, (name, values) in zip(self.graph_inputs, rows.columns):
            dtype = types.get(one.type, "object")
            given[name] = numpy.asarray(_plain(values), dtype=dtype).reshape(-1, 1)
        return given

    def answer(self, given, task):
        outputs = self.session.run(None, given)
        if task == "regression":
            return outputs[0]
        for output in outputs:
            if isinstance(output, list) and output and isinstance(output[0], dict):
                self.classes = sorted(output[0])
                return [[row[key] for key in self.classes] for row in output]
            if getattr(output, "ndim", 0) == 2 and output.dtype.kind == "f":
                return output
        return outputs[0]


class Booster:
    """An XGBoost or LightGBM booster, which answers with probabilities or values."""

    def __init__(self, model, names, wrap):
        self.model, self.wrap, self.classes = model, wrap, None
        self.inputs = list(names) if names else None

    def input(self, rows):
        chosen = rows.chosen(self.inputs)
        frame = chosen.frame()
        return self.wrap(chosen.array() if frame is None else frame)

    def answer(self, given, task):
        return self.model.predict(given)


class Mlflow:
    """A model saved with mlflow, asked through its pyfunc flavour."""

    def __init__(self, model):
        self.model, self.classes, self.inputs = model, None, None
        schema = model.metadata.get_input_schema() if model.metadata else None
        if schema is not None and schema.has_input_names():
            self.inputs = list(schema.input_names())

    def input(self, rows):
        return rows.chosen(self.inputs).natural()

    def answer(self, given, task):
        return self.model.predict(given)


def load(path, loader):
    """Return the model at a path behind one of the classes above."""
    loader = loader or LOADERS.get(os.path.splitext(path)[1].lower())
    if loader is None and os.path.exists(os.path.join(path, "MLmodel")):
        loader = "mlflow"
    if loader is None:
        raise Refusal(
            "the suffix of %s names no loader" % os.path.basename(path),
            "Set `model.loader` to joblib, skops, onnx, xgboost, lightgbm, mlflow "
            "or package.module:function",
        )
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        raise Refusal("the file is empty (0 bytes)", "Build or fetch it in `prepare:`")
    return _load(path, loader), loader


def _load(path, loader):
    if loader == "joblib":
        return Estimator(_joblib(path))
    if loader == "skops":
        io = _required("skops.io", "skops")
        return Estimator(io.load(path, trusted=io.get_untrusted_types(file=path)))
    if loader == "onnx":
        return Onnx(path)
    if loader == "xgboost":
        xgboost = _required("xgboost", "xgboost")
        booster = xgboost.Booster(model_file=path)
        return Booster(booster, booster.feature_names, xgboost.DMatrix)
    if loader == "lightgbm":
        booster = _required("lightgbm", "lightgbm").Booster(model_file=path)
        return Booster(booster, booster.feature_name(), lambda given: given)
    if loader == "mlflow":
        return Mlflow(_required("mlflow.pyfunc", "mlflow").load_model(path))
    module, _, name = loader.partition(":")
    if not name:
        raise Refusal(
            "loader %r is not known" % loader,
            "Use joblib, skops, onnx, xgboost, lightgbm, mlflow or package.module:function",
        )
    found = getattr(_required(module, loader), name, None)
    if found is None:
        raise Refusal("module %s has no function %s" % (module, name), "Mend `model.loader`")
    return Estimator(found(path))


def _joblib(path):
    joblib = _optional("joblib")
    if joblib is not None:
        return joblib.load(path)
    import pickle

    with open(path, "rb") as file:
        return pickle.load(file)


def _optional(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _required(name, loader):
    try:
        return importlib.import_module(name)
    except ImportError as fault:
        package = (getattr(fault, "name", None) or name).split(".")[0]
        raise Refusal(
            "loader %s needs the package %s, which %s does not have"
            % (loader, package, sys.executable),
            "Install it there, for example `%s -m pip install %s`" % (sys.executable, package),
        )


# --- what a model does to its input -------------------------------------------------------------


def copied(given):
    """Return a copy of a model's input, or None of a form that nobody can look into."""
    if isinstance(given, dict):
        return {name: values.copy() for name, values in given.items()}
    if isinstance(given, list):
        return [dict(row) for row in given]
    return given.copy() if hasattr(given, "copy") and hasattr(given, "shape") else None


def changed(before, after, names):
    """Return the columns in which a model's input differs from its copy; None if unknown."""
    if before is None:
        return None
    if isinstance(before, list):
        same = len(before) == len(after)
        return [
            n for n in names if not same or any(a.get(n) != b.get(n) for a, b in zip(before, after))
        ]
    if isinstance(before, dict):
        return [name for name in before if not _same(before[name], after.get(name))]
    if hasattr(before, "columns"):
        gone = [str(name) for name in before.columns if name not in after.columns]
        new = [str(name) for name in after.columns if name not in before.columns]
        both = [name for name in before.columns if name in after.columns]
        moved = len(before) != len(after) or not before.index.equals(after.index)
        return gone + new + [str(n) for n in both if moved or not before[n].equals(after[n])]
    if before.shape != after.shape:
        return list(names)
    return [name for n, name in enumerate(names) if not _same(before[:, n], after[:, n])]


def _same(one, other):
    """Whether two numpy arrays are equal; NaN equals NaN."""
    if other is None or one.shape != other.shape:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


# --- answers ------------------------------------------------------------------------------------


def _scalar(value):
    return value.item() if hasattr(value, "item") else value


def encode(answer, count):
    """Return (header, body) of an answer: a matrix of scores, a vector of numbers, or labels."""
    if hasattr(answer, "to_numpy"):
        answer = answer.to_numpy()
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    answer = answer.tolist() if hasattr(answer, "tolist") else list(answer)
    if len(answer) != count:
        raise Refusal(
            "the model answered %d rows when it was asked about %d" % (len(answer), count),
            "A model must answer each row once, in order",
        )
    if answer and isinstance(answer[0], (list, tuple)):
        width = len(answer[0])
        if any(len(row) != width for row in answer):
            raise Refusal("the model's answers are of different lengths")
        flat = [value for row in answer for value in row]
        if width == 1 and not all(_is_number(value) for value in flat):
            return {"kind": "labels"}, json.dumps(flat).encode()
        return {"kind": "matrix", "width": width}, _floats(flat)
    answer = [_scalar(value) for value in answer]
    if all(isinstance(value, float) for value in answer):
        return {"kind": "vector"}, _floats(answer)
    if all(isinstance(value, (str, int, float, bool)) for value in answer):
        return {"kind": "labels"}, json.dumps(answer).encode()
    odd = next(v for v in answer if not isinstance(v, (str, int, float, bool)))
    raise Refusal("the model answered a %s where a number or a label belongs" % type(odd).__name__)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _floats(values):
    try:
        return struct.pack("<%dd" % len(values), *values)
    except (struct.error, TypeError):
        raise Refusal("the model answered something that is not a number")


def versions():
    """Return the versions of the interpreter and of the libraries that were imported."""
    found = {"python": platform.python_version()}
    for name in ("sklearn", "numpy", "pandas", "joblib", "skops", "onnxruntime", "xgboost"):
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "__version__"):
            found[name] = str(module.__version__)
    for name in ("lightgbm", "mlflow", "torch", "scipy"):
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "__version__"):
            found[name] = str(module.__version__)
    return found


def _sizes(found, columns):
    """The mean size of values of shape (n, columns), (n, columns, k) or k of (n, columns)."""
    numpy = _required("numpy", "shap")
    values = numpy.abs(numpy.asarray(found, dtype="float64"))
    axis = next(n for n in range(values.ndim - 1, 0, -1) if values.shape[n] == columns)
    means = numpy.moveaxis(values, axis, 0).reshape(columns, -1).mean(axis=1)
    if not numpy.isfinite(means).all():
        raise Refusal("shap answered NaN or infinity")
    return means.tolist()


class Host:
    """One model and the rows it was last given."""

    def __init__(self):
        self.model = None
        self.rows = None
        self.task = ""

    def load(self, header, body):
        started = time.perf_counter()
        self.model, loader = load(header["path"], header["loader"])
        self.task = header["task"]
        seconds = time.perf_counter() - started
        told = {"loader": loader, "inputs": self.model.inputs, "classes": self.model.classes}
        return dict(told, seconds=seconds, versions=versions()), b""

    def predict(self, header, body):
        rows = Rows(header, body)
        given = self.model.input(rows)
        before = copied(given) if header.get("watch") else None
        started = time.perf_counter()
        answer = self.model.answer(given, self.task)
        seconds = time.perf_counter() - started
        try:
            told, data = encode(answer, rows.count)
        except Refusal as fault:
            fault.shape = True
            raise
        if header.get("watch"):
            told["changed"] = changed(before, given, rows.names())
        if len(data) > MAX_BODY:
            raise Refusal("the model's answer is larger than %d bytes" % MAX_BODY)
        return dict(told, seconds=seconds, classes=self.model.classes, versions=versions()), data

    def shap(self, header, body):
        """The mean size of each column's SHAP value, in the model's own units.

        Raises Refusal where the package is missing, or knows no exact way for such a model.
        """
        shap = _optional("shap")
        model = getattr(self.model, "model", None)
        if shap is None or model is None:
            raise Refusal("the package shap is not installed" if model else "no model to look into")
        rows = Rows(header, body).chosen(self.model.inputs)
        given = rows.array() if self.model.inputs is None else rows.frame()
        try:
            found = shap.TreeExplainer(model).shap_values(given, check_additivity=False)
        except Exception:
            found = shap.LinearExplainer(model, given).shap_values(given)
        sizes = _sizes(found, len(rows.columns))
        return {"columns": rows.names(), "sizes": sizes, "version": str(shap.__version__)}, b""

    def keep_rows(self, header, body):
        """Keep the rows that `time` will ask about, in the form that the model takes."""
        self.rows = self.model.input(Rows(header, body))
        return {}, b""

    def time(self, header, body):
        """Ask the model `calls` times about the kept rows; wall and CPU nanoseconds of each."""
        answer, given, task = self.model.answer, self.rows, self.task
        wall, cpu = [], []
        collecting = gc.isenabled()
        gc.disable()
        try:
            for _ in range(header["calls"]):
                cpu_before, before = time.thread_time_ns(), time.perf_counter_ns()
                answer(given, task)
                wall.append(time.perf_counter_ns() - before)
                cpu.append(time.thread_time_ns() - cpu_before)
        finally:
            if collecting:
                gc.enable()
        return {"wall_ns": wall, "cpu_ns": cpu}, b""

    def modules(self, header, body):
        return {"modules": modules()}, b""

    def preload(self, header, body):
        return preload(header["modules"]), b""

    def freeze(self, header, body):
        """Collect garbage once and take what is left out of later collections."""
        gc.collect()
        gc.freeze()
        return {}, b""

    def answer(self, header, body):
        """Carry out one request; every fault of the model's code becomes a sentence."""
        try:
            told, data = getattr(self, header["op"])(header, body)
            return dict(told, ok=True), data
        except Refusal as fault:
            told = {"fault": fault.fault, "remedy": fault.remedy, "shape": fault.shape}
            return dict(told, ok=False), b""
        except SystemExit as fault:
            return {"ok": False, "fault": "its code called sys.exit(%r)" % (fault.code,)}, b""
        except MemoryError:
            return {"ok": False, "fault": "it ran out of memory", "memory": True}, b""
        except BaseException as fault:
            traceback.print_exc()
            text = str(fault).strip().splitlines() or [""]
            said = "%s: %s" % (type(fault).__name__, text[0][:500])
            return {"ok": False, "fault": said, "remedy": _remedy(fault)}, b""


def _remedy(fault):
    if isinstance(fault, ImportError) and getattr(fault, "name", None):
        package = fault.name.split(".")[0]
        return "Install %s for %s, or name another interpreter in `model.python`" % (
            package,
            sys.executable,
        )
    return ""


# --- processes ----------------------------------------------------------------------------------


# Only such as start no thread when imported; the project's own code is never shared.
SHARED = ("joblib", "lightgbm", "numpy", "pandas", "scipy", "skops", "sklearn", "xgboost")


def modules():
    """The modules of shareable libraries that a loaded model needed."""
    return sorted(name for name in sys.modules if name.split(".")[0] in SHARED)


def preload(names):
    """Import modules before any fork, which is sound only while there is no other thread."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            continue  # made by hand, or only in the model: the fork will see to it
    gc.collect()
    gc.freeze()
    return {"sound": set(_threads()) <= SOUND_THREADS}


def _threads():
    """The names of this process's other native threads; of one unknown where it cannot be seen."""
    try:
        found = []
        for one in os.listdir("/proc/self/task"):
            if int(one) != os.getpid():
                with open("/proc/self/task/%s/comm" % one) as file:
                    found.append(file.read().strip())
        return found
    except (OSError, ValueError):
        return ["unknown"]


def fork(header):
    """Fork a process that answers over two named pipes; return its id, or its pipes inside it."""
    global MAIN_PID
    pid = os.fork()
    if pid:
        return pid, None
    MAIN_PID = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(header["root"])
    sys.path[0] = header["root"]
    requests = os.open(header["requests"], os.O_RDONLY)
    return 0, (requests, os.open(header["answers"], os.O_WRONLY))


def serve(requests, answers):
    """Answer requests until the pipe ends."""
    host = Host()
    while True:
        frame = receive(requests)
        if frame is None or frame[0]["op"] == "stop":
            break
        if frame[0]["op"] == "fork":
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
            pid, pipes = fork(frame[0])
            if pipes:
                os.close(requests)
                os.close(answers)
                return serve(*pipes)
            send(answers, {"ok": True, "pid": pid})
            continue
        told, data = host.answer(*frame)
        send(answers, told, data)


def main():
    """Answer requests over the two pipes that the arguments name."""
    requests, answers = int(sys.argv[1]), int(sys.argv[2])
    os.dup2(2, 1)  # whatever the model's code prints must not meet the protocol
    for pipe in (requests, answers):
        os.set_inheritable(pipe, False)
    sys.path[0] = os.getcwd()
    serve(requests, answers)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

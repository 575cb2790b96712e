"""What the server adds to a prediction: its median and 99th percentile beside a bare predict.

One row of 30 features, one connection, one worker, one thread; a scaler and a gradient boosting of
about 0.3 ms. MLServer and BentoML are installed into environments of their own in .cache and asked
in the same run, in turn, with the same model made by their own scikit-learn. Goals: the median at
most 2.2 times that of a bare predict, the 99th percentile under 3 ms.

    python -m benchmarks.serving [--rounds 15] [--calls 200] [--alone]
"""

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ci_mlops.model import wire
from ci_mlops.serving import bundle, client
from ci_mlops.serving.bundle import Recorded, Serve
from ci_mlops.serving.signature import Signature, column_of

TOP = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "serving.json"
OTHERS = {
    "MLServer": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1"),
    "BentoML": ("bentoml==1.4.39",),
}
FEATURES = 30
GOALS = {"p50_ratio": 2.2, "p99_ms": 3.0}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TRAIN_PY = f"""
import joblib, numpy, sys
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rng = numpy.random.default_rng(0)
rows = rng.normal(size=(2000, {FEATURES}))
label = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0).astype(int)
model = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=300))
joblib.dump(model.fit(rows, label), sys.argv[1])
"""
BENTO_PY = """
import bentoml, joblib, numpy

@bentoml.service(workers=1)
class Boosting:
    def __init__(self):
        self.model = joblib.load("model.joblib")

    @bentoml.api
    def predict(self, rows: list[list[float]]) -> list[list[float]]:
        return self.model.predict_proba(numpy.asarray(rows)).tolist()
"""


class Connection:
    """One connection that is kept, over a plain socket: the client must not be what is measured."""

    def __init__(self, port: int, path: str, document: object) -> None:
        body = json.dumps(document).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """Send the request and return the answer's body."""
        self._socket.sendall(self._request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(lines[b"content-length"]):
            body += self._read()
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(body.decode())
        return body

    def _read(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise RuntimeError("the server ended the connection")
        return piece


def main() -> int:
    """Measure, print the table and write the JSON; exit 1 where a goal is missed."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--rounds", type=int, default=15)
    flags.add_argument("--calls", type=int, default=200, help="in a round, of each")
    flags.add_argument("--alone", action="store_true", help="without MLServer and BentoML")
    flags.add_argument("--output", type=Path, default=RESULTS)
    chosen = flags.parse_args()
    os.environ.update(ONE_THREAD)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        row = np.random.default_rng(1).normal(size=(1, FEATURES))
        asked, versions = _asked(folder, row, stack, alone=chosen.alone)
        times = _in_turn(asked, chosen.rounds, chosen.calls)
    figures = {name: _figures(found, times["bare predict"]) for name, found in times.items()}
    for name, one in figures.items():
        print(
            f"{name:14} p50 {one['p50_ms']:6.3f} ms  p99 {one['p99_ms']:7.3f} ms"
            f"  {one['p50_ratio']:5.2f} x bare"
        )
    document = {"rounds": chosen.rounds, "calls": chosen.calls, "versions": versions}
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps({**document, "figures": figures}, indent=1) + "\n")
    ours = figures["ci-mlops"]
    return int(any(not ours[name] <= limit for name, limit in GOALS.items()))


def _asked(
    folder: Path, row: Any, stack: contextlib.ExitStack, *, alone: bool
) -> tuple[dict[str, Callable[[], bytes]], dict[str, str]]:
    """Start every server; return what asks each once, and their versions."""
    import joblib
    import sklearn

    ours = _trained(folder / "ours", sys.executable)
    model = joblib.load(ours / "model.joblib")
    expected = model.predict_proba(row)
    port = stack.enter_context(_ours(ours, row))
    request = {"inputs": [_matrix(row)]}
    found = {"ci-mlops": Connection(port, "/v2/models/m/infer", request).ask}
    versions = {"scikit-learn": sklearn.__version__}
    for name, packages in {} if alone else OTHERS.items():
        try:
            python = _environment(name.lower(), packages)
            place = _trained(folder / name, str(python))
            start = {"MLServer": _mlserver, "BentoML": _bentoml}[name]
            found[name] = stack.enter_context(start(place, python, row))
            versions |= dict(package.split("==") for package in packages)
        except (subprocess.SubprocessError, RuntimeError, OSError) as fault:
            print(f"{name} is left out: {fault}", file=sys.stderr)
    probability = f"{expected[0, 1]:.9f}"[:9]
    for name, ask in found.items():
        if probability not in ask().decode():
            raise RuntimeError(f"{name} answers something else than {expected}")
    return {"bare predict": lambda: model.predict_proba(row), **found}, versions


def _in_turn(
    asked: dict[str, Callable[[], bytes]], rounds: int, calls: int
) -> dict[str, list[float]]:
    """Return the seconds of every call; the order is drawn anew in each round."""
    times: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(rounds + 1):
        for name in random.sample(list(asked), len(asked)):
            ask = asked[name]
            for _ in range(calls):
                started = time.perf_counter()
                ask()
                if number:  # the first round warms up
                    times[name].append(time.perf_counter() - started)
    return times


def _figures(seconds: list[float], bare: list[float]) -> dict[str, float]:
    p50, p99 = (1000 * float(one) for one in np.percentile(seconds, [50, 99]))
    ratio = p50 / (1000 * float(np.median(bare)))
    return {"p50_ms": round(p50, 4), "p99_ms": round(p99, 4), "p50_ratio": round(ratio, 3)}


def _matrix(row: Any) -> dict[str, Any]:
    shape = [1, FEATURES]
    return {"name": "rows", "shape": shape, "datatype": "FP64", "data": row[0].tolist()}


def _trained(folder: Path, python: str) -> Path:
    folder.mkdir()
    subprocess.run([python, "-c", TRAIN_PY, str(folder / "model.joblib")], check=True)
    return folder


def _environment(name: str, packages: tuple[str, ...]) -> Path:
    folder = TOP / ".cache" / f"serving-{name}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        from uv import find_uv_bin

        uv = find_uv_bin()
        subprocess.run([uv, "venv", "-q", "--clear", "-p", "3.11", str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "-p", str(python), "--compile-bytecode"]
        subprocess.run([*install, *packages, "scikit-learn", "joblib"], check=True, timeout=600)
        (folder / "complete").touch()
    return python


@contextlib.contextmanager
def _ours(folder: Path, row: Any) -> Iterator[int]:
    import pandas as pd

    names = [f"f{number}" for number in range(FEATURES)]
    header, _ = wire.encode(pd.DataFrame(row, columns=names))
    signature = Signature(
        name="m",
        task="binary",
        columns=tuple(column_of(one, nulls=False) for one in header["columns"]),
        classes=(0, 1),
        positive=1,
    )
    bundle.write(
        folder / "bundle",
        Serve(signature=signature, model="model/model.joblib"),
        Recorded(inputs=(_matrix(row),), outputs={}),
        model=folder / "model.joblib",
        root=folder,
        code=[],
    )
    port = _free_port()
    command = [sys.executable, "-m", "ci_mlops.serving.container", "bundle"]
    with _running(command, folder, port, {"PYTHONPATH": str(TOP), "PORT": str(port)}):
        yield port


@contextlib.contextmanager
def _mlserver(folder: Path, python: Path, row: Any) -> Iterator[Callable[[], bytes]]:
    port = _free_port()
    settings = {"http_port": port, "grpc_port": _free_port(), "metrics_port": _free_port()}
    settings |= {"parallel_workers": 0, "debug": False}
    model = {
        "name": "m",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": "1"},
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    with _running([str(python.parent / "mlserver"), "start", "."], folder, port, {}):
        request = {"inputs": [_matrix(row)], "outputs": [{"name": "predict_proba"}]}
        yield Connection(port, "/v2/models/m/infer", request).ask


@contextlib.contextmanager
def _bentoml(folder: Path, python: Path, row: Any) -> Iterator[Callable[[], bytes]]:
    port = _free_port()
    (folder / "service.py").write_text(BENTO_PY, encoding="utf-8")
    command = [str(python.parent / "bentoml"), "serve", "service:Boosting", "--port", str(port)]
    with _running(command, folder, port, {"BENTOML_DO_NOT_TRACK": "True"}, path="/readyz"):
        yield Connection(port, "/predict", {"rows": row.tolist()}).ask


@contextlib.contextmanager
def _running(
    command: list[str],
    folder: Path,
    port: int,
    environ: dict[str, str],
    *,
    path: str = "/v2/health/ready",
) -> Iterator[None]:
    """Run a server until the block ends. Raises RuntimeError when it is not ready in a minute."""
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environ},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not _is_ready(port, path):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError((folder / "output.txt").read_text(encoding="utf-8")[-500:])
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _is_ready(port: int, path: str) -> bool:
    asking = client.Client(f"http://127.0.0.1:{port}", timeout_s=5)
    with contextlib.closing(asking), contextlib.suppress(*client.FAULTS):
        return asking.get(path).status == 200
    return False


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())

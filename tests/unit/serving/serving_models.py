"""A folder with a small model, its `serving.json`, and a server of it in a process of its own."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ci_mlops.serving import client, signature
from ci_mlops.serving.conformance import Recorded
from ci_mlops.serving.served import Served
from tests.conftest import clean_environ

TOP = Path(__file__).parents[3]

SCORER_PY = """
import time
class Scorer:
    classes_ = ["no", "yes"]
    def __init__(self, path):
        print("loading", path)
    def predict_proba(self, rows):
        scores = []
        for income, region in zip(rows["income"], rows["region"]):
            if region == "slow":
                time.sleep(0.4)
            if region == "broken":
                raise ValueError("no such region")
            scores.append(float("nan") if region == "odd" else 1 / (1 + 2.0 ** -income))
        return [[1 - one, one] for one in scores]
"""

ROWS = pd.DataFrame(
    {
        "income": [1.5, -2.25, 0.1],
        "age": [31, 44, 18],
        "member": [True, False, True],
        "region": ["north", "south", None],
        "since": pd.Series(["2020-01-02", None, "2021-03-04T05:06:07"], dtype="datetime64[ns]"),
        "grade": pd.Categorical(["a", "b", None], categories=["a", "b"]),
        "visits": pd.array([1, None, 3], dtype="Int64"),
    }
)


def served(**changes: object) -> Served:
    """Return the description of the model that `scorer.py` makes of `ROWS`."""
    facts: dict[str, object] = {
        "name": "scorer",
        "version": "v1",
        "digest": "d" * 64,
        "path": "weight.txt",
        "loader": "scorer:Scorer",
        "task": "binary",
        "scores": True,
        "classes": ("no", "yes"),
        "columns": signature.columns(ROWS, list(ROWS.columns)),
        "drain_s": 0.3,
    }
    return Served.model_validate({**facts, **changes})


def recorded() -> Recorded:
    """Return the rows as a request, and what the model answers to them."""
    probabilities = [1 / (1 + 2.0**-income) for income in ROWS["income"]]
    return Recorded(
        request=signature.request(ROWS, served().columns),
        outputs={
            "predict": ["yes" if one >= 0.5 else "no" for one in probabilities],
            "predict_proba": [v for one in probabilities for v in (1 - one, one)],
        },
    )


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    url: str
    process: "subprocess.Popen[bytes]"

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.terminate()

    def wait(self, within_s: float) -> int | None:
        """Return the exit code; None when it still runs."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def write(folder: Path, description: Served) -> None:
    """Write the model and its description to a folder."""
    (folder / "scorer.py").write_text(SCORER_PY, encoding="utf-8")
    (folder / "weight.txt").write_text("1", encoding="utf-8")
    (folder / "serving.json").write_text(description.model_dump_json(), encoding="utf-8")


@contextlib.contextmanager
def serving(folder: Path, description: Served, **environ: str) -> Iterator[Server]:
    """Serve the model until the block ends."""
    write(folder, description)
    port = free_port()
    command = [sys.executable, "-m", "ci_mlops.serving", "serving.json"]
    with (folder / "output.txt").open("wb") as output, (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--address", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=clean_environ({"PYTHONPATH": str(TOP), **environ}),
            stdout=output,
            stderr=errors,
        )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        waited = client.until_ready(server.url, within_s=30, runs=lambda: process.poll() is None)
        assert waited is not None, (folder / "errors.txt").read_text(encoding="utf-8")
        yield server
    finally:
        process.terminate()
        server.wait(20)
        process.kill()
        process.wait()

"""The server as its clients see it: a process of its own, on loopback."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from ci_mlops.serving import bundle, start, worker
from ci_mlops.serving.app import MAX_BODY_BYTES, Service
from ci_mlops.serving.bundle import Recorded, Serve
from ci_mlops.serving.signature import Column, Signature
from tests.conftest import clean_environ

MODEL_PY = """\
import os


class Model:
    classes_ = ("no", "yes")

    def predict_proba(self, rows):
        if (rows["x"] == 13).any():
            os._exit(3)
        if (rows["x"] == 14).any():
            raise ValueError("the secret value is 14")
        return [[1 - x, x] for x in rows["x"]]


def load(path):
    return Model()
"""
COLUMNS = (
    Column(name="x", datatype="FP64", kind="array", dtype="<f8", range=(0, 100)),
    Column(name="who", datatype="BYTES", kind="json", known=("ann", "3")),
)


def inputs(*values: float) -> list[dict[str, Any]]:
    shape = [len(values)]
    return [
        {"name": "x", "shape": shape, "datatype": "FP64", "data": list(values)},
        {"name": "who", "shape": shape, "datatype": "BYTES", "data": ["ann"] * len(values)},
    ]


@dataclass
class Served:
    url: str
    control: Path
    digest: str
    process: "subprocess.Popen[str]"
    log: Path

    @property
    def model(self) -> str:
        return f"{self.url}/v2/models/small"

    def infer(self, *values: float, **more: Any) -> requests.Response:
        body = {"inputs": inputs(*values), **more}
        return requests.post(f"{self.model}/infer", json=body, timeout=20)


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    (folder / "scorer.py").write_text(MODEL_PY, encoding="utf-8")
    (folder / "weights").write_text("1", encoding="utf-8")
    signature = Signature(
        name="small", task="binary", columns=COLUMNS, classes=("no", "yes"), positive=1
    )
    digest = bundle.write(
        folder / "bundle",
        Serve(signature=signature, model="model/weights", loader="scorer:load"),
        Recorded(
            inputs=tuple(inputs(0.7)), outputs={"predict_proba": (0.3, 0.7), "predict": ("yes",)}
        ),
        model=folder / "weights",
        root=folder,
        code=["scorer.py"],
    )
    # What stands where it starts must not be imported in place of ours.
    (folder / "ci_mlops.py").write_text("raise SystemExit('not ours')", encoding="utf-8")
    flags = ["--control", str(folder / "control"), "--log", str(folder / "log")]
    process = subprocess.Popen(
        start.command(folder / "bundle", *flags, "--log-without", "who"),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environ({"PYTHONPATH": str(folder)}),
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        yield Served(url, folder / "control", digest, process, folder / "log")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as made:
        yield made


def test_it_speaks_the_protocol(server: Served) -> None:
    assert requests.get(f"{server.url}/v2", timeout=9).json()["name"] == "ci-mlops"
    assert requests.get(f"{server.url}/v2/health/live", timeout=9).json() == {"live": True}
    assert requests.get(f"{server.url}/v2/health/ready", timeout=9).status_code == 200
    version = server.digest.removeprefix("sha256:")[:12]
    for place in (server.model, f"{server.model}/versions/{version}"):
        told = requests.get(place, timeout=9).json()
        assert (told["name"], told["versions"]) == ("small", [version])
        assert [one["name"] for one in told["inputs"]] == ["x", "who"]
        assert [one["datatype"] for one in told["outputs"]] == ["FP64", "BYTES"]
        assert requests.get(f"{place}/ready", timeout=9).status_code == 200
    found = server.infer(0.2, 0.8, id="mine").json()
    assert (found["id"], found["model_version"]) == ("mine", version)
    assert [one["data"] for one in found["outputs"]] == [[0.8, 0.2, 1 - 0.8, 0.8], ["no", "yes"]]
    assert server.infer(0.2).json()["id"] != server.infer(0.2).json()["id"]


def test_what_is_wrong_gets_a_4xx_and_a_reason(server: Served) -> None:
    unknown = requests.get(f"{server.url}/predict", timeout=9)
    assert unknown.status_code == 404
    assert "the model is at /v2/models/small" in unknown.json()["error"]
    for body in (b"{", b'{"inputs": [NaN]}', b"[" * 100_000, "ü".encode("latin-1")):
        answer = requests.post(f"{server.model}/infer", data=body, timeout=9)
        assert (answer.status_code, "no JSON" in answer.json()["error"]) == (400, True)
    large = requests.post(f"{server.model}/infer", data=b" " * (MAX_BODY_BYTES + 1), timeout=20)
    assert (large.status_code, "ask in parts" in large.json()["error"]) == (413, True)
    assert requests.get(f"{server.model}/infer", timeout=9).status_code == 405
    assert server.infer(0.5).status_code == 200


def test_a_model_that_raises_keeps_its_rows_to_itself(server: Served) -> None:
    answer = server.infer(14)
    assert (answer.status_code, answer.json()) == (500, {"error": "the model raised ValueError"})


def test_a_model_that_ends_is_started_again(server: Served) -> None:
    assert server.infer(13).status_code == 500
    assert server.infer(0.5).status_code == 200


def test_metrics_count_answers_by_status(server: Served) -> None:
    def count(code: str) -> float:
        text = requests.get(f"{server.url}/metrics", timeout=9).text
        start = f'ci_mlops_inference_requests_total{{code="{code}",model="small"'
        return sum(float(one.split()[-1]) for one in text.splitlines() if one.startswith(start))

    before = count("200"), count("400")
    server.infer(0.5)
    requests.post(f"{server.model}/infer", data=b"", timeout=9)
    assert (count("200"), count("400")) == (before[0] + 1, before[1] + 1)
    text = requests.get(f"{server.url}/metrics", timeout=9).text
    assert f'ci_mlops_model_info{{digest="{server.digest}",model="small"' in text
    assert "ci_mlops_inference_duration_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
    (held,) = (one for one in text.splitlines() if one.startswith("ci_mlops_model_resident"))
    assert float(held.split()[-1]) > 2_000_000, "the model has a process of its own"


def outside(server: Served) -> dict[str, float]:
    text = requests.get(f"{server.url}/metrics", timeout=9).text
    start = "ci_mlops_inference_out_of_contract_total{"
    lines = [one for one in text.splitlines() if one.startswith(start)]
    return {one.partition('input="')[2].partition('"')[0]: float(one.split()[-1]) for one in lines}


def test_values_that_the_data_contract_does_not_allow_are_counted(server: Served) -> None:
    assert outside(server) == {"who": 0, "x": 0}, "a series from the beginning"
    asked = inputs(0.5, 0.25, 0.75)
    asked[1]["data"] = ["ann", "bob", "eve"]
    reply = requests.post(f"{server.model}/infer", json={"inputs": asked}, timeout=9)
    assert (reply.status_code, outside(server)) == (200, {"who": 2, "x": 0})
    server.infer(-1)
    assert outside(server) == {"who": 2, "x": 1}
    replayed = {"x-ci-mlops-replayed": "1"}
    requests.post(f"{server.model}/infer", json={"inputs": asked}, headers=replayed, timeout=9)
    assert outside(server) == {"who": 2, "x": 1}, "nobody asked"


class Never:
    """A model that must not be asked."""

    async def answer(self, body: Any) -> Any:
        raise AssertionError(body)


def test_or_they_are_refused_before_the_model_sees_them() -> None:
    signature = Signature(
        name="small", task="regression", columns=COLUMNS, out_of_contract="refuse"
    )
    service = Service(model=Never(), signature=signature, digest=f"sha256:{'0' * 64}")
    answered = []
    for x, who in ((100.5, "ann"), (-1, "bob"), (1, "bob")):
        asked = inputs(x)
        asked[1]["data"] = [who]
        raw = json.dumps({"inputs": asked}).encode()
        answered.append(asyncio.run(service.infer(raw)))
    assert answered == [
        (400, {"error": "input 'x' is 100.5; the data contract allows 0 to 100"}),
        (400, {"error": "input 'x' is -1; the data contract allows 0 to 100"}),
        (400, {"error": "input 'who' is \"bob\"; the data contract allows ann, 3"}),
    ]


def test_predictions_are_kept_a_line_a_row_without_what_is_left_out(server: Served) -> None:
    server.infer(0.1, 0.9, id="kept")
    for _ in range(100):
        lines = [line for file in server.log.glob("*") for line in file.read_text().splitlines()]
        rows = [one for one in map(json.loads, lines) if one["id"] == "kept"]
        if len(rows) == 2:
            break
        time.sleep(0.05)
    assert [one["row"] for one in rows] == [0, 1]
    assert rows[1]["inputs"] == {"x": 0.9}
    assert rows[1]["predict_proba"] == [1 - 0.9, 0.9]
    assert rows[1]["predict"] == "yes"
    assert rows[1]["model"] == "small"


def test_the_clients_address_is_taken_left_and_handed_on(server: Served, tmp_path: Path) -> None:
    with served(tmp_path) as other, worker.listen("127.0.0.1", 0) as shared:
        front = f"http://127.0.0.1:{shared.getsockname()[1]}/v2/models/small"
        worker.ask(server.control, "take", shared)
        assert worker.ask(server.control, "tell")[0]["front"] is True
        assert requests.get(front, timeout=9).status_code == 200
        _, (lent,) = worker.ask(server.control, "lend")
        with socket.socket(fileno=lent) as handed:
            worker.ask(other.control, "take", handed)
        worker.ask(server.control, "leave")
        assert worker.ask(server.control, "tell")[0]["front"] is False
        assert [requests.get(front, timeout=9).status_code for _ in range(20)] == [200] * 20
        assert server.infer(0.5).headers["connection"] == "close", "keep-alive clients move on"
        worker.ask(server.control, "take", shared)
        assert "connection" not in server.infer(0.5).headers
        worker.ask(server.control, "leave")
        worker.ask(other.control, "stop")
        assert other.process.wait(30) == 0


def test_told_to_end_it_is_not_ready_and_then_gone(tmp_path: Path) -> None:
    with served(tmp_path) as made, worker.listen("127.0.0.1", 0) as shared:
        worker.ask(made.control, "take", shared)
        made.process.send_signal(signal.SIGTERM)
        codes = set()
        while 503 not in codes:
            codes.add(requests.get(f"{made.url}/v2/health/ready", timeout=9).status_code)
        assert made.infer(0.5).status_code == 200, "who was not told yet is still answered"
        assert made.process.wait(30) == 0


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("serve.json", "{}", "signature: Field required"),
        ("serve.json", "", "serve.json: "),
        ("serve.json", None, "cannot be read: No such file"),
    ],
)
def test_a_bundle_that_is_damaged_is_one_line(
    tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ci_mlops.serving", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1

"""The server of an image: the model in its own process, and an operator's choices around it."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ci_mlops.errors import ConfigError
from ci_mlops.serving import bundle, conformance, worker
from ci_mlops.serving.bundle import Recorded, Serve
from ci_mlops.serving.client import Client, request_body
from ci_mlops.serving.container import surroundings
from ci_mlops.serving.signature import Column, Signature
from tests.conftest import clean_environ
from tests.unit.serving.test_conformance import Server

TOP = Path(__file__).parents[3]
SCORER_PY = """\
import time


class Scorer:
    classes_ = ["yes", "no"]

    def __init__(self, path):
        print("loading", path)

    def predict_proba(self, rows):
        scores = []
        for income, region in zip(rows["income"], rows["region"]):
            if region == "slow":
                time.sleep(0.4)
            if region == "broken":
                raise ValueError("the secret is " + region)
            scores.append(float("nan") if region == "odd" else 1 / (1 + 2.0 ** -income))
        return [[one, 1 - one] for one in scores]
"""
SIGNATURE = Signature(
    name="scorer",
    task="binary",
    columns=(
        Column(name="income", datatype="FP64", kind="array", dtype="<f8"),
        Column(name="region", datatype="BYTES", kind="json", texts=True, sensitive=True),
    ),
    classes=("no", "yes"),
    positive=1,
)
YES = [1 / (1 + 2.0**-income) for income in (1.5, -2.25)]
RECORDED = Recorded(
    inputs=(
        {"name": "income", "shape": [2], "datatype": "FP64", "data": [1.5, -2.25]},
        {"name": "region", "shape": [2], "datatype": "BYTES", "data": ["north", "south"]},
    ),
    outputs={
        "predict_proba": tuple(value for one in YES for value in (1 - one, one)),
        "predict": ("yes", "no"),
    },
)


def write(folder: Path, loader: str = "scorer:Scorer") -> Path:
    (folder / "scorer.py").write_text(SCORER_PY, encoding="utf-8")
    (folder / "weight.txt").write_text("1", encoding="utf-8")
    serve = Serve(signature=SIGNATURE, model="model/weight.txt", loader=loader)
    made = folder / "bundle"
    bundle.write(
        made, serve, RECORDED, model=folder / "weight.txt", root=folder, code=["scorer.py"]
    )
    return made


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "ci_mlops.serving.container", str(folder)]


def environ(**more: str) -> dict[str, str]:
    return clean_environ({"PYTHONPATH": str(TOP), "PORT": "0", "CI_MLOPS_DRAIN_S": "0.1", **more})


@contextmanager
def serving(folder: Path, **more: str) -> Iterator[Server]:
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command(write(folder)),
            cwd=folder,
            env=environ(**more),
            stdout=output,
            stderr=subprocess.PIPE,
        )
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline().decode() for _ in range(2)]
        assert lines[0] == "loading ../model/weight.txt\n"
        port = lines[1].strip().rpartition(":")[2]
        yield Server(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(name="client")
def _client(server: Server) -> Iterator[Client]:
    with closing(Client(server.url)) as made:
        yield made


def infer(client: Client, region: str) -> tuple[int, str]:
    inputs = RECORDED.row(0)
    inputs[1]["data"] = [region]
    reply = client.infer("scorer", inputs)
    return reply.status, reply.error()


def test_it_keeps_every_promise(client: Client) -> None:
    checks = conformance.examine(client, model="scorer", recorded=RECORDED, tolerance=0)
    assert [one.message for one in checks if one.outcome != "passed"] == []
    assert conformance.model_of(client, "") == "scorer"


def test_one_output_may_be_asked_for(client: Client) -> None:
    body = json.loads(request_body(RECORDED.inputs))
    for wanted, status in (("predict", 200), ("logits", 400)):
        asked = json.dumps({**body, "outputs": [{"name": wanted}]}).encode()
        reply = client.post("/v2/models/scorer/infer", asked)
        assert reply.status == status
        assert [one["name"] for one in reply.said().get("outputs", [])] in ([wanted], [])


@pytest.mark.parametrize(
    ("region", "said"),
    [("broken", "the model raised ValueError"), ("odd", "the model answered NaN or infinity")],
)
def test_a_model_that_fails_is_not_the_callers_fault(
    client: Client, region: str, said: str
) -> None:
    assert infer(client, region) == (500, said)
    assert infer(client, "north") == (200, "")


def test_health_is_answered_while_a_slow_model_thinks(server: Server, client: Client) -> None:
    assert infer(client, "slow")[0] == 200  # from now on it is asked in a thread
    with closing(Client(server.url)) as other, closing(Client(server.url)) as third:
        slow = threading.Thread(target=lambda: infer(other, "slow"))
        slow.start()
        time.sleep(0.1)
        started = time.monotonic()
        assert third.get("/v2/health/live").status == 200
        assert time.monotonic() - started < 0.25
        slow.join()


def test_requests_are_logged_without_what_is_sensitive(tmp_path: Path) -> None:
    with serving(tmp_path, CI_MLOPS_LOG="-") as server:
        with closing(Client(server.url)) as client:
            assert client.infer("scorer", RECORDED.inputs).status == 200
        with closing(Client(server.url, replays=True)) as client:
            assert client.infer("scorer", RECORDED.inputs).status == 200
        server.terminate()
        assert server.wait(10) == 0
    # What a release replays is not there.
    first, second = (tmp_path / "output.txt").read_text(encoding="utf-8").splitlines()
    assert json.loads(first)["inputs"] == {"income": 1.5}
    assert json.loads(second)["predict"] == "no"
    assert json.loads(second)["predict_proba"] == [1 - YES[1], YES[1]]


def test_told_to_end_under_load_it_loses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, CI_MLOPS_DRAIN_S="0.5") as server:
        with closing(Client(server.url)) as client:
            check = conformance.end_under_load(
                server, client, model="scorer", inputs=RECORDED.row(0)
            )
        assert check.outcome == "passed", check.message
        assert server.wait(0) == 0


@pytest.mark.parametrize(
    ("loader", "more", "code", "said"),
    [
        ("nothing:here", {}, 2, "loader nothing:here needs the package nothing"),
        ("scorer:gone", {}, 2, "module scorer has no function gone"),
        ("scorer:Scorer", {"CI_MLOPS_LOG_SAMPLE": "2"}, 2, "CI_MLOPS_LOG_SAMPLE: "),
        ("scorer:Scorer", {"CI_MLOPS_LOG": "/proc/none"}, 4, "no prediction log can be written"),
    ],
)
def test_what_keeps_it_from_serving_is_said_in_a_line(
    tmp_path: Path, loader: str, more: dict[str, str], code: int, said: str
) -> None:
    done = subprocess.run(
        command(write(tmp_path, loader)),
        cwd=tmp_path,
        env=environ(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, said in done.stderr.splitlines()[-1]) == (code, True), done.stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with closing(worker.listen("0.0.0.0", 0)) as taken:
        done = subprocess.run(
            command(write(tmp_path)),
            cwd=tmp_path,
            env=environ(PORT=str(taken.getsockname()[1])),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 4
    assert "PORT: cannot be listened on: Address already in use" in done.stderr


def test_an_operator_chooses_by_variables() -> None:
    found = surroundings({"PORT": "9", "CI_MLOPS_LOG_SAMPLE": "0.25", "HOME": "/"})
    assert (found.port, found.log_sample, found.log) == (9, 0.25, "")
    with pytest.raises(ConfigError, match="PORT: .*valid integer"):
        surroundings({"PORT": "high"})

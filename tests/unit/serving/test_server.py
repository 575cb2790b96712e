"""The server in a process of its own, asked over a real socket."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ci_mlops.serving import conformance
from ci_mlops.serving.client import Client, Reply
from ci_mlops.serving.served import Limits, LogSettings
from tests.conftest import clean_environ
from tests.unit.serving import serving_models as models
from tests.unit.serving.serving_models import Server, recorded, served, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that logs to standard output, without the region."""
    folder = tmp_path_factory.mktemp("served")
    log = LogSettings(path="-", redact=("region",))
    limits = Limits(body_bytes=20_000, rows=10)
    with serving(folder, served(log=log, limits=limits, drain_s=0)) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    found = Client(server.url)
    yield found
    found.close()


def row(**values: object) -> dict[str, object]:
    """Return a request for the first recorded row with other values."""
    inputs = [
        {**one, "shape": [1], "data": [values.get(one["name"], one["data"][0])]}
        for one in recorded().request["inputs"]
    ]
    return {"inputs": inputs}


def ask(client: Client, **values: object) -> Reply:
    return client.infer("scorer", row(**values))


def test_everything_that_the_protocol_asks_for_is_there(client: Client) -> None:
    checks = conformance.examine(client, model="scorer", recorded=recorded(), tolerance=0)
    assert [one.message for one in checks if one.outcome != "passed"] == []
    assert {one.name for one in checks} >= {"predictions-equal", "wrong-input", "model-metadata"}


def test_a_server_tells_which_model_it_serves(client: Client) -> None:
    assert conformance.model_of(client, "") == "scorer"


def test_an_answer_is_labelled_typed_and_carries_the_id(client: Client) -> None:
    reply = client.infer("scorer", {**recorded().request, "id": "r-1"})
    document = reply.document
    assert document["id"] == "r-1"
    assert document["model_version"] == "v1"
    predictions, probabilities = document["outputs"]
    assert predictions == {
        "name": "predict",
        "datatype": "BYTES",
        "shape": [3],
        "data": ["yes", "no", "yes"],
    }
    assert probabilities["shape"] == [3, 2]


def test_one_output_may_be_asked_for(client: Client) -> None:
    only = client.infer("scorer", {**row(), "outputs": [{"name": "predict"}]})
    assert [one["name"] for one in only.document["outputs"]] == ["predict"]
    other = client.infer("scorer", {**row(), "outputs": [{"name": "logits"}]})
    assert (other.status, "'logits' is not known" in other.error()) == (400, True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"income": "much"}, "column 'income' takes numbers (FP64), not \"much\" in row 0"),
        ({"age": 31.5}, "column 'age' takes whole numbers (INT64), not 31.5"),
        ({"age": 2**70}, "column 'age' has a number beyond 64 bits"),
        ({"age": None}, "column 'age' misses its value in row 0, which the recorded data never"),
        ({"member": 1}, "column 'member' takes true or false (BOOL), not 1 in row 0"),
        ({"region": 7}, "column 'region' takes texts (BYTES), not 7 in row 0"),
        ({"since": "soon"}, "column 'since' takes ISO 8601 times, not \"soon\""),
        ({"grade": "z"}, "column 'grade' holds \"z\"; it may be one of a, b"),
        ({"visits": "few"}, "column 'visits' takes whole numbers (INT64)"),
        ({"visits": 2**80}, "column 'visits' has a number beyond 64 bits"),
        ({"income": 10**400}, "column 'income' has a number that is not finite"),
    ],
)
def test_a_wrong_value_is_refused_by_its_column(
    client: Client, values: dict[str, object], said: str
) -> None:
    reply = ask(client, **values)
    assert reply.status == 400
    assert said in reply.error()
    assert ask(client).status == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", 'no list "inputs"'),
        (b'{"inputs": [{"name": "income"}]}', 'has the datatype "None"'),
        (b'{"inputs": [7]}', 'input 0 has no "name"'),
        (b'{"inputs": [{"name": "a", "datatype": "FP64", "shape": [1], "data": [NaN]}]}', "NaN"),
        (b'{"inputs": [{"name": "a", "datatype": "FP64", "shape": [-1], "data": []}]}', "no shape"),
        (
            b'{"inputs": [{"name": "a", "datatype": "FP64", "shape": [1], "data": 1}]}',
            'list "data"',
        ),
        (b'{"inputs": [{"name": "a", "datatype": "FP64", "shape": [2], "data": [1]}]}', "1 values"),
        (
            b'{"inputs": [{"name": "a", "datatype": "FP64", "shape": [2], "data": [[1], 2]}]}',
            "mixes",
        ),
        (
            b'{"inputs": [{"name": "incme", "datatype": "FP64", "shape": [1], "data": [1]}]}',
            "did you mean 'income'",
        ),
        (b"[" * 100_000, "larger than 20000 bytes"),
        (b"[" * 15_000, "not JSON"),
    ],
)
def test_a_wrong_body_is_refused_with_a_line(client: Client, body: bytes, said: str) -> None:
    reply = client.post("/v2/models/scorer/infer", body)
    assert reply.status in {400, 413}
    assert said in reply.error()
    assert "\n" not in reply.error()


def test_rows_beyond_the_limit_are_refused(client: Client) -> None:
    inputs = [
        {**one, "shape": [11], "data": one["data"][:1] * 11} for one in recorded().request["inputs"]
    ]
    reply = client.infer("scorer", {"inputs": inputs})
    assert (reply.status, reply.error()) == (
        413,
        "11 rows are more than 10; send them in several requests",
    )


def test_a_body_without_a_length_is_held_to_the_limit(server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as held:
        held.sendall(
            b"POST /v2/models/scorer/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        held.sendall(b"7530\r\n" + b" " * 30_000 + b"\r\n")
        assert held.recv(100).startswith(b"HTTP/1.1 413")


def test_another_model_or_version_is_not_found(client: Client) -> None:
    assert client.infer("other", row()).status == 404
    body = json.dumps(row()).encode()
    assert client.post("/v2/models/scorer/versions/v1/infer", body).status == 200
    assert client.post("/v2/models/scorer/versions/v2/infer", body).status == 404
    assert client.get("/v2/models/other").status == 404


@pytest.mark.parametrize(
    ("region", "said"),
    [("broken", "the model failed: ValueError: no such region"), ("odd", "NaN or infinity")],
)
def test_a_model_that_fails_is_not_the_callers_fault(
    client: Client, region: str, said: str
) -> None:
    reply = ask(client, region=region)
    assert (reply.status, said in reply.error()) == (500, True)


def test_health_is_answered_while_a_slow_model_thinks(server: Server, client: Client) -> None:
    assert ask(client, region="slow").status == 200  # from now on it is asked in a thread
    slow = threading.Thread(target=lambda: ask(client, region="slow"))
    slow.start()
    time.sleep(0.1)
    started = time.monotonic()
    with closing(Client(server.url)) as other:
        assert other.get("/v2/health/live").status == 200
    assert time.monotonic() - started < 0.2
    slow.join()


def test_metrics_have_the_names_that_the_rules_ask_for(client: Client) -> None:
    ask(client)
    ask(client, income="x")
    text = client.get("/metrics").body.decode()
    for code in ("200", "400"):
        line = f'ci_mlops_inference_requests_total{{code="{code}",model="scorer",version="v1"}}'
        assert line in text
    assert 'ci_mlops_inference_duration_seconds_bucket{le="0.001",model="scorer"' in text
    assert f'ci_mlops_model_info{{digest="{"d" * 64}",model="scorer",version="v1"}} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_requests_are_logged_without_what_is_redacted(tmp_path: Path) -> None:
    log = LogSettings(path="-", redact=("region",))
    with serving(tmp_path, served(log=log, drain_s=0)) as server:
        with closing(Client(server.url)) as client:
            client.infer("scorer", {**recorded().request, "id": "r-2"})
        server.terminate()
        assert server.wait(10) == 0
    (line,) = (tmp_path / "output.txt").read_text(encoding="utf-8").splitlines()
    entry = json.loads(line)
    assert entry["id"] == "r-2"
    assert entry["rows"] == 3
    assert entry["inputs"]["region"] == "redacted"
    assert entry["inputs"]["income"] == [1.5, -2.25, 0.1]
    assert entry["outputs"]["predict"] == ["yes", "no", "yes"]
    assert len(entry["outputs"]["predict_proba"][0]) == 2
    assert "loading weight.txt" in (tmp_path / "errors.txt").read_text(encoding="utf-8")


def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, served()) as server:
        with closing(Client(server.url)) as client:
            check = conformance.end_under_load(server, client, model="scorer", request=row())
        assert check.outcome == "passed", check.message
        assert server.wait(0) == 0


def test_after_sigterm_readiness_is_false_and_requests_are_answered(tmp_path: Path) -> None:
    with serving(tmp_path, served(drain_s=1)) as server:
        with closing(Client(server.url)) as before, closing(Client(server.url)) as after:
            assert before.infer("scorer", row()).closes is False
            server.terminate()
            time.sleep(0.2)
            reply = before.infer("scorer", row())
            assert (reply.status, reply.closes) == (200, True)
            assert after.get("/v2/health/ready").status == 503
            assert after.get("/v2/health/live").status == 200
        assert server.wait(10) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, served(drain_s=600)) as server:
        server.terminate()
        time.sleep(0.2)
        server.terminate()
        assert server.wait(10) == 0


@pytest.mark.parametrize(
    ("changes", "environ", "said"),
    [
        ({"path": "gone.joblib", "loader": None}, {}, "No such file"),
        ({"loader": "nothing:here"}, {}, "loader nothing:here needs the package nothing"),
        ({}, {"CI_MLOPS_LOG_SAMPLE": "2"}, "CI_MLOPS_LOG_SAMPLE"),
        ({}, {"CI_MLOPS_LOG_PATH": "/proc/none/log"}, "the prediction log cannot be opened"),
    ],
)
def test_what_keeps_it_from_serving_is_said_in_a_line(
    tmp_path: Path, changes: dict[str, object], environ: dict[str, str], said: str
) -> None:
    models.write(tmp_path, served(**changes))
    done = subprocess.run(
        [sys.executable, "-m", "ci_mlops.serving", "serving.json", "--port", "0"],
        cwd=tmp_path,
        env=clean_environ({"PYTHONPATH": str(models.TOP), **environ}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]

"""The conformance suite against a server that shares no line with ours, right and wrong."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_mlops import image
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import Check
from ci_mlops.serving import client, conformance
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import Client
from tests.project import ci_mlops

FOREIGN = Path(__file__).with_name("foreign_server.py")
INPUTS = (
    {"name": "x", "datatype": "FP64", "shape": [2], "data": [1.5, -3.0]},
    {"name": "word", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
)
RECORDED = Recorded(inputs=INPUTS, outputs={"twice": (3.0, -6.0)})


@dataclass
class Server:
    url: str
    process: "subprocess.Popen[bytes]"

    def terminate(self) -> None:
        self.process.terminate()

    def wait(self, within_s: float) -> int | None:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextlib.contextmanager
def foreign(*faults: str) -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen([sys.executable, str(FOREIGN), str(port), *faults])
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        if "never ready" not in faults:
            assert client.until_ready(server.url, within_s=30, runs=lambda: True) is not None
        yield server
    finally:
        process.kill()
        process.wait()


def examine(*faults: str, recorded: Recorded = RECORDED, tolerance: float = 1e-9) -> list[Check]:
    with foreign(*faults) as server, closing(Client(server.url)) as asking:
        return conformance.examine(asking, model="twice", recorded=recorded, tolerance=tolerance)


def faulty(checks: list[Check]) -> set[str]:
    return {one.name for one in checks if one.outcome != "passed"}


def test_another_servers_promises_hold() -> None:
    checks = examine()
    assert [one.message for one in checks if one.outcome != "passed"] == []
    assert {one.name for one in checks} >= {"predictions", "wrong-input", "model-metadata"}


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("anonymous", {"server-metadata"}),
        ("no metadata", {"model-metadata"}),
        ("dead", {"live"}),
        ("never ready", {"model-ready"}),
        ("other predictions", {"predictions"}),
        ("blames itself", {"wrong-input"}),
        ("takes anything", {"wrong-input"}),
        ("says nothing", {"wrong-input"}),
        ("hangs up", {"wrong-input"}),
    ],
)
def test_each_broken_promise_is_told(fault: str, checks: set[str]) -> None:
    if fault == "never ready":
        with foreign(fault) as server:
            waited = client.until_ready(server.url, within_s=1, runs=lambda: True)
            assert waited is None
            return
    assert faulty(examine(fault)) == checks


def test_the_tolerance_decides_what_is_equal() -> None:
    assert faulty(examine("half a bit")) == set()
    (check,) = [one for one in examine("half a bit", tolerance=0) if one.outcome == "failed"]
    assert "twice of row 0 is 3.00000000000300" in check.message
    assert check.observed == 2


def test_missing_outputs_are_not_equal() -> None:
    other = Recorded(inputs=INPUTS, outputs={"thrice": (4.5, -9.0)})
    assert faulty(examine(recorded=other)) == {"predictions"}


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ((), ""),
        (("drops",), "requests failed (no answer"),
        (("ends badly",), "exit code 3"),
        (("deaf",), "still ran after 2 s"),
    ],
)
def test_an_end_under_load_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, faults: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(conformance, "END_S", 2.0)
    with foreign(*faults) as server, closing(Client(server.url)) as asking:
        check = conformance.end_under_load(server, asking, model="twice", inputs=INPUTS)
    assert check.outcome == ("failed" if said else "passed"), check.message
    assert said in check.message


def test_a_server_that_stops_answering_fails() -> None:
    with foreign() as server, closing(Client(server.url)) as asking:
        server.process.kill()
        server.process.wait()
        (check,) = conformance.examine(asking, model="twice", recorded=RECORDED, tolerance=0)
    assert (check.name, check.outcome) == ("answers", "failed")


def test_verify_asks_a_server_at_an_address(tmp_path: Path) -> None:
    rows = tmp_path / "recorded.json"
    rows.write_text(RECORDED.model_dump_json(), encoding="utf-8")
    with foreign() as server:
        code, output, errors = ci_mlops(
            tmp_path, "image", "verify", server.url, "--rows", str(rows)
        )
        assert code == 0, output + errors
        assert "✅ predictions: All 2 recorded rows got the answer that was judged" in output
        code, output, _ = ci_mlops(tmp_path, "image", "verify", server.url, "--json")
        assert code == 0
        assert {one["outcome"] for one in json.loads(output)["checks"]} == {"passed"}


def test_verify_exits_with_1_where_a_promise_is_broken(tmp_path: Path) -> None:
    with foreign("blames itself") as server:
        code, output, _ = ci_mlops(tmp_path, "image", "verify", server.url)
    assert code == 1
    assert (
        "❌ wrong-input: Wrong requests are not refused with 4xx and a reason: no JSON: 500; "
        in output
    )
    assert "   → Answer 4xx" in output


def test_rows_that_the_server_does_not_know_are_no_verdict() -> None:
    made_up = Recorded(inputs=INPUTS[:1], outputs={})
    (check,) = [one for one in examine(recorded=made_up) if one.outcome != "passed"]
    assert (check.name, check.outcome) == ("answers", "inconclusive")


def test_what_cannot_be_asked_is_said() -> None:
    facts: dict[str, object] = {"model": "", "rows": None, "port": 1, "environ": {}}
    with pytest.raises(CannotLook, match="was not ready within"):
        image.verify(f"http://127.0.0.1:{free_port()}", ready_within_s=0.2, tolerance=0, **facts)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is not an http"):
        Client("ftp://example.org")

"""A small server of the Open Inference Protocol that is right, or wrong in one of many ways.

As a program, `python -m tests.unit.serving.faulty_server KIND PORT VERSION`, it runs until killed.
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ci_mlops.serving.bundle import Recorded

ROWS = [0.1, 0.9, 0.4, 0.6]
RECORDED = Recorded(
    inputs=({"name": "x", "shape": [4], "datatype": "FP64", "data": ROWS},),
    outputs={
        "predict_proba": tuple(value for x in ROWS for value in (1 - x, x)),
        "predict": (0, 1, 0, 1),
    },
)
KINDS = (
    "never ready",
    "ready too early",
    "ready now and then",
    "wrong probabilities",
    "wrong classes",
    "one row wrong",
    "one class wrong",
    "rows in another order",
    "no numbers",
    "drifts after a while",
    "mixes requests up",
    "fails 2 %",
    "fails always",
    "refuses all",
    "empty answers",
    "no outputs",
    "other names",
    "fewer rows",
    "texts for numbers",
    "not json",
    "hangs up",
    "dies on the way",
    "another input",
    "another type",
    "another output",
    "another model",
    "two versions",
    "slower by half",
    "leaks",
)
"""Ways to be wrong that are noticed before the switch."""
WITH_TIME = ("exits after a while", "fails after a while", "leaks slowly", "hides until it is live")
"""Ways to be wrong that only a hold can notice."""
WORK_S = 0.004
DESCRIBED: dict[str, Any] = {}
"""Metadata instead of the right one."""
METRICS = """\
process_start_time_seconds 1.5
process_resident_memory_bytes {memory}
ci_mlops_inference_requests_total{{code="200"}} {right}
ci_mlops_inference_requests_total{{code="500"}} {wrong}
"""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Faulty"
    wbufsize = 65_536  # one packet: else each answer waits for the client to acknowledge its head

    def do_GET(self) -> None:
        kind = self.server.kind
        if self.path == "/metrics":
            self._send(200, self.server.metrics().encode())
        elif self.path == "/v2/models/m":
            self._send(200, self._described(kind))
        else:
            self.server.looks += 1
            unready = kind == "never ready" or (
                kind == "ready now and then" and self.server.looks % 5 == 4
            )
            self._send(503 if unready else 200, {"ready": not unready})

    def _described(self, kind: str) -> dict[str, Any]:
        if DESCRIBED:
            return DESCRIBED
        names = ["x", "y"] if kind == "another input" else ["x"]
        datatype = "INT64" if kind == "another type" else "FP64"
        inputs = [{"name": name, "datatype": datatype, "shape": [-1]} for name in names]
        first = "score" if kind == "another output" else "predict_proba"
        outputs = [
            {"name": first, "datatype": "FP64", "shape": [-1, 2]},
            {"name": "predict", "datatype": "INT64", "shape": [-1]},
        ]
        return {"name": "m", "versions": ["1"], "inputs": inputs, "outputs": outputs}

    def do_POST(self) -> None:
        begun = time.perf_counter()
        length = int(self.headers["content-length"])
        try:
            request = json.loads(self.rfile.read(length), parse_constant=int)
            (given,) = request["inputs"]
            right = given["name"] == "x" and given["shape"] == [len(given["data"])]
            rows = [float(one) for one in given["data"]]
        except (ValueError, KeyError, TypeError):
            right = False
        if not right:
            self._send(200 if self.server.kind == "takes anything" else 400, {"error": "no"})
            return
        self.server.asked += 1
        time.sleep(self.server.work_s)
        if self.server.kind == "slower by half":
            time.sleep((time.perf_counter() - begun) / 2)
        getattr(self, f"_{self.server.kind.replace(' ', '_').replace('%', 'percent')}")(rows)

    def _send(self, code: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.server.wrong += code >= 500
        self.send_response(code)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _answer(self, rows: list[float], classes: list[Any] | None = None, **more: Any) -> None:
        flat = [value for x in rows for value in (1 - x, x)]
        picks = [int(x >= 0.5) for x in rows] if classes is None else classes
        outputs = [
            {"name": "predict_proba", "shape": [len(rows), 2], "datatype": "FP64", "data": flat},
            {"name": "predict", "shape": [len(picks)], "datatype": "INT64", "data": picks},
        ]
        told = {"model_name": "m", "model_version": self.server.version}
        self._send(200, {**told, "outputs": outputs, **more})

    _good = _never_ready = _takes_anything = _slower_by_half = _ready_now_and_then = _answer
    _another_input = _another_type = _another_output = _exits_after_a_while = _answer

    def _ready_too_early(self, rows: list[float]) -> None:
        if self.server.asked <= 5:
            self._send(503, {"error": "the model is being loaded"})
        else:
            self._answer(rows)

    def _wrong_probabilities(self, rows: list[float]) -> None:
        self._answer([x + 0.01 for x in rows])

    def _wrong_classes(self, rows: list[float]) -> None:
        self._answer(rows, [int(x < 0.5) for x in rows])

    def _one_row_wrong(self, rows: list[float]) -> None:
        self._answer([0.2 if x == 0.4 else x for x in rows])

    def _one_class_wrong(self, rows: list[float]) -> None:
        self._answer([x - 0.01 if x >= 0.5 else x for x in rows])

    def _rows_in_another_order(self, rows: list[float]) -> None:
        self._answer(rows[::-1])

    def _no_numbers(self, rows: list[float]) -> None:
        self._answer([float("nan") for _ in rows], [0 for _ in rows])

    def _drifts_after_a_while(self, rows: list[float]) -> None:
        self._answer([1 - x for x in rows] if self.server.asked > 20 else rows)

    def _mixes_requests_up(self, rows: list[float]) -> None:
        self.server.shared = rows
        time.sleep(0.001)
        self._answer(self.server.shared)

    def _fails_2_percent(self, rows: list[float]) -> None:
        if random.random() < 0.02:
            self._send(500, {"error": "now and then"})
        else:
            self._answer(rows)

    def _fails_after_a_while(self, rows: list[float]) -> None:
        if self.server.age_s() > self.server.while_s:
            self._send(500, {"error": "no more"})
        else:
            self._answer(rows)

    def _hides_until_it_is_live(self, rows: list[float]) -> None:
        # Its clients' requests fail, ours do not: only its own count can tell.
        if len(rows) == 3:
            self._send(500, {"error": "not for you"})
        else:
            self._answer(rows)

    def _fails_always(self, rows: list[float]) -> None:
        self._send(500, {"error": "always"})

    def _refuses_all(self, rows: list[float]) -> None:
        self._send(403, {"error": "who are you?"})

    def _empty_answers(self, rows: list[float]) -> None:
        self._send(200, b"")

    def _no_outputs(self, rows: list[float]) -> None:
        self._send(200, {"model_name": "m"})

    def _other_names(self, rows: list[float]) -> None:
        self._send(200, {"outputs": [{"name": "y", "data": rows}]})

    def _fewer_rows(self, rows: list[float]) -> None:
        self._answer(rows[:-1])

    def _texts_for_numbers(self, rows: list[float]) -> None:
        self._answer(rows, ["yes" if x >= 0.5 else "no" for x in rows])

    def _not_json(self, rows: list[float]) -> None:
        self._send(200, b"<html>It works!</html>")

    def _hangs_up(self, rows: list[float]) -> None:
        self.close_connection = True

    def _dies_on_the_way(self, rows: list[float]) -> None:
        if self.server.asked > 10:
            self.close_connection = True
        else:
            self._answer(rows)

    def _another_model(self, rows: list[float]) -> None:
        self._answer(rows, model_name="n")

    def _two_versions(self, rows: list[float]) -> None:
        self._answer(rows, model_version=str(self.server.asked % 2))

    def _leaks(self, rows: list[float]) -> None:
        self.server.kept.append(b"x" * 100_000)
        self._answer(rows)

    def _leaks_slowly(self, rows: list[float]) -> None:
        self.server.kept.append(b"x" * 10_000)
        self._answer(rows)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Faulty(ThreadingHTTPServer):
    """The server, and what it was asked."""

    daemon_threads = True
    VERSION = "1"

    def __init__(self, kind: str, port: int = 0, *, work_s: float = WORK_S) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.kind = kind
        self.work_s = work_s
        self.while_s = 20.0
        self.version = self.VERSION
        self.asked = self.wrong = self.looks = 0
        self.shared: list[float] = []
        self.kept: list[bytes] = []
        self.begun = time.monotonic()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def age_s(self) -> float:
        return time.monotonic() - self.begun

    def memory(self) -> int:
        return 50_000_000 + sum(map(len, self.kept))

    def metrics(self) -> str:
        right = self.asked - self.wrong
        return METRICS.format(memory=self.memory(), right=right, wrong=self.wrong)


class Alone(Faulty):
    """The server in a process of its own, which may end, and whose memory is what it holds."""

    def memory(self) -> int:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(kind: str, *, work_s: float = WORK_S) -> Iterator[Faulty]:
    """Let a server answer on loopback for a while."""
    with Faulty(kind, work_s=work_s) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with Alone(sys.argv[1], int(sys.argv[2]), work_s=2 * WORK_S) as only:
        only.while_s = 20 if only.kind == "exits after a while" else 60
        only.version = sys.argv[3]
        if only.kind == "exits after a while":
            threading.Timer(only.while_s, os._exit, (1,)).start()
        only.serve_forever()

"""A small server of the Open Inference Protocol that is right, or wrong in one of many ways."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    "wrong probabilities",
    "wrong classes",
    "one row wrong",
    "drifts after a while",
    "fails 2 %",
    "fails always",
    "empty answers",
    "no outputs",
    "other names",
    "fewer rows",
    "texts for numbers",
    "not json",
    "hangs up",
    "dies on the way",
    "twice as slow and more",
)
"""Ways to be wrong that a release must notice."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Faulty"
    wbufsize = 65_536  # one packet: else each answer waits for the client to acknowledge its head

    def do_GET(self) -> None:
        self._send(503 if self.server.kind == "never ready" else 200, {"ready": True})

    def do_POST(self) -> None:
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
        getattr(self, f"_{self.server.kind.replace(' ', '_').replace('%', 'percent')}")(rows)

    def _send(self, code: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
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
        self._send(200, {"model_name": "m", "outputs": outputs, **more})

    _good = _never_ready = _takes_anything = _answer

    def _wrong_probabilities(self, rows: list[float]) -> None:
        self._answer([x + 0.01 for x in rows])

    def _wrong_classes(self, rows: list[float]) -> None:
        self._answer(rows, [int(x < 0.5) for x in rows])

    def _one_row_wrong(self, rows: list[float]) -> None:
        self._answer([0.2 if x == 0.4 else x for x in rows])

    def _drifts_after_a_while(self, rows: list[float]) -> None:
        self._answer([1 - x for x in rows] if self.server.asked > 20 else rows)

    def _fails_2_percent(self, rows: list[float]) -> None:
        if self.server.asked % 50 == 0:
            self._send(500, {"error": "now and then"})
        else:
            self._answer(rows)

    def _fails_always(self, rows: list[float]) -> None:
        self._send(500, {"error": "always"})

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

    def _twice_as_slow_and_more(self, rows: list[float]) -> None:
        time.sleep(0.02)
        self._answer(rows)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Faulty(ThreadingHTTPServer):
    """The server, and what it was asked."""

    daemon_threads = True

    def __init__(self, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind = kind
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(kind: str) -> Iterator[Faulty]:
    """Let a server answer on loopback for a while."""
    with Faulty(kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

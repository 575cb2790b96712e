"""An Open Inference server that counts what it answers, and goes wrong after a while if told to.

Run as a program: `counting_server.py PORT VERSION KIND AFTER`. It needs nothing but Python.
"""

import json
import random
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = ("good", "wrong", "fails", "hangs up", "slow", "no metrics")
EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, float("inf"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536
    server: "Counting"

    def do_GET(self) -> None:
        if self.path == "/metrics" and self.server.kind != "no metrics":
            self._send(200, self.server.metrics().encode())
        elif self.path == "/v2/health/ready":
            self._send(200, b"{}")
        elif self.path == "/v2/models/m":
            self._send(200, b'{"name": "m"}')
        else:
            self._send(404, b"{}")

    def do_POST(self) -> None:
        begun = time.perf_counter()
        server = self.server
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        (given,) = request["inputs"]
        kind = server.kind if server.asked >= server.after else "good"
        server.asked += 1
        if kind == "hangs up":
            self.close_connection = True
            return
        time.sleep(0.1 if kind == "slow" else 0.002)
        data = [2 * one + (kind == "wrong") for one in given["data"]]
        output = {"name": "predict", "datatype": "FP64", "shape": [len(data)], "data": data}
        body = {"model_name": "m", "model_version": server.version, "outputs": [output]}
        code = 500 if kind == "fails" else 200
        server.count(str(code), time.perf_counter() - begun)
        self._send(code, json.dumps(body if code == 200 else {"error": "broken"}).encode())

    def _send(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Counting(ThreadingHTTPServer):
    """The server, and what it counted."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, version: str, kind: str, after: int, address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        super().__init__(address, _Handler)
        self.version, self.kind, self.after = version, kind, after
        self.asked = 0
        self.started = 1000.0
        self.codes: dict[str, int] = {"200": 0}
        self.seconds: list[float] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, code: str, seconds: float) -> None:
        with self.lock:
            self.codes[code] = self.codes.get(code, 0) + 1
            self.seconds.append(seconds)

    def restart(self) -> None:
        """Forget what was counted, as a new process does."""
        with self.lock:
            self.started += 1
            self.codes, self.seconds = {"200": 0}, []

    def metrics(self) -> str:
        labels = 'model="m",version="1"'
        name = "ci_mlops_inference_duration_seconds"
        with self.lock:
            lines = ["# TYPE ci_mlops_inference_requests_total counter"]
            lines += [
                f'ci_mlops_inference_requests_total{{{labels},code="{code}"}} {n}'
                for code, n in self.codes.items()
            ]
            lines += [f"# TYPE {name} histogram"]
            lines += [
                f'{name}_bucket{{{labels},le="{"+Inf" if edge == EDGES[-1] else edge}"}} '
                f"{sum(one <= edge for one in self.seconds)}"
                for edge in EDGES
            ]
            lines += [f"{name}_count{{{labels}}} {len(self.seconds)}"]
            lines += [f"{name}_sum{{{labels}}} {sum(self.seconds)}"]
            lines += ["# TYPE process_start_time_seconds gauge"]
            lines += [f"process_start_time_seconds {self.started}"]
        return "\n".join(lines) + "\n"


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536
    server: "Front"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        front = self.server
        url = front.urls[1] if front.random.random() * 100 < front.percent else front.urls[0]
        asked = urllib.request.Request(f"{url}{self.path}", body)
        try:
            with urllib.request.urlopen(asked, timeout=5) as told:
                code, answer = told.status, told.read()
        except urllib.error.HTTPError as fault:
            with fault:
                code, answer = fault.code, fault.read()
        except OSError:
            code, answer = 502, b"<html>Bad Gateway</html>"
        self.send_response(code)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Front(ThreadingHTTPServer):
    """What clients ask: sends some of a hundred requests to the second of two addresses."""

    daemon_threads = True

    def __init__(self, urls: tuple[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.urls = urls
        self.percent = 0
        self.random = random.Random(7)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a server answer on loopback for a while."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    address = ("0.0.0.0", int(sys.argv[1]))
    Counting(sys.argv[2], sys.argv[3], int(sys.argv[4]), address).serve_forever()

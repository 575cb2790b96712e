"""An Open Inference server that shares no line with ours, with faults to order.

Run as a program: `foreign_server.py PORT [FAULT ...]`.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = set(sys.argv[2:])
METADATA = {
    "name": "twice",
    "versions": ["1"],
    "platform": "foreign",
    "inputs": [
        {"name": "x", "datatype": "FP64", "shape": [-1]},
        {"name": "word", "datatype": "BYTES", "shape": [-1]},
    ],
    "outputs": [{"name": "twice", "datatype": "FP64", "shape": [-1]}],
}
state = {"ending": False, "busy": 0}


class Wrong(Exception):
    pass


class Broken(Exception):
    pass


def answer(document: object) -> dict[str, object]:
    try:
        tensors = {one["name"]: one for one in document["inputs"]}  # type: ignore[index]
        (count,) = tensors["x"]["shape"]
        values = tensors["x"]["data"]
        if set(tensors) != {"x", "word"} or len(values) != count:
            raise Wrong("x and word belong there, as many as the shape says")
        data = [2.0 * value for value in values if isinstance(value, int | float)]
        if len(data) != count:
            raise Wrong("x takes numbers")
    except (KeyError, TypeError, ValueError) as fault:
        raise Wrong(f"not a request: {fault}") from fault
    if "half a bit" in FAULTS:
        data = [value * (1 + 1e-12) for value in data]
    if "fails 2 %" in FAULTS and random.random() < 0.02:
        raise Broken("the disk is full")
    if "other predictions" in FAULTS:
        data = [value + 1 for value in data]
    output = {"name": "twice", "datatype": "FP64", "shape": [len(data)], "data": data}
    return {"model_name": "twice", "model_version": "1", "outputs": [output]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # headers and body in one piece

    def do_GET(self) -> None:
        if self.path == "/v2/models/twice":
            told = {**METADATA, "inputs": []} if "no metadata" in FAULTS else METADATA
            self.reply(200, told)
        elif self.path == "/v2":
            self.reply(
                200, {"name": "foreign", "version": "1"} if "anonymous" not in FAULTS else {}
            )
        elif self.path == "/v2/health/live":
            self.reply(500 if "dead" in FAULTS else 200, {})
        elif self.path in {"/v2/health/ready", "/v2/models/twice/ready"}:
            self.reply(503 if state["ending"] or "never ready" in FAULTS else 200, {})
        else:
            self.reply(404, {"error": "not here"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v2/repository/index":
            self.reply(200, [{"name": "twice"}])
            return
        if self.path != "/v2/models/twice/infer":
            self.reply(404, {"error": "no such model"})
            return
        state["busy"] += 1
        time.sleep(0.005)
        try:
            self.reply(200, answer(json.loads(body)))
        except Broken as fault:
            self.reply(500, {"error": str(fault)})
        except (Wrong, ValueError) as fault:
            if "hangs up" in FAULTS:
                self.close_connection = True
                return
            wrong = 500 if "blames itself" in FAULTS else 400
            wrong = 200 if "takes anything" in FAULTS else wrong
            self.reply(wrong, {} if "says nothing" in FAULTS else {"error": str(fault)})
        finally:
            state["busy"] -= 1

    def reply(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        if state["ending"]:
            self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if state["ending"]:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def end(*_: object) -> None:
    if "drops" in FAULTS:
        os._exit(0)
    state["ending"] = True
    threading.Thread(target=wait).start()


def wait() -> None:
    time.sleep(0.3)
    while state["busy"]:
        time.sleep(0.01)
    os._exit(3 if "ends badly" in FAULTS else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    if "deaf" in FAULTS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "exits after a while" in FAULTS:
        threading.Timer(20, os._exit, (1,)).start()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

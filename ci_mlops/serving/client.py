"""A client of any Open Inference v2 server: what it says, and requests under load."""

import contextlib
import http.client
import json
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ci_mlops.errors import ConfigError
from ci_mlops.serving.rows import REPLAYED

FAULTS = (OSError, http.client.HTTPException)
"""What asking a server may raise."""
MAX_ANSWER = 256 * 1024 * 1024
PAUSE_S = 0.0005
"""Between an answer and the next request, so that the end of a connection can be seen."""
POLL_S = 0.01


class Unanswered(Exception):  # noqa: N818 - a server's, and a check's business
    """A server that cannot be reached, or that answers something that is no prediction."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model predicts, and who it says it is."""

    outputs: Mapping[str, Sequence[Any]]
    """Flat, by the name of the output."""
    model: str
    version: str
    """Empty where the server does not say, as `model` is."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer; `document` is None where the body is not JSON."""

    status: int
    document: Any
    closes: bool
    """Whether the server ends the connection after it."""
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as it came."""
        return self.body.decode("utf-8", "replace")

    def said(self) -> Mapping[str, Any]:
        """Return the body where it is an object, else an empty one."""
        return self.document if isinstance(self.document, dict) else {}

    def error(self) -> str:
        """What the server says is wrong; empty where it says nothing."""
        told = self.said().get("error")
        return told if isinstance(told, str) else ""


class Client:
    """One connection to a server, opened again where it has ended; `url` is where `/v2` stands.

    What a client that `replays` asks is nobody's question: the prediction log leaves it out.
    """

    def __init__(self, url: str, *, timeout_s: float = 30, replays: bool = False) -> None:
        """Open nothing yet. Raises ConfigError when `url` is not http:// or https://."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError("is not an http:// or https:// address", place=url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        self.url, self._path = url, parts.path.rstrip("/")
        self._headers = {REPLAYED: "1"} if replays else {}
        self._connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout_s)

    def get(self, path: str) -> Reply:
        """Ask for a path below the server's address. Raises OSError or HTTPException."""
        self.connect()
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> Reply:
        """Send a JSON body to a path. Raises OSError or HTTPException."""
        self.connect()
        return self.send(path, body)

    def send(self, path: str, body: bytes) -> Reply:
        """Send a JSON body on the connection as it is. Raises OSError or HTTPException."""
        return self._ask("POST", path, body)

    def infer(self, model: str, inputs: Sequence[Mapping[str, Any]]) -> Reply:
        """Ask a model for predictions. Raises OSError or HTTPException."""
        return self.post(infer_path(model), request_body(inputs))

    def predictions(
        self, model: str, inputs: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Sequence[Any]]:
        """Return what a model predicts, flat, by the name of the output. Raises Unanswered."""
        return self.answer(model, inputs).outputs

    def answer(self, model: str, inputs: Sequence[Mapping[str, Any]]) -> Answer:
        """Return a model's answer. Raises Unanswered where it is no prediction."""
        try:
            reply = self.infer(model, inputs)
        except FAULTS as fault:
            raise Unanswered(f"no answer: {type(fault).__name__}") from fault
        if reply.status != 200:
            raise Unanswered(f"{reply.status}, {reply.error()[:300] or 'without a reason'}")
        told = reply.said()
        outputs = told.get("outputs")
        if not isinstance(outputs, list) or not outputs:
            raise Unanswered('an answer without "outputs"')
        if not all(isinstance(one, dict) and isinstance(one.get("data"), list) for one in outputs):
            raise Unanswered('an output without a list "data"')
        return Answer(
            outputs={str(one.get("name")): flat(one["data"]) for one in outputs},
            model=str(told.get("model_name") or ""),
            version=str(told.get("model_version") or ""),
        )

    def connect(self) -> None:
        """Open the connection, unless it is open and sound. Raises OSError."""
        if self._connection.sock is not None and self.has_ended():
            self.close()
        if self._connection.sock is None:
            self._connection.connect()

    def has_ended(self) -> bool:
        """Whether the server has ended the connection."""
        held = self._connection.sock
        return held is None or bool(select.select([held], [], [], 0)[0])

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> Reply:
        kind = {"Content-Type": "application/json"} if body is not None else {}
        headers = {**self._headers, **kind}
        try:
            self._connection.request(method, f"{self._path}{path}", body, headers)
            told = self._connection.getresponse()
            read = told.read(MAX_ANSWER)
        except FAULTS:
            self.close()
            raise
        document = None
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(read)
        return Reply(status=told.status, document=document, closes=told.will_close, body=read)


def infer_path(model: str) -> str:
    """Return where a model is asked for predictions."""
    return f"/v2/models/{model}/infer"


def request_body(inputs: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a request for predictions as bytes."""
    return json.dumps({"inputs": list(inputs)}).encode()


def flat(data: list[Any]) -> list[Any]:
    """Return a tensor's data without its nesting, which the protocol allows but does not need."""
    if data and isinstance(data[0], list):
        return [value for row in data for value in flat(row)]
    return data


def until_ready(url: str, *, within_s: float, runs: Callable[[], bool]) -> float | None:
    """Wait until a server is ready; the seconds it took, or None when it was not in time."""
    started = time.monotonic()
    while (waited := time.monotonic() - started) < within_s and runs():
        client = Client(url, timeout_s=max(0.1, within_s - waited))
        with contextlib.suppress(*FAULTS), contextlib.closing(client):
            if client.get("/v2/health/ready").status == 200:
                return time.monotonic() - started
        time.sleep(POLL_S)
    return None


@dataclass(kw_only=True)
class Load:
    """Requests one after another on several connections, and what became of them."""

    url: str
    path: str
    body: bytes
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, connections: int) -> None:
        """Start to ask."""
        self._threads = [
            threading.Thread(target=self._ask, daemon=True) for _ in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def ending(self) -> None:
        """Tell that the server was told to end: a connection that it ends is not opened again."""
        self._ending.set()

    def stop(self) -> None:
        """Ask no more, and wait for the last answers."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self) -> None:
        client = Client(self.url)
        with contextlib.closing(client):
            while not self._stopped.is_set():
                try:
                    client.connect()
                except OSError as fault:
                    if not self._ending.is_set():
                        self._failed(f"no connection: {fault}")
                    return
                try:
                    reply = client.send(self.path, self.body)
                except FAULTS as fault:
                    self._failed(f"no answer: {type(fault).__name__} {fault}".strip())
                    return
                self._answered(reply)
                time.sleep(PAUSE_S)
                if self._ending.is_set() and (reply.closes or client.has_ended()):
                    return

    def _answered(self, reply: Reply) -> None:
        if reply.status != 200:
            self._failed(f"status {reply.status} {reply.error()}".strip())
        else:
            with self._lock:
                self.answered += 1

    def _failed(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)

"""The inference server: Open Inference Protocol v2 over REST, health, metrics, graceful end."""

import asyncio
import contextlib
import json
import signal
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from starlette.requests import Request as HttpRequest
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ci_mlops.errors import ConfigError
from ci_mlops.model import host
from ci_mlops.serving import answers, tensors
from ci_mlops.serving.metrics import CONTENT_TYPE, Metrics
from ci_mlops.serving.prediction_log import PredictionLog
from ci_mlops.serving.served import Served
from ci_mlops.serving.tensors import Refused

SLOW_S = 0.005
"""A model whose last answer took longer is asked in a thread, so that health stays answered."""
IN_FLIGHT_S = 30
"""How long requests that are being answered may take once the server ends."""
JSON = "application/json"


@dataclass(kw_only=True)
class Inference:
    """One loaded model behind the protocol."""

    served: Served
    model: Any
    metrics: Metrics
    log: PredictionLog
    ready: bool = True
    draining: bool = False
    last_s: float = 0.0
    """How long the model's last answer took."""
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _in_thread: int = 0

    def __post_init__(self) -> None:
        self._outputs = answers.names(self.served)

    async def infer(self, http: HttpRequest) -> Response:
        """Answer one inference request, whatever comes of it, and count it."""
        started = time.perf_counter()
        try:
            self._require_here(http.path_params)
            request = tensors.parse(await self._body(http), self.served, self._outputs)
            outputs = await self._asked(request)
            code, document = 200, self._document(request, outputs)
        except Refused as fault:
            code, document = fault.status, {"error": str(fault)}
        except answers.Unsound as fault:
            code, document = 500, {"error": str(fault)}
        except Exception as fault:  # noqa: BLE001 - the model's code may raise anything
            said = (str(fault).splitlines() or [""])[0][:300]
            code, document = 500, {"error": f"the model failed: {type(fault).__name__}: {said}"}
        body = json.dumps(document, separators=(",", ":")).encode()
        seconds = time.perf_counter() - started
        self.metrics.observe(code, seconds)
        if code == 200:
            self.log.add(
                id=request.id,
                values=request.values,
                outputs=outputs,
                rows=request.rows.count,
                seconds=seconds,
            )
        return Response(body, code, media_type=JSON)

    async def _asked(self, request: tensors.Request) -> list[dict[str, Any]]:
        # A call that goes on in the thread must not meet another one here.
        if self.last_s < SLOW_S and not self._in_thread:
            return self._answer(request)
        self._in_thread += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._answer, request)
        finally:
            self._in_thread -= 1

    def _answer(self, request: tensors.Request) -> list[dict[str, Any]]:
        started = time.perf_counter()
        given = self.model.input(request.rows)
        answer = self.model.answer(given, self.served.task)
        self.last_s = time.perf_counter() - started
        return answers.outputs(answer, request.rows.count, self.served, self.model.classes)

    def _document(self, request: tensors.Request, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        asked = request.outputs
        document: dict[str, Any] = {
            "model_name": self.served.name,
            "model_version": self.served.version,
            "outputs": outputs if asked is None else [o for o in outputs if o["name"] in asked],
        }
        return document if request.id is None else {**document, "id": request.id}

    async def _body(self, http: HttpRequest) -> bytes:
        limit = self.served.limits.body_bytes
        announced = http.headers.get("content-length", "0")
        found, size = [], int(announced) if announced.isdecimal() else 0
        if size <= limit:
            size = 0
            async for piece in http.stream():
                size += len(piece)
                if size > limit:
                    break
                found.append(piece)
        if size > limit:
            raise Refused(f"the body is larger than {limit} bytes; send fewer rows", 413)
        return b"".join(found)

    def _require_here(self, named: dict[str, Any]) -> None:
        name, version = named["name"], named.get("version", self.served.version)
        if name != self.served.name:
            raise Refused(f"model {name[:100]!r} is not here; {self.served.name!r} is", 404)
        if version != self.served.version:
            raise Refused(f"version {version[:100]!r} is not here; {self.served.version!r} is", 404)

    def metadata(self) -> dict[str, Any]:
        """Describe the model: its inputs and outputs, with -1 for the number of rows."""
        served = self.served
        return {
            "name": served.name,
            "versions": [served.version],
            "platform": "ci-mlops",
            "inputs": [
                {
                    "name": one.name,
                    "datatype": one.datatype,
                    "shape": [-1],
                    "parameters": {"nullable": one.nullable},
                }
                for one in served.columns
            ],
            "outputs": answers.metadata(served),
            "parameters": {"digest": served.digest, "task": served.task},
        }


def application(inference: Inference, *, version: str) -> ASGIApp:
    """Return the ASGI application of one model; `version` is the server's own."""
    app = FastAPI(title="ci-mlops inference", docs_url=None, redoc_url=None, openapi_url=None)
    model = "/v2/models/{name}"
    models = (model, f"{model}/versions/{{version}}")
    # Starlette's own routes come first and cost least: this is what is called all day.
    app.router.routes[:0] = [Route(f"{m}/infer", inference.infer, methods=["POST"]) for m in models]

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        return {"name": "ci-mlops", "version": version, "extensions": ["model_repository"]}

    @app.post("/v2/repository/index")
    async def index() -> list[dict[str, Any]]:
        served = inference.served
        state = "READY" if inference.ready else "UNAVAILABLE"
        return [{"name": served.name, "version": served.version, "state": state}]

    @app.get("/v2/health/live")
    async def live() -> dict[str, Any]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> Response:
        return _readiness(inference.ready)

    async def model_metadata(http: HttpRequest) -> Response:
        return _about_model(inference, http, json.dumps(inference.metadata()).encode())

    async def model_ready(http: HttpRequest) -> Response:
        about = _readiness(inference.ready)
        return _about_model(inference, http, bytes(about.body), about.status_code)

    for path in models:
        app.add_route(path, model_metadata)
        app.add_route(f"{path}/ready", model_ready)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(inference.metrics.text(), media_type=CONTENT_TYPE)

    return _closing(app, inference)


def _readiness(ready: bool) -> Response:  # noqa: FBT001 - it is what the answer says
    body = json.dumps({"ready": ready}).encode()
    return Response(body, 200 if ready else 503, media_type=JSON)


def _about_model(inference: Inference, http: HttpRequest, body: bytes, code: int = 200) -> Response:
    try:
        inference._require_here(http.path_params)  # noqa: SLF001 - the same module
    except Refused as fault:
        code, body = fault.status, json.dumps({"error": str(fault)}).encode()
    return Response(body, code, media_type=JSON)


def _closing(app: ASGIApp, inference: Inference) -> ASGIApp:
    """Tell clients to end their connections once the server is about to."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await app(scope, receive, closing if inference.draining else send)

    return wrapped


def _loaded(served: Served) -> Any:
    try:
        model, _ = host.load(served.path, served.loader)
    except host.Refusal as fault:
        raise ConfigError(fault.fault, place=served.path, remedy=fault.remedy) from fault
    except Exception as fault:
        traceback.print_exc()
        said = f"could not be loaded: {type(fault).__name__}: {fault}"
        raise ConfigError(said, place=served.path) from fault
    return model


class Server(uvicorn.Server):
    """Ends on SIGTERM in three steps: not ready, requests still taken, then no more."""

    def __init__(self, config: uvicorn.Config, inference: Inference) -> None:
        super().__init__(config)
        self._inference = inference

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals ourselves: uvicorn closes at once, and ends by the signal, not by 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._drain)
        yield

    def _drain(self) -> None:
        inference = self._inference
        if inference.draining:  # a second signal is impatience
            self.should_exit = True
            return
        inference.ready, inference.draining = False, True
        loop = asyncio.get_running_loop()
        loop.call_later(inference.served.drain_s, setattr, self, "should_exit", True)


def serve(
    served: Served, *, address: str, port: int, log: PredictionLog, metrics: Metrics, version: str
) -> None:
    """Load the model, then listen until SIGTERM. Raises ConfigError when it cannot be loaded."""
    model = _loaded(served)
    inference = Inference(served=served, model=model, metrics=metrics, log=log)
    config = uvicorn.Config(
        application(inference, version=version),
        host=address,
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=IN_FLIGHT_S,
    )
    log.start()
    try:
        Server(config, inference).run()
    finally:
        log.close()

"""The inference server as an ASGI application: the REST part of the Open Inference Protocol v2.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ci_mlops import __version__
from ci_mlops.serving import rows
from ci_mlops.serving.prediction_log import LogSettings, PredictionLog
from ci_mlops.serving.rows import REPLAYED, Body, WrongInput
from ci_mlops.serving.signature import Signature

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_ROWS = 10_000
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class ModelFailed(Exception):  # noqa: N818 - the model's, and an answer of its own
    """The model raised on rows, or answered in a wrong form."""


class Model(Protocol):
    """Something that answers rows."""

    async def answer(self, body: Body) -> Body:
        """Return the answer for rows. Raises ModelFailed."""


@dataclass(kw_only=True)
class Service:
    """One model behind an application, and whether it still takes part."""

    model: Model
    signature: Signature
    digest: str
    """What was released, `sha256:…`; its beginning is the model's version."""
    log: LogSettings | None = None
    output: BinaryIO | None = None
    """Where a log to standard output is written; by default there."""
    draining: bool = False
    """Whether the process is about to end, and so not ready."""
    model_memory_bytes: Callable[[], float] | None = None
    """Tells what a model holds that has a process of its own."""
    closing: bool = False
    """Whether each answer closes its connection, so that clients come back to somebody else."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @property
    def version(self) -> str:
        """The model's version."""
        return self.digest.removeprefix("sha256:")[:12]

    def __post_init__(self) -> None:
        """Register the metrics and start the prediction log."""
        self._outputs = [one["name"] for one in rows.described(self.signature)]
        for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
            self.registry.register(collector)
        of = {"registry": self.registry}
        self.requests = Counter(
            "ci_mlops_inference_requests",
            "Requests for predictions by HTTP status",
            ["model", "version", "code"],
            **of,  # type: ignore[arg-type]
        )
        self.seconds = Histogram(
            "ci_mlops_inference_duration_seconds",
            "Time from a request to its answer",
            ["model", "version"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.outside = Counter(
            "ci_mlops_inference_out_of_contract",
            "Values of an input that the data contract does not allow",
            ["model", "version", "input"],
            **of,  # type: ignore[arg-type]
        )
        for column in self.signature.ruled:  # from the beginning, so that the first is a rise
            self.outside.labels(self.signature.name, self.version, column.name)
        self.dropped = Counter(
            "ci_mlops_prediction_log_dropped",
            "Requests that the prediction log could not keep",
            registry=self.registry,
        )
        info = Gauge(
            "ci_mlops_model_info",
            "The model that answers",
            ["model", "version", "digest"],
            registry=self.registry,
        )
        info.labels(self.signature.name, self.version, self.digest).set(1)
        if self.model_memory_bytes is not None:
            Gauge(
                "ci_mlops_model_resident_memory_bytes",
                "Memory of the model's own process",
                registry=self.registry,
            ).set_function(self.model_memory_bytes)
        self.prediction_log = (
            PredictionLog(
                self.log,
                {"model": self.signature.name, "version": self.version},
                self.dropped.inc,
                output=self.output,
            )
            if self.log
            else None
        )

    async def infer(self, raw: bytes, *, logged: bool = True) -> tuple[int, dict[str, Any]]:
        """Return the status and the body that answer a request for predictions."""
        begun = time.perf_counter()
        code, answer = await self._inferred(raw, logged=logged)
        self.requests.labels(self.signature.name, self.version, str(code)).inc()
        self.seconds.labels(self.signature.name, self.version).observe(time.perf_counter() - begun)
        return code, answer

    async def _inferred(self, raw: bytes, *, logged: bool) -> tuple[int, dict[str, Any]]:
        try:
            request = json.loads(raw, parse_constant=_refuse)
            given = rows.values(self.signature, request)
            body = rows.encode(self.signature, given, max_rows=MAX_ROWS)
            wanted = rows.asked(request, self._outputs)
            self._hold(given, counted=logged)
        except WrongInput as fault:
            return 400, {"error": str(fault)}
        except (ValueError, RecursionError) as fault:
            return 400, {"error": f"the body is no JSON: {fault}"}
        try:
            found = rows.outputs(self.signature, *await self.model.answer(body))
        except (ModelFailed, ValueError) as fault:
            return 500, {"error": str(fault)}
        name = request.get("id")
        request_id = name if isinstance(name, str) and name else str(uuid.uuid4())
        if logged and self.prediction_log is not None:
            self.prediction_log.add(request_id, given, found)
        told = {"model_name": self.signature.name, "model_version": self.version}
        kept = [one for one in found if one["name"] in wanted]
        return 200, {**told, "id": request_id, "outputs": kept}

    def _hold(self, given: Mapping[str, list[Any]], *, counted: bool) -> None:
        """Hold values to the data contract: count those outside; raise WrongInput if it says so."""
        outside = rows.outside(self.signature, given)
        for name, found in outside.items() if counted else ():
            self.outside.labels(self.signature.name, self.version, name).inc(len(found))
        if outside and self.signature.out_of_contract == "refuse":
            raise rows.refusal(self.signature, outside)

    def metadata(self) -> dict[str, Any]:
        """Describe the model: what it takes and what it answers."""
        return {
            "name": self.signature.name,
            "versions": [self.version],
            "platform": "ci-mlops",
            "inputs": [
                {"name": column.name, "datatype": column.datatype, "shape": [-1]}
                for column in self.signature.columns
            ],
            "outputs": rows.described(self.signature),
        }


def application(service: Service) -> FastAPI:
    """Return the application that speaks for a service."""
    app = FastAPI(title=service.signature.name, docs_url=None, redoc_url=None, openapi_url=None)
    path = f"/v2/models/{service.signature.name}"

    app.add_middleware(_Closing, service=service)

    @app.exception_handler(404)
    async def unknown(request: Request, _: Exception) -> JSONResponse:
        text = f"{request.url.path} is not here; the model is at {path}"
        return JSONResponse({"error": text}, status_code=404)

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        return {"name": "ci-mlops", "version": __version__, "extensions": ["model_repository"]}

    @app.post("/v2/repository/index")
    async def index() -> list[dict[str, str]]:
        state = "UNAVAILABLE" if service.draining else "READY"
        return [{"name": service.signature.name, "version": service.version, "state": state}]

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> JSONResponse:
        return JSONResponse({"ready": not service.draining}, 503 if service.draining else 200)

    async def metadata() -> dict[str, Any]:
        return service.metadata()

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    for place in (path, f"{path}/versions/{service.version}"):
        app.get(place)(metadata)
        app.get(f"{place}/ready")(ready)
        # A plain route, and before the others: this is what is called all day.
        app.router.routes.insert(0, Route(f"{place}/infer", _infer(service), methods=["POST"]))
    return app


class _Closing:
    """Lets each answer close its connection while the service is to get no more requests."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and self.service.closing:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, sent)


def _infer(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def infer(request: Request) -> Response:
        raw = b""
        async for part in request.stream():
            raw += part
            if len(raw) > MAX_BODY_BYTES:
                service.requests.labels(service.signature.name, service.version, "413").inc()
                text = f"the body is larger than {MAX_BODY_BYTES} bytes; ask in parts"
                return JSONResponse({"error": text}, status_code=413)
        # Judged rows that a release replays are no predictions for anybody: monitors must not see
        # them, nor wait for their labels.
        code, answer = await service.infer(raw, logged=REPLAYED not in request.headers)
        return Response(json.dumps(answer), code, media_type="application/json")

    return infer


def _refuse(token: str) -> float:
    raise ValueError(f"{token} is no number of JSON")

"""Whether a server speaks Open Inference as promised: health, metadata, answers, refusals, end."""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ci_mlops.errors import ConfigError, EvidenceError
from ci_mlops.evidence import Check, Limit, parse_json
from ci_mlops.serving.client import FAULTS, Client, Load, Reply

CONNECTIONS = 8
LOAD_S = 1.0
"""How long requests go on before SIGTERM."""
END_S = 60.0
REFUSE = 'Answer 4xx with {"error": "one clear line"}: it is the caller who must act'
ENDED_WELL = frozenset((0, 128 + 15))
"""Exit codes of a server that ended by itself, or by passing the signal on."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A request of n rows and the outputs that were judged, by name, flat."""

    request: Mapping[str, Any]
    outputs: Mapping[str, Sequence[Any]]
    made_up: bool = False
    """Whether the rows come from the server's metadata alone, so that it may refuse them."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON stores it."""
        return {"request": self.request, "outputs": self.outputs}


def read(path: Path) -> Recorded:
    """Read recorded rows. Raises ConfigError with the place and the fault."""
    try:
        document = parse_json(path.read_bytes(), str(path))
        return Recorded(request=document["request"], outputs=document.get("outputs", {}))
    except OSError as fault:
        raise ConfigError(f"cannot be read: {fault.strerror}", place=str(path)) from fault
    except (EvidenceError, KeyError, TypeError, AttributeError) as fault:
        raise ConfigError(
            f"holds no recorded rows: {fault}",
            place=str(path),
            remedy='It needs {"request": ..., "outputs": ...}, as stage image leaves it',
        ) from fault


class Running(Protocol):
    """What runs the server, so that it can be told to end."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def wait(self, within_s: float) -> int | None:
        """Return the exit code; None when it still runs after so long."""


def examine(client: Client, *, model: str, recorded: Recorded, tolerance: float) -> list[Check]:
    """Ask a ready server everything but its end.

    The outputs of the recorded rows may differ by `tolerance`, relative where they are above 1.
    """
    try:
        checks = [_server(client), *_metadata(client, model)]
        checks.append(_infer(client, model, recorded))
        if recorded.outputs:
            checks.append(_equal(client, model, recorded, tolerance))
        if recorded.request["inputs"]:
            checks += _wrong(client, model, recorded.request)
    except FAULTS as fault:
        message = f"The server stopped answering: {type(fault).__name__} {fault}.".strip()
        checks = [
            Check(
                name="answers", outcome="failed", message=message, remedy="Look at the server's log"
            )
        ]
    return checks


def model_of(client: Client, wanted: str) -> str:
    """Return the model to ask: the one that is wanted, or the only one of a server's repository.

    Raises ConfigError where it cannot be told.
    """
    if wanted:
        return wanted
    try:
        listed = client.post("/v2/repository/index", b"{}").document
    except FAULTS as fault:
        raise ConfigError(f"does not answer: {fault}", place=client.url) from fault
    found = listed if isinstance(listed, list) else []
    names = [one["name"] for one in found if isinstance(one, dict) and "name" in one]
    if len(names) == 1:
        return str(names[0])
    raise ConfigError("does not say which model it serves", place=client.url, remedy="Give --model")


def _server(client: Client) -> Check:
    reply = client.get("/v2")
    told = reply.document
    sound = reply.status == 200 and isinstance(told, dict) and {"name", "version"} <= set(told)
    return _check(
        "server-metadata",
        sound,
        "GET /v2 names the server and its version.",
        f"GET /v2 answers {reply.status} without name and version.",
        "Answer with name, version and extensions",
    )


def _metadata(client: Client, model: str) -> Iterable[Check]:
    reply = client.get(f"/v2/models/{model}")
    told = reply.document if isinstance(reply.document, dict) else {}
    tensors = [*_list(told, "inputs"), *_list(told, "outputs")]
    sound = reply.status == 200 and told.get("name") == model and bool(_list(told, "inputs"))
    sound = sound and all(
        isinstance(one, dict) and {"name", "datatype", "shape"} <= set(one) for one in tensors
    )
    yield _check(
        "model-metadata",
        sound,
        f"GET /v2/models/{model} describes {len(tensors)} tensors.",
        f"GET /v2/models/{model} answers {reply.status} without the inputs of the model.",
        "Describe each input and output by name, datatype and shape",
    )
    for name, path in (("live", "/v2/health/live"), ("model-ready", f"/v2/models/{model}/ready")):
        status = client.get(path).status
        yield _check(
            name,
            status == 200,
            f"GET {path} answers 200.",
            f"GET {path} answers {status}.",
            "Answer 200 once the model can be asked",
        )


def _list(told: Mapping[str, Any], name: str) -> list[Any]:
    found = told.get(name)
    return found if isinstance(found, list) else []


def made_up(client: Client, model: str) -> Recorded:
    """Return a request for one row by the server's own metadata, where none was recorded."""
    try:
        told = client.get(f"/v2/models/{model}").document
    except FAULTS:
        told = None
    inputs = []
    for one in _list(told, "inputs") if isinstance(told, dict) else ():
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in one["shape"]]
        blank: Any = {"BYTES": "", "BOOL": False}.get(one["datatype"], 0)
        data = [blank] * math.prod(shape)
        inputs.append({**one, "shape": shape, "data": data})
    kept = ("name", "shape", "datatype", "data")
    request = {"inputs": [{key: one[key] for key in kept} for one in inputs]}
    return Recorded(request=request, outputs={}, made_up=True)


def _infer(client: Client, model: str, recorded: Recorded) -> Check:
    reply = client.infer(model, {**recorded.request, "id": "ci-mlops"})
    if recorded.made_up and 400 <= reply.status < 500:
        return Check(
            name="infer",
            outcome="inconclusive",
            message=f"A row of zeros and blanks is refused with {reply.status}: "
            f"{reply.error()[:300]}.",
            remedy="Give rows that the model knows with --rows",
        )
    told = reply.document if isinstance(reply.document, dict) else {}
    outputs = _list(told, "outputs")
    sound = reply.status == 200 and told.get("model_name") == model and bool(outputs)
    sound = sound and all(
        len(_flat(one.get("data"))) == math.prod(one.get("shape", ())) for one in outputs
    )
    said = reply.error() or "outputs that do not fit their shapes"
    return _check(
        "infer",
        sound,
        f"The model answers with {len(outputs)} outputs.",
        f"The model answers {reply.status}: {said}.",
        "Answer with model_name and outputs, each with name, datatype, shape and data",
    )


def _equal(client: Client, model: str, recorded: Recorded, tolerance: float) -> Check:
    reply = client.infer(model, recorded.request)
    told = reply.document if isinstance(reply.document, dict) else {}
    found = {one.get("name"): _flat(one.get("data")) for one in _list(told, "outputs")}
    rows, worst, differ = 0, 0.0, ""
    for name, expected in recorded.outputs.items():
        answers = found.get(name, [])
        rows = max(rows, len(expected))
        if len(answers) != len(expected):
            differ = differ or f"output {name} has {len(answers)} values, not {len(expected)}"
            continue
        for number, (one, other) in enumerate(zip(answers, expected, strict=True)):
            distance = _distance(one, other)
            worst = max(worst, distance)
            if not distance <= tolerance and not differ:
                differ = f"output {name} has {one!r} at {number}, where {other!r} was judged"
    same = "to the last bit" if worst == 0 else f"within {worst:.2g}"
    check = _check(
        "predictions-equal",
        not differ,
        f"The predictions of {rows} values are those that were judged, {same}.",
        f"The server predicts something else than was judged: {differ}.",
        "Lock the versions that the model was judged with, and include every file that it reads",
    )
    bounded = worst if math.isfinite(worst) else 1e308
    return check.model_copy(update={"observed": bounded, "limit": Limit(at_most=tolerance)})


def _distance(one: Any, other: Any) -> float:
    """How far two answers lie apart: relative to the larger, infinite for different labels."""
    if one == other and isinstance(one, bool) == isinstance(other, bool):
        return 0.0
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (one, other))
    if not numbers or not math.isfinite(one):
        return math.inf
    return float(abs(one - other) / max(1.0, abs(one), abs(other)))


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return []
    return [v for row in data for v in _flat(row)] if data and isinstance(data[0], list) else data


def first_row(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request for the first row alone, of one with a tensor for each column."""
    inputs = [
        {**one, "shape": [1, *one["shape"][1:]], "data": one["data"][: math.prod(one["shape"][1:])]}
        for one in request["inputs"]
    ]
    return {"inputs": inputs}


def _wrong(client: Client, model: str, request: Mapping[str, Any]) -> Iterable[Check]:
    """Send what is wrong in ways that any server must see, and demand 4xx with a clear line."""
    path = f"/v2/models/{model}/infer"
    inputs = list(request["inputs"])
    first = inputs[0]
    texts = first["datatype"] == "BYTES"
    odd: Any = {"no": "value"} if texts else "not a number"
    bodies: dict[str, tuple[str, Any]] = {
        "not JSON": (path, None),
        "no inputs": (path, {"inputs": []}),
        "an unknown model": (f"/v2/models/{model}-of-nobody/infer", request),
        "too few values": (path, {"inputs": [{**first, "data": []}, *inputs[1:]]}),
        "a wrong type": (
            path,
            {"inputs": [{**first, "data": [odd] * len(first["data"])}, *inputs[1:]]},
        ),
    }
    if len(inputs) > 1:
        bodies["a missing column"] = (path, {"inputs": inputs[1:]})
    before = client.infer(model, request).status
    for name, (where, document) in bodies.items():
        body = b"{" if document is None else json.dumps(document).encode()
        client.close()  # what one wrong request does to its connection is not the next one's
        try:
            yield _refused(name, client.post(where, body))
        except FAULTS as fault:
            yield _check(
                "wrong-input",
                False,
                "",
                f"A request with {name} gets no answer: {type(fault).__name__} {fault}.",
                REFUSE,
            ).model_copy(update={"slice": name})
    client.close()
    reply = client.infer(model, request)
    yield _check(
        "answers-after-wrong-input",
        reply.status == before,
        "After wrong input the server answers as before.",
        f"After wrong input the server answers {reply.status}, where it answered {before}.",
        "A request must leave nothing behind",
    )


def _refused(name: str, reply: Reply) -> Check:
    said = reply.error() or (json.dumps(reply.document) if reply.document else "")
    clear = bool(said) and "Traceback" not in said
    sound = 400 <= reply.status < 500 and clear
    check = _check(
        "wrong-input",
        sound,
        f"A request with {name} is refused with {reply.status}: {said[:300]}",
        f"A request with {name} is answered with {reply.status}"
        + ("" if clear else ", and no error that explains it")
        + ".",
        REFUSE,
    )
    return check.model_copy(update={"slice": name})


def end_under_load(
    running: Running, client: Client, *, model: str, request: Mapping[str, Any]
) -> Check:
    """Send SIGTERM while requests go on: each that was sent must be answered.

    A connection that the server ends between two requests is not a failed request, and neither is
    one that it no longer takes.
    """
    body = json.dumps(request).encode()
    load = Load(url=client.url, path=f"/v2/models/{model}/infer", body=body)
    load.start(CONNECTIONS)
    time.sleep(LOAD_S)
    load.ending()
    running.terminate()
    started = time.monotonic()
    code = running.wait(END_S)
    took = time.monotonic() - started
    load.stop()
    if load.failures:
        fault = f"{len(load.failures)} of {load.answered + len(load.failures)} requests failed"
        fault += f" ({load.failures[0]})"
    elif code is None:
        fault = f"the server still ran after {END_S:g} s"
    else:
        fault = f"the server ended with exit code {code}"
    check = _check(
        "sigterm-under-load",
        not load.failures and code in ENDED_WELL and load.answered > 0,
        f"Told to end under load, it answered all {load.answered} requests and ended "
        f"after {took:.1f} s.",
        f"Told to end under load: {fault}.",
        "On SIGTERM say that it is not ready, answer what was sent, then end",
    )
    limit = Limit(at_most=0)
    return check.model_copy(update={"observed": float(len(load.failures)), "limit": limit})


def _check(name: str, sound: bool, well: str, ill: str, remedy: str) -> Check:  # noqa: FBT001 - it chooses the two
    return Check(
        name=name,
        outcome="passed" if sound else "failed",
        message=(well if sound else ill)[:2000],
        remedy="" if sound else remedy,
    )

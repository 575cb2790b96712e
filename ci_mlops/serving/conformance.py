"""Whether a server speaks Open Inference as promised: health, metadata, answers, refusals, end."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ci_mlops.errors import ConfigError
from ci_mlops.evidence import Check, Limit
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.client import (
    FAULTS,
    Client,
    Load,
    Reply,
    Unanswered,
    flat,
    infer_path,
    request_body,
)

CONNECTIONS = 8
LOAD_S = 0.5
"""How long requests go on before SIGTERM."""
END_S = 60.0
ENDED_WELL = frozenset((0, 128 + 15))
"""Exit codes of a server that ended by itself, or by passing the signal on."""


class Running(Protocol):
    """What runs the server, so that it can be told to end."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def wait(self, within_s: float) -> int | None:
        """Return the exit code; None when it still runs after so long."""


def ready(
    seconds: float | None, within_s: float, *, how: str = "", slice_: str = "", printed: str = ""
) -> Check:
    """Whether a server was ready in time: after so many seconds, or not at all."""
    well, ill = f"The server{how} was ready after", f"The server{how} was not ready within"
    in_time = seconds is not None
    said = f" It printed: {printed}" if printed else ""
    return Check(
        name="ready",
        outcome="passed" if in_time else "failed",
        slice=slice_,
        observed=seconds,
        limit=Limit(at_most=within_s),
        unit="s",
        message=f"{well} {seconds:.1f} s." if in_time else f"{ill} {within_s:g} s.{said}"[:2000],
        remedy="" if in_time else "Mend what it prints, load faster, or raise `ready_within_s`",
    )


def examine(client: Client, *, model: str, recorded: Recorded, tolerance: float) -> list[Check]:
    """Ask a ready server everything but its end.

    Numbers may lie `tolerance` from the recorded ones, relative where they are above 1.
    """
    checks: list[Check] = []
    try:
        checks += [_server(client), *_metadata(client, model)]
        checks += [_answers(client, model, recorded)]
        if recorded.outputs:
            checks.append(predictions(client, model=model, recorded=recorded, tolerance=tolerance))
        if recorded.inputs:
            checks.append(_wrong_input(client, model, recorded))
    except FAULTS as fault:
        message = f"The server stopped answering: {type(fault).__name__} {fault}.".strip()
        remedy = "Look at what it printed"
        return [
            *checks,
            Check(name="answers", outcome="failed", message=message[:2000], remedy=remedy),
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


def made_up(client: Client, model: str) -> Recorded:
    """Return one row of zeros and blanks by the server's own metadata, where none was recorded."""
    try:
        told = client.get(f"/v2/models/{model}").said()
    except FAULTS:
        told = {}
    inputs = []
    for one in _tensors(told, "inputs"):
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in one["shape"]]
        blank: Any = {"BYTES": "", "BOOL": False}.get(one["datatype"], 0)
        kept = {key: one[key] for key in ("name", "datatype")}
        inputs.append({**kept, "shape": shape, "data": [blank] * math.prod(shape)})
    return Recorded(inputs=tuple(inputs), outputs={})


# --- what it says -------------------------------------------------------------------------------


def _server(client: Client) -> Check:
    reply = client.get("/v2")
    return _check(
        "server-metadata",
        reply.status == 200 and {"name", "version"} <= set(reply.said()),
        "GET /v2 names the server and its version.",
        f"GET /v2 answers {reply.status} without name and version.",
        "Answer with name, version and extensions",
    )


def _metadata(client: Client, model: str) -> Iterator[Check]:
    reply = client.get(f"/v2/models/{model}")
    told = reply.said()
    inputs, outputs = _tensors(told, "inputs"), _tensors(told, "outputs")
    yield _check(
        "model-metadata",
        reply.status == 200 and told.get("name") == model and bool(inputs),
        f"GET /v2/models/{model} describes {len(inputs)} inputs and {len(outputs)} outputs.",
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


def _tensors(told: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the tensors that metadata describes; none where one of them lacks something."""
    found = told.get(name)
    wanted = {"name", "datatype", "shape"}
    whole = isinstance(found, list) and all(
        isinstance(one, dict) and wanted <= set(one) and isinstance(one["shape"], list)
        for one in found
    )
    return list(found) if whole and isinstance(found, list) else []


def signature(client: Client, *, model: str, recorded: Recorded, slice_: str = "") -> Check:
    """Whether metadata describes the model as it was judged: its inputs, its outputs."""
    path = f"/v2/models/{model}"
    reply = client.get(path)
    told = reply.said()
    inputs, outputs = _tensors(told, "inputs"), _tensors(told, "outputs")
    described = {one["name"]: one for one in inputs}
    wrong = [
        f"input {one['name']!r} {fault}"
        for one in recorded.inputs
        if described and (fault := _otherwise(described.get(one["name"]), one))
    ]
    asked = {one["name"] for one in recorded.inputs}
    wrong += [f"input {name!r} was not judged" for name in described if name not in asked]
    answered = {one["name"] for one in outputs}
    wrong += [f"no output {name!r}" for name in recorded.outputs if answered - {name} == answered]
    if reply.status != 200 or told.get("name") != model:
        wrong = [f"{reply.status} without the model's name"]
    elif not described or not outputs:
        return Check(
            name="signature",
            outcome="skipped",
            slice=slice_,
            message=f"GET {path} does not describe inputs and outputs, so that they cannot be "
            "compared.",
        )
    check = _check(
        "signature",
        not wrong,
        f"GET {path} describes the {len(described)} inputs that were judged.",
        f"GET {path} describes another model than was judged: {'; '.join(wrong)}.",
        "Serve the model with the columns and outputs that it was judged with",
    )
    return check.model_copy(update={"slice": slice_})


def _otherwise(described: Mapping[str, Any] | None, judged: Mapping[str, Any]) -> str:
    """Return how an input differs from what was judged; empty where it does not."""
    if described is None:
        return "is not there"
    if described["datatype"] != judged["datatype"]:
        return f"is {described['datatype']}, judged was {judged['datatype']}"
    pairs = list(zip(described["shape"], judged["shape"], strict=False))
    fits = len(described["shape"]) == len(judged["shape"])
    # The first dimension is the number of rows, which some servers write as a largest batch.
    fits = fits and all(one in {-1, other} for one, other in pairs[1:])
    return "" if fits else f"has shape {described['shape']}, judged was {judged['shape']}"


# --- what it answers ----------------------------------------------------------------------------


def _answers(client: Client, model: str, recorded: Recorded) -> Check:
    reply = client.infer(model, recorded.inputs)
    if not recorded.outputs and 400 <= reply.status < 500:
        return Check(
            name="answers",
            outcome="inconclusive",
            message=f"A row of zeros and blanks is refused with {reply.status}: "
            f"{reply.error()[:300]}.",
            remedy="Give rows that the model knows with --rows",
        )
    told = reply.said()
    outputs = told.get("outputs")
    sound = isinstance(outputs, list) and bool(outputs) and all(map(_fits_its_shape, outputs))
    return _check(
        "answers",
        reply.status == 200 and told.get("model_name") == model and sound,
        f"The model answers with {len(outputs) if isinstance(outputs, list) else 0} outputs.",
        f"The model answers {reply.status}: "
        f"{reply.error()[:300] or 'no model_name, or outputs that do not fit their shapes'}.",
        "Answer with model_name and outputs, each with name, datatype, shape and data",
    )


def _fits_its_shape(output: Any) -> bool:
    if not isinstance(output, dict) or not isinstance(output.get("data"), list):
        return False
    shape = output.get("shape")
    sizes = isinstance(shape, list) and all(isinstance(size, int) for size in shape)
    return sizes and isinstance(shape, list) and len(flat(output["data"])) == math.prod(shape)


def predictions(
    client: Client, *, model: str, recorded: Recorded, tolerance: float, slice_: str = ""
) -> Check:
    """Whether the server answers the recorded rows as they were judged."""
    common: dict[str, Any] = {"name": "predictions", "slice": slice_, "rows": recorded.rows}
    remedy = "Lock the versions that the model was judged with, and keep every file that it reads"
    try:
        found = apart(client.predictions(model, recorded.inputs), recorded, tolerance)
    except Unanswered as fault:
        message = f"The recorded rows got no right answer: {fault}."
        return Check(outcome="failed", message=message[:2000], remedy=remedy, **common)
    common |= {"observed": float(len(found.rows)), "limit": Limit(at_most=0), "unit": "rows"}
    if found.rows:
        message = (
            f"{len(found.rows)} of {recorded.rows} recorded rows got another answer than was "
            f"judged: {found.first}."
        )
        return Check(outcome="failed", message=message[:2000], remedy=remedy, **common)
    same = "to the last bit" if found.worst == 0 else f"within {found.worst:.2g}"
    message = f"All {recorded.rows} recorded rows got the answer that was judged, {same}."
    return Check(outcome="passed", message=message, **common)


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Where answers differ from what was judged."""

    rows: frozenset[int]
    first: str
    """The first of the differences, in words; empty where there is none."""
    worst: float
    """The largest distance within the tolerance."""


def apart(found: Mapping[str, Sequence[Any]], recorded: Recorded, tolerance: float) -> Apart:
    """Return where answers differ from what was judged. Raises Unanswered for other outputs."""
    rows, first, worst = set[int](), "", 0.0
    for name, expected in recorded.outputs.items():
        if name not in found:
            raise Unanswered(f"no output {name!r}, but {', '.join(found) or 'none'}")
        if len(found[name]) != len(expected):
            raise Unanswered(f"{name} has {len(found[name])} values instead of {len(expected)}")
        width = len(expected) // recorded.rows
        for n, (one, other) in enumerate(zip(found[name], expected, strict=True)):
            distance = _distance(one, other)
            if not distance <= tolerance:
                rows.add(n // width)
                first = first or f"{name} of row {n // width} is {one!r}, judged was {other!r}"
            else:
                worst = max(worst, distance)
    return Apart(rows=frozenset(rows), first=first, worst=worst)


def _distance(one: Any, other: Any) -> float:
    """How far two answers lie apart: relative to the larger, infinite for different labels."""
    if one == other and isinstance(one, bool) == isinstance(other, bool):
        return 0.0
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (one, other))
    whole = isinstance(one, int) and isinstance(other, int)
    if not numbers or whole or not math.isfinite(one):
        return math.inf
    return float(abs(one - other) / max(1.0, abs(one), abs(other)))


# --- what it refuses ----------------------------------------------------------------------------


def _wrong_input(client: Client, model: str, recorded: Recorded) -> Check:
    """Whether what is no right request gets a 4xx and a reason, and the next one its answer."""
    before = client.infer(model, recorded.inputs).status
    wrong = [
        f"{what}: {fault}"
        for what, path, body in _wrong_requests(model, recorded)
        if (fault := _not_refused(client, path, body))
    ]
    client.close()
    after = client.infer(model, recorded.inputs).status
    if after != before:
        wrong.append(f"the right request again: {after} after {before}")
    check = _check(
        "wrong-input",
        not wrong,
        "Wrong requests are refused, each with its reason.",
        f"Wrong requests are not refused with 4xx and a reason: {'; '.join(wrong)}.",
        'Answer 4xx with {"error": "one clear line"}: it is the caller who must act',
    )
    found = {"observed": float(len(wrong)), "limit": Limit(at_most=0), "unit": "kinds"}
    return check.model_copy(update=found)


def _not_refused(client: Client, path: str, body: bytes) -> str:
    """Return what is wrong with the answer to a wrong request; empty where it is refused."""
    client.close()  # what one wrong request does to its connection is not the next one's
    try:
        reply = client.post(path, body)
    except FAULTS as fault:
        return f"no answer ({type(fault).__name__})"
    if not 400 <= reply.status < 500:
        return str(reply.status)
    said = _reason(reply)
    return "" if said and "Traceback" not in said else f"{reply.status} without a reason"


def _reason(reply: Reply) -> str:
    """Return why a request was refused, in the protocol's field or in a framework's own."""
    return reply.error() or (json.dumps(reply.document) if reply.document else "")


def _wrong_requests(model: str, recorded: Recorded) -> Iterator[tuple[str, str, bytes]]:
    path = infer_path(model)
    inputs = [dict(one) for one in recorded.inputs]
    first, rest = inputs[0], inputs[1:]
    yield "no JSON", path, b"{"
    yield "no inputs", path, request_body([])
    yield "an unknown model", infer_path(f"{model}-of-nobody"), request_body(inputs)
    yield "too few values", path, request_body([{**first, "data": []}, *rest])
    n = next((n for n, one in enumerate(inputs) if one["datatype"] != "BYTES"), 0)
    odd: Any = "a text" if inputs[n]["datatype"] != "BYTES" else {"no": "value"}
    typed = {**inputs[n], "data": [odd] * len(inputs[n]["data"])}
    yield "a wrong type", path, request_body([*inputs[:n], typed, *inputs[n + 1 :]])
    if rest:
        yield "a missing input", path, request_body(rest)


# --- its end ------------------------------------------------------------------------------------


def end_under_load(
    running: Running, client: Client, *, model: str, inputs: Sequence[Mapping[str, Any]]
) -> Check:
    """Send SIGTERM while requests go on: each that was sent must be answered.

    A connection that the server ends between two requests is not a failed request, and neither is
    one that it no longer takes.
    """
    load = Load(url=client.url, path=infer_path(model), body=request_body(inputs))
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
    elif code not in ENDED_WELL:
        fault = f"the server ended with exit code {code}"
    else:
        fault = "" if load.answered else "the server had answered nothing"
    check = _check(
        "ends-gracefully",
        not fault,
        f"Told to end under load, it answered all {load.answered} requests and ended "
        f"after {took:.1f} s.",
        f"Told to end under load: {fault}.",
        "On SIGTERM say that it is not ready, answer what was sent, then end",
    )
    found = {"observed": float(len(load.failures)), "limit": Limit(at_most=0), "unit": "requests"}
    return check.model_copy(update=found)


def _check(name: str, sound: bool, well: str, ill: str, remedy: str) -> Check:  # noqa: FBT001 - it chooses the two
    return Check(
        name=name,
        outcome="passed" if sound else "failed",
        message=(well if sound else ill)[:2000],
        remedy="" if sound else remedy,
    )

"""A client of any server of the Open Inference Protocol v2, and what is looked at to trust one."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from ci_mlops.evidence import Check, Limit
from ci_mlops.serving.bundle import Recorded
from ci_mlops.serving.signature import Signature

TIMEOUT_S = 10.0
POLL_S = 0.05


class Unanswered(Exception):  # noqa: N818 - a server's, and a check's business
    """A server that cannot be reached, or that answers something that is no answer."""


@dataclass(kw_only=True)
class Client:
    """Asks one server about one model; `url` is where `/v2` stands."""

    url: str
    model: str
    timeout_s: float = TIMEOUT_S
    _session: requests.Session = field(default_factory=requests.Session)

    def is_ready(self) -> bool:
        """Whether the model says that it is ready."""
        try:
            found = self._session.get(
                f"{self.url}/v2/models/{self.model}/ready", timeout=self.timeout_s
            )
        except requests.RequestException:
            return False
        return found.status_code == 200

    def wait_until_ready(self, seconds: float) -> float | None:
        """Return after how many seconds it was ready; None where it was not in time."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if self.is_ready():
                return time.monotonic() - begun
            time.sleep(POLL_S)
        return None

    def metadata(self) -> Mapping[str, Any]:
        """Return what the model says of itself. Raises Unanswered."""
        code, found = self._asked("GET", "")
        if code != 200:
            raise Unanswered(f"metadata: {code}, {found.get('error')}")
        return found

    def infer(self, inputs: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        """Return the outputs for rows, by name. Raises Unanswered."""
        code, found = self.post({"inputs": list(inputs)})
        if code != 200:
            raise Unanswered(f"{code}, {found.get('error') or 'without a reason'}")
        outputs = found.get("outputs")
        if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
            raise Unanswered('an answer without "outputs"')
        return {str(one.get("name")): one for one in outputs}

    def post(self, request: Any) -> tuple[int, Mapping[str, Any]]:
        """Send any request for predictions; return status and body. Raises Unanswered."""
        return self._asked("POST", "/infer", json=request)

    def post_raw(self, body: bytes) -> tuple[int, Mapping[str, Any]]:
        """Send any bytes where a request belongs; return status and body. Raises Unanswered."""
        return self._asked("POST", "/infer", data=body)

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def _asked(self, method: str, path: str, **more: Any) -> tuple[int, Mapping[str, Any]]:
        place = f"{self.url}/v2/models/{self.model}{path}"
        try:
            found = self._session.request(method, place, timeout=self.timeout_s, **more)
        except requests.RequestException as fault:
            raise Unanswered(f"no answer: {type(fault).__name__}") from fault
        try:
            body = found.json()
        except ValueError:
            body = None
        return found.status_code, body if isinstance(body, dict) else {}


# --- checks -------------------------------------------------------------------------------------


def ready(client: Client, within_s: float, *, slice_: str = "", since: float = 0.0) -> Check:
    """Whether the model is ready in time; `since` seconds have passed already."""
    waited = client.wait_until_ready(max(POLL_S, within_s - since))
    seconds = None if waited is None else since + waited
    limit = Limit(at_most=within_s)
    if seconds is None:
        return Check(
            name="ready",
            outcome="failed",
            slice=slice_,
            limit=limit,
            unit="s",
            message=f"The server was not ready within {within_s:g} s.",
            remedy="Look at what it printed, or raise `ready_within_s`",
        )
    message = f"The server was ready after {seconds:.1f} s."
    return Check(
        name="ready",
        outcome="passed",
        slice=slice_,
        observed=seconds,
        limit=limit,
        unit="s",
        message=message,
    )


def same_predictions(
    client: Client, recorded: Recorded, tolerance: float, *, slice_: str = ""
) -> Check:
    """Whether the server answers the recorded rows as they were judged."""
    rows = len(recorded.predicted)
    common: dict[str, Any] = {"name": "predictions", "slice": slice_, "rows": rows}
    try:
        found = client.infer(recorded.inputs)
        differing = sorted({*_scores_differ(found, recorded, tolerance), *_differ(found, recorded)})
    except (Unanswered, KeyError, TypeError, ValueError) as fault:
        message = f"The recorded rows got no right answer: {fault}."
        return Check(outcome="failed", message=message, **common)
    common |= {"observed": float(len(differing)), "limit": Limit(at_most=0), "unit": "rows"}
    if differing:
        return Check(
            outcome="failed",
            message=f"{len(differing)} of {rows} recorded rows got another answer than was judged.",
            remedy="Find what differs between the environment that was judged and this one",
            **common,
        )
    message = f"All {rows} recorded rows got the answer that was judged."
    return Check(outcome="passed", message=message, **common)


def _scores_differ(
    found: Mapping[str, Mapping[str, Any]], recorded: Recorded, tolerance: float
) -> Iterator[int]:
    if recorded.probabilities is None:
        return
    answered = [float(one) for one in found["probabilities"]["data"]]
    width = len(recorded.probabilities[0])
    expected = [one for row in recorded.probabilities for one in row]
    if len(answered) != len(expected):
        raise ValueError(f"{len(answered)} probabilities instead of {len(expected)}")
    for n, (one, other) in enumerate(zip(answered, expected, strict=True)):
        if not math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance):
            yield n // width


def _differ(found: Mapping[str, Mapping[str, Any]], recorded: Recorded) -> Iterator[int]:
    answered = found["predicted"]["data"]
    if len(answered) != len(recorded.predicted):
        raise ValueError(f"{len(answered)} answers instead of {len(recorded.predicted)}")
    for n, (one, other) in enumerate(zip(answered, recorded.predicted, strict=True)):
        if isinstance(other, float) and isinstance(one, int | float):
            if not math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9):
                yield n
        elif one != other:
            yield n


def refuses_wrong_input(client: Client, signature: Signature, recorded: Recorded) -> Check:
    """Whether what is no right request gets a 4xx and a reason, and the next one an answer."""
    wrong: list[str] = []
    for what, body in _wrong_requests(signature, recorded):
        try:
            code, told = client.post_raw(body) if isinstance(body, bytes) else client.post(body)
        except Unanswered as fault:
            wrong.append(f"{what}: {fault}")
            continue
        if not 400 <= code < 500 or not told.get("error"):
            wrong.append(f"{what}: {code}{'' if told.get('error') else ' without a reason'}")
    try:
        client.infer(recorded.inputs)
    except Unanswered as fault:
        wrong.append(f"a right request afterwards: {fault}")
    common: dict[str, Any] = {"name": "wrong-input", "observed": float(len(wrong)), "unit": "kinds"}
    common["limit"] = Limit(at_most=0)
    if wrong:
        return Check(
            outcome="failed",
            message=f"Wrong requests were not refused with a reason: {'; '.join(wrong)}."[:2000],
            remedy="Answer 4xx with an `error` that names the input",
            **common,
        )
    return Check(
        outcome="passed", message="Wrong requests were refused, each with its reason.", **common
    )


def _wrong_requests(signature: Signature, recorded: Recorded) -> Iterator[tuple[str, Any]]:
    inputs = [dict(one) for one in recorded.inputs]
    first = inputs[0]
    rows = len(recorded.predicted)
    yield "no JSON", b"{"
    yield "a number that is none", b'{"inputs": [{"name": "x", "data": [NaN]}]}'
    yield "no inputs", {"inputs": []}
    yield "an unknown input", {"inputs": [*inputs, {**first, "name": "no-such-input"}]}
    yield "a missing input", {"inputs": inputs[1:]}
    yield "a shape that is not its own", {"inputs": [{**first, "shape": [rows + 1]}, *inputs[1:]]}
    numbers = [n for n, one in enumerate(signature.columns) if one.datatype != "BYTES"]
    if numbers:
        texts = {**inputs[numbers[0]], "data": ["a text"] * rows}
        yield (
            "a text for a number",
            {"inputs": [texts if n == numbers[0] else one for n, one in enumerate(inputs)]},
        )

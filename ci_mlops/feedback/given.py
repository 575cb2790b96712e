"""What was handed in as a correction, from flags, JSON or an issue form, as one value."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ci_mlops.errors import ConfigError, EvidenceError
from ci_mlops.evidence import parse_json
from ci_mlops.feedback import form
from ci_mlops.values import Value

MAX_BYTES = 1024 * 1024
Plain = str | int | float | bool | None


class Given(Value):
    """A correction as somebody told it; nothing of it has been held against the model yet."""

    features: Mapping[str, Plain] = {}
    """What the model was given, by column; null and an empty text are a missing value."""
    expected: str | int | float | bool = ""
    """The right answer."""
    tolerance: Annotated[float, Field(ge=0)] | None = None
    issue: Annotated[int, Field(ge=1, lt=10**9)] | None = None
    reason: str = ""
    prediction: str = ""
    """The id of the prediction, where a log of predictions holds what the model was given."""
    row: Annotated[int, Field(ge=0)] | None = None
    """Which of several rows of that request."""

    def texts(self) -> dict[str, str]:
        """Return the features as a file of corrections has them."""
        return {name: as_text(value) for name, value in self.features.items()}


def read(data: bytes, place: str) -> Given:
    """Read a JSON object, or the body of an issue made by the form. Raises ConfigError."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES} bytes", place=place)
    if data.lstrip()[:1] != b"{":
        return from_form(_decoded(data, place), place)
    try:
        return validated(parse_json(data, place), place)
    except EvidenceError as fault:
        raise ConfigError(fault.fault, place=place) from fault


def validated(document: Any, place: str) -> Given:
    """Return a plain document as a correction. Raises ConfigError."""
    try:
        return Given.model_validate(document)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ConfigError(f"{where}: {first['msg']}", place=place) from fault


def from_form(body: str, place: str) -> Given:
    """Read the body of an issue that was made by the form. Raises ConfigError."""
    told = form.parse(body, place)
    return Given(
        features=told.features,
        expected=told.expected,
        tolerance=told.tolerance,
        reason=told.reason,
        prediction=told.prediction,
    )


def features(pairs: Sequence[str]) -> dict[str, str]:
    """Return `name=value` words as features. Raises ConfigError."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise ConfigError(
                f"{pair!r} is no NAME=VALUE",
                place="--features",
                remedy="Write income=5000; `debt=` is a missing value",
            )
        if name.strip() in found:
            raise ConfigError(f"names {name.strip()!r} twice", place="--features")
        found[name.strip()] = value.strip()
    return found


def as_text(value: Plain) -> str:
    """Return a plain value as a file of corrections has it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value)


def _decoded(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise ConfigError("is neither JSON nor text in UTF-8", place=place) from fault

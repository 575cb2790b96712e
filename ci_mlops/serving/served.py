"""What an image serves: model, signature, limits and log, as its `serving.json` says them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ci_mlops.errors import ConfigError
from ci_mlops.values import Many, Share, Value

Datatype = Literal["BOOL", "INT64", "UINT64", "FP64", "BYTES"]
Label = str | int | float | bool


class Column(Value):
    """One input of the model, as the recorded data has it."""

    name: Annotated[str, Field(min_length=1)]
    datatype: Datatype
    """The Open Inference datatype that carries it."""
    nullable: bool = False
    """Whether the recorded data misses some of its values; null stands for one."""
    texts: bool = False
    """Whether the recorded values are texts alone."""
    wire: Mapping[str, Any]
    """How the model's host takes it: the description that `ci_mlops.model.wire` makes."""


class Limits(Value):
    """What one request may hold; more is refused with 413."""

    body_bytes: Annotated[int, Field(ge=1)] = 8 * 1024 * 1024
    """Bytes of a request's body."""
    rows: Annotated[int, Field(ge=1)] = 10_000
    """Rows of a request."""


class LogSettings(Value):
    """The prediction log: one JSON line for each answered request."""

    path: str = ""
    """A file, `-` for standard output, or empty for none."""
    sample: Share = 1
    """The share of requests that is written."""
    redact: Many[str] = ()
    """Columns whose values are left out."""
    max_bytes: Annotated[int, Field(ge=1024)] = 100 * 1024 * 1024
    """Size at which a file becomes `<path>.1`, in place of the one before."""


class Served(Value):
    """One model with everything that the server needs to know about it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    digest: str
    """SHA-256 of the model."""
    path: Annotated[str, Field(min_length=1)]
    """The model's file or folder, relative to the working directory."""
    loader: str | None = None
    task: Literal["binary", "multiclass", "regression"]
    scores: bool = False
    """Whether its answers are probabilities of the classes."""
    classes: Many[Label] = ()
    """The classes in the order of the answer; empty for regression."""
    positive: Label | None = None
    """Binary tasks: the class that is predicted from `threshold` on."""
    threshold: Share = 0.5
    columns: Annotated[Many[Column], Field(min_length=1)]
    """The inputs in the order in which the model takes them."""
    limits: Limits = Limits()
    log: LogSettings = LogSettings()
    drain_s: Annotated[float, Field(ge=0, le=600)] = 3
    """How long after SIGTERM requests are still taken, while readiness is already false."""

    def label_datatype(self) -> Datatype:
        """The datatype of a prediction."""
        if not self.classes:
            return "FP64"
        kinds = {type(one) for one in self.classes}
        named: dict[type, Datatype] = {bool: "BOOL", int: "INT64", float: "FP64"}
        return named.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"


def read(path: Path) -> Served:
    """Read a `serving.json`. Raises ConfigError with the field and the fault."""
    try:
        return Served.model_validate_json(path.read_bytes())
    except OSError as fault:
        raise ConfigError(f"cannot be read: {fault.strerror}", place=str(path)) from fault
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {first['msg']}", place=str(path)) from fault

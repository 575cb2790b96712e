"""Frozen, strict, typed values: what settings and evidence are made of."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict


class Value(BaseModel):
    """A frozen value that knows all its fields and refuses NaN and infinities."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        defer_build=True,  # a verb pays only for the values that it reads
    )


T = TypeVar("T")

Many = Annotated[tuple[T, ...], Strict(False)]
"""A tuple that a YAML or JSON list may fill; its items stay strict."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of a whole, 0 to 1."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

EnvironmentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
"""An environment, such as `staging` or `production`."""

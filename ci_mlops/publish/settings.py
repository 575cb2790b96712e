"""The `publish` section of mlops.yml: and what mlops.yml says about judging evidence."""

from dataclasses import dataclass
from typing import Literal

from ci_mlops.values import Value
from ci_mlops.verdict import Gate

Via = Literal["github", "cml"]


class PublishSettings(Value):
    """How the report is shown to people."""

    via: Via = "github"
    """Who posts the comment: ci-mlops itself, or the `cml` command of Iterative's CML."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a mlops.yml says about judging."""

    file: str
    """Its path in the repository."""
    project: str
    gate: Gate
    stages: tuple[str, ...]

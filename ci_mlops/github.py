"""The one reader of GitHub's environment: what a workflow run tells about itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

PULL_REQUEST_EVENTS = frozenset({"pull_request", "pull_request_target", "merge_group"})


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """The workflow run that we are part of, if any."""

    inside: bool
    """Whether this is a GitHub Actions runner at all."""
    event: str = ""
    """The event that started it, such as `pull_request`."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the variables that the runner sets (docs: "Variables reference")."""
        return cls(
            inside=environ.get("GITHUB_ACTIONS") == "true",
            event=environ.get("GITHUB_EVENT_NAME", ""),
        )

    def tests_a_merge(self) -> bool:
        """Whether HEAD is the merge commit that GitHub made, whose first parent is the base."""
        return self.inside and self.event in PULL_REQUEST_EVENTS


def escape_command(text: str, *, is_property: bool = False) -> str:
    """Escape a text for a workflow command such as `::error file=...::`.

    Source: actions/toolkit, packages/core, `escapeData` and `escapeProperty`.
    """
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if is_property else text

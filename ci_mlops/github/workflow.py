"""The one reader of GitHub's environment: what a workflow run tells about itself."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ci_mlops.errors import ConfigError

PULL_REQUEST_EVENTS = frozenset({"pull_request", "pull_request_target", "merge_group"})
API_URL = "https://api.github.com"
SERVER_URL = "https://github.com"
MAX_SUMMARY_BYTES = 1024 * 1024
"""Of a step's summary. Source: GitHub docs, "Workflow commands", adding a job summary."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """The pull request that an event is about, as the runner wrote it down; none is number 0."""

    number: int = 0
    head_sha: str = ""
    head_repository: str = ""


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """The workflow run that we are part of, if any."""

    inside: bool
    """Whether this is a GitHub Actions runner at all."""
    event: str = ""
    """The event that started it, such as `pull_request`."""
    repository: str = ""
    """`owner/name`."""
    sha: str = ""
    ref: str = ""
    """The branch, tag or merge of a pull request that it runs on, `refs/heads/main`."""
    actor: str = ""
    """Who started it."""
    run_id: int = 0
    run_attempt: int = 1
    api_url: str = API_URL
    server_url: str = SERVER_URL
    token: str = field(default="", repr=False)
    event_file: Path | None = None
    output_file: Path | None = None
    summary_file: Path | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the variables that the runner sets (docs: "Variables reference")."""
        return cls(
            inside=environ.get("GITHUB_ACTIONS") == "true",
            event=environ.get("GITHUB_EVENT_NAME", ""),
            repository=environ.get("GITHUB_REPOSITORY", ""),
            sha=environ.get("GITHUB_SHA", ""),
            ref=environ.get("GITHUB_REF", ""),
            actor=environ.get("GITHUB_ACTOR", ""),
            run_id=_number(environ.get("GITHUB_RUN_ID", ""), 0),
            run_attempt=_number(environ.get("GITHUB_RUN_ATTEMPT", ""), 1),
            api_url=environ.get("GITHUB_API_URL") or API_URL,
            server_url=environ.get("GITHUB_SERVER_URL") or SERVER_URL,
            token=environ.get("GITHUB_TOKEN", ""),
            event_file=_path(environ, "GITHUB_EVENT_PATH"),
            output_file=_path(environ, "GITHUB_OUTPUT"),
            summary_file=_path(environ, "GITHUB_STEP_SUMMARY"),
        )

    def tests_a_merge(self) -> bool:
        """Whether HEAD is the merge commit that GitHub made, whose first parent is the base."""
        return self.inside and self.event in PULL_REQUEST_EVENTS

    def run_url(self) -> str:
        """Address of the run's page."""
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run_id}"

    def payload(self) -> Mapping[str, Any]:
        """Return the event as GitHub sent it. Raises ConfigError when it cannot be read."""
        if self.event_file is None:
            return {}
        try:
            document = json.loads(self.event_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as fault:
            raise ConfigError("cannot be read as an event", place="GITHUB_EVENT_PATH") from fault
        return document if isinstance(document, dict) else {}

    def pull_request(self) -> Event:
        """Return the pull request of a `pull_request` event. Raises ConfigError as `payload`."""
        found = self.payload().get("pull_request")
        if not isinstance(found, dict):
            return Event()
        head = found.get("head") or {}
        return Event(
            number=_number(str(found.get("number", "")), 0),
            head_sha=str(head.get("sha", "")),
            head_repository=str((head.get("repo") or {}).get("full_name", "")),
        )

    def default_branch(self) -> str:
        """Return the repository's default branch; empty where the event does not tell.

        Raises ConfigError as `payload`.
        """
        repository = self.payload().get("repository")
        found = repository.get("default_branch") if isinstance(repository, dict) else None
        return found if isinstance(found, str) else ""

    def write_outputs(self, outputs: Mapping[str, str]) -> None:
        """Set outputs of the step; a value can neither end its own nor begin another.

        Source: GitHub docs, "Workflow commands", multiline strings. Outside of a workflow it does
        nothing. Raises ConfigError when the file cannot be written.
        """
        parts = []
        for name, value in outputs.items():
            delimiter = f"end-{secrets.token_hex(16)}"
            parts.append(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")
        _append(self.output_file, "GITHUB_OUTPUT", "".join(parts))

    def write_summary(self, text: str) -> None:
        """Add to the summary on the run's page. Raises ConfigError when it cannot be written."""
        room = MAX_SUMMARY_BYTES - (self._summary_size() + 1)
        if len(text.encode()) <= room:
            _append(self.summary_file, "GITHUB_STEP_SUMMARY", f"{text}\n")

    def _summary_size(self) -> int:
        exists = self.summary_file is not None and self.summary_file.exists()
        return self.summary_file.stat().st_size if exists and self.summary_file else 0


def escape_command(text: str, *, is_property: bool = False) -> str:
    """Escape a text for a workflow command such as `::error file=...::`.

    Source: actions/toolkit, packages/core, `escapeData` and `escapeProperty`.
    """
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if is_property else text


def printable(text: str) -> str:
    """Return a text for the middle of a log line: on one line, and no workflow command.

    The runner obeys `::name::` at the start of a line and `##[name]` anywhere in one.
    Source: actions/runner, src/Runner.Common/ActionCommand.cs.
    """
    shown = "".join(one if one.isprintable() else " " for one in text)
    return shown.replace("##[", "# #[")


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else default


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    return Path(environ[name]) if environ.get(name) else None


def _append(file: Path | None, name: str, text: str) -> None:
    if file is None:
        return
    try:
        with file.open("a", encoding="utf-8", newline="\n") as opened:
            opened.write(text)
    except OSError as fault:
        raise ConfigError(f"cannot be written: {fault.strerror}", place=name) from fault

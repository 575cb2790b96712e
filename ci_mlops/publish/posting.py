"""What was shown where: the means of posting, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_mlops.command import Commands
from ci_mlops.errors import ConfigError
from ci_mlops.github.api import Api, Clock
from ci_mlops.github.repository import Repository
from ci_mlops.github.workflow import Workflow
from ci_mlops.publish import cml
from ci_mlops.publish.check import Commit
from ci_mlops.publish.publication import Judged, post_comment
from ci_mlops.publish.settings import Via


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was shown where, and what kept the rest from being shown."""

    judged: tuple[Judged, ...]
    files: tuple[Path, ...] = ()
    comment: str = ""
    """Address of the comment; empty when there is none."""
    checks: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    """What a reader should know and nobody need act on."""
    warnings: tuple[str, ...] = ()
    """What went wrong with the publishing; it changes no verdict."""


def repository_of(workflow: Workflow, clock: Clock | None = None) -> Repository:
    """Return the repository that the workflow runs in, through the API with its token."""
    if not workflow.repository or not workflow.token:
        raise ConfigError("GITHUB_REPOSITORY and GITHUB_TOKEN must be set", place="the environment")
    api = Api(url=workflow.api_url, token=workflow.token, clock=clock or Clock())
    return Repository(api=api, name=workflow.repository)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What came of a comment."""

    url: str = ""
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class Poster:
    """By what means comments are posted: ci-mlops itself, or CML."""

    repository: Repository
    via: Via
    commands: Commands
    folder: Path
    """Where CML finds the report."""

    def show(self, number: int, commit: Commit, judged: Sequence[Judged]) -> Shown:
        """Show judged projects in one comment on a pull request. Raises OutsideError."""
        if self.via == "cml":
            token = self.repository.api.token
            return Shown(notice=cml.post(self.commands, self.folder, number, judged, token))
        posted = post_comment(self.repository, number, commit, judged)
        if posted.newer is None:
            return Shown(url=posted.url)
        sha = posted.newer.sha[:7]
        line = f"the comment already shows a newer verdict, on {sha}; it was left as it is"
        return Shown(url=posted.url, notice=line)

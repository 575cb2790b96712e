"""Mirrors of the ledger: what it says, said elsewhere too, written after it and rebuilt from it.

Writing after a promotion is bringing them up to date: there is one way, and it may be taken at any
time, twice, or by two at once.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci_mlops.containers import Docker
from ci_mlops.errors import OutsideError
from ci_mlops.github import Workflow, printable
from ci_mlops.github.api import Api
from ci_mlops.github.repository import Repository
from ci_mlops.registry import Registry
from ci_mlops.release.ledger import Ledger
from ci_mlops.release.mirrors.github_deployments import GithubDeployments
from ci_mlops.release.mirrors.mirror import History, Mirror, Said, history
from ci_mlops.release.mirrors.mlflow_alias import MlflowAlias
from ci_mlops.release.mirrors.oci_tag import OciTag
from ci_mlops.release.settings import DockerTargetSettings, EnvironmentSettings

MAX_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A mirror that is not there, and why."""

    name: str
    reason: str

    def sync(self, history: History, *, dry_run: bool) -> Iterator[Said]:
        """Tell why, and do nothing; see `mirror.Mirror`."""
        del history, dry_run
        yield Said(text=self.reason, changed=False)


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What came of bringing a mirror to what the ledger says."""

    environment: str
    mirror: str
    said: tuple[Said, ...]
    fault: OutsideError | None = None

    def plain(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "environment": self.environment,
            "mirror": self.mirror,
            "changed": [one.text for one in self.said if one.changed],
            "left_out": [one.text for one in self.said if not one.changed],
            "fault": str(self.fault) if self.fault else "",
        }


def lines(synced: Sequence[Synced], *, dry_run: bool) -> Iterator[str]:
    """Say what was changed, what was left out, and what refused."""
    if not synced:
        yield "No environment has a mirror."
    for one in synced:
        where = f"{one.environment}: {one.mirror}"
        for said in one.said:
            sign = "-" if not said.changed else "…" if dry_run else "✎"
            yield printable(f"{sign} {where}: {said.text}")
        if one.fault:
            yield printable(f"✗ {where}: {one.fault.fault}")
        elif not one.said:
            yield f"✓ {where}: says what the ledger says"


def mirrors(
    environment: str,
    settings: EnvironmentSettings,
    *,
    project: str,
    workflow: Workflow,
    environ: Mapping[str, str],
    max_wait_s: float,
) -> list[Mirror]:
    """Return the mirrors of an environment; waits for GitHub's limits at most `max_wait_s`."""
    chosen, found = settings.mirrors, list[Mirror]()
    if chosen.github_deployments:
        found.append(_github(project, workflow, max_wait_s))
    repository = getattr(settings, "repository", None) or ""
    if chosen.oci_tag:
        found.append(
            OciTag(
                tag=chosen.oci_tag,
                registry=Registry.of(repository, environ),
                push=lambda digest: _push(digest, repository, settings, environ),
            )
        )
    if chosen.mlflow:
        alias = chosen.mlflow.alias or environment
        found.append(
            MlflowAlias(settings=chosen.mlflow, alias=alias, repository=repository, environ=environ)
        )
    return found


def sync(
    ledger: Ledger, environment: str, mirrors: Sequence[Mirror], *, dry_run: bool = False
) -> list[Synced]:
    """Bring mirrors to what the ledger says of an environment; one that refuses stops no other.

    The ledger is read again afterwards: who was slow would otherwise overwrite what is newer.
    Raises OutsideError, EvidenceError where the ledger cannot be read.
    """
    before, rounds = None, list[list[Synced]]()
    for _ in range(MAX_ROUNDS):
        told = history(ledger.entries(), environment)
        if told == before:
            break
        before = told
        rounds.append([_synced(one, told, dry_run=dry_run) for one in mirrors])
        if dry_run or not mirrors:
            break
    return [_together(each) for each in zip(*rounds, strict=True)]


def _synced(mirror: Mirror, told: History, *, dry_run: bool) -> Synced:
    said: list[Said] = []
    fault = None
    try:
        said.extend(mirror.sync(told, dry_run=dry_run))
    except OutsideError as refused:
        fault = refused
    return Synced(environment=told.environment, mirror=mirror.name, said=tuple(said), fault=fault)


def _together(rounds: Sequence[Synced]) -> Synced:
    """Return what all rounds have changed, and what the last one has left."""
    *earlier, last = rounds
    changed = tuple(one for each in earlier for one in each.said if one.changed)
    return Synced(
        environment=last.environment,
        mirror=last.mirror,
        said=(*changed, *last.said),
        fault=last.fault,
    )


def _github(project: str, workflow: Workflow, max_wait_s: float) -> Mirror:
    if not (workflow.repository and workflow.token):
        reason = "GITHUB_REPOSITORY and GITHUB_TOKEN are not set"
        return Skipped(name="github-deployments", reason=reason)
    api = Api(url=workflow.api_url, token=workflow.token, max_wait_s=max_wait_s)
    repository = Repository(api=api, name=workflow.repository)
    return GithubDeployments(project=project, repository=repository)


def _push(
    digest: str, repository: str, settings: EnvironmentSettings, environ: Mapping[str, str]
) -> bool:
    """Push an image from the daemon that built it, or the one that runs it."""
    host = settings.daemon if isinstance(settings, DockerTargetSettings) else None
    for daemon in dict.fromkeys((None, host)):
        with contextlib.ExitStack() as stack:
            try:
                docker = stack.enter_context(Docker.connected(environ, daemon))
            except OutsideError:
                continue
            if docker.has(digest):
                docker.push(digest, repository, digest.removeprefix("sha256:"))
                return True
    return False

"""Deployments on GitHub: one for each promotion and rollback, and a status that says how it stands.

A deployment carries the promotion's id in its payload, by which it is found again. No author is
asked for: whoever may create one may write to the repository.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field, ValidationError

from ci_mlops.errors import OutsideError
from ci_mlops.github.api import LostError, RefusedError
from ci_mlops.github.repository import (
    Deployment,
    DeploymentRequest,
    DeploymentState,
    Repository,
)
from ci_mlops.release.entry import Digest, Name
from ci_mlops.release.history import SHOWN
from ci_mlops.release.mirrors.mirror import History, Promotion, Said
from ci_mlops.values import Value

NEWEST = 20
"""So many promotions are kept up to date, beside the one that is live; older ones stay as they
are. Each costs a request."""
MAX_DESCRIPTION = 140
"""Characters. Source: GitHub docs, "REST API endpoints for deployment statuses"."""
MAX_TRIES = 10
KEY = "ci_mlops"


class Payload(Value):
    """What a deployment of ours carries, below KEY."""

    version: int = 1
    id: Name
    digest: Digest
    sequence: int = Field(ge=1)
    """Of the promotion's newest entry when the deployment was made."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What GitHub must say of a promotion."""

    payload: Payload
    commit: str
    state: DeploymentState
    description: str
    log_url: str


def wanted(history: History) -> list[Wanted]:
    """Return what GitHub must say, the oldest first; without a commit there is no deployment."""
    live = history.live
    kept = [one for one in history.promotions if one.intent.commit]
    newest = kept[-NEWEST:]
    if live is not None and live not in newest and live.intent.commit:
        newest = [live, *newest]
    return [_wanted(one, history, live) for one in newest]


def _wanted(one: Promotion, history: History, live: Promotion | None) -> Wanted:
    intent, end = one.intent, one.end
    digest, run = intent.to[:SHOWN], (end.entry if end else intent).run
    state: DeploymentState
    if end is None:
        state, text = "in_progress", f"{intent.who} means to make {digest} live"
    elif one == live:
        state, text = "success", f"{digest} is live since {end.entry.when}"
    elif one.held:
        after = next(o for o in history.promotions if o.held and o.sequence > one.sequence)
        newer = after.end.entry if after.end else after.intent
        run = newer.run
        word = newer.kind.replace("_", " ")
        state, text = "inactive", f"{digest} was live until {newer.when}; {newer.id} {word}"
    elif end.entry.kind == "superseded":
        state, text = "inactive", f"superseded: {end.entry.reason}"
    else:
        state, text = "failure", f"{end.entry.kind.replace('_', ' ')}: {end.entry.reason}"
    return Wanted(
        payload=Payload(id=intent.id, digest=intent.to, sequence=one.sequence),
        commit=intent.commit,
        state=state,
        description=cut(text),
        log_url=run if run.startswith(("https://", "http://")) else "",
    )


def cut(text: str) -> str:
    """Return a text as long as GitHub takes it."""
    return text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 1]}…"


@dataclass(frozen=True, kw_only=True)
class GithubDeployments:
    """The deployments of a project into one environment, in its repository."""

    project: str
    repository: Repository
    name: str = "github-deployments"

    def sync(self, history: History, *, dry_run: bool) -> Iterator[Said]:
        """Make what is missing, and tell states that have changed; see `mirror.Mirror`."""
        states = wanted(history)
        known = self.repository.deployments(history.environment, self._task) if states else []
        there: list[tuple[Wanted, list[Deployment]]] = []
        for one in states:
            found = _of(known, one) or _of(self._at(one, history), one)
            try:
                found = found or ([] if dry_run else [self._made(one, history)])
            except RefusedError as refused:
                if refused.status != 422:  # A commit that GitHub does not know.
                    raise
                yield Said(text=f"{one.payload.id}: {refused.fault}", changed=False)
                continue
            if not found:
                yield Said(text=f"{one.payload.id}: {one.state}, a new deployment")
            there.append((one, found))
        # What is live comes first: at no moment should nothing seem to be.
        for one, found in sorted(there, key=lambda pair: pair[0].state != "success"):
            for number, deployment in enumerate(found):
                told = _double(one, found[0]) if number else one  # Two at once have made it.
                yield from self._told(deployment, told, dry_run=dry_run)

    @property
    def _task(self) -> str:
        """Tells our deployments from others, and those of a repository's projects apart."""
        return f"deploy:{self.project}"

    def _at(self, one: Wanted, history: History) -> list[Deployment]:
        return self.repository.deployments(history.environment, self._task, sha=one.commit)

    def _made(self, one: Wanted, history: History) -> Deployment:
        """Create a deployment. One whose answer was lost may be there: look before trying again."""
        request = DeploymentRequest(
            ref=one.commit,
            environment=history.environment,
            task=self._task,
            description=cut(f"{self.project} {one.payload.digest[:SHOWN]}"),
            payload={KEY: one.payload.model_dump(mode="json")},
        )
        lost: LostError | None = None
        for _ in range(MAX_TRIES):
            found = _of(self._at(one, history), one) if lost else []
            if found:
                return found[0]
            try:
                return self.repository.create_deployment(request)
            except LostError as fault:
                lost = fault
                self.repository.wait_for_lost("the deployment")
        raise OutsideError(f"the deployment could not be made in {MAX_TRIES} tries: {lost}")

    def _told(self, deployment: Deployment, one: Wanted, *, dry_run: bool) -> Iterator[Said]:
        """Tell a state that GitHub does not know yet."""
        lost: LostError | None = None
        for _ in range(MAX_TRIES):
            before = self.repository.deployment_state(deployment.id)
            if before == one.state and lost is None:
                return
            line = Said(
                text=f"{one.payload.id}: {one.state}, deployment {deployment.id}"
                f"{f' was {before}' if before else ''}"
            )
            if before == one.state or dry_run:
                yield line
                return
            try:
                self.repository.set_deployment_state(
                    deployment.id, one.state, description=one.description, log_url=one.log_url
                )
            except LostError as fault:
                lost = fault
                self.repository.wait_for_lost("the deployment's status")
                continue
            yield line
            return
        raise OutsideError(f"the state could not be told in {MAX_TRIES} tries: {lost}")


def _of(deployments: Sequence[Deployment], one: Wanted) -> list[Deployment]:
    """Return the deployments of a promotion, the first one first."""
    found = [d for d in deployments if (payload := _payload(d)) and payload.id == one.payload.id]
    return sorted(found, key=lambda d: d.id)


def _payload(deployment: Deployment) -> Payload | None:
    """Return what a deployment of ours carries; GitHub may give it back as an object or as text."""
    try:
        given = deployment.payload
        document = json.loads(given) if isinstance(given, str) else given
        return Payload.model_validate(document[KEY])
    except (ValueError, ValidationError, LookupError, TypeError, RecursionError):
        return None


def _double(one: Wanted, first: Deployment) -> Wanted:
    return Wanted(
        payload=one.payload,
        commit=one.commit,
        state="inactive",
        description=f"the same as deployment {first.id}",
        log_url=one.log_url,
    )

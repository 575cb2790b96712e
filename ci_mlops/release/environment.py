"""An environment of mlops.yml made ready: its target, what verifies it, and who asks for what."""

import contextlib
import functools
import getpass
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ci_mlops.checkout import Repository
from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.errors import CannotLook, ConfigError, EvidenceError, OutsideError
from ci_mlops.github import Workflow
from ci_mlops.model.settings import ModelSettings
from ci_mlops.release.candidate import Candidate
from ci_mlops.release.command_target import CommandTarget
from ci_mlops.release.docker_target import DockerTarget
from ci_mlops.release.entry import Entry, line, moment
from ci_mlops.release.ledger import Ledger
from ci_mlops.release.process_target import ProcessTarget
from ci_mlops.release.promote import Release
from ci_mlops.release.settings import (
    DockerTargetSettings,
    EnvironmentSettings,
    ProcessTargetSettings,
)
from ci_mlops.release.target import Target
from ci_mlops.release.verify import Verifier
from ci_mlops.serving import bundle, start
from ci_mlops.serving.bundle import Recorded


@contextmanager
def opened(
    name: str,
    settings: EnvironmentSettings,
    *,
    root: Path,
    project: str,
    model: ModelSettings | None,
    ledger: Ledger,
    commands: Commands,
    told: Callable[[str], None],
) -> Iterator[Release]:
    """Yield an environment that can be promoted into; `root` is the folder of mlops.yml.

    Raises CannotLook when the interpreter of the model is missing, OutsideError when a Docker
    daemon does not answer.
    """
    bundles = [root / ".mlops" / "cache" / "bundles"]
    with contextlib.ExitStack() as stack:
        target: Target
        recorded: Callable[[str], Recorded] = functools.partial(_recorded, bundles)
        if isinstance(settings, ProcessTargetSettings):
            folder = (root / settings.folder / name).resolve()
            target = ProcessTarget(
                settings=settings,
                folder=folder,
                bundles=bundles[0],
                flags=start.flags(model, root),
                commands=commands,
            )
            bundles.append(folder / "bundles")
        elif isinstance(settings, DockerTargetSettings):
            docker = _daemons(settings, commands.environ, stack)
            target = DockerTarget(
                settings=settings,
                name=f"ci-mlops-{project}-{name}",
                docker=docker[0],
                builder=docker[1],
            )
            recorded = target.recorded
        else:
            target = CommandTarget(settings=settings, root=root, commands=commands)
        yield Release(
            ledger=ledger,
            target=target,
            verify=Verifier(
                settings=settings.verify, model=project, recorded=recorded, live=target.live
            ),
            told=told,
            stage=settings.stage,
            abandoned_after_s=60 * settings.abandoned_after_minutes,
        )


def _daemons(
    settings: DockerTargetSettings, environ: Mapping[str, str], stack: contextlib.ExitStack
) -> tuple[Docker, Docker]:
    """Return the daemon of the host, and the one where images were built."""
    builder = stack.enter_context(Docker.connected(environ))
    if settings.daemon is None:
        return builder, builder
    return stack.enter_context(Docker.connected(environ, settings.daemon)), builder


def _recorded(bundles: Sequence[Path], digest: str) -> Recorded:
    for one in bundles:
        folder = one / digest.removeprefix("sha256:")
        if folder.is_dir():
            try:
                return bundle.read_recorded(folder)
            except CannotLook as fault:
                raise OutsideError(fault.fault, place=fault.place) from fault
    raise OutsideError(
        f"the recorded answers of {digest[:19]} are not here",
        remedy="Run `ci-mlops run --no-cache` for its commit, which records them",
    )


def intent(
    environment: str,
    to: str,
    *,
    workflow: Workflow,
    repository: Repository,
    reason: str,
    name: str | None,
    offered: Candidate | None = None,
) -> Entry:
    """Return the entry that begins a promotion, or a rollback where nothing is offered.

    In a workflow its id is the run's, so that a job that is run again goes on where it was.
    Raises ConfigError for a `name` that cannot be an id.
    """
    run = f"run-{workflow.run_id}-{environment}" if workflow.inside else ""
    try:
        return Entry(
            kind="intent",
            id=name or run or f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
            environment=environment,
            to=to,
            who=line(workflow.actor or repository.user() or getpass.getuser()),
            when=moment(datetime.now(UTC)),
            reason=line(reason),
            run=workflow.run_url() if workflow.inside else "",
            commit=offered.commit if offered else "",
            evidence=offered.evidence if offered else {},
            subjects=offered.subjects if offered else {},
        )
    except ValidationError as fault:
        raise ConfigError(
            f"{name!r} is no id",
            place="--id",
            remedy="Use up to 64 letters, digits, dots, hyphens and underscores",
        ) from fault


def released(ledger: Ledger, environment: str, digest: str) -> Candidate | None:
    """Return what a digest rested on when it was promoted last; None where it never was."""
    for one in ledger.entries():
        entry = one.entry
        if (entry.kind, entry.environment, entry.to) == ("promoted", environment, digest):
            return Candidate(
                digest=digest,
                commit=entry.commit,
                blocked="",
                evidence=entry.evidence,
                subjects=entry.subjects,
            )
    return None


def named(ledger: Ledger, environment: str, start: str) -> str:
    """Return the digest that begins so, of those that were ever promoted into the environment.

    Raises ConfigError where there is none, or more than one.
    """
    wanted = start.removeprefix("sha256:").lower()
    found = {
        one.entry.to
        for one in ledger.entries()
        if (one.entry.kind, one.entry.environment) == ("promoted", environment)
        and one.entry.to.removeprefix("sha256:").startswith(wanted)
    }
    if len(found) != 1 or not wanted:
        raise ConfigError(
            f"{start!r} begins {len(found) or 'none'} of the digests that were live in "
            f"{environment}",
            place="--to",
            remedy=f"See `ci-mlops history {environment}`",
        )
    return found.pop()


def before(ledger: Ledger, environment: str) -> str:
    """Return the digest to go back to: what was live before what is, and was not rolled back.

    Raises EvidenceError when there is none.
    """
    stack: list[str] = []
    for one in reversed(list(ledger.entries())):
        entry = one.entry
        if entry.environment != environment:
            continue
        if entry.kind == "promoted" and stack[-1:] != [entry.to]:
            stack.append(entry.to)
        if entry.kind == "rolled_back" and entry.to in stack:
            while stack[-1] != entry.to:
                stack.pop()
    if len(stack) < 2:
        raise EvidenceError(
            "the ledger knows of nothing to go back to",
            place=environment,
            remedy="Name a digest with --to",
        )
    return stack[-2]

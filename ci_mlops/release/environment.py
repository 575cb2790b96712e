"""An environment of mlops.yml made ready: its target, what verifies it, and who asks for what."""

import contextlib
import functools
import getpass
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ci_mlops.checkout import Repository
from ci_mlops.command import Commands
from ci_mlops.containers import Docker
from ci_mlops.errors import ConfigError, EvidenceError
from ci_mlops.evidence import Record, read_folder
from ci_mlops.github import Workflow
from ci_mlops.model.settings import ModelSettings
from ci_mlops.release import kubernetes_target
from ci_mlops.release.canary import Canary
from ci_mlops.release.candidate import Candidate
from ci_mlops.release.command_target import CommandTarget
from ci_mlops.release.docker_target import DockerTarget
from ci_mlops.release.entry import Entry, line, moment
from ci_mlops.release.kubernetes_target import KubernetesTarget
from ci_mlops.release.ledger import Ledger
from ci_mlops.release.manifests import front_name
from ci_mlops.release.process_target import ProcessTarget
from ci_mlops.release.promote import Release
from ci_mlops.release.recorded import in_bundles
from ci_mlops.release.settings import (
    DockerTargetSettings,
    EnvironmentSettings,
    KubernetesTargetSettings,
    ProcessTargetSettings,
)
from ci_mlops.release.target import Target, beside
from ci_mlops.release.verify import Verifier
from ci_mlops.serving import start
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

    Raises CannotLook when the interpreter of the model is missing, ConfigError without a
    kubeconfig, OutsideError when a Docker daemon or a cluster does not answer.
    """
    bundles = [root / ".mlops" / "cache" / "bundles"]
    with contextlib.ExitStack() as stack:
        target: Target
        canary: Canary | None = None
        recorded: Callable[[str], Recorded] = functools.partial(in_bundles, bundles)
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
        elif isinstance(settings, KubernetesTargetSettings):
            dynamic, proxy = stack.enter_context(
                kubernetes_target.connected(settings, commands.environ)
            )
            target = KubernetesTarget(
                settings=settings,
                front=front_name(project, name),
                dynamic=dynamic,
                proxy=proxy,
                builder=stack.enter_context(Docker.connected(commands.environ)),
                memory_mb=functools.partial(measured_memory, root / ".mlops" / "evidence"),
            )
            recorded = target.recorded
        else:
            target = CommandTarget(settings=settings, root=root, commands=commands)
        if not isinstance(target, ProcessTarget) and not isinstance(
            settings, ProcessTargetSettings
        ):
            canary = Canary(target=target, rules=settings, model=project, recorded=recorded)
        yield Release(
            ledger=ledger,
            target=target,
            verify=Verifier(
                settings=settings.verify,
                model=project,
                recorded=recorded,
                live=functools.partial(beside, target),
                hold_s=60 * settings.hold_minutes,
                restarts=target.restarts if isinstance(target, DockerTarget) else lambda _: 0,
            ),
            canary=canary if canary and canary.percents else None,
            told=told,
            stage=settings.stage,
            holds=settings.hold_minutes > 0,
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


def judged_image(evidence: Path) -> str:
    """Return the digest of the image that the latest run judged; empty where there is none."""
    record = _image_record(evidence)
    found = [one.observed for one in record.checks if one.name == "image"] if record else []
    return str(found[0]) if found and isinstance(found[0], str) else ""


def measured_memory(evidence: Path, digest: str) -> float | None:
    """Return the megabytes that stage image measured, if it judged this very image last."""
    record = _image_record(evidence)
    if record is None or judged_image(evidence) != digest:
        return None
    found = [one.value for one in record.metrics if one.name == "server memory"]
    return found[0] if found else None


def _image_record(evidence: Path) -> Record | None:
    try:
        record = read_folder(evidence).records.get("image")
    except EvidenceError:
        return None
    return record if isinstance(record, Record) else None


def named_by(workflow: Workflow, environment: str, name: str | None) -> str:
    """Return the id that a promotion is given, or has by its run; empty where it has none yet."""
    return name or (f"run-{workflow.run_id}-{environment}" if workflow.inside else "")


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
    given = named_by(workflow, environment, name)
    try:
        return Entry(
            kind="intent",
            id=given or f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
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

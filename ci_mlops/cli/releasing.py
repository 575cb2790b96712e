"""Verbs that change what is live: promote, rollback, render, ledger."""

import json
import sys
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ci_mlops.cli import places
from ci_mlops.cli.places import Environ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ci_mlops.checkout import Repository
    from ci_mlops.config import Config
    from ci_mlops.github import Workflow
    from ci_mlops.release.entry import Entry
    from ci_mlops.release.ledger import Ledger
    from ci_mlops.release.mirrors.mirror import Mirror
    from ci_mlops.release.promote import Ended, Release

MIRRORS_WAIT_S = 30.0
"""How long a release that has ended waits for GitHub's limits, to write its mirrors."""
SYNC_WAIT_S = 900.0


def promote(arguments: Namespace, environ: Environ) -> int:
    """Make live what was judged."""
    from ci_mlops.github import Workflow
    from ci_mlops.release import candidate, environment
    from ci_mlops.release.entry import EXIT_CODES

    workflow = Workflow.from_environ(environ)
    candidate.require_trusted(workflow)
    with _release(arguments, environ) as (release, repository):
        folder = places.evidence_folder(arguments)
        offered = candidate.candidate(
            folder,
            lambda run: places.gate_of_run(arguments, run, environ),
            repository,
            stage=release.stage,
        )
        intent = environment.intent(
            arguments.environment,
            offered.digest,
            workflow=workflow,
            repository=repository,
            reason=arguments.reason,
            name=arguments.id,
            offered=offered,
        )
        if arguments.dry_run:
            live = release.ledger.state().environment(arguments.environment).live
            verb = f"be blocked: {offered.blocked}" if offered.blocked else "be promoted"
            print(f"{offered.digest} would {verb}; {live or 'nothing'} is live")
            return EXIT_CODES["blocked" if offered.blocked else "promoted"]
        if offered.blocked:
            ended = release.block(intent, offered.blocked)
        else:
            ended = release.promote(
                intent,
                is_older=lambda live: repository.is_ancestor(intent.commit, live),
                again=arguments.again,
            )
        path = places.config_path(arguments)
        mirror(arguments.environment, path, release.ledger, workflow=workflow, environ=environ)
        _tell(ended, intent, workflow=workflow, release=release, repository=repository, path=path)
    return _say_ended(ended, workflow, as_json=arguments.json, wanted="promoted")


def rollback(arguments: Namespace, environ: Environ) -> int:
    """Make live again what was live before."""
    from ci_mlops.github import Workflow
    from ci_mlops.release import environment

    workflow = Workflow.from_environ(environ)
    with _release(arguments, environ) as (release, repository):
        ledger, name = release.ledger, arguments.environment
        state = ledger.state()
        known = state.end_of(environment.named_by(workflow, name, arguments.id))
        live = state.environment(name).live
        if known is None and arguments.from_ and arguments.from_ != live:
            print(f"{name}: {arguments.from_} is not live, so nothing is undone")
            return 0
        if known is not None:
            to = known.entry.to
        elif arguments.to:
            to = environment.named(ledger, name, arguments.to)
        else:
            to = environment.before(ledger, name)
        intent = environment.intent(
            name,
            to,
            workflow=workflow,
            repository=repository,
            reason=arguments.reason,
            name=arguments.id,
            offered=environment.released(ledger, name, to),
        )
        ended = release.roll_back(intent)
        path = places.config_path(arguments)
        mirror(arguments.environment, path, release.ledger, workflow=workflow, environ=environ)
        _tell(ended, intent, workflow=workflow, release=release, repository=repository, path=path)
    return _say_ended(ended, workflow, as_json=arguments.json, wanted="rolled_back")


def render(arguments: Namespace, environ: Environ) -> int:
    """Print manifests."""
    from ci_mlops import config
    from ci_mlops.errors import ConfigError, EvidenceError
    from ci_mlops.release import environment, manifests, render
    from ci_mlops.release.settings import KubernetesTargetSettings

    del environ
    path = places.config_path(arguments)
    loaded = config.load(path).config
    settings = loaded.release.get(arguments.environment)
    if not isinstance(settings, KubernetesTargetSettings):
        raise ConfigError(
            f"{arguments.environment!r} is no environment with `target: kubernetes`",
            place=f"{path}: release",
        )
    folder = places.evidence_folder(arguments)
    digest = arguments.digest or environment.judged_image(folder)
    if not digest:
        raise EvidenceError(
            "holds no image", place=str(folder), remedy="Run `ci-mlops run` with stage image"
        )
    version = manifests.Version(
        front=manifests.front_name(loaded.project, arguments.environment),
        namespace=settings.namespace,
        digest=digest,
        image=arguments.image or f"{settings.repository}:{digest.removeprefix('sha256:')}",
        memory_mb=environment.measured_memory(folder, digest),
    )
    print(render.render(arguments.flavour, version, settings), end="")
    return 0


def ledger_sync(arguments: Namespace, environ: Environ) -> int:
    """Bring the ledger's mirrors to what it says."""
    from ci_mlops import config
    from ci_mlops.errors import ConfigError
    from ci_mlops.github import Workflow
    from ci_mlops.release import mirrors
    from ci_mlops.strict_yaml import did_you_mean

    path, workflow = places.config_path(arguments), Workflow.from_environ(environ)
    loaded = config.load(path).config
    name = arguments.environment
    if name and name not in loaded.release:
        raise ConfigError(
            f"environment {name!r} is not below `release`{did_you_mean(name, loaded.release)}",
            place=str(path),
        )
    synced: list[mirrors.Synced] = []
    with places.ledger(arguments, environ) as ledger:
        for environment in [name] if name else loaded.release:
            found = _mirrors(environment, loaded, workflow, environ, max_wait_s=SYNC_WAIT_S)
            synced += mirrors.sync(ledger, environment, found, dry_run=arguments.dry_run)
    if arguments.json:
        print(json.dumps([one.plain() for one in synced], indent=1))
    else:
        print("\n".join(mirrors.lines(synced, dry_run=arguments.dry_run)))
    for one in synced:
        if one.fault:
            raise one.fault
    return 0


def _tell(
    ended: "Ended",
    intent: "Entry",
    *,
    workflow: "Workflow",
    release: "Release",
    repository: "Repository",
    path: Path,
) -> None:
    """Tell people on GitHub how it ended; what cannot be told is said here, and changes nothing."""
    if not (workflow.inside and workflow.token):
        return
    if ended.repeated and ended.written.entry.id != intent.id:
        return  # Whoever ended it has told.
    from ci_mlops import config
    from ci_mlops.errors import OutsideError
    from ci_mlops.proposal import Remote
    from ci_mlops.publish.posting import repository_of
    from ci_mlops.release import revert, telling
    from ci_mlops.release.branch import remote_of

    loaded, github = config.load(path).config, repository_of(workflow)
    environment = ended.written.entry.environment

    def propose(commit: str, reason: str) -> revert.Reverted:
        address, door = remote_of(repository, None, workflow)
        remote = Remote(address=address, folder=repository.top, commands=door)
        return revert.propose(
            repository, remote, github, commit=commit, environment=environment, reason=reason
        )

    try:
        told = telling.Release(
            project=loaded.project,
            written=ended.written,
            checks=ended.checks,
            commit=telling.subject(release.ledger, ended.written),
        )
        rules = loaded.release[environment].on_rollback
        faults = list(telling.tell(told, github, rules=rules, revert=propose))
    except OutsideError as fault:
        faults = [f"nobody was told on GitHub: {fault}"]
    for one in faults:
        places.warn(one, workflow)


def _mirrors(
    environment: str, loaded: "Config", workflow: "Workflow", environ: Environ, *, max_wait_s: float
) -> "Sequence[Mirror]":
    """Return the mirrors of an environment, as `release` names them."""
    from ci_mlops.release import mirrors

    return mirrors.mirrors(
        environment,
        loaded.release[environment],
        project=loaded.project,
        workflow=workflow,
        environ=environ,
        max_wait_s=max_wait_s,
    )


def mirror(
    environment: str, path: Path, ledger: "Ledger", *, workflow: "Workflow", environ: Environ
) -> None:
    """Write the mirrors of what the ledger says now; what cannot be written is only said."""
    from ci_mlops import config
    from ci_mlops.github import printable
    from ci_mlops.release import mirrors

    try:
        loaded = config.load(path).config
        found = _mirrors(environment, loaded, workflow, environ, max_wait_s=MIRRORS_WAIT_S)
        synced = mirrors.sync(ledger, environment, found)
    except Exception as fault:  # noqa: BLE001 - the release has ended, and stands
        places.warn(f"the mirrors of {environment} could not be written: {fault}", workflow)
        return
    for one in synced:
        for said in one.said:
            if said.changed:
                print(f"   {one.mirror}: {printable(said.text)}", file=sys.stderr)
        if one.fault:
            places.warn(f"{environment}: {one.mirror} could not be written: {one.fault}", workflow)


@contextmanager
def _release(arguments: Namespace, environ: Environ) -> "Iterator[tuple[Release, Repository]]":
    from ci_mlops import config
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.errors import ConfigError
    from ci_mlops.release import environment
    from ci_mlops.strict_yaml import did_you_mean

    path = places.config_path(arguments)
    loaded = config.load(path).config
    name = arguments.environment
    if name not in loaded.release:
        raise ConfigError(
            f"environment {name!r} is not below `release`{did_you_mean(name, loaded.release)}",
            place=str(path),
            remedy="Add it there with its `target`",
        )
    root = path.resolve().parent
    commands = Commands(environ=environ)
    try:
        with places.ledger(arguments, environ) as ledger:
            opened = environment.opened(
                name,
                loaded.release[name],
                root=root,
                project=loaded.project,
                model=loaded.model,
                ledger=ledger,
                commands=commands,
                told=lambda step: print(f"   {step} ...", file=sys.stderr, flush=True),
            )
            with opened as release:
                yield release, Repository.around(root, commands)
    finally:
        commands.stop_all()


def _say_ended(ended: "Ended", workflow: "Workflow", *, as_json: bool, wanted: str) -> int:
    from ci_mlops.github import printable
    from ci_mlops.progress import SIGNS
    from ci_mlops.release import history
    from ci_mlops.release.entry import EXIT_CODES

    code = 0 if ended.kind == wanted else EXIT_CODES[ended.kind]
    workflow.write_outputs({"end": ended.kind, "live": history.live_after(ended.written) or ""})
    workflow.write_summary("\n".join(history.summary_lines(ended.written, ended.checks)))
    if as_json:
        checks = [check.model_dump(mode="json") for check in ended.checks]
        told = {**history.plain(ended.written), "repeated": ended.repeated, "checks": checks}
        print(json.dumps({**told, "exit_code": code}, indent=1))
        return code
    for check in ended.checks:
        print(printable(f"{SIGNS[check.outcome]} {check.name} {check.slice}: {check.message}"))
    for line in history.ended_lines(ended.written, repeated=ended.repeated):
        print(printable(line))
    return code

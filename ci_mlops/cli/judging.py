"""Verbs that judge: init, plan, run, report, verdict, image, schema."""

import json
import os
import time
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ci_mlops.cli import places
from ci_mlops.cli.places import NOT_FOR_CHANGES, Environ

if TYPE_CHECKING:
    from ci_mlops.evidence import Run
    from ci_mlops.pull_request import PullRequest
    from ci_mlops.run import Observer
    from ci_mlops.verdict import Verdict


def init(arguments: Namespace, environ: Environ) -> int:
    """Write mlops.yml and starter workflows."""
    from ci_mlops import init
    from ci_mlops.command import Commands

    commands = Commands(environ=environ)
    if arguments.add:
        added = init.add(
            places.config_path(arguments), arguments.add, commands=commands, force=arguments.force
        )
        lines = [f"wrote {os.path.relpath(file)}" for file in added]
        print("\n".join(lines or ["everything is there already; overwrite it with --force"]))
        return 0
    written = init.init(
        places.config_path(arguments),
        commands=commands,
        data=arguments.data,
        label=arguments.label,
        model=arguments.model,
        single_workflow=arguments.single_workflow,
        force=arguments.force,
    )
    print(written.text())
    return 0


def plan(arguments: Namespace, environ: Environ) -> int:
    """Print the stages in their order, or the projects that a change concerns."""
    from ci_mlops import config, plan

    if arguments.matrix:
        return _matrix(arguments, environ)
    path = places.config_path(arguments)
    stages = config.load(path).config.stages.chosen()
    planned = plan.plan(stages, only=arguments.only, skip=arguments.skip)
    waits_for = planned.waits_for()
    if arguments.json:
        listed = [
            {"name": s.name, "question": s.question, "after": waits_for[s.name], "alone": s.alone}
            for s in planned.stages
        ]
        print(json.dumps({"stages": listed, "left_out": planned.left_out}, indent=1))
        return 0
    for number, stage in enumerate(planned.stages, start=1):
        after = f", after {', '.join(waits_for[stage.name])}" if waits_for[stage.name] else ""
        alone = ", alone on the machine" if stage.alone else ""
        print(f"{number}. {stage.name}{after}{alone}\n   {stage.question}")
    if planned.left_out:
        print(f"left out: {', '.join(planned.left_out)}")
    return 0


def run(arguments: Namespace, environ: Environ) -> int:
    """Judge the working tree, leave evidence and reports, and return the verdict's exit code."""
    from ci_mlops import config, evidence, progress, pull_request, report, verdict
    from ci_mlops import run as stages
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow

    path = places.config_path(arguments)
    loaded = config.load(path)
    commands = Commands(environ={k: v for k, v in environ.items() if k not in NOT_FOR_CHANGES})
    workflow = Workflow.from_environ(environ)
    started, clock = datetime.now(UTC), time.monotonic()
    folder = path.resolve().parent / ".mlops"
    try:
        with pull_request.locked(folder):
            request = pull_request.open_pull_request(
                loaded,
                path,
                base=arguments.base,
                only=arguments.only,
                skip=arguments.skip,
                commands=commands,
                workflow=workflow,
                cores=arguments.cores or os.cpu_count() or 1,
            )
            with progress.display(request.plan.names(), environ) as display:
                ran = stages.run(
                    request.plan,
                    request.workspace,
                    _observer(arguments, environ, request, display),
                    blocked=request.blocked,
                    reuse=not arguments.no_cache,
                )
            circumstances = request.circumstances(
                reused=ran.reused,
                started=stages.timestamp(started),
                seconds=time.monotonic() - clock,
                workflow=workflow,
            )
            evidence.write(folder / "evidence" / "run.json", circumstances)
            partial = bool(request.plan.left_out)
            decided = verdict.decide(request.gate, circumstances, ran.records, partial=partial)
            written = report.write(folder, circumstances, ran.records, decided)
    finally:
        commands.stop_all()
    say(decided, circumstances, as_json=arguments.json, reports=written)
    if ran.bugs:
        raise ran.bugs[0]
    return decided.exit_code


def report(arguments: Namespace, environ: Environ) -> int:
    """Write reports of evidence that is there."""
    from ci_mlops import evidence, report, verdict

    folder = places.evidence_folder(arguments)
    found = evidence.read_folder(folder)
    decided = verdict.decide(
        places.gate_of_run(arguments, found.run, environ), found.run, found.records
    )
    output = arguments.output or folder.parent
    for file in report.write(output, found.run, found.records, decided):
        print(file)
    return 0


def verdict(arguments: Namespace, environ: Environ) -> int:
    """Print the verdict on evidence, and return its exit code."""
    from ci_mlops import evidence, verdict

    found = evidence.read_folder(places.evidence_folder(arguments))
    decided = verdict.decide(
        places.gate_of_run(arguments, found.run, environ), found.run, found.records
    )
    say(decided, found.run, as_json=arguments.json, reports=())
    return decided.exit_code


def image(arguments: Namespace, environ: Environ) -> int:
    """Ask an image or a server what a release asks it."""
    from ci_mlops import image
    from ci_mlops.evidence import worst_outcome
    from ci_mlops.progress import check_lines

    checks = image.verify(
        arguments.reference,
        model=arguments.model,
        rows=arguments.rows,
        port=arguments.port,
        ready_within_s=arguments.ready_within,
        tolerance=arguments.tolerance,
        environ=environ,
    )
    if arguments.json:
        listed = [check.model_dump(mode="json") for check in checks]
        print(json.dumps({"reference": arguments.reference, "checks": listed}, indent=1))
    else:
        print("\n".join(check_lines(checks)))
    return 1 if worst_outcome(check.outcome for check in checks) in {"failed", "error"} else 0


def schema(arguments: Namespace, environ: Environ) -> int:
    """Print or write the JSON Schemas."""
    from ci_mlops import config, evidence

    del environ
    texts = {name: json.dumps(s, indent=1) + "\n" for name, s in config.schemas().items()}
    if arguments.write:
        for name, text in texts.items():
            evidence.write_atomically(arguments.write / name, text.encode())
    else:
        print(texts[f"{arguments.which}.schema.json"], end="")
    return 0


def say(decided: "Verdict", run: "Run", *, as_json: bool, reports: Sequence[Path]) -> None:
    """Print a verdict, as text or as JSON."""
    if as_json:
        document = {
            "project": run.project,
            "verdict": decided.outcome,
            "exit_code": decided.exit_code,
            "counts": decided.counts,
            "reasons": [
                {
                    "stage": reason.stage,
                    "outcome": reason.outcome,
                    "text": reason.text,
                    "check": reason.check.model_dump(mode="json") if reason.check else None,
                }
                for reason in decided.reasons
            ],
            "reports": [str(file) for file in reports],
        }
        print(json.dumps(document, indent=1))
        return
    from ci_mlops.progress import verdict_lines

    print("\n".join(verdict_lines(decided, run)))
    for file in reports:
        print(f"   {os.path.relpath(file)}")


def _matrix(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import projects
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow

    print(
        projects.matrix(
            places.config_path(arguments).resolve().parent,
            every=arguments.all,
            base=arguments.base,
            commands=Commands(environ=environ),
            workflow=Workflow.from_environ(environ),
        )
    )
    return 0


def _observer(
    arguments: Namespace, environ: Environ, request: "PullRequest", display: "Observer"
) -> "Observer":
    if not arguments.openlineage:
        return display
    from ci_mlops import openlineage
    from ci_mlops.checkout import Repository
    from ci_mlops.github import Workflow

    workflow = Workflow.from_environ(environ)
    workspace = request.workspace
    repository = Repository.around(workspace.head.root, workspace.commands)

    return openlineage.Emitter(
        sink=openlineage.sink(arguments.openlineage, environ),
        workspace=workspace,
        stages={stage.name: stage for stage in request.plan.stages},
        repository=repository.remote_url("origin") or repository.top.as_uri(),
        then=display,
        warn=lambda text: places.warn(text, workflow),
    )

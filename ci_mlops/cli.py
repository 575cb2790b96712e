"""The command line: parse, load, call one verb, and print what came of it."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ci_mlops import parser

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ci_mlops.card.content import Card
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.dataset.feedback import Case
    from ci_mlops.evidence import Run
    from ci_mlops.feedback.contract import Contract, Target
    from ci_mlops.feedback.file import Added
    from ci_mlops.feedback.propose import Proposed
    from ci_mlops.github import Workflow
    from ci_mlops.monitor import Seen
    from ci_mlops.monitors.production import Live
    from ci_mlops.monitors.settings import Answer
    from ci_mlops.publish.posting import Published
    from ci_mlops.pull_request import PullRequest
    from ci_mlops.release.entry import Entry
    from ci_mlops.release.ledger import Ledger
    from ci_mlops.release.promote import Ended, Release
    from ci_mlops.run import Observer
    from ci_mlops.verdict import Gate, Verdict

Environ = Mapping[str, str]
SECRETS = frozenset({"GITHUB_TOKEN", "PROMETHEUS_TOKEN"})
NOT_FOR_CHANGES = SECRETS | {
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_STATE",
    "GITHUB_STEP_SUMMARY",
}
"""What the code of a pull request, which a pickle may be, is not handed: tokens, and the files by
which a step speaks to the steps after it."""
MIRRORS_WAIT_S = 30.0
"""How long a release that has ended waits for GitHub's limits, to write its mirrors."""
SYNC_WAIT_S = 900.0


def main(arguments: Sequence[str], environ: Environ) -> int:
    """Run one verb and return its exit code."""
    parsed = parser.parser().parse_args(arguments)
    return VERBS[parsed.verb](parsed, environ)


def _init(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import init
    from ci_mlops.command import Commands

    commands = Commands(environ=environ)
    if arguments.add:
        added = init.add(
            _config_path(arguments), arguments.add, commands=commands, force=arguments.force
        )
        lines = [f"wrote {os.path.relpath(file)}" for file in added]
        print("\n".join(lines or ["everything is there already; overwrite it with --force"]))
        return 0
    written = init.init(
        _config_path(arguments),
        commands=commands,
        data=arguments.data,
        label=arguments.label,
        model=arguments.model,
        single_workflow=arguments.single_workflow,
        force=arguments.force,
    )
    print(written.text())
    return 0


def _plan(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import config, plan

    if arguments.matrix:
        return _matrix(arguments, environ)
    path = _config_path(arguments)
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


def _matrix(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import projects
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow

    print(
        projects.matrix(
            _config_path(arguments).resolve().parent,
            every=arguments.all,
            base=arguments.base,
            commands=Commands(environ=environ),
            workflow=Workflow.from_environ(environ),
        )
    )
    return 0


def _run(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import config, evidence, progress, pull_request, report, verdict
    from ci_mlops import run as stages
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow

    path = _config_path(arguments)
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
    _say(decided, circumstances, as_json=arguments.json, reports=written)
    if ran.bugs:
        raise ran.bugs[0]
    return decided.exit_code


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
        warn=lambda text: _warn(text, workflow),
    )


def _report(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import evidence, report, verdict

    folder = _evidence_folder(arguments)
    found = evidence.read_folder(folder)
    decided = verdict.decide(_gate(arguments, found.run, environ), found.run, found.records)
    output = arguments.output or folder.parent
    for file in report.write(output, found.run, found.records, decided):
        print(file)
    return 0


def _verdict(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import evidence, verdict

    found = evidence.read_folder(_evidence_folder(arguments))
    decided = verdict.decide(_gate(arguments, found.run, environ), found.run, found.records)
    _say(decided, found.run, as_json=arguments.json, reports=())
    return decided.exit_code


def _publish(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import config
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow
    from ci_mlops.publish import other_run, own_run
    from ci_mlops.publish.settings import PublishSettings

    path = _config_path(arguments)
    folder = arguments.folder or path.parent / ".mlops"
    workflow, commands = Workflow.from_environ(environ), Commands(environ=environ)
    if arguments.run is not None:
        # A trusted job needs no checkout: the gate comes from the base, through the API.
        settings = config.load(path).config.publish if path.exists() else PublishSettings()
        published = other_run.publish(
            arguments.run,
            folder,
            read=config.rules,
            via=arguments.via or settings.via,
            workflow=workflow,
            commands=commands,
        )
    else:
        loaded = config.load(path).config
        published = own_run.publish(
            folder,
            config=path,
            project=loaded.project,
            gate_of=lambda run: _gate(arguments, run, environ),
            via=arguments.via or loaded.publish.via,
            workflow=workflow,
            commands=commands,
        )
    return _say_published(published, as_json=arguments.json)


def _chatops(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import chatops
    from ci_mlops.github import Workflow
    from ci_mlops.publish.posting import repository_of

    workflow = Workflow.from_environ(environ)
    releases = chatops.Releases(config=arguments.config, workflow=arguments.workflow)
    print(chatops.obey(repository_of(workflow), workflow, releases))
    return 0


def _feedback(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops.errors import CannotLook, ConfigError, OutsideError
    from ci_mlops.feedback import issue
    from ci_mlops.github import Workflow
    from ci_mlops.publish.posting import repository_of

    workflow = Workflow.from_environ(environ)
    answers = arguments.from_issue is not None and issue.is_asked_in(workflow)
    try:
        url = _corrected(arguments, workflow, environ)
    except (ConfigError, CannotLook) as fault:
        if answers:
            try:
                issue.refuse(repository_of(workflow), arguments.from_issue, fault)
            except OutsideError as refused:
                print(f"issue {arguments.from_issue} got no answer: {refused}", file=sys.stderr)
        raise
    if answers and url:
        issue.thank(repository_of(workflow), arguments.from_issue, url)
    return 0


def _corrected(arguments: Namespace, workflow: "Workflow", environ: Environ) -> str:
    """Add a correction, or propose it; return the pull request's address, if there is one."""
    from ci_mlops import checkout, config, pull_request
    from ci_mlops.command import Commands
    from ci_mlops.feedback import add, contract, file, issue
    from ci_mlops.github import printable
    from ci_mlops.publish.posting import repository_of

    path = _config_path(arguments)
    loaded = config.load(path).config
    root, stages = path.resolve().parent, loaded.stages.chosen()
    target = contract.target(root, loaded.data, loaded.model, stages)
    # The model's code needs no token, and gets none.
    commands = Commands(environ={k: v for k, v in environ.items() if k not in SECRETS})
    asked = add.Asked(
        source=arguments.from_,
        from_issue=arguments.from_issue,
        features=arguments.features,
        prediction=arguments.prediction_id,
        row=arguments.row,
        log=Path(arguments.log) if arguments.log else None,
        expected=arguments.expected,
        tolerance=arguments.tolerance,
        issue=arguments.issue,
        reason=arguments.reason,
    )
    given = add.gathered(
        asked,
        read=lambda name: add.source(name, sys.stdin.buffer),
        body=lambda number: issue.body(number, workflow, repository_of(workflow)),
    )
    try:
        if workflow.inside:  # A fresh checkout may lack data and model.
            checkout.run_lines(
                loaded.prepare,
                pull_request.with_python(commands, pull_request.interpreter_of(loaded.model, root)),
                root=root,
                log=root / ".mlops" / "prepare-head.log",
                place="prepare",
            )
        known = contract.learned(target, commands)
        case = known.case(given, asked.place)
        if arguments.pull_request:
            added, proposed = _proposed(target, known, case, commands, workflow)
        else:
            added, proposed = file.add(root, target.file, case, known.domain), None
    finally:
        commands.stop_all()
    if arguments.json:
        print(json.dumps(add.plain(added, case, known, proposed), indent=1))
    else:
        print("\n".join(map(printable, add.lines(added, case, known, proposed))))
    if proposed is None:
        return ""
    workflow.write_outputs({"branch": proposed.branch, "url": proposed.url})
    return proposed.url


def _proposed(
    target: "Target", known: "Contract", case: "Case", commands: "Commands", workflow: "Workflow"
) -> "tuple[Added, Proposed]":
    from ci_mlops.checkout import Repository
    from ci_mlops.feedback import file, propose
    from ci_mlops.publish.posting import repository_of
    from ci_mlops.release.branch import remote_of

    github, around = repository_of(workflow), Repository.around(target.root, commands)
    remote, commands = remote_of(around, None, workflow)
    name = (target.root.relative_to(around.top.resolve()) / target.file).as_posix()
    pushed = propose.push(
        remote,
        commands,
        issue=case.issue,
        file=name,
        change=lambda data: file.added(data, name, case, known.domain),
    )
    return pushed.added, propose.propose(pushed, github, issue=case.issue)


def _image(arguments: Namespace, environ: Environ) -> int:
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


def _card(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops.card import files
    from ci_mlops.errors import ConfigError

    made = _made_card(arguments, environ)
    path = _config_path(arguments)
    model = made.settings.path
    if arguments.output is None and model is None:
        raise ConfigError("there is no model file to write it next to", place="--output")
    folder = arguments.output or (path.parent / str(model)).parent
    if arguments.check:
        wrong = files.trouble(folder, made.speaks_of())
        print(f"{wrong}: run `ci-mlops card`" if wrong else "The card speaks of what was judged.")
        return int(bool(wrong))
    for file in files.write(folder, made):
        print(file)
    return 0


def _made_card(arguments: Namespace, environ: Environ) -> "Card":
    from ci_mlops import config, evidence, verdict
    from ci_mlops.card import files
    from ci_mlops.card.content import Card
    from ci_mlops.errors import ConfigError

    path = _config_path(arguments)
    loaded = config.load(path).config
    if loaded.model is None:
        raise ConfigError("has no `model` section", place=str(path))
    found = evidence.read_folder(_evidence_folder(arguments))
    return Card(
        project=loaded.project,
        settings=loaded.model,
        human=files.human_part(path.parent, loaded.model),
        run=found.run,
        records=found.records,
        verdict=verdict.decide(_gate(arguments, found.run, environ), found.run, found.records),
        test=loaded.data.test,
    )


def _compliance(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops.card import compliance

    made = _made_card(arguments, environ)
    maps = [compliance.judged(one, made) for one in compliance.load(arguments.map)]
    if arguments.json:
        print(json.dumps([one.plain() for one in maps], indent=1))
    elif arguments.output:
        for file in compliance.write(arguments.output, maps, made):
            print(file)
    else:
        print(compliance.render(maps, made), end="")
    return 0


def _monitor(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import config, monitor, progress, pull_request
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow
    from ci_mlops.publish.posting import repository_of

    path = _config_path(arguments)
    loaded = config.load(path)
    workflow = Workflow.from_environ(environ)
    # The model's code needs no token, and gets none.
    commands = Commands(environ={k: v for k, v in environ.items() if k not in SECRETS})
    github = repository_of(workflow) if arguments.issue else None
    try:
        with pull_request.locked(path.resolve().parent / ".mlops"):
            with _ledger(arguments, environ) as ledger:
                watch = monitor.opened(
                    loaded,
                    path,
                    ledger=ledger,
                    commands=commands,
                    now=datetime.now(UTC),
                    environ=environ,
                    only=arguments.only,
                    skip=arguments.skip,
                    cores=os.cpu_count() or 1,
                )
            with progress.display(watch.plan.names(), environ) as display:
                seen = monitor.look(watch, display, workflow=workflow)
    finally:
        commands.stop_all()
    _say(seen.verdict, seen.run, as_json=arguments.json, reports=seen.reports)
    if seen.bugs:
        raise seen.bugs[0]
    answers, live = watch.settings.answers(seen.failed()), watch.watched.live
    workflow.write_outputs(
        {
            "verdict": seen.verdict.outcome,
            "answers": " ".join(answers),
            "environment": watch.settings.environment,
            "live": live.digest if live and live.promoted else "",
            "reason": seen.reason(),
        }
    )
    workflow.write_summary(monitor.report_text(seen))
    if github is not None and (kept := monitor.keep_issue(github, seen, answers)):
        print(f"{kept.html_url} tells of it", file=sys.stderr)
    if arguments.act:
        _act(arguments, environ, answers=answers, live=live, seen=seen)
    return seen.verdict.exit_code


def _act(
    arguments: Namespace,
    environ: Environ,
    *,
    answers: "Sequence[Answer]",
    live: "Live | None",
    seen: "Seen",
) -> None:
    """Roll back and retrain by their own verbs; one that fails does not keep the other from it."""
    from contextlib import redirect_stdout

    from ci_mlops.errors import Stop

    same = [f"--config={arguments.config}"] if arguments.config else []
    same += [f"--ledger={arguments.ledger}"] if arguments.ledger else []
    wanted: dict[str, list[str]] = {}
    if "rollback" in answers and live is not None and live.promoted:
        wanted["rollback"] = [seen.run.environment, f"--from={live.digest}"]
    elif "rollback" in answers:
        text = "nothing is rolled back: what is live there was made live by no promotion"
        print(f"{seen.run.environment}: {text}", file=sys.stderr)
    if "retrain" in answers:
        wanted["retrain"] = []
    stopped: Stop | None = None
    for verb, more in wanted.items():
        try:
            with redirect_stdout(sys.stderr):
                main([verb, *more, *same, f"--reason={seen.reason()}"], environ)
        except Stop as fault:
            if stopped is not None:
                print(f"ci-mlops: {stopped}", file=sys.stderr)
            stopped = fault
    if stopped is not None:
        raise stopped


def _retrain(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import config, monitor, pull_request, retrain
    from ci_mlops.command import Commands
    from ci_mlops.errors import ConfigError
    from ci_mlops.github import Workflow
    from ci_mlops.publish.posting import repository_of

    path = _config_path(arguments)
    loaded = config.load(path)
    monitors = loaded.config.monitors
    if monitors is None or monitors.retrain is None:
        raise ConfigError(
            "has no `monitors.retrain`", place=str(path), remedy="See docs/how-to/monitor.md"
        )
    workflow = Workflow.from_environ(environ)
    # The project's command needs no token, and gets none.
    commands = Commands(environ={k: v for k, v in environ.items() if k not in SECRETS})
    try:
        with pull_request.locked(path.resolve().parent / ".mlops"):
            with _ledger(arguments, environ) as ledger:
                watch = monitor.opened(
                    loaded,
                    path,
                    ledger=ledger,
                    commands=commands,
                    now=datetime.now(UTC),
                    environ=environ,
                    cores=os.cpu_count() or 1,
                )
            proposed = retrain.propose(
                loaded,
                path,
                monitors.retrain,
                watched=watch.watched,
                why=[arguments.reason] if arguments.reason else [],
                workflow=workflow,
                github=repository_of(workflow) if workflow.token else None,
            )
    finally:
        commands.stop_all()
    workflow.write_outputs({"branch": proposed.branch, "url": proposed.url})
    if arguments.json:
        print(json.dumps(proposed.plain(), indent=1))
    else:
        print("\n".join(proposed.said))
    return 0


def _promote(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops.github import Workflow
    from ci_mlops.release import candidate, environment
    from ci_mlops.release.entry import EXIT_CODES

    workflow = Workflow.from_environ(environ)
    candidate.require_trusted(workflow)
    with _release(arguments, environ) as (release, repository):
        folder = _evidence_folder(arguments)
        offered = candidate.candidate(
            folder, lambda run: _gate(arguments, run, environ), repository, stage=release.stage
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
        path = _config_path(arguments)
        _mirror(arguments.environment, path, release.ledger, workflow=workflow, environ=environ)
        _tell(ended, intent, workflow=workflow, release=release, repository=repository, path=path)
    return _say_ended(ended, workflow, as_json=arguments.json, wanted="promoted")


def _rollback(arguments: Namespace, environ: Environ) -> int:
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
        path = _config_path(arguments)
        _mirror(arguments.environment, path, release.ledger, workflow=workflow, environ=environ)
        _tell(ended, intent, workflow=workflow, release=release, repository=repository, path=path)
    return _say_ended(ended, workflow, as_json=arguments.json, wanted="rolled_back")


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
        _warn(one, workflow)


def _mirror(
    environment: str, path: Path, ledger: "Ledger", *, workflow: "Workflow", environ: Environ
) -> None:
    """Write the mirrors of what the ledger says now; what cannot be written is only said."""
    from ci_mlops import config
    from ci_mlops.github import printable
    from ci_mlops.release import mirrors

    try:
        loaded = config.load(path).config
        found = mirrors.mirrors(
            environment,
            loaded.release[environment],
            project=loaded.project,
            workflow=workflow,
            environ=environ,
            max_wait_s=MIRRORS_WAIT_S,
        )
        synced = mirrors.sync(ledger, environment, found)
    except Exception as fault:  # noqa: BLE001 - the release has ended, and stands
        _warn(f"the mirrors of {environment} could not be written: {fault}", workflow)
        return
    for one in synced:
        for said in one.said:
            if said.changed:
                print(f"   {one.mirror}: {printable(said.text)}", file=sys.stderr)
        if one.fault:
            _warn(f"{environment}: {one.mirror} could not be written: {one.fault}", workflow)


def _warn(text: str, workflow: "Workflow") -> None:
    from ci_mlops.github import escape_command

    told = f"::warning::{escape_command(text)}" if workflow.inside else f"warning: {text}"
    print(told, file=sys.stderr)


@contextmanager
def _release(arguments: Namespace, environ: Environ) -> "Iterator[tuple[Release, Repository]]":
    from ci_mlops import config
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.errors import ConfigError
    from ci_mlops.release import environment
    from ci_mlops.strict_yaml import did_you_mean

    path = _config_path(arguments)
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
        with _ledger(arguments, environ) as ledger:
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


def _render(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import config
    from ci_mlops.errors import ConfigError, EvidenceError
    from ci_mlops.release import environment, manifests, render
    from ci_mlops.release.settings import KubernetesTargetSettings

    del environ
    path = _config_path(arguments)
    loaded = config.load(path).config
    settings = loaded.release.get(arguments.environment)
    if not isinstance(settings, KubernetesTargetSettings):
        raise ConfigError(
            f"{arguments.environment!r} is no environment with `target: kubernetes`",
            place=f"{path}: release",
        )
    folder = _evidence_folder(arguments)
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


def _ledger_sync(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import config
    from ci_mlops.errors import ConfigError
    from ci_mlops.github import Workflow
    from ci_mlops.release import mirrors
    from ci_mlops.strict_yaml import did_you_mean

    path, workflow = _config_path(arguments), Workflow.from_environ(environ)
    loaded = config.load(path).config
    name = arguments.environment
    if name and name not in loaded.release:
        raise ConfigError(
            f"environment {name!r} is not below `release`{did_you_mean(name, loaded.release)}",
            place=str(path),
        )
    synced: list[mirrors.Synced] = []
    with _ledger(arguments, environ) as ledger:
        for environment in [name] if name else loaded.release:
            found = mirrors.mirrors(
                environment,
                loaded.release[environment],
                project=loaded.project,
                workflow=workflow,
                environ=environ,
                max_wait_s=SYNC_WAIT_S,
            )
            synced += mirrors.sync(ledger, environment, found, dry_run=arguments.dry_run)
    if arguments.json:
        print(json.dumps([one.plain() for one in synced], indent=1))
    else:
        print("\n".join(mirrors.lines(synced, dry_run=arguments.dry_run)))
    for one in synced:
        if one.fault:
            raise one.fault
    return 0


def _history(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops.release import history

    since = (
        history.moment_of(arguments.since, flag="--since", begins=True) if arguments.since else None
    )
    if arguments.html:
        return _dashboard(arguments, environ, since)
    with _ledger(arguments, environ) as ledger:
        entries = history.history(
            ledger, arguments.environment or None, arguments.limit, since=since
        )
    if arguments.json:
        print(json.dumps([history.plain(one) for one in entries], indent=1))
    else:
        print("\n".join(history.history_lines(entries)) or "The ledger is empty.")
    return 0


def _dashboard(arguments: Namespace, environ: Environ, since: datetime | None) -> int:
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.dashboard import content, page
    from ci_mlops.dashboard.records import records_at
    from ci_mlops.errors import ConfigError
    from ci_mlops.evidence import write_atomically
    from ci_mlops.release import history

    if arguments.json or arguments.limit is not None:
        raise ConfigError("goes with neither --json nor --limit", place="--html")
    name = arguments.environment or None
    with _ledger(arguments, environ) as ledger:
        state, entries = ledger.state(), history.history(ledger, name)
    with records_at(*_remote(arguments, environ)) as records:
        kept = records.read(environment=name, since=since)
    if name and not entries and not any(one.environment == name for one in kept.summaries):
        raise ConfigError(
            f"neither the ledger nor the records know {name!r}",
            place="history",
            remedy="`ci-mlops status` names the environments",
        )
    repository = Repository.around(Path.cwd(), Commands(environ=environ))
    shown = content.content(
        state,
        entries[::-1],
        kept,
        environment=name,
        since=since,
        now=datetime.now(UTC),
        committed=repository.committed(one.entry.commit for one in entries if one.entry.commit),
    )
    write_atomically(arguments.html, page.render(shown).encode())
    print(arguments.html)
    return 0


def _record(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import evidence, verdict
    from ci_mlops.dashboard.records import records_at, require_recordable
    from ci_mlops.dashboard.summary import summary
    from ci_mlops.github import Workflow

    folder = _evidence_folder(arguments)
    found = evidence.read_folder(folder)
    require_recordable(found.run, Workflow.from_environ(environ), place=str(folder))
    # Of monitors each is required; what judged a run of main is its gate.
    gate = (
        verdict.Gate(require=found.run.stages)
        if found.run.environment
        else _gate(arguments, found.run, environ)
    )
    partial = bool(found.run.left_out)
    kept = summary(
        found.run, found.records, verdict.decide(gate, found.run, found.records, partial=partial)
    )
    with records_at(*_remote(arguments, environ)) as records:
        added = records.add(kept, run_sha256=evidence.file_sha256(folder / "run.json"))
    where = kept.environment or "main"
    print(f"{where}: {kept.verdict}, {'recorded' if added else 'recorded before'}")
    return 0


def _status(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops.release import history

    with _ledger(arguments, environ) as ledger:
        state = ledger.state()
    if arguments.json:
        print(json.dumps(history.plain_state(state), indent=1))
    else:
        print("\n".join(history.status_lines(state)))
    return 0


def _live(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops.release import history

    at = history.moment_of(arguments.at) if arguments.at else None
    with _ledger(arguments, environ) as ledger:
        found = history.live(ledger, arguments.environment, at)
    print(json.dumps(history.plain(found), indent=1) if arguments.json else found.entry.to)
    return 0


def _why(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.github import printable
    from ci_mlops.release import lineage

    repository = Repository.around(Path.cwd(), Commands(environ=environ))
    with _ledger(arguments, environ) as ledger:
        found = lineage.lineage(
            arguments.what, ledger, evidence=_evidence_folder(arguments), repository=repository
        )
    if arguments.json:
        print(json.dumps(lineage.plain(found), indent=1))
    else:
        print("\n".join(printable(line) for line in lineage.lines(found)))
    return 0


def _diff(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import diff
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow, printable

    found = diff.diff(
        diff.Asked(
            base=arguments.base,
            head=arguments.head,
            config=_config_path(arguments),
            key=arguments.key,
            label=arguments.label,
            hide=tuple(arguments.hide),
        ),
        commands=Commands(environ=environ),
        workflow=Workflow.from_environ(environ),
        seed=int.from_bytes(os.urandom(8)),
    )
    code = diff.exit_code(found, arguments.fail_on)
    if arguments.json:
        print(json.dumps({**diff.plain(found), "exit_code": code}, indent=1))
    else:
        print("\n".join(printable(line) for line in diff.lines(found)))
    return code


def _schema(arguments: Namespace, environ: Environ) -> int:
    from ci_mlops import config, evidence

    del environ
    texts = {name: json.dumps(s, indent=1) + "\n" for name, s in config.schemas().items()}
    if arguments.write:
        for name, text in texts.items():
            evidence.write_atomically(arguments.write / name, text.encode())
    else:
        print(texts[f"{arguments.which}.schema.json"], end="")
    return 0


VERBS: Mapping[str, Callable[[Namespace, Environ], int]] = {
    "init": _init,
    "run": _run,
    "plan": _plan,
    "report": _report,
    "verdict": _verdict,
    "publish": _publish,
    "chatops": _chatops,
    "feedback": _feedback,
    "image": _image,
    "card": _card,
    "compliance": _compliance,
    "monitor": _monitor,
    "retrain": _retrain,
    "promote": _promote,
    "rollback": _rollback,
    "render": _render,
    "record": _record,
    "ledger": _ledger_sync,
    "history": _history,
    "status": _status,
    "live": _live,
    "why": _why,
    "diff": _diff,
    "schema": _schema,
}


def _config_path(arguments: Namespace) -> Path:
    path: Path = arguments.config or Path("mlops.yml")
    return path


def _evidence_folder(arguments: Namespace) -> Path:
    folder: Path = arguments.evidence or _config_path(arguments).parent / ".mlops" / "evidence"
    return folder


def _ledger(arguments: Namespace, environ: Environ) -> "AbstractContextManager[Ledger]":
    from ci_mlops.release.ledger import ledger_at

    return ledger_at(*_remote(arguments, environ))


def _remote(arguments: Namespace, environ: Environ) -> "tuple[str, Commands]":
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow
    from ci_mlops.release.branch import remote_of

    repository = Repository.around(Path.cwd(), Commands(environ=environ))
    return remote_of(repository, arguments.ledger, Workflow.from_environ(environ))


def _gate(arguments: Namespace, run: "Run", environ: Environ) -> "Gate":
    from ci_mlops import pull_request
    from ci_mlops.command import Commands

    return pull_request.gate_of(
        run,
        _config_path(arguments),
        named=bool(arguments.config),
        commands=Commands(environ=environ),
    )


def _say(decided: "Verdict", run: "Run", *, as_json: bool, reports: Sequence[Path]) -> None:
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


def _say_published(published: "Published", *, as_json: bool) -> int:
    from ci_mlops.github import escape_command

    for kind, lines in (("notice", published.notices), ("warning", published.warnings)):
        for line in lines:
            print(f"::{kind}::{escape_command(line)}", file=sys.stderr if as_json else sys.stdout)
    for one in published.judged:
        _say(one.verdict, one.run, as_json=as_json, reports=published.files)
    return max((one.verdict.exit_code for one in published.judged), default=0)

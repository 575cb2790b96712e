"""Verbs for what is in production: monitor, retrain, feedback."""

import json
import os
import sys
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ci_mlops.cli import judging, parser, places, releasing
from ci_mlops.cli.places import SECRETS, Environ

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ci_mlops.command import Commands
    from ci_mlops.config import Loaded
    from ci_mlops.dataset.feedback import Case
    from ci_mlops.feedback.contract import Contract, Target
    from ci_mlops.feedback.file import Added
    from ci_mlops.feedback.propose import Proposed
    from ci_mlops.github import Workflow
    from ci_mlops.monitor import Seen, Watch
    from ci_mlops.monitors.production import Live
    from ci_mlops.monitors.settings import Answer


def feedback(arguments: Namespace, environ: Environ) -> int:
    """Add a correction."""
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


def monitor(arguments: Namespace, environ: Environ) -> int:
    """Look at production, tell what was seen, and answer what failed."""
    from ci_mlops import config, monitor, progress, pull_request
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow
    from ci_mlops.publish.posting import repository_of

    path = places.config_path(arguments)
    loaded = config.load(path)
    workflow = Workflow.from_environ(environ)
    # The model's code needs no token, and gets none.
    commands = Commands(environ={k: v for k, v in environ.items() if k not in SECRETS})
    github = repository_of(workflow) if arguments.issue else None
    try:
        with pull_request.locked(path.resolve().parent / ".mlops"):
            chosen = {"only": arguments.only, "skip": arguments.skip}
            watch = _opened(loaded, path, arguments, environ, commands, **chosen)
            with progress.display(watch.plan.names(), environ) as display:
                seen = monitor.look(watch, display, workflow=workflow)
    finally:
        commands.stop_all()
    judging.say(seen.verdict, seen.run, as_json=arguments.json, reports=seen.reports)
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
            "report": str(watch.watched.folder / "report.md"),
            "evidence": str(watch.watched.folder / "evidence"),
        }
    )
    workflow.write_summary(monitor.report_text(seen))
    if github is not None and (kept := monitor.keep_issue(github, seen, answers)):
        print(f"{kept.html_url} tells of it", file=sys.stderr)
    if arguments.act:
        _act(arguments, environ, answers=answers, live=live, seen=seen)
    return seen.verdict.exit_code


def _opened(
    loaded: "Loaded",
    path: Path,
    arguments: Namespace,
    environ: Environ,
    commands: "Commands",
    **chosen: "Sequence[str]",
) -> "Watch":
    """Open the environment that is watched, as it is now; `chosen` may leave monitors out."""
    from ci_mlops import monitor

    with places.ledger(arguments, environ) as ledger:
        return monitor.opened(
            loaded,
            path,
            ledger=ledger,
            commands=commands,
            now=datetime.now(UTC),
            environ=environ,
            cores=os.cpu_count() or 1,
            **chosen,
        )


def retrain(arguments: Namespace, environ: Environ) -> int:
    """Train anew, and propose what comes of it."""
    from ci_mlops import config, pull_request, retrain
    from ci_mlops.command import Commands
    from ci_mlops.errors import ConfigError
    from ci_mlops.github import Workflow
    from ci_mlops.publish.posting import repository_of

    path = places.config_path(arguments)
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
            watch = _opened(loaded, path, arguments, environ, commands)
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


def _corrected(arguments: Namespace, workflow: "Workflow", environ: Environ) -> str:
    """Add a correction, or propose it; return the pull request's address, if there is one."""
    from ci_mlops import checkout, config, pull_request
    from ci_mlops.command import Commands
    from ci_mlops.feedback import add, contract, file, issue
    from ci_mlops.github import printable
    from ci_mlops.publish.posting import repository_of

    path = places.config_path(arguments)
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
    wanted: list[tuple[Callable[[Namespace, Environ], int], list[str]]] = []
    if "rollback" in answers and live is not None and live.promoted:
        words = ["rollback", seen.run.environment, f"--from={live.digest}"]
        wanted.append((releasing.rollback, words))
    elif "rollback" in answers:
        text = "nothing is rolled back: what is live there was made live by no promotion"
        print(f"{seen.run.environment}: {text}", file=sys.stderr)
    if "retrain" in answers:
        wanted.append((retrain, ["retrain"]))
    stopped: Stop | None = None
    for verb, words in wanted:
        try:
            with redirect_stdout(sys.stderr):
                given = [*words, *same, f"--reason={seen.reason()}"]
                verb(parser.parser().parse_args(given), environ)
        except Stop as fault:
            if stopped is not None:
                print(f"ci-mlops: {stopped}", file=sys.stderr)
            stopped = fault
    if stopped is not None:
        raise stopped

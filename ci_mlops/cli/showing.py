"""Verbs that show what was judged: publish, chatops, card, compliance, diff."""

import json
import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from ci_mlops.cli import judging, places
from ci_mlops.cli.places import Environ

if TYPE_CHECKING:
    from ci_mlops.card.content import Card
    from ci_mlops.publish.posting import Published


def publish(arguments: Namespace, environ: Environ) -> int:
    """Show a verdict on GitHub, and return its exit code."""
    from ci_mlops import config
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow
    from ci_mlops.publish import other_run, own_run
    from ci_mlops.publish.settings import PublishSettings

    path = places.config_path(arguments)
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
            gate_of=lambda run: places.gate_of_run(arguments, run, environ),
            via=arguments.via or loaded.publish.via,
            workflow=workflow,
            commands=commands,
        )
    return _say_published(published, as_json=arguments.json)


def chatops(arguments: Namespace, environ: Environ) -> int:
    """Obey a comment."""
    from ci_mlops import chatops
    from ci_mlops.github import Workflow
    from ci_mlops.publish.posting import repository_of

    workflow = Workflow.from_environ(environ)
    releases = chatops.Releases(config=arguments.config, workflow=arguments.workflow)
    print(chatops.obey(repository_of(workflow), workflow, releases))
    return 0


def card(arguments: Namespace, environ: Environ) -> int:
    """Write the model card, or say whether it is stale."""
    from ci_mlops.card import files
    from ci_mlops.errors import ConfigError

    made = _made_card(arguments, environ)
    path = places.config_path(arguments)
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


def compliance(arguments: Namespace, environ: Environ) -> int:
    """Say which evidence answers which rule."""
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


def diff(arguments: Namespace, environ: Environ) -> int:
    """Say how data changed."""
    from ci_mlops import diff
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow, printable

    found = diff.diff(
        diff.Asked(
            base=arguments.base,
            head=arguments.head,
            config=places.config_path(arguments),
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


def _made_card(arguments: Namespace, environ: Environ) -> "Card":
    from ci_mlops import config, evidence, verdict
    from ci_mlops.card import files
    from ci_mlops.card.content import Card
    from ci_mlops.errors import ConfigError

    path = places.config_path(arguments)
    loaded = config.load(path).config
    if loaded.model is None:
        raise ConfigError("has no `model` section", place=str(path))
    found = evidence.read_folder(places.evidence_folder(arguments))
    return Card(
        project=loaded.project,
        settings=loaded.model,
        human=files.human_part(path.parent, loaded.model),
        run=found.run,
        records=found.records,
        verdict=verdict.decide(
            places.gate_of_run(arguments, found.run, environ), found.run, found.records
        ),
        test=loaded.data.test,
    )


def _say_published(published: "Published", *, as_json: bool) -> int:
    from ci_mlops.github import escape_command

    for kind, lines in (("notice", published.notices), ("warning", published.warnings)):
        for line in lines:
            print(f"::{kind}::{escape_command(line)}", file=sys.stderr if as_json else sys.stdout)
    for one in published.judged:
        judging.say(one.verdict, one.run, as_json=as_json, reports=published.files)
    return max((one.verdict.exit_code for one in published.judged), default=0)

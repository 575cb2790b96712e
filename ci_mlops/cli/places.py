"""Where arguments and environment say that things are: configuration, evidence, ledger, gate."""

import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ci_mlops.command import Commands
    from ci_mlops.evidence import Run
    from ci_mlops.github import Workflow
    from ci_mlops.release.ledger import Ledger
    from ci_mlops.verdict import Gate


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


def warn(text: str, workflow: "Workflow") -> None:
    """Print a warning, as an annotation in a workflow."""
    from ci_mlops.github import escape_command

    told = f"::warning::{escape_command(text)}" if workflow.inside else f"warning: {text}"
    print(told, file=sys.stderr)


def config_path(arguments: Namespace) -> Path:
    """Return where mlops.yml is."""
    path: Path = arguments.config or Path("mlops.yml")
    return path


def evidence_folder(arguments: Namespace) -> Path:
    """Return where evidence is."""
    folder: Path = arguments.evidence or config_path(arguments).parent / ".mlops" / "evidence"
    return folder


def ledger(arguments: Namespace, environ: Environ) -> "AbstractContextManager[Ledger]":
    """Open the ledger."""
    from ci_mlops.release.ledger import ledger_at

    return ledger_at(*remote(arguments, environ))


def remote(arguments: Namespace, environ: Environ) -> "tuple[str, Commands]":
    """Return the ledger's remote, and the door by which git writes there."""
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.github import Workflow
    from ci_mlops.release.branch import remote_of

    repository = Repository.around(Path.cwd(), Commands(environ=environ))
    return remote_of(repository, arguments.ledger, Workflow.from_environ(environ))


def gate_of_run(arguments: Namespace, run: "Run", environ: Environ) -> "Gate":
    """Return the gate that judges a run."""
    from ci_mlops import pull_request
    from ci_mlops.command import Commands

    return pull_request.gate_of(
        run,
        config_path(arguments),
        named=bool(arguments.config),
        commands=Commands(environ=environ),
    )

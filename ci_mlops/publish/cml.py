"""The comment posted by Iterative's CML, for teams that have it already."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ci_mlops.command import Commands, Completed
from ci_mlops.errors import OutsideError
from ci_mlops.evidence import write_atomically
from ci_mlops.publish import publication
from ci_mlops.publish.publication import Judged
from ci_mlops.report import markdown

PROGRAM = "cml"
TIMEOUT_S = 300
WATERMARK_ROOM = 1000
"""Characters kept free: CML adds its watermark, and posts nothing beyond GitHub's limit."""
VERSION = re.compile(r"\d+\.\d+\.\d+")


def post(
    commands: Commands, folder: Path, number: int, judged: Sequence[Judged], token: str
) -> str:
    """Post a report with CML and return what was done in one line. Raises OutsideError.

    The token goes by environment: a command line can be read by every process of the machine.
    """
    program = shutil.which(PROGRAM, path=commands.environ.get("PATH"))
    if program is None:
        raise OutsideError(
            "there is no `cml` on PATH",
            remedy="Install it (`npm install --global @dvcorg/cml@0.20.6`) or set `via: github`",
        )
    door = commands.adding({"REPO_TOKEN": token, "CI": "true"})
    version = _version(door.run([program, "--version"], cwd=folder, timeout_s=TIMEOUT_S))
    report = folder / "report.cml.md"
    title = judged[0].run.project if len(judged) == 1 else "several"
    text = publication.text(judged, markdown.LIMIT - WATERMARK_ROOM)
    write_atomically(report, text.encode())
    done = door.run(arguments(program, number, title, report), cwd=folder, timeout_s=TIMEOUT_S)
    if done.code or done.timed_out:
        reason = f"no end after {TIMEOUT_S} s" if done.timed_out else _reason(done, token)
        raise OutsideError(f"cml {version} could not comment: {reason}")
    return f"the comment was posted by cml {version}"


def arguments(program: str, number: int, project: str, report: Path) -> list[str]:
    """Return CML's command line; each flag has its reason (measured with CML 0.20.6)."""
    return [
        program,
        "comment",
        # Edits the comment of the same watermark; `create` would add one with every push.
        "update",
        # By default CML uploads every local file that the report links to, to a third party, and
        # damages alerts, task lists and escaped pipes while it looks for them.
        "--publish=false",
        # Without it CML comments on a commit, under `workflow_run` on one of the default branch.
        f"--target=pr/{number}",
        # Keeps the comments of several projects apart.
        f"--watermark-title=ci-mlops:{project}",
        str(report),
    ]


def _version(done: Completed) -> str:
    found = VERSION.search(done.output + done.errors)
    return found[0] if found else "of unknown version"


def _reason(done: Completed, token: str) -> str:
    """Return why CML failed, on one line: it prints kilobytes, and with them the token's header."""
    text = done.errors + done.output
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [
        line for line in lines if re.search(r"(?i)error|not accessible|refused|denied", line)
    ]
    line = (telling or lines or [f"exit code {done.code}"])[0]
    return (line.replace(token, "***") if token else line)[:300]

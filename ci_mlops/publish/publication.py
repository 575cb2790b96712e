"""Judged projects in, one comment and a check for each out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ci_mlops.evidence import Folder, Record, Run
from ci_mlops.github.repository import Repository
from ci_mlops.publish import check, comment
from ci_mlops.publish.check import Commit
from ci_mlops.publish.comment import Entry, Posted
from ci_mlops.report import markdown
from ci_mlops.verdict import VERDICTS, Evidence, Reason, Verdict

SHORTEST_TOKEN = 8
"""A shorter secret would tear ordinary words out of the report."""
SEVERAL = "<!-- ci-mlops:+several -->"
"""Marks the comment of a repository with several projects; no project's name can hold a plus."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One project with its evidence and its verdict."""

    run: Run
    records: Evidence
    verdict: Verdict


def without(secret: str, folder: Folder) -> Folder:
    """Return evidence in which a secret is three stars, wherever a stage has printed it."""
    if len(secret) < SHORTEST_TOKEN:
        return folder
    return Folder(
        run=Run.model_validate_json(folder.run.model_dump_json().replace(secret, "***")),
        records={
            stage: Record.model_validate_json(one.model_dump_json().replace(secret, "***"))
            if isinstance(one, Record)
            else one
            for stage, one in folder.records.items()
        },
    )


def unbelieved(project: str, *, head: str, base: str, fault: str) -> Judged:
    """Return the verdict on evidence that cannot be read or believed: nothing of it is shown."""
    reason = Reason(stage="", outcome="error", text=fault)
    run = Run(
        project=project,
        head=head,
        base=base,
        judged_by="base",
        stages=(),
        started=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=0,
    )
    verdict = Verdict(outcome="error", reasons=(reason,), counts={})
    return Judged(run=run, records={}, verdict=verdict)


def worst(judged: Sequence[Judged]) -> Judged:
    """Return the project with the worst verdict."""
    return min(judged, key=lambda one: VERDICTS.index(one.verdict.outcome))


def text(judged: Sequence[Judged], limit: int) -> str:
    """Return the comment's text: the project's report, or those of several in one."""
    if len(judged) == 1:
        (one,) = judged
        return markdown.render(one.run, one.records, one.verdict, limit=limit)
    room = (limit - len(SEVERAL) - 1) // len(judged)
    reports = [
        markdown.render(one.run, one.records, one.verdict, limit=room - 1).partition("\n")[2]
        for one in sorted(judged, key=lambda one: VERDICTS.index(one.verdict.outcome))
    ]
    return "\n".join([SEVERAL, *reports])


def marker(judged: Sequence[Judged]) -> str:
    """Return the line by which the comment is found again."""
    return SEVERAL if len(judged) > 1 else markdown.marker(judged[0].run.project)


def post_comment(
    repository: Repository, number: int, commit: Commit, judged: Sequence[Judged]
) -> Posted:
    """Show the judged projects in one comment. Raises OutsideError."""
    changed = dict.fromkeys(name for one in judged for name in one.run.changed())
    entry = Entry(
        run=commit.run_id,
        attempt=commit.attempt,
        sha=commit.sha,
        outcome=worst(judged).verdict.outcome,
        changed=", ".join(changed)[:120],
    )
    return comment.put(
        repository,
        number,
        marker=marker(judged),
        entry=entry,
        render=lambda limit: text(judged, limit),
    )


def post_check(repository: Repository, commit: Commit, one: Judged) -> str:
    """Show one project's verdict as a check and return its address. Raises OutsideError."""
    return check.put(repository, check.request(commit, one.run, one.records, one.verdict))

"""Publishing in a trusted job: the evidence of another workflow run, judged and shown."""

from collections.abc import Sequence
from pathlib import Path

from ci_mlops.command import Commands
from ci_mlops.evidence import write_atomically
from ci_mlops.github.api import Clock
from ci_mlops.github.workflow import Workflow
from ci_mlops.publish import publication, trusted
from ci_mlops.publish.check import Commit
from ci_mlops.publish.posting import Poster, Published, repository_of
from ci_mlops.publish.publication import Judged
from ci_mlops.publish.settings import Via
from ci_mlops.publish.trusted import ReadRules, Request
from ci_mlops.report import markdown


def publish(
    run_id: int,
    folder: Path,
    *,
    read: ReadRules,
    via: Via,
    workflow: Workflow,
    commands: Commands,
    clock: Clock | None = None,
) -> Published:
    """Judge the evidence of another workflow run, and show the verdict on its pull request.

    Raises OutsideError when GitHub refuses: to publish is all that this job is for.
    """
    there = repository_of(workflow, clock)
    poster = Poster(repository=there, via=via, commands=commands, folder=folder)
    found = trusted.judge(there, run_id, read)
    if found.notice:
        workflow.write_outputs({"verdict": "skipped"})
        return Published(judged=(), notices=(found.notice,))
    commit = Commit(
        sha=found.run.head_sha,
        run_id=found.run.id,
        attempt=found.run.run_attempt,
        url=found.run.html_url,
    )
    shown = [poster.show(request.pull.number, commit, request.judged) for request in found.requests]
    judged = _worst_of_each(found.requests)
    checks = tuple(publication.post_check(there, commit, one) for one in judged)
    text = publication.text(judged, markdown.LIMIT)
    write_atomically(folder / "report.md", text.encode())
    workflow.write_summary(text)
    workflow.write_outputs(
        {
            "verdict": publication.worst(judged).verdict.outcome,
            "report": str(folder / "report.md"),
        }
    )
    return Published(
        judged=tuple(judged),
        files=(folder / "report.md",),
        comment=shown[0].url,
        checks=checks,
        notices=tuple(one.notice for one in shown if one.notice),
    )


def _worst_of_each(requests: Sequence[Request]) -> list[Judged]:
    """Return each project once, as the strictest base of its pull requests judged it.

    A check hangs on the commit: a second pull request onto a branch with a weaker gate must not
    turn it green for the first.
    """
    by_project: dict[str, list[Judged]] = {}
    for request in requests:
        for one in request.judged:
            by_project.setdefault(one.run.project, []).append(one)
    return [publication.worst(several) for several in by_project.values()]

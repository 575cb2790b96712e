"""The verdict as a check on the tested commit, with a remark on each line that it points at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ci_mlops.errors import OutsideError
from ci_mlops.evidence import Outcome, Run
from ci_mlops.github.api import LostError
from ci_mlops.github.repository import (
    ANNOTATIONS_A_REQUEST,
    Annotation,
    CheckRequest,
    CheckRun,
    Repository,
)
from ci_mlops.report import markdown
from ci_mlops.report.content import headline
from ci_mlops.report.escape import markdown as escaped
from ci_mlops.report.escape import plain, shortened
from ci_mlops.verdict import Evidence, Reason, Verdict, VerdictOutcome

LIMIT = 65_535
"""Characters of a summary. Source: GitHub's OpenAPI description, `checks/create`."""
MAX_ANNOTATIONS = 500
MAX_TRIES = 10
CONCLUSIONS: Mapping[VerdictOutcome, Literal["success", "failure", "neutral"]] = {
    "passed": "success",
    "warned": "neutral",
    "failed": "failure",
    "error": "failure",
}
LEVELS: Mapping[Outcome, Literal["notice", "warning", "failure"]] = {
    "error": "failure",
    "failed": "failure",
    "warned": "warning",
    "inconclusive": "warning",
    "skipped": "notice",
    "passed": "notice",
}


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What a check hangs on: the tested commit, and the workflow run that tested it."""

    sha: str
    run_id: int
    attempt: int
    url: str


def name(project: str) -> str:
    """Return the check's name, by which a ruleset can require it."""
    return f"ci-mlops ({project})"


def request(commit: Commit, run: Run, records: Evidence, verdict: Verdict) -> CheckRequest:
    """Put a verdict into a check."""
    text = markdown.render(run, records, verdict, limit=LIMIT)
    return CheckRequest(
        name=name(run.project),
        head_sha=commit.sha,
        external_id=f"{commit.run_id}.{commit.attempt}",
        details_url=commit.url,
        conclusion=CONCLUSIONS[verdict.outcome],
        title=shortened(plain(headline(run, verdict)), 255),
        summary=text.partition("\n")[2],
        annotations=tuple(annotations(verdict))[:MAX_ANNOTATIONS],
    )


def refusal(commit: Commit, project: str, reason: str) -> CheckRequest:
    """Return the red check of evidence that is not believed."""
    return CheckRequest(
        name=name(project),
        head_sha=commit.sha,
        external_id=f"{commit.run_id}.{commit.attempt}",
        details_url=commit.url,
        conclusion="failure",
        title=shortened(plain(f"{project}: could not judge"), 255),
        summary=escaped(reason, 2000),
    )


def annotations(verdict: Verdict) -> Iterator[Annotation]:
    """Yield a remark for each reason that has a place in a file, the worst first."""
    for reason in verdict.reasons:
        place = reason.check.place if reason.check else None
        if place is None or not _stays_inside(place.file):
            continue
        line = place.line or 1
        yield Annotation(
            path=place.file,
            start_line=line,
            end_line=line,
            annotation_level=LEVELS[reason.outcome],
            message=shortened(plain(_message(reason)), 4000) or reason.outcome,
            title=shortened(plain(f"{reason.stage}: {_name(reason)}"), 255),
        )


def put(repository: Repository, wanted: CheckRequest) -> str:
    """Show a check on its commit and return its address. Raises OutsideError.

    One of the same name and workflow run is changed in place of adding a second: so a creation
    whose answer was lost makes no double.
    """
    made = _made(repository, wanted)
    rest = wanted.annotations[ANNOTATIONS_A_REQUEST:]
    for first in range(0, len(rest), ANNOTATIONS_A_REQUEST):
        repository.update_check(made.id, wanted, rest[first : first + ANNOTATIONS_A_REQUEST])
    return made.html_url or ""


def _made(repository: Repository, wanted: CheckRequest) -> CheckRun:
    lost: LostError | None = None
    for _ in range(MAX_TRIES):
        for known in repository.checks(wanted.head_sha, wanted.name):
            if known.external_id == wanted.external_id:
                return repository.update_check(known.id, wanted)
        try:
            return repository.create_check(wanted)
        except LostError as fault:
            lost = fault
            repository.wait_for_lost("the check")
    raise OutsideError(f"the check could not be created in {MAX_TRIES} tries: {lost}")


def _message(reason: Reason) -> str:
    remedy = reason.check.remedy if reason.check else ""
    return f"{reason.text} {remedy}".strip()


def _name(reason: Reason) -> str:
    parts = (reason.check.name, reason.check.slice) if reason.check else ()
    return " · ".join(part for part in parts if part)


def _stays_inside(file: str) -> bool:
    path = PurePosixPath(file)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in file

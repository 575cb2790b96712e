"""People's corrections: the file that judges in, how many of them the model answers otherwise out.

The file is the judge's: a pull request that adds a correction is not held to it, and every later
model is. So is one that takes a correction out held to it once more.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_mlops.dataset import feedback
from ci_mlops.dataset.feedback import Case, Corrections
from ci_mlops.dataset.reading import inside
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Table, file_sha256
from ci_mlops.stage import Workspace
from ci_mlops.stages.behaviour import BehaviourStage, FeedbackFile
from ci_mlops.stages.behaviour.asking import Door
from ci_mlops.stages.behaviour.cases import Answered, answers, is_near, trial
from ci_mlops.stages.behaviour.declared import Real
from ci_mlops.stages.behaviour.trials import Trial


def digests(settings: BehaviourStage, workspace: Workspace) -> Mapping[str, str]:
    """Digests of the judge's corrections and of head's, where they are there."""
    file = settings.feedback_file()
    if file is None:
        return {}
    places = {side.name: side.root / file.file for side in (workspace.judge, workspace.head)}
    return {f"{name} {file.file}": file_sha256(p) for name, p in places.items() if p.is_file()}


def corrections(door: Door, settings: BehaviourStage, workspace: Workspace, real: Real) -> Trial:
    """Ask about each correction. Raises Spent, and CannotLook where the file is none of them."""
    file = settings.feedback_file()
    found = file and _found(file, workspace)
    if not found:
        return Trial(tried=0, skipped=_none_yet(workspace))
    if not found.cases:
        return Trial(tried=0, skipped=f"{found.place} holds no correction yet")
    cells = feedback.rows(found, real.domain)
    regression = door.settings.task == "regression"
    for case in found.cases:
        feedback.require_form(case, found.at(case), regression=regression)
    rows = real.domain.frame({name: [one[name] for one in cells] for name in real.domain.columns})
    given = answers(door, rows, real)
    pairs = list(zip(found.cases, given, strict=True))
    wrong = [
        n
        for n, (case, answer) in enumerate(pairs)
        if not _holds(case, answer, regression=regression)
    ]
    told = [(f"issue {c.issue} (line {c.line})", c.expected, answer) for c, answer in pairs]
    return trial(rows, wrong, told)


def evidence(settings: BehaviourStage, workspace: Workspace) -> Iterable[Table]:
    """Say what was held: the file, whose it is, its corrections, who made them, its digest."""
    file = settings.feedback_file()
    try:
        found = file and _found(file, workspace)
    except CannotLook:  # the check says why
        return
    if file and found:
        issues = len({case.issue for case in found.cases})
        digest = file_sha256(workspace.judge.root / file.file)
        yield Table(
            title="feedback: the corrections that judged",
            columns=("file", "of", "corrections", "issues", "sha256"),
            rows=((file.file, workspace.judge.name, len(found.cases), issues, digest),),
        )


def notes(settings: BehaviourStage, workspace: Workspace) -> Iterable[str]:
    """Say that head's corrections are others than those that judged."""
    file = settings.feedback_file()
    if file is None or workspace.judge is workspace.head:
        return
    own, judged = (_bytes(side.root / file.file) for side in (workspace.head, workspace.judge))
    if own != judged:
        yield (
            f"This pull request changes the corrections {file.file}; they judge what comes after "
            "it, and base's judged it."
        )


def _found(file: FeedbackFile, workspace: Workspace) -> Corrections | None:
    root = workspace.judge.root
    if not (root / file.file).exists():
        return None
    path = inside(root, file.file)
    if not path.is_file() or path.suffix != ".csv":
        raise CannotLook("is no .csv file", place=file.file, remedy="Write corrections as CSV")
    return feedback.parse(path.read_bytes(), file.file)


def _none_yet(workspace: Workspace) -> str:
    return f"{workspace.judge.name} has no corrections yet"


def _holds(case: Case, answer: Answered, *, regression: bool) -> bool:
    if isinstance(answer, str):
        return False
    choice = answer[0]
    if not regression:
        return feedback.is_class(case.expected, choice)
    expected = feedback.number(case.expected)
    if case.tolerance is None:
        return is_near(choice, expected)
    return bool(abs(choice - expected) <= case.tolerance)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""

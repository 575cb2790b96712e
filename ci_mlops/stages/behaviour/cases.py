"""Must-hold predictions: CSV files in, how many of them the model answers otherwise out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.dataset.domain import Domain, plain
from ci_mlops.dataset.feedback import class_name
from ci_mlops.dataset.reading import inside, read_frame
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import file_sha256
from ci_mlops.stage import Workspace
from ci_mlops.stages.behaviour import BehaviourStage, CaseFile
from ci_mlops.stages.behaviour.asking import Door, Refusal, Reply
from ci_mlops.stages.behaviour.declared import Real, decided
from ci_mlops.stages.behaviour.trials import Example, Trial

OWN = ("expected", "name", "tolerance")
SHOWN = 20


def digests(settings: BehaviourStage, workspace: Workspace) -> Mapping[str, str]:
    """Digests of the files of cases that are there, by path."""
    places = {one.file: place(workspace, one.file) / one.file for one in settings.case_files()}
    return {name: file_sha256(path) for name, path in places.items() if path.is_file()}


def place(workspace: Workspace, file: str) -> Path:
    """The checkout whose file judges: the judge's, or head's where the judge has none."""
    judge = workspace.judge.root
    return judge if (judge / file).is_file() else workspace.head.root


def cases(door: Door, root: Path, file: CaseFile, real: Real) -> Trial:
    """Ask about each case. Raises Spent, and CannotLook where the file is not one of cases."""
    domain = real.domain
    table = _read(root, file.file, domain)
    rows = domain.frame({name: plain(table[name]) for name in domain.columns})
    given = answers(door, rows, real)
    wrong = [n for n, answer in enumerate(given) if not _holds(answer, table.iloc[n], file)]
    expected = [str(one) for one in table["expected"]]
    return trial(rows, wrong, list(zip(_names(table), expected, given, strict=True)))


Answered = tuple[Any, float] | str
"""What was decided and its score, or why nothing was."""


def answers(door: Door, rows: pd.DataFrame, real: Real) -> list[Answered]:
    """Ask about n rows, at once or, where that is refused, one by one. Raises Spent."""
    reply = door.ask(rows)
    single = [door.ask(rows.iloc[[n]]) for n in range(len(rows))] if _refused(reply) else []
    return [
        _answer(door, rows.iloc[[n]], single[n] if single else _one(reply, n), real)
        for n in range(len(rows))
    ]


def trial(rows: pd.DataFrame, wrong: list[int], told: list[tuple[str, str, Answered]]) -> Trial:
    """Return what asking came to; `told` is each row's name, what is right, what was answered."""
    missed = tuple((told[n][0], told[n][1], text(told[n][2])) for n in wrong)
    said = "{} expects {}, and it answered {}".format(*missed[0]) if missed else ""
    return Trial(
        tried=len(rows),
        broken=len(wrong),
        said=said,
        example=Example(rows=rows.iloc[[wrong[0]]], breaks=None) if wrong else None,
        wrong=missed[:SHOWN],
        which=tuple(wrong),
    )


def _read(root: Path, file: str, domain: Domain) -> pd.DataFrame:
    if not file.endswith(".csv"):
        raise CannotLook("is no .csv file", place=file, remedy="Write the cases as CSV")
    inside(root, file)
    table = read_frame(root, file)
    missing = [one for one in ("expected", *domain.columns) if one not in table.columns]
    if missing:
        raise CannotLook(
            f"has no column {missing[0]!r}",
            place=file,
            remedy="Cases have every column that the model takes, and `expected`",
        )
    if table.empty or table["expected"].isna().any():
        what = "holds no case" if table.empty else "has a case without `expected`"
        raise CannotLook(what, place=file)
    unknown = [one for one in table.columns if one not in {*OWN, *domain.columns}]
    if unknown:
        raise CannotLook(
            f"has the column {unknown[0]!r}, which the model does not take",
            place=file,
            remedy=f"Leave it out; columns of its own are {', '.join(OWN)}",
        )
    for name, column in domain.columns.items():
        if column.kind == "number" and not pd.api.types.is_numeric_dtype(table[name].dtype):
            raise CannotLook(f"holds something else than numbers in column {name!r}", place=file)
    if "tolerance" in table and not pd.api.types.is_numeric_dtype(table["tolerance"].dtype):
        raise CannotLook("holds a tolerance that is no number", place=file)
    return table


def _refused(reply: Reply | Refusal) -> bool:
    return isinstance(reply, Refusal)


def _one(reply: Reply | Refusal, row: int) -> Reply | Refusal:
    return reply if isinstance(reply, Refusal) else reply.at(np.array([row]))


def _answer(door: Door, row: pd.DataFrame, reply: Reply | Refusal, real: Real) -> Answered:
    if isinstance(reply, Refusal):
        return reply.said
    made = decided(door, row, reply, real.labels)
    if not made.known[0]:
        return "NaN or infinity"
    score = float(made.scores[0]) if made.scores.ndim == 1 else float("nan")
    return made.choices[0], score


def _holds(answer: Answered, case: "pd.Series[Any]", file: CaseFile) -> bool:
    if isinstance(answer, str):
        return False
    choice, score = answer
    expected, tolerance = case["expected"], case.get("tolerance")
    if tolerance is not None and not pd.isna(tolerance):
        try:
            return bool(abs(score - float(expected)) <= float(tolerance))
        except ValueError as fault:
            raise CannotLook(
                f"expects {expected!r} with a tolerance, which needs a number", place=file.file
            ) from fault
    if isinstance(choice, float):
        return is_near(choice, float(expected))
    return class_name(choice) == class_name(expected)


def is_near(value: float, expected: float) -> bool:
    """Whether a value is the expected one but for rounding."""
    return bool(abs(value - expected) <= 1e-6 * max(1.0, abs(value)))


def _names(table: pd.DataFrame) -> list[str]:
    if "name" not in table:
        return [f"line {n + 2}" for n in range(len(table))]
    return [str(one) for one in table["name"]]


def text(answer: Answered) -> str:
    """What was answered, with its score, or why nothing was."""
    if isinstance(answer, str):
        return answer
    choice, score = answer
    if isinstance(choice, float):
        return f"{choice:.9g}"
    return class_name(choice) if np.isnan(score) else f"{class_name(choice)} ({score:.4g})"

"""Workspace in, aligned answers out: truth, head's and base's answers for the same rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Outcome
from ci_mlops.model.settings import Task
from ci_mlops.stage import Part, Side, Workspace
from ci_mlops.stats.scoring import Answers

if TYPE_CHECKING:
    from ci_mlops.model.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Absent:
    """Answers that are not there, why, and whether that is a fault."""

    reason: str
    outcome: Outcome = "skipped"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Head's answers on its test rows, and both sides' answers on the rows that they share."""

    frame: pd.DataFrame
    """Head's labelled test rows, in the order of `head`."""
    head: Answers
    predictions: "Predictions"
    base: Answers | Absent
    """Base's answers, in the order of `shared`."""
    shared: Answers
    """Head's answers on the rows that base answered too; `head` itself where these are all."""
    shared_frame: pd.DataFrame
    notes: tuple[str, ...] = ()

    def identical(self) -> bool:
        """Whether base and head answer every shared row the same."""
        if isinstance(self.base, Absent):
            return False
        one, other = self.shared.scores, self.base.scores
        if (one is None) != (other is None):
            return False
        same = np.array_equal(self.shared.predicted, self.base.predicted)
        return same and (one is None or other is None or np.array_equal(one, other))


def task_of(side: Side) -> Task:
    """The task of a side's model. Raises CannotLook without a `model` section."""
    if side.model is None:
        raise CannotLook(f"{side.name} has no `model` section", remedy="Add `model:` to mlops.yml")
    return side.model.task


def gather(workspace: Workspace) -> Pair:
    """Head's answers and base's for the same rows. Raises CannotLook when head has none."""
    side = workspace.head
    task = task_of(side)
    table = workspace.table(side, "test").frame
    predictions = workspace.predictions(model=side, data=side, part="test")
    frame, unlabelled = labelled(table, side.data.label, "test")
    notes = (
        [f"{unlabelled} of {len(table)} test rows have no label and were left out."]
        if unlabelled
        else []
    )
    found = _base(workspace, task, notes)
    base_predictions = None if isinstance(found, Absent) else found
    base: Answers | Absent = found if isinstance(found, Absent) else Absent(reason="")
    classes = class_names(frame[side.data.label], predictions, base_predictions)
    head = answers(frame, side, predictions, classes)
    shared = frame
    if base_predictions is not None:
        shared = frame[frame.index.isin(base_predictions.keys)]
        if not len(shared):
            base = Absent(reason="base and head share no test row", outcome="error")
        else:
            base = answers(shared, side, base_predictions, classes)
    return Pair(
        frame=frame,
        head=head,
        predictions=predictions,
        base=base,
        shared=head if len(shared) == len(frame) else answers(shared, side, predictions, classes),
        shared_frame=shared,
        notes=tuple(notes),
    )


def train_answers(
    workspace: Workspace, side: Side
) -> tuple[pd.DataFrame, Answers, "Predictions"] | Absent:
    """A side's answers for its own labelled training rows, or why there are none."""
    files = side.model.predictions if side.model else None
    if side.data.train is None:
        return Absent(reason="`data.train` is not given")
    if files is not None and files.train is None:
        return Absent(reason="`model.predictions.train` is not given")
    try:
        table = workspace.table(side, "train").frame
        predictions = workspace.predictions(model=side, data=side, part="train")
        frame, _ = labelled(table, side.data.label, "train")
    except CannotLook as fault:
        return Absent(reason=str(fault), outcome="error")
    classes = class_names(frame[side.data.label], predictions, None)
    return frame, answers(frame, side, predictions, classes), predictions


def labelled(frame: pd.DataFrame, label: str, part: Part) -> tuple[pd.DataFrame, int]:
    """The rows with a label and how many have none. Raises CannotLook when no row has one."""
    if label not in frame.columns:
        raise CannotLook(
            f"the {part} data has no column {label!r}", place="data.label", remedy="Name the label"
        )
    known = frame[frame[label].notna()]
    if known.empty:
        raise CannotLook(f"no {part} row has a label", place=f"data.{part}")
    return known, len(frame) - len(known)


def class_names(
    labels: "pd.Series[Any]", head: "Predictions", base: "Predictions | None"
) -> tuple[str, ...]:
    """Names of all classes: head's in their order, then whatever else labels and base hold."""
    names = [_name(one) for one in head.classes]
    others = [*(base.classes if base else ()), *pd.unique(labels)]
    names += sorted({_name(one) for one in others} - set(names))
    return tuple(names)


def answers(
    frame: pd.DataFrame, side: Side, predictions: "Predictions", classes: tuple[str, ...]
) -> Answers:
    """Predictions joined to labelled rows by key. Raises CannotLook for a row without an answer."""
    task = task_of(side)
    rows = predictions.keys.get_indexer(frame.index)
    if (rows < 0).any():
        raise CannotLook(f"{int((rows < 0).sum())} labelled rows have no prediction")
    truth, predicted = frame[side.data.label].to_numpy(), predictions.predicted[rows]
    if task == "regression":
        values, given = pd.to_numeric(pd.Series(truth), errors="coerce"), predicted.astype(float)
        if not np.isfinite(values.to_numpy(dtype=float)).all() or not np.isfinite(given).all():
            raise CannotLook("labels or predictions are not finite numbers", place="data.label")
        return Answers(task=task, truth=values.to_numpy(dtype=float), predicted=given)
    numbers = {name: number for number, name in enumerate(classes)}
    own = [_name(one) for one in predictions.classes]
    scores = None
    if predictions.scores is not None:
        scores = np.zeros((len(rows), len(classes)))
        scores[:, [numbers[name] for name in own]] = predictions.scores[rows]
    positive = own[-1] if own else classes[-1]
    if side.data.positive is not None:
        positive = _name(side.data.positive)
    if task == "binary" and positive not in numbers:
        raise CannotLook(f"{positive} is not among the classes {classes}", place="data.positive")
    return Answers(
        task=task,
        truth=_numbered(truth, numbers),
        predicted=_numbered(predicted, numbers),
        scores=scores,
        classes=classes,
        positive=numbers.get(positive, 0),
    )


def _numbered(values: Any, numbers: dict[str, int]) -> np.ndarray:
    codes, distinct = pd.factorize(pd.Series(values, dtype=object))
    return np.array([numbers[_name(one)] for one in distinct], dtype=np.int64)[codes]


def _name(value: Any) -> str:
    plain = value.item() if hasattr(value, "item") else value
    whole = isinstance(plain, float) and plain.is_integer()
    return str(int(plain) if whole else plain)


def _base(workspace: Workspace, task: Task, notes: list[str]) -> "Absent | Predictions":
    base = workspace.base
    if base is None:
        return Absent(reason=workspace.base_missing or "there is no base")
    reason = ""
    if base.model is None:
        reason = "the base has no `model` section"
    elif base.model.task != task:
        reason = f"the base's model is {base.model.task}, the head's {task}"
    elif base.data.label != workspace.head.data.label:
        reason = f"the base's model predicts another column, {base.data.label}"
    return Absent(reason=reason) if reason else _asked(workspace, base, notes)


def _asked(workspace: Workspace, base: Side, notes: list[str]) -> "Absent | Predictions":
    try:
        return workspace.predictions(model=base, data=workspace.head, part="test")
    except CannotLook as fault:
        first = str(fault)
    try:
        found = workspace.predictions(model=base, data=base, part="test")
    except CannotLook as fault:
        reason = f"the base's model answers neither head's rows ({first}) nor its own ({fault})"
        return Absent(reason=reason, outcome="error")
    notes.append(
        "The base's model cannot answer head's test rows, so it is compared on its own test rows"
        f" with the same keys: {first}"[:2000]
    )
    return found

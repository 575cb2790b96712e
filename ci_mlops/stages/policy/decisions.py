"""Favourable truths and decisions of the head's test rows, and their counts by group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ci_mlops.errors import CannotLook
from ci_mlops.model.predictions import Predictions
from ci_mlops.stage import Side, Workspace
from ci_mlops.stats import groups as group_stats
from ci_mlops.stats.groups import GroupCounts

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Favourable truths and decisions for n rows of the head's test data."""

    truth: np.ndarray
    decided: np.ndarray


def decisions(model: Side, workspace: Workspace) -> Decisions:
    """Return one side's decisions on the head's test rows. Raises CannotLook."""
    table = workspace.table(workspace.head, "test")
    made = workspace.predictions(model=model, data=workspace.head, part="test")
    if not made.classes:
        raise CannotLook(
            "group rates need classes, but the task is a regression",
            place="stages.policy.packs",
            remedy="Use a pack whose rules are of kind `mean_error_gap`",
        )
    favourable = favourable_class(workspace, made)
    labels = table.frame[workspace.head.data.label]
    for label in labels.unique():
        if label not in made.classes:
            # Such as "1" against 1: every row would silently count as unfavourable.
            raise CannotLook(
                f"the label {label!r} is not among the model's classes {list(made.classes)}",
                place="data.label",
                remedy="Give the test data the labels that the model was trained with",
            )
    return Decisions(truth=_is(labels, favourable), decided=_is(made.predicted, favourable))


def counted(
    model: Side, names: tuple[str, ...], workspace: Workspace, *, above_median: bool = False
) -> tuple[GroupCounts, ...]:
    """Count one side's decisions by group; "selected" may mean a score above the median.

    Raises CannotLook when the model gives labels only and scores are asked for.
    """
    frame = workspace.table(workspace.head, "test").frame
    groups = group_stats.group_names(frame[list(names)])
    made = decisions(model, workspace)
    decided = made.decided
    if above_median:
        predictions = workspace.predictions(model=model, data=workspace.head, part="test")
        if predictions.scores is None:
            raise CannotLook("a scoring rate needs scores, but the model gives only labels")
        favourable = predictions.classes.index(favourable_class(workspace, predictions))
        column = predictions.scores[:, favourable]
        decided = column > np.median(column)
    return group_stats.count(made.truth, decided, groups)


def favourable_class(workspace: Workspace, made: Predictions) -> Any:
    """Return the favourable class as the model writes it."""
    positive = workspace.head.data.positive
    return made.classes[-1] if positive is None else member(positive, made.classes)


def member(value: Any, classes: Sequence[Any]) -> Any:
    """Return `value` as the model writes it. Raises CannotLook when it is no class."""
    for one in classes:
        if one == value or str(one) == str(value):
            return one
    raise CannotLook(
        f"the label {value!r} is not among the model's classes {list(classes)}",
        place="data.label",
    )


def _is(values: "pd.Series[Any] | np.ndarray", favourable: Any) -> np.ndarray:
    plain = np.asarray(values, dtype=object)
    found: np.ndarray = (plain == favourable).astype(bool)
    return found


def label(names: tuple[str, ...]) -> str:
    """Return how a feature, or a combination of features, is written."""
    return " × ".join(names)

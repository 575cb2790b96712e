"""Decisions that head's model takes otherwise than the base's: how many, for whom, and why."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Limit, Outcome, Scalar, Table
from ci_mlops.model.predict import positive_class
from ci_mlops.model.predictions import Predictions
from ci_mlops.stages.explain.importance import plain
from ci_mlops.stats import groups as group_stats
from ci_mlops.stats.attribution import contributions, walks

if TYPE_CHECKING:
    import pandas as pd

    from ci_mlops.stage import Workspace
    from ci_mlops.stages.explain import ExplainStage
    from ci_mlops.stages.explain.judging import Look

WALKS = 24
"""Orders of the features that each flip is explained by; each needs a row for every feature."""
NAMED = 4
"""Features that are named for a flip."""


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Which of n test rows are decided otherwise."""

    turned: NDArray[np.bool_]
    """Shape (n,)."""
    change: NDArray[np.float64]
    """How much the favoured score moved, shape (n,); zeros without scores."""
    tables: list[Table]

    @property
    def percent(self) -> float:
        """Rows that are decided otherwise, in percent."""
        return 100 * float(self.turned.mean())


def look(view: "Look") -> Flips | None:
    """Return the decisions that changed; None for values, or where the base cannot be asked."""
    workspace, settings = view.workspace, view.settings
    head, base = workspace.head, workspace.base
    if base is None or head.model is None or head.model.task == "regression":
        return None
    ours = workspace.predictions(model=head, data=head, part="test")
    try:
        theirs = workspace.predictions(model=base, data=head, part="test")
    except CannotLook as fault:
        view.notes.append(f"Decisions were not compared: {fault}"[:500])
        return None
    now = np.array([plain(one) for one in ours.predicted])
    before = np.array([plain(one) for one in theirs.predicted])
    turned = np.asarray(now != before)
    return Flips(
        turned=turned,
        change=_change(workspace, ours, theirs),
        tables=_tables(settings, workspace, turned, _favourable(workspace, ours, now)),
    )


def check(settings: "ExplainStage", found: Flips) -> Check:
    """Hold the share of flipped decisions against its limit."""
    limit = settings.max_flipped_percent
    flips, rows = int(found.turned.sum()), len(found.turned)
    over = limit is not None and not (found.percent <= limit)
    broken: Outcome = "warned" if settings.on_flipped == "warn" else "failed"
    return Check(
        name="flipped-decisions",
        outcome=broken if over else "passed",
        observed=found.percent,
        limit=None if limit is None else Limit(at_most=limit),
        unit="%",
        rows=rows,
        message=f"{flips:,} of {rows:,} test rows are decided otherwise than by the base's model.",
        remedy="Look at whom they concern below; raise the limit if they are meant" if over else "",
    )


def largest(view: "Look", found: Flips) -> list[Table]:
    """Explain the largest flips by what each feature adds to the change. Raises Spent, Refused."""
    places = np.flatnonzero(found.turned & (found.change != 0))
    still = int(found.turned.sum()) - len(places)
    if still:
        view.notes.append(
            f"Of the flipped decisions {still:,} have the score that they had: the threshold, or "
            "labels without scores, turned them."
        )
    places = places[np.argsort(-np.abs(found.change[places]), kind="stable")][: view.settings.flips]
    if not len(places) or len(view.doors) < 2:
        return []
    table = view.workspace.table(view.workspace.head, "test").frame
    inputs = list(view.inputs)
    rows: list[tuple[Scalar, ...]] = []
    for number, place in enumerate(places, 1):
        one = table.iloc[int(place) : int(place) + 1][inputs]
        values, errors = _explained(view, one, number)
        order = np.argsort(-np.abs(values), kind="stable")[:NAMED]
        said = [f"{inputs[n]} {values[n]:+.3f} ± {1.96 * errors[n]:.3f}" for n in order]
        cells = [*said, *[""] * (NAMED - len(said))]
        rows.append((number, round(float(found.change[place]), 4), *cells))
    columns = ("flip", "change of score", *(f"feature {n + 1}" for n in range(NAMED)))
    title = f"Largest flips: what each feature adds to the change ({WALKS} sampled orders)"
    return [Table(title=title, columns=columns, rows=tuple(rows))]


def _explained(
    view: "Look", row: "pd.DataFrame", number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Shapley values of head's answer less the base's, and their standard errors."""
    count = len(view.inputs)
    made = walks(count, len(view.frame), count=WALKS, seed=view.settings.seed + number)
    steps = count + 1
    background = view.frame.take(np.repeat(made.background, steps)).reset_index(drop=True)
    taken = made.taken.reshape(-1, count)
    mixed = {
        name: background[name].where(~taken[:, n], row[name].iloc[0])
        for n, name in enumerate(view.inputs)
    }
    frame = background.assign(
        **{name: held.astype(background[name].dtype) for name, held in mixed.items()}
    )
    answers = []
    for door in view.doors[:2]:
        reply = door.ask(frame)
        answers.append(reply.values[:, door.focus(reply)])
    return contributions((answers[0] - answers[1]).reshape(-1, steps), made)


def _change(workspace: "Workspace", ours: Predictions, theirs: Predictions) -> NDArray[np.float64]:
    """Return how far each row's scores moved: of the favoured class, or the largest move."""
    alike = [plain(c) for c in ours.classes] == [plain(c) for c in theirs.classes]
    if ours.scores is None or theirs.scores is None or not alike:
        return np.zeros(len(ours.predicted))
    moved = ours.scores - theirs.scores
    if len(ours.classes) == 2:
        favoured = positive_class(ours.classes, workspace.head.data.positive)
        return np.asarray(moved[:, list(ours.classes).index(favoured)])
    return np.asarray(np.take_along_axis(moved, np.abs(moved).argmax(axis=1)[:, None], 1)[:, 0])


def _favourable(
    workspace: "Workspace", ours: Predictions, now: NDArray[Any]
) -> NDArray[np.bool_] | None:
    """Which rows get the favoured class now; None for more than two classes."""
    if len(ours.classes) != 2:
        return None
    favoured = plain(positive_class(ours.classes, workspace.head.data.positive))
    return np.asarray(now == favoured)


def _tables(
    settings: "ExplainStage",
    workspace: "Workspace",
    turned: NDArray[np.bool_],
    favourable: NDArray[np.bool_] | None,
) -> list[Table]:
    table = workspace.table(workspace.head, "test").frame
    data = workspace.head.data
    wanted = settings.groups
    if wanted is None:
        wanted = tuple((column,) for column in data.sensitive if column in table.columns)
    if not turned.any():
        return []
    columns = ["group", "rows", "flipped", "%"]
    columns += [] if favourable is None else ["to the favourable", "to the other"]
    made = []
    for names in wanted:
        groups = group_stats.group_names(table[list(names)]).to_numpy()
        rows: list[tuple[Scalar, ...]] = []
        for group in sorted(set(groups)):
            own = groups == group
            cells: list[Scalar] = [str(group), int(own.sum()), int((own & turned).sum())]
            cells.append(round(100 * float(turned[own].mean()), 2))
            if favourable is not None:
                cells += [int((own & turned & favourable).sum())]
                cells += [int((own & turned & ~favourable).sum())]
            rows.append(tuple(cells))
        title = f"Flipped decisions by {' and '.join(names)}"
        made.append(
            Table(
                title=title,
                columns=tuple(columns),
                rows=tuple(rows[:60]),
                left_out=max(0, len(rows) - 60),
            )
        )
    return made

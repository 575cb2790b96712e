"""Importance as a table and a chart, and the dependence of answers on the first features."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ci_mlops.evidence import Chart, Line2D, Scalar, Table
from ci_mlops.stages.explain.importance import Asked
from ci_mlops.stats.importance import ranks

if TYPE_CHECKING:
    from ci_mlops.stages.explain.judging import Look

SHOWN = 30
BARS = 10
POINTS = 12
"""Values of a feature at which its dependence is drawn."""
ROWS = 200
"""Rows whose answers are averaged at each of them."""


def importance_table(asked: Asked, shap: Mapping[str, float]) -> Table:
    """Return each feature's share with its interval and rank, the first ones first."""
    ours, base = asked.head.shares(), asked.base
    theirs = base.shares() if base else {}
    names = sorted(ours, key=lambda name: -ours[name].value)
    places = dict(zip(names, ranks([ours[name].value for name in names]), strict=True))
    known = list(theirs)
    before = dict(zip(known, ranks([theirs[name].value for name in known]), strict=True))
    rows: list[tuple[Scalar, ...]] = []
    for name in names[:SHOWN]:
        share, old = ours[name], theirs.get(name)
        was = before.get(name)
        size = shap.get(name)
        last: tuple[Scalar, ...] = (None if size is None else float(f"{size:.4g}"),)
        rows.append(
            (
                name,
                round(100 * share.value, 2),
                f"{100 * share.low:.1f} to {100 * share.high:.1f}",
                None if old is None else round(100 * old.value, 2),
                places[name],
                None if was is None else was - places[name],
                *(last if shap else ()),
            )
        )
    columns: tuple[str, ...] = ("feature", "share %", "95 %", "base %", "rank", "ranks gained")
    columns += ("mean |SHAP|",) if shap else ()
    title = f"Importance: rise of the loss when values are exchanged, {asked.rows:,} rows"
    return Table(
        title=title, columns=columns, rows=tuple(rows), left_out=max(0, len(names) - SHOWN)
    )


def importance_chart(asked: Asked) -> Chart:
    """Return the first features' shares, beside the base's."""
    ours = asked.head.shares() or asked.head.moved_shares()
    names = sorted(ours, key=lambda name: -ours[name].value)[:BARS]
    lines = [Line2D(name="head", values=tuple(100 * ours[name].value for name in names))]
    if asked.base is not None:
        theirs = asked.base.shares() or asked.base.moved_shares()
        old = tuple(100 * theirs[n].value if n in theirs else None for n in names)
        lines.insert(0, Line2D(name="base", values=old))
    return Chart(
        title="What the model relies on",
        y_title="share of importance, %",
        labels=tuple(names) or ("nothing",),
        lines=tuple(lines) if names else (Line2D(name="head", values=(0.0,)),),
    )


def dependence(look: "Look") -> Iterator[Chart]:
    """Yield how the mean answer depends on each of the first features (Friedman 2001, section 8.2).

    Columns that are hidden or sensitive are left out, since their values would be shown. Raises
    Spent, Refused, CannotLook.
    """
    ours = look.asked.head.importance()
    single = [n for n in ours if n in look.inputs and n not in look.secret]
    names = sorted(single, key=lambda name: -ours[name].value)[: look.settings.dependence]
    few = look.frame.iloc[:ROWS]
    for name in names:
        grid = _grid(look.frame[name])
        if len(grid) < 2:
            continue
        frame = few.take(np.tile(np.arange(len(few)), len(grid))).reset_index(drop=True)
        values = pd.Series(np.repeat(np.arange(len(grid)), len(few))).map(dict(enumerate(grid)))
        frame = frame.assign(**{name: values.astype(look.frame[name].dtype)})
        lines: list[Line2D] = []
        for side, door in zip(("head", "base"), look.doors, strict=False):
            reply = door.ask(frame)
            answers = reply.values[:, door.focus(reply)].reshape(len(grid), -1)
            lines.insert(0, Line2D(name=side, values=tuple(answers.mean(axis=1).tolist())))
        yield Chart(
            title=f"Mean answer by {name}",
            kind="line",
            x_title=name,
            y_title="mean answer",
            labels=tuple(_label(one) for one in grid),
            lines=tuple(lines),
        )


def _grid(values: "pd.Series") -> list[object]:
    """Return the values to draw at: quantiles of numbers, else the most frequent ones."""
    held = values.dropna()
    number = pd.api.types.is_numeric_dtype(held.dtype) and not pd.api.types.is_bool_dtype(
        held.dtype
    )
    if number and held.nunique() > POINTS:
        ranked = held.sort_values(ignore_index=True)
        places = np.linspace(0.02, 0.98, POINTS) * (len(ranked) - 1)
        return list(dict.fromkeys(ranked.iloc[np.round(places).astype(int)].tolist()))
    frequent = held.value_counts().index[:POINTS].tolist()
    return sorted(frequent) if number else frequent


def _label(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]

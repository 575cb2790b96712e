"""What changed, drawn: decisions, confusion, score and error distributions; they decide nothing."""

import numpy as np

from ci_mlops.evidence import Chart, Line2D, Metric, Table
from ci_mlops.stages.model.answers import Absent, Pair
from ci_mlops.stats.scoring import Answers

BINS = 10
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
MAX_CLASSES = 12


def decisions_changed(pair: Pair) -> tuple[tuple[Metric, ...], tuple[Table, ...], tuple[str, ...]]:
    """How many decisions changed against base, from what to what; nothing for values."""
    if isinstance(pair.base, Absent) or pair.head.task == "regression":
        return (), (), ()
    before, after = pair.base.predicted.astype(int), pair.shared.predicted.astype(int)
    moved = before != after
    figure = Metric(name="decisions_changed", value=float(moved.mean() * 100), unit="%")
    if pair.identical():
        return (figure,), (), ("Predictions are identical at base and head.",)
    pairs, counts = np.unique(
        np.column_stack([before[moved], after[moved]]), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    names = pair.shared.classes
    kinds = [(names[pairs[n][0]], names[pairs[n][1]], int(counts[n])) for n in order]
    total, rows = int(moved.sum()), len(moved)
    listed = ", ".join(f"{count} from {old} to {new}" for old, new, count in kinds[:4])
    more = f", {total - sum(kind[2] for kind in kinds[:4])} others" if len(kinds) > 4 else ""
    note = f"{total} of {rows} decisions changed" + (f": {listed}{more}." if total else ".")
    if not total:
        return (figure,), (), (note,)
    table = Table(
        title="Decisions changed",
        columns=("base", "head", "rows"),
        rows=tuple(kinds[:50]),
        left_out=max(0, len(kinds) - 50),
    )
    return (figure,), (table,), (note[:2000],)


def tables(pair: Pair) -> tuple[Table, ...]:
    """Confusion per side, or quantiles of the absolute error."""
    base = None if isinstance(pair.base, Absent) else pair.base
    if pair.head.task == "regression":
        rows = tuple(
            (f"{share:.0%}", _error(pair.head, share), _error(base, share) if base else None)
            for share in QUANTILES
        )
        return (
            Table(
                title="Absolute error by quantile", columns=("of rows", "head", "base"), rows=rows
            ),
        )
    if len(pair.head.classes) > MAX_CLASSES:
        return ()
    sides = (("head", pair.head), *((("base", base),) if base else ()))
    return tuple(_confusion(side, answers) for side, answers in sides)


def charts(pair: Pair) -> tuple[Chart, ...]:
    """How the positive class's probability is distributed; for values, the absolute error."""
    base = None if isinstance(pair.base, Absent) else pair.base
    sides = (*((("base", base),) if base else ()), ("head", pair.head))
    if pair.head.task == "regression":
        lines = [
            Line2D(name=side, values=tuple(_error(one, share) for share in QUANTILES))
            for side, one in sides
        ]
        return (
            Chart(
                title="Absolute error",
                kind="line",
                x_title="share of rows",
                y_title="error at most",
                labels=tuple(f"{share:.0%}" for share in QUANTILES),
                lines=tuple(lines),
            ),
        )
    shown = [(side, one) for side, one in sides if one.scores is not None]
    if pair.head.task != "binary" or not shown:
        return ()
    lines = [Line2D(name=side, values=_histogram(one)) for side, one in shown]
    positive = pair.head.classes[pair.head.positive]
    return (
        Chart(
            title=f"Probability of {positive}"[:200],
            x_title="probability, upper end",
            y_title="% of rows",
            labels=tuple(f"{(n + 1) / BINS:.1f}" for n in range(BINS)),
            lines=tuple(lines),
        ),
    )


def _histogram(answers: Answers) -> tuple[float, ...]:
    if answers.scores is None:
        return ()
    counts, _ = np.histogram(answers.scores[:, answers.positive], bins=BINS, range=(0, 1))
    return tuple(float(share) for share in np.round(counts * 100 / len(answers.truth), 2))


def _error(answers: Answers, share: float) -> float:
    errors = np.abs(answers.predicted.astype(float) - answers.truth.astype(float))
    return float(np.quantile(errors, share))


def _confusion(side: str, answers: Answers) -> Table:
    count = len(answers.classes)
    flat = answers.truth.astype(int) * count + answers.predicted.astype(int)
    cells = np.bincount(flat, minlength=count * count).reshape(count, count)
    return Table(
        title=f"Confusion at {side}",
        columns=("label", *(f"predicted {name}"[:200] for name in answers.classes)),
        rows=tuple(
            (name, *(int(cell) for cell in row))
            for name, row in zip(answers.classes, cells, strict=True)
        ),
    )

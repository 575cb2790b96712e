"""Checks of monitor accuracy: what has arrived, drops since then, classes, and the estimate."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ci_mlops.evidence import Chart, Check, Interval, Limit, Line2D, Metric, Outcome
from ci_mlops.monitors.reading import answered, members, plain, scores
from ci_mlops.stage import Findings
from ci_mlops.stats import moved, sequential
from ci_mlops.stats.estimating import estimated_accuracy

if TYPE_CHECKING:
    from ci_mlops.model.predictions import Predictions
    from ci_mlops.monitors.accuracy import AccuracyMonitor
    from ci_mlops.monitors.production import Watched

MAX_CLASSES = 5
FEWEST = 50
"""Judged rows of a class below which nothing is held to its share of right answers."""
RIGHT_REGRESSIONS = 0.9


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Rows whose label is known, in the order of time."""

    truth: "pd.Series[Any]"
    """Positions of classes, or values, shape (n,)."""
    right: NDArray[np.bool_]
    times: "pd.Series[Any]"
    usual_error: float = 0.0
    """Of a regression, the error up to which an answer counts as right."""

    def __len__(self) -> int:
        return len(self.right)

    def of(self, kept: NDArray[np.bool_]) -> "Answers":
        """Return some of the rows."""
        return Answers(truth=self.truth[kept], right=self.right[kept], times=self.times[kept])


def judge(settings: "AccuracyMonitor", watched: "Watched") -> Findings:
    """Return what the labels that have arrived show. Raises CannotLook."""
    log = watched.predictions_of(timedelta(days=settings.history_days))
    asked = answered(log, watched)
    labels = watched.arrived_labels()
    frame, judged = watched.judged()
    truth = frame[watched.reference.data.label]
    kept = truth.notna().to_numpy()
    before = _judged_answers(judged, truth, kept)
    if labels is None or not labels.index.isin(asked.index).any():
        return _without_labels(settings, watched, asked, judged, (before, kept))
    joined = asked.join(labels[[watched.head.data.label]], how="inner")
    now = _current_answers(joined, joined[watched.head.data.label], judged, before)
    checks = [
        _arrived(settings, watched, asked, joined),
        _accuracy(settings, now, before),
        *_classes(settings, now, before, judged),
        *_label_shift(settings, now, before, judged),
    ]
    sampled = (
        f"{log.rows} predictions were made in {settings.history_days:g} days; a random "
        f"{len(log.answers)} were looked at."
    )
    return Findings(
        checks=tuple(checks),
        metrics=(
            Metric(
                name="accuracy",
                value=float(now.right.mean()) if len(now) else 0.0,
                base=float(before.right.mean()),
            ),
            Metric(name="labels", value=float(len(now))),
        ),
        charts=tuple(_chart(now, before)),
        notes=(sampled,) if log.rows > len(log.answers) else (),
    )


# --- rows ---------------------------------------------------------------------------------------


def _judged_answers(
    judged: "Predictions", truth: "pd.Series[Any]", kept: NDArray[np.bool_]
) -> Answers:
    times = pd.Series(np.arange(int(kept.sum())))
    if judged.classes:
        known = members(list(truth[kept]), judged.classes)
        guess = members(list(judged.predicted[kept]), judged.classes)
        return Answers(truth=known, right=(known == guess).to_numpy(), times=times)
    known = truth[kept].astype(float).reset_index(drop=True)
    errors = np.abs(judged.predicted[kept].astype(float) - known.to_numpy())
    usual = float(np.quantile(errors, RIGHT_REGRESSIONS))
    return Answers(truth=known, right=errors <= usual, times=times, usual_error=usual)


def _current_answers(
    joined: pd.DataFrame, labels: "pd.Series[Any]", judged: "Predictions", before: Answers
) -> Answers:
    if judged.classes:
        known = members(labels, judged.classes)
        guess = members(joined["predict"], judged.classes)
        right = (known == guess).to_numpy()
        return Answers(truth=known, right=right, times=joined["time"])
    known = pd.to_numeric(labels, errors="coerce")
    errors = np.abs(pd.to_numeric(joined["predict"]).to_numpy() - known.to_numpy(dtype=float))
    held = ~np.isnan(errors)
    return Answers(
        truth=known[held], right=errors[held] <= before.usual_error, times=joined["time"][held]
    )


# --- checks -------------------------------------------------------------------------------------


def _arrived(
    settings: "AccuracyMonitor", watched: "Watched", asked: pd.DataFrame, joined: pd.DataFrame
) -> Check:
    """Return whether enough of the labels that are due have arrived."""
    due_until = pd.Timestamp(watched.now - timedelta(days=settings.labels_within_days))
    due = asked.index[asked["time"] < due_until]
    common: dict[str, Any] = {"name": "labels-arrived", "unit": "%"}
    if not len(due):
        text = f"{len(joined)} labels have arrived; none is due yet."
        return Check(name="labels-arrived", outcome="passed", rows=len(joined), message=text)
    share = 100 * float(due.isin(joined.index).mean())
    limit = Limit(at_least=settings.min_arrived_percent)
    holds = limit.allows(share)
    return Check(
        outcome="passed" if holds else "inconclusive",
        observed=share,
        limit=limit,
        rows=len(due),
        message=f"{share:.0f} % of the labels of predictions older than "
        f"{settings.labels_within_days:g} days have arrived; {len(joined)} are there in all.",
        remedy="" if holds else "Find out why labels are late: those that are there may mislead",
        **common,
    )


def _accuracy(settings: "AccuracyMonitor", now: Answers, before: Answers) -> Check:
    return _held(settings, now, before, slice_="", what="answers")


def _classes(
    settings: "AccuracyMonitor", now: Answers, before: Answers, judged: "Predictions"
) -> Iterable[Check]:
    """Yield a check of each class's own share of right answers, so that a rare one counts too."""
    if not 2 <= len(judged.classes) <= MAX_CLASSES:
        return
    for position, name in enumerate(judged.classes):
        was = before.of((before.truth == position).to_numpy())
        is_ = now.of((now.truth == position).to_numpy())
        if len(was) >= FEWEST:
            label = f"label {plain(name)}"
            yield _held(settings, is_, was, slice_=label, what=f"answers where {label} was right")


def _held(
    settings: "AccuracyMonitor", now: Answers, before: Answers, *, slice_: str, what: str
) -> Check:
    """Hold a share of right answers to the judged one by a cumulative sum."""
    expected = float(before.right.mean())
    common: dict[str, Any] = {
        "name": "accuracy",
        "slice": slice_,
        "base": expected,
        "rows": len(now),
        "limit": Limit(at_least=-settings.max_drop, of="change"),
    }
    if len(now) < settings.min_labels:
        text = f"{len(now)} labels are too few to judge {what}."
        return Check(outcome="inconclusive", message=text, **common)
    found = sequential.drop(now.right, _careful(before), settings.max_drop)
    # Where there is an alarm, the evidence since the drop began; else everything.
    since = now.right[found.since :] if found.alarm else now.right
    low, high = moved.wilson(int(since.sum()), len(since))
    share = float(since.mean())
    outcome: Outcome = "failed" if found.alarm else "passed"
    begun = ""
    if found.alarm:
        begun = f" since {now.times.iloc[min(found.since, len(now) - 1)]:%Y-%m-%d}"
    return Check(
        outcome=outcome,
        observed=share,
        interval=Interval(low=low, high=high),
        message=f"{100 * share:.1f} % of {len(since)} {what}{begun} were right; "
        f"{100 * expected:.1f} % were when it was judged.",
        remedy="Retrain on what is new, or roll back" if found.alarm else "",
        **common,
    )


def _careful(before: Answers) -> float:
    """Return the judged share less one standard error: the judged rows are a sample, too."""
    share = float(before.right.mean())
    return share - math.sqrt(share * (1 - share) / len(before))


def _label_shift(
    settings: "AccuracyMonitor", now: Answers, before: Answers, judged: "Predictions"
) -> Iterable[Check]:
    """Yield a check of each class whose share among the labels moved, and one of all others."""
    if not judged.classes or len(now) < settings.min_labels:
        return
    quiet = True
    for position, name in _every_class(judged):
        was, is_ = (before.truth == position).to_numpy(), (now.truth == position).to_numpy()
        share = float(was.mean())
        error = math.sqrt(share * (1 - share) / len(was))
        allowed = settings.max_label_shift + error
        found = max(
            (
                sequential.drop(is_, share, allowed),
                sequential.drop(~is_, 1 - share, allowed),
            ),
            key=lambda one: (one.alarm, one.statistic),
        )
        if found.alarm:
            quiet = False
            since = is_[found.since :]
            low, high = moved.wilson(int(since.sum()), len(since))
            yield Check(
                name="label-shift",
                outcome="failed",
                slice=f"label {plain(name)}",
                observed=float(since.mean()),
                base=share,
                limit=Limit(
                    at_least=-settings.max_label_shift,
                    at_most=settings.max_label_shift,
                    of="change",
                ),
                interval=Interval(low=low, high=high),
                rows=len(since),
                message=f"{100 * float(since.mean()):.1f} % of the labels since "
                f"{now.times.iloc[min(found.since, len(now) - 1)]:%Y-%m-%d} are {plain(name)}; "
                f"{100 * share:.1f} % were in the judged data.",
                remedy="Check how labels are taken; if the world has changed, retrain",
            )
    if quiet:
        text = "The classes stand among the labels as they did in the judged data."
        yield Check(name="label-shift", outcome="passed", rows=len(now), message=text)


def _every_class(judged: "Predictions") -> list[tuple[int, object]]:
    """Return the classes whose shares are followed: of two, one says it all."""
    named = list(enumerate(judged.classes))
    return named[-1:] if len(named) == 2 else named[:MAX_CLASSES]


# --- no label -----------------------------------------------------------------------------------


def _without_labels(
    settings: "AccuracyMonitor",
    watched: "Watched",
    asked: pd.DataFrame,
    judged: "Predictions",
    rows: tuple[Answers, NDArray[np.bool_]],
) -> Findings:
    """Return an estimate, which decides nothing: it cannot see that the labels' meaning moved."""
    before, kept = rows
    named = "No label has arrived yet" if watched.labels else "No labels are named"
    told = scores(asked, len(judged.classes)) if judged.classes else None
    remedy = "" if watched.labels else "Name where they arrive: `monitors.labels`"
    if told is None or judged.scores is None or len(told) < settings.min_labels:
        text = f"{named}, and without probabilities nothing can be estimated."
        if told is not None and len(told) < settings.min_labels:
            text = f"{named}, and {len(told)} predictions are too few for an estimate."
        check = Check(name="accuracy", outcome="inconclusive", message=text, remedy=remedy)
        return Findings(checks=(check,))
    guess = members(list(judged.predicted[kept]), judged.classes).to_numpy().astype(int)
    own = judged.scores[kept][np.arange(len(guess)), guess]
    now = members(asked["predict"], judged.classes)
    chances = told[np.arange(len(now)), now.fillna(0).to_numpy().astype(int)]
    found = estimated_accuracy(own, before.right, chances)
    limit = Limit(at_least=-settings.max_drop, of="change")
    expected = float(before.right.mean())
    fallen = found.high < expected - settings.max_drop
    check = Check(
        name="accuracy",
        outcome="warned" if fallen else "inconclusive",
        slice="estimated",
        observed=found.value,
        base=expected,
        limit=limit,
        interval=Interval(low=found.low, high=found.high),
        rows=len(now),
        message=f"{named}. By the model's own confidence {100 * found.value:.1f} % of its answers "
        f"would be right; {100 * expected:.1f} % were when it was judged.",
        remedy=remedy,
    )
    return Findings(checks=(check,))


def _chart(now: Answers, before: Answers) -> Iterable[Chart]:
    """Yield the share of right answers by week."""
    weeks = now.times.dt.tz_convert(None).dt.to_period("W").dt.start_time.dt.strftime("%m-%d")
    by_week = pd.Series(now.right).groupby(weeks.to_numpy(), sort=False).mean()
    if len(by_week) > 1:
        yield Chart(
            title="Right answers by week",
            kind="line",
            y_title="share",
            labels=tuple(str(one) for one in by_week.index[-60:]),
            lines=(
                Line2D(name="now", values=tuple(float(one) for one in by_week.iloc[-60:])),
                Line2D(name="judged", values=(float(before.right.mean()),) * min(60, len(by_week))),
            ),
        )

"""Checks of monitor drift: inputs, answers, contract, volume, freshness, and Deepchecks' view."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ci_mlops.dataset import contract
from ci_mlops.dataset.columns import kinds
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Chart, Check, Interval, Limit, Line2D, Metric, Outcome, Table
from ci_mlops.monitors.drift import moves
from ci_mlops.monitors.drift.moves import Column, Move
from ci_mlops.monitors.reading import answered, as_reference, plain, scores, window_words
from ci_mlops.monitors.sources.prediction_log import Log
from ci_mlops.stage import Findings
from ci_mlops.stats import moved

if TYPE_CHECKING:
    from ci_mlops.model.predictions import Predictions
    from ci_mlops.monitors.drift import DriftMonitor
    from ci_mlops.monitors.production import Watched

DAY = timedelta(days=1)
REMEDY = "Find out what changed where the inputs come from; if it is here to stay, retrain on it"


def judge(settings: "DriftMonitor", watched: "Watched") -> Findings:
    """Return what the prediction log of the window shows. Raises CannotLook."""
    window = timedelta(days=settings.window_days)
    log = watched.predictions_of(window)
    checks = [*_freshness(settings, watched, log), *_volume(settings, watched, log)]
    notes = [f"{log.spoiled} lines of the prediction log could not be read."] * bool(log.spoiled)
    if log.rows < settings.min_rows:
        return Findings(checks=(*checks, _too_few(settings, log)), notes=tuple(notes))
    frame, judged = watched.judged()
    known = [str(name) for name in log.inputs.columns if name in frame.columns]
    missing = [name for name in judged.inputs if name not in known]
    if missing:
        notes.append(
            f"Not in the prediction log, so not looked at: {', '.join(sorted(missing)[:20])}."
        )
    reference = frame[known]
    current = as_reference(log.inputs[known], reference)
    columns = _columns(watched, log, (reference, current), judged)
    found = _moves(settings, watched, log, columns)
    tools: dict[str, str] = {}
    checks += _shift_checks(settings, found, log.rows)
    checks += _contract_checks(settings, watched, log, (reference, current))
    if settings.deepchecks:
        seen, tools = _deepchecks(watched, reference, current, log, judged)
        checks += seen
    return Findings(
        checks=tuple(checks),
        metrics=(
            Metric(name="predictions", value=float(log.rows)),
            *(
                Metric(name="shift", value=one.distance.value, slice=one.column.name)
                for one in found[0]
            ),
        ),
        tables=(_table(found[0]),),
        charts=tuple(_chart(watched, log)),
        notes=tuple(notes),
        tools=tools,
    )


# --- what moved ---------------------------------------------------------------------------------


def _moves(
    settings: "DriftMonitor", watched: "Watched", log: Log, columns: list[Column]
) -> list[list[Move]]:
    """Return the moves of the whole window and, where it is longer, of its last day."""
    recent = log.answers["time"] >= pd.Timestamp(watched.now - DAY)
    own_day = settings.window_days > 1 and int(recent.sum()) >= settings.min_rows
    looks = 2 if own_day else 1
    limit = settings.max_shift
    early = _first_half(watched, log, settings.window_days)
    found = [moves.moves(columns, first_half=early, limit=limit, looks=looks)]
    if own_day:
        day = log.answers.index[recent]
        last = [replace(one, current=one.current[one.current.index.isin(day)]) for one in columns]
        early = _first_half(watched, log, 1)
        found.append(moves.moves(last, first_half=early, limit=limit, looks=looks))
    return found


def _first_half(watched: "Watched", log: Log, days: float) -> "pd.Index[Any]":
    """Return the rows in the first half of the time that the log covers of the last days."""
    times = log.answers["time"]
    end = pd.Timestamp(watched.now)
    begin = max(times.min(), end - pd.Timedelta(days=days))
    early = (times >= begin) & (times < begin + (end - begin) / 2)
    index: pd.Index[Any] = log.answers[early].index
    return index


def _columns(
    watched: "Watched", log: Log, rows: tuple[pd.DataFrame, pd.DataFrame], judged: "Predictions"
) -> list[Column]:
    """Return inputs, as judged and now, and what was answered by the version that is live."""
    reference, current = rows
    found = [
        Column(name=name, kind=kind, reference=reference[name], current=current[name])
        for name, kind in kinds(reference, watched.reference.data).items()
        if kind in {"number", "category"}
    ]
    answers = answered(log, watched)
    if answers.empty:
        return found
    if not judged.classes:
        before, after = pd.Series(judged.predicted), pd.to_numeric(answers["predict"])
        return [*found, Column(name="answers", kind="number", reference=before, current=after)]
    before = pd.Series([plain(one) for one in judged.predicted])
    after = answers["predict"].map(plain)
    found.append(Column(name="answers", kind="category", reference=before, current=after))
    told = scores(answers, len(judged.classes))
    if told is not None and judged.scores is not None:
        for position, name in _shown_classes(judged):
            one = pd.Series(judged.scores[:, position])
            two = pd.Series(told[:, position], index=answers.index)
            found.append(
                Column(name=f"probability of {name}", kind="number", reference=one, current=two)
            )
    return found


def _shown_classes(judged: "Predictions") -> list[tuple[int, str]]:
    """Return the classes whose probabilities are compared: of two, one says it all."""
    named = [(position, str(one)) for position, one in enumerate(judged.classes)]
    return named[-1:] if len(named) == 2 else named[:20]


def _shift_checks(
    settings: "DriftMonitor", found: Sequence[Sequence[Move]], rows: int
) -> Iterable[Check]:
    """Yield a check of each column that moved, and one of all others."""
    limit = Limit(at_most=settings.max_shift)
    told: dict[str, Check] = {}
    for days, looked in zip((settings.window_days, 1.0), found, strict=False):
        for move in looked:
            if not move.beyond(settings.max_shift):
                continue
            known = told.get(move.column.name)
            if known is None or (known.outcome == "warned" and move.lasting):
                told[move.column.name] = _shift_check(move, limit, window_words(days))
    yield from told.values()
    every = {move.column.name for looked in found for move in looked}
    if not every:
        yield Check(
            name="shift",
            outcome="inconclusive",
            message="No input has enough values to be compared.",
        )
    elif len(every) > len(told):
        quiet = [one.distance.value for one in found[0] if one.column.name not in told]
        yield Check(
            name="shift",
            outcome="passed",
            observed=max(quiet, default=0.0),
            limit=limit,
            rows=rows,
            message=f"{len(every) - len(told)} of {len(every)} inputs and answers are distributed "
            "as in the data that was judged.",
        )


def _shift_check(move: Move, limit: Limit, window: str) -> Check:
    outcome: Outcome = "failed" if move.lasting else "warned"
    burst = "" if move.lasting else " Only one half of that time shows it, so it may pass."
    return Check(
        name="shift",
        outcome=outcome,
        slice=move.column.name,
        observed=move.distance.value,
        limit=limit,
        interval=Interval(low=move.distance.low, high=move.distance.high),
        rows=len(move.column.current),
        message=f"The values of {move.column.name} moved in {window}: {moves.told(move)}.{burst}",
        remedy=REMEDY,
    )


# --- the contract -------------------------------------------------------------------------------


def _contract_checks(
    settings: "DriftMonitor",
    watched: "Watched",
    log: Log,
    rows: tuple[pd.DataFrame, pd.DataFrame],
) -> Iterable[Check]:
    """Yield a check of each rule of the contract that is broken; what half a window shows warns."""
    reference, current = rows
    early = current.index.isin(_first_half(watched, log, settings.window_days))
    whole, *halves = (
        _violations(settings, watched, reference, part)
        for part in (current, current[early], current[~early])
    )
    named = [{(one.rule, one.column) for one in half} for half in halves]
    for one in whole:
        lasting = all((one.rule, one.column) in half for half in named)
        burst = "" if lasting else " Only one half of the window shows it."
        yield Check(
            name="contract",
            outcome="failed" if lasting else "warned",
            slice=f"{one.column}: {one.rule}",
            observed=one.observed,
            limit=Limit(at_most=one.limit),
            interval=_interval(one),
            rows=one.rows,
            message=f"{one.message}{burst}",
            remedy="Mend what fills it, or refuse such requests; the model has not learned them",
        )
    if not whole:
        yield Check(
            name="contract",
            outcome="passed",
            rows=len(current),
            message=f"{len(current.columns)} inputs keep the contract of the data.",
        )


def _interval(one: contract.Violation) -> Interval | None:
    """Return the interval of what was observed; a fact, such as a lost column, has none."""
    if not one.of:
        return None
    low, high = moved.wilson(one.rows, one.of)
    scale = one.observed * one.of / one.rows  # 1 for a share, `of` for a count
    return Interval(low=scale * low, high=scale * high)


def _violations(
    settings: "DriftMonitor", watched: "Watched", reference: pd.DataFrame, part: pd.DataFrame
) -> list[contract.Violation]:
    given = watched.head.contract
    inside = {
        name: {k: v for k, v in getattr(given, name).items() if k in reference.columns}
        for name in ("null_rate", "range", "categories")
    }
    return contract.examine(
        part,
        reference,
        given.model_copy(update={**inside, "required": (), "unique": ()}),
        watched.reference.data,
        null_rate_slack=settings.null_rate_slack,
        out_of_range_share=settings.out_of_range_share,
        new_category_share=settings.new_category_share,
    )


# --- how much, how lately -----------------------------------------------------------------------


def _too_few(settings: "DriftMonitor", log: Log) -> Check:
    return Check(
        name="shift",
        outcome="inconclusive",
        rows=log.rows,
        limit=Limit(at_least=settings.min_rows),
        observed=float(log.rows),
        message=f"{log.rows} predictions in {window_words(settings.window_days)} are too few to "
        "compare.",
        remedy="Look at a longer window, or lower `min_rows`",
    )


def _freshness(settings: "DriftMonitor", watched: "Watched", log: Log) -> Iterable[Check]:
    if settings.max_age_hours is None:
        return
    limit = Limit(at_most=settings.max_age_hours)
    common: dict[str, Any] = {"name": "freshness", "limit": limit, "unit": "h"}
    if log.answers.empty:
        text = f"Nothing was predicted in {window_words(settings.window_days)}."
        remedy = "Check that the server runs, that it is asked, and that its log arrives here"
        yield Check(outcome="failed", message=text, remedy=remedy, **common)
        return
    newest = log.answers["time"].max()
    age = (pd.Timestamp(watched.now) - newest).total_seconds() / 3600
    holds = limit.allows(age)
    yield Check(
        outcome="passed" if holds else "failed",
        observed=age,
        message=f"The newest prediction is {age:.1f} hours old.",
        remedy="" if holds else "Check that the server runs, and that its log arrives here",
        **common,
    )


def _volume(settings: "DriftMonitor", watched: "Watched", log: Log) -> Iterable[Check]:
    """Compare the last day with the days before, by the rows of the log."""
    if settings.max_volume_factor is None or log.answers.empty:
        return
    ages = (
        pd.Timestamp(watched.now) - log.answers["time"]
    ).dt.total_seconds() / DAY.total_seconds()
    scale = log.rows / len(ages)
    whole = int(min(settings.window_days, ages.max()))
    per_day = [scale * float(((ages >= day) & (ages < day + 1)).sum()) for day in range(whole)]
    if len(per_day) < 4:
        yield Check(
            name="volume",
            outcome="skipped",
            message="Fewer than four whole days are there to compare the number of predictions.",
        )
        return
    usual = float(np.median(per_day[1:]))
    most, least = max(per_day[0], usual), max(1.0, min(per_day[0], usual))
    # Small counts differ by chance: two standard deviations of a Poisson count are taken off.
    factor = max(1.0, most - 2 * most**0.5) / (least + 2 * least**0.5)
    holds = not factor > settings.max_volume_factor
    low, high = moved.count_interval(round(per_day[0] / scale))
    yield Check(
        name="volume",
        outcome="passed" if holds else "failed",
        observed=per_day[0],
        interval=Interval(low=scale * low, high=scale * high),
        limit=Limit(
            at_least=usual / settings.max_volume_factor, at_most=usual * settings.max_volume_factor
        ),
        unit="per day",
        message=f"{per_day[0]:.0f} predictions in the last day; {usual:.0f} a day is usual.",
        remedy="" if holds else "Check who asks, and whether requests are lost or sent twice",
    )


# --- Deepchecks ---------------------------------------------------------------------------------


def _deepchecks(
    watched: "Watched",
    reference: pd.DataFrame,
    current: pd.DataFrame,
    log: Log,
    judged: "Predictions",
) -> tuple[list[Check], dict[str, str]]:
    """Return Deepchecks' comparison of the window with the reference; it warns at most."""
    from ci_mlops.deepchecks.suites import inspect_drift

    answers = answered(log, watched)
    if len(answers) < moves.FEWEST:
        text = "Too few answers of what is live for Deepchecks to compare."
        return [Check(name="deepchecks", outcome="inconclusive", message=text)], {}
    try:
        found = inspect_drift(
            reference=reference,
            current=current.loc[answers.index],
            before=np.array([plain(one) for one in judged.predicted])
            if judged.classes
            else judged.predicted,
            after=answers["predict"].map(plain).to_numpy()
            if judged.classes
            else answers["predict"].to_numpy(dtype=float),
            task="multiclass" if judged.classes else "regression",
            categorical=tuple(
                name
                for name, kind in kinds(reference, watched.reference.data).items()
                if kind == "category"
            ),
            commands=watched.commands,
            cores=watched.cores,
        )
    except CannotLook as fault:
        return [Check(name="deepchecks", outcome="error", message=str(fault)[:2000])], {}
    return [
        check.model_copy(update={"outcome": "warned"}) if check.outcome == "failed" else check
        for check in found.checks
    ], dict(found.tools)


# --- shown --------------------------------------------------------------------------------------


def _table(found: Sequence[Move]) -> Table:
    ordered = sorted(found, key=lambda one: -one.distance.value)
    rows = tuple(
        (
            one.column.name,
            one.column.kind,
            round(one.distance.value, 4),
            round(one.distance.low, 4),
            round(one.distance.high, 4),
            f"{one.adjusted:.2g}",
        )
        for one in ordered[:100]
    )
    columns = ("input or answer", "kind", "distance", "low", "high", "p, adjusted")
    return Table(
        title="Distance of the window from the data that was judged",
        columns=columns,
        rows=rows,
        left_out=max(0, len(ordered) - 100),
    )


def _chart(watched: "Watched", log: Log) -> Iterable[Chart]:
    """Yield predictions by day, for the eye."""
    scale = log.rows / len(log.answers)
    by_day = log.answers.groupby(log.answers["time"].dt.strftime("%m-%d")).size()
    if len(by_day) > 1:
        yield Chart(
            title=f"Predictions by day in {watched.environment}",
            kind="bar",
            labels=tuple(str(one) for one in by_day.index[-60:]),
            lines=(
                Line2D(
                    name="predictions", values=tuple(float(scale * n) for n in by_day.iloc[-60:])
                ),
            ),
        )

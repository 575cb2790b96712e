"""Metrics against their limits and against base; the change must be sure to fail."""

from collections.abc import Mapping

from ci_mlops.evidence import Check, Interval, Limit, Metric
from ci_mlops.stages.model import MetricRule, ModelStage
from ci_mlops.stages.model.answers import Absent, Pair
from ci_mlops.stats import metrics as catalogue
from ci_mlops.stats.bootstrap import Resampled, Spread
from ci_mlops.stats.scoring import Answers, Undefined, calibration_error, measure


def metric_checks(
    settings: ModelStage, pair: Pair, spreads: Mapping[str, Resampled]
) -> tuple[Check, ...]:
    """One check for each limit of each judged metric."""
    checks: list[Check] = []
    for name, rule in settings.rules(pair.head.task).items():
        metric = catalogue.find(name, pair.head.task)
        if metric is None:
            raise ValueError(f"{name} is no metric of {pair.head.task}")
        spread = spreads.get(name)
        if rule.at_least is not None or rule.at_most is not None:
            checks.append(_level(metric, rule, pair.head, spread.head if spread else None))
        if rule.tolerance() is not None:
            checks.append(_change(metric, rule, settings, pair, spread.change if spread else None))
    return tuple(checks)


def metric_figures(pair: Pair) -> tuple[Metric, ...]:
    """Every metric of the task that has a value, with base's on the shared rows."""
    figures: list[Metric] = []
    for metric in catalogue.METRICS[pair.head.task]:
        value = measure(pair.head, metric.name)
        if not isinstance(value, Undefined):
            figures.append(
                Metric(name=metric.name, value=value, base=_value_at_base(pair, metric.name))
            )
    if pair.head.scores is not None:
        error = calibration_error(pair.head)
        before = None if isinstance(pair.base, Absent) else calibration_error(pair.base)
        if not isinstance(error, Undefined):
            known = None if isinstance(before, Undefined) else before
            figures.append(Metric(name="calibration_error", value=error, base=known))
    return tuple(figures)


def _value_at_base(pair: Pair, name: str) -> float | None:
    if isinstance(pair.base, Absent):
        return None
    value = measure(pair.base, name)
    return None if isinstance(value, Undefined) else value


def _kebab(metric: catalogue.Metric) -> str:
    return metric.name.replace("_", "-")


def _level(
    metric: catalogue.Metric, rule: MetricRule, head: Answers, spread: Spread | None
) -> Check:
    name = f"{_kebab(metric)}-limit"
    value = measure(head, metric.name)
    if isinstance(value, Undefined):
        return Check(
            name=name,
            outcome="error",
            message=f"{metric.name} has no value: {value.reason}.",
            remedy="Choose a metric that these test rows and this model allow.",
        )
    limit = Limit(at_least=rule.at_least, at_most=rule.at_most)
    bound = rule.at_least if rule.at_least is not None else rule.at_most
    words = "at least" if rule.at_least is not None else "at most"
    good = limit.allows(value)
    return Check(
        name=name,
        outcome="passed" if good else "failed",
        message=f"{metric.name} is {value:.4g} on {len(head.truth)} test rows; {words} {bound:g}"
        " is required.",
        observed=value,
        limit=limit,
        interval=Interval(low=spread.low, high=spread.high) if spread else None,
        rows=len(head.truth),
        remedy="" if good else "Improve the model, or discuss the limit in a change of its own.",
    )


def _change(
    metric: catalogue.Metric,
    rule: MetricRule,
    settings: ModelStage,
    pair: Pair,
    spread: Spread | None,
) -> Check:
    name, tolerance = f"{_kebab(metric)}-against-base", rule.tolerance()
    if isinstance(pair.base, Absent) or tolerance is None:
        reason = pair.base.reason if isinstance(pair.base, Absent) else "no tolerance is set"
        outcome = pair.base.outcome if isinstance(pair.base, Absent) else "skipped"
        message = f"{metric.name} was not compared: {reason}."
        return Check(name=name, outcome=outcome, message=message[:2000])
    after, before = measure(pair.shared, metric.name), measure(pair.base, metric.name)
    if isinstance(after, Undefined) or isinstance(before, Undefined):
        fault = after if isinstance(after, Undefined) else before
        side = "head" if isinstance(after, Undefined) else "base"
        reason = fault.reason if isinstance(fault, Undefined) else ""
        return Check(
            name=name,
            outcome="error",
            message=f"{metric.name} has no value at {side}: {reason}.",
            remedy="Choose a metric that these test rows and this model allow.",
        )
    rows, change, allowed = len(pair.shared.truth), after - before, tolerance.of(before)
    higher = metric.better == "higher"
    limit = Limit(of="change", **({"at_least": -allowed} if higher else {"at_most": allowed}))
    seen = f"{metric.name} went from {before:.4g} to {after:.4g} ({change:+.4g}"
    sure = f"; 95 % interval {spread.low:+.4g} to {spread.high:+.4g}" if spread else ""
    said = f"{seen}{sure}) on {rows} rows"
    outcome, meaning, remedy = "passed", "; within the tolerance", ""
    if pair.identical():
        meaning = "; predictions are identical"
    elif rows < settings.min_rows:
        outcome = "inconclusive"
        meaning = f", fewer than the {settings.min_rows} that are needed to decide"
        remedy = "Add test rows."
    elif not limit.allows(change):
        surely_worse = spread is not None and (spread.high < 0 if higher else spread.low > 0)
        direction = "fall" if higher else "rise"
        meaning = f", a {direction} beyond the tolerance of {allowed:.4g}"
        if surely_worse:
            outcome, remedy = "failed", "See the worst slices for where it is lost, then retrain."
        else:
            outcome, remedy = "inconclusive", "Add test rows: these are too few to tell."
            meaning += ", but chance alone could explain it"
    return Check.model_validate(
        {
            "name": name,
            "outcome": outcome,
            "message": f"{said}{meaning}.",
            "observed": after,
            "base": before,
            "limit": limit,
            "interval": spread and Interval(low=spread.low, high=spread.high, of="change"),
            "rows": rows,
            "remedy": remedy,
        }
    )

"""What is kept of a run for the dashboard: its verdict and its figures, without rows and words."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Annotated, Literal

from pydantic import Field

from ci_mlops.evidence import Check, Line, Metric, Outcome, ProjectName, Record, Run, StageName
from ci_mlops.evidence import text_sha256 as digest
from ci_mlops.report.escape import plain, shortened
from ci_mlops.values import Many, Value
from ci_mlops.verdict import Evidence, Verdict, VerdictOutcome

MAX_FIGURES = 250
MAX_REASONS = 5
MAX_NAME = 100
EnvironmentName = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")]
Short = Annotated[str, Field(max_length=MAX_NAME)]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class Figure(Value):
    """One check or metric of a run."""

    stage: StageName
    name: Short
    slice: Short = ""
    unit: Annotated[str, Field(max_length=20)] = ""
    outcome: Outcome | None = None
    """Of the check; a metric has none."""
    value: float | None = None
    """What was observed; none where it is no number."""
    low: float | None = None
    high: float | None = None
    """The interval. One of the change is laid on the base's figure, which it is a change of."""
    at_least: float | None = None
    at_most: float | None = None
    """The limit; one of the change likewise."""


class Summary(Value):
    """One run: of main, or of an environment's monitors."""

    schema_version: Literal[1] = 1
    project: ProjectName
    environment: EnvironmentName = ""
    """The environment that was watched; empty for a run that judged what is on main."""
    verdict: VerdictOutcome
    when: Moment
    seconds: Annotated[float, Field(ge=0)]
    commit: Annotated[str, Field(max_length=60)]
    """The commit that was judged; ends with `+changes` when the working tree differed."""
    ref: Line = ""
    """The ref that the workflow run was on; its own word."""
    run: Line = ""
    """Link of the workflow run, where it was one."""
    stages: Annotated[Mapping[StageName, Outcome], Field(max_length=100)] = {}
    counts: Annotated[Mapping[Outcome, int], Field(max_length=10)] = {}
    """How many checks had which outcome."""
    reasons: Annotated[Many[Line], Field(max_length=MAX_REASONS)] = ()
    """What kept the verdict from `passed`, the worst first."""
    figures: Annotated[Many[Figure], Field(max_length=MAX_FIGURES)] = ()
    left_out: Annotated[int, Field(ge=0)] = 0
    """How many figures did not fit."""


def summary(run: Run, records: Evidence, verdict: Verdict) -> Summary:
    """Return what is kept of a run and its verdict; a hundred kilobytes at the most."""
    found = {name: one for name, one in records.items() if isinstance(one, Record)}
    figures = sorted(
        chain.from_iterable(_figures(name, record) for name, record in found.items()),
        key=_importance,
    )
    return Summary(
        project=run.project,
        environment=run.environment,
        verdict=verdict.outcome,
        when=run.started,
        seconds=run.seconds,
        commit=run.head[:60],
        ref=run.ref,
        run=run.workflow,
        stages={name: found[name].outcome if name in found else "error" for name in run.stages},
        counts=dict(verdict.counts),
        reasons=tuple(shortened(plain(one.text), 300) for one in verdict.reasons[:MAX_REASONS]),
        figures=tuple(figures[:MAX_FIGURES]),
        left_out=max(0, len(figures) - MAX_FIGURES),
    )


def _figures(stage: str, record: Record) -> Iterable[Figure]:
    for check in record.checks:
        yield _of_check(stage, check)
    for metric in record.metrics:
        yield _of_metric(stage, metric)


def _of_check(stage: str, check: Check) -> Figure:
    value = None if isinstance(check.observed, str) else check.observed
    low, high = _interval(check) if value is not None else (None, None)
    at_least, at_most = _limit(check) if value is not None else (None, None)
    return Figure(
        stage=stage,
        name=_short(check.name),
        slice=_short(check.slice),
        unit=check.unit,
        outcome=check.outcome,
        value=value,
        low=low,
        high=high,
        at_least=at_least,
        at_most=at_most,
    )


def _of_metric(stage: str, metric: Metric) -> Figure:
    return Figure(
        stage=stage,
        name=_short(metric.name),
        slice=_short(metric.slice),
        unit=metric.unit,
        value=metric.value,
    )


def _interval(check: Check) -> tuple[float | None, float | None]:
    if check.interval is None:
        return None, None
    return _laid(check, check.interval.of, check.interval.low, check.interval.high)


def _limit(check: Check) -> tuple[float | None, float | None]:
    if check.limit is None:
        return None, None
    return _laid(check, check.limit.of, check.limit.at_least, check.limit.at_most)


def _laid(
    check: Check, of: Literal["observed", "change"], *bounds: float | None
) -> tuple[float | None, float | None]:
    """Return bounds of what was observed; those of its change count from the base's figure."""
    if of == "change" and check.base is None:
        return None, None
    start = check.base or 0.0 if of == "change" else 0.0
    low, high = (None if one is None else start + one for one in bounds)
    return low, high


def _importance(figure: Figure) -> tuple[bool, bool, bool, bool]:
    """Sort what is wrong before what is well, numbers before words, the whole before its parts."""
    well = figure.outcome in {None, "passed", "skipped"}
    limited = figure.at_least is not None or figure.at_most is not None
    return (well, figure.value is None, not limited, bool(figure.slice))


def _short(text: str) -> str:
    """Return a name that fits; two that differ only behind the cut stay two."""
    clean = plain(text)
    return clean if len(clean) <= MAX_NAME else f"{clean[: MAX_NAME - 10]}… {digest(clean)[:8]}"

"""Trials in, findings out: head's faults held against base's, with the smallest examples."""

import contextlib
import math
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import get_args

import hypothesis
import numpy as np
import pandas as pd

from ci_mlops.dataset.domain import learn
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Limit, Metric, Outcome, Table
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.behaviour import BehaviourStage, PropertyName, feedback
from ci_mlops.stages.behaviour import cases as case_files
from ci_mlops.stages.behaviour.asking import Door, Reply, Spent
from ci_mlops.stages.behaviour.builtin import Plan, ask_in_parts, shown, trials
from ci_mlops.stages.behaviour.declared import Real, invariant, monotone, values
from ci_mlops.stages.behaviour.drawing import drawn
from ci_mlops.stages.behaviour.examples import Shown
from ci_mlops.stages.behaviour.shrinking import shrunk
from ci_mlops.stages.behaviour.trials import Example, Trial
from ci_mlops.stages.behaviour.words import FAULTS, FINE

BUILT_IN: tuple[str, ...] = get_args(PropertyName)
PASSES = 9
"""How often the built-in properties ask about all rows, about."""
PROBE_ROWS = 20
SLACK_PERCENT = 0.5
"""How many more rows, in points, may break a property than at the base and still count as old."""
MAX_TABLES = 40

Key = tuple[str, str]
"""The name and the slice of a check."""
FEEDBACK: Key = ("feedback", "")


@dataclass(frozen=True, kw_only=True)
class Space:
    """What both sides' models are asked."""

    plan: Plan
    real: Real
    learned_from: str
    cut_short: str
    """Why fewer rows are tried than were asked for; empty where all are."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A property that could not be looked at, and why."""

    why: str


Results = dict[Key, Trial | Fault]


def judge(settings: BehaviourStage, workspace: Workspace) -> Findings:
    """Try every property. Raises CannotLook when head's model or data cannot be asked at all."""
    with Door(workspace.head, workspace.commands, deadline=math.inf) as door:
        door.deadline = door.now() + settings.max_seconds
        space = _space(settings, workspace, door)
        view = Shown(workspace.head.data, space.plan.domain, settings.domain.categories)
        door.hide = view.text
        try:
            space = _affordable(settings, space, door)
        except Spent as fault:
            raise CannotLook(
                f"{PROBE_ROWS} rows took all of the time",
                place="stages.behaviour.max_seconds",
                remedy="Raise it",
            ) from fault
        at_head = _tried(settings, workspace, door, space)
        broken = [key for key, one in at_head.items() if _is_broken(settings, key, one)]
        asked = [key for key in at_head if key in broken or key == FEEDBACK]
        at_base, no_base = _at_base(settings, workspace, space, asked, door)
        checks = [
            _check(settings, key, one, at_base.get(key), space) for key, one in at_head.items()
        ]
        checks, tables = _with_examples(checks, at_head, door, space, view)
        tools = {**door.versions, "hypothesis": hypothesis.__version__}
        tried = _tried_table(settings, at_head, space, door)
    return Findings(
        checks=tuple(checks),
        metrics=tuple(_metrics(at_head, door)),
        tables=(tried, *feedback.evidence(settings, workspace), *tables[:MAX_TABLES]),
        notes=tuple(_notes(settings, workspace, no_base)),
        tools={**tools, "python": platform.python_version()},
    )


# --- what is tried ------------------------------------------------------------------------------


def _space(settings: BehaviourStage, workspace: Workspace, door: Door) -> Space:
    head = workspace.head
    test = workspace.table(head, "test").frame
    reference, learned_from = _reference(workspace)
    hidden = {head.data.key, head.data.label}
    inputs = door.inputs or tuple(str(one) for one in test.columns if one not in hidden)
    _refuse_unknown(settings, (*inputs, *(str(one) for one in test.columns)))
    domain = learn(
        [reference, test],
        inputs,
        head.data,
        ranges=settings.domain.range,
        categories=settings.domain.categories,
    )
    whole = all(name in reference.columns for name in inputs)
    real = domain.inside((reference if whole else test)[list(inputs)])
    rng = np.random.default_rng(settings.seed)
    real = real.iloc[np.sort(rng.permutation(len(real))[: settings.examples])]
    some = np.sort(rng.permutation(len(test))[: settings.examples])
    rows = test.iloc[some].reset_index(drop=True)
    plan = Plan(
        domain=domain,
        rows=drawn(domain, real, rows=settings.examples, number=settings.seed),
        others=drawn(domain, real, rows=PROBE_ROWS, number=settings.seed + 1)[::-1],
        tolerance=settings.tolerance,
        number=settings.seed,
        without=settings.without,
    )
    return Space(
        plan=plan,
        real=Real(
            domain=domain,
            rows=domain.frame(domain.cells(rows)),
            labels=test[head.data.label],
            asked=len(rows),
            tolerance=settings.tolerance,
        ),
        learned_from=learned_from,
        cut_short="",
    )


def _reference(workspace: Workspace) -> tuple[pd.DataFrame, str]:
    """The base's training data, or else its test data; the head's where there is no base's."""
    faults = []
    for side in workspace.sides():
        for part in ("train", "test"):
            location = side.data.train if part == "train" else side.data.test
            if location is None:
                continue
            with contextlib.suppress(CannotLook):
                table = workspace.table(side, part)
                return table.frame, f"{side.name}'s {part} data"
            faults.append(f"{side.name}'s {part} data")
    raise CannotLook(f"{' and '.join(faults)} cannot be read", place="data")


def _refuse_unknown(settings: BehaviourStage, known: Iterable[str]) -> None:
    named = {
        "invariant.to": [one for rule in settings.invariances() for one in rule.to],
        "monotone": list(settings.monotone),
        "domain": [*settings.domain.range, *settings.domain.categories],
    }
    have = list(dict.fromkeys(known))
    for where, columns in named.items():
        for column in columns:
            if column not in have:
                near = get_close_matches(column, have, n=1)
                hint = f', did you mean "{near[0]}"?' if near else ""
                raise CannotLook(
                    f"there is no column {column!r}{hint}", place=f"stages.behaviour.{where}"
                )


def _affordable(settings: BehaviourStage, space: Space, door: Door) -> Space:
    """Fewer rows, where a few show that all of them would take more than half of the time.

    Raises CannotLook when there is no time even for those.
    """
    passes = PASSES + sum(
        len(values(space.plan.domain.columns[column]))
        for column in (*(c for r in settings.invariances() for c in r.to), *settings.monotone)
        if column in space.plan.domain.columns
    )
    can = settings.examples
    for rows in (PROBE_ROWS, 10 * PROBE_ROWS):
        started = door.now()
        if not isinstance(door.ask(space.plan.rows.iloc[:rows]), Reply):
            return space
        per_row = (door.now() - started) / min(rows, len(space.plan.rows))
        can = int((door.deadline - door.now()) / 2 / max(1e-9, per_row * passes))
        if can >= settings.examples:
            return space
    can = max(PROBE_ROWS, can)
    # Every so manieth row, so that each way of making rows keeps its share.
    step = max(1, -(-settings.examples // can))
    cut = (
        f"the time allowed for {-(-settings.examples // step)} rows instead of {settings.examples}"
    )
    plan = replace(space.plan, rows=space.plan.rows.iloc[::step].reset_index(drop=True))
    real = replace(space.real, rows=space.real.rows.iloc[::step].reset_index(drop=True))
    real = replace(real, asked=len(real.rows))
    return replace(space, plan=plan, real=real, cut_short=cut)


def _tried(
    settings: BehaviourStage,
    workspace: Workspace,
    door: Door,
    space: Space,
    only: Iterable[Key] | None = None,
) -> Results:
    """Try the properties, or those of some checks only."""
    wanted = None if only is None else set(only)
    found: Results = {}
    if wanted is None or any(name in BUILT_IN for name, _ in wanted):
        built_in, why = trials(door, space.plan)
        for name in BUILT_IN:
            found[name, ""] = built_in.get(name, Fault(why=why))
    attempts = _attempts(settings, workspace, door, space)
    for key, attempt in attempts.items():
        if wanted is not None and key not in wanted:
            continue
        try:
            found[key] = attempt()
        except Spent as fault:
            found[key] = Fault(why=f"{fault}.")
        except CannotLook as fault:
            found[key] = Fault(why=str(fault))
    return found


def _attempts(
    settings: BehaviourStage, workspace: Workspace, door: Door, space: Space
) -> dict[Key, Callable[[], Trial]]:
    made: dict[Key, Callable[[], Trial]] = {}
    real = (
        _answered(door, space.real) if settings.invariances() or settings.monotone else space.real
    )
    for rule in settings.invariances():
        for column in rule.to:
            made["invariant", column] = partial(invariant, door, real, column, rule)
    for column, one in settings.directions().items():
        made["monotone", column] = partial(monotone, door, real, column, one)
    for file in settings.case_files():
        root = case_files.place(workspace, file.file)
        made["cases", file.file] = partial(case_files.cases, door, root, file, real)
    if settings.feedback_file():
        made[FEEDBACK] = partial(feedback.corrections, door, settings, workspace, real)
    return made


def _answered(door: Door, real: Real) -> Real:
    """Real rows without those that the model refuses; all of them where the time is over."""
    with contextlib.suppress(Spent):
        return replace(real, rows=ask_in_parts(door, real.rows).rows)
    return real


def _at_base(
    settings: BehaviourStage, workspace: Workspace, space: Space, keys: list[Key], head: Door
) -> tuple[Results, str]:
    """The same for base's model, of some checks; and why not, where it cannot be asked."""
    base = workspace.base
    if base is None or not keys:
        return {}, workspace.base_missing
    try:
        with Door(base, workspace.commands, deadline=head.deadline) as door:
            door.hide = head.hide
            lacks = [c for c in door.inputs or () if c not in space.plan.domain.columns]
            if lacks:
                return {}, f"base's model takes the column {lacks[0]}, which head's does not"
            return _tried(settings, workspace, door, space, keys), ""
    except CannotLook as fault:
        return {}, f"base's model cannot be asked: {fault}"


# --- what it comes to ---------------------------------------------------------------------------


def _limit(settings: BehaviourStage, key: Key) -> float:
    name, where = key
    if name == "invariant":
        return next(r.max_flips_percent for r in settings.invariances() if where in r.to)
    if name == "monotone":
        return settings.directions()[where].max_violations_percent
    if name == "cases":
        return next(f.max_wrong_percent for f in settings.case_files() if f.file == where)
    file = settings.feedback_file()
    return file.max_wrong_percent if file and key == FEEDBACK else 0.0


def _is_broken(settings: BehaviourStage, key: Key, one: Trial | Fault) -> bool:
    return isinstance(one, Trial) and not (one.percent <= _limit(settings, key))


def _check(
    settings: BehaviourStage,
    key: Key,
    one: Trial | Fault,
    base: Trial | Fault | None,
    space: Space,
) -> Check:
    name, where = key
    if isinstance(one, Fault):
        return Check(name=name, slice=where, outcome="error", message=_line(one.why))
    if one.skipped:
        message = f"It was not looked at: {one.skipped}."
        return Check(name=name, slice=where, outcome="skipped", message=_line(message))
    if one.undecided:
        message = f"It could not be decided: {one.undecided}."
        return Check(name=name, slice=where, outcome="inconclusive", message=_line(message))
    if not one.tried:
        message = "The model gave no answer by which it could be judged."
        return Check(name=name, slice=where, outcome="error", message=message)
    is_broken = _is_broken(settings, key, one)
    before = base.percent if isinstance(base, Trial) and base.tried else None
    limit = _limit(settings, key)
    facts = {"tried": f"{one.tried:,}", "broken": f"{one.broken:,}", "slice": where}
    message = f"{FAULTS[name][0].format(**facts)}." if is_broken else FINE[name].format(**facts)
    if not is_broken and one.said:
        message = f"{one.said[:1].upper()}{one.said[1:]}."
    outcome: Outcome = "failed" if is_broken else "passed"
    if is_broken and before is not None and isinstance(base, Trial):
        is_old = before > limit and one.is_no_worse(base, SLACK_PERCENT)
        message += f" {_compared(one, base, is_old=is_old)}"
        outcome = "warned" if is_old and settings.on_new_only else outcome
    if is_broken and isinstance(base, Fault):
        message += f" What base's model does is not known: {base.why}"
    if one.unlike:
        message += f" {one.unlike:,} further rows could not be judged by it."
    if space.cut_short and not is_broken and name not in {"cases", "feedback"}:
        outcome = "inconclusive"
        message += f" Cut short: {space.cut_short}."
    return Check(
        name=name,
        slice=where,
        outcome=outcome,
        message=_line(message),
        observed=one.percent,
        base=before,
        limit=Limit(at_most=limit),
        unit="%",
        rows=one.tried,
        remedy=FAULTS[name][1] if is_broken else "",
    )


def _compared(one: Trial, base: Trial, *, is_old: bool) -> str:
    if is_old:
        return "It is the same at the base."
    if not one.which:
        return "It was less at the base."
    held = len(set(one.which) - set(base.which))
    return f"The base's model answers {held} of them as expected."


def _with_examples(
    checks: list[Check], results: Results, door: Door, space: Space, view: Shown
) -> tuple[list[Check], list[Table]]:
    """Add to what is broken its smallest example: in words to the check, as a table beside."""
    made: list[Check] = []
    tables: list[Table] = []
    for check in checks:
        one = results[check.name, check.slice]
        is_broken = check.outcome in {"failed", "warned"}
        if isinstance(one, Fault) or not is_broken or one.example is None:
            made.append(check)
            continue
        rows, said, smaller = _smallest(one, one.example, space)
        what = "Smallest example" if smaller else "Example"
        seen = f"{what}{view.words(rows)}: {said}. " if said else ""
        message = f"{check.message} {seen}Seed {space.plan.number}."
        made.append(check.model_copy(update={"message": _line(message)}))
        name = " · ".join(part for part in (check.name, check.slice) if part)
        kind = "smallest example" if smaller else "an example"
        title = f"{name}: {kind}, seed {space.plan.number}"
        tables.append(view.table(title, rows, _answers(door, rows)))
        if one.wrong:
            columns = ("case", "expected", "answered")
            tables.append(Table(title=f"{name}: what was missed", columns=columns, rows=one.wrong))
    return made, [*tables, view.typical()] if tables else tables


def _smallest(one: Trial, example: Example, space: Space) -> tuple[pd.DataFrame, str, bool]:
    rows, said, smaller = example.rows, one.said, False
    if example.breaks is not None:
        plan = space.plan
        with contextlib.suppress(Spent, CannotLook):
            found = None
            if len(rows) <= MOST_ROWS:
                found = shrunk(
                    plan.domain, rows, example.breaks, shape=example.shape, number=plan.number
                )
            if found is not None:
                rows, smaller = found, True
            said = example.breaks(rows) or said
    return rows, said.removesuffix("."), smaller


MOST_ROWS = 4
"""An example of more rows is shown as it was found."""


def _answers(door: Door, rows: pd.DataFrame) -> list[str]:
    with contextlib.suppress(Spent, CannotLook):
        reply = door.ask(rows)
        if isinstance(reply, Reply):
            return [shown(reply, n) for n in range(len(rows))]
        return [shown(reply)]
    return []


def _tried_table(settings: BehaviourStage, results: Results, space: Space, door: Door) -> Table:
    rows = [
        (
            name,
            where,
            one.tried if isinstance(one, Trial) else 0,
            one.broken if isinstance(one, Trial) else None,
        )
        for (name, where), one in results.items()
    ]
    title = (
        f"Rows tried: domain of {space.learned_from}, seed {settings.seed}, "
        f"{door.requests:,} requests"
    )
    return Table(
        title=title,
        columns=("property", "of", "rows", "broke it"),
        rows=tuple(rows[:200]),
        left_out=max(0, len(rows) - 200),
    )


def _metrics(results: Results, door: Door) -> Iterable[Metric]:
    for (name, where), one in results.items():
        if isinstance(one, Trial) and one.tried:
            label = " · ".join(part for part in (name, where) if part)
            yield Metric(name="rows-tried", slice=label, value=one.tried, unit="rows")
    yield Metric(name="rows-asked", value=door.rows, unit="rows")


def _notes(settings: BehaviourStage, workspace: Workspace, no_base: str) -> Iterable[str]:
    if settings.on_new_only and no_base:
        yield (
            f"Behaviour: what base's model does is not known ({no_base}), so every fault of head's "
            "counts as new."
        )
    for file in settings.case_files():
        root = case_files.place(workspace, file.file)
        if root != workspace.judge.root:
            yield f"The cases {file.file} are head's own; {_without(workspace.judge)}."
        elif root != workspace.head.root:
            own = workspace.head.root / file.file
            same = own.is_file() and own.read_bytes() == (root / file.file).read_bytes()
            if not same:
                yield f"This pull request changes the cases {file.file}; base's were judged by."
    yield from feedback.notes(settings, workspace)


def _without(judge: Side) -> str:
    return f"{judge.name} has no such file"


def _line(text: str) -> str:
    return " ".join(text.split())[:2000]

"""The faults of head's data held against base's: what a pull request brings blocks it."""

import math
import sys
from collections.abc import Iterable

import pandas as pd

from ci_mlops.deepchecks.suites import Inspection, inspect_data
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Limit, Metric, Outcome
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.data import DataStage, faults, leaks, one_part, shifts, two_parts
from ci_mlops.stages.data.changes import changes, without_values
from ci_mlops.stages.data.faults import Fault, Look

REMEDY_AT_BASE = "It is not new; mend it when you can"
ORDER = ("skipped", "passed", "inconclusive")
SLACK_OF_SHARES = 0.005
SLACK = {"leak": 0.02, "shift": 0.02, "label-shift": 0.02}
"""How much worse than at the base a fault may be and still count as old, fixed: a share of it would
grow with every pull request that used it up."""
CEILINGS = {"shared-rows": 0.5, "near-shared-rows": 0.5, "leak": 0.99, "conflicting-labels": 0.5}
"""From here on the figures of a model mean nothing, whether the base has the fault or not."""


def judge(settings: DataStage, workspace: Workspace) -> Findings:
    """Return the checks of both parts. Raises CannotLook when the test data cannot be read."""
    parts = _parts(workspace.head, workspace)
    before, notes = _base_parts(workspace)
    reference = before.get("train", before.get("test")) if before else parts.get("train")
    seen = list(_all(settings, workspace.head, parts, reference, before))
    at_head = [one for one in seen if isinstance(one, Fault)]
    at_base = _known(_all(settings, workspace.base or workspace.head, before, reference, {}))
    compared = bool(before)
    checks = [_check(fault, at_base, compared=compared) for fault in at_head]
    why = workspace.base_missing or next(iter(notes), "")
    looks = [one for one in seen if isinstance(one, Look)]
    checks += _looked(looks, at_head, parts, no_base="" if compared else why)
    checks += _gains(settings, workspace, parts, before)
    notes += [] if compared else [_no_reference(parts)]
    sides = workspace.sides()
    hidden = frozenset(name for side in sides for name in side.data.hidden)
    shy = hidden.union(*(side.data.sensitive for side in sides))
    checks = without_values(checks, shy, workspace.head.data.label)
    inspected = _deepchecks(settings, workspace, parts, hidden)
    if settings.deepchecks is not False and workspace.head.data.label in hidden:
        notes.append("Deepchecks did not look: it quotes values, and the label's are hidden.")
    changed, tables = changes(workspace, parts, before)
    return Findings(
        checks=(*checks, *inspected.checks, *changed),
        tables=tuple(tables),
        metrics=tuple(
            Metric(
                name="rows",
                slice=part,
                value=len(frame),
                base=float(len(before[part])) if part in before else None,
            )
            for part, frame in parts.items()
        ),
        notes=tuple(note for note in notes if note),
        tools={"pandas": pd.__version__, "python": sys.version.split()[0], **inspected.tools},
    )


def _parts(side: Side, workspace: Workspace) -> dict[str, pd.DataFrame]:
    parts = {"test": workspace.table(side, "test").frame}
    if side.data.train:
        parts = {"train": workspace.table(side, "train").frame, **parts}
    return parts


def _base_parts(workspace: Workspace) -> tuple[dict[str, pd.DataFrame], list[str]]:
    if workspace.base is None:
        return {}, []
    try:
        return _parts(workspace.base, workspace), []
    except CannotLook as fault:
        return {}, [f"The base's data could not be read, so head's was judged alone: {fault}"]


def _no_reference(parts: dict[str, pd.DataFrame]) -> str:
    if "train" in parts:
        return "The data contract was learned from head's own training data, for want of a base."
    return "There is neither a base nor training data to learn a contract from."


def _all(
    settings: DataStage,
    side: Side,
    parts: dict[str, pd.DataFrame],
    reference: pd.DataFrame | None,
    before: dict[str, pd.DataFrame],
) -> Iterable[Fault | Look]:
    """Yield every look at one side, and every fault of it."""
    data, limits = side.data, settings.limits
    for part, frame in parts.items():
        learned = None if frame is reference else reference
        yield from one_part.broken_rules(
            part, frame, learned, given=settings.contract, settings=data, limits=limits
        )
        yield from one_part.within_one_part(part, frame, data, limits)
    if parts:
        yield from leaks.leaks(parts.get("train", parts["test"]), data, limits)
    if "train" in parts:
        base_train = before.get("train")
        yield from two_parts.between_parts(
            parts["train"], parts["test"], data, limits, base_train=base_train
        )
    for part, frame in before.items():
        what = f"{part} against base"
        if part in parts and frame.equals(parts[part]):
            same = f"The {part} data is the base's."
            yield from (Look(check=name, slice=what, why=same) for name in ("shift", "label-shift"))
        elif part in parts:
            yield from shifts.shifts(what, frame, parts[part], data, limits)


def _known(seen: Iterable[Fault | Look]) -> dict[tuple[str, str], float]:
    return {(one.check, one.slice): one.observed for one in seen if isinstance(one, Fault)}


def _check(fault: Fault, at_base: dict[tuple[str, str], float], *, compared: bool) -> Check:
    before = at_base.get((fault.check, fault.slice))
    slack = SLACK.get(fault.check, SLACK_OF_SHARES)
    ceiling = CEILINGS.get(fault.check, math.inf)
    is_old = before is not None and fault.observed <= before + slack
    is_endured = is_old and fault.observed <= ceiling
    outcome: Outcome = "warned" if is_endured or not fault.grave else "failed"
    said = " It is new in this pull request." if compared and before is None else ""
    if before is not None:
        said = " It is the same at the base." if is_old else " It was less at the base."
    if is_old and not is_endured:
        said += f" Beyond {ceiling:g} that is no excuse."
    return Check(
        name=fault.check,
        slice=fault.slice,
        outcome=outcome,
        observed=fault.observed,
        base=before,
        limit=Limit(at_most=fault.limit) if fault.check != "constant-column" else None,
        rows=fault.rows,
        message=f"{fault.message}{said}",
        remedy=f"{fault.remedy}. {REMEDY_AT_BASE}" if is_endured else fault.remedy,
    )


def _expected(parts: dict[str, pd.DataFrame]) -> list[tuple[str, str]]:
    """Return the name and slice of every check that must leave a result."""
    alone = [(name, "") for name in ("contract", *faults.IN_ONE_PART, "leak")]
    against = [(n, f"{part} against base") for part in parts for n in ("shift", "label-shift")]
    return [*alone, *faults.BETWEEN_PARTS, *against]


def _looked(
    looks: list[Look], found: list[Fault], parts: dict[str, pd.DataFrame], *, no_base: str
) -> Iterable[Check]:
    """Yield what every expected check came to where it found no fault; nothing stays unsaid."""
    for name, where in _expected(parts):
        mine = [one for one in looks if (one.check, one.slice) == (name, where)]
        mine = mine or _not_looked(name, where, parts, no_base)
        bad = any(
            fault.check.removeprefix("contract-") != fault.check
            if name == "contract"
            else fault.check == name and fault.slice.startswith(where)
            for fault in found
        )
        worst = max(mine, key=lambda one: ORDER.index(one.outcome), default=None)
        if worst is None:
            message = "This check left no result; what it would have found is not known."
            yield Check(name=name, slice=where, outcome="error", message=message)
        elif worst.outcome == "inconclusive" or not bad:
            message = worst.why or FINE[name]
            yield Check(name=name, slice=where, outcome=worst.outcome, message=message)


def _not_looked(name: str, where: str, parts: dict[str, pd.DataFrame], no_base: str) -> list[Look]:
    """Return why a check could not be made at all; nothing where it should have been."""
    why = ""
    if where.endswith("against base"):
        part = where.partition(" ")[0]
        why = (
            f"There is no base to compare with: {no_base}."
            if no_base
            else (f"The base has no {part} data.")
        )
    elif "train" not in parts and (name, where) in faults.BETWEEN_PARTS:
        why = "There is no training data to compare with: `data.train` is not set."
    elif name == "contract" and no_base:
        why = (
            "There is neither a base nor training data to learn a contract from; only the rules "
            "in mlops.yml were judged."
        )
    return [Look(check=name, slice=where, outcome="skipped", why=why)] if why else []


FINE = {
    "contract": "Every column keeps the contract.",
    "shift": "No number and no category moved further than chance and the limit allow.",
    "label-shift": "The label did not move.",
    "shared-rows": "No more test rows stand in the training data than chance brings.",
    "near-shared-rows": "No test rows are training rows with other last digits.",
    "duplicate-rows": "Repeated rows are below the limit.",
    "conflicting-labels": "Equal rows have equal labels.",
    "leak": "No column alone tells the label.",
    "mostly-missing": "No column is mostly empty.",
    "category-variants": "Every value is written in one way.",
    "mixed-types": "No column mixes numbers and words.",
    "constant-column": "No column is constant.",
    "time-overlap": "The test rows are later than the training rows.",
}


def _gains(
    settings: DataStage,
    workspace: Workspace,
    parts: dict[str, pd.DataFrame],
    before: dict[str, pd.DataFrame],
) -> Iterable[Check]:
    """Yield the columns that tell the label much better than they did at the base."""
    if not before or workspace.base is None:
        why = workspace.base_missing or "its data could not be read"
        message = f"There is no base to compare with: {why}."
        yield Check(name="leak", slice="against base", outcome="skipped", message=message)
        return
    frame, old = parts.get("train", parts["test"]), before.get("train", before["test"])
    if frame.equals(old):
        message = "The data is the base's."
        yield Check(name="leak", slice="against base", outcome="passed", message=message)
        return
    if min(len(frame), len(old)) < faults.FEWEST_ROWS:
        message = f"Fewer than {faults.FEWEST_ROWS} rows cannot tell."
        yield Check(name="leak", slice="against base", outcome="inconclusive", message=message)
        return
    now = leaks.powers(frame, workspace.head.data)
    then = leaks.powers(old, workspace.base.data)
    best = max(then.values(), default=0.0)
    better = False
    for name, value in now.items():
        known = then.get(name)
        gain = value - (known if known is not None else best)
        if value <= settings.limits.leak_power and not gain <= settings.limits.leak_gain:
            better = True
            than = "than at the base" if known is not None else "than any column at the base"
            yield Check(
                name="leak",
                slice=f"{name} against base",
                outcome="failed",
                observed=value,
                base=known,
                limit=Limit(at_most=settings.limits.leak_gain, of="change")
                if known is not None
                else None,
                message=f"Column {name} tells the label better by {gain:.2f} {than}.",
                remedy="Check whether it is known before the decision; if not, drop it",
            )
    if not better:
        message = "No column tells the label much better than at the base."
        yield Check(name="leak", slice="against base", outcome="passed", message=message)


def _deepchecks(
    settings: DataStage,
    workspace: Workspace,
    parts: dict[str, pd.DataFrame],
    hidden: frozenset[str],
) -> Inspection:
    side = workspace.head
    if settings.deepchecks is False or side.data.label in hidden:
        return Inspection(checks=(), tools={}, seconds=0.0)
    # Deepchecks quotes values, so it does not see what may not be shown.
    parts = {
        part: frame.drop(columns=list(hidden.intersection(frame.columns) - {side.data.key}))
        for part, frame in parts.items()
    }
    given = {} if settings.deepchecks is True else settings.deepchecks
    return inspect_data(
        train=_plain(parts.get("train"), side),
        test=parts["test"].drop(columns=[side.data.key] if side.data.key else []),
        label=side.data.label,
        task=side.model.task if side.model else None,
        categorical=_categorical(parts["test"], side),
        time=None if side.data.time in hidden else side.data.time,
        overrides=given,
        commands=workspace.commands,
        cache=workspace.cache,
        cores=workspace.cores,
    )


def _plain(frame: pd.DataFrame | None, side: Side) -> pd.DataFrame | None:
    if frame is None:
        return None
    return frame.drop(columns=[side.data.key] if side.data.key else [])


def _categorical(frame: pd.DataFrame, side: Side) -> tuple[str, ...]:
    from ci_mlops.dataset.columns import kinds

    return tuple(name for name, kind in kinds(frame, side.data).items() if kind == "category")

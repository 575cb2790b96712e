"""The faults of head's data held against base's: what a pull request brings blocks it."""

import sys
from collections.abc import Iterable

import pandas as pd

from ci_mlops.deepchecks.suites import Inspection, inspect_data
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Limit, Metric, Outcome
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.data import DataStage, faults
from ci_mlops.stages.data.faults import Fault

REMEDY_AT_BASE = "It is not new; mend it when you can"


def judge(settings: DataStage, workspace: Workspace) -> Findings:
    """Return the checks of both parts. Raises CannotLook when the test data cannot be read."""
    parts = _parts(workspace.head, workspace)
    before, notes = _base_parts(workspace)
    reference = before.get("train", before.get("test")) if before else parts.get("train")
    at_head = list(_all(settings, workspace.head, parts, reference, before))
    at_base = _known(list(_all(settings, workspace.base or workspace.head, before, reference, {})))
    compared = bool(before)
    checks = [_check(fault, at_base, compared=compared) for fault in at_head]
    checks += _passed(at_head, parts, settings)
    checks += _gains(settings, workspace, parts, before)
    notes += [] if compared else [_no_reference(parts)]
    inspected = _deepchecks(settings, workspace, parts)
    return Findings(
        checks=(*checks, *inspected.checks),
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
) -> Iterable[Fault]:
    """Yield every fault of one side."""
    data, limits = side.data, settings.limits
    for part, frame in parts.items():
        learned = None if frame is reference else reference
        yield from faults.broken_rules(
            part, frame, learned, given=settings.contract, settings=data, limits=limits
        )
        yield from faults.within_one_part(part, frame, data, limits)
    if parts:
        yield from faults.leaks(parts.get("train", parts["test"]), data, limits)
    if "train" in parts:
        yield from faults.between_parts(parts["train"], parts["test"], data, limits)
    for part, frame in before.items():
        if part in parts and not frame.equals(parts[part]):
            yield from faults.shifts(f"{part} against base", frame, parts[part], data, limits)


def _known(found: list[Fault]) -> dict[tuple[str, str], float]:
    return {(fault.check, fault.slice): fault.observed for fault in found}


def _check(fault: Fault, at_base: dict[tuple[str, str], float], *, compared: bool) -> Check:
    before = at_base.get((fault.check, fault.slice))
    # As bad as at the base, give or take a tenth: not this pull request's doing.
    is_old = before is not None and fault.observed <= 1.1 * before + 0.005
    outcome: Outcome = "warned" if is_old or not fault.grave else "failed"
    said = " It is the same at the base." if is_old else ""
    said = " It is new in this pull request." if compared and not is_old else said
    return Check(
        name=fault.check,
        slice=fault.slice,
        outcome=outcome,
        observed=fault.observed,
        base=before,
        limit=Limit(at_most=fault.limit) if fault.check != "constant-column" else None,
        rows=fault.rows,
        message=f"{fault.message}{said}",
        remedy=f"{fault.remedy}. {REMEDY_AT_BASE}" if is_old else fault.remedy,
    )


def _passed(
    found: list[Fault], parts: dict[str, pd.DataFrame], settings: DataStage
) -> Iterable[Check]:
    """Yield a check for every kind of fault that was looked for and not found."""
    del settings
    seen = {
        fault.check.partition("-")[0] if fault.check.startswith("contract") else fault.check
        for fault in found
    }
    for name in faults.EXPECTED:
        if name in seen:
            continue
        if name in faults.NEEDS_TRAIN and "train" not in parts:
            message = "There is no training data to compare with: `data.train` is not set."
            yield Check(name=name, outcome="skipped", message=message)
        else:
            yield Check(name=name, outcome="passed", message=FINE[name])


FINE = {
    "contract": "Every column keeps the contract.",
    "shift": "No column moved further than chance and the limit allow.",
    "label-shift": "The label did not move.",
    "shared-rows": "No more test rows stand in the training data than it repeats itself.",
    "near-shared-rows": "No test rows are training rows with other last digits.",
    "duplicate-rows": "Repeated rows are below the limit.",
    "conflicting-labels": "Equal rows have equal labels.",
    "leak": "No column alone tells the label.",
    "mostly-missing": "No column is mostly empty.",
    "category-variants": "Every value is written in one way.",
    "mixed-types": "No column mixes numbers and words.",
    "constant-column": "No column is constant.",
    "time-overlap": "The test rows are later than the training rows, or no time is named.",
}


def _gains(
    settings: DataStage,
    workspace: Workspace,
    parts: dict[str, pd.DataFrame],
    before: dict[str, pd.DataFrame],
) -> Iterable[Check]:
    """Yield the columns that tell the label much better than they did at the base."""
    if not before or workspace.base is None:
        return
    frame, old = parts.get("train", parts["test"]), before.get("train", before["test"])
    if frame.equals(old):
        return
    now = faults.powers(frame, workspace.head.data)
    then = faults.powers(old, workspace.base.data)
    best = max(then.values(), default=0.0)
    for name, value in now.items():
        known = then.get(name)
        gain = value - (known if known is not None else best)
        if value <= settings.limits.leak_power and not gain <= settings.limits.leak_gain:
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


def _deepchecks(
    settings: DataStage, workspace: Workspace, parts: dict[str, pd.DataFrame]
) -> Inspection:
    if settings.deepchecks is False:
        return Inspection(checks=(), tools={}, seconds=0.0)
    side = workspace.head
    given = {} if settings.deepchecks is True else settings.deepchecks
    return inspect_data(
        train=_plain(parts.get("train"), side),
        test=parts["test"].drop(columns=[side.data.key] if side.data.key else []),
        label=side.data.label,
        task=side.model.task if side.model else None,
        categorical=_categorical(parts["test"], side),
        time=side.data.time,
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

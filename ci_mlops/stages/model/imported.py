"""What other tools measured, as checks: their figures with limits and tolerances, their tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Limit, Metric, file_sha256, text_sha256
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.model import Import, MetricRule, ModelStage, metric_files

NAMED = 5
"""Failed tests that a message names."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Checks and figures of all imports."""

    checks: tuple[Check, ...]
    metrics: tuple[Metric, ...]


def imported(settings: ModelStage, workspace: Workspace) -> Imported:
    """Read every import of both sides, and judge."""
    checks: list[Check] = []
    metrics: list[Metric] = []
    for one in settings.imports:
        if one.tests():
            checks.append(_tests_check(one, workspace))
            continue
        try:
            head = _figures(one, workspace.head)
        except CannotLook as fault:
            checks.append(_unread(one, fault))
            continue
        base, missing = _base_figures(one, workspace)
        metrics += [
            Metric(name=name[:200], value=value, base=base.get(name), slice=one.file)
            for name, value in head.items()
        ]
        for name, rule in one.metrics.items():
            checks += _rule_checks(one, name, rule, head=head, base=base, missing=missing)
    return Imported(checks=tuple(checks), metrics=tuple(metrics))


def digests(settings: ModelStage, workspace: Workspace) -> dict[str, str]:
    """Digests of what is imported, on both sides."""
    found = {}
    for side in workspace.sides():
        for one in settings.imports:
            path = side.root / one.file
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            listed = [f"{file.name} {file_sha256(file)}" for file in files if file.is_file()]
            found[f"{side.name}.{one.file}"] = text_sha256("\n".join(listed))
    return found


def _figures(one: Import, side: Side) -> dict[str, float]:
    return metric_files.figures(side.root / one.file, side.root)


def _base_figures(one: Import, workspace: Workspace) -> tuple[dict[str, float], str]:
    """Return base's figures, and why there are none."""
    if workspace.base is None:
        return {}, workspace.base_missing
    try:
        return _figures(one, workspace.base), ""
    except CannotLook as fault:
        return {}, f"base: {fault}"


def _rule_checks(
    one: Import,
    name: str,
    rule: MetricRule,
    *,
    head: dict[str, float],
    base: dict[str, float],
    missing: str,
) -> Iterator[Check]:
    common: dict[str, Any] = {"slice": f"{one.file} · {name}"}
    if name not in head:
        near = ", ".join(sorted(head)[:10])
        yield Check(
            name="imported",
            outcome="error",
            message=f"{one.file} has no figure {name!r}; it has {near}."[:2000],
            remedy="Write it there, or take it out of `imports`.",
            **common,
        )
        return
    value = head[name]
    if rule.at_least is not None or rule.at_most is not None:
        limit = Limit(at_least=rule.at_least, at_most=rule.at_most)
        good = limit.allows(value)
        yield Check(
            name="imported-limit",
            outcome="passed" if good else "failed",
            message=f"{name} is {value:.4g}{'' if good else ', beyond its limit'}.",
            observed=value,
            limit=limit,
            **common,
        )
    if rule.tolerance() is not None:
        reason = missing or "base has no such figure"
        yield _change(name, rule, (base.get(name), value), reason, common)


def _change(
    name: str,
    rule: MetricRule,
    values: tuple[float | None, float],
    missing: str,
    common: dict[str, Any],
) -> Check:
    before, value = values
    common = {"name": "imported-against-base", **common}
    tolerance = rule.tolerance()
    if before is None or tolerance is None:
        message = f"{name} was not compared: {missing}."[:2000]
        return Check(outcome="skipped", message=message, observed=value, **common)
    allowed, change = tolerance.of(before), value - before
    falls = rule.max_drop is not None
    limit = Limit(of="change", **({"at_least": -allowed} if falls else {"at_most": allowed}))
    good = limit.allows(change)
    direction = "fall" if falls else "rise"
    meaning = "within the tolerance" if good else f"a {direction} beyond {allowed:.4g}"
    message = f"{name} went from {before:.4g} to {value:.4g} ({change:+.4g}): {meaning}."
    return Check(
        outcome="passed" if good else "failed",
        message=message,
        observed=value,
        base=before,
        limit=limit,
        remedy=""
        if good
        else "Find what lost it, or discuss the tolerance in a change of its own.",
        **common,
    )


def _tests_check(one: Import, workspace: Workspace) -> Check:
    try:
        found = metric_files.tests(workspace.head.root / one.file, workspace.head.root)
    except CannotLook as fault:
        return _unread(one, fault)
    common: dict[str, Any] = {"name": "imported-tests", "slice": one.file, "rows": found.ran}
    common |= {"observed": float(len(found.failed)), "limit": Limit(at_most=0), "unit": "tests"}
    if not found.ran:
        message = f"{one.file} holds no test that ran."
        return Check(outcome="error", message=message, remedy="Run the tests first.", **common)
    if found.failed:
        named = ", ".join(found.failed[:NAMED])
        more = f" and {len(found.failed) - NAMED} more" if len(found.failed) > NAMED else ""
        message = f"{len(found.failed)} of {found.ran} tests failed: {named}{more}."
        return Check(outcome="failed", message=message[:2000], remedy="Mend them.", **common)
    return Check(outcome="passed", message=f"All {found.ran} tests passed.", **common)


def _unread(one: Import, fault: CannotLook) -> Check:
    return Check(
        name="imported",
        slice=one.file,
        outcome="error",
        message=f"{fault.place or one.file}: {fault.fault}."[:2000],
        remedy=fault.remedy,
    )

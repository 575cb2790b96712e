"""What was measured, decided: importance, sensitive features, flipped decisions, dependence."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Chart, Check, Interval, Limit, Metric, Outcome, Table
from ci_mlops.model.process import ONE_THREAD, Refused
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.explain import ExplainStage, pictures
from ci_mlops.stages.explain import flips as flipped
from ci_mlops.stages.explain.asking import Door, Spent
from ci_mlops.stages.explain.importance import Asked, Wanted, measure, units, without_base
from ci_mlops.stats.groups import group_names
from ci_mlops.stats.importance import Estimate, kendall
from ci_mlops.stats.telling import tells

if TYPE_CHECKING:
    import pandas as pd

LEAK = 0.8
"""A share of all importance that is warned of where no `max_share` is given."""
SHAP_ROWS = 1000
PROXIES = 3
"""Proxies of a sensitive feature that are named."""


@dataclass(kw_only=True)
class Look:
    """Everything that the parts of the stage look at."""

    settings: ExplainStage
    workspace: Workspace
    inputs: tuple[str, ...]
    frame: "pd.DataFrame"
    """Head's labelled test rows, in random order."""
    labels: "pd.Series"
    doors: list[Door]
    """Head's model, and the base's where it is another one that can be asked."""
    asked: Asked
    shap: Mapping[str, float] = field(default_factory=dict)
    """Mean absolute SHAP values of head's model, where the project's environment has the package
    and it knows an exact way: trees and linear models."""
    notes: list[str] = field(default_factory=list)

    @property
    def secret(self) -> frozenset[str]:
        """Columns whose values are never shown."""
        data = self.workspace.head.data
        return frozenset((*data.sensitive, *data.hidden))


def judge(settings: ExplainStage, workspace: Workspace) -> Findings:
    """Ask both sides' models. Raises CannotLook."""
    head = workspace.head
    made = workspace.predictions(model=head, data=head, part="test")
    table = workspace.table(head, "test").frame
    order = np.random.default_rng(settings.seed).permutation(len(table))
    shuffled = table.iloc[order]
    labelled = shuffled[shuffled[head.data.label].notna()]
    labels = labelled[head.data.label]
    known = units(made.inputs, settings.together)
    _require_known(settings, known, made.inputs)
    with contextlib.ExitStack() as stack:
        doors, notes, same = _doors(settings, workspace, labels, stack)
        frame = labelled[list(made.inputs)]
        wanted = Wanted(
            frame=frame, labels=labels, units=known, rows=settings.rows, seed=settings.seed
        )
        asked = measure(doors, wanted)
        look = Look(
            settings=settings,
            workspace=workspace,
            inputs=made.inputs,
            frame=frame,
            labels=labels,
            doors=doors,
            asked=without_base(asked) if same else asked,
            notes=notes,
        )
        look.shap = _shap(look)
        checks = [*_importance(look), *_named(look), *_sensitive(look)]
        turned = flipped.look(look) if workspace.base is not None else None
        checks += [flipped.check(settings, turned)] if turned is not None else []
        tables, charts = _shown(look, turned)
    if asked.cut_short:
        look.notes.append(f"Fewer rows were asked about: {asked.cut_short}.")
    metrics = [
        Metric(name="rows-asked", value=float(sum(one.rows for one in doors)), unit="rows"),
        *_agreement(look),
    ]
    return Findings(
        checks=tuple(checks),
        metrics=tuple(metrics),
        tables=tuple(tables),
        charts=tuple(charts),
        notes=tuple(look.notes),
        tools=doors[0].versions,
    )


def _shap(look: Look) -> Mapping[str, float]:
    """Return SHAP values where the project's environment can have them, else nothing."""
    try:
        found, version = look.doors[0].shap(look.frame.iloc[:SHAP_ROWS])
    except (Spent, Refused, CannotLook):
        return {}
    look.notes.append(
        f"SHAP {version} of the project's environment: mean absolute values of "
        f"{min(SHAP_ROWS, len(look.frame)):,} rows, in the model's own units."
    )
    return found


def _require_known(
    settings: ExplainStage, known: Mapping[str, tuple[str, ...]], inputs: tuple[str, ...]
) -> None:
    for column in (column for columns in settings.together.values() for column in columns):
        if column not in inputs:
            raise CannotLook(
                f"{column!r} is no input of the model", place="stages.explain.together"
            )
    for place in ("must_matter", "must_not_matter"):
        for name in getattr(settings, place):
            if name not in known:
                raise CannotLook(
                    f"{name!r} is neither an input of the model nor a name of `together`",
                    place=f"stages.explain.{place}",
                )


def _doors(
    settings: ExplainStage,
    workspace: Workspace,
    labels: "pd.Series",
    stack: contextlib.ExitStack,
) -> tuple[list[Door], list[str], bool]:
    """Return the models to ask, what is to be said of them, and whether both are one."""
    commands = workspace.commands.adding(ONE_THREAD)
    doors = [stack.enter_context(Door(workspace.head, commands, labels))]
    notes, same = [], False
    base = workspace.base
    if base is None:
        notes.append(f"Nothing was compared with a base: {workspace.base_missing}.")
    elif _alike(base, workspace.head):
        same = True
        notes.append("Model and code are the base's, so what it relies on is too.")
    else:
        try:
            doors.append(stack.enter_context(Door(base, commands, labels)))
        except CannotLook as fault:
            notes.append(f"The base's model could not be asked: {fault}")
    deadline = doors[0].now() + settings.max_seconds
    for door in doors:
        door.deadline = deadline
    return doors, notes, same


def _alike(base: Side, head: Side) -> bool:
    digests = [(side.digest("model"), side.digest("code")) for side in (base, head)]
    return digests[0] == digests[1] and bool(digests[0][0]) and base.model == head.model


# --- importance ---------------------------------------------------------------------------------


def _importance(look: Look) -> Iterator[Check]:
    """Whether one feature carries all of it, and what the model could not be asked."""
    head = look.asked.head
    for name, said in head.faults.items():
        yield Check(
            name="importance",
            outcome="inconclusive",
            slice=name,
            message=f"With its values exchanged the model refused: {said}"[:2000],
            remedy="Name columns that hang together in `together`",
        )
    shares = head.shares()
    limit = look.settings.max_share
    if not shares:
        yield Check(
            name="single-feature",
            outcome="inconclusive",
            message="No feature makes the model better: exchanging any of them raises no loss.",
        )
        return
    name, share = max(shares.items(), key=lambda one: one[1].value)
    at_most = LEAK if limit is None else limit
    broken: Outcome = "warned" if limit is None else "failed"
    if share.is_above(at_most):
        outcome = broken
    elif share.is_below(at_most) or limit is None:
        outcome = "passed"
    else:
        outcome = "inconclusive"
    yield _estimated(
        "single-feature",
        share,
        outcome=outcome,
        limit=Limit(at_most=at_most),
        slice_=name,
        rows=head.rows,
        message=f"{name} has the largest share of all importance, {_percent(share)}.",
        remedy="Find out whether it is known when a prediction is made, and tells the label",
    )


def _named(look: Look) -> Iterator[Check]:
    """Judge the features that must matter, and those that must not."""
    head, least = look.asked.head, look.settings.matters_from
    shares, moved = head.shares(), head.moved_shares()
    for name in look.settings.must_matter:
        share = shares.get(name)
        yield _judged("must-matter", name, share, least, at_least=True, rows=head.rows)
    for name in look.settings.must_not_matter:
        both = [one for one in (shares.get(name), moved.get(name)) if one is not None]
        worst = max(both, key=lambda one: one.high, default=None)
        yield _judged("must-not-matter", name, worst, least, at_least=False, rows=head.rows)


def _judged(
    check: str, name: str, share: Estimate | None, least: float, *, at_least: bool, rows: int
) -> Check:
    if share is None:
        message = f"How much {name} matters could not be measured."
        return Check(name=check, outcome="inconclusive", slice=name, message=message)
    above, below = share.is_above(least), share.is_below(least)
    outcome: Outcome = "inconclusive"
    if above or below:
        outcome = "passed" if above == at_least else "failed"
    return _estimated(
        check,
        share,
        outcome=outcome,
        limit=Limit(at_least=least) if at_least else Limit(at_most=least),
        slice_=name,
        rows=rows,
        message=f"{name} has {_percent(share)} of all importance.",
        remedy="Find out what took its place" if at_least else "Leave it out of the inputs",
    )


def _estimated(
    name: str,
    share: Estimate,
    *,
    outcome: Outcome,
    limit: Limit,
    slice_: str,
    rows: int,
    message: str,
    remedy: str,
) -> Check:
    unsure = " The interval holds the limit; more rows would tell."
    return Check(
        name=name,
        outcome=outcome,
        slice=slice_,
        observed=share.value,
        interval=Interval(low=share.low, high=share.high),
        limit=limit,
        rows=rows,
        message=message + (unsure if outcome == "inconclusive" else ""),
        remedy="" if outcome == "passed" else remedy,
    )


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} %"


# --- sensitive features -------------------------------------------------------------------------


def _sensitive(look: Look) -> Iterator[Check]:
    """Judge whether the model relies on sensitive features, or on what tells their groups."""
    settings, head = look.settings, look.workspace.head
    if settings.on_sensitive == "ignore":
        return
    broken: Outcome = "warned" if settings.on_sensitive == "warn" else "failed"
    table = look.workspace.table(head, "test").frame.loc[look.frame.index]
    moved, least = look.asked.head.moved_shares(), settings.matters_from
    for column in head.data.sensitive:
        if column not in table.columns:
            continue
        used = moved.get(column)
        if column in look.inputs and used is not None:
            outcome: Outcome = broken if used.is_above(least) else "inconclusive"
            yield _estimated(
                "sensitive-feature",
                used,
                outcome="passed" if used.is_below(least) else outcome,
                limit=Limit(at_most=least),
                slice_=column,
                rows=look.asked.head.rows,
                message=f"{column} moves the answers by {_percent(used)} of all that they move.",
                remedy="Leave it out of the inputs, or say in the model card why it is needed",
            )
        yield _proxies(look, column, group_names(table[[column]]).tolist(), broken)


def _proxies(look: Look, column: str, groups: list[str], broken: Outcome) -> Check:
    settings, moved = look.settings, look.asked.head.moved_shares()
    found = []
    for name in look.inputs:
        share = moved.get(name)
        told = tells(look.frame[name], groups, seed=settings.seed) if name != column else None
        if told is not None and share is not None:
            found.append((told, share, name))
    common: dict[str, Any] = {
        "name": "proxy",
        "slice": column,
        "limit": Limit(at_most=settings.proxy_auc),
    }
    if not found:
        message = "No group is large enough to be told apart."
        return Check(outcome="skipped", message=message, **common)
    least = settings.matters_from
    ill = [f for f in found if f[0].low > settings.proxy_auc and f[1].is_above(least)]
    told, _, name = max(ill or found, key=lambda one: one[0].area)
    common |= {
        "observed": told.area,
        "interval": Interval(low=told.low, high=told.high),
        "rows": len(groups),
    }
    if ill:
        names = ", ".join(one[2] for one in sorted(ill, key=lambda o: -o[0].area)[:PROXIES])
        return Check(
            outcome=broken,
            message=f"The model relies on {names}, which tells groups of {column} apart.",
            remedy="Drop it, or say in the model card why it is needed",
            **common,
        )
    return Check(
        outcome="passed",
        message=f"No feature that matters tells groups of {column} apart; {name} does it best.",
        **common,
    )


# --- the report ---------------------------------------------------------------------------------


def _agreement(look: Look) -> Iterator[Metric]:
    ours = look.asked.head.importance()
    both = [name for name in ours if name in look.shap]
    if len(both) > 1:
        value = kendall([ours[n].value for n in both], [look.shap[n] for n in both])
        yield Metric(name="rank-agreement", slice="with SHAP", value=value)
    base = look.asked.base
    if base is None:
        return
    names = [name for name in look.asked.head.names if name in base.names]
    if len(names) > 1:
        theirs = base.importance()
        value = kendall([ours[n].value for n in names], [theirs[n].value for n in names])
        yield Metric(name="rank-agreement", value=value)


def _shown(look: Look, turned: "flipped.Flips | None") -> tuple[list[Table], list[Chart]]:
    tables = [pictures.importance_table(look.asked, look.shap)]
    charts = [pictures.importance_chart(look.asked)]
    if turned is not None:
        tables += turned.tables
        try:
            tables += flipped.largest(look, turned)
        except (Spent, Refused, CannotLook) as fault:
            look.notes.append(_left_out("Contributions to flipped decisions", fault))
    try:
        charts.extend(pictures.dependence(look))
    except (Spent, Refused, CannotLook) as fault:
        look.notes.append(_left_out("Partial dependence", fault))
    return tables, charts


def _left_out(what: str, fault: Exception) -> str:
    why = "the time was over" if isinstance(fault, Spent) else str(fault)
    return f"{what} left out: {why}."[:500]

"""Governance rules: inputs and proxies of sensitive features, the model card, required evidence."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import Check, Interval, Limit, Outcome, Place, Table
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.policy import packs
from ci_mlops.strict_yaml import read

if TYPE_CHECKING:
    import pandas as pd

    from ci_mlops.stages.policy import PolicyStage

FAILED: Mapping[str, Outcome] = {"block": "failed", "warn": "warned", "info": "warned"}
MAX_PROXY_ROWS = 20_000
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def judge(rule: packs.Rule, settings: "PolicyStage", workspace: Workspace) -> list[Check]:
    """Return the checks of a governance rule; none for other kinds."""
    if isinstance(rule, packs.SensitiveInput):
        return [_sensitive_input(rule, workspace)]
    if isinstance(rule, packs.Proxy):
        return _proxies(rule, settings, workspace)
    if isinstance(rule, packs.ModelCardFields):
        return [_card(rule, rule.fields, workspace)]
    if isinstance(rule, packs.RequiredEvidence):
        return [_required(rule, workspace)]
    return []


def tables(rules: Sequence[tuple[packs.Pack, packs.Rule]], workspace: Workspace) -> Iterable[Table]:
    """Yield a table for each pack that maps articles of a law to the evidence that answers them."""
    for pack in dict.fromkeys(pack for pack, _ in rules):
        rows = tuple(
            (rule.article, what, "present" if there else "missing")
            for rule in pack.rules
            if isinstance(rule, packs.RequiredEvidence) and rule.article
            for what, there in _evidence(rule, workspace)
        )
        if rows:
            title = f"{pack.title}: evidence by article"
            yield Table(title=title, columns=("article", "evidence", "state"), rows=rows)


def card_text(side: Side) -> str | None:
    """Return the text of a side's model card; None where there is none."""
    card = side.model.card if side.model else None
    path = side.root / card if card else None
    if path is None or not path.is_file() or not path.resolve().is_relative_to(side.root.resolve()):
        return None
    return path.read_text(encoding="utf-8", errors="replace")


def card_fields(text: str, place: str) -> dict[str, str]:
    """Return what a card answers, by lower-case name: front matter and the text below headings.

    Raises CannotLook when the front matter is not YAML.
    """
    found: dict[str, str] = {}
    body = text
    if text.startswith("---\n") and "\n---" in text[4:]:
        matter, _, body = text[4:].partition("\n---")
        try:
            values = read(matter, place).value
        except ConfigError as fault:
            raise CannotLook(fault.fault, place=fault.place, remedy=fault.remedy) from fault
        if isinstance(values, dict):
            found |= {_name(key): str(value or "").strip() for key, value in values.items()}
    parts = HEADING.split(body)
    for heading, below in zip(parts[1::2], parts[2::2], strict=True):
        found.setdefault(_name(heading), below.strip())
    return found


def _name(text: str) -> str:
    return " ".join(re.split(r"[\s_-]+", text.strip().lower()))


# --- inputs -------------------------------------------------------------------------------------


def _inputs(workspace: Workspace) -> tuple[str, ...]:
    made = workspace.predictions(model=workspace.head, data=workspace.head, part="test")
    return made.inputs


def _sensitive_input(rule: packs.SensitiveInput, workspace: Workspace) -> Check:
    sensitive = workspace.head.data.sensitive
    inputs = _inputs(workspace)
    if not inputs:
        return _unknown_inputs(rule)
    used = [column for column in sensitive if column in inputs]
    if used:
        message = f"The model is given the sensitive features {', '.join(used)}."
    else:
        message = f"None of the {len(sensitive)} sensitive features is an input of the model."
    return Check(
        name=rule.id,
        outcome=FAILED[rule.severity] if used else "passed",
        slice=", ".join(used),
        observed=float(len(used)),
        limit=Limit(at_most=0),
        message=message,
        remedy=rule.remedy if used else "",
        source=rule.source,
    )


def _unknown_inputs(rule: packs.Rule) -> Check:
    return Check(
        name=rule.id,
        outcome="skipped",
        message="The predictions come from files, so nobody here knows the model's inputs.",
        source=rule.source,
    )


def _proxies(rule: packs.Proxy, settings: "PolicyStage", workspace: Workspace) -> list[Check]:
    inputs = _inputs(workspace)
    if not inputs:
        return [_unknown_inputs(rule)]
    side = workspace.head
    frame = workspace.table(side, "train" if side.data.train else "test").frame
    used = [column for column in inputs if column not in side.data.sensitive]
    return [
        _proxy(
            rule,
            column,
            frame,
            [c for c in used if c in frame.columns],
            settings=settings,
            workspace=workspace,
        )
        for column in side.data.sensitive
    ]


def _proxy(
    rule: packs.Proxy,
    column: str,
    frame: "pd.DataFrame",
    inputs: list[str],
    *,
    settings: "PolicyStage",
    workspace: Workspace,
) -> Check:
    known = frame[frame[column].notna()]
    known = known.sample(min(len(known), MAX_PROXY_ROWS), random_state=workspace.seed)
    counts = known[column].value_counts()
    common = counts[counts >= settings.min_group_size].index
    known = known[known[column].isin(common)]
    if len(common) < 2 or not inputs:
        return Check(
            name=rule.id,
            outcome="inconclusive",
            slice=column,
            rows=len(known),
            message=f"Too few rows in the groups of {column} to see whether the inputs tell them "
            "apart.",
            source=rule.source,
        )
    scores, telling = _predictability(known[inputs], known[column], workspace.seed)
    value = sum(scores) / len(scores)
    limit = Limit(at_most=settings.limits.get(rule.id, rule.at_most))
    holds = limit.allows(value)
    named = ", ".join(telling)
    return Check(
        name=rule.id,
        outcome="passed" if holds else FAILED[rule.severity],
        slice=column,
        observed=value,
        limit=limit,
        interval=Interval(low=min(scores), high=max(scores), level=0.8),
        rows=len(known),
        message=f"The model's inputs tell the groups of {column} apart with an area under the ROC "
        f"curve of {value:.2f} (0.5 is chance); most telling: {named}.",
        remedy="" if holds else rule.remedy,
        source=rule.source,
    )


def _predictability(
    inputs: "pd.DataFrame", target: "pd.Series[Any]", seed: int
) -> tuple[list[float], list[str]]:
    """Return the areas under the ROC curve of 5 folds, and the three most telling columns."""
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    coded = inputs.apply(
        lambda one: (
            one
            if pd.api.types.is_numeric_dtype(one)
            else pd.Series(pd.factorize(one)[0], index=one.index)
        )
    ).astype(float)
    labels = pd.factorize(target)[0]
    model = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_score(model, coded, labels, cv=folds, scoring="roc_auc_ovr")
    half = np.arange(len(coded)) % 2 == 0
    model.fit(coded[half], labels[half])
    importance = permutation_importance(
        model, coded[~half], labels[~half], scoring="roc_auc_ovr", n_repeats=3, random_state=seed
    ).importances_mean
    best = sorted(zip(importance, coded.columns, strict=True), reverse=True)[:3]
    return [float(score) for score in scores], [str(column) for _, column in best]


# --- documents ----------------------------------------------------------------------------------


def _card(rule: packs.Rule, fields: Sequence[str], workspace: Workspace) -> Check:
    missing = _missing_fields(fields, workspace)
    card = workspace.head.model.card if workspace.head.model else None
    if card is None:
        message = "There is no model card: `model.card` names none."
    elif card_text(workspace.head) is None:
        message = f"There is no model card: {card} is missing."
    elif missing:
        message = f"The model card does not answer: {', '.join(missing)}."
    else:
        message = f"The model card answers all {len(fields)} questions."
    return Check(
        name=rule.id,
        outcome=FAILED[rule.severity] if missing else "passed",
        observed=float(len(fields) - len(missing)),
        limit=Limit(at_least=float(len(fields))),
        message=message,
        remedy=rule.remedy if missing else "",
        source=rule.source,
        place=Place(file=card) if card and card_text(workspace.head) is not None else None,
    )


def _missing_fields(fields: Sequence[str], workspace: Workspace) -> list[str]:
    text = card_text(workspace.head)
    place = (workspace.head.model.card if workspace.head.model else None) or "model card"
    answered = card_fields(text, place) if text is not None else {}
    return [field for field in fields if not answered.get(_name(field))]


def _evidence(rule: packs.RequiredEvidence, workspace: Workspace) -> list[tuple[str, bool]]:
    missing = _missing_fields(rule.fields, workspace)
    stages = [(f"stage {stage}", stage in workspace.stages) for stage in rule.stages]
    return stages + [(f"model card: {field}", field not in missing) for field in rule.fields]


def _required(rule: packs.RequiredEvidence, workspace: Workspace) -> Check:
    found = _evidence(rule, workspace)
    missing = [what for what, there in found if not there]
    about = f" for article {rule.article}" if rule.article else ""
    if missing:
        message = f"Evidence{about} is missing: {', '.join(missing)}."
    else:
        message = f"All evidence{about} is produced: {', '.join(what for what, _ in found)}."
    return Check(
        name=rule.id,
        outcome=FAILED[rule.severity] if missing else "passed",
        observed=float(len(found) - len(missing)),
        limit=Limit(at_least=float(len(found))),
        message=message,
        remedy=rule.remedy if missing else "",
        source=rule.source,
    )

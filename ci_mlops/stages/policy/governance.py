"""Governance rules: inputs and proxies of sensitive features, the model card, required evidence."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import Check, Limit, Place, Table
from ci_mlops.model import card_file, human
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.policy import packs, proxies
from ci_mlops.strict_yaml import read

if TYPE_CHECKING:
    from ci_mlops.stages.policy import PolicyStage

REWRITE = "Run `ci-mlops run && ci-mlops card`, and commit what it writes next to the model"
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def judge(rule: packs.Rule, settings: "PolicyStage", workspace: Workspace) -> list[Check]:
    """Return the checks of a governance rule; none for other kinds."""
    if isinstance(rule, packs.SensitiveInput):
        return [_sensitive_input(rule, workspace)]
    if isinstance(rule, packs.Proxy):
        return proxies.judge(rule, inputs(workspace), settings, workspace)
    if isinstance(rule, packs.ModelCardFields):
        return [_card(rule, rule.fields, workspace)]
    if isinstance(rule, packs.RequiredEvidence):
        return [_required(rule, workspace)]
    return []


def tables(rules: Sequence[tuple[packs.Pack, packs.Rule]], workspace: Workspace) -> Iterable[Table]:
    """Yield a table for each pack that maps articles of a law to the evidence that answers them."""
    for pack in {pack.name: pack for pack, _ in rules}.values():
        rows = tuple(
            (rule.article, what, "set up" if there else "missing")
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


def made_card_text(side: Side) -> str:
    """Return the text of the card next to a side's model; empty where there is none."""
    model = side.model.path if side.model else None
    path = side.root / card_file.place_of(model) if model else None
    there = path is not None and path.is_file()
    return path.read_text(encoding="utf-8", errors="replace") if path and there else ""


def card_fields(text: str, place: str) -> dict[str, str]:
    """Return what a card answers, by lower-case name: front matter and the text below headings.

    A card that is made of evidence is judged by its human part, whose evaluation is the evidence.
    Raises CannotLook when the human part or the front matter is not YAML.
    """
    if human.is_human(place):
        return {"evaluation": "by evidence", **human.parse(text, place).answers()}
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


def inputs(workspace: Workspace) -> tuple[str, ...]:
    """Return the columns that the head's model is given; none where nobody knows."""
    made = workspace.predictions(model=workspace.head, data=workspace.head, part="test")
    return made.inputs


def _sensitive_input(rule: packs.SensitiveInput, workspace: Workspace) -> Check:
    sensitive = workspace.head.data.sensitive
    given = inputs(workspace)
    if not given:
        return proxies.unknown_inputs(rule)
    used = [column for column in sensitive if column in given]
    if used:
        message = f"The model is given the sensitive features {', '.join(used)}."
    else:
        message = f"None of the {len(sensitive)} sensitive features is an input of the model."
    return Check(
        name=rule.id,
        outcome=packs.BROKEN[rule.severity] if used else "passed",
        slice=", ".join(used),
        observed=float(len(used)),
        limit=Limit(at_most=0),
        message=message,
        remedy=rule.remedy if used else "",
        source=rule.source,
    )


# --- documents ----------------------------------------------------------------------------------


def _card(rule: packs.Rule, fields: Sequence[str], workspace: Workspace) -> Check:
    missing = _missing_fields(fields, workspace)
    stale = _stale(workspace)
    card = workspace.head.model.card if workspace.head.model else None
    if card is None:
        message = "There is no model card: `model.card` names none."
    elif card_text(workspace.head) is None:
        message = f"There is no model card: {card} is missing."
    elif missing:
        message = f"The model card does not answer: {', '.join(missing)}."
    elif stale:
        message = f"The model card is stale: {stale}."
    else:
        message = f"The model card answers all {len(fields)} questions."
    return Check(
        name=rule.id,
        outcome=packs.BROKEN[rule.severity] if missing or stale else "passed",
        observed=float(len(fields) - len(missing)),
        limit=Limit(at_least=float(len(fields))),
        message=message,
        remedy=(rule.remedy if missing else REWRITE) if missing or stale else "",
        source=rule.source,
        place=Place(file=card) if card and card_text(workspace.head) is not None else None,
    )


def _stale(workspace: Workspace) -> str:
    """Return how the card next to the model speaks of something else; empty where it does not.

    Only a model that stands in git has a card next to it there: of one that `prepare` makes, each
    run makes the card.
    """
    head = workspace.head
    model = head.model
    if model is None or model.path is None or not human.is_human(model.card):
        return ""
    command = ["git", "ls-files", "--error-unmatch", "--", model.path]
    if workspace.commands.run(command, cwd=head.root, timeout_s=60).code:
        return ""
    place = card_file.place_of(model.path)
    text = made_card_text(head)
    if not text:
        return f"there is no {place} next to the model"
    subjects = {one.name: one.sha256 for one in head.subjects}
    other = card_file.differing(text, card_file.speaks_of(subjects, model.threshold))
    return f"{place} speaks of another {', '.join(other)}" if other else ""


def _missing_fields(fields: Sequence[str], workspace: Workspace) -> list[str]:
    text = card_text(workspace.head)
    place = (workspace.head.model.card if workspace.head.model else None) or "model card"
    answered = card_fields(text, place) if text is not None else {}
    if human.is_human(place) and "model" not in workspace.stages:
        answered.pop("evaluation", None)  # nothing evaluates it
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
        message = f"All evidence{about} is set up: {', '.join(what for what, _ in found)}."
    return Check(
        name=rule.id,
        outcome=packs.BROKEN[rule.severity] if missing else "passed",
        observed=float(len(found) - len(missing)),
        limit=Limit(at_least=float(len(found))),
        message=message,
        remedy=rule.remedy if missing else "",
        source=rule.source,
    )

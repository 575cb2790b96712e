"""Every rule of every pack judged in turn, waivers applied, and the tables for the report."""

import sys
from collections.abc import Iterable
from datetime import date

from ci_mlops.errors import ConfigError
from ci_mlops.evidence import WAIVED, Check, Outcome, text_sha256
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.policy import PolicyStage, Waiver, fairness, governance, packs
from ci_mlops.stages.policy.packs import LoadedPack, Pack, Rule
from ci_mlops.strict_yaml import did_you_mean


def judge(
    settings: PolicyStage,
    workspace: Workspace,
    *,
    today: date,
    kinds: tuple[type[packs.Rule], ...] | None = None,
) -> Findings:
    """Return the checks of every rule, or of some kinds of rules.

    Raises ConfigError for a pack that is wrong.
    """
    loaded = [packs.load(name, workspace.judge.root) for name in settings.packs]
    rules = [(one.pack, rule) for one in loaded for rule in one.pack.rules]
    _refuse_unknown(settings, {rule.id for _, rule in rules})
    rules = [(pack, rule) for pack, rule in rules if kinds is None or isinstance(rule, kinds)]
    checks: list[Check] = []
    single = _once_each(rules)
    for rule in single:
        found = fairness.judge(rule, settings, workspace)
        found += governance.judge(rule, settings, workspace)
        checks += [informed(check) for check in found] if rule.severity == "info" else found
    grouped = any(fairness.compares(rule) for rule in single)
    checks = [waived(check, settings.waivers, today) for check in checks]
    return Findings(
        checks=tuple(checks),
        metrics=tuple(fairness.metrics(settings, workspace)) if grouped else (),
        tables=(
            *(fairness.tables(settings, workspace) if grouped else ()),
            *governance.tables(rules, workspace),
        ),
        notes=tuple(_notes(settings, workspace, loaded, today)),
        tools={"fairlearn": _version("fairlearn"), "python": sys.version.split()[0]},
    )


def informed(check: Check) -> Check:
    """Return the check of a rule of severity `info`: it tells, and never warns or stops."""
    told: dict[Outcome, Outcome] = {"warned": "passed", "inconclusive": "skipped"}
    if check.outcome not in told:
        return check
    said = "beyond the limit" if check.outcome == "warned" else "undecided"
    message = f"For information only, {said}: {check.message}"[:2000]
    return check.model_copy(update={"outcome": told[check.outcome], "message": message})


def waived(check: Check, waivers: Iterable[Waiver], today: date) -> Check:
    """Return a failed check as warned where a waiver holds; an expired one counts for nothing."""
    if check.outcome != "failed":
        return check
    for waiver in waivers:
        if waiver.holds(check.name, check.slice, today):
            said = f"{WAIVED} {waiver.expires} by {waiver.approved_by}: {waiver.reason}"
            message = f"{check.message} {said}"[:2000]
            return check.model_copy(update={"outcome": "warned", "message": message})
    return check


def pack_digests(settings: PolicyStage, workspace: Workspace) -> dict[str, str]:
    """Return a digest of each pack's text, on both sides where a pack is the user's own.

    The head's is among them because the record names a pack that the pull request changes. An
    unreadable pack is told when it is judged.
    """
    digests: dict[str, str] = {}
    for name in settings.packs:
        try:
            digests[f"pack:{name}"] = text_sha256(packs.load(name, workspace.judge.root).text)
        except ConfigError as fault:
            digests[f"pack:{name}"] = str(fault)
        if packs.is_file(name):
            digests[f"head-pack:{name}"] = text_sha256(_head_text(name, workspace))
    return digests


def card_text(side: Side) -> str | None:
    """Return the text of the side's model card; None where there is none."""
    return governance.card_text(side)


def made_card_text(side: Side) -> str:
    """Return the text of the card that stands next to the side's model; empty without one."""
    return governance.made_card_text(side)


def _once_each(rules: Iterable[tuple[Pack, Rule]]) -> list[Rule]:
    """Return each rule once: two packs may hold the same one, such as a performance floor."""
    words = {"reason", "source", "remedy"}
    first: dict[str, tuple[Pack, Rule]] = {}
    for pack, rule in rules:
        known, same = first.setdefault(rule.id, (pack, rule))
        if same.model_dump(exclude=words) != rule.model_dump(exclude=words):
            raise ConfigError(
                f"packs {known.name!r} and {pack.name!r} hold different rules named {rule.id!r}",
                place="stages.policy.packs",
                remedy="Give one of them another id, so that both are judged",
            )
    return [rule for _, rule in first.values()]


def _refuse_unknown(settings: PolicyStage, known: set[str]) -> None:
    for rule in (*settings.limits, *(waiver.rule for waiver in settings.waivers)):
        if rule not in known:
            raise ConfigError(
                f"rule {rule!r} is in none of the packs{did_you_mean(rule, known)}",
                place="stages.policy",
            )


def _notes(
    settings: PolicyStage, workspace: Workspace, loaded: list[LoadedPack], today: date
) -> Iterable[str]:
    for waiver in settings.waivers:
        if today > date.fromisoformat(waiver.expires):
            yield f"The waiver of {waiver.rule} expired on {waiver.expires} and counts for nothing."
    if workspace.judge is workspace.head:
        return
    for one in loaded:
        if packs.is_file(one.place) and _head_text(one.place, workspace) != one.text:
            yield (
                f"This pull request changes the policy pack {one.place}; it was judged by the "
                "base's version, and the change takes effect after the merge."
            )


def _head_text(name: str, workspace: Workspace) -> str:
    path = workspace.head.root / name
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)

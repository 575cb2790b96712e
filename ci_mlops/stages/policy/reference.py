"""The reference of the ready-made policy packs, as Markdown made from the packs themselves."""

import json

from ci_mlops.stages.policy import packs


def markdown() -> str:
    """Return the page docs/policies.md."""
    return (
        "# Policy packs\n\nEvery rule with its limit, its reason and its source. This page is made "
        "from the packs; [stage policy](stages/policy.md) says how rules are judged.\n\n"
        f"{_packs().rstrip()}\n"
    )


def _packs() -> str:
    lines: list[str] = []
    for name, text in packs.ready_made().items():
        pack = packs.parse(text, f"policies/{name}.yml").pack
        lines += [f"## `{name}`: {pack.title}", "", pack.description, ""]
        lines += ["| rule | severity | limit | reason | source |", "|---|---|---|---|---|"]
        for rule in pack.rules:
            cells = (f"`{rule.id}`", rule.severity, _limit(rule), rule.reason, rule.source)
            lines.append("| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _limit(rule: packs.Rule) -> str:
    values = rule.model_dump(mode="json", exclude_none=True)
    common = set(packs.Rule.model_fields)
    shown = {k: v for k, v in values.items() if k not in common and v not in (False, 0.0, [], {})}
    return ", ".join(f"`{k}: {json.dumps(v)}`" for k, v in shown.items())

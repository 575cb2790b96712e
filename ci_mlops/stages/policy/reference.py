"""The reference of the ready-made policy packs, as Markdown made from the packs themselves."""

from ci_mlops.stages.policy import packs


def markdown() -> str:
    """Return the page docs/policies.md."""
    return (
        "# Policy packs\n\nEvery rule with its limit, its reason and its source. This page is made "
        "from the packs; [stage policy](stages/policy.md) says how rules are judged.\n\n"
        f"{packs.reference().rstrip()}\n"
    )

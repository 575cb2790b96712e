"""The card that stands next to a model: where it is, and of what it speaks."""

from pathlib import PurePosixPath
from typing import Any

import yaml

MARKDOWN = "MODEL_CARD.md"
FIELD = "ci-mlops"
"""The header's field that holds the digests of what was judged."""


def place_of(model: str) -> str:
    """Return where the card of a model file or folder stands, relative to mlops.yml."""
    return (PurePosixPath(model).parent / MARKDOWN).as_posix()


def told_digests(text: str) -> dict[str, str]:
    """Return the digests that a card's header tells, by subject; nothing of one without any."""
    if not text.startswith("---\n"):
        return {"model": "of no header"}
    try:
        found: Any = yaml.safe_load(text[4:].partition("\n---\n")[0])
    except yaml.YAMLError:
        return {"model": "of a header that is no YAML"}
    told = found.get(FIELD) if isinstance(found, dict) else None
    if not isinstance(told, dict) or "model" not in told:
        return {"model": "of a header without digests"}
    return {str(name): str(digest) for name, digest in told.items() if name != "code"}

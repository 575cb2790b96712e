"""The card that stands next to a model: where it is, and of what it speaks."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

MARKDOWN = "MODEL_CARD.md"
FIELD = "ci-mlops"
"""The header's field that holds the digests of what was judged."""


def place_of(model: str) -> str:
    """Return where the card of a model file or folder stands, relative to mlops.yml."""
    return (PurePosixPath(model).parent / MARKDOWN).as_posix()


def speaks_of(subjects: Mapping[str, str], threshold: float) -> dict[str, str]:
    """Return what a card is about, by name: digests of model and data, and the threshold."""
    kept = {name: digest for name, digest in subjects.items() if name != "code"}
    return {**kept, "threshold": f"{threshold:g}"}


def differing(text: str, judged: Mapping[str, str]) -> list[str]:
    """Return what a card tells otherwise than it was judged, or leaves out."""
    told = told_digests(text)
    return sorted(name for name in {*told, *judged} if told.get(name) != judged.get(name))


def told_digests(text: str) -> dict[str, str]:
    """Return what a card's header says that it is about; of one without any, why."""
    if not text.startswith("---\n"):
        return {"model": "of no header"}
    try:
        found: Any = yaml.safe_load(text[4:].partition("\n---\n")[0])
    except yaml.YAMLError:
        return {"model": "of a header that is no YAML"}
    told = found.get(FIELD) if isinstance(found, dict) else None
    if not isinstance(told, dict) or "model" not in told:
        return {"model": "of a header without digests"}
    return {str(name): str(value) for name, value in told.items()}

"""A line of Markdown that nobody sees: what a comment or an issue remembers, and how it is read."""

import json
import re
from typing import TypeVar

from pydantic import ValidationError

from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import parse_json
from ci_mlops.values import Value

MAX_LINE = 16_384
LINE = re.compile(r"^<!-- ci-mlops-state (\{.*\}) -->$")
# Inside a comment of HTML these could end it, or look like the end of one.
HIDDEN = {ord(character): f"\\u{ord(character):04x}" for character in "<>&-"}
Kind = TypeVar("Kind", bound=Value)


def line(known: Value) -> str:
    """Return the line, which stands last in a text."""
    text = json.dumps(known.model_dump(mode="json"), separators=(",", ":"))
    return f"<!-- ci-mlops-state {text.translate(HIDDEN)} -->"


def read(text: str, kind: type[Kind]) -> Kind | None:
    """Return what a text's last line holds; None where there is none that can be trusted."""
    last = text.rstrip().rpartition("\n")[2]
    found = LINE.match(last) if len(last) <= MAX_LINE else None
    if found is None:
        return None
    try:
        return kind.model_validate(parse_json(found[1].encode(), "the hidden line"))
    except (EvidenceError, ValidationError):
        return None

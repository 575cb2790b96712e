"""The body of an issue that the form model-feedback.yml made: its headings, and nothing else.

Everybody may write an issue, so it is read strictly and within a size; what is read is data for a
CSV file, and never becomes Markdown, a path or a part of a command.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ci_mlops.dataset.feedback import number
from ci_mlops.errors import ConfigError

FEATURES = "What the model was given"
PREDICTION = "Prediction id"
EXPECTED = "The right answer"
TOLERANCE = "Tolerance"
REASON = "Why"
PERSONAL = "Personal data"
HEADINGS = (FEATURES, PREDICTION, EXPECTED, TOLERANCE, REASON, PERSONAL)
"""The labels of the form's fields, in its order."""
EMPTY = "_No response_"
"""What GitHub writes for a field that was left empty."""
MAX_CHARACTERS = 65_536
"""Of an issue's body. Source: GitHub's own limit."""
MAX_FEATURES = 1000
FENCE = re.compile(r"(`{3,})[a-z]*\n(.*?)\n?\1", re.DOTALL)
REMEDY = "Fill in the form `model-feedback`, and leave its headings as they are"


@dataclass(frozen=True, kw_only=True)
class Told:
    """The fields of a form that was filled in."""

    features: Mapping[str, str]
    prediction: str
    expected: str
    tolerance: float | None
    reason: str


def parse(body: str, place: str) -> Told:
    """Read the fields. Raises ConfigError, naming `place` with the line, for anything else."""
    if len(body) > MAX_CHARACTERS:
        raise ConfigError(f"is longer than {MAX_CHARACTERS} characters", place=place)
    fields = _fields(body.replace("\r\n", "\n"), place)
    if not _is_confirmed(fields[PERSONAL]):
        raise ConfigError("does not confirm the rules on personal data", place=place)
    if not fields[EXPECTED]:
        raise ConfigError("does not say what is right", place=place, remedy=REMEDY)
    return Told(
        features=_features(fields[FEATURES], place),
        prediction=_line(fields[PREDICTION]),
        expected=_line(fields[EXPECTED]),
        tolerance=_tolerance(_line(fields[TOLERANCE]), place),
        reason=_line(fields[REASON]),
    )


def _fields(body: str, place: str) -> dict[str, str]:
    """Return the text below each heading; a heading that is missing has none."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for count, line in enumerate(body.split("\n"), start=1):
        where = f"{place}:{count}"
        if line.startswith("### "):
            heading = line.removeprefix("### ").strip()
            _require_next(heading, list(found), where)
            current = found.setdefault(heading, [])
        elif found:
            current.append(line)
        elif line.strip():
            raise ConfigError("does not begin with the form", place=where, remedy=REMEDY)
    texts = {name: "\n".join(lines).strip() for name, lines in found.items()}
    return {name: "" if texts.get(name) == EMPTY else texts.get(name, "") for name in HEADINGS}


def _require_next(heading: str, before: list[str], place: str) -> None:
    if heading not in HEADINGS:
        raise ConfigError("has a heading that the form does not have", place=place, remedy=REMEDY)
    if heading in before:
        raise ConfigError(f"has the heading {heading!r} twice", place=place, remedy=REMEDY)
    if before and HEADINGS.index(before[-1]) > HEADINGS.index(heading):
        raise ConfigError(f"has {heading!r} in another order", place=place, remedy=REMEDY)


def _features(text: str, place: str) -> dict[str, str]:
    fenced = FENCE.fullmatch(text)
    lines = [line for line in (fenced[2] if fenced else text).split("\n") if line.strip()]
    if len(lines) > MAX_FEATURES:
        raise ConfigError(f"has more than {MAX_FEATURES} features", place=place)
    found: dict[str, str] = {}
    for count, line in enumerate(lines, start=1):
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or not name:
            raise ConfigError(
                f"line {count} of {FEATURES!r} is no `name = value`",
                place=place,
                remedy="Write one column on each line, such as income = 5000",
            )
        if name in found:
            raise ConfigError(f"gives {name[:80]!r} twice", place=place)
        found[name] = value
    return found


def _line(text: str) -> str:
    return " ".join(text.split())


def _tolerance(text: str, place: str) -> float | None:
    if not text:
        return None
    try:
        found = number(text)
    except ValueError as fault:
        raise ConfigError("has a tolerance that is no number", place=place) from fault
    if found < 0:
        raise ConfigError("has a tolerance below 0", place=place)
    return found


def _is_confirmed(text: str) -> bool:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return bool(lines) and all(line[:6].lower() == "- [x] " for line in lines)

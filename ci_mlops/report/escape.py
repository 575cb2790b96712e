"""Text from the repository made harmless: it is shown as it is, and can neither call nor break."""

import re
import unicodedata

ZERO_WIDTH = "\u200b"
ENTITIES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",
    "`": "&#96;",
    "*": "&#42;",
    "_": "&#95;",
    "~": "&#126;",
    "[": "&#91;",
    "]": "&#93;",
    "\\": "&#92;",
    "!": "&#33;",
    "$": "&#36;",
    "@": f"&#64;{ZERO_WIDTH}",
    "#": f"&#35;{ZERO_WIDTH}",
}
# GitHub links bare addresses, GH-1 and commit hashes; a zero-width space inside keeps them text.
LINKED = re.compile(r"(?i)(https?:/|www\.|gh-(?=\d)|mailto:)")
STARTS = re.compile(r"^(\d*)((?<=\d)[.)](?=\s|$)|(?<!\d)[-+=])")
COMMIT = re.compile(r"\b[0-9a-f]{7,40}\b")


def plain(text: str) -> str:
    """Return text on one line without control, format and private characters.

    Bidirectional controls could reorder what a reviewer reads, zero-width ones could hide words.
    """
    kept = []
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        if category in {"Cc", "Zl", "Zp"}:
            kept.append(" ")
        elif category not in {"Cf", "Cs", "Co", "Cn"} or character == "\u00a0":
            kept.append(character)
    return re.sub(r"[ \t]+", " ", "".join(kept)).strip(" ")


def shortened(text: str, limit: int) -> str:
    """Return at most `limit` characters, an ellipsis in place of what was cut."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def markdown(text: str, limit: int = 400) -> str:
    """Return text that GitHub shows literally: no mention, link, table, HTML, list or emphasis."""
    clean = shortened(plain(text), limit)
    clean = LINKED.sub(lambda found: found[0][0] + ZERO_WIDTH + found[0][1:], clean)
    clean = COMMIT.sub(lambda found: found[0][:3] + ZERO_WIDTH + found[0][3:], clean)
    escaped = "".join(ENTITIES.get(character, character) for character in clean)
    # At the start of a line these would begin a list, a heading or a rule.
    return STARTS.sub(lambda found: found[1] + _entity(found[2]), escaped)


def _entity(character: str) -> str:
    return f"&#{ord(character)};"


def code(text: str, limit: int = 200) -> str:
    """Return text in a code element, escaped: in a span of backticks it could still open HTML."""
    escaped = markdown(text, limit)
    return f"<code>{escaped}</code>" if escaped else ""


def html(text: str, limit: int = 20_000) -> str:
    """Return text for HTML, quotes included."""
    clean = shortened(plain(text), limit)
    for character, entity in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ('"', "&quot;"),
        ("'", "&#39;"),
    ):
        clean = clean.replace(character, entity)
    return clean

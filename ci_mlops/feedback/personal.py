"""What in a free text looks as if it named a person; examples that nobody owns are let through.

Source of the examples: RFC 2606 (example.org, .test, .invalid), and 555-0100 to 555-0199, numbers
of North America that are kept for fiction.
"""

import re

EMAIL = re.compile(r"[\w.+%-]{1,64}@((?:[\w-]{1,63}\.){1,8}[a-z]{2,24})\b", re.IGNORECASE)
EXAMPLE = re.compile(r"(^|\.)(example(\.(com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)
PHONE = re.compile(r"(?<![\w.,-])(?:\+|\(|\d)[\d ()./-]{5,22}\d(?![\w,-])", re.ASCII)
FICTION = re.compile(r"55501\d\d$")
MOMENT = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4}", re.ASCII)
DECIMAL = re.compile(r"\d+\.\d+", re.ASCII)
PARTED = re.compile(r"[ ()/.-]")
IDENTITY = re.compile(r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)", re.ASCII)


def looks_personal(text: str) -> str:
    """Return what a text seems to hold, such as `an e-mail address`; empty where it is nothing."""
    if any(not EXAMPLE.search(found[1]) for found in EMAIL.finditer(text)):
        return "an e-mail address"
    if IDENTITY.search(text):
        return "a social security number"
    without = MOMENT.sub(" ", text)
    if any(_is_phone(found[0]) for found in PHONE.finditer(without)):
        return "a phone number"
    return ""


def _is_phone(text: str) -> bool:
    """Seven digits or more, begun with + or 0 or in parts; or ten or more in a row."""
    digits = re.sub(r"\D", "", text)
    if DECIMAL.fullmatch(text) or not 7 <= len(digits) <= 15 or FICTION.search(digits):
        return False
    return text.startswith(("+", "(", "0")) or len(digits) >= 10 or bool(PARTED.search(text))

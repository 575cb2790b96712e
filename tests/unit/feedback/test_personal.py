"""What names a person, and what only looks as if it did."""

import pytest

from ci_mlops.feedback.personal import looks_personal


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("write to ann.smith+loans@mail.co.uk today", "an e-mail address"),
        ("ÄRGER@firma.de", "an e-mail address"),
        ("call +49 30 901820", "a phone number"),
        ("call (212) 867-5309.", "a phone number"),
        ("212-867-5309", "a phone number"),
        ("0171/1234567", "a phone number"),
        ("030 901820", "a phone number"),
        ("his is 2128675309", "a phone number"),
        ("078-05-1120", "a social security number"),
    ],
)
def test_what_names_a_person(text: str, what: str) -> None:
    assert looks_personal(text) == what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "an income of 5,000 and 120 months",
        "5000000",
        "on 2026-11-24 at 10:30",
        "on 2026-11-24 and 24.11.2026",
        "24/11/2026",
        "3.14159265358979",
        "someone@example.org or x@mail.example.com, y@host.test",
        "555-0123",
        "(212) 555-0100",
        "version 1.2.3",
        "a@b",
        "flat 12 / 34",
        "12345678901234567890123",
    ],
)
def test_what_names_nobody(text: str) -> None:
    assert looks_personal(text) == ""


def test_a_long_text_takes_no_long_time() -> None:
    assert looks_personal("a." * 20_000 + "1x" * 20_000) == ""

"""Numbers as people read them: few digits, units, intervals, no line break inside a figure."""

import math

from ci_mlops.evidence import Check, Interval, Limit

SPACE = "\u00a0"
MINUS = "\u2212"


def number(value: float, *, digits: int = 3, signed: bool = False) -> str:
    """Return a number with about `digits` significant digits, without exponent where possible."""
    sign = "+" if signed and value > 0 else ""
    if value == 0:
        text = "0"
    elif abs(value) >= 1e7 or abs(value) < 1e-4:
        text = f"{value:.{digits - 1}e}"
    elif float(value).is_integer() and abs(value) >= 10**digits:
        text = f"{value:,.0f}"
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        # Shares and ratios: three decimals are as much as anybody compares, two the least.
        decimals = min(decimals, 3 if abs(value) >= 0.01 else 6)
        text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{decimals}f}"
        while text[-1] == "0" and len(text.partition(".")[2]) > 2:
            text = text[:-1]
    return sign + text.replace("-", MINUS)


def observed(check: Check) -> str:
    """Return what was observed, `0.93 → 0.74`, with its unit, as plain text."""
    if check.observed is None:
        return ""
    if isinstance(check.observed, str):
        return check.observed
    unit = with_unit(check.unit)
    head = number(check.observed)
    if check.base is None or check.base == check.observed:
        return f"{head}{unit}"
    return f"{number(check.base)} → {head}{unit}"


def change(check: Check) -> str:
    """Return the change against the base where the limit is on the change, `−0.05`."""
    if check.limit is None or check.limit.of != "change":
        return ""
    if check.base is None or not isinstance(check.observed, float | int):
        return ""
    return number(check.observed - check.base, digits=2, signed=True)


def interval(found: Interval | None) -> str:
    """Return an interval, `95 %: 0.66 to 0.83`."""
    if found is None:
        return ""
    signed = found.of == "change"
    low, high = (number(one, signed=signed) for one in (found.low, found.high))
    return f"{100 * found.level:g}{SPACE}%: {low} to {high}"


def limit(found: Limit | None, unit: str = "") -> str:
    """Return a limit, `≥ 0.80`."""
    if found is None:
        return ""
    signed = found.of == "change"
    parts = []
    if found.at_least is not None:
        parts.append(f"≥{SPACE}{number(found.at_least, signed=signed)}{with_unit(unit)}")
    if found.at_most is not None:
        parts.append(f"≤{SPACE}{number(found.at_most, signed=signed)}{with_unit(unit)}")
    return " and ".join(parts)


def with_unit(unit: str) -> str:
    """Return a unit with the space that must not break before it."""
    return f"{SPACE}{unit}" if unit else ""


def seconds(value: float) -> str:
    """Return a duration, `38 s` or `2 min 5 s`."""
    if value < 10:
        return f"{value:.1f}{SPACE}s"
    if value < 120:
        return f"{value:.0f}{SPACE}s"
    return f"{int(value) // 60}{SPACE}min {int(value) % 60}{SPACE}s"

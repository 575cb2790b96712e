"""How long to wait before a request is sent again, decided from what came back alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_ATTEMPTS = 12
SECONDARY_S = 60
"""Where a limit names no time. Source: GitHub docs, "Rate limits for the REST API"."""
TRANSIENT = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request that did not succeed; status 0 is one that was never answered."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """With names in lower case."""

    @property
    def may_have_happened(self) -> bool:
        """Whether the server may have done what it was asked, though its answer was lost."""
        return self.status == 0 or self.status in TRANSIENT


def wait_s(failure: Failure, attempt: int, now: float) -> float | None:
    """Return the seconds to wait before attempt `attempt` + 1 (from 1); None gives up.

    What the server asks for is what is waited: `retry-after`, else `x-ratelimit-reset` (seconds
    since 1970, as `now`). A limit that names no time waits a minute, and twice as long each time.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    if failure.may_have_happened:
        return _asked(failure, now) or float(min(2 ** (attempt - 1), 30))
    if failure.status == 429 or (failure.status == 403 and _is_limit(failure)):
        asked = _asked(failure, now)
        return asked if asked is not None else float(SECONDARY_S * 2 ** (attempt - 1))
    return None


def _is_limit(failure: Failure) -> bool:
    spent = failure.headers.get("x-ratelimit-remaining") == "0"
    return spent or "retry-after" in failure.headers or "rate limit" in failure.message.lower()


def _asked(failure: Failure, now: float) -> float | None:
    after = _finite(failure.headers.get("retry-after", ""))
    if after is not None:
        return max(0.0, after)
    if failure.headers.get("x-ratelimit-remaining") != "0":
        return None
    reset = _finite(failure.headers.get("x-ratelimit-reset", ""))
    # A second more: the header is cut to whole seconds.
    return None if reset is None else max(0.0, reset - now) + 1


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

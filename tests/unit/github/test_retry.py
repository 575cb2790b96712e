"""How long to wait: a truth table."""

from typing import Any

import pytest

from ci_mlops.github.retry import MAX_ATTEMPTS, Failure, wait_s

NOW = 1_000.0


def wait(status: int, attempt: int = 1, message: str = "", **headers: Any) -> float | None:
    named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return wait_s(Failure(status=status, message=message, headers=named), attempt, NOW)


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        (42, {"status": 403, "retry_after": 42}),
        (42, {"status": 429, "retry_after": 42}),
        (1, {"status": 429, "retry_after": 1}),
        (0, {"status": 429, "retry_after": 0}),
        (31, {"status": 403, "x_ratelimit_remaining": 0, "x_ratelimit_reset": 1_030}),
        (1, {"status": 429, "x_ratelimit_remaining": 0, "x_ratelimit_reset": 900}),
        (60, {"status": 429}),
        (60, {"status": 429, "retry_after": "soon"}),
        (60, {"status": 429, "retry_after": "nan"}),
        (60, {"status": 403, "message": "You have exceeded a secondary rate limit"}),
        (120, {"status": 403, "message": "secondary rate limit", "attempt": 2}),
        (1, {"status": 502}),
        (4, {"status": 0, "attempt": 3}),
        (30, {"status": 503, "attempt": 7}),
        (9, {"status": 503, "retry_after": 9}),
        (None, {"status": 403, "message": "Resource not accessible by integration"}),
        (None, {"status": 404}),
        (None, {"status": 422}),
        (None, {"status": 401}),
        (None, {"status": 502, "attempt": MAX_ATTEMPTS}),
    ],
)
def test_what_the_server_asks_is_what_is_waited(
    expected: float | None, arguments: dict[str, Any]
) -> None:
    assert wait(**arguments) == expected

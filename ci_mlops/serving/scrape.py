"""What a server's `/metrics` say of it: since when it runs, its memory, its requests by status."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ci_mlops.serving.client import FAULTS, Client

STARTED, MEMORY = "process_start_time_seconds", "process_resident_memory_bytes"
"""Names that every Prometheus client library gives: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics."""
MODEL_MEMORY = "ci_mlops_model_resident_memory_bytes"
"""Of a model that has a process of its own."""
REQUESTS = "ci_mlops_inference_requests_total"


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """One look at one process; None for what it does not say."""

    started: float
    """When the process began, which tells it from others behind the same address."""
    memory_bytes: float | None
    requests: float | None
    failed: float | None
    """Requests that were answered with 5xx."""


def scraped(client: Client) -> Scrape | None:
    """Look once; None where there are no metrics."""
    try:
        reply = client.get("/metrics")
        found = list(_samples(reply.text)) if reply.status == 200 else []
    except (*FAULTS, ValueError):
        return None
    held = [one.value for one in found if one.name in {MEMORY, MODEL_MEMORY}]
    asked = [one for one in found if one.name == REQUESTS]
    return Scrape(
        started=next((one.value for one in found if one.name == STARTED), 0.0),
        memory_bytes=sum(held) if any(one.name == MEMORY for one in found) else None,
        # A server that counts, and was asked nothing yet, has no series.
        requests=sum(one.value for one in asked) if asked else None,
        failed=sum(one.value for one in asked if one.labels.get("code", "")[:1] == "5")
        if asked
        else None,
    )


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How the memory of one process grew while it was asked."""

    kb_a_request: float
    """What each request kept, in kilobytes, in the half where it was less."""
    from_mb: float
    to_mb: float
    requests: float


STEP_BYTES = 1024 * 1024
"""What an allocator may take at once and keep: one of CPython's arenas; glibc takes less."""
MIN_SAMPLES = 12
"""Three in each quarter."""


def growth(samples: Sequence[tuple[float, float]]) -> Growth | None:
    """Return how memory grew, from pairs of requests and bytes in order; None where too few.

    The first quarter is warming up. Of each later one the least counts, since what a collector
    frees was not kept; and a leak grows from the second to the third as well as from the third to
    the fourth, where a cache that fills or an arena that is taken makes one step.
    """
    if len(samples) < MIN_SAMPLES:
        return None
    size = len(samples) // 4
    quarters = [samples[len(samples) - (3 - n) * size :][:size] for n in range(3)]
    least = [min(quarter, key=lambda one: one[1]) for quarter in quarters]
    middle = [sum(one[0] for one in quarter) / size for quarter in quarters]
    rates = [
        max(0.0, least[n + 1][1] - least[n][1] - STEP_BYTES) / 1024 / (middle[n + 1] - middle[n])
        for n in range(2)
        if middle[n + 1] > middle[n]
    ]
    if len(rates) < 2:
        return None
    return Growth(
        kb_a_request=min(rates),
        from_mb=least[0][1] / 1024**2,
        to_mb=least[2][1] / 1024**2,
        requests=middle[2] - middle[0],
    )

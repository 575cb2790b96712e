"""What metrics say of a server's process, and whether its memory grows."""

from contextlib import closing
from itertools import pairwise

import pytest

from ci_mlops.serving import scrape
from ci_mlops.serving.client import Client
from ci_mlops.serving.scrape import growth, scraped
from tests.unit.serving.faulty_server import Faulty, serving

MB = 1024 * 1024


def samples(*megabytes: float) -> list[tuple[float, float]]:
    """Return memory after each tenth request."""
    return [(10.0 * n, one * MB) for n, one in enumerate(megabytes)]


def test_a_process_is_told_with_its_requests() -> None:
    with serving("good") as server, closing(Client(server.url)) as client:
        server.asked, server.wrong = 7, 2
        found = scraped(client)
    assert found is not None
    assert (found.started, found.requests, found.failed) == (1.5, 7, 2)
    assert found.memory_bytes == 50_000_000


@pytest.mark.parametrize("text", ["{", "# HELP", "a{b=}1"])
def test_other_texts_are_no_metrics(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(Faulty, "metrics", lambda _: text)
    with serving("good") as server, closing(Client(server.url)) as client:
        found = scraped(client)
    assert found is None or found.memory_bytes is None


def test_a_server_that_is_gone_has_none() -> None:
    with serving("good") as server:
        url = server.url
    with closing(Client(url)) as client:
        assert scraped(client) is None


def test_a_leak_is_told_by_what_each_request_keeps() -> None:
    found = growth(samples(*(100 + n for n in range(40))))
    assert found is not None
    # Ten requests keep a megabyte, less what an allocator may take at once.
    rate = (10 * MB - scrape.STEP_BYTES) / 1024 / 100
    assert found.kb_a_request == pytest.approx(rate)
    assert found.requests == 200


@pytest.mark.parametrize(
    "held",
    [
        [100.0] * 40,
        [100 + 0.01 * n for n in range(40)],
        [*(100 + 3.0 * n for n in range(10)), *([130.0] * 30)],  # it warms up
        [*([100.0] * 20), *([160.0] * 20)],  # a cache, or an arena, at once
        [100.0 + 5 * (n % 5) for n in range(40)],  # what a collector frees
    ],
)
def test_what_is_no_leak_keeps_nothing(held: list[float]) -> None:
    found = growth(samples(*held))
    assert found is not None
    assert found.kb_a_request == 0


def test_few_samples_and_no_requests_tell_nothing() -> None:
    assert growth(samples(*([100.0] * (scrape.MIN_SAMPLES - 1)))) is None
    idle = [(5.0, 100.0 * MB + n) for n in range(20)]
    assert growth(idle) is None
    assert all(one[0] == other[0] for one, other in pairwise(idle))

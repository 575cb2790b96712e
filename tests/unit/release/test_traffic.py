"""What a version counts of itself: over restarts, several processes, and nonsense."""

import pytest

from ci_mlops.release import traffic
from ci_mlops.release.traffic import Meter
from tests.unit.release.counting_server import Counting, answering


def test_requests_are_counted_from_the_beginning_and_over_a_restart() -> None:
    with answering(server := Counting("1", "good", 0)):
        meter = Meter(url=server.url, model="m")
        server.count("200", 0.001)
        meter.begin()
        for code, seconds in (("200", 0.003), ("200", 0.3), ("400", 0.003), ("503", 0.003)):
            server.count(code, seconds)
        meter.read()
        found = meter.side().counted
        assert found is not None
        assert (found.requests, found.errors, found.faults) == (4, 2, 1)
        assert found.times.count == 4
        assert found.times.total == pytest.approx(0.309)
        assert {edge: n for edge, n in found.times.buckets.items() if n} == {
            0.005: 3,
            float("inf"): 1,
        }
        server.restart()
        meter.read()  # of the new process, what it counts from here on
        server.count("200", 0.001)
        meter.read()
        found = meter.side().counted
        assert found is not None
        assert found.requests == 5


def test_a_counter_that_falls_was_begun_anew() -> None:
    with answering(server := Counting("1", "good", 0)):
        meter = Meter(url=server.url, model="m")
        for _ in range(10):
            server.count("200", 0.001)
        meter.begin()
        server.restart()
        server.started -= 1
        server.count("200", 0.001)
        meter.read()
        found = meter.side().counted
        assert found is not None
        assert found.requests == 1


def test_processes_behind_one_address_are_told_apart() -> None:
    with answering(server := Counting("1", "good", 0)):
        meter = Meter(url=server.url, model="m")
        pods = [(1000.0, 500), (2000.0, 20)]

        def answer(number: int, more: int) -> None:
            server.started, count = pods[number]
            server.codes["200"] = count + more
            meter.read()

        answer(0, 0)
        answer(1, 0)
        answer(0, 3)
        answer(1, 2)
        server.started, server.codes = 3000.0, {}
        meter.read()  # a third, which was asked nothing yet
        found = meter.side().counted
        assert found is not None
        assert found.requests == 5


@pytest.mark.parametrize("text", ["", "<html>", "up 1\n", "ci_mlops_inference_requests_total{ 3"])
def test_what_counts_nothing_of_ours_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with answering(server := Counting("1", "good", 0)):
        monkeypatch.setattr(server, "metrics", lambda: text)
        meter = Meter(url=server.url, model="m")
        meter.read()
    side = meter.side()
    assert (side.counted, side.unreachable) == (None, False)
    assert f"has no {traffic.REQUESTS} of model m" in side.why_not


def test_another_models_requests_are_not_counted() -> None:
    with answering(server := Counting("1", "good", 0)):
        meter = Meter(url=server.url, model="other")
        meter.read()
    assert meter.side().counted is None

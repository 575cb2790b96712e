"""Monitors latency and resources, asked of a real Prometheus with a history of thirty hours."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook, OutsideError
from ci_mlops.evidence import Check, Outcome, Subject
from ci_mlops.monitors.latency import LatencyMonitor
from ci_mlops.monitors.production import Limits, Live, Watched
from ci_mlops.monitors.resources import ResourcesMonitor
from ci_mlops.monitors.sources.prometheus import Prometheus, PrometheusSettings
from ci_mlops.stage import Side
from ci_mlops.stages.policy import PolicyStage
from tests import prometheus
from tests.prometheus import History

HOURS = 30
NOW_S = float(int(time.time() / 600) * 600)
NOW = datetime.fromtimestamp(NOW_S, UTC)
LATENCY = LatencyMonitor(reference_days=1, max_p95_ms=15)
RESOURCES = ResourcesMonitor()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start one Prometheus that knows of six servers, each of a version of its own."""
    ago = _history("").hours_ago()
    none, noise = 0 * ago, np.random.default_rng(2).normal(0, 5, len(ago))
    half_hour = (ago > 0.5) & (ago < 1)
    daily = 40 * np.sin(2 * np.pi * ago / 24)
    lines = [
        *_served("healthy", 5 + none, none, 300 + noise, 0.2 + none),
        *_served("slow", np.where(ago < 2, 10, 5), none, 300 + noise, 0.97 + none),
        *_served("burst", np.where(half_hour, 15, 5), 0.3 * half_hour, 300 + daily, none),
        *_served("failing", 5 + none, np.where(ago < 2, 0.05, 0), 480 + noise, none),
        *_history("idle").resources(300 + noise, none),
        *_served("leaking", 5 + none, none, 300 + 4 * (HOURS - ago) + noise, none),
    ]
    with prometheus.serving(tmp_path_factory.mktemp("real") / "p", history=lines) as address:
        yield address


def _history(version: str) -> History:
    labels = {"model": "small", "version": version, "instance": f"{version}:80", "job": "serve"}
    return History(until=NOW_S, hours=HOURS, labels=labels)


def _served(
    version: str,
    median_ms: np.ndarray,
    failing: np.ndarray,
    memory_mb: np.ndarray,
    cpus: np.ndarray,
) -> list[str]:
    made = _history(version)
    return [*made.requests(median_ms, failing), *made.resources(memory_mb, cpus)]


def _watched(folder: Path, url: str, version: str, *, since_h: float = HOURS) -> Watched:
    side = Side(
        name="head",
        root=folder,
        commit="b" * 40,
        code="a" * 64,
        data=DataSettings(test="x.csv", label="y"),
        model=None,
        subjects=(Subject(name="code", sha256="a" * 64),),
    )
    live = Live(
        digest=f"sha256:{version}",
        since=NOW - timedelta(hours=since_h),
        commit="b" * 40,
        promoted=True,
    )
    return Watched(
        head=side,
        base=None,
        base_missing="production",
        judge=side,
        commands=Commands(environ={}),
        folder=folder,
        cache=folder,
        cores=1,
        project="small",
        environment="production",
        live=live,
        reference=side,
        now=NOW,
        log=None,
        max_rows=0,
        policy=PolicyStage(packs=("four-fifths",)),
        limits=Limits(memory_mb=512, cpus=1),
        labels=None,
        prometheus=Prometheus(settings=PrometheusSettings(url=url), environ={}),
    )


def _found(checks: tuple[Check, ...], outcome: Outcome) -> set[str]:
    return {one.name for one in checks if one.outcome == outcome}


@pytest.mark.parametrize(
    ("version", "failed", "warned"),
    [
        ("healthy", set(), set()),
        ("slow", {"p95", "p95-rise"}, set()),
        ("burst", set(), {"errors"}),
        ("failing", {"errors"}, set()),
    ],
)
def test_what_lasts_fails_and_half_an_hour_does_not(
    tmp_path: Path, url: str, version: str, failed: set[str], warned: set[str]
) -> None:
    found = LATENCY.look(_watched(tmp_path, url, version))
    assert (_found(found.checks, "failed"), _found(found.checks, "warned")) == (failed, warned)
    assert _found(found.checks, "inconclusive") == set()
    measured = {one.name: one.value for one in found.metrics}
    # 30 requests a minute were told; log-normal around 5 ms, they have their p95 at 9.7 ms.
    assert measured["throughput"] == pytest.approx(0.5, rel=0.1)
    assert measured["p50"] == pytest.approx(10 if version == "slow" else 5, rel=0.1)
    if version == "healthy":
        assert measured["p95"] == pytest.approx(9.7, rel=0.1)


@pytest.mark.parametrize(
    ("version", "failed"),
    [
        ("healthy", set()),
        ("slow", {"cpu"}),
        ("burst", set()),
        ("failing", {"memory"}),
        ("leaking", {"memory-growth"}),
    ],
)
def test_limits_and_leaks_fail_and_a_daily_wave_does_not(
    tmp_path: Path, url: str, version: str, failed: set[str]
) -> None:
    found = RESOURCES.look(_watched(tmp_path, url, version))
    assert _found(found.checks, "failed") == failed
    assert {one.name for one in found.checks} == {"memory", "memory-growth", "cpu"}
    if version == "leaking":
        growth = next(one for one in found.checks if one.name == "memory-growth")
        assert growth.interval is not None
        assert 20 < growth.interval.low < growth.interval.high < 45
        assert "512 MB are reached in" in growth.message


def test_a_version_that_nobody_scrapes_is_no_health(tmp_path: Path, url: str) -> None:
    for monitor in (LATENCY, RESOURCES):
        looked = _watched(tmp_path, url, "unheard-of")
        assert [one.outcome for one in monitor.look(looked).checks] == ["error"]
        looked = _watched(tmp_path, url, "unheard-of", since_h=0.1)
        assert [one.outcome for one in monitor.look(looked).checks] == ["inconclusive"]


def test_a_server_that_nobody_asks_is_there_and_undecided(tmp_path: Path, url: str) -> None:
    looked = _watched(tmp_path, url, "idle")
    assert [(one.name, one.outcome) for one in LATENCY.look(looked).checks] == [
        ("traffic", "inconclusive")
    ]
    assert _found(RESOURCES.look(looked).checks, "passed") >= {"memory"}


def test_what_went_live_just_now_is_not_held_to_its_past(tmp_path: Path, url: str) -> None:
    found = LATENCY.look(_watched(tmp_path, url, "slow", since_h=2))
    assert _found(found.checks, "failed") == {"p95"}
    assert _found(found.checks, "inconclusive") == {"p95-rise"}
    found = RESOURCES.look(_watched(tmp_path, url, "leaking", since_h=2))
    assert _found(found.checks, "skipped") == {"memory-growth"}


def test_limits_of_settings_come_first_and_none_decides_nothing(tmp_path: Path, url: str) -> None:
    looked = _watched(tmp_path, url, "healthy")
    found = ResourcesMonitor(max_memory_mb=200).look(looked)
    assert _found(found.checks, "failed") == {"memory"}
    wrong = ResourcesMonitor(cpu_query="nothing{}").look(looked)
    assert _found(wrong.checks, "inconclusive") == {"cpu"}


def test_more_than_is_requested_is_a_warning(tmp_path: Path, url: str) -> None:
    looked = _watched(tmp_path, url, "healthy")
    given = Limits(memory_mb=600, requested_mb=200, requested_cpus=0.01)
    found = RESOURCES.look(replace(looked, limits=given))
    assert _found(found.checks, "failed") == set()
    assert _found(found.checks, "warned") == {"memory", "cpu"}
    said = {one.name: (one.message, one.remedy) for one in found.checks}
    assert "are used of 600. 200 are requested." in said["memory"][0]
    assert said["memory"][1] == "Raise `memory_mb` of the environment"
    assert "no limit is known. 0.01 are requested." in said["cpu"][0]
    roomy = Limits(requested_mb=600, requested_cpus=2)
    found = RESOURCES.look(replace(looked, limits=roomy))
    assert _found(found.checks, "warned") == set()


def test_what_prometheus_refuses_is_one_line(tmp_path: Path, url: str) -> None:
    looked = _watched(tmp_path, url, "healthy")
    with pytest.raises(OutsideError, match="refused with 400: .*parse error"):
        ResourcesMonitor(memory_query="sum(").look(looked)
    with pytest.raises(OutsideError, match="does not answer"):
        LATENCY.look(_watched(tmp_path, "http://127.0.0.1:9", "healthy"))
    with pytest.raises(OutsideError, match="and no JSON"):
        LATENCY.look(_watched(tmp_path, f"{url}/elsewhere", "healthy"))


def test_without_an_address_it_cannot_look(tmp_path: Path, url: str) -> None:
    with pytest.raises(CannotLook, match="no Prometheus server is named"):
        LATENCY.look(replace(_watched(tmp_path, url, "healthy"), prometheus=None))

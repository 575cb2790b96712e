"""A pytest plugin: benchmarks run slice by slice, each when another program says that it is its turn.

Runs in the project's interpreter with `-p ci_mlops_turns`; nothing of ci-mlops is importable here,
and tests stay as they are. `CI_MLOPS_TURNS` names two pipes; each message is a line of JSON:
{"collected": [...]} -> {"run": [...]}, then for each benchmark {"ready": id} -> any number of
{"calls": n, "counts": true} -> {"wall": s, "cpu": s}, and {"done": true}; {"finished": id} at last.
"""

import gc
import json
import os
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


class Turns:
    """The two pipes."""

    def __init__(self, read, write):
        self.lines = os.fdopen(read, "r")
        self.words = os.fdopen(write, "w", buffering=1)
        self.pid = os.getpid()

    def say(self, **message):
        if os.getpid() == self.pid:  # not from a fork that a benchmark made
            self.words.write(json.dumps(message) + "\n")

    def hear(self):
        line = self.lines.readline()
        if not line:
            os._exit(1)
        return json.loads(line)


turns = Turns(*map(int, os.environ.pop("CI_MLOPS_TURNS").split(",")))


def pytest_configure(config):
    BenchmarkFixture._raw = raw
    BenchmarkFixture._raw_pedantic = raw_pedantic


def pytest_collectreport(report):
    if report.failed:
        turns.say(broken=report.nodeid, why=shortly(report))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    found = {one.nodeid: one for one in items if "benchmark" in getattr(one, "fixturenames", ())}
    turns.say(collected=list(found))
    items[:] = [found[one] for one in turns.hear()["run"]]


def pytest_runtest_logreport(report):
    if report.failed or report.skipped:
        turns.say(**{report.outcome: report.nodeid, "why": shortly(report)})


def shortly(report):
    """The line of a report that says what went wrong."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    lines = [line.strip() for line in str(text).splitlines() if line.strip()] or [""]
    marked = [line[1:].strip() for line in lines if line.startswith("E ")] or lines[-1:]
    return marked[0][:500]


def pytest_runtest_logfinish(nodeid):
    turns.say(finished=nodeid)


def raw(fixture, function, *args, **kwargs):
    """`benchmark(function, ...)`: a slice is a loop of calls."""
    if not fixture.enabled:
        return function(*args, **kwargs)

    def run(calls):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            function(*args, **kwargs)
        wall = time.perf_counter() - wall
        return wall, time.process_time() - cpu

    in_turn(fixture, run)
    return function(*args, **kwargs)


def raw_pedantic(fixture, target, args=(), kwargs=None, setup=None, teardown=None, rounds=1, **_):
    """`benchmark.pedantic(...)`: setup and teardown stand untimed around each call."""
    last = [None]

    def once():
        given, named = args, kwargs or {}
        if setup is not None:
            given, named = setup() or (given, named)
        cpu, wall = time.process_time(), time.perf_counter()
        last[0] = target(*given, **named)
        wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu
        if teardown is not None:
            teardown(*given, **named)
        return wall, cpu

    def run(calls):
        found = [once() for _ in range(calls)]
        return sum(one[0] for one in found), sum(one[1] for one in found)

    if fixture.enabled:
        in_turn(fixture, run)
    if not fixture.enabled or last[0] is None:
        once()
    return last[0]


def in_turn(fixture, run):
    """Run slices as they are asked for; those that count go to pytest-benchmark's statistics too."""
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()
    turns.say(ready=fixture.fullname)
    stats = None
    while True:
        told = turns.hear()
        if "calls" not in told:
            return
        calls = told["calls"]
        collects = gc.isenabled()
        gc.disable()
        try:
            if calls > 1:
                run(1)  # the first call after the other's turn is cold
            wall, cpu = run(calls)
        finally:
            if collects:
                gc.enable()
        if told["counts"]:
            stats = stats or fixture._make_stats(calls)
            stats.update(wall)
        turns.say(wall=wall / calls, cpu=cpu / calls)

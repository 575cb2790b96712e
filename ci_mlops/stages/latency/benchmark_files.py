"""Times in pytest-benchmark's own format, which its `compare` and other tools read."""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ci_mlops.evidence import write_atomically


def stats_of(seconds: Sequence[float]) -> dict[str, Any]:
    """Return pytest-benchmark's statistics of rounds, in seconds."""
    from pytest_benchmark.stats import Stats

    stats: Any = Stats()  # type: ignore[no-untyped-call]  # pytest-benchmark has no types
    for one in seconds:
        stats.update(one)
    found: dict[str, Any] = {name: getattr(stats, name) for name in stats.fields}
    return {**found, "data": list(seconds)}


def entry(name: str, seconds: Sequence[float], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return one benchmark as pytest-benchmark stores it; `extra` goes to `extra_info`."""
    return {
        "group": None,
        "name": name,
        "fullname": f"ci_mlops::{name}",
        "params": None,
        "param": None,
        "extra_info": dict(extra),
        "options": {
            "disable_gc": True,
            "timer": "perf_counter",
            "min_rounds": len(seconds),
            "max_time": 1.0,
            "min_time": 5e-06,
            "warmup": True,
        },
        "stats": {**stats_of(seconds), "iterations": 1},
    }


def write(path: Path, entries: Sequence[Mapping[str, Any]], commit: str) -> None:
    """Write a file that `pytest-benchmark compare` reads, atomically."""
    from importlib.metadata import version

    node = platform.uname()
    document = {
        "machine_info": {
            "node": "runner",
            "processor": node.processor,
            "machine": node.machine,
            "python_version": platform.python_version(),
            "python_implementation": platform.python_implementation(),
            "system": node.system,
            "release": node.release,
            "cpu": {},
        },
        "commit_info": {
            "id": commit.removesuffix("+changes"),
            "dirty": commit.endswith("+changes"),
        },
        "benchmarks": list(entries),
        "datetime": datetime.now(UTC).isoformat(),
        "version": version("pytest-benchmark"),
    }
    write_atomically(path, json.dumps(document, indent=1).encode())

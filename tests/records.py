"""Small whole records for tests; every field that a test does not care about has a sane value."""

from typing import Any

from ci_mlops.evidence import Check, Outcome, Record, Run, worst_outcome

SHA = "a" * 64


def record(*outcomes: Outcome, **changes: Any) -> Record:
    """Return a record of stage data with one check for each outcome."""
    values: dict[str, Any] = {
        "stage": "data",
        "outcome": worst_outcome(outcomes),
        "checks": [
            Check(name=f"c{n}", outcome=o, message=f"Saw {o}.") for n, o in enumerate(outcomes)
        ],
        "fingerprint": SHA,
        "started": "2026-11-01T10:00:00Z",
        "seconds": 1.25,
    }
    return Record(**{**values, **changes})


def run(**changes: Any) -> Run:
    """Return the circumstances of a run with stage data, judged by the base."""
    values: dict[str, Any] = {
        "project": "loans",
        "head": "b" * 40,
        "base": "c" * 40,
        "judged_by": "base",
        "stages": ["data"],
        "started": "2026-11-01T10:00:00Z",
        "seconds": 2.0,
    }
    return Run(**{**values, **changes})

"""Faults of one side's data: found the same way at base and head, so that they can be compared."""

from dataclasses import dataclass
from typing import Literal

ALPHA = 1e-6


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong with the data."""

    check: str
    slice: str
    observed: float
    limit: float
    message: str
    remedy: str
    rows: int | None = None
    grave: bool = True
    """Whether a pull request that brings it is blocked; others only warn."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A place where a fault was looked for, or why it was not; no fault passes without one."""

    check: str
    slice: str = ""
    outcome: Literal["passed", "skipped", "inconclusive"] = "passed"
    why: str = ""


AGAINST_TRAIN = "test against train"
IN_ONE_PART = (
    "duplicate-rows",
    "conflicting-labels",
    "mostly-missing",
    "category-variants",
    "mixed-types",
    "constant-column",
)
BETWEEN_PARTS = (
    ("shift", AGAINST_TRAIN),
    ("label-shift", AGAINST_TRAIN),
    ("shared-rows", ""),
    ("near-shared-rows", ""),
    ("time-overlap", ""),
)
FEWEST_ROWS = 50
"""Below this many values a distribution says too little to be judged."""


def too_few(rows: int, what: str) -> str:
    """Return the sentence for rows that are too few to tell."""
    return f"There are {rows} {what}; fewer than {FEWEST_ROWS} cannot tell."

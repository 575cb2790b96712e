"""What the pull request changed in the data, in words and counts; it decides nothing."""

from collections.abc import Iterable, Mapping

import pandas as pd

from ci_mlops.dataset import telling
from ci_mlops.dataset.comparing import compare, meaning_of
from ci_mlops.dataset.risk import risk
from ci_mlops.dataset.streaming import InMemory
from ci_mlops.evidence import Check, Table, text_sha256
from ci_mlops.stage import Workspace

NAME = "change"


def changes(
    workspace: Workspace, parts: Mapping[str, pd.DataFrame], before: Mapping[str, pd.DataFrame]
) -> tuple[list[Check], list[Table]]:
    """Return a check with the risk, and a table, for each part that differs from the base's."""
    checks: list[Check] = []
    tables: list[Table] = []
    if workspace.base is None:
        return checks, tables
    meaning = meaning_of([workspace.base.data, workspace.head.data])
    for part, frame in parts.items():
        old = before.get(part)
        if old is None or frame.equals(old):
            continue
        change = compare(
            part, InMemory(part, old), InMemory(part, frame), meaning, seed=_seed(workspace, part)
        )
        if change.state == "unchanged":
            continue
        found = risk(change)
        made = telling.table(change)
        tables += [made] if made else []
        said = telling.headline(change, found).partition(": ")[2]
        checks.append(
            Check(
                name=NAME,
                slice=part,
                outcome="passed",
                observed=f"{found.level} risk",
                message=f"{said}. {' '.join(found.reasons[:3])}"[:2000],
                rows=len(frame),
            )
        )
    return checks, tables


def without_values(checks: Iterable[Check], hidden: frozenset[str], label: str) -> list[Check]:
    """Return the checks; faults of a hidden column say no more than its name and their figures."""
    return [_without_value(one, hidden, label) for one in checks]


def _without_value(check: Check, hidden: frozenset[str], label: str) -> Check:
    if check.outcome not in {"failed", "warned"}:
        return check
    where = f"{check.slice}: {label}" if check.name == "label-shift" else check.slice
    for name in hidden:
        if where in {name, f"{name} against base"} or where.endswith(f": {name}"):
            message = f"Column {name} breaks this check; its values are hidden."
            return check.model_copy(update={"message": message})
    return check


def _seed(workspace: Workspace, part: str) -> int:
    """Return a salt that depends on the data, so that no data can be made to suit it."""
    digests = [side.digest(f"data.{part}") for side in workspace.sides()]
    return int(text_sha256(" ".join(digests))[:16], 16)

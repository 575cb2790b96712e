"""Production as a test wants it: a prediction log in our server's format, and labels for it."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

VERSION = "0123456789ab"


def log(
    folder: Path,
    inputs: Mapping[str, Sequence[Any] | np.ndarray],
    predict: Sequence[Any] | np.ndarray,
    *,
    proba: np.ndarray | None = None,
    until: datetime | None = None,
    days: float = 7,
    version: str = VERSION,
) -> list[str]:
    """Write rows spread evenly over the days before `until`, and return their ids."""
    until = until or datetime.now(UTC)
    count = len(predict)
    by_day: dict[str, list[str]] = {}
    ids = []
    for n in range(count):
        time = until - timedelta(days=days * (1 - (n + 0.5) / count))
        ids.append(f"{version}-{time:%Y%m%dT%H%M%S}-{n}")
        row: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "id": ids[-1],
            "row": 0,
            "model": "small",
            "version": version,
            "inputs": {name: _plain(values[n]) for name, values in inputs.items()},
            "predict": _plain(predict[n]),
        }
        if proba is not None:
            row["predict_proba"] = [float(one) for one in proba[n]]
        by_day.setdefault(f"{time:%Y-%m-%d}", []).append(json.dumps(row))
    folder.mkdir(parents=True, exist_ok=True)
    for day, lines in by_day.items():
        with (folder / f"predictions-{day}.jsonl").open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return ids


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value

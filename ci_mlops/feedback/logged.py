"""What the model was given by the id of a prediction, from a folder of prediction logs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ci_mlops.errors import ConfigError
from ci_mlops.feedback.given import Plain

NAMES = "predictions-*.jsonl"
MAX_LINE = 1024 * 1024


def inputs(folder: Path, prediction: str, row: int | None) -> dict[str, Plain]:
    """Return the inputs of a row, as far as the log keeps them. Raises ConfigError.

    The newest file is read first; a request that was logged once is what an id is for.
    """
    files = sorted(folder.glob(NAMES), reverse=True) if folder.is_dir() else []
    if not files:
        raise ConfigError(
            f"holds no {NAMES}", place=str(folder), remedy="Name the log's folder with --log"
        )
    for file in files:
        found = [one for one in _rows(file, prediction) if row is None or one.get("row") == row]
        if len(found) > 1:
            raise ConfigError(
                f"prediction {prediction!r} has {len(found)} rows there",
                place=str(file),
                remedy="Name one with --row",
            )
        if found:
            return _plain(found[0], file)
    which = "" if row is None else f" with row {row}"
    raise ConfigError(
        f"there is no prediction {prediction!r}{which}",
        place=str(folder),
        remedy="It may be older than the log, or left out of its sample",
    )


def _rows(file: Path, prediction: str) -> Iterator[Mapping[str, Any]]:
    wanted = json.dumps(prediction).encode()
    try:
        with file.open("rb") as lines:
            for line in lines:
                if wanted not in line or len(line) > MAX_LINE:
                    continue
                document = _document(line)
                if document.get("id") == prediction:
                    yield document
    except OSError as fault:
        raise ConfigError(f"cannot be read: {fault.strerror}", place=str(file)) from fault


def _document(line: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # a line that was cut off when its server ended
        return {}
    return found if isinstance(found, dict) else {}


def _plain(found: Mapping[str, Any], file: Path) -> dict[str, Plain]:
    given = found.get("inputs")
    if not isinstance(given, dict) or not all(
        value is None or isinstance(value, str | int | float | bool) for value in given.values()
    ):
        raise ConfigError("has a row without plain inputs", place=str(file))
    return {str(name): value for name, value in given.items()}

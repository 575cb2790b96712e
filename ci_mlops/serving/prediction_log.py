"""What was asked and answered, one JSON line a row, written beside the requests and not in them."""

import errno
import json
import os
import queue
import random
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import Field

from ci_mlops.errors import OutsideError
from ci_mlops.serving.signature import Signature
from ci_mlops.values import Many, Share, Value

MAX_WAITING = 1000
"""Requests that wait to be written; what comes beyond them is counted as dropped."""


class LogSettings(Value):
    """Which predictions are kept, and what of them."""

    folder: Annotated[str, Field(min_length=1)]
    """Where `predictions-YYYY-MM-DD.jsonl` are written, a file for each day in UTC; `-` for
    standard output."""
    sample: Share = 1.0
    """Share of the requests that are kept."""
    without: Many[str] = ()
    """Columns whose values are not kept, such as sensitive ones."""


def log_settings(
    signature: Signature, folder: str | None, *, sample: float = 1.0, without: Sequence[str] = ()
) -> LogSettings | None:
    """Return settings that leave out sensitive columns too; None without a folder."""
    if not folder:
        return None
    hidden = (column.name for column in signature.columns if column.sensitive)
    return LogSettings(folder=folder, sample=sample, without=(*without, *hidden))


class PredictionLog:
    """Appends rows in a thread of its own, so that a slow disk slows no answer."""

    def __init__(
        self,
        settings: LogSettings,
        about: Mapping[str, str],
        dropped: Callable[[], None],
        output: BinaryIO | None = None,
    ) -> None:
        """Start the thread; `about` is told with each row, `dropped` is called for each loss.

        Raises OutsideError when the folder cannot be written to.
        """
        self.settings = settings
        self.folder = Path(settings.folder)
        self.output = (output or sys.stdout.buffer) if settings.folder == "-" else None
        if self.output is None:
            _make(self.folder)
        self.about = dict(about)
        self.dropped = dropped
        self._random = random.Random()  # noqa: S311 - a sample is no secret
        self._waiting: queue.Queue[list[dict[str, Any]] | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._write, name="prediction-log", daemon=True)
        self._thread.start()

    def add(
        self,
        request_id: str,
        inputs: Mapping[str, Sequence[Any]],
        outputs: Sequence[Mapping[str, Any]],
    ) -> None:
        """Keep a request of n rows, if it is in the sample."""
        if self._random.random() >= self.settings.sample:
            return
        kept = {name: data for name, data in inputs.items() if name not in self.settings.without}
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        count = len(next(iter(inputs.values())))
        rows = [
            {
                "time": time,
                "id": request_id,
                "row": n,
                **self.about,
                "inputs": {name: data[n] for name, data in kept.items()},
                **{one["name"]: _row(one, n, count) for one in outputs},
            }
            for n in range(count)
        ]
        try:
            self._waiting.put_nowait(rows)
        except queue.Full:
            self.dropped()

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _write(self) -> None:
        while (rows := self._waiting.get()) is not None:
            text = "".join(f"{json.dumps(row)}\n" for row in rows)
            name = f"predictions-{rows[0]['time'][:10]}.jsonl"
            try:
                self._append(name, text.encode())
            except OSError:  # a full disk ends no predictions; the counter tells of it
                self.dropped()

    def _append(self, name: str, data: bytes) -> None:
        if self.output is not None:
            self.output.write(data)
            self.output.flush()
            return
        with (self.folder / name).open("ab") as file:
            file.write(data)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as fault:
        raise OutsideError(
            f"no prediction log can be written there: {fault.strerror}",
            place=str(folder),
            remedy="Name a folder that may be written to, or `-` for standard output",
        ) from fault


def _row(output: Mapping[str, Any], n: int, count: int) -> Any:
    data = output["data"]
    width = len(data) // count
    return data[n] if width == 1 else data[n * width : (n + 1) * width]

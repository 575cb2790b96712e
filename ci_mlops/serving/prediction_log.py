"""What was asked and answered, one JSON line a row, written beside the requests and not in them."""

import contextlib
import json
import queue
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ci_mlops.values import Many, Share, Value

MAX_WAITING = 1000
"""Requests that wait to be written; what comes beyond them is counted as dropped."""


class LogSettings(Value):
    """Which predictions are kept, and what of them."""

    folder: Annotated[str, Field(min_length=1)]
    """Where `predictions-YYYY-MM-DD.jsonl` are written, a file for each day in UTC."""
    sample: Share = 1.0
    """Share of the requests that are kept."""
    without: Many[str] = ()
    """Columns whose values are not kept, such as sensitive ones."""


class PredictionLog:
    """Appends rows in a thread of its own, so that a slow disk slows no answer."""

    def __init__(
        self, settings: LogSettings, about: Mapping[str, str], dropped: Callable[[], None]
    ) -> None:
        """Start the thread; `about` is told with each row, `dropped` is called for each loss.

        Raises OSError when the folder cannot be made.
        """
        self.settings = settings
        self.folder = Path(settings.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
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
            with contextlib.suppress(OSError):
                with (self.folder / name).open("a", encoding="utf-8") as file:
                    file.write(text)
                continue
            self.dropped()


def _row(output: Mapping[str, Any], n: int, count: int) -> Any:
    data = output["data"]
    width = len(data) // count
    return data[n] if width == 1 else data[n * width : (n + 1) * width]

"""The prediction log: sampled requests and answers as JSON lines, written without blocking."""

import contextlib
import json
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from ci_mlops.errors import ConfigError
from ci_mlops.serving.served import Served

ROOM = 1000
"""Requests that may wait to be written; more are dropped and counted."""
MAX_ROWS = 1000
"""Rows of one request that are written; `rows` says how many it had."""
CLOSE_S = 5.0


class PredictionLog:
    """Takes requests in the server's thread, and writes them in one of its own."""

    def __init__(
        self,
        served: Served,
        *,
        random: Callable[[], float],
        dropped: Callable[[], None],
        standard_output: BinaryIO,
    ) -> None:
        """Prepare, but start nothing; `dropped` is told of each line that found no room."""
        self._served = served
        self._settings = served.log
        self._random, self._dropped, self._stdout = random, dropped, standard_output
        self._redacted = frozenset(served.log.redact)
        self._waiting: queue.Queue[Mapping[str, Any] | None] = queue.Queue(ROOM)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to write. Raises ConfigError when the file cannot be opened."""
        if self._settings.path and self._settings.sample > 0:
            try:
                file = self._open()
            except OSError as fault:
                raise ConfigError(
                    f"the prediction log cannot be opened: {fault.strerror}",
                    place=self._settings.path,
                    remedy="Mount a folder that may be written there, or set CI_MLOPS_LOG_PATH",
                ) from fault
            self._thread = threading.Thread(target=self._write, args=(file,), daemon=True)
            self._thread.start()

    def add(
        self,
        *,
        id: str | None,  # noqa: A002 - the protocol's word
        values: Mapping[str, Sequence[Any]],
        outputs: Sequence[Mapping[str, Any]],
        rows: int,
        seconds: float,
    ) -> None:
        """Offer one answered request to the sample; returns at once."""
        if self._thread is None or self._random() >= self._settings.sample:
            return
        entry = {
            "time": datetime.now(UTC),
            "id": id,
            "rows": rows,
            "seconds": seconds,
            "inputs": {n: None if n in self._redacted else v for n, v in values.items()},
            "outputs": outputs,
        }
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            self._dropped()

    def close(self) -> None:
        """Write what waits, for `CLOSE_S` seconds at most."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)

    def _open(self) -> BinaryIO:
        if self._settings.path == "-":
            return self._stdout
        return Path(self._settings.path).open("ab", buffering=0)

    def _write(self, file: BinaryIO) -> None:
        while (entry := self._waiting.get()) is not None:
            try:
                file.write(self._line(entry))
                if self._settings.path != "-":
                    file = self._rotated(file)
                else:
                    file.flush()
            except OSError:
                # A full disk must not end the predictions; the counter tells of it.
                self._dropped()
        file.close()

    def _line(self, entry: Mapping[str, Any]) -> bytes:
        line = {
            **entry,
            "time": entry["time"].isoformat(timespec="milliseconds"),
            "seconds": round(entry["seconds"], 6),
            "model": self._served.name,
            "version": self._served.version,
            "digest": self._served.digest,
            "inputs": {
                name: "redacted" if values is None else list(values)[:MAX_ROWS]
                for name, values in entry["inputs"].items()
            },
            "outputs": {one["name"]: _first(one, entry["rows"]) for one in entry["outputs"]},
        }
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    def _rotated(self, file: BinaryIO) -> BinaryIO:
        if os.fstat(file.fileno()).st_size < self._settings.max_bytes:
            return file
        file.close()
        Path(self._settings.path).replace(f"{self._settings.path}.1")
        return self._open()


def _first(output: Mapping[str, Any], rows: int) -> list[Any]:
    """Return the values of the first `MAX_ROWS` rows; a list for each row of several."""
    data = output["data"]
    width = len(data) // rows
    if width == 1:
        return list(data[:MAX_ROWS])
    return [data[n * width : (n + 1) * width] for n in range(min(rows, MAX_ROWS))]

"""What people see while a run goes on, and at its end."""

import contextlib
import io
import os
import pty
import threading
from collections.abc import Iterator
from typing import TextIO

from ci_mlops.evidence import Check
from ci_mlops.progress import display, summary, verdict_lines
from ci_mlops.verdict import Gate, decide
from tests.records import record, run


def test_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with display(["data"], {}, stream) as shown:
        shown.started("data")
        shown.ended("data", record("failed", "passed"))
    assert stream.getvalue() == "   data ...\n❌ data: 1 failed, 1 passed (1.2 s)\n"


def test_reused_evidence_is_said() -> None:
    assert summary(record("passed", reused_from="b" * 40)) == "1 passed (reused from bbbbbbb)"


@contextlib.contextmanager
def terminal() -> Iterator[tuple[TextIO, list[str]]]:
    """Give a terminal's writing end, and once it is left what stood on it."""
    master, slave = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the end of a terminal is an input error
            while part := os.read(master, 65536):
                seen.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    shown: list[str] = []
    with os.fdopen(slave, "w") as stream:
        yield stream, shown
    reader.join()
    os.close(master)
    shown.append(b"".join(seen).decode())


def test_a_terminal_gets_a_live_table_without_colour_if_asked() -> None:
    with terminal() as (stream, shown):
        environ = {"TERM": "xterm", "NO_COLOR": "1"}
        with display(["data", "model"], environ, stream) as live:
            live.started("data")
            live.ended("data", record("passed"))
    assert "data" in shown[0]
    assert "1 passed" in shown[0]
    assert "waits" in shown[0]
    assert "\x1b[32m" not in shown[0]


def test_a_terminal_in_ci_gets_plain_lines() -> None:
    with terminal() as (stream, shown), display(["data"], {"CI": "true"}, stream) as live:
        live.started("data")
    assert shown[0].strip() == "data ..."


def test_verdict_lines_name_the_reason_and_the_remedy() -> None:
    check = Check(name="c0", slice="x", outcome="failed", message="Saw it.", remedy="Mend it")
    decided = decide(Gate(), run(), {"data": record("failed", checks=[check])})
    lines = verdict_lines(decided, run())
    assert lines == [
        "❌ loans: failed (1 failed)",
        "   ❌ data · c0 · x: Saw it.",
        "      → Mend it",
    ]


def test_verdict_line_when_nothing_could_be_judged() -> None:
    lines = verdict_lines(decide(Gate(), run(), {}), run())
    assert lines[0] == "⛔ loans: could not judge (no checks)"
    assert lines[1] == "   ⛔ data: stage data left no evidence"

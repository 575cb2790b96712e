"""What people see while a run goes on, and at its end."""

import io
import os
import pty

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


def test_a_terminal_gets_a_live_table_without_colour_if_asked() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        with display(["data", "model"], {"TERM": "xterm", "NO_COLOR": "1"}, stream) as shown:
            shown.started("data")
            shown.ended("data", record("passed"))
        stream.flush()
        seen = os.read(master, 100_000).decode()
    os.close(master)
    assert "data" in seen
    assert "1 passed" in seen
    assert "waits" in seen
    assert "\x1b[32m" not in seen


def test_a_terminal_in_ci_gets_plain_lines() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        with display(["data"], {"CI": "true"}, stream) as shown:
            shown.started("data")
        stream.flush()
        seen = os.read(master, 1000).decode()
    os.close(master)
    assert seen.strip() == "data ..."


def test_verdict_lines_name_the_reason_and_the_remedy() -> None:
    check = Check(name="c0", slice="x", outcome="failed", message="Saw it.", remedy="Mend it")
    decided = decide(Gate(), run(), {"data": record("failed", checks=[check])})
    lines = verdict_lines(decided, run())
    assert lines == [
        "❌ loans: failed (1 failed)",
        "   ❌ data · c0 · x: Saw it.",
        "      Mend it",
    ]


def test_verdict_line_when_nothing_could_be_judged() -> None:
    lines = verdict_lines(decide(Gate(), run(), {}), run())
    assert lines[0] == "⛔ loans: could not judge (no checks)"
    assert lines[1] == "   ⛔ data: stage data left no evidence"

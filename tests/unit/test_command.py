"""The door to other programs: it ends what it starts, with all its children."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from ci_mlops.command import MAX_OUTPUT_BYTES, Commands
from ci_mlops.errors import Interrupted, OutsideError


def test_output_code_and_environment(commands: Commands, tmp_path: Path) -> None:
    done = commands.adding({"ONE": "1"}).run(
        ["sh", "-c", 'echo "$ONE$TWO"; echo oops >&2; exit 3'], cwd=tmp_path, env={"TWO": "2"}
    )
    assert (done.output, done.errors, done.code) == ("12\n", "oops\n", 3)
    assert done.last_line() == "oops"


def test_last_line_without_any_output(commands: Commands, tmp_path: Path) -> None:
    assert commands.run(["false"], cwd=tmp_path).last_line() == "no output, exit code 1"


def test_missing_program_is_an_outside_error(commands: Commands, tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match=r"cannot run 'no-such-program'"):
        commands.run(["no-such-program"], cwd=tmp_path)


def test_timeout_kills_the_children_too(commands: Commands, tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/child; sleep 600"
    done = commands.run(["sh", "-c", script], cwd=tmp_path, timeout_s=0.5)
    assert done.timed_out
    assert _ended(int((tmp_path / "child").read_text()))


def test_child_that_outlives_its_parent_is_killed(commands: Commands, tmp_path: Path) -> None:
    commands.run(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/child"], cwd=tmp_path)
    assert _ended(int((tmp_path / "child").read_text()))


def test_output_is_bounded(commands: Commands, tmp_path: Path) -> None:
    size = MAX_OUTPUT_BYTES + 1000
    program = f"import sys; sys.stdout.write('a' * {size} + 'end')"
    done = commands.run([sys.executable, "-c", program], cwd=tmp_path)
    assert len(done.output) == MAX_OUTPUT_BYTES
    assert done.output.endswith("end")


def test_stop_all_ends_what_runs_and_starts_no_more(commands: Commands, tmp_path: Path) -> None:
    codes: list[int] = []

    def work() -> None:
        codes.append(commands.run(["sleep", "600"], cwd=tmp_path).code)

    thread = threading.Thread(target=work)
    thread.start()
    while not commands._running:
        time.sleep(0.01)
    commands.stop_all()
    thread.join(timeout=30)
    assert codes == [-9]
    with pytest.raises(Interrupted):
        commands.run(["true"], cwd=tmp_path)


def _ended(pid: int) -> bool:
    """Whether a process is gone, or dead and only waiting for its parent to notice."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    os.kill(pid, 9)
    return False

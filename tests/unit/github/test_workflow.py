"""What a workflow run tells about itself."""

from pathlib import Path

import pytest

from ci_mlops.errors import ConfigError
from ci_mlops.github import Workflow, escape_command, printable


def test_outside_of_github() -> None:
    assert not Workflow.from_environ({}).tests_a_merge()


def test_pull_request() -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request"}
    assert Workflow.from_environ(environ).tests_a_merge()


def test_push() -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push"}
    assert not Workflow.from_environ(environ).tests_a_merge()


def test_commands_cannot_be_injected() -> None:
    assert escape_command("a\n::set-env::b%") == "a%0A::set-env::b%25"
    assert escape_command("a:b,c\r", is_property=True) == "a%3Ab%2Cc%0D"


def test_a_text_in_a_log_line_is_no_command() -> None:
    assert printable("a\r\n::set-env::b\x1b[2J") == "a  ::set-env::b [2J"
    assert "##[" not in printable("a ##[add-mask]b ###[x]")
    assert printable("né ≥ 0.8 \U0001f600") == "né ≥ 0.8 \U0001f600"


def test_outputs_cannot_be_forged(tmp_path: Path) -> None:
    file = tmp_path / "output"
    workflow = Workflow.from_environ({"GITHUB_OUTPUT": str(file)})
    forged = "m.pkl\nverdict=passed\nverdict<<EOF\npassed\nEOF\nBASH_ENV=/tmp/x"
    workflow.write_outputs({"report": forged, "verdict": "failed"})
    assert read_outputs(file) == {"report": forged, "verdict": "failed"}
    workflow.write_outputs({"verdict": "warned"})
    first, second = (
        line for line in file.read_text().splitlines() if line.startswith("verdict<<end-")
    )
    assert first != second


def read_outputs(file: Path) -> dict[str, str]:
    """Read the file as the runner does.

    Source: actions/runner, src/Runner.Worker/FileCommandManager.cs.
    """
    lines, found = file.read_text(encoding="utf-8").split("\n"), {}
    while lines:
        line = lines.pop(0)
        name, _, delimiter = line.partition("<<")
        if "=" in line and ("<<" not in line or line.index("=") < line.index("<<")):
            found[line.partition("=")[0]] = line.partition("=")[2]
        elif delimiter:
            end = lines.index(delimiter)
            found[name] = "\n".join(lines[:end])
            lines = lines[end + 1 :]
    return found


def test_outside_of_a_workflow_nothing_is_written() -> None:
    workflow = Workflow.from_environ({})
    workflow.write_outputs({"a": "b"})
    workflow.write_summary("x")
    assert workflow.pull_request().number == 0


def test_a_summary_that_would_be_too_long_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    workflow = Workflow.from_environ({"GITHUB_STEP_SUMMARY": str(file)})
    workflow.write_summary("x" * 1_000_000)
    workflow.write_summary("y" * 60_000)
    workflow.write_summary("z")
    assert file.stat().st_size == 1_000_003


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]"])
def test_an_event_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "event.json").write_text(text)
    workflow = Workflow.from_environ({"GITHUB_EVENT_PATH": str(tmp_path / "event.json")})
    if text == "[]":
        assert workflow.pull_request().number == 0
        return
    with pytest.raises(ConfigError, match="GITHUB_EVENT_PATH: cannot be read"):
        workflow.pull_request()


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    workflow = Workflow.from_environ({"GITHUB_OUTPUT": str(tmp_path)})
    with pytest.raises(ConfigError, match="GITHUB_OUTPUT: cannot be written"):
        workflow.write_outputs({"a": "b"})


def test_the_token_is_not_shown() -> None:
    assert "ghs_secret" not in repr(Workflow.from_environ({"GITHUB_TOKEN": "ghs_secret"}))

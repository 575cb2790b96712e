"""The one place that catches: one line, the right exit code, help that teaches."""

import errno
import os
import sys
from pathlib import Path

import pytest

from ci_mlops import cli
from ci_mlops.__main__ import main
from ci_mlops.cli import parser
from ci_mlops.errors import ConfigError, Stop


def test_help_teaches_each_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], *([verb, "--help"] for verb in parser.VERBS)):
        with pytest.raises(SystemExit) as ended:
            main(arguments, {})
        assert ended.value.code == 0
        assert "exit codes:" in capsys.readouterr().out


def test_every_verb_is_wired() -> None:
    assert set(cli.VERBS) == set(parser.VERBS) == set(parser.FLAGS)


def test_a_wrong_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--bse", "x"], {}) == 2
    errors = capsys.readouterr().err
    assert errors == "error: ci-mlops: unrecognized arguments: --bse x. See `ci-mlops --help`\n"


def test_a_missing_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan"], {}) == 2
    assert capsys.readouterr().err.startswith("error: mlops.yml: not found. Run `ci-mlops init`")


def test_on_github_the_line_is_annotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlops.yml").write_text("version: 1\nversion: 1\n", encoding="utf-8")
    assert main(["plan"], {"GITHUB_ACTIONS": "true"}) == 2
    assert capsys.readouterr().out.startswith("::error file=mlops.yml,line=2::mlops.yml:2: has the")


def _raise(fault: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def verb(*_: object) -> int:
        raise fault

    monkeypatch.setitem(cli.VERBS, "plan", verb)
    return main(["plan"], {})


def test_a_bug_of_ours_shows_versions_and_where_to_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _raise(ZeroDivisionError("oops"), monkeypatch) == 3
    errors = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in errors
    assert "issues/new" in errors
    assert f"Python {sys.version_info.major}" in errors


def test_a_full_disk_is_one_line_and_no_bug_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/kept/run.json")
    assert _raise(full, monkeypatch) == 4
    errors = capsys.readouterr().err
    assert errors == (
        "error: /kept/run.json: No space left on device. Make room, and run it again\n"
    )
    assert _raise(OSError(errno.EBADF, "oops"), monkeypatch) == 3


@pytest.mark.parametrize(
    ("fault", "code"), [(KeyboardInterrupt(), 130), (ConfigError("x"), 2), (Stop("x"), 3)]
)
def test_exit_codes(fault: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _raise(fault, monkeypatch) == code

"""The step that makes the environment of the action."""

import subprocess
import sys
from pathlib import Path

import pytest

from actions import install
from tests.conftest import clean_environ

TOP = Path(__file__).parents[3]


def complete(folder: Path) -> Path:
    """Make a folder that looks installed, around the interpreter of these tests."""
    (folder / "python" / "bin").mkdir(parents=True)
    python = folder / "python" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (folder / "complete").write_text(install.lock_key(TOP), encoding="utf-8")
    return folder


def outputs(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_an_environment_that_is_complete_is_used_as_it_stands(tmp_path: Path) -> None:
    folder = complete(tmp_path / "with space")
    environ = {"ENVIRONMENT": str(folder), "GITHUB_OUTPUT": str(tmp_path / "output")}
    assert install.main(["install"], environ) == 0
    program = outputs(tmp_path / "output")["program"]
    assert sorted(path.name for path in folder.iterdir()) == ["ci-mlops", "complete", "python"]
    (tmp_path / "ci_mlops.py").write_text("raise SystemExit('hijacked')", encoding="utf-8")
    (tmp_path / "yaml.py").write_text("raise SystemExit('hijacked')", encoding="utf-8")
    done = subprocess.run(
        [program, "--version"],
        cwd=tmp_path,
        env=clean_environ({"PYTHONPATH": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("ci-mlops ")


def test_the_key_follows_the_lock_files(tmp_path: Path) -> None:
    for lock in install.LOCKS:
        (tmp_path / lock).parent.mkdir(exist_ok=True)
        (tmp_path / lock).write_bytes((TOP / lock).read_bytes())
    assert install.lock_key(tmp_path) == install.lock_key(TOP)
    (tmp_path / install.LOCKS[1]).write_text("changed", encoding="utf-8")
    assert install.lock_key(tmp_path) != install.lock_key(TOP)


def test_what_is_cached_is_named_before_it_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install.main(["name"], {"XDG_CACHE_HOME": str(tmp_path)}) == 0
    assert capsys.readouterr().out == f"key={install.lock_key(TOP)}\ncaches={tmp_path}/ci-mlops\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["complete", "python/bin/python"])
def test_what_is_not_complete_is_made_again_and_a_refusal_is_one_line(
    tmp_path: Path,
    damage: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = complete(tmp_path / "environment")
    (folder / damage).write_text("damaged", encoding="utf-8")
    (folder / damage).chmod(0o755)

    def refuse(*_: object) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(install, "_install", refuse)
    assert install.main(["install"], {"ENVIRONMENT": str(folder)}) == 4
    assert capsys.readouterr().out.startswith("::error::ci-mlops: its environment could not be")
    assert not (folder / "complete").exists()

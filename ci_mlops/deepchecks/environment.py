"""Deepchecks' own environment: made once from a lock file with hashes, and kept."""

import contextlib
import fcntl
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import text_sha256

PYTHON = "3.11"
INSTALL_TIMEOUT_S = 900


def interpreter(commands: Commands) -> Path:
    """Return the interpreter of the environment, making it first where it is missing.

    Raises CannotLook when it cannot be installed, with what the installer said.
    """
    lock = lock_file()
    key = text_sha256(lock.read_text(encoding="utf-8") + PYTHON)[:16]
    home = cache_home(commands)
    folder = home / f"deepchecks-{key}"
    python = folder / "bin" / "python"
    if _usable(folder):
        return python
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / f"deepchecks-{key}.lock"):
        if not _usable(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _install(commands, folder, lock)
            (folder / "complete").touch()
    return python


def cache_home(commands: Commands) -> Path:
    """Return the folder for what is installed once for every project of a user."""
    cache = commands.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "ci-mlops"


def lock_file() -> Path:
    """Return the lock file: in the wheel, or at the top of an editable install's repository."""
    shipped = files("ci_mlops").joinpath("requirements", "deepchecks.txt")
    path = Path(str(shipped))
    return path if path.is_file() else Path(__file__).parents[2] / "requirements/deepchecks.txt"


def _usable(folder: Path) -> bool:
    # A restored cache may name an interpreter that is gone, as after a new runner image.
    return (folder / "complete").exists() and (folder / "bin" / "python").exists()


def _install(commands: Commands, folder: Path, lock: Path) -> None:
    from uv import find_uv_bin

    uv = find_uv_bin()
    python = sys.executable if sys.version_info[:2] == (3, 11) else PYTHON
    for arguments in (
        [uv, "venv", "--quiet", "--python", python, str(folder)],
        [
            *(uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")),
            *("--compile-bytecode", "--require-hashes", "--requirements", str(lock)),
        ],
    ):
        done = commands.run(arguments, cwd=folder.parent, timeout_s=INSTALL_TIMEOUT_S)
        if done.code or done.timed_out:
            raise CannotLook(
                f"Deepchecks' environment could not be installed: {done.last_line()}",
                remedy="Check that PyPI can be reached, or set `deepchecks: false` for the stage",
            )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    import os

    interpreter(Commands(environ=os.environ))

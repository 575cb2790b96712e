"""Makes the environment that ci-mlops runs in from this checkout's lock files, or finds it made.

`name` prints the environment's key and the folders worth caching, `install` the program to call;
both as outputs of the step. Standard library only: it runs before anything of ours is installed.
"""

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
LOCKS = ("requirements/uv.txt", "requirements/runtime.txt", "requirements/deepchecks.txt")
OLDEST = (3, 11)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what the one argument says, and return the exit code."""
    key = lock_key(HERE)
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ci-mlops"
    wanted = environ.get("ENVIRONMENT")
    folder = Path(wanted).absolute() if wanted else cache / f"environment-{key}"
    if arguments == ["name"]:
        _output(environ, {"key": key, "caches": str(cache)})
        return 0
    try:
        program = install(folder, key)
    except subprocess.CalledProcessError as fault:
        print(f"::error::ci-mlops: its environment could not be installed: {fault}")
        return 4
    _output(environ, {"program": str(program)})
    return 0


def lock_key(checkout: Path) -> str:
    """Digest what the environment is made of: the lock files and the version of Python."""
    digest = hashlib.sha256("{}.{}".format(*sys.version_info[:2]).encode())
    for lock in LOCKS:
        digest.update((checkout / lock).read_bytes())
    return digest.hexdigest()[:32]


def install(folder: Path, key: str) -> Path:
    """Make the environment unless it is there, and return the program that runs this checkout."""
    python = folder / "python" / "bin" / "python"
    complete = folder / "complete"
    if not (complete.is_file() and complete.read_text(encoding="utf-8") == key and _runs(python)):
        complete.unlink(missing_ok=True)
        _install(folder, python)
        complete.write_text(key, encoding="utf-8")
    program = folder / "ci-mlops"
    # Isolated, so that no file of the judged repository and no variable of its job is imported.
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    start += "from ci_mlops.__main__ import main; sys.exit(main())"
    program.write_text(
        f'#!/bin/sh\nexec "{python}" -I -c "{start}" "{HERE}" "$@"\n', encoding="utf-8"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def _install(folder: Path, python: Path) -> None:
    uv = folder / "uv" / "bin" / "uv"
    pip = (str(folder / "uv" / "bin" / "python"), "-m", "pip", "install", "--quiet")
    wanted = sys.executable if sys.version_info >= OLDEST else "{}.{}".format(*OLDEST)
    for command in (
        (sys.executable, "-m", "venv", "--clear", str(folder / "uv")),
        (*pip, "--disable-pip-version-check", "--require-hashes", "-r", str(HERE / LOCKS[0])),
        (str(uv), "venv", "--quiet", "--clear", "--python", wanted, str(folder / "python")),
        (
            *(str(uv), "pip", "install", "--quiet", "--python", str(python), "--compile-bytecode"),
            *("--require-hashes", "-r", str(HERE / LOCKS[1])),
        ),
    ):
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _runs(python: Path) -> bool:
    # A restored cache may name an interpreter that is gone, as after a new runner image.
    try:
        return subprocess.run([python, "-I", "-c", ""], check=False).returncode == 0
    except OSError:
        return False


def _output(environ: Mapping[str, str], values: Mapping[str, str]) -> None:
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    if environ.get("GITHUB_OUTPUT"):
        with Path(environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
            file.write(lines)
    print(lines, end="")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

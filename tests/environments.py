"""Python environments that tests need beside their own, each made once for its lock file."""

import subprocess
from hashlib import sha256
from pathlib import Path

TOP = Path(__file__).parents[1]


def python(name: str) -> Path:
    """Return an interpreter with what `requirements/NAME.txt` locks."""
    lock = TOP / "requirements" / f"{name}.txt"
    folder = TOP / ".cache" / f"{name}-{sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not (folder / "complete").exists():
        from uv import find_uv_bin

        uv = find_uv_bin()
        subprocess.run([uv, "venv", "-q", "--clear", "-p", "3.11", folder], check=True)
        install = [uv, "pip", "install", "-q", "-p", folder / "bin/python", "--compile-bytecode"]
        subprocess.run([*map(str, install), "--require-hashes", "-r", lock], check=True)
        (folder / "complete").touch()
    return folder / "bin" / "python"

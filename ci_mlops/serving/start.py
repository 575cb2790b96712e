"""The command that starts a bundle's server."""

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from ci_mlops.serving.__main__ import main; sys.exit(main())"
)


def command(bundle: Path, *flags: str, python: str | None = None) -> list[str]:
    """Return a command that serves a bundle; `python` is the interpreter that loads the model.

    It is isolated (`-I`): no file of the folder it starts in, and no variable, is imported.
    """
    made = [sys.executable, "-I", "-c", START, str(TOP), str(bundle), *flags]
    return [*made, "--python", python] if python else made
